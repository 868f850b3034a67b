"""What voids a row, what leaves it in doubt, and that rows of before are judged by what they hold."""

from __future__ import annotations

import math
from typing import Any

import pytest

from splitpriv.measure import verdict as verdicts
from splitpriv.measure.flags import raised
from splitpriv.measure.kinds import KINDS
from splitpriv.measure.remedies import load
from splitpriv.measure.verdict import doubts_of, official, verdict
from splitpriv.store import Row

SOUND: Row = {
    "protocol": "strict", "protocol.overlap": False, "protocol.limit.victims": 1000, "dataset": "cifar10",
    "optim.epochs": 8, "victims": 500, "utility/accuracy": 0.88, "privacy/decoder/mse": 0.02, "privacy/rmle/mse": 0.07,
    "privacy/worst/mse": 0.02, "floor/mean_image/mse": 0.06, "flags": [],
}  # fmt: skip


AUTHORS = {"protocol.slices.train": ["train", 0, 1], "protocol.slices.val": ["test", 0, 1],
           "protocol.slices.aux": ["train", 0, 1], "protocol.slices.victims": ["test", 0, 1]}  # fmt: skip


def kinds(**changed: Any) -> list[str]:
    return [flag.kind for flag in doubts_of({**SOUND, **changed})]


def test_a_row_without_doubts_is_sound() -> None:
    assert verdict(SOUND) == "sound" and kinds() == []
    assert verdict({"utility/accuracy": 0.9, "flags": []}) == "sound"  # what a row does not say is no doubt


@pytest.mark.parametrize(
    ("changed", "kind", "remedy"),
    [
        ({"protocol": "smoke"}, "smoke", "protocol=strict"),
        ({"victims": 99}, "few", "protocol.attacked=100"),
        ({"victims": 16, "protocol.limit.victims": 64}, "few",
         "protocol.attacked=100 protocol.limit.victims=100"),
        ({"victims": 30, "protocol.attacked": None}, "few", ""),  # all that there are
        ({"victims": 30, "protocol.attacked": 1000, "dataset.test_share": 0.2}, "few", "dataset.test_share=0.67"),
        ({"victims": 12, "protocol.attacked": 1000, "dataset.test_share": 0.2}, "few", ""),  # too few images in all
        ({"utility/accuracy": 0.11}, "chance", "optim.epochs=16"),
        ({"utility/accuracy": 0.29}, "far", "optim.epochs=16"),
        ({"dataset": "images", "chance/accuracy": 0.7, "utility/accuracy": 0.71}, "chance", "optim.epochs=16"),
        ({"chance/accuracy": 0.95, "tested": 24, "utility/accuracy": 0.9667}, "chance", "optim.epochs=16"),
        ({"headline": "map", "chance/map": 0.2, "utility/map": 0.21, "tested": 100}, "chance", "optim.epochs=16"),
        ({"privacy/decoder/mse": 0.0599}, "blind", "attack=[autoinvert]"),
        ({"privacy/decoder/mse": 0.0599, "suite": "autoinvert-2"}, "blind", ""),
        ({"privacy/decoder/mse": math.nan}, "blind", "attack=[autoinvert]"),
        ({"floor/mean_image/mse": math.nan}, "blind", "attack=[autoinvert]"),
        ({"protocol.overlap": True}, "allowed", "protocol=strict protocol.overlap=false"),
        ({"protocol": "cem_official", "protocol.overlap": True, **AUTHORS, "protocol.slices.aux": ["test", 0, 1]},
         "allowed", "protocol=strict protocol.overlap=false"),  # in its authors' name the adversary holds the victims
        ({"protocol": "cem_official_mine", "protocol.overlap": True, **AUTHORS}, "allowed",
         "protocol=strict protocol.overlap=false"),
        ({"dataset": "fashion_tint", "utility/accuracy": 0.18}, "far", "optim.epochs=16"),
        ({"dataset": "cifar100", "utility/accuracy": 0.03}, "far", "optim.epochs=16"),
    ],
)  # fmt: skip
def test_what_voids_a_row(changed: dict[str, Any], kind: str, remedy: str) -> None:
    row = {**SOUND, **changed}
    (flag,) = doubts_of(row)
    assert (flag.kind, flag.remedy, verdict(row)) == (kind, remedy, "void")


def test_chance_is_an_interval_on_the_images_that_were_tested() -> None:
    sharp = {"chance/accuracy": 0.95, "utility/accuracy": 0.9667}
    assert kinds(**sharp, tested=10_000) == [] and kinds(**sharp, tested=600) == ["chance"]
    flag = doubts_of({**SOUND, **sharp, "tested": 600})[0]
    assert flag.text == "accuracy 96.7% is no better than the most frequent class (95.0%)"


def test_what_does_not() -> None:
    assert kinds(**{"privacy/a/mse": math.nan}) == []  # another attack worked; the number has a flag of its own
    assert kinds(**{"privacy/decoder/mse": 0.07, "privacy/rmle/mse": math.nan, "privacy/a/mse": 0.02}) == []
    assert kinds(**{"protocol": "cem_official", "protocol.overlap": True, **AUTHORS}) == []
    assert kinds(**{"dataset": "images", "utility/accuracy": 0.2}) == []  # neither chance nor a reference is known
    assert kinds(**{"headline": "map", "utility/map": 0.1}) == []
    assert kinds(**{"privacy/probe/auc": 0.5, "victims": 100}) == []


@pytest.mark.parametrize(
    ("kind", "state"),
    [("overlap", "void"), ("unsettled", "void"), ("declared", "doubtful"), ("alone", "doubtful"), ("mean", "doubtful")],
)
def test_each_kind_says_whether_it_voids(kind: str, state: str) -> None:
    assert verdict({**SOUND, "flags": [raised(kind, "a", count=3).record()]}) == state


def test_lines_of_before_leave_a_row_in_doubt() -> None:
    assert verdict({**SOUND, "flags": ["splits overlap: train and aux (3 images)"]}) == "doubtful"


def test_doubts_that_are_stored_are_not_raised_again() -> None:
    stored = [flag.record() for flag in doubts_of({**SOUND, "victims": 16})]
    assert [flag.kind for flag in doubts_of({**SOUND, "victims": 16, "flags": stored, "verdict": "void"})] == ["few"]


def test_a_declared_overlap_is_that_of_a_published_protocol_or_of_the_knowledge() -> None:
    authors = load("protocol", "cem_official_infer")["slices"]
    assert official("cem_official_infer", True, authors) and official("strict", False, {})
    assert not official("strict", True, {}) and not official("strict", True, load("protocol", "strict")["slices"])
    assert not official("cem_official", True, authors)


def test_every_kind_is_explained() -> None:
    assert all(kind.says and kind.means for kind in KINDS.values())


def test_a_row_is_judged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """By what it holds, whatever it said before; who changes it has a plain row again."""
    plain = {**SOUND, "utility/accuracy": 0.29, "verdict": "sound"}
    row, state = verdicts.whole(plain), verdict(plain)
    assert row["verdict"] == state != "sound" and [flag["kind"] for flag in row["flags"]] == ["far"]
    assert verdict({**row, "protocol": "smoke"}) == "void"
    monkeypatch.setattr(verdicts, "implied", lambda row: 1 / 0)
    assert verdict(row) == state and [flag.kind for flag in doubts_of(row)] == ["far"]
