"""Cloak's settings one by one, and a run of it that is interrupted."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from planted import accuracy, defended, images, learn, same, state, stretch
from small import execute, numbers, tiny

from splitpriv import config
from splitpriv.defenses.cloak import Cloak
from splitpriv.run.parts import assemble
from splitpriv.run.prepare import check
from splitpriv.store import Store
from splitpriv.types import Phase, Step

X = images().images


def at(stage: str, train: bool = True, **changes: Any) -> Cloak:
    """A Cloak in one of its phases, whose sigma rises from pixel to pixel and whose statistics are those of X."""
    model = defended(**changes)
    cloak: Any = model.chain["cloak"]
    with torch.no_grad():
        cloak.map.rho.copy_(torch.linspace(-3, 3, 100).view(1, 10, 10))
        cloak.map.mu.copy_(torch.linspace(0, 1, 100).view(1, 10, 10))
        cloak.map.observe(X)
    cloak.on_phase_start(Phase(stage), model)
    cloak.train(train)
    return cloak


def noise(cloak: Cloak) -> torch.Tensor:
    with torch.no_grad():
        return cloak.after_edge(torch.zeros(12, 1, 10, 10)) - cloak.map.mu


def step(phase: str, count: int = 12) -> Step:
    data = images()
    return Step(X[:count], data.y[:count], {}, torch.nn.Identity(), phase, 0, 0.0, 0.1)


# ---- noise -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("how", "draws", "distinct"), [("shared", 1, 1), ("shared", 4, 4), ("fresh", 1, 12)])
def test_in_training_noise_is_shared_and_at_deployment_never(how: str, draws: int, distinct: int) -> None:
    cloak = at("increase", noise_train=how, n_mc=draws)
    assert len(noise(cloak).flatten(1).unique(dim=0)) == distinct
    assert len(noise(cloak.eval()).flatten(1).unique(dim=0)) == 12
    with torch.no_grad():
        many = cloak.after_edge(torch.zeros(4000, 1, 10, 10))
    torch.testing.assert_close(many.std(0), cloak.map.sigma, rtol=0.06, atol=1e-4)
    torch.testing.assert_close(many.mean(0), cloak.map.mu, rtol=0, atol=0.1)


def test_the_network_s_own_phase_passes_z_unchanged() -> None:
    assert torch.equal(at("fit").after_edge(X), X)
    assert torch.equal(at("fit", train=False).after_edge(X), X)


def test_relative_noise_is_in_units_of_each_feature() -> None:
    scaled = X * torch.where(torch.arange(100) < 50, 1.0, 4.0).view(1, 10, 10)
    scaled[..., 0, 0] = 0.3
    cloak: Any = defended(scale="relative", rho_init=0.0).chain["cloak"]
    for part in scaled.split(100):
        cloak.map.observe(part)
    std = scaled.std(0, correction=0)
    torch.testing.assert_close(cloak.map.std.flatten()[1:], std.flatten()[1:], rtol=1e-4, atol=0)
    assert cloak.map.std.flatten()[0] == pytest.approx(0.1 * float(std.mean()), rel=1e-3)  # constant, but not sent bare
    torch.testing.assert_close(cloak.map.mean, scaled.mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(cloak.map.sigma, 0.75 * cloak.map.std)
    assert float(cloak.map.regulariser("mean_sigma")) == pytest.approx(-torch.tensor(0.75).log().item())
    assert set(map(tuple, cloak.map.rows.tolist())) == set(map(tuple, scaled.flatten(1)[-256:].tolist()))


def test_the_three_noise_terms_and_the_two_weights() -> None:
    for kind, value in (("mean_sigma", lambda s: -s.mean().log()), ("mean_sigma_sq", lambda s: -(s**2).mean().log())):
        cloak = at("increase", noise_reg=kind)
        assert float(cloak.penalty(X, step("increase"))) == pytest.approx(0.1 * float(value(cloak.map.sigma)))
    bound = at("increase", noise_reg="gaussian_mi_bound")
    assert float(bound.penalty(X, step("increase"))) == pytest.approx(0.1 * float(bound.map.information()) / 100)
    alias = {"increase": {**stretch(0.1, 7.0), "lambda": 4.0}}
    cloak = at("increase", noise=alias)
    assert float(cloak.penalty(X, step("increase"))) == pytest.approx(-0.25 * float(cloak.map.sigma.mean().log()))
    for quiet in ("fit", "tune", "suppress"):
        assert at(quiet).penalty(X, step(quiet)) is None
    assert at("suppress", train_map=True, suppress=stretch(0.1, 2.0)).penalty(X, step("suppress")) is not None


# ---- suppression -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fill", ["trained", "zeros", "mean"])
@pytest.mark.parametrize("on_kept", [True, False])
@pytest.mark.parametrize("noisy", [True, False])
def test_what_stands_in_for_a_suppressed_feature(fill: str, on_kept: bool, noisy: bool) -> None:
    cloak: Any = at("increase", False, fill=fill, ratio=0.3, mu_on_kept=on_kept, noise_on_kept=noisy)
    cloak.fix()
    cloak.stage = "suppress" if fill == "trained" else "increase"
    if fill == "trained":
        assert torch.equal(cloak.values, cloak.map.mu)
        cloak.values.data += 5
    keep = cloak.keep.bool()
    assert keep.flatten().tolist() == [True] * 70 + [False] * 30
    with torch.no_grad():
        torch.manual_seed(0)
        release = cloak.after_edge(X)
        torch.manual_seed(0)
        noise = cloak.map.sigma * torch.randn_like(X)
    expected = {"trained": cloak.values, "zeros": torch.zeros(1, 10, 10), "mean": cloak.map.mean}[fill]
    torch.testing.assert_close(release[:, ~keep], expected[~keep].expand(len(X), -1))
    shift = cloak.values if fill == "trained" and on_kept else cloak.map.mu
    torch.testing.assert_close(release[:, keep], (X + noise * noisy + shift)[:, keep])


def test_noise_alone_suppresses_nothing() -> None:
    cloak = at("increase", False, fill="none", ratio=0.5)
    cloak.fix()
    assert cloak.keep is None
    assert (noise(cloak) != 0).all()
    assert cloak.facts["suppressed"] == 0
    assert [p.name for p in cloak.phases] == ["fit", "increase", "tune"]


def test_the_mask_waits_until_the_noise_is_learned() -> None:
    for fill, masked in (("trained", False), ("mean", True)):
        cloak = at("tune", True, fill=fill, ratio=0.5)
        cloak.fix()
        assert not cloak.suppresses
        assert cloak.eval().suppresses == masked  # deployed after this phase, unless there are constants to train
    assert at("suppress", True).suppresses


def test_constants_that_are_trained_serve_best() -> None:
    loud = {"max_scale": 2.0, "noise": {"increase": stretch(0.1, 0.5)}, "suppress": stretch(0.1, 0.0), "ratio": 0.94}
    trained = learn(defended(**loud), epochs=20)
    zeros = learn(defended(**loud, fill="zeros"), epochs=20)
    assert same(state(trained.chain["cloak"].map), state(zeros.chain["cloak"].map)) == set(
        state(zeros.chain["cloak"].map)
    )
    assert accuracy(trained) > accuracy(zeros) + 0.02


# ---- in the engine ---------------------------------------------------------------------------------------------------

RUN = (
    "split=raw", "split.at=0", "defense=[cloak_zeros]", "defense.cloak.ratio=0.5",
    "defense.cloak.noise.increase.lr=0.5", "measure.draws=1", "attack.decoder.epochs=1",
)  # fmt: skip


def test_it_trains_on_the_shared_undefended_network_and_resumes(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    cfg = tiny(*RUN, "defense.cloak.fill=trained")
    whole = execute(cfg, Store(tmp_path / "whole"))
    assert whole["utility/accuracy"] >= 0
    assert whole["defense/cloak/suppressed"] == 0.5
    assert [n["phase"] for n in whole["trajectory"]] == [
        p for p in ("fit", "increase", "tune", "suppress") for _ in "12"
    ]
    bare = tiny("split=raw", "split.at=0", "measure.draws=1", "attack.decoder.epochs=1")
    assert execute(bare, Store(tmp_path / "whole"))["fit"][0] == whole["fit"][0]
    for stop in ("increase", "suppress"):
        store, seen = Store(tmp_path / stop), []

        def interrupt(self: Cloak, epoch: Any, stop: str = stop, seen: list[str] = seen) -> None:
            seen.append(epoch.phase)
            if seen.count(stop) == 2:  # some way into the second epoch
                raise KeyboardInterrupt
            Cloak.on_epoch_end.__wrapped__(self, epoch)  # type: ignore[attr-defined]

        interrupt.__wrapped__ = Cloak.on_epoch_end  # type: ignore[attr-defined]
        with monkeypatch.context() as patch:
            patch.setattr(Cloak, "on_epoch_end", interrupt)
            with pytest.raises(KeyboardInterrupt):
                execute(cfg, store)
        assert numbers(execute(cfg, store)) == numbers(whole)


def test_beside_another_defence_the_network_s_phase_is_not_idle() -> None:
    alone, beside = (assemble(tiny(*RUN, f"defense=[{c}]")).phases for c in ("cloak_zeros", "noise,cloak_zeros"))
    assert (alone[0].idle, beside[0].idle) == (True, False)
    assert alone[1:] == beside[1:]


def test_a_phase_may_last_a_fraction_of_an_epoch() -> None:
    half = config.compose(["split=raw", "defense=[cloak_blackbox]", "defense.cloak.noise.increase.epochs=0.5",
                           "defense.cloak.substitute.epochs=0.2"])  # fmt: skip
    assert [phase.epochs for phase in assemble(half).phases] == [0, 0.2, 0.5, 0, 0]


def test_mistakes_are_named() -> None:
    for override, said in (  # one at a time
        ("defense.cloak.min_scale=2", "min_scale: 2.0 is not below"),
        (
            "+defense.cloak.noise.suppress={epochs: 1, lr: 0.1, gamma: 0, lambda: null}",
            "noise: name at least one phase",
        ),
        ("+defense.cloak.noise.tune.gama=1", "gama: extra inputs"),
    ):
        [problem] = check(config.compose(["split=raw", "defense=[cloak]", override]))
        assert said in problem


def test_the_audit_is_told_how_much_noise_each_entry_bears() -> None:
    """Infinite where a constant stands; nothing where kept features are sent as they are."""
    cloak = at("online", train=False, fill="zeros")
    cloak.mask[..., :3] = False
    std = cloak.gaussian_std
    assert std is not None and torch.equal(std.isinf(), ~cloak.mask)
    assert torch.equal(std[cloak.mask], cloak.map.sigma[cloak.mask])
    assert at("online", train=False, fill="zeros", noise_on_kept=False).gaussian_std is None
    assert at("fit").gaussian_std is None
