"""What the members of the suite share: the parts of aux, fresh releases of them, and the distance to a release."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from splitpriv import host
from splitpriv.attacks.base import Access, mean_of
from splitpriv.attacks.training import Standardise, inner_home
from splitpriv.store import state
from splitpriv.types import Shape, UserError

if TYPE_CHECKING:
    from splitpriv.attacks.suite.readout import Readout

PARTS = {"learn": 0.7, "held": 0.1, "fuse": 0.1, "select": 0.1}  # of aux
LEAST = 20  # images of aux
MOST = 256  # of a part on which something is chosen; the rest is learned from
SHIFT = 2  # pixels that an image of aux may move by
CHUNK = 256
FAINT, QUIET = 1e-2, 1e-4  # of the spread of releases, by which an entry counts to vary at least: in distances, in odds


class Found(Protocol):
    """A fitted member: releases (N, *shape), each the mean of `Lab.draws`, -> images (N, C, H, W) in [0, 1]."""

    def __call__(self, releases: Tensor, /) -> Tensor: ...


@dataclass
class Lab:
    """The adversary's workplace: `access`, how many releases of an image are averaged, and where files go.

    `parts`: indices of aux by what they serve for. Members learn from `learn` and `fuse`, choose on `held`; the suite
    chooses among members on `select`. No part of it knows a victim.
    """

    access: Access
    draws: int
    home: Path
    made: dict[str, Found] = field(default_factory=dict)  # the members so far, by name
    alike: bool = False  # whether aux is parted as for any other chain
    edge: Callable[[Tensor], Tensor] | None = None  # images -> expected releases: the device's, or a stand-in for it
    view: Readout | None = None  # what nets see in place of releases that lie in no order of places

    @cached_property
    def parts(self) -> dict[str, Tensor]:
        """Disjoint parts of aux, drawn from the attack's key; the same for all chains where these share what is learned
        from images alone. Raises UserError where there is too little to part."""
        if len(self.access.aux) < LEAST:
            raise UserError(
                f"protocol.limit.aux: {len(self.access.aux)} images of aux are too few to learn and to choose on; "
                f"give at least {LEAST}, or use attack=[decoder]"
            )
        state.seed_epoch(f"parts of {len(self.access.aux)}" if self.alike else self.home.name, 0)
        order = torch.randperm(len(self.access.aux)).to(self.access.device)
        sizes = [max(1, min(MOST, round(share * len(order)))) for share in PARTS.values()]
        sizes[0] = len(order) - sum(sizes[1:])
        return dict(zip(PARTS, order.split(sizes), strict=True))

    @cached_property
    def learning(self) -> Access:
        """What the adversary holds, with those images of aux alone that members learn from."""
        return self.access.only(torch.cat([self.parts["learn"], self.parts["fuse"]]))

    def room(self, name: str) -> Path:
        """A folder for the files of a member."""
        return inner_home(self.home, name)

    def images(self, index: Tensor) -> Tensor:
        """Images of aux at `index` (n,), (n, C, H, W)."""
        return self.access.aux.split.x(index)

    def release(self, x: Tensor) -> Tensor:
        """What the device would send for the adversary's images x: the mean of `draws` fresh releases."""
        return mean_of(lambda: self.access.query(x), self.draws, self._told("present")).float()

    def pairs(self, part: str) -> tuple[Tensor, Tensor]:
        """Images of a part of aux, `MOST` at most, and their releases; the same on every call."""
        if part not in self._pairs:
            x = self.images(self.parts[part][:MOST])
            state.seed_epoch(f"{self.home.name} {part}", 0)
            self._pairs[part] = x, torch.cat([self.release(piece) for piece in x.split(CHUNK)])
        return self._pairs[part]

    @cached_property
    def _pairs(self) -> dict[str, tuple[Tensor, Tensor]]:
        return {}

    @cached_property
    def mean_image(self) -> Tensor:
        """The mean of the images that members learn from, (C, H, W)."""
        pieces = self.parts["learn"].split(CHUNK)
        return torch.stack([self.images(piece).double().sum(0) for piece in pieces]).sum(0).float() / sum(
            map(len, pieces)
        )

    @cached_property
    def scale(self) -> Standardise:
        """Releases in units of their spread over aux; members may copy it."""
        with self.access.device:
            scale = Standardise(self.access.shape)
        scale.measure(r for _, r in self.measured)
        return scale

    @cached_property
    def measured(self) -> list[tuple[Tensor, Tensor]]:
        """Pieces of the images that members learn from, and their releases."""
        state.seed_epoch(f"{self.home.name} scale", 0)
        pieces = self.parts["learn"][: 4 * CHUNK].split(CHUNK)
        return [(x, self.release(x)) for x in map(self.images, pieces)]

    @cached_property
    def noise(self) -> Tensor:
        """Variance of releases (means of `draws`) of one image, entry by entry, (*shape); 0 without randomness."""
        state.seed_epoch(f"{self.home.name} noise", 0)
        squares = [(self.release(x) - r).square().sum(0) / 2 for x, r in self.measured]
        return torch.stack(squares).sum(0) / sum(len(x) for x, _ in self.measured)

    @cached_property
    def unexplained(self) -> Tensor:
        """Variance of what the true image leaves of a release, (*shape): the noise, or what a law leaves of it."""
        if not self._told("gap"):
            return self.noise
        with torch.no_grad():
            return torch.cat([self.gap(x, r).square() for x, r in self.measured]).mean(0)

    @cached_property
    def weight(self) -> Tensor:
        """How much each entry counts in `distance`, (*shape): the inverse of its noise, their mean 1 over the spread.

        So that a weight of a prior means the same at every scale of release, the distance of an average image from
        another is about 2. Entries that hardly vary count as if they varied by a hundredth of the others' spread.
        """
        signal = self.scale.spread.square().expand(self.access.shape)
        raw = 1 / (self.unexplained + FAINT * signal.mean())
        return raw / (raw * signal).mean()

    @cached_property
    def precision(self) -> Tensor:
        """The inverse of the noise, entry by entry, (*shape); of a release without noise as if it had little."""
        return 1 / (self.noise + QUIET * self.scale.spread.square().mean())

    def expected(self, x: Tensor) -> Tensor:
        """What the device sends for x on average, differentiable; where it is not known, by the stand-in's account."""
        assert self.edge is not None
        return self.edge(x)

    def distance(self, x: Tensor, releases: Tensor) -> Tensor:
        """Squared distance of the expected release of x from `releases`, per image (N,); differentiable in x."""
        return (self.gap(x, releases).square() * self.weight).flatten(1).mean(1)

    def gap(self, x: Tensor, releases: Tensor) -> Tensor:
        """What of releases (N, *shape) images x do not explain: by the chain's law, or as far as it is off its mean."""
        law = self._told("gap")
        return law(x, releases) if law else self.expected(x) - releases

    def seen(self, releases: Tensor) -> Tensor:
        """What nets see of releases (N, *shape): these in units of their spread, or the image that they tell."""
        return self.scale(releases) if self.view is None else self.view(releases)

    def seen_change(self, gap: Tensor) -> Tensor:
        """The same of what is unexplained of releases, (N, *shape)."""
        change = gap / self.scale.spread
        return change if self.view is None else self.view.step(change)

    @property
    def seen_shape(self) -> Shape:
        """The shape of what nets see of one release."""
        return self.access.shape if self.view is None else self.view.shape

    @cached_property
    def floor(self) -> float:
        """MSE of the mean image on the held-out part of aux."""
        x, _ = self.pairs("held")
        return host.to_host(mse(self.mean_image.expand_as(x), x)[None])[0]

    def _told(self, right: Literal["gap", "present"]) -> Any:
        """What a chain's mechanism says of its releases beyond their mean, to who knows the device's half."""
        return getattr(self.access, right) if right in self.access.requires else None

    def look(self, x: Tensor, releases: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient of the distance in x, (N, C, H, W), and what x leaves of `releases`, (N, *shape)."""
        with torch.enable_grad(), torch.autocast(x.device.type, enabled=False):
            free = x.detach().clamp(0, 1).requires_grad_()
            gap = self.gap(free, releases)
            (slope,) = torch.autograd.grad((gap.square() * self.weight).sum(), free)
        return slope, gap.detach()


def batch_of(lab: Lab, count: int, *parts: str) -> Tensor:
    """Random images of parts of aux, half of them moved where the device can be asked of such: (count, C, H, W)."""
    index = torch.cat([lab.parts[part] for part in parts])
    x = lab.images(index[torch.randint(len(index), (count,)).to(index.device)])
    return x if lab.access.recorded else moved(x)


def moved(x: Tensor) -> Tensor:
    """Half of the images x (N, C, H, W) as they are; the others mirrored or not, and moved by up to `SHIFT` pixels."""
    n, side = len(x), 2 * SHIFT + 1
    kept = torch.rand(n, device=x.device) < 0.5
    mirrored = torch.rand(n, 1, 1, 1, device=x.device) < 0.5
    steps = torch.randint(side, (n, 2), device=x.device)
    wide = F.pad(torch.where(mirrored, x.flip(-1), x), (SHIFT,) * 4, mode="replicate")
    rows = steps[:, :1] + torch.arange(x.shape[-2], device=x.device)
    columns = steps[:, 1:] + torch.arange(x.shape[-1], device=x.device)
    picture = torch.arange(n, device=x.device)
    crops = wide.permute(0, 2, 3, 1)[picture[:, None, None], rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    return torch.where(kept.view(-1, 1, 1, 1), x, crops)


def mse(guess: Tensor, x: Tensor) -> Tensor:
    """Mean squared error over images and pixels."""
    return (guess - x).square().mean()


class Once:
    """A member that remembers its last few answers: later members and the suite ask for the same releases again."""

    def __init__(self, found: Found) -> None:
        self.found = found
        self._last: list[tuple[Tensor, Tensor]] = []

    @property
    def report(self) -> dict[str, Any]:
        """What the row says of the member."""
        return getattr(self.found, "report", {})

    def forget(self) -> None:
        """Let go of what aux was rebuilt as, of which a large image takes megabytes."""
        self._last = []

    def __call__(self, releases: Tensor) -> Tensor:
        for known, answer in self._last:
            if known is releases:
                return answer
        answer = self.found(releases)
        self._last = [*self._last[-3:], (releases, answer)]
        return answer
