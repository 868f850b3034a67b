"""The defences that ship, by the name of their YAML."""

from __future__ import annotations

from splitpriv import config
from splitpriv.contract.base import composed

NAMES = sorted(p.stem for p in (config.CONF / "defense").glob("*.yaml"))

__all__ = ["NAMES", "composed"]
