"""Who is seen, by which camera, and which images ask for whom: what re-identification needs of one's own images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from splitpriv.data.reading import Reading, some
from splitpriv.types import UserError

GALLERY = ("0", "1")  # asks, is sought
Columns = dict[str, list[str]]


def someone(columns: Mapping[str, list[str]], pool: Sequence[str] | None, reading: Reading) -> Columns:
    """The columns identity, camera and gallery, as far as they can be made of what is there.

    Where no camera is known, no two images of an identity share one. Where neither a column gallery nor pools say who
    asks, it is the first of several images of an identity by a camera, or its first image where there are none.
    """
    identity = columns["identity"]
    camera = columns.get("camera")
    if camera is None:
        reading.note("no camera is known: every image of an identity counts as another camera's")
        seen: Counter[str] = Counter()
        camera = []
        for who in identity:
            seen[who] += 1
            camera.append(str(seen[who]))
    gallery = columns.get("gallery")
    if gallery is not None:
        if wrong := sorted(set(gallery) - set(GALLERY)):
            raise UserError(f"dataset.path: the column gallery holds {some(wrong, 5)}; write 0 (asks) or 1 (is sought)")
    elif pool is not None and "query" in pool:
        gallery = ["0" if part == "query" else "1" for part in pool]
    else:
        gallery = _asking(identity, camera)
        reading.note("of each identity the first of several images by a camera asks for the others")
    return {"identity": identity, "camera": camera, "gallery": gallery}


def _asking(identity: Sequence[str], camera: Sequence[str]) -> list[str]:
    pairs = list(zip(identity, camera, strict=True))
    count = Counter(pairs)
    several = {who for (who, _), n in count.items() if n > 1}
    asked: set[tuple[str, ...]] = set()
    gallery = []
    for who, where in pairs:
        group = (who, where) if who in several else (who,)
        asks = group not in asked and (who not in several or count[who, where] > 1)
        if asks:
            asked.add(group)
        gallery.append(GALLERY[not asks])
    return gallery


def apart(identity: Sequence[str], train: int) -> None:
    """UserError where an identity is among the first `train` and among the others."""
    shared = sorted(set(identity[:train]) & set(identity[train:]))
    if shared:
        raise UserError(
            f"dataset.path: {len(shared):,} identities are in training and in the test pool ({some(shared, 5)}); "
            "keep them apart, or name no pools and let dataset.test_share do so"
        )


def held_out(identity: Sequence[str], share: float, seed: int) -> tuple[Tensor, int]:
    """An order of the images, and how many of them make the train pool: whole identities, drawn from `seed`."""
    names = sorted(set(identity))
    drawn = np.random.RandomState(seed).permutation(len(names))  # a frozen stream, see pools.hold_out
    kept = len(names) - round(share * len(names))
    train = {names[i] for i in drawn[:kept]}
    order = sorted(range(len(identity)), key=lambda i: identity[i] not in train)
    return torch.tensor(order), sum(who in train for who in identity)
