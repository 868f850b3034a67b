"""Inversion from what the server answers: the decoder attack with another view, and the optimiser of its paper."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from holders import folder, hold, mse, quadrants
from small import tiny
from test_decoder import SETTINGS
from torch import Tensor

from splitpriv import config
from splitpriv.attacks.base import Observed, answer
from splitpriv.attacks.decoder import Decoder
from splitpriv.run.context import Run
from splitpriv.run.prepare import prepare
from splitpriv.store import Store
from splitpriv.types import UserError

X, Y = quadrants(128)
VICTIMS, _ = quadrants(64, seed=1)
FLOOR = mse(X.mean(0), VICTIMS)
SIGNS = torch.tensor([[1.0 if code >> bit & 1 else -1.0 for bit in range(4)] for code in range(16)])


def answered(x: Tensor, observe: Observed, top: int, scale: float = 1.0) -> Tensor:
    """What a server answers that knows which quadrants are bright: (N, 16)."""
    means = torch.nn.functional.adaptive_avg_pool2d(x, 2).flatten(1) - 0.5
    return answer(scale * 8 * means @ SIGNS.T, observe, top)


def attack(**changed: Any) -> Decoder:
    found = {"epochs": 15, "lr": 0.01, "min_lr": 0.01, "betas": (0.5, 0.999), "amsgrad": True, "standardise": True}
    return Decoder(**{**SETTINGS, **found, "batch": 32, **changed})


@pytest.mark.parametrize(("observe", "below"), [("logits", 0.4), ("softmax", 0.7), ("topk", 0.8), ("label", 0.8)])
def test_answers_give_images_away(tmp_path: Path, observe: Observed, below: float) -> None:
    it, found = attack(observe=observe, top=3), {}
    for name, scale in (("telling", 1.0), ("constant", 0.0)):
        edge = functools.partial(answered, observe=observe, top=3, scale=scale)
        inverse = it.fit(hold(it, edge=edge, x=X, y=Y, classes=16), folder(tmp_path / name))
        found[name] = mse(inverse(edge(VICTIMS)), VICTIMS) / FLOOR
    assert found["telling"] < below and found["constant"] > 0.9


def test_the_shipped_settings_are_those_of_the_authors_code() -> None:
    node = config.compose(["attack=[label_inversion]"])["attack"]["label_inversion"]
    assert (node["lr"], node["betas"], node["amsgrad"], node["loss"], node["epochs"]) == (
        2e-3,
        [0.5, 0.999],
        True,
        "mse",
        50,
    )
    assert node["min_lr"] == node["lr"] and node["observe"] == "logits" and node["net"]["_target_"].endswith(".conv")
    many = config.compose(["attack=[label_inversion_avg]"])["attack"]["label_inversion_avg"]
    assert {k: v for k, v in many.items() if v != node[k]} == {"draws": 16}


def test_betas_and_amsgrad_reach_the_optimiser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[torch.optim.Optimizer] = []
    real = torch.optim.Adam
    monkeypatch.setattr(torch.optim, "Adam", lambda *a, **k: made.append(real(*a, **k)) or made[-1])
    it = attack(epochs=1)
    it.fit(hold(it, edge=functools.partial(answered, observe="logits", top=1), x=X, y=Y, classes=16), tmp_path)
    assert (made[0].defaults["betas"], made[0].defaults["amsgrad"]) == ((0.5, 0.999), True)


def test_a_run_shows_its_answers_and_nothing_else(tmp_path: Path) -> None:
    cfg = tiny("attack=[label_inversion]", "defense=[noise]", "optim.epochs=1", decoder=False)
    run = Run(prepare(cfg), Store(tmp_path), torch.device("cpu"))
    classes, image = run.parts.dataset.spec.classes, run.parts.dataset.spec.image
    for observe, shown in (("logits", classes), ("softmax", classes), ("topk", 1), ("label", 1)):
        it = attack(observe=observe, epochs=1)
        access = run.access(it)
        answers, own = access.intercept(1), access.aux.release(torch.arange(5))
        assert access.shape == (classes,) and answers.shape == (8, classes) and own.shape == (5, classes)
        assert torch.allclose(answers.sum(1), torch.ones(8)) == (observe in ("softmax", "label"))
        assert ((answers != 0).sum(1) == shown).all()
        assert it.fit(access, folder(tmp_path / observe))(answers).shape == (8, *image)


def test_a_mask_of_answers_is_refused() -> None:
    with pytest.raises(UserError, match=r"^\.mask: is of the release, but the attack observes logits"):
        attack(observe="logits", mask=True)
