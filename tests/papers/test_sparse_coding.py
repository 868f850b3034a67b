"""Sparse coding (Dibbo et al. 2024): codes are the lasso's. Complex features, turned and back."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from shipped import links
from torch import Tensor, nn

from splitpriv import config
from splitpriv.defenses.complex_valued import ComplexValued
from splitpriv.defenses.sparse_coding import SparseCoding
from splitpriv.stats.lasso import largest, lasso, soft, unit, violation
from splitpriv.types import Epoch, Spec, Step

SPEC = Spec((1, 8, 8), 2)


def signals() -> tuple[Tensor, Tensor]:
    """20 signals of 6 entries, and 12 atoms."""
    torch.manual_seed(0)
    return torch.randn(20, 6, dtype=torch.float64), unit(torch.randn(6, 12, dtype=torch.float64))


def sparse(shape: tuple[int, ...] = (3, 5, 4), **changes: Any) -> SparseCoding:
    torch.manual_seed(0)
    settings = {**links()["sparse_coding"]["sparse_coding"], "patch": 2, **changes}
    del settings["_target_"]
    defense = SparseCoding(**settings)
    defense.attach(None, SPEC, shape)  # type: ignore[arg-type]
    return defense


def cost(v: Tensor, code: Tensor, atoms: Tensor, threshold: float) -> Tensor:
    return (v - code @ atoms.T).square().sum(-1) / 2 + threshold * code.abs().sum(-1)


@pytest.mark.parametrize("threshold", [0.25, 0.6])
def test_codes_end_at_the_lasso_s_optimum(threshold: float) -> None:
    """The conditions that only the optimum meets, and the cost that plain proximal steps end at."""
    v, atoms = signals()
    a = lasso(v, atoms, threshold, 400)
    assert violation(v, a, atoms, threshold).max() < 1e-5
    slope = (v - a @ atoms.T) @ atoms
    assert slope.abs().max() <= threshold + 1e-6
    on = a.abs() > 1e-6
    assert 0 < on.double().mean() < 0.6
    assert torch.allclose(slope[on], threshold * a[on].sign(), atol=1e-5)
    b, step = torch.zeros_like(a), 1 / torch.linalg.matrix_norm(atoms, 2) ** 2
    for _ in range(2000):
        b = soft(b + step * (v - b @ atoms.T) @ atoms, float(threshold * step))
    assert torch.allclose(cost(v, a, atoms, threshold), cost(v, b, atoms, threshold), atol=1e-6)


@pytest.mark.parametrize("entries", [16, 64])
def test_the_layer_as_it_ships_solves_its_problem_at_every_threshold_of_its_grid(entries: int) -> None:
    """Of random atoms and signals in the scale of z; LCA's twenty steps of before cost half as much again."""
    [thresholds] = config.grid("sparse_coding").values()
    z = torch.randn(40, entries)
    for threshold in thresholds:
        defense = sparse((entries,), threshold=threshold)
        v, atoms = defense.patches(z), unit(defense.atoms).detach()
        a = defense.code(v).detach()
        best = lasso(v.double(), atoms.double(), threshold, 500)
        spent = cost(v, a, atoms, threshold) / cost(v.double(), best, atoms.double(), threshold) - 1
        assert spent.mean() < 0.01, threshold
        assert ((a != 0).double().mean() - (best.abs() > 1e-9).double().mean()).abs() < 0.1
        defense.on_epoch_end(Epoch("fit", 0, 0.1, lambda: iter([(z, torch.zeros(40))])))
        assert violation(v, a, atoms, threshold).max().item() == pytest.approx(defense.facts["kkt"], rel=1e-3, abs=1e-4)
        assert defense.facts["kkt"] < 0.25 * threshold


def test_no_step_overshoots_and_the_gradient_is_nearly_that_of_the_optimum() -> None:
    """Where the support stays as it is, Φa is v's projection on its atoms but for a constant."""
    v, atoms = signals()
    exact = torch.linalg.matrix_norm(atoms, 2) ** 2
    assert exact <= largest(atoms) <= 1.1 * exact
    v, back = v.requires_grad_(), torch.randn_like(v)
    a = lasso(v, atoms, 0.3, 100)
    (slope,) = torch.autograd.grad((a @ atoms.T * back).sum(), v)
    support = atoms * (a != 0)[:, None]
    wanted = torch.stack([on @ torch.linalg.pinv(on) @ g for on, g in zip(support, back, strict=True)])
    assert torch.cosine_similarity(slope, wanted).mean() > 0.9
    assert 0.8 < slope.norm() / wanted.norm() < 1.1


def test_of_orthonormal_atoms_the_code_is_the_soft_threshold_in_closed_form() -> None:
    v, _ = signals()
    turn = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))[0]
    assert torch.allclose(lasso(v, turn, 0.3, 200), soft(v @ turn, 0.3), atol=1e-9)


@pytest.mark.parametrize("shape", [(3, 5, 4), (7, 6), (9,)], ids=["map", "tokens", "vector"])
def test_without_a_threshold_all_of_z_passes_and_a_large_one_passes_nothing(shape: tuple[int, ...]) -> None:
    z = torch.randn(4, *shape)
    assert torch.allclose(sparse(shape, threshold=0.0).after_edge(z), z, atol=1e-2)
    assert torch.equal(sparse(shape, threshold=1e3).after_edge(z), torch.zeros_like(z))
    shares = []
    for threshold in (0.1, 0.5, 1.5):
        defense = sparse(shape, threshold=threshold)
        defense.on_epoch_end(Epoch("fit", 0, 0.1, lambda: iter([(z, torch.zeros(4))])))
        shares.append(defense.facts["active"])
    assert 1 > shares[0] > shares[1] > shares[2] > 0


def test_the_dictionary_learns_to_tell_z_and_its_own_loss_does_not_move_the_edge() -> None:
    defense = sparse()
    z = torch.randn(16, 3, 5, 4, requires_grad=True)
    step: Any = Step(torch.rand(16, 1, 8, 8), torch.zeros(16), {}, nn.Identity(), "fit", 0, 0.0, 0.1)
    optimizer, losses = torch.optim.SGD(defense.parameters(), lr=5.0), []
    for _ in range(15):
        optimizer.zero_grad()
        losses.append(defense.penalty(z, step))
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.9 * losses[0]
    assert z.grad is None
    defense.after_edge(z).square().sum().backward()
    assert z.grad is not None  # the task, and a white box, see through it
    assert z.grad.abs().max() > 0


def turned(spread: float, shape: tuple[int, ...] = (2, 3, 3)) -> ComplexValued:
    defense = ComplexValued(spread=spread)
    defense.attach(None, SPEC, shape)  # type: ignore[arg-type]
    return defense


def test_a_release_is_z_turned_by_an_angle_of_its_own() -> None:
    torch.manual_seed(0)
    z = torch.randn(400, 2, 3, 3)
    for spread in (0.25, 1.0):
        defense = turned(spread)
        c, r = (torch.complex(*defense.parts(x)[:2]) for x in (z, defense.after_edge(z)))
        angle = (r * c.conj()).sum(1).angle()
        assert torch.allclose(r, torch.polar(torch.ones_like(angle), angle)[:, None] * c, atol=1e-4)
        assert angle.abs().max() <= spread * math.pi + 1e-4
        assert angle.std() == pytest.approx(spread * math.pi / 3**0.5, rel=0.1)
    assert torch.equal(turned(0.0).after_edge(z), z)
    odd = torch.randn(5, 7)
    assert torch.equal(turned(1.0, (7,)).after_edge(odd)[:, 6], odd[:, 6])


def test_adversaries_turn_releases_back() -> None:
    torch.manual_seed(0)
    defense = turned(1.0)
    own = torch.rand(200, 2, 3, 3)
    read = defense.reading(own, colludes=False)
    z = torch.rand(8, 2, 3, 3)
    assert torch.allclose(read(defense.after_edge(z)), read(defense.expected(z)), atol=1e-5)
    assert (read(z) - z).square().mean() < 0.1 * (defense.after_edge(z) - z).square().mean()
    assert 0.9 < defense.facts["angle_restored"] <= 1
