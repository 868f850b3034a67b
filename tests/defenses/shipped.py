"""The defences that ship, by the name of their YAML."""

from __future__ import annotations

import functools

from splitpriv import config

NAMES = sorted(p.stem for p in (config.CONF / "defense").glob("*.yaml"))


@functools.cache
def composed(*overrides: str) -> config.Config:
    """A config on 8x8 images and a tiny network; shared, so do not change it."""
    return config.compose(("dataset=gaussian", "backbone=tiny", "backbone.width=2", "split.at=1", *overrides))
