"""The device under audit as attacks see it: releases of images in [0, 1], with gradients where there are any."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from splitpriv.defenses.parts.aside import aside
from splitpriv.given.edge import Edge
from splitpriv.measure.cost import macs
from splitpriv.types import Shape, UserError

MOST = 256  # images at once
REPEATS = 5  # timed releases


class Device:
    """An edge that takes images of one shape (C, H, W), looked at once: raises UserError where it does not.

    `mean`, `std`: per channel, by which it expects images in [0, 1] to be normalised. `shape` is that of one release;
    `white`: a gradient passes it; `fixed`: it answers the same image alike, `repeats`: it does from the same random
    numbers of torch's; `width`: bytes of a released value.
    """

    def __init__(self, edge: Edge, image: Shape, device: torch.device, mean: Sequence[float] = (0.0,),
                 std: Sequence[float] = (1.0,)) -> None:  # fmt: skip
        self.edge, self.image, self.device = edge, image, device
        _fits(edge, image)
        self.mean, self.std = (_channels(values, image[0], device) for values in (mean, std))
        if edge.module is not None and edge.kind == "module":
            edge.module.to(device)
        self.chunk = edge.batch or min(MOST, edge.most or MOST)
        with aside(seed=0):
            x = torch.rand(2, *image).to(device)
            first = self._checked(x, edge.batch or min(2, self.chunk))
            for images in {1, self.chunk} if edge.batch is None else ():  # of all that it is asked for, the ends
                answer = self._checked(x, images)
                if answer.shape[1:] != first.shape[1:]:
                    raise UserError(f"{self._name}: answers {images} images with {tuple(answer.shape)}, and "
                                    f"{len(first)} with {tuple(first.shape)}; let no release depend on how many there "
                                    "are")  # fmt: skip
        self.shape: Shape = tuple(first.shape[1:])
        self.width = first.element_size()
        with torch.no_grad(), aside(seed=0):
            again, third = self.release(x), self.release(x)
        self.fixed = bool(torch.allclose(again, third, rtol=1e-5, atol=1e-6 * float(again.abs().max())))
        with torch.no_grad(), aside(seed=0):
            self.repeats = self.fixed or torch.equal(again, self.release(x))
        self.white = self._passes(x)

    def release(self, x: Tensor) -> Tensor:
        """What leaves the device for images (N, C, H, W) in [0, 1], as floats (N, *shape)."""
        x = (x - self.mean) / self.std
        parts = []
        for part in x.split(self.chunk):
            short = self.chunk - len(part) if self.edge.batch else 0
            answer = self.edge.call(F.pad(part, (0, 0) * 3 + (0, short)) if short else part)
            parts.append((answer[: len(part)] if short else answer).float())
        return torch.cat(parts)

    def cost(self) -> dict[str, float]:
        """What the device pays for one image, as far as it shows; milliseconds are this machine's."""
        x = torch.full((1, *self.image), 0.5, device=self.device)
        with torch.no_grad():
            told = {"release_bytes": float(torch.Size(self.shape).numel() * self.width)}
            if self.edge.module is not None:
                told["edge_parameters"] = float(sum(p.numel() for p in self.edge.module.parameters()))
                told["edge_macs"] = macs(self.release, x)
            times = []
            for _ in range(REPEATS):
                start = time.perf_counter()
                self.release(x)
                if self.device.type == "cuda":
                    torch.cuda.synchronize(self.device)
                times.append(1e3 * (time.perf_counter() - start))
        return {**told, "edge_latency_ms": median(times)}

    def _checked(self, x: Tensor, size: int) -> Tensor:
        """The raw answer to `size` images, those of x (N, C, H, W) in turn: one tensor with a row for each."""
        try:
            with torch.no_grad():
                answer = self.edge.call(((x - self.mean) / self.std).repeat(-(-size // len(x)), 1, 1, 1)[:size])
        except Exception as error:  # code of the user's
            said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
            many, remedy = "", "give images that it takes, with --size and --channels"
            if size not in (2, self.edge.batch):
                many, remedy = f"{size} ", f"let it take any number of images up to {MOST}, or one fixed number"
            raise UserError(
                f"{self._name}: fails on {many}images of {_by(self.image)} ({said[:200]}); {remedy}"
            ) from error
        if not isinstance(answer, Tensor):
            raise UserError(f"{self._name}: answers with {_kind(answer)}; wrap it so that it returns the one tensor "
                            "that leaves the device")  # fmt: skip
        if answer.dim() < 2 or len(answer) != size or answer.is_complex():
            raise UserError(f"{self._name}: answers {size} images with {answer.dtype} {tuple(answer.shape)}; its first "
                            "axis must be that of the images, and its values real")  # fmt: skip
        if not answer.float().isfinite().all():
            raise UserError(f"{self._name}: what it answers is NaN or infinite; mend it, or see --mean and --std")
        return answer

    def _passes(self, x: Tensor) -> bool:
        try:
            with torch.enable_grad(), aside(seed=0):
                free = x.clone().requires_grad_()
                release = self.release(free)
                if not release.requires_grad:
                    return False
                (slope,) = torch.autograd.grad(release.square().sum(), free, allow_unused=True)
        except (RuntimeError, NotImplementedError):  # an operator without a derivative
            return False
        return slope is not None and bool(slope.isfinite().all()) and bool(slope.any())

    @property
    def _name(self) -> str:
        return f"--edge: {self.edge.name}"


def _fits(edge: Edge, image: Shape) -> None:
    if any(wanted not in (None, given) for wanted, given in zip(edge.image, image, strict=True)):
        channels, height, width = edge.image
        remedy = []
        if channels not in (None, image[0]):
            remedy.append(f"--channels {channels}")
        if (height, width) != image[1:] and None not in (height, width):
            remedy.append(f"--size {height}" if height == width else f"--size {height},{width}")
        raise UserError(f"--edge: {edge.name} takes images of {_by(edge.image)}, and these are {_by(image)}; add "
                        f"{' '.join(remedy) or 'images that fit'}")  # fmt: skip


def _channels(values: Sequence[float], count: int, device: torch.device) -> Tensor:
    if len(values) not in (1, count):
        raise UserError(f"--mean, --std: {len(values)} numbers for {count} channels; give one, or one per channel")
    return torch.tensor(list(values), device=device).view(1, -1, 1, 1)


def _by(shape: Sequence[int | None]) -> str:
    return "x".join("any" if size is None else str(size) for size in shape)


def _kind(answer: Any) -> str:
    many = f" of {len(answer)}" if isinstance(answer, tuple | list | dict) else ""
    return f"a {type(answer).__name__}{many}"
