"""Small images, folders and tables as people bring them, and a data set made of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from splitpriv.data.images import Images
from splitpriv.types import UserError

SETTINGS: dict[str, Any] = {
    "size": 8, "channels": 3, "attributes": None, "test_share": 0.25, "seed": 0, "identities": False, "layout": "auto",
    "pattern": None, "letter_case": "refuse", "background": 255, "value_range": None, "max_pixels": 10**6,
    "max_entries": 1000, "crop": 0, "flip": False, "rotation": 0.0,
}  # fmt: skip


def own(path: Path, **changes: Any) -> Images:
    """dataset=images of a folder or table."""
    return Images(path=str(path), **{**SETTINGS, **changes})


def put(root: Path, *names: str, colour: Any = (200, 100, 50)) -> Path:
    """Images of one colour at these places below `root`, which is returned."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), colour).save(root / name, format="JPEG" if "j" in Path(name).suffix else "PNG")
    return root


def write(root: Path, rows: Iterable[str], name: str = "list.csv", encoding: str = "utf-8") -> Path:
    """A table below `root`."""
    path = root / name
    path.write_bytes(("\n".join(rows) + "\n").encode(encoding))
    return path


def refusal(path: Path, **changes: Any) -> str:
    """What is said of a folder or table that is not read."""
    try:
        own(path, **changes)
    except UserError as error:
        return str(error)
    raise AssertionError(f"{path} was read")
