"""A contact sheet: a few images of each class, as they are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

from splitpriv.data.base import Split
from splitpriv.measure.pictures import GAP, INK, LINE, PAPER

CLASSES, EACH = 12, 8  # rows and columns
SIDE = 64  # height of a shown image, pixels


def sheet(path: Path, split: Split, names: Sequence[str]) -> None:
    """Write a PNG with the first images of the first classes of a split, one class a row."""
    rows = [(name, (split.y == i).nonzero().flatten()[:EACH]) for i, name in enumerate(names)]
    rows = [(name, index) for name, index in rows if len(index)][:CLASSES]
    channels, height, width = split.x(torch.tensor([0])).shape[1:]
    size = max(1, round(SIDE * width / height)), SIDE
    page = Image.new("RGB", (GAP + EACH * (size[0] + GAP), GAP + len(rows) * (SIDE + LINE + GAP)), PAPER)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(11)
    for r, (name, index) in enumerate(rows):
        top = GAP + r * (SIDE + LINE + GAP)
        draw.text((GAP, top - 2), name, INK, font)
        pixels = (split.x(index).cpu() * 255).round().byte().expand(-1, 3, -1, -1) if channels in (1, 3) else None
        for c in range(len(index) if pixels is not None else 0):
            image = Image.fromarray(pixels[c].permute(1, 2, 0).contiguous().numpy(), "RGB")  # type: ignore[index]
            page.paste(image.resize(size, Image.Resampling.NEAREST), (GAP + c * (size[0] + GAP), top + LINE))
    page.save(path, format="PNG")
