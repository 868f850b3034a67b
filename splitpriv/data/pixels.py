"""One image file as pixels: every mode that the decoder knows is scaled as the file says, or refused."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps

Image.init()
_NO_PICTURE = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}  # recognised, but drawn by other programs or not at all
FORMATS = sorted(set(Image.OPEN) - _NO_PICTURE)
ENDINGS = {ending for ending, name in Image.registered_extensions().items() if name in FORMATS}
DARK = 32  # of 255: where no pixel of a whole set reaches that, its values were taken for others
WHITE = (255, 255, 255)
_MODE = {1: "L", 3: "RGB"}
_WHITE_IS_ZERO = 262, 0  # TIFF's PhotometricInterpretation
_SIGNED = 339, (2,)  # TIFF's SampleFormat
_STEP = {"L;2": 85, "L;4": 17}  # between the greys of a PNG of 2 and 4 bits, as they are read


class RefusedError(ValueError):
    """An image that a rule refuses; `setting` names the rule, `remedy` what to do."""

    def __init__(self, setting: str, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.setting, self.remedy = setting, remedy


@dataclass(frozen=True)
class Rules:
    """How files become pixels.

    `size`: side of the centred square that is kept and resized, or (height, width) to which the whole image is
    stretched; `channels` 1 or 3. What is transparent shows `background` (red, green, blue), whatever colour hides
    there. `value_range`: the values of black and white; None: what the mode says, 0..255 of 8 bits, 0..65535 of 16 and
    0..1 of fractions, where whole numbers of 32 bits say nothing and are refused. More than `max_pixels` are refused
    before they are unpacked. Orientation is that of EXIF; of several pictures in a file the first counts; colour
    profiles are not applied.
    """

    size: int | tuple[int, int]
    channels: int
    background: tuple[int, int, int] = WHITE
    value_range: tuple[float, float] | None = None
    max_pixels: int = 100_000_000


@dataclass(frozen=True)
class Seen:
    """What a file was: its format and mode, (width, height) as stored, least and greatest value, several pictures?"""

    kind: str
    size: tuple[int, int]
    low: float
    high: float
    several: bool


def read(path: Path, rules: Rules) -> tuple[NDArray[np.uint8], Seen]:
    """Pixels (channels, height, width) of a file, and what it was; raises RefusedError by a rule, or PIL's errors."""
    try:
        file = Image.open(path, formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise RefusedError(
            "max_pixels", f"has more than {rules.max_pixels:,} pixels", "shrink it, or raise the limit"
        ) from error
    with file:
        if file.width * file.height > rules.max_pixels:
            wide = f"has {file.width:,} x {file.height:,} pixels, more than {rules.max_pixels:,}"
            raise RefusedError("max_pixels", wide, "shrink it, or raise the limit")
        kind, stored = f"{file.format} {file.mode}", file.size
        several, inverted = bool(getattr(file, "is_animated", False)), _inverted(file)
        _corrected(file)
        image, low, high = _shown(ImageOps.exif_transpose(file), rules, str(file.format), inverted)
    return _resized(image, rules.size), Seen(kind, stored, low, high, several)


def _inverted(file: Image.Image) -> bool:
    """Is this a TIFF of more than 8 bits whose zero is white? The decoder turns those of 8 bits only."""
    tag, white = _WHITE_IS_ZERO
    tags: Any = getattr(file, "tag_v2", {})
    return deep(file.mode) and tags.get(tag) == white


def _corrected(file: ImageFile.ImageFile) -> None:
    """What the decoder takes for something else: signed bytes for unsigned, a hidden grey of few bits for one of 8."""
    tag, signed = _SIGNED
    tags: Any = getattr(file, "tag_v2", {})
    if not deep(file.mode) and tags.get(tag, ())[:1] == signed:
        raise ValueError("a TIFF of signed bytes, which the decoder takes for unsigned ones")
    hidden, step = file.info.get("transparency"), _STEP.get(str(file.tile[0].args)) if file.tile else None
    if step and isinstance(hidden, int):
        file.info["transparency"] = hidden * step


def deep(mode: str) -> bool:
    """Does a pixel of this mode hold more than 8 bits?"""
    return mode[0] in "IF"


def _shown(image: Image.Image, rules: Rules, form: str, inverted: bool) -> tuple[Image.Image, float, float]:
    """The image in 8 bits, over the background where it is transparent, and the least and greatest of its values."""
    target = _MODE[rules.channels]
    if deep(image.mode):
        values = np.asarray(image).astype(np.float64)
        low, high = rules.value_range or _declared(image.mode, form)
        _within(values, low, high, image.mode)
        grey = np.rint((values - low) / (high - low) * 255).astype(np.uint8)
        shown = Image.fromarray(255 - grey if inverted else grey).convert("RGB")
        hidden = image.info.get("transparency")
        alpha = None if hidden is None else Image.fromarray(np.where(values == hidden, 0, 255).astype(np.uint8))
        extremes = float(values.min()), float(values.max())
    else:
        alpha = None
        if image.has_transparency_data:
            image = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
            alpha = image.getchannel("A")
        shown = image.convert("RGB" if alpha else target)
        extremes = _extremes(shown)
        if rules.value_range:
            shown = _stretched(shown, *rules.value_range, *extremes)
    if alpha is not None:
        shown = Image.composite(shown.convert("RGB"), Image.new("RGB", shown.size, rules.background), alpha)
    return shown.convert(target), *extremes


def _declared(mode: str, form: str) -> tuple[float, float]:
    if mode == "F":
        return 0.0, 1.0
    if mode != "I" or form in ("PNG", "PPM", "JPEG2000"):  # what these call I has 16 bits
        return 0.0, 65535.0
    raise RefusedError(
        "value_range", f"holds whole numbers of 32 bits ({form}) and does not say which is white", "set it"
    )


def _within(values: NDArray[Any], low: float, high: float, mode: str) -> None:
    if not np.isfinite(values).all():
        raise ValueError("some of its values are no numbers")
    least, most = values.min(), values.max()
    if least < low or most > high:
        raise RefusedError(
            "value_range", f"(mode {mode}) holds values from {least:.6g} to {most:.6g}, outside of {low:g} to {high:g}",
            f"set it to what is black and what is white, as in [{least:.6g},{most:.6g}]",
        )  # fmt: skip


def _extremes(image: Image.Image) -> tuple[float, float]:
    pairs: Any = image.getextrema()
    pairs = [pairs] if image.mode == "L" else pairs
    return float(min(p[0] for p in pairs)), float(max(p[1] for p in pairs))


def _stretched(image: Image.Image, low: float, high: float, least: float, most: float) -> Image.Image:
    if high > 255:
        raise RefusedError("value_range", f"has 8 bits beside a white of {high:g}", "keep files of other depths apart")
    _within(np.array([least, most]), low, high, image.mode)
    table = [min(255, max(0, round((v - low) / (high - low) * 255))) for v in range(256)]
    return image.point(table * len(image.getbands()))


def _resized(image: Image.Image, size: int | tuple[int, int]) -> NDArray[np.uint8]:
    box = (0, 0, image.width, image.height)
    if isinstance(size, int):
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        box, size = (left, top, left + side, top + side), (size, size)
    if image.size != size[::-1]:
        image = image.resize(size[::-1], Image.Resampling.BICUBIC, box)
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
