"""Every doubt is raised by what should raise it, and by nothing else."""

from __future__ import annotations

import math
from typing import Any

import pytest

from splitpriv.measure.checks import Facts, above_ceiling, doubts

FLOORS: dict[str, Any] = {"mean_image": {"mse": 0.08}, "random_image": {"mse": 0.15}}


def facts(mse: float = 0.02, **changed: Any) -> Facts:
    return Facts(**{"means": {"mse": mse}, "kind": "Decoder", "converged": True, **changed})


BLACK = facts(0.03, requires=frozenset({"query", "aux"}))
WHITE = facts(0.02, kind="Rmle", requires=frozenset({"edge"}))
FINE = {"decoder": BLACK, "rmle": WHITE}


def test_a_sound_evaluation_has_no_flags():
    assert doubts(FINE, **FLOORS) == []
    assert (
        doubts(FINE, **FLOORS, signal=50.0, overlaps={"train/aux": 0},
               utility={"accuracy": 0.9}) == []
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "flag"),
    [
        ({"attacks": {**FINE, "weak": facts(0.0799)}}, "weak: no better than the mean image of aux"),
        ({"attacks": {**FINE, "weak": facts(0.16)}}, "weak: worse than a random image of aux"),
        ({"attacks": {**FINE, "short": facts(0.03, converged=False)}}, "short: not converged"),
        ({"attacks": {**FINE, "broken": facts(math.nan)}}, "broken: mse is nan"),
        ({"attacks": {"decoder": BLACK}}, "only one attack was run"),
        ({"attacks": {"decoder": facts(0.01), "rmle": WHITE}}, "white box (rmle) weaker than black box (decoder)"),
        (
            {"attacks": {**FINE, "rmle_eot": facts(0.03, kind="Rmle", requires=frozenset({"edge"}), eot=8)}},
            "rmle_eot: weaker than rmle, which averages fewer gradients",
        ),
        (
            {"attacks": {**FINE, "decoder_avg": facts(0.05, draws=16)}},
            "decoder_avg: weaker than decoder, which averages fewer releases",
        ),
        ({"signal": 0.0}, "release is constant: two draws show no sign of the image (repeated ones may)"),
        ({"signal": math.nan}, "release is constant: two draws show no sign of the image (repeated ones may)"),
        ({"overlaps": {"train/aux": 9000, "val/aux": 0}}, "splits overlap: train/aux (9000 images)"),
        ({"utility": {"accuracy": math.nan}}, "utility: accuracy is nan"),
    ],
)
def test_each_doubt(changed, flag):
    assert doubts(**{"attacks": FINE, **FLOORS, **changed}) == [flag]


def test_twins_differ_in_one_setting_only():
    other = facts(0.05, draws=16, settings={"loss": "l1"})
    assert doubts({**FINE, "other": other}, **FLOORS) == []
    assert doubts({**FINE, "better": facts(0.02, draws=16)}, **FLOORS) == []


def test_an_attack_above_its_ceiling() -> None:
    assert above_ceiling("decoder", 0.01, 0.05) == ["decoder: better than on the undefended network"]
    assert above_ceiling("decoder", 0.0499, 0.05) == []
