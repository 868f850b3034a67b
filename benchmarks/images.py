"""Images into a step, and what is measured of images rebuilt: beside PIL and torchmetrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from benchmarks.paired import TURNS, Result, ratios, spread, turns
from splitpriv.data.augment import augment
from splitpriv.data.base import Split


def inputs(quick: bool) -> Iterator[Result]:
    """A batch of 128 CIFAR-sized images: PIL crop, flip (and rotation) over ours, times as fast."""
    from PIL import Image
    from torchvision import transforms as T

    images = torch.randint(0, 256, (128, 3, 32, 32), dtype=torch.uint8)
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
    split, order = Split(images, torch.zeros(128, dtype=torch.long), torch.arange(128)), torch.arange(128)
    for rotation, bar in ((0.0, 15.0), (15.0, 10.0)):
        turn = [T.RandomRotation(rotation)] if rotation else []
        change = T.Compose([T.RandomCrop(32, 4), T.RandomHorizontalFlip(), *turn, T.ToTensor()])
        own, other = turns(
            lambda rotation=rotation: [
                augment(split.pixels(order), crop=4, flip=True, rotation=rotation) for _ in range(20)
            ],
            lambda change=change: torch.stack([change(p) for p in pictures]),
            3 if quick else TURNS,
        )
        what = "input pipeline, PIL transforms over ours" + (", with rotation" if rotation else "")
        yield spread(what, [20 * r for r in ratios(other, own)], "×", bar=bar, least=True)


def metrics(quick: bool) -> Iterator[Result]:
    """SSIM, PSNR and MSE of 10,000 pairs: torchmetrics over ours, and how far apart."""
    import torchmetrics.functional.image as theirs

    from splitpriv.measure.measure import scores

    count = 1000 if quick else 10_000
    x = torch.rand(count, 3, 32, 32)
    y = (x + 0.1 * torch.randn_like(x)).clamp(0, 1)
    parts = [slice(i, i + 200) for i in range(0, count, 200)]
    kept: dict[str, Any] = {}

    def other() -> None:
        ssim = [theirs.structural_similarity_index_measure(y[p], x[p], data_range=1.0, reduction="none") for p in parts]
        psnr = [
            theirs.peak_signal_noise_ratio(y[p], x[p], data_range=1.0, reduction="none", dim=(1, 2, 3)) for p in parts
        ]
        kept["theirs"] = {"ssim": torch.cat(ssim), "psnr": torch.cat(psnr), "mse": ((y - x) ** 2).mean((1, 2, 3))}

    def ours() -> None:
        kept["ours"] = scores(y, x, ssim_padding="reflect", lpips=None)

    own, them = turns(ours, other, 1 if quick else TURNS)
    yield spread(
        f"SSIM + PSNR + MSE of {count:,} images, torchmetrics over ours", ratios(them, own), "×", bar=8, least=True
    )
    apart = [float((kept["ours"][k].float() - kept["theirs"][k]).abs().max()) for k in ("ssim", "mse")]
    yield spread("… largest difference of SSIM and MSE", [max(apart)], "", bar=5e-6)


BENCHES = {"inputs": inputs, "metrics": metrics}
