"""Trials of a search that end early: what their training shows live is beaten by several that are finished."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from splitpriv import stop
from splitpriv.launch import folder as place
from splitpriv.store import read_json, write_atomic
from splitpriv.types import UserError

RIVALS = "rivals.json"  # in the folder of a search: what finished trials showed at every epoch


def counterparts(cfg: Mapping[str, Any], columns: Sequence[str], ways: Sequence[str]) -> dict[str, str]:
    """What training shows every epoch of each column of a row, and which way is better.

    Raise UserError where it shows nothing: only `monitor=decoder` measures leakage while the target learns.
    """
    live: dict[str, str] = {}
    for column, way in zip(columns, ways, strict=True):
        if column.startswith("utility/"):
            live["accuracy/val"] = way
        elif column.startswith("privacy/") and column.endswith(("/mse", "/psnr", "/ssim")):
            if not cfg["monitor"]:
                raise UserError("hydra.sweeper.prune: looks at the live leakage, and nothing measures it; add "
                                "monitor=decoder")  # fmt: skip
            similar = column.endswith("/ssim")
            better = {"minimize": "maximize", "maximize": "minimize"}[way] if column.endswith("/psnr") else way
            live["monitor/ssim" if similar else "monitor/mse"] = better
        else:
            raise UserError(f"hydra.sweeper.prune: training shows nothing of {column}; prune by utility/… and the mse, "
                            "psnr or ssim of an attack")  # fmt: skip
    return live


def leave(folder: Path, cfg: Mapping[str, Any], live: Mapping[str, str], rows: Sequence[Mapping[str, Any]],
          startup: int, after: float) -> None:  # fmt: skip
    """Tell trials about to begin what the finished ones, of these `rows`, showed at every epoch."""
    curves = [{f"{note['phase']}/{note['epoch']}": [note[key] for key in live] for note in row.get("trajectory") or []
               if all(key in note for key in live)} for row in rows]  # fmt: skip
    about = {"live": dict(live), "startup": startup, "from": round(after * cfg["optim"]["epochs"]), "curves": curves}
    write_atomic(folder / RIVALS, json.dumps(about))


def judge(folder: Path) -> Callable[[Sequence[Mapping[str, Any]]], None]:
    """What looks at a training's curve after each epoch, and ends it where there is no hope."""
    about = read_json(folder / RIVALS, {})

    def look(curve: Sequence[Mapping[str, Any]]) -> None:
        if about and (told := hopeless(curve[-1], about)):
            raise stop.Pruned(told)

    return look


def hopeless(note: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    """Why a trial with this epoch is given up: of one number half of the finished trials, of several a quarter and at
    least two, were better in all of them at the same epoch. Empty where it goes on.
    """
    live: Mapping[str, str] = about["live"]
    if note["epoch"] + 1 < about["from"] or not all(key in note for key in live):
        return ""
    place_ = f"{note['phase']}/{note['epoch']}"
    at = [curve[place_] for curve in about["curves"] if place_ in curve]
    if len(at) < about["startup"]:
        return ""
    signs = [1 if way == "maximize" else -1 for way in live.values()]
    mine = [note[key] for key in live]
    better = sum(all(s * (b - a) > 0 for s, a, b in zip(signs, mine, theirs, strict=True)) for theirs in at)
    if better < (len(at) / 2 if len(live) == 1 else max(2, len(at) / 4)):
        return ""
    shown = ", ".join(f"{key} {note[key]:.4g}" for key in live)
    return f"{better} of {len(at)} trials were better after epoch {note['epoch'] + 1}: {shown}"


def was_pruned(folder: Path, number: int) -> bool:
    """Whether a point ended early."""
    return "pruned" in read_json(folder / str(number) / place.DONE, {})
