"""The defences that ship, by the name of their YAML, and the links that each brings."""

from __future__ import annotations

import functools
from typing import Any

from splitpriv import config, options
from splitpriv.contract.base import composed

NAMES = sorted(p.stem for p in (config.CONF / "defense").glob("*.yaml"))

__all__ = ["NAMES", "composed", "links"]


@functools.cache
def links() -> dict[str, dict[str, Any]]:
    """The links that each option brings; options that share no name are composed together, which is dear."""
    brought: dict[str, dict[str, Any]] = {}
    while rest := [name for name in NAMES if name not in brought]:
        batch: dict[str, set[str]] = {}
        for name in rest:
            called = set(options.called(config.CONF, "defense", name))
            if not any(called & others for others in batch.values()):
                batch[name] = called
        chain = composed(f"defense=[{','.join(batch)}]")["defense"]
        brought |= {name: {k: v for k, v in chain.items() if k in called} for name, called in batch.items()}
    return brought
