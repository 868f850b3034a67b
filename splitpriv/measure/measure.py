"""What a run is worth and what it gives away: utility and per-image privacy. Nothing is averaged before report time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from splitpriv import host
from splitpriv.data.base import Split
from splitpriv.defenses.base import Defended
from splitpriv.defenses.parts.law import is_gaussian_channel
from splitpriv.measure.judge import Bench, Judge
from splitpriv.measure.traits import Scores as Scores
from splitpriv.metrics import PRIVACY
from splitpriv.nets.modes import evaluating
from splitpriv.stats.bounds import cem_bound
from splitpriv.stats.classification import balanced_accuracy
from splitpriv.stats.ssim import SMALLEST as WINDOWS
from splitpriv.stats.ssim import Padding, ms_ssim, ssim
from splitpriv.store.proof import is_published
from splitpriv.types import Count, Spec, UserError, blame

Backbone = Literal["alex", "vgg", "squeeze"]

CHUNK = 256
WEIGHTS: dict[Backbone, str] = {
    "alex": "alexnet-owt-7be5be79.pth",
    "vgg": "vgg16-397923af.pth",
    "squeeze": "squeezenet1_1-b8a52dc0.pth",
}
SMALLEST: dict[Backbone, int] = {"alex": 31, "vgg": 16, "squeeze": 17}  # side of the smallest image, pixels


class Auditor(Protocol):
    """What `Measure` asks of an audit."""

    def validate(self, spec: Spec) -> None: ...

    def require(self, victims: int) -> None: ...

    def facts(self, model: Defended, splits: Mapping[str, Split], spec: Spec) -> dict[str, float]: ...


@dataclass(frozen=True, kw_only=True)
class Measure:
    """The settings of group `measure`; raises UserError when LPIPS is asked for and its weights are not there.

    `ms_ssim`: SSIM over several scales, too. `judge`: a classifier that reconstructions are shown to, see
    `splitpriv.measure.judge`. `audit`: statistics of the release besides attacks, see `splitpriv.measure.audit`.
    """

    key_name: ClassVar[str] = "splitpriv.measure.Measure"
    added: ClassVar[Mapping[str, Any]] = {"ms_ssim": False, "judge": None}

    ssim_padding: Padding
    lpips: Backbone | None
    draws: Count
    batch: Count
    latency_repeats: Count
    audit: Callable[[], Auditor] | None
    ms_ssim: bool
    judge: Callable[[], Judge] | None
    judging: Judge | None = field(init=False, default=None)
    auditor: Auditor | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.lpips is not None:
            lpips_weights(self.lpips)
        object.__setattr__(self, "judging", self.judge() if self.judge else None)
        with blame(".audit"):
            object.__setattr__(self, "auditor", self.audit() if self.audit else None)

    def validate(self, spec: Spec, labelled: bool) -> None:
        """Raise UserError where images of `spec` are too small, or lack what judge or audit asks for; before data is
        read. `labelled`: the adversary's labels mean something."""
        if self.lpips is not None and min(spec.image[1:]) < SMALLEST[self.lpips]:
            sides = ", ".join(f"{net} from {side}" for net, side in SMALLEST.items())
            raise UserError(
                f"measure.lpips: {self.lpips} has no answer on images of {spec.image[1]}x{spec.image[2]} ({sides} "
                "pixels a side); use larger images, as in dataset.size, another net, or measure.lpips=null"
            )
        if self.ms_ssim and min(spec.image[1:]) < WINDOWS[0]:
            raise UserError(f"measure.ms_ssim: images of {spec.image[1]}x{spec.image[2]} hold no window of "
                            f"{WINDOWS[0]} pixels; use larger ones, as by dataset.size, or set false")  # fmt: skip
        if self.judging is not None:
            with blame("measure.judge"):
                self.judging.validate(spec, labelled)
        if self.auditor is not None:
            with blame("measure.audit"):
                self.auditor.validate(spec)


# ---- utility -------------------------------------------------------------------------------------------------------


@torch.no_grad()
def utility(model: Defended, split: Split, *, draws: int, batch: int) -> dict[str, float]:
    """Accuracy, balanced accuracy (mean recall over the classes that occur) and cross-entropy (nats) of `model` on
    `split`, in evaluation mode, averaged over `draws` releases.
    """
    sums, guesses, truth = [], [], []
    with evaluating(model):
        for start in range(0, len(split), batch):
            part = slice(start, start + batch)
            x, y = split.x(part), split.y[part]
            for _ in range(draws):
                logits = model(x)
                guesses.append(logits.argmax(1))
                truth.append(y)
                right = (guesses[-1] == y).float().sum()
                sums.append(torch.stack([right, F.cross_entropy(logits, y, reduction="sum")]))
    values = host.to_host(torch.stack(sums))
    count = len(split) * draws
    guess, wanted = torch.cat(guesses).cpu(), torch.cat(truth).cpu()
    return {
        "accuracy": sum(values[::2]) / count,
        "balanced_accuracy": balanced_accuracy(guess, wanted, logits.shape[1]),
        "cross_entropy": sum(values[1::2]) / count,
    }


# ---- privacy -------------------------------------------------------------------------------------------------------


@torch.no_grad()
def scores(recon: Tensor, x: Tensor, *, ssim_padding: Padding, lpips: Backbone | None, multiscale: bool = False,
           judge: Bench | None = None) -> Scores:  # fmt: skip
    """MSE (mean over pixels), PSNR (dB, peak 1) and SSIM of each reconstruction, (N, C, H, W) in [0, 1]; if asked for
    MS-SSIM, LPIPS, and what a `judge` says.

    PSNR is that of each image, never of a batch's pooled error; an exact copy counts as an MSE of 1e-12 (120 dB).
    """
    if recon.shape != x.shape:
        raise ValueError(f"reconstructions {tuple(recon.shape)} and images {tuple(x.shape)} differ in shape")
    parts = list(zip(recon.float().split(CHUNK), x.float().split(CHUNK), strict=True))
    mse = torch.cat([(a - b).square().flatten(1).mean(1) for a, b in parts])
    scored = {
        "mse": mse,
        "psnr": -10 * mse.clamp_min(1e-12).log10(),
        "ssim": torch.cat([ssim(a, b, ssim_padding) for a, b in parts]),
    }
    if multiscale:
        scored["ms_ssim"] = torch.cat([ms_ssim(a, b) for a, b in parts])
    if lpips is not None:
        scored["lpips"] = _lpips(parts, lpips)
    return scored | (judge.scores(recon) if judge is not None else {})


def lpips_weights(net: Backbone) -> Path:
    """Where LPIPS finds its backbone; raise UserError if the published file is not there."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS[net]
    if not path.is_file():
        raise UserError(
            f"measure.lpips: {net} needs {path}, which is not there; get torchvision's file or set measure.lpips=null"
        )
    if not is_published(path):
        raise UserError(
            f"measure.lpips: {path} is not torchvision's file (another SHA-256); get that, or set measure.lpips=null"
        )
    return path


def _lpips(parts: list[tuple[Tensor, Tensor]], net: Backbone) -> Tensor:
    lpips_weights(net)
    from torchmetrics.functional.image.lpips import _NoTrainLpips  # the public function rebuilds the network each call

    network = _NoTrainLpips(net=net).to(parts[0][0].device).eval()
    pairs = [tuple(t.expand(-1, 3, -1, -1) if t.shape[1] == 1 else t for t in pair) for pair in parts]
    return torch.cat([network(*pair, normalize=True).reshape(-1) for pair in pairs])


@torch.no_grad()
def floors(aux: Tensor, x: Tensor, **compared: Any) -> dict[str, Scores]:
    """What an attacker scores who never looks at a release: always the mean image of aux, or a random image of aux.

    `aux` (M, C, H, W) is uint8 or float in [0, 1]; `compared` goes to `scores`. The random choice is always the same.
    """
    pick = torch.randint(len(aux), (len(x),), generator=torch.Generator().manual_seed(0))
    mean = torch.stack([_unit(part).double().sum(0).cpu() for part in aux.split(4096)]).sum(0) / len(aux)
    guesses = {
        "mean_image": mean.float().to(x.device).expand_as(x),
        "random_image": _unit(aux[pick.to(aux.device)]).to(x.device),
    }
    return {name: scores(guess, x, **compared) for name, guess in guesses.items()}


def _unit(images: Tensor) -> Tensor:
    return images.float().div_(255) if images.dtype == torch.uint8 else images


def worst(attacks: Mapping[str, Mapping[str, Tensor]]) -> Scores:
    """Per image, what the best of the attacks achieved in each metric: the privacy that is left against all of them."""
    best: Scores = {}
    for name in next(iter(attacks.values()), {}):
        stack = torch.stack([s[name].cpu() for s in attacks.values()])
        best[name] = stack.amax(0) if PRIVACY[name].better == "lower" else stack.amin(0)
    return best


def summary(scores: Mapping[str, Tensor]) -> dict[str, float]:
    """The mean of every metric over the victims."""
    if not scores:
        return {}
    return dict(zip(scores, host.to_host(torch.stack([t.double().mean() for t in scores.values()])), strict=True))


@torch.no_grad()
def signal(first: Tensor, second: Tensor) -> float:
    """How surely a release depends on its image, in standard errors, from two releases (N, ...) of the same images.

    Both are centred over the images; fresh noise does not correlate between the two, the image does. A release that
    says nothing about the image gives about N(0, 1), a constant one exactly 0.
    """
    a, b = (r.flatten(1).double() for r in (first, second))
    a, b = a - a.mean(0), b - b.mean(0)
    both = a * b
    values = torch.stack([both.sum(), both.square().sum().sqrt(), a.square().mean(), first.double().square().mean()])
    total, error, variance, power = host.to_host(values)
    return total / error if variance > 1e-12 * power and error > 0 else 0.0


@torch.no_grad()
def bounds(model: Defended, split: Split, spec: Spec) -> dict[str, float]:
    """CEM's lower bound on the MSE of any attack, where H(x) is known and the chain only adds Gaussian noise.

    One Gaussian is fitted to the noise-free features of `split`: exact for a linear edge on Gaussian images, for any
    other an estimate that grows more cautious.
    """
    if spec.entropy is None or not is_gaussian_channel(model):
        return {}
    with evaluating(model):
        z = torch.cat([model.features(split.x(slice(i, i + CHUNK))) for i in range(0, len(split), CHUNK)])
    bound = cem_bound(z, model.noise_std, torch.Size(spec.image).numel(), spec.entropy, components=1,
                      covariance="full", iterations=1, jitter=1e-9)  # fmt: skip
    return {"information": bound.information, "cem_mse": bound.mse or 0.0}
