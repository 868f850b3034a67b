"""Commands beside `run` have a config group of their own, composed with the rest and checked in the same way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from splitpriv import config
from splitpriv.targets import build
from splitpriv.types import UserError, blame


def compose(group: str, option: str, overrides: Sequence[str]) -> tuple[Any, config.Config, config.Config]:
    """What `conf/<group>/<option>.yaml` builds, its node, and the config of the run around it without that group."""
    try:
        cfg = config.compose([f"+{group}={option}", *overrides])
    except config.RefusedError as error:
        from splitpriv.run.prepare import check  # with all that trains networks

        problems = [*error.problems, *check(error.rest)]  # the run itself does not know the group
        raise UserError(*(p for p in problems if not p.startswith(f"{group}: no such key here"))) from error
    node = cfg.pop(group)
    cfg["choices"].pop(group)
    with blame(group):
        return build(node, group)(), node, cfg
