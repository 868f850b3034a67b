"""What an attack shows: some victims with their reconstructions, stored once, and the picture drawn of them.

Imports no torch, for those who only read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from safetensors.numpy import load_file, save

from splitpriv.store import say, write_atomic

if TYPE_CHECKING:
    from torch import Tensor

INK, FAINT, PAPER = (30, 30, 30), (110, 110, 110), (255, 255, 255)
FILE = "shown.safetensors"  # in a measure stage
FIXED = 8  # victims that every attack of a run shows
EXTREMES = ("best", "median", "worst")  # in the attacker's eyes
PLACES = ("fixed", *EXTREMES)
SIDE = 96  # least height of a drawn image, pixels
GAP, LINE = 8, 14


@dataclass(frozen=True)
class Shown:
    """Victims `x` and their reconstructions `images`, both (N, C, H, W) in bytes.

    `place` says of each which of PLACES it takes, `index` its number among the victims, `scores` its own: metric ->
    (N,). Stores of before have the fixed victims only, without their numbers: `index` is empty there.
    """

    x: np.ndarray
    images: np.ndarray
    place: list[str]
    index: list[int]
    scores: dict[str, np.ndarray]

    def at(self, *places: str) -> Shown:
        """Those that take one of these places."""
        keep = [i for i, place in enumerate(self.place) if place in places]
        place, index = [self.place[i] for i in keep], [self.index[i] for i in keep if self.index]
        return Shown(self.x[keep], self.images[keep], place, index, {k: v[keep] for k, v in self.scores.items()})

    def names(self) -> list[str]:
        """What each is called: its place and its number."""
        return [f"{p} #{i}" for p, i in zip(self.place, self.index, strict=True)] if self.index else self.place

    def write(self, home: Path) -> None:
        """Store it in the folder of a measure stage, atomically."""
        codes = {"place": np.array([PLACES.index(p) for p in self.place], np.uint8), "index": np.array(self.index)}
        scores = {f"scores/{k}": v for k, v in self.scores.items()}
        write_atomic(home / FILE, save({"x": self.x, "images": self.images, **codes, **scores}))


def read(home: Path) -> Shown | None:
    """What a measure stage shows; None where it shows nothing, or where the store travels without it.

    Of a file that is damaged, a line says that it is left out: no reader stops for a picture.
    """
    if not (home / FILE).is_file():
        return None
    try:
        return _read(home)
    except Exception as error:  # whatever a damaged file makes of its reader
        say(f"measure/{home.name}: {FILE} is damaged ({error}); left out, and the run that made it makes it again")
        return None


def _read(home: Path) -> Shown:
    stored = load_file(home / FILE)
    x, images = stored["x"], stored["images"]
    for array in (x, images):
        if array.dtype != np.uint8 or array.ndim != 4 or array.shape != x.shape or not array.size:
            raise ValueError(f"{array.dtype} {array.shape} are no images")
    if "place" not in stored:  # before the extremes were stored: eight fixed victims, with neither number nor score
        apart = (x.astype(np.float64) - images) / 255
        return Shown(x, images, ["fixed"] * len(x), [], {"mse": np.square(apart).reshape(len(x), -1).mean(1)})
    place, index = [PLACES[code] for code in stored["place"]], stored["index"].tolist()
    scores = {k[7:]: v for k, v in stored.items() if k.startswith("scores/")}
    if "mse" not in scores or any(np.shape(part) != (len(x),) for part in (place, index, *scores.values())):
        raise ValueError("its parts do not fit together")
    return Shown(x, images, place, index, scores)


def read_scores(path: Path) -> dict[str, np.ndarray]:
    """Scores per victim, metric -> (victims,), of a measure stage; none where a line says that it is damaged."""
    try:
        scores = {k: v.astype(np.float64) for k, v in load_file(path).items() if v.ndim == 1}
        if len({len(v) for v in scores.values()}) > 1:
            raise ValueError("its parts do not fit together")
        return scores
    except Exception as error:  # whatever a damaged file makes of its reader
        say(f"{path.parent.parent.name}/{path.parent.name}: {path.name} is damaged ({error}); left out")
        return {}


def extremes(order: Sequence[int]) -> dict[str, list[int]]:
    """Three each of the victims that the attacker did best, middling and worst on, of all in `order`, best first."""
    few, near = min(3, len(order)), max(0, len(order) // 2 - 1)
    return {"best": [*order[:few]], "median": [*order[near : near + few]], "worst": [*order[::-1][:few]]}


def choose(x: Tensor, recon: Tensor, scores: Mapping[str, Tensor], *, seed: int) -> Shown:
    """Of victims x and reconstructions, both (N, C, H, W) in [0, 1], those to show.

    Fixed victims are chosen by `seed` alone; the extremes by the first metric of `scores` (metric -> (N,)), an error
    such as MSE.
    """
    import torch  # late: whoever reads goes without

    fixed = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:FIXED].sort().values.tolist()
    chosen = {"fixed": fixed, **extremes(next(iter(scores.values())).argsort(stable=True).tolist())}
    index = [i for indices in chosen.values() for i in indices]
    above, below = (v[index].float().cpu().clamp(0, 1).mul(255).round().byte().numpy() for v in (x, recon))
    place = [place for place, indices in chosen.items() for _ in indices]
    return Shown(above, below, place, index, {k: v[index].float().cpu().numpy() for k, v in scores.items()})


def grid(shown: Shown, title: str) -> Image.Image:
    """A page of victims above their reconstructions: fixed ones in the first row of pairs, extremes in the second."""
    rows = [[i for i, place in enumerate(shown.place) if (place == "fixed") == fixed] for fixed in (True, False)]
    rows = [row for row in rows if row]
    victims, images, names = tiles(shown.x), tiles(shown.images), shown.names()
    width, height = _enlarged(victims[0]).size
    cell = (max(width, SIDE) + GAP, 2 * height + LINE * (1 + len(shown.scores)) + 3 * GAP)
    page = Image.new("RGB", (GAP + cell[0] * max(map(len, rows)), 2 * GAP + 2 * LINE + cell[1] * len(rows)), PAPER)
    draw, font, small = ImageDraw.Draw(page), ImageFont.load_default(15), ImageFont.load_default(11)
    draw.text((GAP, GAP), title, INK, font)
    for r, row in enumerate(rows):
        for c, i in enumerate(row):
            left, top = GAP + c * cell[0], 2 * GAP + 2 * LINE + r * cell[1]
            draw.text((left, top - 2), names[i].removeprefix("fixed "), INK, small)
            page.paste(_enlarged(victims[i]), (left, top + LINE))
            page.paste(_enlarged(images[i]), (left, top + LINE + height + 2))
            for k, (metric, values) in enumerate(shown.scores.items()):
                at = (left, top + 2 * height + LINE * (1 + k) + 5)
                draw.text(at, f"{metric} {float(values[i]):.3g}", FAINT, small)
    return page


def sheet(images: np.ndarray, title: str) -> Image.Image:
    """Images (N, C, H, W) in bytes on a page, eight in a row."""
    drawn = [_enlarged(tile) for tile in tiles(images)]
    width, height = drawn[0].width + GAP, drawn[0].height + GAP
    across = min(8, len(drawn))
    page = Image.new("RGB", (GAP + width * max(across, 4), 4 * GAP + LINE + height * -(-len(drawn) // across)), PAPER)
    ImageDraw.Draw(page).text((GAP, GAP), title, INK, ImageFont.load_default(15))
    for i, tile in enumerate(drawn):
        page.paste(tile, (GAP + width * (i % across), 3 * GAP + LINE + height * (i // across)))
    return page


def tiles(images: np.ndarray) -> np.ndarray:
    """Images (N, C, H, W) in bytes as colours (N, H, W, 3); channels that are none lie below one another in grey."""
    if images.shape[1] not in (1, 3):
        images = images.reshape(len(images), 1, -1, images.shape[-1])
    return np.ascontiguousarray(np.broadcast_to(images, (len(images), 3, *images.shape[2:])).transpose(0, 2, 3, 1))


def _enlarged(tile: np.ndarray) -> Image.Image:
    """One tile (H, W, 3), enlarged without smoothing."""
    image = Image.fromarray(tile)
    factor = max(1, round(SIDE / image.height))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
