"""Runs as a whole: cached, repeatable in any order, resumable after a kill."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from small import MONITOR, NOISE, execute, numbers, tiny
from torch import Tensor, nn

from splitpriv import config
from splitpriv.attacks.decoder import Decoder
from splitpriv.defenses.base import Defense
from splitpriv.run import context, pipeline, stages
from splitpriv.run.fit import SplitFit
from splitpriv.run.plan import preview
from splitpriv.run.prepare import check, prepare
from splitpriv.run.row import read_json
from splitpriv.store import Store
from splitpriv.store.state import load_tensors, read_state
from splitpriv.types import Phase, Step


class ForbiddenError(Exception):
    pass


def forbid(*_: Any, **__: Any) -> None:
    raise ForbiddenError


# ---- cache ---------------------------------------------------------------------------------------------------------


def test_a_warm_run_returns_its_row_and_trains_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, cfg = Store(tmp_path), tiny(*NOISE)
    row = execute(cfg, store)
    for place, name in ((context, "train_phase"), (Decoder, "fit"), (stages, "utility"), (stages, "score")):
        monkeypatch.setattr(place, name, forbid)
    assert execute(cfg, store) == row == store.row(row["key"])
    (tmp_path / "rows" / f"{row['key']}.json").unlink()
    assert numbers(execute(cfg, store)) == numbers(row)  # from the stages
    with pytest.raises(ForbiddenError):
        execute(tiny(*NOISE, "seed=1"), store)


def test_another_attack_reuses_the_fit_and_the_first_attack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    first = execute(tiny(), store)
    monkeypatch.setattr(context, "train_phase", forbid)
    monkeypatch.setattr(Decoder, "fit", forbid)
    both = execute(tiny("attack=[decoder,rmle]", "attack.rmle.steps=2"), store)
    assert both["key"] != first["key"]
    assert both["privacy/decoder/mse"] == first["privacy/decoder/mse"]
    assert both["utility/accuracy"] == first["utility/accuracy"]


def test_preview_says_what_is_there_and_builds_nothing(tmp_path: Path) -> None:
    store, prepared = Store(tmp_path / "s"), prepare(tiny())
    states, row = preview(prepared, store)
    wanted = ["measure copies", "fit fit", "measure utility", "attack decoder", "measure decoder"]
    assert [str(stage) for stage, _ in states] == wanted
    assert {state for _, state in states} == {row} == {"missing"}
    assert not store.root.exists()
    pipeline.execute(prepared, store)
    states, row = preview(prepared, store)
    assert {state for _, state in states} == {row} == {"cached"}
    assert prepare(tiny()).plan == prepared.plan


def test_stages_come_in_order_and_are_told_apart() -> None:
    plan = dataclasses.replace(prepare(tiny()).plan, clean={"decoder": ("k1", "k2")})
    told = [(str(s), s.kind, s.key) for s in plan.stages()]
    assert told == [
        ("measure copies", "measure", plan.copies),
        ("fit fit", "fit", plan.fits[0]), ("measure utility", "measure", plan.utility),
        ("attack decoder", "attack", plan.attacks["decoder"]), ("measure decoder", "measure", plan.scores["decoder"]),
        ("attack decoder on clean x", "attack", "k1"), ("measure decoder on clean x", "measure", "k2"),
    ]  # fmt: skip


def test_other_seeds_are_the_same_run_prepared_anew() -> None:
    prepared, anew = prepare(tiny()).reseeded(3, 4), prepare(tiny("seed=3", "attack_seed=4"))
    assert (prepared.cfg["seed"], prepared.cfg["attack_seed"]) == (3, 4) and prepared.plan == anew.plan


# ---- repeatable ----------------------------------------------------------------------------------------------------

CONFIGS = (
    ("none", ()), ("noise", NOISE), ("dropout", ("defense=[dropout]",)),
    ("cem", ("defense=[cem,noise]", "defense.cem.clusters=2", "defense.cem.rate_threshold=null")),
)  # fmt: skip


def test_another_order_and_a_fresh_store_give_equal_numbers(tmp_path: Path) -> None:
    forth, back = Store(tmp_path / "forth"), Store(tmp_path / "back")
    torch.manual_seed(1)
    one = {name: numbers(execute(tiny(*over), forth)) for name, over in CONFIGS}
    torch.manual_seed(2)
    two = {name: numbers(execute(tiny(*over), back)) for name, over in reversed(CONFIGS)}
    assert one == two
    assert len({row["privacy/worst/mse"] for row in one.values()}) == len(CONFIGS)


@pytest.mark.parametrize("lost", ["measure", "attack", "attack measure", "fit"])
def test_what_was_cached_does_not_change_a_number(lost: str, tmp_path: Path) -> None:
    """Each stage seeds itself: utility under noise, above all, must not depend on whether the fit was just trained."""
    store, cfg = Store(tmp_path), tiny(*NOISE, "attack=[decoder,rmle]", "attack.rmle.steps=2")
    row = execute(cfg, store)
    shutil.rmtree(tmp_path / "rows")
    for stage in lost.split():
        shutil.rmtree(tmp_path / stage)
    torch.manual_seed(123)
    assert numbers(execute(cfg, store)) == numbers(row)


def test_the_seed_changes_the_run(tmp_path: Path) -> None:
    store = Store(tmp_path)
    rows = [execute(tiny(f"seed={s}", f"attack_seed={a}"), store) for s, a in ((0, 0), (1, 0), (0, 1))]
    assert rows[0]["utility/cross_entropy"] == rows[2]["utility/cross_entropy"] != rows[1]["utility/cross_entropy"]
    assert len({row["privacy/decoder/mse"] for row in rows}) == 3


def weights(store: Store, cfg: config.Config) -> dict[str, Tensor]:
    plan = prepare(cfg).plan
    return read_state(store.home("fit", plan.fits[-1]) / "weights.pt")["parts"]["model"]


def test_a_monitored_run_trains_the_same_target_to_the_bit(tmp_path: Path) -> None:
    store = Store(tmp_path)
    alone, watched = tiny(*NOISE), tiny(*NOISE, *MONITOR)
    rows = execute(alone, store), execute(watched, store)
    a, b = weights(store, alone), weights(store, watched)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert rows[0]["utility/cross_entropy"] == pytest.approx(rows[1]["utility/cross_entropy"], abs=0.2)
    assert all("monitor/mse" in note for note in rows[1]["trajectory"])
    assert not any("monitor/mse" in note for note in rows[0]["trajectory"])


# ---- phases --------------------------------------------------------------------------------------------------------


class Staged(Defense):
    """Plain training first; then the chain is attached and only the defence and the cloud learn."""

    phases = (Phase("fit", epochs=1, idle=True), Phase("tune", epochs=2, train=("cloud", "defense")))
    started: ClassVar[list[str]] = []

    def __init__(self, *, size: float) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(float(size)))

    def after_edge(self, z: Tensor) -> Tensor:
        return z + self.shift

    def penalty(self, z: Tensor, step: Step) -> Tensor:
        assert step.phase == "tune"
        return self.shift.square()

    def on_phase_start(self, phase: Phase, model: Any) -> None:
        Staged.started.append(phase.name)


def staged(monkeypatch: pytest.MonkeyPatch, size: float) -> config.Config:
    import splitpriv.defenses.noise as module

    Staged.__module__ = "splitpriv.defenses.noise"
    monkeypatch.setattr(module, "Staged", Staged, raising=False)
    monkeypatch.setitem(vars(module), "Any", Any)
    cfg = tiny("optim.epochs=1")
    cfg["defense"] = {"staged": {"_target_": "splitpriv.defenses.noise.Staged", "size": size}}
    return cfg


def test_phases_are_chained_and_the_idle_one_is_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, trained = Store(tmp_path), []
    real = context.train_phase
    monkeypatch.setattr(context, "train_phase", lambda m, job, *a: (trained.append(job.phase.name), real(m, job, *a)))
    cfg = staged(monkeypatch, 1.0)
    plan = prepare(cfg).plan
    Staged.started.clear()
    row = execute(cfg, store)
    assert trained == ["fit", "tune"]
    assert Staged.started == ["tune"]
    first, second = (read_state(store.home("fit", key) / "weights.pt")["parts"]["model"] for key in plan.fits)
    edges = [name for name in first if name.startswith("net.edge")]
    assert edges
    assert all(torch.equal(first[name], second[name]) for name in edges)
    assert "chain.staged.shift" not in first
    assert 0 < second["chain.staged.shift"] < 1
    assert [(n["phase"], n["epoch"]) for n in row["trajectory"]] == [("fit", 0), ("tune", 0), ("tune", 1)]
    execute(staged(monkeypatch, 2.0), store)  # the idle phase is cached
    assert trained == ["fit", "tune", "tune"]


def test_an_idle_phase_like_the_plain_one_is_the_undefended_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, trained = Store(tmp_path), []
    real = context.train_phase
    monkeypatch.setattr(context, "train_phase", lambda m, job, *a: (trained.append(job.phase.name), real(m, job, *a)))
    execute(tiny("optim.epochs=1"), store)
    monkeypatch.setattr(Staged, "phases", (Phase("fit", idle=True), Phase("tune", train=("cloud", "defense"))))
    execute(staged(monkeypatch, 1.0), store)
    assert trained == ["fit", "tune"]


def test_two_schedules_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = staged(monkeypatch, 1.0)
    cfg["defense"]["again"] = cfg["defense"]["staged"]
    assert check(cfg) == ["defense: staged and again both bring a training schedule; list only one of them"]


# ---- kill ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stage", "step"), [("fit", (SplitFit, "augmented")), ("attack", (Decoder, "pair"))])
def test_a_run_killed_in_a_stage_ends_in_the_same_row(
    stage: str, step: tuple[type, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL leaves what the disk holds at that moment: a copy of the store. A real one is in tests/track."""
    whole, killed, real, steps = tmp_path / "whole", tmp_path / "killed", getattr(*step), []

    def copied(*arguments: Any) -> Any:
        steps.append(1)
        if len(steps) == 7:  # in the second of three epochs
            shutil.copytree(whole, killed)
        return real(*arguments)

    cfg = tiny(*NOISE, "optim.epochs=3", "attack.decoder.epochs=3")
    with monkeypatch.context() as patch:
        patch.setattr(*step, copied)
        row = execute(cfg, Store(whole))
    assert read_state(next(killed.glob(f"{stage}/*/last.pt")))["epoch"] == 1
    assert bool(list(killed.glob("fit/*/done"))) == (stage == "attack") and not list(killed.glob("rows/*.json"))
    assert numbers(execute(cfg, Store(killed))) == numbers(row)
    a, b = (load_tensors(next(s.glob("attack/*/reconstructions.safetensors")))["image"] for s in (killed, whole))
    assert torch.equal(a, b)


def test_a_stage_that_failed_is_told_and_retried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, cfg = Store(tmp_path), tiny()
    with monkeypatch.context() as patch:
        patch.setattr(Decoder, "fit", forbid)
        with pytest.raises(ForbiddenError):
            execute(cfg, store)
    states = {str(stage): state for stage, state in preview(prepare(cfg), store)[0]}
    assert states == {
        "measure copies": "cached", "fit fit": "cached", "measure utility": "cached", "attack decoder": "failed",
        "measure decoder": "missing",
    }  # fmt: skip
    assert "ForbiddenError" in (store.home("attack", prepare(cfg).plan.attacks["decoder"]) / "failed").read_text()
    execute(cfg, store)
    assert preview(prepare(cfg), store)[1] == "cached"


def test_curves_of_every_phase_are_in_the_row(tmp_path: Path) -> None:
    row = execute(tiny(), Store(tmp_path))
    assert [note["epoch"] for note in row["trajectory"]] == [0, 1]
    assert read_json(tmp_path / "fit" / row["fit"][0] / "curve.json") == row["trajectory"]
    assert dataclasses.asdict(Phase("fit"))["name"] == row["trajectory"][0]["phase"]
