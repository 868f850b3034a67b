"""The victims that a card shows: five worst and five median ones, from the store and the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from splitpriv.deploy.card import Faces
from splitpriv.measure import pictures
from splitpriv.report.terminal import images_of
from splitpriv.store import Row, Store, say
from splitpriv.types import UserError


def faces(row: Row, store: Store, overrides: Sequence[str] = ()) -> list[Faces]:
    """By the strongest attack on images: all victims are looked at where the data and the reconstructions are there,
    else those few whose pictures the store keeps; a line says so. None where the row has no such attack."""
    names = images_of(row)
    if not names:
        return []
    name = str(row.get("binds/image") if row.get("binds/image") in names else names[0])
    try:
        return _of_all(row, store, name, overrides)
    except UserError as error:
        shown = pictures.read((store.root / row[f"picture/{name}"]).parent)
        say(f"card: shows the few victims that the store keeps ({error.problems[0]})")
    if shown is None:
        return []
    places = {"best": "Worst reconstructions", "median": "Median reconstructions"}
    kept = {title: shown.at(place) for place, title in places.items()}
    return [Faces(title, pictures.tiles(s.x), pictures.tiles(s.images), [f"{v:.4f}" for v in s.scores["mse"]])
            for title, s in kept.items() if len(s.x)]  # fmt: skip


def _of_all(row: Row, store: Store, name: str, overrides: Sequence[str]) -> list[Faces]:
    from splitpriv.run.context import Run
    from splitpriv.run.reopen import planned
    from splitpriv.run.stages import RECOVERED
    from splitpriv.store.state import load_tensors

    prepared = planned(row, store, overrides)
    home = store.home("attack", prepared.plan.attacks[name])
    if not (home / RECOVERED).is_file():
        raise UserError(f"attack/{home.name}/{RECOVERED} is not there")
    rebuilt = load_tensors(home / RECOVERED)["image"].float().cpu()
    x = Run(prepared, store, prepared.parts.runtime.start()).victims.x(slice(None)).cpu()
    if x.shape != rebuilt.shape:
        raise UserError(f"attack/{home.name} rebuilt other victims than the data have")
    mse = (rebuilt - x).square().flatten(1).mean(1).numpy()
    above, below = (v.clamp(0, 1).mul(255).round().byte().numpy() for v in (x, rebuilt))
    return faces_of(mse, above, below)


def chosen(order: Sequence[int], count: int = 5) -> Mapping[str, list[int]]:
    """Of victims in `order`, best rebuilt first: the `count` worst for their owners, and the median ones."""
    start = max(0, (len(order) - count) // 2)
    return {"worst": list(order[:count]), "median": list(order[start : start + count])}


def faces_of(scores: Any, x: np.ndarray, images: np.ndarray) -> list[Faces]:
    """Five worst and five median victims x (N, C, H, W) with their reconstructions, in bytes, by MSE (N,)."""
    titles = {"worst": "Five worst reconstructions", "median": "Five median reconstructions"}
    return [
        Faces(titles[place], pictures.tiles(x[at]), pictures.tiles(images[at]), [f"{float(scores[i]):.4f}" for i in at])
        for place, at in chosen(np.argsort(scores, kind="stable").tolist()).items()
    ]
