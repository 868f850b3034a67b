"""Attacks that recover no image: how they are scored, and what they may see."""

from __future__ import annotations

import pytest
import torch

from splitpriv.attacks.base import answer
from splitpriv.data.base import Split
from splitpriv.measure import traits
from splitpriv.measure.checks import Facts, binding, doubts
from splitpriv.metrics import PRIVACY
from splitpriv.types import UserError


def people(count: int, correlation: float, seed: int) -> Split:
    """An attribute that equals the label with probability (1 + correlation) / 2; one in four has value 1."""
    dice = torch.Generator().manual_seed(seed)
    s = (torch.rand(count, generator=dice) < 0.25).long()
    flip = torch.rand(count, generator=dice) > (1 + correlation) / 2
    return Split(torch.zeros(count, 1, 1, 1), torch.where(flip, 1 - s, s), torch.arange(count), {"s": s})


def test_an_attribute_is_scored_against_the_majority_and_the_label() -> None:
    victims, aux = people(4000, 0.6, 0), people(4000, 0.6, 1)
    right = torch.nn.functional.one_hot(victims.attributes["s"], 2).float()
    scores, means = traits.attribute(right, victims, aux, "s")
    assert means["accuracy"] == means["balanced_accuracy"] == means["auc"] == 1
    assert means["advantage"] == 0.5 and means["majority"] == pytest.approx(0.75, abs=0.02)
    assert means["label_balanced_accuracy"] == pytest.approx(0.8, abs=0.02)
    assert means["over_label"] == pytest.approx(0.2, abs=0.02) and scores["correct"].sum() == 4000
    assert {*means, *scores} <= set(PRIVACY)
    _, blind = traits.attribute(torch.zeros(4000, 2), victims, aux, "s")
    assert blind["advantage"] == 0 and blind["auc"] == 0.5 and blind["accuracy"] == blind["majority"]


def test_an_identity_is_sought_among_other_images_only() -> None:
    who = torch.tensor([0, 0, 1, 1, 2])
    victims = Split(torch.zeros(5, 1, 1, 1), torch.zeros(5, dtype=torch.long), torch.arange(5), {"identity": who})
    scores, means = traits.identity(torch.nn.functional.one_hot(who, 3).float(), None, victims)
    assert means["map"] == means["rank1"] == 1
    assert scores["valid"].tolist() == [1, 1, 1, 1, 0]
    assert {*means, *scores} - {"valid"} <= set(PRIVACY)
    alone = Split(victims.images, victims.y, victims.ids, {"identity": torch.arange(5)})
    with pytest.raises(UserError, match="no victim has another image"):
        traits.identity(torch.rand(5, 3), None, alone)


def test_what_the_server_answers() -> None:
    logits = torch.tensor([[2.0, 0.0, 1.0]])
    share = logits.softmax(1)
    assert torch.equal(answer(logits, "logits", 1), logits)
    assert torch.equal(answer(logits, "softmax", 1), share)
    assert torch.equal(answer(logits, "topk", 2), share * torch.tensor([[1, 0, 1]]))
    assert torch.equal(answer(logits, "label", 1), torch.tensor([[1.0, 0.0, 0.0]]))


FLOORS = {"mean_image": {"mse": 0.1}, "random_image": {"mse": 0.2}}


def test_a_run_without_the_adaptive_attack_is_flagged() -> None:
    plain = {"a": Facts({"mse": 0.01}), "b": Facts({"mse": 0.01}, {"_target_": "b"})}
    flags = doubts(plain, **FLOORS, adaptive={"noise": ["draws"], "cloak": ["draws", "mask"]})
    assert [f.subject for f in flags if f.kind == "adaptive"] == ["noise", "cloak", "cloak"]
    assert "averages" not in flags[0].text and "draws" in flags[0].text and "mask" in flags[2].text
    adaptive = {**plain, "b": Facts({"mse": 0.01}, {"_target_": "b"}, adapts=frozenset({"draws", "mask"}))}
    assert doubts(adaptive, **FLOORS, adaptive={"cloak": ["draws", "mask"]}) == []


def test_a_violated_bound_is_flagged_for_attacks_on_one_release() -> None:
    attacks = {"a": Facts({"mse": 0.01}), "many": Facts({"mse": 0.001}, draws=16)}
    flags = [f.text for f in doubts(attacks, **FLOORS, bounds={"cem_mse": 0.02, "dfil": 5.0}) if f.kind == "bound"]
    assert flags == ["a: beats the bound cem_mse (0.02)"]
    assert "bound" not in {f.kind for f in doubts(attacks, **FLOORS, bounds={"cem_mse": 0.005})}


def test_the_binding_attack_is_the_strongest_on_each_thing() -> None:
    class Kind:
        def __init__(self, recovers: str, attribute: str = "y") -> None:
            self.recovers, self.attribute = recovers, attribute

    attacks = {"d": Kind("image"), "r": Kind("image"), "p": Kind("attribute", "race"), "q": Kind("attribute", "race")}
    means = {"d": {"mse": 0.2}, "r": {"mse": 0.1}, "p": {"balanced_accuracy": 0.6}, "q": {"balanced_accuracy": 0.5}}
    assert binding(attacks, means) == {"image": "r", "race": "p"}
