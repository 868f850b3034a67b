"""ResSFL (Li et al., CVPR 2022): λ·max(SSIM(D(z), x) − threshold, 0), D trained beside the edge."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from splitpriv.config import compose
from splitpriv.defenses.adversarial import Adversarial
from splitpriv.nets.decoders import ResBlock
from splitpriv.targets import build
from splitpriv.types import Spec, Step

NODE = compose(["defense=[ressfl]"])["defense"]["ressfl"]
SPEC, SHAPE = Spec((1, 8, 8), 2), (4, 4, 4)


def ressfl(**changes: Any) -> Adversarial:
    defense: Adversarial = build(copy.deepcopy(NODE) | changes, "defense.ressfl")()
    defense.attach(None, SPEC, SHAPE)
    return defense


def small(**changes: Any) -> Adversarial:
    return ressfl(net=NODE["net"] | {"blocks": 1, "width": 8}, **changes)


class Score(nn.Module):
    """A decoder that returns a share of the image: all of it for 1, its negative for -1."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.tensor(share))

    def forward(self, z: Tensor) -> Tensor:
        return self.share * z + (1 - self.share) * 0.5


def step(x: Tensor) -> Step:
    return Step(x, torch.zeros(len(x), dtype=torch.long), {}, nn.Identity(), "fit", 0, 0.0, 0.05)


def test_the_numbers_of_the_code() -> None:
    assert {k: NODE[k] for k in ("weight", "loss", "threshold", "inner_loss", "lr", "steps")} == {
        "weight": 0.3, "loss": "ssim", "threshold": 0.5, "inner_loss": "ssim", "lr": 1e-3, "steps": 1,
    }  # fmt: skip
    assert NODE["padding"] == "zero"  # pytorch_ssim
    defense = ressfl()
    assert isinstance(defense.adversary_optimizer(), torch.optim.Adam)
    blocks = [m for m in defense.decoder.net.modules() if isinstance(m, ResBlock)]
    assert (NODE["net"]["blocks"], NODE["net"]["width"]) == (4, 64)  # res_normN4C64
    assert len(blocks) > 4


def test_a_perfect_decoder_costs_lambda_times_what_exceeds_the_threshold() -> None:
    torch.manual_seed(0)
    x = torch.rand(6, 1, 8, 8)
    defense = small()
    for share, value in ((1.0, 0.3 * (1 - 0.5)), (-1.0, 0.0)):
        defense.decoder.net = Score(share)
        assert defense.penalty(x, step(x)).item() == pytest.approx(value, abs=1e-6)


def test_in_the_game_the_edge_that_plays_leaks_less_than_the_edge_that_does_not() -> None:
    """Both players with their own optimiser, on smooth images, for a moment."""

    def play(weight: float) -> float:
        torch.manual_seed(0)
        x = nn.functional.interpolate(torch.rand(16, 1, 3, 3), size=8, mode="bilinear", align_corners=True)
        edge = nn.Sequential(nn.Conv2d(1, 4, 2, 2), nn.Tanh())
        defense = small(weight=weight, threshold=0.2, lr=0.01)
        outer, inner = torch.optim.Adam(edge.parameters(), 0.1), defense.adversary_optimizer()
        for _ in range(40):
            z = edge(x)
            inner.zero_grad()
            defense.adversary_loss(z.detach(), step(x)).backward()
            inner.step()
            outer.zero_grad()
            defense.penalty(z, step(x)).backward()
            outer.step()
        return float(defense.decoder.score(edge(x), x)[1].mean())

    idle, playing = play(0.0), play(1.0)
    assert idle > 0.5
    assert playing < idle - 0.1
