"""The codec: its levels, its rate, and a gradient that an attack can follow."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from splitpriv.defenses.codec import Codec
from splitpriv.measure.rate import code_length
from splitpriv.types import Spec, Step


def codec(z: Tensor, **settings: Any) -> Codec:
    """A codec that has seen z."""
    made = Codec(**{"step": 1.0, "bits": 8, "weight": 1.0, **settings})
    made.attach(None, Spec((1, 8, 8), 2), tuple(z.shape[1:]))  # type: ignore[arg-type]
    made.on_step_end(z, Step(z, torch.zeros(len(z)), {}, nn.Identity(), "fit", 0, 0, 0))
    return made


def features(scale: float = 1.0) -> Tensor:
    return scale * torch.randn(64, 4, 8, 8, generator=torch.Generator().manual_seed(0)) + 3 * scale


@pytest.mark.parametrize("scale", [1e-3, 1.0, 100.0])
def test_levels_lie_a_step_apart_whatever_the_scale_of_z(scale: float) -> None:
    z = features(scale)
    made = codec(z, step=0.5)
    release = made.after_edge(z)
    levels = (release - z.mean()) / (0.5 * z.std())
    assert torch.allclose(levels, levels.round(), atol=1e-3)
    assert len(levels.round().unique()) > 10
    assert (release - z).abs().max() < 0.2501 * z.std()


def test_what_lies_beyond_the_levels_is_clipped_and_bounds_the_size() -> None:
    z = features()
    made = codec(z, step=0.5, bits=2)
    free = z.clone().requires_grad_()
    release = made.after_edge(free)
    assert len(((release - z.mean()) / (0.5 * z.std())).round().unique()) == 4
    assert made.bits == 2
    (slope,) = torch.autograd.grad(release.sum(), free)
    inside = ((z - z.mean()) / (0.5 * z.std()) > -2) & ((z - z.mean()) / (0.5 * z.std()) < 1)
    assert torch.equal(slope, inside.float())  # straight through, and none where it clips


def test_a_coarser_step_costs_fewer_bits_and_the_estimate_comes_near() -> None:
    z = torch.empty(64, 4, 8, 8).exponential_(generator=torch.Generator().manual_seed(0))
    z = z * (2 * torch.randint(0, 2, z.shape, generator=torch.Generator().manual_seed(1)) - 1)  # Laplace
    rates = []
    for step in (0.5, 1.0, 2.0, 4.0):
        made = codec(z, step=step)
        release = made.after_edge(z)
        rates.append(float(code_length(release[:32], release[32:])) / z[0].numel())
        assert float(made.code_length(z)) == pytest.approx(rates[-1], rel=0.12, abs=0.1)
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 2.4
    assert rates[-1] < 0.6


def test_its_penalty_shortens_the_code_and_is_off_without_weight() -> None:
    z = features().requires_grad_()
    made = codec(z.detach())
    step = Step(z, torch.zeros(len(z)), {}, nn.Identity(), "fit", 0, 0, 0)
    penalty = made.penalty(z, step)
    assert penalty is not None
    (slope,) = torch.autograd.grad(penalty, z)
    assert (slope * (z - z.mean())).sum() > 0  # descending shrinks the spread
    assert codec(z.detach(), weight=0.0).penalty(z, step) is None
