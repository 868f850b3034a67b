"""A picture of every attack: victims above their reconstructions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

INK, FAINT, PAPER = (30, 30, 30), (110, 110, 110), (255, 255, 255)
FIXED = 8  # victims that every attack of a run shows
SIDE = 96  # least height of a shown image, pixels
GAP, LINE = 8, 14


def grid(path: Path, x: Tensor, recon: Tensor, scores: Mapping[str, Tensor], *, seed: int, title: str) -> list[int]:
    """Write a PNG of victims x above their reconstructions, both (N, C, H, W) in [0, 1], and return the indices shown.

    The first row of pairs has fixed victims, chosen by `seed` alone; the second the attacker's best, median and worst
    three by the first metric of `scores` (metric -> (N,)), an error such as MSE.
    """
    fixed = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:FIXED].sort().values.tolist()
    order = next(iter(scores.values())).argsort().tolist()
    near, few = max(0, len(order) // 2 - 1), min(3, len(order))
    picked = {"best": order[:few], "median": order[near : near + few], "worst": order[-few:][::-1]}
    rows = [
        [(f"#{i}", i) for i in fixed],
        [(f"{word} #{i}", i) for word, indices in picked.items() for i in indices],
    ]
    tile = _image(x[0])
    width, height = tile.size
    cell = (max(width, SIDE) + GAP, 2 * height + LINE * (1 + len(scores)) + 3 * GAP)
    page = Image.new("RGB", (GAP + cell[0] * max(map(len, rows)), 2 * GAP + 2 * LINE + cell[1] * len(rows)), PAPER)
    draw, font, small = ImageDraw.Draw(page), ImageFont.load_default(15), ImageFont.load_default(11)
    draw.text((GAP, GAP), title, INK, font)
    for r, row in enumerate(rows):
        for c, (name, i) in enumerate(row):
            left, top = GAP + c * cell[0], 2 * GAP + 2 * LINE + r * cell[1]
            draw.text((left, top - 2), name, INK, small)
            page.paste(_image(x[i]), (left, top + LINE))
            page.paste(_image(recon[i]), (left, top + LINE + height + 2))
            for k, (metric, values) in enumerate(scores.items()):
                at = (left, top + 2 * height + LINE * (1 + k) + 5)
                draw.text(at, f"{metric} {float(values[i]):.3g}", FAINT, small)
    page.save(path, format="PNG")
    return [i for row in rows for _, i in row]


def _image(x: Tensor) -> Image.Image:
    """One image (C, H, W) enlarged without smoothing; channels that are no colours lie below one another in grey."""
    x = x if x.shape[0] in (1, 3) else x.reshape(1, -1, x.shape[-1])
    pixels = x.detach().float().cpu().clamp(0, 1).mul(255).round().byte().expand(3, -1, -1).permute(1, 2, 0)
    image = Image.fromarray(pixels.contiguous().numpy(), "RGB")
    factor = max(1, round(SIDE / image.height))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
