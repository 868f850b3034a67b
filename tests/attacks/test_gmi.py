"""GMI finds what the network answers to, and not without asking it; no pixel tells how good it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from holders import folder, hold
from torch import Tensor, nn

from splitpriv.attacks.gmi import Gan, GanPrior, Gmi, OfClass
from splitpriv.measure import checks


class Shade(nn.Module):
    """A code (N, 2) as a flat image of the shade that its first value says."""

    def forward(self, code: Tensor) -> Tensor:
        return code[:, :1].mul(2).sigmoid().view(-1, 1, 1, 1).expand(-1, 1, 8, 8)


def level(x: Tensor) -> Tensor:
    return x.flatten(1).mean(1)


def answers(x: Tensor) -> Tensor:
    """Logits (N, 2) of dark and bright."""
    return 10 * torch.stack([0.5 - level(x), level(x) - 0.5], 1)


class Bright(nn.Module):
    """A critic that takes bright images for real ones."""

    def forward(self, x: Tensor) -> Tensor:
        return level(x)


class Planted(GanPrior):
    def learned(self, access: Any, home: Path) -> Gan:
        return Gan(Shade(), Bright())  # type: ignore[arg-type]


SMALL: dict[str, Any] = {"width": 2, "size": 2, "critic_width": 2, "widest": 4, "n_critic": 1, "penalty": 10.0,
                         "betas": (0.5, 0.9), "epochs": 16, "batch": 16, "lr": 0.02}  # fmt: skip


def found(weight: float, home: Path) -> OfClass:
    attack = Gmi(prior=lambda: Planted(**SMALL), weight=weight, steps=40, lr=0.2, momentum=0.5, starts=3, batch=8,
                 tolerance=0.05)  # fmt: skip
    return attack.fit(hold(attack, edge=answers, x=torch.rand(8, 1, 8, 8)), folder(home / "key"))


def test_each_class_gets_an_image_that_the_network_takes_for_it(tmp_path: Path) -> None:
    asked = found(10.0, tmp_path)
    assert asked.images.shape == (2, 1, 8, 8) and answers(asked.images).argmax(1).tolist() == [0, 1]
    dark, bright = level(asked.images).tolist()
    assert 0.12 <= dark < 0.35 and bright == pytest.approx(0.88, abs=0.02)  # codes stay within [-1, 1]
    assert {"converged", "feature_loss"} <= set(asked.report)
    logits = torch.tensor([[0.0, 3.0], [2.0, 1.0], [0.0, 3.0]])
    assert torch.equal(asked(logits), asked.images[[1, 0, 1]])  # a victim is shown what it is answered to be


def test_without_the_networks_word_the_critic_alone_decides(tmp_path: Path) -> None:
    assert level(found(0.0, tmp_path).images).tolist() == pytest.approx([0.88, 0.88], abs=0.02)


def test_the_generator_learns_what_images_of_aux_look_like(tmp_path: Path) -> None:
    prior, codes = GanPrior(**SMALL), torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    attack = Gmi(prior=lambda: prior, weight=1.0, steps=1, lr=0.1, momentum=0.5, starts=1, batch=8, tolerance=0.05)
    access = hold(attack, x=0.85 + 0.1 * torch.rand(64, 1, 8, 8))
    torch.manual_seed(0)
    before = prior.fresh(access).eval().generator(codes).mean()
    after = prior.learned(access, folder(tmp_path / "key")).generator(codes)  # type: ignore[operator]
    assert after.mean() > before + 0.1 and after.shape == (64, 1, 8, 8)


def test_pixels_raise_no_flag_of_an_attack_on_what_was_learned() -> None:
    floors: dict[str, Any] = {"mean_image": {"mse": 0.05}, "random_image": {"mse": 0.1}}
    decoder = checks.Facts({"mse": 0.01}, requires=frozenset({"query", "aux"}), converged=True)
    for typical, kinds in ((True, set()), (False, {"random"})):
        gmi = checks.Facts({"mse": 0.3}, requires=frozenset({"edge", "aux"}), converged=True, typical=typical)
        raised = {flag.kind for flag in checks.doubts({"decoder": decoder, "gmi": gmi}, **floors)}
        assert raised - {"box"} == kinds and ("box" in raised) is not typical
