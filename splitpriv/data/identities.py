"""Identities made from what ships: single garments of Fashion-MNIST as seen by several cameras."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from splitpriv.data.augment import shift
from splitpriv.data.base import Dataset, Split
from splitpriv.data.fashion_tint import FashionTint
from splitpriv.data.pools import pools
from splitpriv.types import Count, NonNegative, Rate, Spec, UserError, Whole


class Identities(Dataset):
    """An identity is one garment in one tint, photographed `shots` times by each of `cameras` cameras; 3 x 32 x 32.

    A camera has its own colour balance and haze (strength `cast`), gamma (`contrast`) and aim (off by up to `aim`
    pixels). Every shot is off by up to `shake` more, differs in brightness by up to `light`, and has a grey square of
    `occlusion` pixels a side in front. Pool "train" holds `train_identities`, "test" holds `test_identities` others;
    `y` and the attribute identity count on through both. gallery is 0 for the first shot of an identity by a camera,
    which asks who that is, and 1 for the other shots, among which it is sought. Everything is drawn from `seed`.
    """

    ships = True
    origin = FashionTint.origin

    def __init__(
        self,
        *,
        train_identities: Count,
        test_identities: Count,
        cameras: Count,
        shots: Count,
        cast: Rate,
        contrast: Rate,
        aim: Whole,
        shake: Whole,
        light: Rate,
        occlusion: Whole,
        seed: Whole,
        crop: Whole,
        flip: bool,
        rotation: NonNegative,
    ) -> None:
        count = train_identities + test_identities
        problems = []
        if count > 10_000:
            problems.append(f".train_identities: {count:,} in both pools are more than the 10,000 garments; lower them")
        if cameras < 2 or shots < 2:
            problems.append(".cameras: a query is sought in the shots of other cameras; use two of each or more")
        if aim + shake > 16:
            problems.append(f".aim: with shake, {aim + shake} pixels move a garment out of sight; lower them to 16")
        if occlusion > 31:
            problems.append(f".occlusion: {occlusion} hides a whole image of 32x32; lower it")
        if problems:
            raise UserError(*problems)
        self.crop, self.flip, self.rotation, self.seed = crop, flip, rotation, seed
        self.identities, self.count, self.cameras, self.shots = train_identities, count, cameras, shots
        self.cast, self.contrast, self.aim = cast, contrast, aim
        self.shake, self.light, self.occlusion = shake, light, occlusion
        # Measured over both pools: tests/data/test_identities.py measures them again.
        mean, std = (0.2667, 0.2073, 0.2345), (0.2659, 0.2255, 0.2350)
        self.spec = Spec((3, 32, 32), count, {"identity": count, "camera": cameras, "gallery": 2}, mean, std)

    def pools(self, root: Path) -> dict[str, Split]:
        source = FashionTint(crop=0, flip=False, rotation=0.0, test_share=0.0, seed=self.seed)
        garments = source.read(root)["train"].images[: self.count]
        dice = np.random.RandomState(self.seed)  # a frozen stream, see hold_out
        images = torch.empty(self.count, self.cameras, self.shots, *self.spec.image, dtype=torch.uint8)
        for camera in range(self.cameras):
            gain = torch.from_numpy(1 + self.cast * dice.uniform(-1, 1, (3, 1, 1))).float()
            haze = torch.from_numpy(self.cast / 2 * dice.uniform(0, 1, (3, 1, 1))).float()
            gamma = float(2 ** (self.contrast * dice.uniform(-1, 1)))
            aim = dice.randint(-self.aim, self.aim + 1, (2, 1))
            for shot in range(self.shots):
                off = aim + dice.randint(-self.shake, self.shake + 1, (2, self.count))
                seen = self._moved(garments, torch.from_numpy(off)).float().div_(255).pow_(gamma)
                light = torch.from_numpy(1 + self.light * dice.uniform(-1, 1, (self.count, 1, 1, 1))).float()
                seen = self._hidden(light * (haze + (1 - haze) * gain * seen), dice)
                images[:, camera, shot] = (seen.clamp_(0, 1) * 255).round_().to(torch.uint8)
        identity, seen_by, taken = torch.cartesian_prod(*map(torch.arange, images.shape[:3])).T.contiguous()
        private = {"identity": identity, "camera": seen_by, "gallery": (taken > 0).long()}
        train = self.identities * self.cameras * self.shots
        return pools(images.flatten(0, 2), identity.clone(), private, train)

    def _moved(self, garments: Tensor, off: Tensor) -> Tensor:
        """`garments` (N, C, H, W) displaced by `off` (2, N) pixels: what comes into sight is black."""
        pad = self.aim + self.shake
        return shift(garments, pad + off[0], pad + off[1], torch.zeros(len(garments), dtype=torch.bool), pad)

    def _hidden(self, x: Tensor, dice: np.random.RandomState) -> Tensor:
        """x (N, C, H, W) with a square of some grey somewhere in each image."""
        corner = torch.from_numpy(dice.randint(0, 33 - self.occlusion, (2, len(x), 1)))
        grey = torch.from_numpy(dice.uniform(0, 1, (len(x), 1, 1, 1))).float()
        inside = (torch.arange(32) >= corner) & (torch.arange(32) < corner + self.occlusion)  # (2, N, 32)
        return torch.where((inside[0, :, :, None] & inside[1, :, None, :])[:, None], grey, x)
