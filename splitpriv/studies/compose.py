"""Commands beside `run` have a config group of their own, composed with the rest and checked in the same way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from splitpriv import config
from splitpriv.types import UserError, blame


def compose(group: str, option: str, overrides: Sequence[str]) -> tuple[Any, config.Config, config.Config]:
    """What `conf/<group>/<option>.yaml` builds, its node, and the config of the run around it without that group."""
    try:
        cfg = config.compose([f"+{group}={option}", *overrides])
    except UserError as error:  # the run itself does not know the group
        problems = [p for p in error.problems if not p.startswith(f"{group}: no such key here")]
        raise UserError(*problems) from error
    node = cfg.pop(group)
    cfg["choices"].pop(group)
    with blame(group):
        return config.build(node, group)(), node, cfg
