"""An attack that is sent in: a tensor of reconstructions of a row's frozen victims, scored by us. No code is run.

The file is safetensors, or an .npz without objects: `reconstructions` float32 (victims, C, H, W) in [0, 1], with `row`
and `victims`, which `splitpriv board victims` says, as metadata or as two texts.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
import torch
from torch import Tensor

from splitpriv import plain
from splitpriv.board import entries
from splitpriv.board.lines import best_known, queries_of
from splitpriv.measure import measure
from splitpriv.run.context import Run
from splitpriv.run.prepare import prepare
from splitpriv.run.reopen import reopened, settings_of
from splitpriv.stats.ssim import Padding
from splitpriv.store import Row, Store, proof, write_atomic
from splitpriv.types import UserError

TENSOR = "reconstructions"
MOST = 4_000_000_000  # bytes of a file
COPY = 1e-9  # MSE below which a reconstruction is the victim itself


@dataclass(frozen=True)
class Sent:
    """What a file holds."""

    row: str
    victims: str
    images: np.ndarray


def digest(images: Tensor) -> str:
    """A SHA-256 of images (N, C, H, W) in [0, 1], by their bytes."""
    pixels = images.cpu().mul(255).round().byte().contiguous()
    return hashlib.sha256(str(tuple(pixels.shape)).encode() + pixels.numpy().tobytes()).hexdigest()


def find(key: str, rows: Sequence[Row]) -> Row:
    """The row of a key, or of its first letters."""
    found = [row for row in rows if row["key"].startswith(key)] if key else []
    if len(found) != 1:
        told = "is the beginning of several rows" if found else "is no row of this board"
        raise UserError(f"board: {plain.line(key)[:80]!r} {told}; the site and results/board say the keys")
    return found[0]


def write_releases(row: Row, store: Store, out: Path, overrides: Sequence[str]) -> int:
    """Write what the device sends of every frozen victim, averaged over the row's queries; how many there are."""
    if out.suffix != ".safetensors":
        raise UserError(f"board {out}: is written as safetensors; end its name so")
    prepared = reopened(row, store, overrides)
    run = Run(prepared, store, prepared.parts.runtime.start())
    with torch.no_grad():
        draws = [run.releases(draw) for draw in range(queries_of(row))]
    releases = torch.stack(draws).mean(0).float().cpu().contiguous()
    told = {"row": str(row["key"]), "victims": digest(run.victims.x(slice(None)))}
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(out, safetensors.numpy.save({"releases": releases.numpy()}, metadata=told))
    return len(releases)


def read(path: Path) -> Sent:
    """What a submitted file says; raise UserError for what is not safetensors and not an .npz without objects."""
    if not path.is_file():
        raise UserError(f"board {path}: there is no such file")
    if path.stat().st_size > MOST:
        raise UserError(f"board {path}: has {path.stat().st_size / 1e9:.1f} GB, more than any world's victims take")
    if path.suffix not in (".safetensors", ".npz"):
        raise UserError(f"board {path}: is neither .safetensors nor .npz; other formats may hold code")
    try:
        told = _npz(path) if path.suffix == ".npz" else _safetensors(path)
    except UserError:
        raise
    except (safetensors.SafetensorError, OSError, ValueError, KeyError, zipfile.BadZipFile, MemoryError) as error:
        kind = "an .npz without objects" if path.suffix == ".npz" else "a safetensors file"
        raise UserError(f"board {path}: is not {kind} ({plain.line(str(error))[:120]})") from error
    missing = [name for name in ("row", "victims", TENSOR) if told.get(name) is None]
    if missing:
        raise UserError(f"board {path}: lacks {' and '.join(missing)}; `splitpriv board victims` says row and victims")
    images = told[TENSOR]
    if not isinstance(images, np.ndarray) or images.ndim == 0:
        shape = getattr(images, "shape", "no tensor")
        raise UserError(f"board {path}: {TENSOR} are {shape}; give (victims, C, H, W)")
    return Sent(str(told["row"]), str(told["victims"]), images)


def _safetensors(path: Path) -> Mapping[str, object]:
    with safetensors.safe_open(path, framework="np") as file:
        told: dict[str, object] = dict(file.metadata() or {})
        if TENSOR in file.keys():  # noqa: SIM118  # the file itself cannot be searched
            kind = file.get_slice(TENSOR).get_dtype()
            if kind != "F32":  # numpy has no name for some
                raise UserError(f"board {path}: {TENSOR} are {kind}; give float32")
            told[TENSOR] = file.get_tensor(TENSOR)
    return told


def _npz(path: Path) -> Mapping[str, object]:
    with zipfile.ZipFile(path) as packed:
        size = sum(part.file_size for part in packed.infolist())
    if size > MOST:
        raise UserError(f"board {path}: unpacks to {size / 1e9:.1f} GB, more than any world's victims take")
    with np.load(path, allow_pickle=False) as file:
        told: dict[str, object] = {name: str(file[name])[:100] for name in ("row", "victims") if name in file.files}
        return told | ({TENSOR: file[TENSOR]} if TENSOR in file.files else {})


def frozen(row: Row, store: Store, overrides: Sequence[str]) -> Run:
    """The run of a row, of which only the data are asked: its `victims` are the frozen ones."""
    return Run(prepare(settings_of(row, store, overrides)), store, torch.device("cpu"))


def scored(sent: Sent, row: Row, x: Tensor, padding: Padding, where: str) -> dict[str, float]:
    """The mean scores of what was sent for the victims x; raise UserError for wrong victims, shape, type or values."""
    if sent.victims != digest(x):
        raise UserError(f"board {where}: is of other victims than row {row['key']} has; `splitpriv board victims "
                        f"{row['key'][:8]} FILE` says which")  # fmt: skip
    images = sent.images
    if images.dtype != np.float32:
        raise UserError(f"board {where}: {TENSOR} are {images.dtype}; give float32")
    if images.shape != tuple(x.shape):
        raise UserError(f"board {where}: {TENSOR} are {images.shape}, and these victims are {tuple(x.shape)}")
    if not np.isfinite(images).all():
        raise UserError(f"board {where}: {TENSOR} hold NaN or infinite values; give finite ones")
    if images.min() < 0 or images.max() > 1:
        raise UserError(f"board {where}: {TENSOR} run from {images.min():.4g} to {images.max():.4g}; give [0, 1]")
    scores = measure.scores(torch.from_numpy(images), x, ssim_padding=padding, lpips=None)
    copies = int((scores["mse"] < COPY).sum())
    if 2 * copies > len(images):  # some come out so where the release is nearly the image
        told = f"{copies} of {len(images)} {TENSOR} are the victims themselves, to the bit"
        raise UserError(f"board {where}: {told}; send what an attack rebuilt")
    return measure.summary(scores)


def again(entry: Mapping[str, Any], rows: Sequence[Row], store: Store, folder: Path, overrides: Sequence[str]) -> bool:
    """Hold a committed entry against its row and, of data that ship, against its victims and the file beside it, if one
    is; whether that was scored again. Raises UserError for what does not agree."""
    where = f"attacks/{entry['name']}.json"
    row = find(entry["row"], rows)
    own = {"fit": row.get("fit"), "frozen": entries.frozen(row), "queries": queries_of(row), "count": row["victims"]}
    wrong = [f"{name} is {entry[name]}, and its row has {value}" for name, value in own.items() if entry[name] != value]
    if wrong:
        raise UserError(*(f"board {where}: {problem}; submit it again" for problem in wrong))
    run = frozen(row, store, overrides)
    if not run.parts.dataset.ships:
        return False
    x = run.victims.x(slice(None)).cpu()
    if entry["victims"] != digest(x):
        raise UserError(f"board {where}: victims is of other images than its row has; submit it again")
    kept = entries.sent(folder, entry["name"])
    if kept is None:
        return False
    if proof.sha256(kept) != entry["file"]:
        raise UserError(f"board {kept}: is not the file that was scored; submit it again")
    scores = scored(read(kept), row, x, run.parts.measure.ssim_padding, str(kept))
    apart = [
        name for name in ("mse", "ssim") if not math.isclose(scores[name], entry[name], rel_tol=1e-4, abs_tol=1e-6)
    ]
    if apart:
        told = [f"{name} is {entry[name]:.6g}, and {kept.name} scores {scores[name]:.6g}" for name in apart]
        raise UserError(*(f"board {where}: {problem}; submit it again" for problem in told))
    return True


def submit(path: Path, about: Mapping[str, str], rows: Sequence[Row], store: Store, folder: Path,
           overrides: Sequence[str]) -> str:  # fmt: skip
    """Score a file and write its entry; what came of it, in a line."""
    sent = read(path)
    row = find(sent.row, rows)
    if not row.get("fit"):
        raise UserError(f"board {path}: row {row['key']} is no run, and has no frozen victims; name one of a board")
    source = about["source"]
    if source.startswith("docs/") and not (folder.absolute().parent / source.partition("#")[0]).is_file():
        raise UserError(f"board {about['name']}: there is no {source} here; add that page, or give its https://…")
    before, who = best_known(row, entries.read(folder).reached(rows).get(row["key"], {}))
    told = {"kind": "attack", **about, "row": row["key"], "fit": row["fit"], "frozen": entries.frozen(row),
            "victims": sent.victims, "file": proof.sha256(path),
            "queries": queries_of(row), "count": len(sent.images), "mse": 0.0, "ssim": 0.0}  # fmt: skip
    entries.checked(told, about["name"])
    out = folder / "attacks" / f"{about['name']}.json"
    if out.exists():
        raise UserError(f"board {about['name']}: there is an entry of that name; choose another --name")
    run = frozen(row, store, overrides)
    scores = scored(sent, row, run.victims.x(slice(None)).cpu(), run.parts.measure.ssim_padding, str(path))
    entry = entries.checked({**told, "mse": scores["mse"], "ssim": scores["ssim"]}, about["name"])
    out.parent.mkdir(parents=True, exist_ok=True)
    kept = out.with_suffix(path.suffix)
    if path.stat().st_size <= entries.WEIGHTS and path.resolve() != kept.resolve():
        shutil.copyfile(path, kept)
    write_atomic(out, json.dumps(entry.model_dump(), indent=1) + "\n")
    beside = f"best known was {before:.5f}, by {who or 'the suite'}"
    what = "lowers what is known" if scores["mse"] < before else "is not stronger"
    return f"board: {out}: MSE {scores['mse']:.5f} on {row['chain']} ({beside}): {what}"
