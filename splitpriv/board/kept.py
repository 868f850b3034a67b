"""Rows as they are committed: one a line, without curves, with small pictures beside them. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from splitpriv import plain
from splitpriv.dashboard import thumbs
from splitpriv.dashboard.build import is_curve
from splitpriv.data.reading import some
from splitpriv.measure import pictures
from splitpriv.store import Row, Store, proof, rows
from splitpriv.types import UserError

KEY = re.compile(r"[0-9a-f]{8,64}")  # which names files of the site
PICTURES = "pictures"  # folder beside the files of rows
SHOWN = "board/shown"  # entry of a row: its strips, by name
SPENT = "board/cpu_s"  # entry of a row: what its stages cost


def kept(row: Row, store: Store, folder: Path, pictured: bool) -> Row:
    """The row without what only a store needs; strips of its fixed victims go into `folder` if it is `pictured`."""
    slim = {k: v for k, v in row.items() if k != "trajectory" and not is_curve(k, v)}
    made = [store.made(*stage.split("/")).get("cpu_s") for stage in row.get("stages", [])]
    slim[SPENT] = round(sum(s for s in made if s), 1)
    home = next((store.root / v for k, v in row.items() if k.startswith("picture/") and v), None)
    shown = pictures.read(home.parent) if pictured and home else None
    if shown:
        fixed = shown.at("fixed")
        strips = {"x": pictures.tiles(fixed.x), "images": pictures.tiles(fixed.images)}
        for tiles in strips.values():
            path = folder / PICTURES / f"{thumbs.digest(tiles)}.webp"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(thumbs.encode(path.stem, tiles, 0))
        names = {which: thumbs.digest(tiles) for which, tiles in strips.items()}
        slim[SHOWN] = {**names, "size": list(fixed.x.shape[2:]), "mse": [float(v) for v in fixed.scores["mse"]]}
    return slim


def append(path: Path, row: Row) -> None:
    """Add a row to a file of rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(proof.seal(plain.finite(row)))


def read(paths: Sequence[Path]) -> list[Row]:
    """The rows of some files, of a key the last; raise UserError for all files and lines that are none."""
    found: dict[str, Row] = {}
    problems = []
    for path in paths:
        if not path.is_file():
            what = "is no file of rows" if path.exists() else "does not exist"
            problems.append(f"board {path}: {what}; name a .jsonl")
            continue
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"board {path}: is no text ({plain.line(str(error))[:120]}); name a .jsonl")
            continue
        bad = []
        for number, line in enumerate(lines, 1):
            try:
                row = plain.restored(proof.unseal(line, since="stages"))
                wrong = rows.fault(row, str(row.get("key"))) or (
                    None if KEY.fullmatch(row["key"]) else f"its key {row['key'][:40]!r} is none"
                )
            except (ValueError, RecursionError) as error:
                wrong = str(error)
            if wrong:
                bad.append(f"line {number} is no row ({plain.line(wrong)})")
                continue
            found[row["key"]] = row
        if bad:
            problems.append(f"board {path}: {some(bad, 5)}; remove {'it' if len(bad) == 1 else 'them'}")
    if problems:
        raise UserError(*problems)
    return list(found.values())


def strip(folder: Path, name: Any) -> bytes | None:
    """The picture of that name, if it is there."""
    path = folder / PICTURES / f"{name}.webp"
    return path.read_bytes() if str(name).isalnum() and path.is_file() else None
