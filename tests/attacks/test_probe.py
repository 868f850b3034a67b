"""Attribute inference: what a classifier reads off releases, fairly weighted, and Cloak's clean adversaries."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from holders import equal, folder, hold, killed_and_resumed, quadrants
from torch import Tensor, nn

from splitpriv.attacks import probe
from splitpriv.attacks.probe import Probe
from splitpriv.attacks.training import hardest
from splitpriv.nets import probes
from splitpriv.store.state import load_tensors
from splitpriv.types import Shape, UserError

X, CODE = quadrants(96)
VICTIMS, TRUTH = quadrants(64, seed=1)
BRIGHT, SIDES = CODE % 2, {"side": CODE // 2 % 2, "code": CODE}
SETTINGS: dict[str, Any] = {
    "attribute": "y", "kind": "mlp", "hidden": [16], "width": 4, "balanced": True, "pretrain": 0, "epochs": 8,
    "batch": 16, "lr": 0.01, "min_lr": 1e-4, "rates": [], "weight_decay": 0.0, "held": 0.25, "patience": None,
    "select": "best", "tolerance": 0.05, "standardise": True, "draws": 1,
}  # fmt: skip


def attack(**changed: Any) -> Probe:
    return Probe(**{**SETTINGS, **changed})


def hit(found: nn.Module, releases: Tensor, truth: Tensor) -> float:
    return float((found(releases).argmax(1) == truth).float().mean())


holding = functools.partial(hold, x=X, y=BRIGHT, attributes=SIDES)


@pytest.mark.parametrize("changed", [{}, {"hidden": []}, {"kind": "cnn", "hidden": []}], ids=["mlp", "linear", "cnn"])
def test_it_reads_an_attribute_off_the_release_and_nothing_off_a_constant(tmp_path: Path, changed: Any) -> None:
    found = {}
    for name, edge in (("identity", lambda x: x), ("constant", lambda x: 0 * x)):
        it = attack(**changed, lr=0.03)
        guess = it.fit(holding(it, edge=edge), folder(tmp_path / name))
        assert guess(edge(VICTIMS)).shape == (64, 2)
        found[name] = hit(guess, edge(VICTIMS), TRUTH % 2)
    assert found["identity"] > 0.85 > 0.65 > found["constant"]


def test_a_private_attribute_by_name(tmp_path: Path) -> None:
    it = attack(attribute="side")
    guess = it.fit(holding(it), tmp_path)
    assert it.recovers == "attribute" and it.attribute == "side"
    assert hit(guess, VICTIMS, TRUTH // 2 % 2) > 0.85 > 0.7 > hit(guess, VICTIMS, TRUTH % 2)
    many = attack(attribute="code", epochs=1)
    assert many.fit(holding(many), folder(tmp_path / "code"))(VICTIMS).shape == (64, 16)
    assert load_tensors(tmp_path / "probe.safetensors").keys() == guess.net.state_dict().keys()
    assert guess.report["epochs"] == len(guess.report["train"]) == len(guess.report["held"]) == 8


@pytest.mark.parametrize(("balanced", "share"), [(True, 0.5), (False, 0.125)])
def test_every_value_weighs_the_same_however_rare(tmp_path: Path, balanced: bool, share: float) -> None:
    """On a release that says nothing the best answer is known: even odds, or the frequencies."""
    rare = (torch.arange(96) % 8 == 0).long()
    it = attack(balanced=balanced, hidden=[], epochs=100, lr=0.1, min_lr=0.0, held=0.0, select="last", batch=96)
    guess = it.fit(hold(it, edge=lambda x: 0 * x, x=X, y=rare), tmp_path)
    assert float(guess(0 * X[:1]).softmax(1)[0, 1]) == pytest.approx(share, abs=0.01)


def test_an_offset_and_the_scale_of_a_release_do_not_matter(tmp_path: Path) -> None:
    held = []
    for k, edge in enumerate([lambda x: x, lambda x: 40 + 1e-3 * x]):
        it = attack(epochs=3)
        held.append(it.fit(holding(it, edge=edge), folder(tmp_path / str(k) / "key")).report["held"][-1])
    assert held[1] == pytest.approx(held[0], rel=0.05)


def test_draws_are_averaged_and_fresh(tmp_path: Path) -> None:
    for draws in (1, 16):
        seen: list[Tensor] = []
        it = attack(draws=draws, epochs=2, standardise=False)
        it.fit(holding(it, noise=lambda z: z + torch.randn_like(z), seen=seen), folder(tmp_path / str(draws)))
        assert len({float(r.sum()) for r in seen}) == len(seen) == 2 * (5 + 2) * draws
        assert it.adapts == ({"draws"} if draws > 1 else frozenset())


def test_trained_on_clean_images_it_never_asks_for_a_release(tmp_path: Path) -> None:
    seen: list[Tensor] = []
    it = attack(pretrain=8, epochs=0)
    guess = it.fit(holding(it, edge=lambda x: 1 - x, seen=seen), tmp_path)
    assert not seen
    assert hit(guess, VICTIMS, TRUTH % 2) > 0.85 and hit(guess, 1 - VICTIMS, TRUTH % 2) < 0.15
    assert guess.report["epochs"] == 8 and "clean_train" not in guess.report


def test_retrained_it_learns_what_the_release_does_to_the_image(tmp_path: Path) -> None:
    it = attack(pretrain=8, epochs=8, rates=[0.02, 0.01])
    guess = it.fit(holding(it, edge=lambda x: 1 - x), tmp_path)
    assert hit(guess, 1 - VICTIMS, TRUTH % 2) > 0.85
    assert len(guess.report["clean_train"]) == guess.report["clean_epochs"] == len(guess.report["train"]) == 8
    scratch = attack(epochs=8)
    cold = scratch.fit(holding(scratch, edge=lambda x: 1 - x), folder(tmp_path / "cold"))
    assert cold.report["train"][0] < guess.report["train"][0]  # it had to unlearn


def test_rates_are_given_per_epoch_or_a_cosine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    real = probe.learn
    monkeypatch.setattr(
        probe, "learn", lambda net, adam, *r: rates.append(adam.param_groups[0]["lr"]) or real(net, adam, *r)
    )
    it = attack(pretrain=2, epochs=4, rates=[0.01, 1e-4], lr=0.02, min_lr=0.002)
    it.fit(holding(it), tmp_path)
    assert rates == pytest.approx([0.02, 0.011, 0.01, 1e-4, 1e-4, 1e-4])


def test_releases_are_learnt_from_the_best_clean_net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for pretrain in (1, 3):
        held = iter([0.1, 0.0] if pretrain == 1 else [0.1, 0.5, 0.6, 0.0])
        monkeypatch.setattr(probe, "average", lambda *_, v=held: torch.tensor(next(v)))
        it = attack(pretrain=pretrain, epochs=1, min_lr=0.01, rates=[1e-12])
        found.append(it.fit(holding(it), folder(tmp_path / str(pretrain) / "same"))(VICTIMS))
    assert torch.allclose(*found, atol=1e-5)


@pytest.mark.parametrize("stop", ["clean.pt", "release.pt"])
def test_killed_and_resumed_equals_uninterrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: str) -> None:
    it = attack(pretrain=3, epochs=3, kind="cnn")
    noisy = functools.partial(holding, it, noise=lambda z: z + 0.1 * torch.randn_like(z))
    whole, again = killed_and_resumed(it, noisy, tmp_path, monkeypatch, stop)
    assert equal(whole, again) and whole.report == again.report


def test_early_stopping_on_the_held_out_part(tmp_path: Path) -> None:
    it = attack(epochs=200, patience=3, lr=0.1)
    report = it.fit(hold(it, edge=lambda x: 0 * x, x=X, y=BRIGHT), tmp_path).report
    assert report["epochs"] < 200 and not report["converged"]  # its rate had not fallen
    assert report["held"].index(min(report["held"])) == report["epochs"] - 4


@pytest.mark.parametrize("shape", [(8, 4, 4), (3, 32, 32), (8, 5, 7), (84,), (17, 6), (512, 1, 1)])
def test_a_cnn_takes_any_release(shape: Shape) -> None:
    net = probes.cnn(shape, 3, width=4, hidden=[5])
    assert net(torch.randn(2, *shape)).shape == (2, 3)
    assert any(isinstance(m, nn.Conv2d) for m in net.modules())


def test_an_mlp_has_its_hidden_layers() -> None:
    def widths(hidden: list[int]) -> list[tuple[int, int]]:
        layers = probes.mlp((2, 3, 4), 5, hidden=hidden).modules()
        return [(m.in_features, m.out_features) for m in layers if isinstance(m, nn.Linear)]

    assert widths([256, 128]) == [(24, 256), (256, 128), (128, 5)] and widths([]) == [(24, 5)]


def test_mistakes_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^\.epochs"):
        attack(epochs=0)
    with pytest.raises(UserError, match=r"^\.held"):
        attack(held=0.0)
    it = attack(attribute="colour")
    with pytest.raises(UserError, match=r"^\.attribute: .*'colour'; choose one of y, side, code"):
        it.fit(holding(it), tmp_path)
    clean = attack(pretrain=1)
    with pytest.raises(UserError, match=r"^\.pretrain: .*split\.at=0"):
        clean.fit(holding(clean, edge=lambda x: x.flatten(1)), tmp_path)
    wild = attack()
    with pytest.raises(UserError, match=r"^\.lr: the loss became nan"):
        wild.fit(holding(wild, noise=lambda z: z * torch.nan), tmp_path)


def test_a_ceiling_is_tried_for_harder_until_that_no_longer_helps(tmp_path: Path) -> None:
    short = attack(epochs=1, lr=0.003)
    weak = short.fit(holding(short), folder(tmp_path / "weak" / "key"))
    strong = hardest(short, holding(short), folder(tmp_path / "strong" / "key"))
    assert min(strong.report["held"]) < 0.9 * min(weak.report["held"]) and strong.report["rounds"] > 1
    assert hit(strong, VICTIMS, TRUTH % 2) > hit(weak, VICTIMS, TRUTH % 2)
    kinds = {(it.kind, it.epochs, it.pretrain) for it in attack(pretrain=2).harder(2)}
    assert kinds == {("mlp", 32, 8), ("cnn", 32, 8)} and short.epochs == 1
    blind = attack(held=0.0, select="last")
    assert blind.harder(1) == []
    assert "rounds" in hardest(blind, holding(blind), folder(tmp_path / "blind" / "key")).report
