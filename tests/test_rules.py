"""What makes a number believable: the true release, no look at victims, one number per image."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from small import execute, numbers, tiny
from torch import Tensor

from splitpriv import metrics
from splitpriv.attacks.base import Aux
from splitpriv.data.base import Split
from splitpriv.defenses.dropout import Dropout
from splitpriv.report.seeds import alike
from splitpriv.run import stages
from splitpriv.run.context import Run
from splitpriv.run.prepare import prepare
from splitpriv.run.row import head, nearer
from splitpriv.run.runtime import Runtime
from splitpriv.store import Store
from splitpriv.store.state import load_tensors

TWO = ("attack=[decoder,rmle]", "attack.rmle.steps=3")


def begun(tmp_path: Path, *overrides: str) -> Run:
    """A run whose stages are still to come."""
    return Run(prepare(tiny(*overrides)), Store(tmp_path), torch.device("cpu"))


# ---- the true release ----------------------------------------------------------------------------------------------


def test_sigma_is_a_standard_deviation_of_the_released_numbers(tmp_path: Path) -> None:
    run = begun(tmp_path, "defense=[noise]", "defense.noise.sigma=0.3")
    x = run.splits["aux"].x(slice(None))
    clean = run.model.features(x)
    for released in (
        run.model.release(x),
        run.releases(0).new_tensor([]),
        run.access(run.parts.attacks["decoder"]).query(x),
    ):
        if len(released):
            assert float((released - clean).std()) == pytest.approx(0.3, rel=0.05)
    assert float((run.releases(0) - run.model.features(run.victims.x(slice(None)))).std()) == pytest.approx(
        0.3, rel=0.05
    )


def test_attacks_train_on_the_true_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise and masks are on in what the decoder learns from, fresh every time."""
    given: list[tuple[Tensor, Tensor]] = []
    real = Aux.release

    def release(self: Aux, index: Tensor, draws: int = 1) -> Tensor:
        out = real(self, index, draws)
        given.append((out, self._features(self.split.x(index))))
        return out

    monkeypatch.setattr(Aux, "release", release)
    execute(tiny("defense=[noise,dropout]", "defense.noise.sigma=0.3", "defense.dropout.rate=0.5"), Store(tmp_path))
    released = torch.cat([r.flatten() for r, _ in given])
    clean = torch.cat([c.flatten() for _, c in given])
    assert float((released == 0).float().mean()) == pytest.approx(0.5, abs=0.05)
    kept = released != 0
    scale = (released[kept] * clean[kept]).sum() / (clean[kept] ** 2).sum()  # 1 or 2: whether dropout rescales
    assert float((released[kept] / scale.round() - clean[kept]).std()) == pytest.approx(0.3, rel=0.1)


def test_a_release_of_aux_has_the_law_of_a_query(tmp_path: Path) -> None:
    run = begun(tmp_path, "defense=[noise]", "defense.noise.sigma=0.3")
    access = run.access(run.parts.attacks["decoder"])
    index = torch.arange(8)
    torch.manual_seed(5)
    cached = access.aux.release(index)
    torch.manual_seed(5)
    assert torch.allclose(cached, access.query(access.aux.split.x(index)), atol=1e-6)
    assert not torch.equal(access.aux.release(index), cached)
    many = access.aux.release(index, 400) - run.model.features(access.aux.split.x(index))
    assert float(many.std()) == pytest.approx(0.3 / 20, rel=0.2)


def test_two_attacks_of_a_run_intercept_the_same_releases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    met: dict[str, Tensor] = {}
    real = stages.attack

    def attack(run: Run, name: str, home: Path) -> None:
        real(run, name, home)
        torch.manual_seed(len(met))
        met[name] = run.access(run.parts.attacks[name]).intercept(1)

    monkeypatch.setattr(stages, "attack", attack)
    execute(tiny(*TWO, "defense=[noise]", "defense.noise.sigma=0.3"), Store(tmp_path))
    assert torch.equal(met["decoder"], met["rmle"])


def test_more_draws_average_the_first_ones(tmp_path: Path) -> None:
    run = begun(tmp_path, "defense=[noise]", "defense.noise.sigma=0.3")
    one, two = run.releases(0), run.releases(1)
    intercept = run.access(run.parts.attacks["decoder"]).intercept
    assert not torch.equal(one, two)
    assert torch.allclose(intercept(2), (one + two) / 2)
    assert torch.equal(intercept(1), one)


# ---- what the adversary may hold -----------------------------------------------------------------------------------


def test_touching_an_undeclared_right_raises(tmp_path: Path) -> None:
    run = begun(tmp_path, *TWO)
    for attack in run.parts.attacks.values():
        access = run.access(attack)
        for right in {"query", "edge", "clean", "cloud", "layers", "mask", "aux"} - attack.requires:
            with pytest.raises(PermissionError, match=f"uses access.{right} but declares"):
                getattr(access, right)
        assert all(getattr(access, right) is not None for right in attack.requires)
        with pytest.raises(AttributeError):
            _ = access.victims
        assert not any(isinstance(value, Split) for value in vars(access).values())
    assert run.parts.attacks["decoder"].requires == {"query", "aux"}


def test_no_attack_looks_at_a_victim_s_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only `Run.releases`, the device's own work, and `measure` may read a victim."""
    run = begun(tmp_path, *TWO, "defense=[noise]")
    guarded = {int(i) for i in run.splits["victims"].ids}
    allowed = False
    real, real_releases = Split.x, Run.releases

    def x(self: Split, index: Any) -> Tensor:
        touched = {int(i) for i in self.ids[index].flatten()}
        assert allowed or not touched & guarded, "a victim's image was read"
        return real(self, index)

    def releases(self: Run, draw: int) -> Tensor:
        nonlocal allowed
        allowed = True
        try:
            return real_releases(self, draw)
        finally:
            allowed = False

    monkeypatch.setattr(Split, "x", x)
    monkeypatch.setattr(Run, "releases", releases)
    for name in run.parts.attacks:
        home = tmp_path / name
        home.mkdir()
        stages.attack(run, name, home)
        assert len(load_tensors(home / "reconstructions.safetensors")["image"]) == 8
    with pytest.raises(AssertionError, match="was read"):
        run.victims.x(slice(None))


def test_reconstructions_do_not_depend_on_the_victims_images(tmp_path: Path) -> None:
    """The same releases with other images behind them give the same reconstructions."""
    run = begun(tmp_path, *TWO)
    releases = run.releases(0)
    images = []
    for turn in range(2):
        run.__dict__["releases"] = lambda draw: releases
        if turn:
            run.splits["victims"].images.zero_()
        for name in run.parts.attacks:
            home = tmp_path / str(turn) / name
            home.mkdir(parents=True)
            stages.attack(run, name, home)
            images.append(load_tensors(home / "reconstructions.safetensors")["image"])
    assert torch.equal(images[0], images[2])
    assert torch.equal(images[1], images[3])


def test_splits_are_disjoint(tmp_path: Path) -> None:
    ids = [set(split.ids.tolist()) for split in begun(tmp_path).splits.values()]
    assert len(ids) == 4
    assert sum(map(len, ids)) == len(set.union(*ids))


def test_the_decoder_is_scored_in_evaluation_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begun(tmp_path)
    attack = run.parts.attacks["decoder"]
    (tmp_path / "home").mkdir()
    reconstructor = attack.fit(run.access(attack), tmp_path / "home")
    assert not any(module.training for module in reconstructor.modules())
    reconstructor.train()
    assert not any(module.training for module in reconstructor.modules())
    releases = run.releases(0)
    assert torch.allclose(reconstructor(releases)[:1], reconstructor(releases[:1]), atol=1e-6)  # no batch statistics


# ---- the row -------------------------------------------------------------------------------------------------------


def test_the_row_is_flat_and_complete(tmp_path: Path) -> None:
    row = execute(tiny(*TWO, "defense=[noise]"), Store(tmp_path))
    for key in (
        "key", "chain", "seed", "dataset", "backbone", "defense.noise.sigma", "attack.decoder.net.width",
        "optim.epochs",
        "measure.ssim_padding", "utility/accuracy", "utility/cross_entropy", "cost/edge_parameters", "cost/edge_macs",
        "cost/release_bytes", "cost/edge_latency_ms", "flags", "version/torch", "version/splitpriv", "commit",
        "victims",
    ):  # fmt: skip
        assert key in row
    for who in ("privacy/decoder", "privacy/rmle", "privacy/worst", "floor/mean_image", "floor/random_image"):
        assert {f"{who}/{metric}" for metric in ("mse", "psnr", "ssim")} <= row.keys()
    assert row["chain"] == "noise"
    assert 0 < row["chance/accuracy"] < 1 and "bound/cem_mse" in row
    numbers = [key for key in row if "/" in key and key.partition("/")[0] in metrics.GROUPS]
    assert len(numbers) > 20 and all(map(metrics.find, numbers))
    assert not any(isinstance(value, dict) for value in row.values())
    assert row["monitor"] == "none"
    assert "paths.outputs" not in row and row["runtime.threads"] == 1


def test_flags_are_in_the_row(tmp_path: Path) -> None:
    row = execute(tiny("attack.decoder.epochs=1"), Store(tmp_path))
    flags = {flag["kind"]: flag for flag in row["flags"]}
    assert flags["alone"]["remedy"] == "attack=[decoder,rmle]"
    assert (flags["short"]["text"], flags["short"]["remedy"]) == ("decoder: not converged", "attack.decoder.epochs=2")
    both = execute(
        tiny(*TWO, "protocol=cem_official", "protocol.limit.train=64", "protocol.attacked=8"), Store(tmp_path)
    )
    told = {(flag["kind"], flag["subject"]) for flag in both["flags"]}
    assert ("alone", "") not in told and ("declared", "train and aux") in told
    assert row["verdict"] == both["verdict"] == "void" and flags["smoke"]["remedy"] == "protocol=strict"


def test_a_constant_release_is_flagged(tmp_path: Path) -> None:
    row = execute(tiny("defense=[noise]", "defense.noise.sigma=1000000.0"), Store(tmp_path))
    assert "constant" in {flag["kind"] for flag in row["flags"]}


def test_the_worst_case_is_taken_per_image(tmp_path: Path) -> None:
    store = Store(tmp_path)
    row = execute(tiny(*TWO), store)
    plan = prepare(tiny(*TWO)).plan
    scores = [load_tensors(store.home("measure", key) / "scores.safetensors") for key in plan.scores.values()]
    assert all(len(s["mse"]) == 8 == row["victims"] for s in scores)
    best = {"mse": float(torch.minimum(*[s["mse"] for s in scores]).mean()),
            "psnr": float(torch.maximum(*[s["psnr"] for s in scores]).mean())}  # fmt: skip
    for metric, choose in (("mse", min), ("psnr", max)):
        wanted = choose(best[metric], row[f"floor/mean_image/{metric}"])
        assert row[f"privacy/worst/{metric}"] == pytest.approx(wanted, rel=1e-6)
    assert row["privacy/worst/mse"] <= min(row["privacy/decoder/mse"], row["privacy/rmle/mse"])


def test_neither_the_headline_nor_the_worst_case_is_above_the_mean_image_in_any_metric() -> None:
    told = {"mse": 0.0981, "psnr": 10.2, "ssim": 0.3, "lpips": 0.6, "told": 0.1, "frechet@9": 3.0}
    floor = {"mse": 0.042, "psnr": 14.0, "ssim": 0.2, "lpips": 0.5}
    assert nearer(told, floor) == {**told, "mse": 0.042, "psnr": 14.0, "lpips": 0.5}
    ahead = nearer({**told, "mse": 0.03}, floor)  # ahead in one metric, and behind in others
    assert ahead == {**told, "mse": 0.03, "psnr": 14.0, "lpips": 0.5}
    assert math.isnan(nearer({"mse": math.nan}, {"mse": 0.042})["mse"])  # what went wrong stays to be seen


def test_psnr_is_that_of_each_image_with_peak_one(tmp_path: Path) -> None:
    store, cfg = Store(tmp_path), tiny()
    execute(cfg, store)
    scores = load_tensors(store.home("measure", prepare(cfg).plan.scores["decoder"]) / "scores.safetensors")
    assert torch.allclose(scores["psnr"], -10 * scores["mse"].log10(), atol=1e-4)


def test_threads_and_layout_change_no_key_but_run(tmp_path: Path) -> None:
    cfg = tiny("runtime.channels_last=false")
    a, b = execute(cfg, Store(tmp_path / "a")), execute(tiny(), Store(tmp_path / "b"))
    assert a["key"] == b["key"]
    assert a["utility/cross_entropy"] == pytest.approx(b["utility/cross_entropy"], rel=1e-2)


def test_bf16_runs_and_is_another_run(tmp_path: Path) -> None:
    half = execute(tiny("runtime.precision=bf16"), Store(tmp_path))
    full = execute(tiny(), Store(tmp_path))
    assert half["key"] != full["key"]
    assert half["precision"] == "bf16"
    assert numbers(half)["utility/cross_entropy"] != full["utility/cross_entropy"]


def test_a_device_that_is_not_there_is_a_user_s_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from splitpriv.types import UserError

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    runtime = Runtime(
        device="cuda", precision="fp32", channels_last=True, compile=False, capture=False, pack=1, threads=1
    )
    with pytest.raises(UserError, match=r"^runtime\.device: "):
        runtime.start()


def test_who_holds_the_device_is_told_what_a_mask_let_pass(tmp_path: Path) -> None:
    """A run gives its suite the law of the chain, and repeated releases by it; others get the mean."""
    words = ("defense=[dropout]", "attack=[autoinvert_quick,rmle]", "protocol.queries=16")
    prepared = prepare(tiny(*words, decoder=False))
    run = Run(prepared, Store(tmp_path), prepared.parts.runtime.start())
    suite, plain = (run.access(run.parts.attacks[name]) for name in ("autoinvert_quick", "rmle"))
    x = run.victims.x(slice(None))
    z, pooled = run.model.features(x), suite.intercept(16)
    there = pooled != 0
    assert there[z != 0].double().mean() > 0.99 and suite.gap(x, pooled)[there].abs().max() < 1e-5
    torch.testing.assert_close(pooled[there], z[there])
    assert (plain.intercept(16) - z)[there].square().mean() > 10 * (pooled - z)[there].square().mean()


def test_a_row_names_the_links_whose_numbers_have_changed_so_that_rows_of_before_are_apart() -> None:
    new, plain = head(prepare(tiny("defense=[dropout,noise]"))), head(prepare(tiny("defense=[noise]")))
    assert new["makes"] == f"dropout {Dropout.version}" and "makes" not in plain
    rows = [{**new, "seed": 0}, {**{k: v for k, v in new.items() if k != "makes"}, "seed": 1}]
    assert [len(members) for members in alike(rows)] == [1, 1]
