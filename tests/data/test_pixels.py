"""Pixels mean what the file says: every mode of the decoder, transparency, orientation, ranges, bombs."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from own import own, put
from PIL import Image

from splitpriv.data.pixels import RefusedError, Rules, read
from splitpriv.types import UserError

RAMP = np.linspace(0, 255, 64).round().reshape(8, 8).astype(np.uint8)


def shown(path: Path, channels: int = 1, **rules: Any) -> NDArray[np.uint8]:
    return read(path, Rules(8, channels, **rules))[0]


def save(path: Path, image: Image.Image, **how: Any) -> Path:
    image.save(path, **how)
    return path


@pytest.mark.parametrize("ending", ["png", "tif", "jp2"])
def test_16_bits_are_scaled(tmp_path: Path, ending: str) -> None:
    path = save(tmp_path / f"x.{ending}", Image.fromarray(RAMP.astype(np.uint16) * 257))
    assert np.abs(shown(path)[0].astype(int) - RAMP).max() <= 1
    assert (shown(path, 3) == shown(path)).all()


def test_every_mode_is_its_picture(tmp_path: Path) -> None:
    grey = Image.fromarray(RAMP)
    sharp, deep = grey.point(lambda v: 255 * (v > 127)).convert("1"), RAMP.astype(np.uint16) * 257
    real = Image.fromarray(RAMP / np.float32(255))
    for name, image, most in (
        ("L.png", grey, 0), ("RGB.png", grey.convert("RGB"), 0), ("P.gif", grey.convert("P"), 0),
        ("P.png", grey.convert("RGB").quantize(64), 2), ("LA.png", grey.convert("LA"), 0),
        ("RGBA.png", grey.convert("RGBA"), 0), ("CMYK.tif", grey.convert("RGB").convert("CMYK"), 1),
        ("CMYK.jpg", grey.convert("RGB").convert("CMYK"), 9), ("F.tif", real, 0), ("F.pfm", real, 0),
        ("big.tif", Image.fromarray(deep.astype(">u2")), 0), ("I.pgm", Image.fromarray(deep.astype(np.int32)), 0),
        ("1.png", sharp, 127),
    ):  # fmt: skip
        for channels in (1, 3):
            found = shown(save(tmp_path / name, image), channels)
            assert np.abs(found.astype(int) - RAMP).max() <= most, (name, channels)
    assert set(shown(tmp_path / "1.png").ravel()) == {0, 255}


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_a_hidden_grey_of_few_bits(tmp_path: Path, bits: int) -> None:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    one = {2: b"\x55\x55", 4: b"\x11" * 4, 8: b"\1" * 8, 16: b"\0\1" * 8}[bits]
    zero = bytes(len(one))
    (tmp_path / "x.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, bits, 0, 0, 0, 0))
        + chunk(b"tRNS", b"\0\1") + chunk(b"IDAT", zlib.compress((b"\0" + one + b"\0" + zero) * 4))
        + chunk(b"IEND", b"")
    )  # fmt: skip
    assert shown(tmp_path / "x.png")[0, :2, 0].tolist() == [255, 0]


def test_signed_bytes_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "x.tif", Image.fromarray(RAMP), tiffinfo={339: 2})
    with pytest.raises(ValueError, match="signed bytes"):
        shown(path)


def test_a_tiff_whose_zero_is_white(tmp_path: Path) -> None:
    path = save(tmp_path / "x.tif", Image.fromarray(RAMP.astype(np.uint16) * 257), tiffinfo={262: 0})
    assert (shown(path)[0] == 255 - RAMP).all()


@pytest.mark.parametrize("form", ["RGBA", "LA", "PA", "key", "palette", "grey key", "16 bits", "webp", "bytes"])
def test_a_hidden_colour_never_becomes_the_image(tmp_path: Path, form: str) -> None:
    alpha = np.where(np.arange(8)[:, None] < 4, 0, 255) * np.ones((1, 8), int)
    path, how = tmp_path / ("x.webp" if form == "webp" else "x.png"), {}
    if form in ("RGBA", "webp", "LA"):
        image = Image.new("RGB", (8, 8), (10, 10, 10)).convert("L" if form == "LA" else "RGB")
        image.putalpha(Image.fromarray(alpha.astype(np.uint8)))
        how = {"lossless": True, "exact": True} if form == "webp" else {}
    elif form == "16 bits":
        image, how = Image.fromarray(np.where(alpha == 0, 2570, 257).astype(np.uint16)), {"transparency": 2570}
    elif form in ("palette", "bytes", "PA"):
        image = Image.fromarray((alpha // 255).astype(np.uint8)).convert("P")
        image.putpalette([10, 10, 10, 1, 1, 1])
        how = {"transparency": b"\0\xff" if form == "bytes" else 0}
    elif form == "grey key":
        image, how = Image.fromarray(np.where(alpha == 0, 10, 1).astype(np.uint8)), {"transparency": 10}
    else:
        image = Image.fromarray(np.where(alpha == 0, 10, 1).astype(np.uint8)).convert("RGB")
        how = {"transparency": (10, 10, 10)}
    save(path, image, **how)
    for background in ((255, 255, 255), (200, 0, 0)):
        found = shown(path, 3, background=background)
        assert (found[:, 0, 0] == background).all(), form
        assert (found[:, 7, 0] < 12).all(), form


def test_half_transparent_pixels_are_mixed(tmp_path: Path) -> None:
    path = save(tmp_path / "x.png", Image.new("RGBA", (8, 8), (0, 0, 0, 128)))
    assert abs(int(shown(path)[0, 0, 0]) - 127) <= 1


def test_orientation_is_that_of_exif(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    for ending in ("png", "tif", "webp"):
        path = save(tmp_path / f"x.{ending}", Image.fromarray(RAMP).convert("RGB"), exif=exif, lossless=True)
        assert np.abs(shown(path)[0].astype(int) - np.rot90(RAMP, -1)).max() <= 1, ending


def test_ranges_are_declared_or_refused(tmp_path: Path) -> None:
    whole = save(tmp_path / "I.tif", Image.fromarray(RAMP.astype(np.int32) * 1000))
    real = save(tmp_path / "F.tif", Image.fromarray(RAMP.astype(np.float32)))
    for path, said in ((whole, "32 bits"), (real, "values from 0 to 255, outside of 0 to 1")):
        with pytest.raises(RefusedError, match=said) as error:
            shown(path)
        assert error.value.setting == "value_range"
    assert (shown(whole, value_range=(0, 255_000))[0] == RAMP).all()
    assert (shown(real, value_range=(0, 255))[0] == RAMP).all()
    assert (
        shown(save(tmp_path / "L.png", Image.fromarray(RAMP // 64)), value_range=(0, 3))[0] == RAMP // 64 * 85
    ).all()
    with pytest.raises(RefusedError, match="8 bits beside a white of 4095"):
        shown(tmp_path / "L.png", value_range=(0, 4095))
    with pytest.raises(ValueError, match="no numbers"):
        shown(save(tmp_path / "nan.tif", Image.fromarray(np.full((8, 8), np.nan, np.float32))))


def test_12_bits_in_16_are_found_out(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "mine" / name).mkdir(parents=True)
        save(tmp_path / "mine" / name / "0.png", Image.fromarray(RAMP.astype(np.uint16) * 16))
    with pytest.raises(UserError, match=r"dataset\.value_range: values reach from 0 to 4080 only, .*\[0,4080\]"):
        own(tmp_path / "mine").pools(tmp_path / "cache")
    with pytest.raises(UserError, match=r"dataset\.value_range"):  # from the cache, too
        own(tmp_path / "mine").pools(tmp_path / "cache")
    assert own(tmp_path / "mine", value_range=(0.0, 4080.0)).pools(tmp_path / "cache")["train"].images.max() == 255
    for name in ("a/0.png", "b/0.png"):
        Image.fromarray(RAMP.astype(np.uint16) * 64).save(tmp_path / "mine" / name)
    dim = own(tmp_path / "mine")
    dim.pools(tmp_path / "cache")
    assert "values from 0 to 16320, the brightest read as 64 of 255 (is that white?" in dim.reading.about_files()[0]


def test_a_bomb_is_refused_by_the_limit_with_its_name(tmp_path: Path) -> None:
    root = put(tmp_path / "mine", "a/0.png", "b/0.png")
    Image.new("1", (2000, 2000)).save(root / "a/1.png")
    for limit in (3_999_999, 1_000_000, 10):
        with pytest.raises(UserError, match=r"dataset\.max_pixels: .*pixels") as error:
            own(root, max_pixels=limit).pools(tmp_path / "cache")
        assert "1.png" in str(error.value)
    before = Image.MAX_IMAGE_PIXELS
    assert len(own(root, max_pixels=4_000_000).pools(tmp_path / "cache")["train"]) == 2
    assert before == Image.MAX_IMAGE_PIXELS


def test_programs_of_others_draw_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.png"  # PostScript would start Ghostscript
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n")
    with pytest.raises(OSError, match="cannot identify"):
        shown(path)


def test_all_damaged_files_are_named(tmp_path: Path) -> None:
    root = put(tmp_path / "mine", *(f"{c}/{i:02}.png" for c in "ab" for i in range(15)))
    for i in range(12):
        (root / f"a/{i:02}.png").write_bytes(b"damaged")
        (root / f"b/{i:02}.png").write_bytes(b"")
    with pytest.raises(UserError) as error:
        own(root).pools(tmp_path / "cache")
    said = str(error.value)
    assert said.startswith("dataset.path: 24 of 30 files: ")
    assert "a/11.png is not a readable image" in said
    assert "and 4 more; replace it" in said


def test_sizes_that_are_no_squares(tmp_path: Path) -> None:
    data = own(put(tmp_path / "mine", "a/0.png", "b/0.png"), size=(12, 6))
    assert data.spec.image == (3, 12, 6)
    assert data.pools(tmp_path / "cache")["train"].images.shape[1:] == (3, 12, 6)


def test_what_the_files_were_is_kept(tmp_path: Path) -> None:
    root = put(tmp_path / "mine", "a/0.png", "b/0.jpg")
    Image.fromarray(RAMP).resize((20, 10)).save(root / "b/1.png")
    frames = [Image.fromarray(RAMP), Image.fromarray(255 - RAMP)]
    frames[0].save(root / "a/1.gif", save_all=True, append_images=frames[1:])
    for _ in range(2):  # decoded, then from the cache
        data = own(root)
        data.pools(tmp_path / "cache")
        files = data.reading.files
        assert files["kinds"] == {"GIF P": 1, "JPEG RGB": 1, "PNG L": 1, "PNG RGB": 1}
        assert (files["smallest"], files["largest"], files["several"]) == ([8, 8], [20, 10], 1)
    assert "8x8 to 20x10 pixels" in data.reading.lines()[-1]
