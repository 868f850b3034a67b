"""Ensembler: its stages train what they say, and its edge comes to differ from its members'."""

from __future__ import annotations

import copy

import pytest
import torch
from shipped import composed
from small import changed

from splitpriv.contract.defenses import images, model, step_of, trained
from splitpriv.defenses.selective_ensemble import SelectiveEnsemble
from splitpriv.run.parts import schedule
from splitpriv.types import UserError


def settings(**values: float) -> dict:  # type: ignore[type-arg]
    cfg = copy.deepcopy(composed("defense=[selective_ensemble]"))
    for name, value in {"members": 3, **values}.items():
        cfg = changed(cfg, f"defense.selective_ensemble.{name}", value)
    return cfg


def test_members_learn_first_and_are_frozen_then() -> None:
    target = model(settings())
    link, ensemble, data = target.chain["selective_ensemble"], target.net.cloud.ensemble, images()
    first, second = schedule(target)
    assert (first.train, "edge" in second.train) == (("cloud",), True)
    target.train()
    link.on_phase_start(first, target)
    ensemble.train()
    z = target.features(data.images)
    assert torch.equal(target.classify(link.after_edge(z)), torch.zeros(24, 2)) and ensemble.bodies.training
    link.penalty(z, step_of(target, data)).backward()
    members, ours = [ensemble.heads, ensemble.bodies, ensemble.ends], [ensemble.tails, target.net.edge]
    assert all(p.grad is not None for part in members for p in part.parameters())
    assert all(p.grad is None for part in ours for p in part.parameters())
    target.zero_grad()
    link.on_phase_start(second, target)
    target.train()
    assert not ensemble.bodies.training and ensemble.tails.training
    logits = target(data.images)
    logits.square().sum().backward()
    assert all(p.grad is None for part in members for p in part.parameters())
    assert all(p.grad is not None for part in ours for p in part.parameters())


def test_the_cloud_answers_the_mean_over_the_chosen_bodies() -> None:
    target = model(settings(selected=2)).eval()
    ensemble, r = target.net.cloud.ensemble, target.release(images().images)
    answers = [tail(body(r)) for body, tail in zip(ensemble.bodies, ensemble.tails, strict=False)]
    assert len(answers) == 2 and not torch.equal(*answers)
    assert torch.equal(target.classify(r), torch.stack(answers).mean(0))


def test_the_penalty_is_the_largest_cosine_with_a_chosen_head() -> None:
    target = model(settings(weight=2.0)).eval()
    link, data = target.chain["selective_ensemble"], images()
    z = target.features(data.images)
    ensemble = target.net.cloud.ensemble
    alike = [torch.cosine_similarity(z.flatten(1), head(data.images).flatten(1)).mean() for head in ensemble.heads]
    assert link.penalty(z, step_of(target, data)).item() == pytest.approx(2 * max(alike[:2]).item(), rel=1e-5)
    ensemble.heads[0].load_state_dict(target.net.edge.state_dict())
    assert link.penalty(z, step_of(target, data)).item() == pytest.approx(2.0)


def test_the_edge_comes_to_differ_from_its_members_edges() -> None:
    alike, data = [], images()
    for weight in (0.0, 50.0):
        target = trained(settings(weight=weight)).model
        link = target.chain["selective_ensemble"]
        link.weight = 1.0
        with torch.no_grad():
            alike.append(link.penalty(target.features(data.images), step_of(target, data)).item())
    assert alike[1] < alike[0] - 0.01


def test_every_offset_is_fixed_and_of_its_size() -> None:
    target = model(settings(sigma=0.5))
    link = target.chain["selective_ensemble"]
    z = torch.zeros(2, *target.shape)
    assert torch.equal(link.after_edge(z), link.after_edge(z)) and torch.equal(link.expected(z), link.after_edge(z))
    assert link.offsets.shape[0] == 4 and link.offsets.std().item() == pytest.approx(0.5, rel=0.2)


def test_more_bodies_than_members_cannot_be_chosen() -> None:
    with pytest.raises(UserError, match=r"^\.selected: 5 of 4 members"):
        SelectiveEnsemble(members=4, selected=5, weight=1.0, sigma=0.1)
