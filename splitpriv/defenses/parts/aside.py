"""Draws that shift no other draw."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def aside(seed: int | None = None) -> Iterator[None]:
    """What is drawn at random inside, on the CPU from `seed` if given, shifts no random number outside."""
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if torch.cuda.is_initialized() else []):
        if seed is not None:
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the accelerator too
        yield
