"""What a check looks at once for all points of a sweep: the shape of what an edge sends, settings without a fault."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from splitpriv.config import Config
from splitpriv.nets.split import SplitNet
from splitpriv.targets import TRUSTED
from splitpriv.types import Spec

_SEEN: dict[str, Tensor] = {}
FIT: set[str] = set()  # nets of attacks for which there is room
FAULTLESS: set[str] = set()  # nodes of ours that bind


def told(*what: Any) -> str:
    """What was looked at, as text that tells 1 from 1.0 and from true, whatever the keys are."""
    return repr(what)


def is_ours(text: str) -> bool:
    """Whether every target of a text by `told` is one that changes with nothing but our code."""
    return all(target.startswith(TRUSTED) for target in re.findall(r"'_target_': .([^'\"]*)", text))


def of(cfg: Config, net: SplitNet, spec: Spec) -> Tensor | None:
    """z of two images on the meta device, where it has no values; None elsewhere, and for networks from files."""
    ours = str(cfg["backbone"]["_target_"]).startswith("splitpriv.nets.") and not net.facts
    if not ours or any(p.device.type != "meta" for p in net.parameters()):
        return None
    place = told(cfg["backbone"], cfg["split"], spec.image, spec.classes)
    if place not in _SEEN:
        with torch.no_grad():
            _SEEN[place] = net.eval().edge(torch.full((2, *spec.image), 0.5, device="meta")).float()
        net.train()
    return _SEEN[place]
