"""Osia et al.: the contrastive loss, and principal components; random projections beside them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from splitpriv.defenses.pca import Pca
from splitpriv.defenses.random_projection import RandomProjection
from splitpriv.defenses.siamese import Siamese
from splitpriv.types import Epoch, Spec, Step, UserError

SPEC = Spec((1, 8, 8), 2)


def step(y: list[int]) -> Step:
    return Step(torch.rand(len(y), 1, 8, 8), torch.tensor(y), {}, nn.Identity(), "fit", 0, 0.0, 0.05)


def attached(defense: Any, shape: tuple[int, ...] = (3, 2, 4)) -> Any:
    torch.manual_seed(0)
    defense.attach(None, SPEC, shape)
    return defense


def spread() -> Tensor:
    """500 features of 24 entries whose variance falls from entry to entry, then turned."""
    torch.manual_seed(1)
    turn = torch.linalg.qr(torch.randn(24, 24, dtype=torch.float64))[0]
    return 3 + (torch.randn(500, 24, dtype=torch.float64) * 0.7 ** torch.arange(24)) @ turn


def test_the_contrastive_loss_of_three_points_by_hand() -> None:
    z = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
    # pairs: (0, 1) of one class, d = 5; (0, 2) d = 1 and (1, 2) d² = 18 of two, margin 4.5
    told = (25 + (4.5 - 1) ** 2 + (4.5 - 18**0.5) ** 2) / 3
    assert Siamese(weight=2.0, margin=4.5).penalty(z, step([0, 0, 1])).item() == pytest.approx(2 * told, rel=1e-6)


def test_one_class_comes_together_and_two_only_up_to_the_margin() -> None:
    z = torch.tensor([[0.0], [1.0], [9.0]], requires_grad=True)
    Siamese(weight=1.0, margin=2.0).penalty(z, step([0, 0, 1])).backward()
    assert z.grad[0] < 0 < z.grad[1]
    assert z.grad[2] == 0
    same = torch.ones(3, 4, requires_grad=True)  # no distance at all: no slope, and no NaN
    Siamese(weight=1.0, margin=2.0).penalty(same, step([0, 0, 1])).backward()
    assert same.grad.abs().sum() == 0


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_the_error_of_pca_is_the_sum_of_the_eigenvalues_it_drops(share: float) -> None:
    flat = spread()
    pca = attached(Pca(share=share, samples=500)).double()
    pca.learn(flat)
    values = torch.linalg.eigvalsh(torch.cov(flat.T, correction=0)).flip(0)
    z = flat.view(-1, 3, 2, 4)
    error = (pca.after_edge(z) - z).square().flatten(1).sum(1).mean()
    assert error.item() == pytest.approx(values[pca.rank :].sum().item(), rel=1e-4, abs=1e-9)
    assert pca.bits == pytest.approx(32 * round(share * 24) / 24)


def test_pca_is_fixed_at_the_end_of_an_epoch_and_passes_z_whole_before() -> None:
    flat = spread().float()
    pca = attached(Pca(share=0.25, samples=100))
    z = flat[:8].view(-1, 3, 2, 4)
    assert torch.equal(pca.after_edge(z), z)
    batches = [(part.view(-1, 3, 2, 4), torch.zeros(len(part))) for part in flat.split(40)]
    state = torch.get_rng_state()
    pca.on_epoch_end(Epoch("fit", 0, 0.1, lambda: iter(batches)))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.allclose(pca.mean, flat[:100].mean(0))  # of no more than it may look at
    alone = torch.cat([pca.after_edge(part[None]) for part in z])
    assert torch.allclose(pca.after_edge(z), alone, atol=1e-5)  # whatever else is in the batch
    assert torch.linalg.matrix_rank(pca.after_edge(flat.view(-1, 3, 2, 4)).flatten(1) - pca.mean, rtol=1e-4) == 6


def test_pca_of_fewer_features_than_components_keeps_those_that_there_are() -> None:
    pca = attached(Pca(share=0.5, samples=500))
    few = torch.randn(4, 24)
    pca.learn(few)
    assert torch.allclose(pca.after_edge(few.view(4, 3, 2, 4)), few.view(4, 3, 2, 4), atol=1e-4)
    assert int(pca.basis.any(0).sum()) == 4


def test_a_random_projection_is_p_and_its_pseudo_inverse_and_keeps_k_of_n() -> None:
    basis = attached(RandomProjection(share=0.25)).basis
    p = torch.linalg.qr(torch.randn(6, 6))[0] @ basis.T * 1.7  # any P with these rows
    z = torch.randn(4000, 24)
    sent = attached(RandomProjection(share=0.25)).after_edge(z)
    assert torch.allclose(sent, z @ p.T @ torch.linalg.pinv(p).T, atol=1e-4)
    assert (sent.square().sum() / z.square().sum()).item() == pytest.approx(0.25, rel=0.03)
    torch.manual_seed(3)
    other = RandomProjection(share=0.25)
    other.attach(None, SPEC, (24,))  # type: ignore[arg-type]
    assert not torch.allclose(other.basis, basis)  # drawn from the seed of the run


def test_noise_before_a_projection_is_as_strong_on_each_number_that_leaves() -> None:
    projection = attached(RandomProjection(share=0.25))
    noise = (projection.after_edge(0.3 * torch.randn(4000, 24)) @ projection.basis).std(0)
    assert torch.allclose(noise, torch.full((6,), 0.3), rtol=0.06)


def test_a_basis_beyond_memory_is_refused() -> None:
    with torch.device("meta"), pytest.raises(UserError, match=r"^\.share: 32768 directions of 65536 entries"):
        attached(RandomProjection(share=0.5), (64, 32, 32))
