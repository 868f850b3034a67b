"""What the checks share: how one fails, and small worlds to check in."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from splitpriv import config

SMALL = (
    "dataset=gaussian", "dataset.samples=400", "backbone.width=4", "protocol=smoke", "protocol.limit.train=64",
    "protocol.limit.aux=48", "protocol.limit.victims=32", "protocol.limit.val=16", "protocol.attacked=8",
    "split.at=1", "optim.epochs=2", "optim.batch=16", "measure.latency_repeats=1", "measure.draws=2",
    "attack=[decoder]",
)  # fmt: skip
DECODER = (
    "decoder@attack.decoder.net=conv", "attack.decoder.net.width=8", "attack.decoder.net.widest=8",
    "attack.decoder.epochs=2", "attack.decoder.batch=16",
)  # fmt: skip
FEW = {"epochs": 2, "pretrain": 2, "steps": 3, "batch": 24, "draws": 2, "n_critic": 2, "restarts": 2, "levels": 2,
       "starts": 8}  # fmt: skip
NET = {"_target_": "splitpriv.nets.decoders.residual", "blocks": 1, "width": 4}


class BrokenError(AssertionError):
    """An option does not keep what every option of its group must."""


class LeftOutError(Exception):
    """A check that cannot be made here, and why."""


def require(kept: object, told: str) -> None:
    """Raise BrokenError where something that every option must keep is not."""
    if not kept:
        raise BrokenError(told)


@functools.lru_cache(maxsize=256)
def composed(*overrides: str) -> config.Config:
    """A config on 8x8 images and a tiny network; shared, so do not change it."""
    return config.compose(("dataset=gaussian", "backbone=tiny", "backbone.width=2", "split.at=1", *overrides))


def few(node: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of an attack with few steps and little nets, in attacks within attacks too."""
    inner = {k: few(v) for k, v in node.items() if isinstance(v, dict)}
    less = {k: v for k, v in FEW.items() if node.get(k)}
    return {**node, **inner, **less, **({"net": NET} if node.get("net") else {})}


def require_json(value: object, what: str) -> None:
    """Raise BrokenError for what cannot be part of a row."""
    try:
        json.dumps(value)
    except (TypeError, ValueError) as error:
        raise BrokenError(f"{what} cannot be written as JSON ({error}); give plain numbers, texts and lists") from error


def require_valued(cfg: object, where: str) -> None:
    """Raise LeftOutError for a setting without a value, which nothing can be built of."""
    if isinstance(cfg, Mapping):
        for key, value in cfg.items():
            require_valued(value, f"{where}.{key}")
    elif cfg == config.MISSING:
        raise LeftOutError(f"{where.lstrip('.')} has no value")
