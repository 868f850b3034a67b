"""SSIM as two banded matrix products, G X Gᵀ: differentiable, per image, under three definitions of the border; and the
same over several scales."""

from __future__ import annotations

import functools
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Padding = Literal["reflect", "zero", "valid"]

WINDOW, SIGMA = 11, 1.5
C1, C2 = 0.01**2, 0.03**2
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # weights of MS-SSIM, from the image's own size to a sixteenth of it
SMALLEST = (11, 22, 44, 99, 176)  # side, pixels, from which that many scales hold a window (in torchmetrics)
_CHUNK = 128  # images at once without a gradient: five maps of as many stay in the cache


def ssim(a: Tensor, b: Tensor, padding: Padding) -> Tensor:
    """Structural similarity of images a and b, both (N, C, H, W) in [0, 1]; (N,), the mean over channels and pixels.

    Window 11 x 11, Gaussian of σ 1.5, C1 = .01², C2 = .03². `padding` is part of the definition and moves the number by
    0.08 on the same images: "reflect" is torchmetrics, "zero" pytorch_ssim (CEM, ResSFL), "valid" Wang et al. 2004.
    In an image smaller than the window, "valid" uses the largest odd window that fits, as "reflect" does when the image
    is too small to mirror half a window (fewer than 6 pixels); σ stays.
    """
    if a.shape != b.shape or a.dim() != 4:
        raise ValueError(f"ssim wants two batches (N, C, H, W) of one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
    if len(a) <= _CHUNK or (torch.is_grad_enabled() and (a.requires_grad or b.requires_grad)):
        return _ssim(a, b, padding)
    return torch.cat([_ssim(p, q, padding) for p, q in zip(a.split(_CHUNK), b.split(_CHUNK), strict=True)])


def ms_ssim(a: Tensor, b: Tensor) -> Tensor:
    """Multi-scale SSIM (Wang, Simoncelli and Bovik 2003) of images a and b, both (N, C, H, W) in [0, 1]; (N,), 0 to 1.

    Contrast and structure at every scale, luminance at the coarsest, each to the power of its weight; torchmetrics',
    with negative terms as 0. All five scales need 176 pixels a side: of smaller images count the first scales that
    hold a window (two at 32, three at 64), with weights that sum to one. Raises ValueError below 11 pixels.
    """
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as torchmetrics

    weights = SCALES[: scales(min(a.shape[-2:]))]
    if not weights:
        raise ValueError(f"ms_ssim wants images of at least {SMALLEST[0]} pixels a side, got {tuple(a.shape)}")
    betas = tuple(w / sum(weights) for w in weights)
    return torchmetrics(a.float(), b.float(), data_range=1.0, betas=betas, reduction="none", normalize="relu")


def scales(side: int) -> int:
    """How many scales of MS-SSIM an image of so many pixels a side has."""
    return sum(side >= least for least in SMALLEST)


def _ssim(a: Tensor, b: Tensor, padding: Padding) -> Tensor:
    with torch.autocast(a.device.type, enabled=False):  # variances are differences of near-equal numbers
        a, b = (t if t.dtype == torch.float64 else t.float() for t in (a, b))
        rows, columns = (_band(a, size, padding) for size in a.shape[-2:])
        mean_a, mean_b, aa, bb, ab = rows @ torch.stack((a, b, a * a, b * b, a * b)) @ columns.T
        aa, bb, ab = aa - mean_a.square(), bb - mean_b.square(), ab - mean_a * mean_b
        luminance = (2 * mean_a * mean_b + C1) / (mean_a.square() + mean_b.square() + C1)
        return (luminance * (2 * ab + C2) / (aa + bb + C2)).flatten(1).mean(1)


def _band(a: Tensor, size: int, padding: Padding) -> Tensor:
    """The window as a banded matrix (outputs, size), border included; fake tensors stay out of the cache."""
    make = _made if type(a) in (Tensor, torch.nn.Parameter) else _make
    return make(size, padding, a.device, a.dtype)


def _make(size: int, padding: Padding, device: torch.device, dtype: torch.dtype) -> Tensor:
    fits = {"zero": WINDOW, "valid": size, "reflect": 2 * size - 1}[padding]
    half = (min(WINDOW, fits) - 1) // 2
    with torch.inference_mode(False), torch.no_grad():
        offsets = torch.arange(-half, half + 1, dtype=torch.float64, device="cpu")
        kernel = torch.exp(-offsets.square() / (2 * SIGMA**2))
        basis = torch.eye(size, dtype=torch.float64, device="cpu")[:, None]  # filtered unit vectors are the columns
        if padding != "valid" and half:
            basis = F.pad(basis, (half, half), "reflect" if padding == "reflect" else "constant")
        return F.conv1d(basis, (kernel / kernel.sum())[None, None])[:, 0].T.contiguous().to(device, dtype)


_made = functools.lru_cache(maxsize=64)(_make)
