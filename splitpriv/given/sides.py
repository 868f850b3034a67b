"""Who holds what in an audit: the adversary's images, the victims', and releases whose images nobody here knows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from splitpriv.data.base import Split
from splitpriv.data.copies import Copies
from splitpriv.given.images import Pictures, pictures
from splitpriv.given.releases import Recorded, beside, require_order
from splitpriv.types import UserError

LEAST = 20  # images of the adversary's
SHARE, MOST = 0.25, 256  # of the images, and how many at most, become victims where none are given


@dataclass(frozen=True)
class Sides:
    """The adversary's images and the victims', with recorded releases (N, *shape) of each where there is no device to
    ask, whose values had `width` bytes; `sent`: releases of which no image is known. `moved`: images of the adversary's
    that were copies of a victim's.
    """

    aux: Split
    victims: Split
    aux_releases: Tensor | None = None
    victims_releases: Tensor | None = None
    sent: Tensor | None = None
    moved: int = 0
    width: int = 4


def sides(data: Pictures | None, victims: Pictures | None, sent: Recorded | None, *, device: bool,
          paired: bool) -> Sides:  # fmt: skip
    """Lay out what was given; `device`: there is an edge that can be asked. Raise UserError where it does not fit.

    Without victims, a share of the adversary's images, drawn once for all, are attacked in their place. Copies of
    victims are taken from the adversary.
    """
    if sent is None:
        return _apart(_needed(data), victims)
    if device:
        return _beside_device(_needed(data), victims, sent, paired)
    return _pairs(data, victims, sent, paired)


def _beside_device(data: Pictures, victims: Pictures | None, sent: Recorded, paired: bool) -> Sides:
    """Recorded releases are the victims', of images that are known or not; the adversary asks the device."""
    if sent.images is not None:
        victims = _only(victims, Pictures(_like(sent.images, data)))
        sent = Recorded(sent.releases, sent.width, None, None, sent.name)
    if victims is None:
        if sent.files is not None and any(sent.files):
            raise UserError("--releases: has names in files and no images to look for; add --victims DIR")
        return _with(_apart(data, None), sent=sent.releases)
    [(known, releases)] = beside(sent, [("--victims", victims)])
    _ordered(known, releases, sent, paired)
    return _with(_apart(data, known), victims_releases=releases, sent=_nameless(sent))


def _pairs(data: Pictures | None, victims: Pictures | None, sent: Recorded, paired: bool) -> Sides:
    """No device can be asked: all that the adversary learns from are pairs of an image and its release."""
    if sent.images is not None:
        if data is not None or victims is not None:
            raise UserError("--releases: holds the images of its releases; leave out --data and --victims")
        held = [(Pictures(_like(sent.images, None)), sent.releases)]
    else:
        named = [(option, p) for option, p in (("--data", data), ("--victims", victims)) if p is not None]
        if data is None:
            raise UserError("--data: give the images that the releases are of, or put them into --releases as images")
        held = beside(sent, named)
    for known, releases in held:
        _ordered(known, releases, sent, paired)
    (aux, r), (others, s) = held if len(held) > 1 else (held[0], (None, None))
    if others is None:
        at, rest = _drawn(len(aux))
        aux, r, others, s = aux.take(rest), r[rest], aux.take(at), r[at]
    made, keep = _parted(aux, others)
    return _with(made, aux_releases=r[keep], victims_releases=s, sent=_nameless(sent), width=sent.width)


def _apart(data: Pictures, victims: Pictures | None) -> Sides:
    if victims is None:
        at, rest = _drawn(len(data))
        data, victims = data.take(rest), data.take(at)
    return _parted(data, victims)[0]


def _parted(data: Pictures, victims: Pictures) -> tuple[Sides, Tensor]:
    """Both as splits, the adversary's without copies of a victim's, and which of his are left."""
    if data.images.shape[1:] != victims.images.shape[1:]:
        a, b = ("x".join(map(str, p.images.shape[1:])) for p in (data, victims))
        option = "--size" if data.images.shape[1] == victims.images.shape[1] else "--channels"
        raise UserError(f"--victims: images of {b} beside {a} in --data; add {option} N, to which all are brought")
    if data.images.dtype != victims.images.dtype:
        data, victims = (Pictures(_floats(p.images), p.files, p.name) for p in (data, victims))
    aux, attacked = _split(data, 0), _split(victims, len(data))
    copies = Copies({"aux": aux, "victims": attacked})
    theirs = set(copies.family[copies.which["victims"]].tolist())
    keep = torch.tensor([int(f) not in theirs for f in copies.family[copies.which["aux"]]])
    if int(keep.sum()) < LEAST:
        lost = f", once {int((~keep).sum())} copies of victims are left out" if not keep.all() else ""
        raise UserError(f"--data: {int(keep.sum())} images are too few for an adversary to learn from{lost}; give at "
                        f"least {LEAST} that are no victims, better thousands")  # fmt: skip
    index = keep.nonzero()[:, 0]
    return Sides(aux.take(index), attacked, moved=int((~keep).sum())), index


def _with(made: Sides, **more: Any) -> Sides:
    return Sides(**{**vars(made), **more})


def _split(given: Pictures, start: int) -> Split:
    count = len(given)
    return Split(given.images, torch.zeros(count, dtype=torch.long), torch.arange(start, start + count))


def _drawn(count: int) -> tuple[Tensor, Tensor]:
    """Which of `count` images are attacked, and the others; the same on every call."""
    order = torch.from_numpy(np.random.RandomState(0).permutation(count).astype(np.int64))
    attacked = min(MOST, round(SHARE * count))
    return order[:attacked].sort().values, order[attacked:].sort().values


def _ordered(pictures: Pictures, releases: Tensor, sent: Recorded, paired: bool) -> None:
    if sent.files is None and not paired:
        require_order(pictures.images, releases, pictures.files)


def _nameless(sent: Recorded) -> Tensor | None:
    """Those of named releases that have no name."""
    unknown = [i for i, name in enumerate(sent.files or ()) if not name]
    return sent.releases[unknown] if unknown else None


def _needed(data: Pictures | None) -> Pictures:
    if data is None:
        raise UserError("--data: give a folder of images like those of the users, which the adversary learns from")
    return data


def _only(victims: Pictures | None, held: Pictures) -> Pictures:
    if victims is not None:
        raise UserError("--releases: holds the images of its releases; leave out --victims")
    return held


def _like(images: Tensor, data: Pictures | None) -> Tensor:
    if data is None:
        return pictures(images, "--releases: images", Path()).images
    channels, height, width = map(int, data.images.shape[1:])
    return pictures(images, "--releases: images", Path(), (height, width), channels).images


def _floats(images: Tensor) -> Tensor:
    return images.float() / 255 if images.dtype == torch.uint8 else images
