"""Draws that shift no other draw."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def aside(seed: int | None = None) -> Iterator[None]:
    """What is drawn at random inside, on the CPU from `seed` if given, shifts no random number outside."""
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if torch.cuda.is_initialized() else []):
        if seed is not None:
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the accelerator too
        yield


def reseeds(draw: Callable[[], Any]) -> bool:
    """Whether `draw` leaves torch with random numbers of its own choice, whatever they were before."""
    after = []
    with aside():
        for seed in (1, 2):
            torch.default_generator.manual_seed(seed)
            draw()
            after.append(torch.get_rng_state())
    return torch.equal(*after)
