"""Update leaks: exact updates, disjoint parts, an attack that learns from its own shadow only, the command's rows."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small import DECODER, SMALL, tiny
from torch import Tensor

from splitpriv import config, targets
from splitpriv.data.base import Split
from splitpriv.defenses.base import Defended
from splitpriv.measure.verdict import verdict
from splitpriv.run.context import Run
from splitpriv.run.parts import make_model
from splitpriv.run.prepare import prepare
from splitpriv.store import Store
from splitpriv.studies import base, update_leaks
from splitpriv.types import UserError

OPTIONS = sorted(p.stem for p in (config.CONF / "leaks").glob("*.yaml"))
QUICK = (
    "leaks.probes=6", "leaks.updates=8", "leaks.shadow_updates=10", "leaks.epochs=2", "leaks.runs=2",
    "leaks.draws=[1,3]", "leaks.hidden=[8]",
)  # fmt: skip
COMMAND = ("short", *SMALL, *DECODER, *QUICK)


def attack(**settings: Any) -> update_leaks.UpdateLeaks:
    node = {k: v for k, v in config.compose(["+leaks=short"])["leaks"].items() if k != "_target_"}
    return update_leaks.UpdateLeaks(**{**node, **settings})


def model(*overrides: str) -> Defended:
    cfg = tiny(*overrides)
    torch.manual_seed(0)
    made = make_model(cfg, targets.build(cfg["dataset"], "dataset")())
    return made.eval().requires_grad_(False)


def images(n: int, classes: int = 2) -> Split:
    torch.manual_seed(1)
    return Split(torch.rand(n, 1, 8, 8), torch.arange(n) % classes, torch.arange(n))


def begun(tmp_path: Path, *overrides: str) -> Run:
    return Run(prepare(tiny(*overrides)), Store(tmp_path), torch.device("cpu"))


def test_a_difference_is_that_of_one_step_of_sgd() -> None:
    target, samples, probes = model(), images(3), images(5)
    before = {k: v.clone() for k, v in target.state_dict().items()}
    found = attack(update_lr=0.1).differences(target, samples, probes, 1)
    assert found.shape == (3, 5 * 2)
    for i in range(3):
        twin = copy.deepcopy(target).requires_grad_(True)
        optimizer = torch.optim.SGD(twin.parameters(), 0.1)
        F.cross_entropy(twin(samples.images[i : i + 1]), samples.y[i : i + 1]).backward()
        optimizer.step()
        want = (target(probes.images) - twin(probes.images)).flatten()
        assert torch.allclose(found[i], want, atol=1e-6)
        assert want.abs().max() > 1e-3
    assert all(torch.equal(v, before[k]) for k, v in target.state_dict().items())  # bit by bit
    assert not any(p.requires_grad for p in target.parameters())


def test_what_came_frozen_is_not_updated() -> None:
    target, samples, probes = model(), images(1), images(5)
    *frozen, last = dict(target.named_parameters())
    target.frozen = frozenset(frozen)
    twin = copy.deepcopy(target).requires_grad_(True)
    F.cross_entropy(twin(samples.images), samples.y).backward()
    learns = twin.get_parameter(last)
    learns.data.sub_(learns.grad, alpha=0.1)
    found = attack(update_lr=0.1).differences(target, samples, probes, 1)
    assert torch.allclose(found[0], (target(probes.images) - twin(probes.images)).flatten(), atol=1e-6)


def test_the_bottleneck_s_own_layers_are_updated_too() -> None:
    for name in ("mid", "vib"):
        target = model(f"defense=[{name}]", f"defense.{name}.sample_at_test=false")
        assert torch.equal(target(images(2).images), target(images(2).images))
        assert attack().differences(target, images(2), images(4), 1).abs().max() > 0


def test_averaged_answers_are_less_noisy() -> None:
    target = model("defense=[mid]", "defense.mid.shift=0.0")
    torch.manual_seed(0)
    spread = {m: attack(update_lr=1e-9).differences(target, images(30), images(4), m).std().item() for m in (1, 16)}
    assert spread[1] / spread[16] == pytest.approx(4, rel=0.5)


@pytest.mark.parametrize(("observe", "total"), [("softmax", 0.0), ("label", 0.0)])
def test_the_attacker_sees_what_it_may(observe: str, total: float) -> None:
    found = attack(observe=observe, update_lr=1.0).differences(model(), images(6), images(5), 1).view(6, 5, 2)
    assert found.sum(-1).abs().max() == pytest.approx(total, abs=1e-6)
    assert observe != "label" or set(found.unique().tolist()) <= {-1.0, 0.0, 1.0}


def test_parts_of_aux_are_disjoint_and_probes_even() -> None:
    aux = images(100, 5)
    own, updates, probes = attack(shadow=0.5, shadow_updates=20, probes=15).parts(aux)
    sets = [set(p.ids.tolist()) for p in (own, updates, probes)]
    assert [len(s) for s in sets] == [50, 20, 15]
    assert len(set.union(*sets)) == 85
    assert probes.y.bincount().tolist() == [3] * 5
    lopsided = Split(aux.images, torch.tensor([0] * 95 + [1] * 5), aux.ids)
    assert attack(shadow=0.5, shadow_updates=20, probes=8).parts(lopsided)[2].y.bincount().tolist() == [4, 4]
    with pytest.raises(UserError, match=r"^\.shadow_updates: aux has 100 images.* larger dataset$"):
        attack(shadow=0.5, shadow_updates=40, probes=15).parts(aux)


def synthetic(n: int, seed: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    y = torch.arange(n) % 4
    return 1e-4 * (F.one_hot(y, 20).float() + 0.1 * torch.randn(n, 20)), y


def test_the_attack_learns_the_label_from_the_shadow() -> None:
    learns = attack(epochs=20, dropout=0.1)
    torch.manual_seed(0)
    assert learns.infer(synthetic(400, 0), synthetic(80, 1), 4).mean() > 0.95
    (inputs, labels), target = synthetic(400, 0), synthetic(80, 1)
    assert learns.infer((inputs, labels[torch.randperm(400)]), target, 4).mean() < 0.5
    assert attack(epochs=20, standardise=False).infer((inputs, labels), target, 4).mean() < 0.9  # too small to see


def test_sampling_is_switched_where_there_is_any() -> None:
    x = images(4).images
    for name in ("mid", "vib"):
        target = model(f"defense=[{name}]")
        assert target.sampling(False) and torch.equal(target(x), target(x))
        assert target.sampling(True) and not torch.equal(target(x), target(x))
    assert not model("defense=[noise]").sampling(False)


def test_the_shadow_learns_from_aux_alone_and_starts_elsewhere(tmp_path: Path) -> None:
    run = begun(tmp_path, "defense=[mid]")
    own, updates, _ = attack(probes=6, shadow_updates=10).parts(run.known["aux"])
    shadow = update_leaks.shadow_of(run, own, updates, 0.6)
    ids = {name: set(s.ids.tolist()) for name, s in shadow.splits.items()}
    assert ids["train"] | ids["val"] <= set(run.splits["aux"].ids.tolist())
    assert not ids["train"] & set(run.splits["train"].ids.tolist())
    assert not set(shadow.plan.fits) & set(run.plan.fits)
    first = [next(m._fresh(chain=True).parameters()) for m in (run, shadow)]
    assert not torch.equal(*first)
    assert shadow.model.state_dict().keys() == run.model.state_dict().keys()


def test_the_command_reports_sampling_on_and_off_and_the_floor(capsys: pytest.CaptureFixture[str]) -> None:
    rows = base.run("leaks", [*COMMAND, "defense=[mid]"])
    assert [(r["sample_at_test"], r["draws"]) for r in rows] == [(True, 1), (True, 3), (False, 1)]
    text = capsys.readouterr().out
    assert "update leaks: mid" in text and "commonest label" in text
    for row in rows:
        assert 0 <= row["privacy/update_leaks/accuracy"] <= 1 and len(row["values/privacy/update_leaks/accuracy"]) == 2
        assert 0.5 <= row["floor/prior/accuracy"] <= 1 and not any(k.startswith("attack.") for k in row)
        assert row["leaks.update_lr"] == 0.01 and row["defense.mid.beta"] == 0.003
        assert "utility/accuracy" in row and "version/torch" in row
    assert rows[0]["utility/cross_entropy"] != rows[2]["utility/cross_entropy"]
    assert Store(os.environ["SPLITPRIV_OUTPUTS"]).rows({"study": "leaks"}) == rows
    (plain,) = base.run("leaks", [*COMMAND])
    assert (plain["chain"], plain["sample_at_test"], plain["draws"]) == ("none", False, 1)
    assert {row["ceiling"] for row in (*rows, plain)} == {plain["key"]}


def test_a_row_says_how_many_it_attacked_and_what_a_blind_guess_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update_leaks.UpdateLeaks, "infer", lambda self, shadow, target, classes: torch.zeros(8))
    (row,) = base.run("leaks", [*COMMAND, "leaks.updates=200"])
    assert row["victims"] == row["protocol.limit.victims"] == 32 < row["leaks.updates"]
    assert [flag["kind"] for flag in row["flags"]] == ["guess"] and verdict(row) == "void"  # too few victims, too
    assert row["interval/privacy/update_leaks/accuracy"] == pytest.approx(0.10719, abs=1e-4)


@pytest.mark.parametrize(("share", "n", "half"), [(1.0, 32, 1 - 32 / (32 + 1.959964**2)), (0.5, 100, 0.0961683)])
def test_an_interval_is_wilsons(share: float, n: int, half: float) -> None:
    assert update_leaks.half_interval(share, n) == pytest.approx(half, abs=1e-5)


def test_a_second_call_reads_and_a_killed_one_continues(monkeypatch: pytest.MonkeyPatch) -> None:
    first = base.run("leaks", list(COMMAND))
    (done,) = Path(os.environ["SPLITPRIV_OUTPUTS"]).glob("leaks/*/done")
    done.unlink()
    monkeypatch.setattr(update_leaks.UpdateLeaks, "differences", None)  # what is there is not computed again
    assert base.run("leaks", list(COMMAND)) == first
    monkeypatch.setattr(update_leaks, "measure", None)
    assert base.run("leaks", list(COMMAND)) == first
    with pytest.raises(TypeError):
        base.run("leaks", [*COMMAND, "leaks.update_lr=0.02"])


@pytest.mark.parametrize("option", OPTIONS)
def test_shipped_settings_are_the_signature(option: str) -> None:
    node = config.compose([f"+leaks={option}"])["leaks"]
    assert set(node) - {"_target_"} == set(targets.settings(update_leaks.UpdateLeaks))


@pytest.mark.parametrize(("words", "said"), [
    ((*COMMAND, "leaks.probes=60"), "leaks.shadow_updates: aux has 48 images"),
    (("short", "leaks.draws=[]"), "leaks.draws: is empty"),
    (("short", "leaks.shadow=0.0"), "leaks.shadow: 0 leaves nothing"),
    (("short", "leaks.prbes=6"), "leaks.prbes: no such key here; did you mean leaks.probes"),
    (("short", "optim.epochs=0"), "optim.epochs: input should be greater"),
    (("long",), "leaks: no option 'long'"),
])  # fmt: skip
def test_mistakes_name_their_key(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(UserError) as error:
        base.run("leaks", words)
    assert any(problem.startswith(said) for problem in error.value.problems)
    assert not any(problem.startswith("leaks: no such key") for problem in error.value.problems)
