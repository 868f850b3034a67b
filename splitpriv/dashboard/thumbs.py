"""Strips of small pictures out of a measure stage, in WebP, within a budget of bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from splitpriv.measure import pictures
from splitpriv.metrics import PRIVACY

SCORES = "scores.safetensors"  # in a measure stage
Tiles = np.ndarray  # (N, H, W, 3) uint8

# Side of the longer edge in pixels and WebP's quality, from the best to the smallest.
LADDER = ((64, 82), (64, 70), (64, 55), (40, 55), (32, 45), (24, 40), (16, 30))


@dataclass
class Strips:
    """Every strip of the page by its content, so that the same victims are kept once."""

    tiles: dict[str, Tiles] = field(default_factory=dict)

    def add(self, tiles: Tiles) -> str:
        """Keep a strip and return its name."""
        name = digest(tiles)
        self.tiles.setdefault(name, tiles)
        return name

    def encode(self, budget: int | None = None) -> tuple[dict[str, bytes], int]:
        """WebP of every strip, and how many had to be made smaller so that all together take `budget` bytes."""
        encoded = {name: encode(name, tiles, 0) for name, tiles in self.tiles.items()}
        if budget is None or sum(map(len, encoded.values())) <= budget:
            return encoded, 0
        limit = _level([len(webp) for webp in encoded.values()], budget)
        large = [name for name, webp in encoded.items() if len(webp) > limit]
        for name in large:
            for rung in range(1, len(LADDER)):
                encoded[name] = encode(name, self.tiles[name], rung)
                if len(encoded[name]) <= limit:
                    break
        return encoded, len(large)


def _level(sizes: list[int], budget: int) -> float:
    """The largest limit such that all sizes, cut at it, sum to at most `budget`."""
    left = float(budget)
    for k, size in enumerate(sorted(sizes)):
        if size * (len(sizes) - k) > left:
            return left / (len(sizes) - k)
        left -= size
    return float(max(sizes, default=0))


def digest(array: np.ndarray) -> str:
    """Twelve characters that name an array by its content."""
    return sha256(str(array.shape).encode() + np.ascontiguousarray(array).tobytes()).hexdigest()[:12]


# A page that is served again and again encodes a picture once.
_made: dict[tuple[str, tuple[int, int], int], bytes] = {}


def encode(name: str, tiles: Tiles, rung: int) -> bytes:
    """One strip as WebP: the tiles side by side, never enlarged."""
    side, quality = LADDER[rung]
    height, width = tiles.shape[1:3]
    share = min(1.0, side / max(height, width))
    size = (max(1, round(width * share)), max(1, round(height * share)))
    made = (name, size, quality)
    if made not in _made:
        page = Image.new("RGB", (size[0] * len(tiles), size[1]))
        for i, tile in enumerate(tiles):
            picture = Image.fromarray(tile)
            page.paste(picture if share == 1 else picture.resize(size, Image.Resampling.BOX), (i * size[0], 0))
        buffer = io.BytesIO()
        page.save(buffer, "WEBP", quality=quality, method=4)
        _made[made] = buffer.getvalue()
    return _made[made]


def measured(home: Path) -> dict[str, Any] | None:
    """What a finished measure stage has to show: its tiles and per-victim scores; None where the store lacks it."""
    return _measured(home, *_stamp(home)) if (home / SCORES).is_file() else None


def _stamp(home: Path) -> tuple[int, ...]:
    """What changes when a stage is built again."""
    return tuple((home / name).stat().st_mtime_ns for name in (SCORES, pictures.FILE) if (home / name).is_file())


@lru_cache(maxsize=4096)
def _measured(home: Path, *stamp: int) -> dict[str, Any] | None:
    scores = pictures.read_scores(home / SCORES)
    if not scores:
        return None
    matched = scores.pop("valid", None)  # victims that can be found at all
    known = [m for m in dict.fromkeys([*PRIVACY, *scores]) if m in scores]  # the file's order is the alphabet's
    scores = {m: scores[m] if matched is None else np.where(matched > 0, scores[m], np.nan) for m in known}
    stage: dict[str, Any] = {"scores": scores, "extremes": picked(scores)}
    shown = pictures.read(home)
    if shown is None:
        return stage
    fixed, rest = shown.at("fixed"), shown.at(*pictures.EXTREMES)
    stage["fixed"] = {**_tiles(fixed), "mse": fixed.scores["mse"].tolist()}
    if rest.place:
        own = {m: rest.scores[m].tolist() for m in scores if m in rest.scores}
        stage["extremes"] = {"words": rest.place, "victims": rest.index, "scores": own, **_tiles(rest)}
    return stage


def _tiles(shown: pictures.Shown) -> dict[str, Tiles]:
    return {"x": pictures.tiles(shown.x), "images": pictures.tiles(shown.images)}


def picked(scores: Mapping[str, np.ndarray]) -> dict[str, Any] | None:
    """The victims that the attacker did best, middling and worst on by the first score.

    None where that score only says yes or no.
    """
    first = next(iter(scores), None)
    metric = PRIVACY.get(first or "")
    if first is None or (metric and metric.yes_no):
        return None
    more = metric is not None and metric.better == "lower"  # the higher, the more exposed
    order = np.argsort(-scores[first] if more else scores[first], kind="stable")
    order = order[np.isfinite(scores[first][order])]
    named = [(word, int(i)) for word, indices in pictures.extremes(order.tolist()).items() for i in indices]
    return {
        "words": [word for word, _ in named], "victims": [i for _, i in named],
        "scores": {m: [float(v[i]) for _, i in named] for m, v in scores.items()},
    }  # fmt: skip
