"""What an attack says of itself and what it recovers: no mistake of its author passes for a weak attack."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from splitpriv.attacks.base import Attack, Reconstructor
from splitpriv.run import declared
from splitpriv.types import Spec, UserError

SPEC = Spec(image=(1, 8, 8), classes=3, attributes={"side": 2})
SAID: dict[str, tuple[dict[str, Any], str]] = {
    "a right that is none": (
        {"requires": frozenset({"pixels"})},
        "requires is frozenset({'pixels'}); make it a frozen",
    ),
    "one right": ({"requires": "aux"}, "requires is 'aux'"),
    "what it recovers": ({"recovers": "soul"}, "recovers is 'soul'; make it one of image, attribute, identity"),
    "what it sees": ({"observe": "all"}, "observe is 'all'"),
    "no draw": ({"draws": 0}, "draws is 0; make it a whole number of 1 or more"),
    "text": ({"draws": "two"}, "draws is 'two'"),
    "eot": ({"eot": 0.5}, "eot is 0.5"),
    "one kind": ({"adapts": "draws"}, "adapts is 'draws'; make it a frozenset of some of draws"),
}


class Found(Reconstructor):
    def __init__(self, report: Any) -> None:
        super().__init__()
        self.report = report


@pytest.mark.parametrize("what", SAID)
def test_what_an_attack_says_of_itself_is_held_against_its_readers(what: str) -> None:
    said, told = SAID[what]
    (problem,) = declared.attacks({"own": type("Own", (Attack,), said)()})
    assert problem.startswith(f"attack.own: {told}")
    assert not declared.attacks({"own": type("Own", (Attack,), {"requires": frozenset({"aux"}), "draws": 4})()})


@pytest.mark.parametrize(("made", "told"), [
    (None, "fit returns a NoneType; return a Reconstructor"), (nn.Identity(), "fit returns a Identity"),
    (Found([1]), r"report is \[1\]; make it a dict"), (Found({"loss": torch.ones(2)}), "report cannot be kept"),
    (Reconstructor(), "report is None"),
])  # fmt: skip
def test_what_a_fit_returns_is_looked_at_before_a_victim_is(made: Any, told: str) -> None:
    with pytest.raises(UserError, match=f"attack.own: {told}"):
        declared.fitted("own", made)
    assert isinstance(declared.fitted("own", Found({})), Found)


@pytest.mark.parametrize(("recovers", "found", "told"), [
    ("image", torch.zeros(4, 1, 8, 8), r'everything returns a Tensor; return a dict, what is recovered under ""'),
    ("image", {"member": torch.zeros(4, 1, 8, 8)}, r"everything returns \['member'\]"),
    ("image", {"": [1, 2]}, r"recovers a list of 4 releases; return \(4, 1, 8, 8\)"),
    ("image", {"": torch.zeros(4, 1, 5, 5)}, r"recovers \(4, 1, 5, 5\) of 4 releases"),
    ("image", {"": torch.zeros(1, 1, 8, 8)}, r"recovers \(1, 1, 8, 8\) of 4 releases"),
    ("image", {"": torch.full((4, 1, 8, 8), 7.0)}, r"it rebuilds values outside \[0, 1\]"),
    ("image", {"": torch.zeros(4, 1, 8, 8), "part": torch.full((4, 1, 8, 8), -0.1)}, "part rebuilds values outside"),
    ("attribute", {"": torch.zeros(4, 77)}, r"recovers \(4, 77\) of 4 releases; return \(4, 2\)"),
    ("identity", {"": torch.zeros(4)}, r"recovers \(4,\) of 4 releases; return \(4, None\)"),
])  # fmt: skip
def test_what_is_recovered_is_what_the_attack_says(recovers: str, found: Any, told: str) -> None:
    own = type("Own", (Attack,), {"recovers": recovers, "attribute": "side"})()
    with pytest.raises(UserError, match=f"attack.own: {told}"):
        declared.recovered("own", own, found, 4, SPEC)


def test_what_it_may_be_passes() -> None:
    nearly = torch.tensor([-1e-6, 1 + 1e-6, torch.nan, 0.5]).view(4, 1, 1, 1).expand(4, 1, 8, 8)  # nan is a flag's
    for recovers, found in (("image", nearly), ("attribute", torch.zeros(4, 3)), ("identity", torch.zeros(4, 9))):
        declared.recovered("own", type("Own", (Attack,), {"recovers": recovers})(), {"": found}, 4, SPEC)
