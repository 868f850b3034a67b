"""What the adversary's own data is: how much of it, and how near to the victims'."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from splitpriv.data.base import Dataset, Split
from splitpriv.data.protocol import Role
from splitpriv.types import Count, Positive, Rate, Spec, UserError, Whole, blame

Splits = dict[str, Split]


class Knowledge:
    """The first `size` images (None: all) of what the protocol calls aux: the victims' distribution, other images."""

    version: ClassVar[int] = 1
    labelled: ClassVar[bool] = True  # whether aux's labels say of its images what the data set's would
    roles: ClassVar[tuple[Role, ...]] = ("aux", "victims")  # the splits that decide what aux and victims are
    takes: ClassVar[Literal["aux", "some", "train", "elsewhere"]] = "aux"  # of what: the protocol's aux, some of it, …

    def __init__(self, *, size: Count | None) -> None:
        self.size = size

    def content(self, root: Path) -> int | str:
        """Changes with the files that it reads itself."""
        return 1

    def validate(self, dataset: Dataset) -> None:
        """Raise UserError where this cannot serve against `dataset`; called before data is read."""

    def apply(self, splits: Mapping[str, Split], spec: Spec, root: Path) -> Splits:
        """`splits` with the adversary's aux in place of the protocol's; raise UserError if none is left."""
        known = {**splits, "aux": self.aux(splits, spec, root)}
        if self.size is not None:
            known["aux"] = known["aux"].take(slice(0, self.size))
        if not len(known["aux"]) or not len(known["victims"]):
            raise UserError("knowledge: leaves no aux or no victims; loosen it, or enlarge the protocol's splits")
        return known

    def aux(self, splits: Mapping[str, Split], spec: Spec, root: Path) -> Split:
        """The adversary's data before `size` cuts it."""
        return splits["aux"]


class TrainSet(Knowledge):
    """The adversary holds the target's own training images, as in the "same set" rows of He et al. 2019."""

    roles = ("aux", "victims", "train")
    takes = "train"

    def aux(self, splits: Mapping[str, Split], spec: Spec, root: Path) -> Split:
        return splits["train"]


class Nothing(Knowledge):
    """No images at all: uniformly random pixels with random labels ("random data", He et al. 2019)."""

    labelled = False

    def __init__(self, *, size: Count | None, seed: Whole) -> None:
        super().__init__(size=size)
        self.seed = seed

    def aux(self, splits: Mapping[str, Split], spec: Spec, root: Path) -> Split:
        n, device = len(splits["aux"]), splits["aux"].y.device
        dice = torch.Generator().manual_seed(self.seed)
        images = torch.randint(256, (n, *spec.image), generator=dice, dtype=torch.uint8)
        drawn = {
            name: torch.randint(values, (n,), generator=dice).to(device) for name, values in spec.attributes.items()
        }
        y = torch.randint(spec.classes, (n,), generator=dice).to(device)
        return Split(images.to(splits["aux"].images.device), y, -1 - torch.arange(n, device=device), drawn)


class Shifted(Knowledge):
    """The same images seen differently: blurred by `blur` (standard deviation, pixels), with contrast about a half and
    brightness changed, and channels in reverse order if `swap`. Attack and victims then differ in distribution.
    """  # fmt: skip

    def __init__(
        self, *, size: Count | None, blur: Positive, contrast: Positive, brightness: float, swap: bool
    ) -> None:
        super().__init__(size=size)
        self.blur, self.contrast, self.brightness, self.swap = blur, contrast, brightness, swap

    def validate(self, dataset: Dataset) -> None:
        side = max(dataset.spec.image[1:])
        if self.blur > side:
            raise UserError(f"knowledge.blur: a deviation of {self.blur:g} pixels is beyond images of {side}, and its "
                            f"kernel beyond memory; give at most {side}")  # fmt: skip

    def aux(self, splits: Mapping[str, Split], spec: Spec, root: Path) -> Split:
        split = splits["aux"]
        parts = [self.shift(split.x(slice(i, i + 1024))) for i in range(0, len(split), 1024)]
        images = torch.cat(parts)
        if split.images.dtype == torch.uint8:
            images = (images * 255).round().to(torch.uint8)
        return replace(split, images=images.to(split.images.device))

    def shift(self, x: Tensor) -> Tensor:
        """The shifted images of x (N, C, H, W) in [0, 1]."""
        radius = max(1, round(3 * self.blur))
        taps = torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype)
        kernel = torch.exp(-taps.square() / (2 * self.blur**2))
        kernel = (kernel / kernel.sum()).expand(x.shape[1], 1, 1, -1)
        wide = F.pad(x, [radius] * 4, mode="replicate")
        x = F.conv2d(F.conv2d(wide, kernel, groups=x.shape[1]), kernel.mT, groups=x.shape[1])
        x = ((x - 0.5) * self.contrast + 0.5 + self.brightness).clamp(0, 1)
        return x.flip(1) if self.swap else x


class OtherSet(Knowledge):
    """Images of another data set, `source`, in the victims' size and channels; their labels mean nothing here.

    Raises UserError for a source that shows the images of the data set under attack, however it presents them.
    """

    labelled = False
    takes = "elsewhere"

    def __init__(self, *, size: Count | None, source: Callable[..., Dataset]) -> None:
        super().__init__(size=size)
        with blame(".source"):
            self.source = source()

    def content(self, root: Path) -> int | str:
        return self.source.content(root)

    def validate(self, dataset: Dataset) -> None:
        if self.source.origin == dataset.origin:
            raise UserError(
                f"knowledge.source: shows the images of the data set under attack ({dataset.origin}); "
                "choose one of other images, as in dataset@knowledge.source=NAME"
            )

    def aux(self, splits: Mapping[str, Split], spec: Spec, root: Path) -> Split:
        pool = self.source.read(root)["train"]
        if (self.size or 0) > len(pool):
            raise UserError(f"knowledge.size: {self.size} is more than the source has; give at most {len(pool)}")
        pool = pool.take(slice(0, self.size or len(splits["aux"])))
        channels, *sides = spec.image
        parts = []
        for i in range(0, len(pool), 1024):
            x = pool.x(slice(i, i + 1024))
            if x.shape[1] != channels:
                x = x.mean(1, keepdim=True).expand(-1, channels, -1, -1)
            if list(x.shape[2:]) != sides:
                x = F.interpolate(x, sides, mode="bilinear", antialias=True)
            parts.append((x.clamp(0, 1) * 255).round().to(torch.uint8))
        device = splits["aux"].y.device
        blank = {name: torch.zeros(len(pool), dtype=torch.long, device=device) for name in spec.attributes}
        images = torch.cat(parts).to(splits["aux"].images.device)
        return Split(images, (pool.y % spec.classes).to(device), -1 - torch.arange(len(pool), device=device), blank)


class Disjoint(Knowledge):
    """Aux holds only some values of `by` ("y": classes; else an attribute, such as identities), victims the others.

    The values are shuffled by `seed`; aux receives the share `share` of them.
    """

    takes = "some"

    def __init__(self, *, size: Count | None, by: str, share: Rate, seed: Whole) -> None:
        super().__init__(size=size)
        self.by, self.share, self.seed = by, share, seed

    def validate(self, dataset: Dataset) -> None:
        if self.by != "y" and self.by not in dataset.spec.attributes:
            names = ", ".join(["y", *dataset.spec.attributes])
            raise UserError(f"knowledge.by: the data set has no {self.by!r}; choose one of {names}")

    def apply(self, splits: Mapping[str, Split], spec: Spec, root: Path) -> Splits:
        count = spec.classes if self.by == "y" else spec.attributes[self.by]
        order = torch.randperm(count, generator=torch.Generator().manual_seed(self.seed))
        theirs = order[: max(1, round(self.share * count))]
        known = {**splits, "aux": self._only(splits["aux"], theirs, True)}
        known["victims"] = self._only(splits["victims"], theirs, False)
        return super().apply(known, spec, root)

    def _only(self, split: Split, values: Tensor, inside: bool) -> Split:
        label = split.y if self.by == "y" else split.attributes[self.by]
        here = torch.isin(label, values.to(label.device)) == inside
        return split.take(here.nonzero().flatten().to(split.images.device))
