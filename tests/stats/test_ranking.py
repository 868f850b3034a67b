"""Ranking against the reference's golden toy, a brute-force oracle and closed forms; the metric losses, too."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from splitpriv.stats import ranking as module
from splitpriv.stats.ranking import chance, ranking, verification
from splitpriv.stats.triplets import batch_hard, identity_batches
from splitpriv.types import UserError

# Two queries against five items at given distances.
DISTANCES = torch.tensor([[0.1, 0.4, 0.2, 0.9, 0.5], [0.3, 0.2, 0.6, 0.1, 0.8]])
WHO = (torch.tensor([1, 2]), torch.tensor([1, 1, 2, 2, 1]))
WHERE = (torch.tensor([0, 0]), torch.tensor([0, 1, 1, 2, 2]))


def at_distances(distances: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors of queries and items with exactly these cosine distances."""
    similarity = 1 - distances.double()
    queries = torch.eye(len(similarity), dtype=torch.float64)
    rest = (1 - (similarity / 2).square().sum(0)).sqrt()
    gallery = torch.cat([similarity.T / 2, torch.diag(rest)], 1)  # halves keep the norm below 1, and the order
    return torch.cat([queries, torch.zeros(len(queries), len(gallery))], 1), gallery


def test_golden_toy() -> None:
    found = ranking(*at_distances(DISTANCES), *WHO, *WHERE, same=False)
    assert found["ap"].tolist() == pytest.approx([0.58333333, 0.75])
    assert float(found["ap"].mean()) == pytest.approx(2 / 3)
    assert float(found["rank1"].mean()) == 0.5
    assert found["rank5"].tolist() == [1, 1]
    assert found["valid"].tolist() == [True, True]


def test_the_same_camera_is_dropped_only_for_the_same_identity() -> None:
    kept = ranking(*at_distances(DISTANCES), *WHO, None, None, same=False)
    assert float(kept["rank1"][0]) == 1  # item 0, of the same camera, is the nearest
    assert float(ranking(*at_distances(DISTANCES), *WHO, *WHERE, same=False)["rank1"][0]) == 0
    other = torch.tensor([0, 0, 0, 0, 0])  # on one camera every match is dropped, every non-match stays
    assert not ranking(*at_distances(DISTANCES), *WHO, WHERE[0], other, same=False)["valid"].any()


def oracle(
    query: Tensor, gallery: Tensor, who: list[Tensor], where: list[Tensor], same: bool
) -> list[tuple[float, ...]]:
    found = []
    for i, q in enumerate(query):
        scored = []
        for j, g in enumerate(gallery):
            twin = int(who[0][i]) == int(who[1][j])
            if (same and i == j) or (twin and int(where[0][i]) == int(where[1][j])):
                continue
            scored.append((float(q @ g / q.norm() / g.norm()), twin))
        hits = [twin for _, twin in sorted(scored, reverse=True)]
        places = [k for k, hit in enumerate(hits, start=1) if hit]
        ap = sum(n / place for n, place in enumerate(places, start=1)) / max(1, len(places))
        found.append((ap, float(any(hits[:1])), float(any(hits[:5])), float(bool(places))))
    return found


@pytest.mark.parametrize(("same", "cells"), [(False, 1), (True, 90), (True, 10**6)])
def test_it_agrees_with_the_oracle_in_chunks_of_any_size(
    same: bool, cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CELLS", cells)
    dice = torch.Generator().manual_seed(int(same))
    gallery = torch.randn(40, 3, generator=dice).double()
    query = gallery if same else torch.randn(17, 3, generator=dice).double()
    who = [torch.randint(9, (len(t),), generator=dice) for t in (query, gallery)]
    where = [torch.randint(3, (len(t),), generator=dice) for t in (query, gallery)]
    if same:
        who[1], where[1] = who[0], where[0]
    found = ranking(query, gallery, *who, *where, same=same)
    expected = torch.tensor(oracle(query, gallery, who, where, same)).T
    assert expected[3].sum() > 0
    for name, values in zip(("ap", "rank1", "rank5", "valid"), expected, strict=True):
        torch.testing.assert_close(found[name].float(), values, atol=1e-6, rtol=0)


def test_a_query_never_finds_itself() -> None:
    z, who = torch.eye(4)[[0, 0, 1, 2]], torch.tensor([5, 6, 5, 7])
    found = ranking(z, z, who, who, None, None, same=True)
    assert found["rank1"][0] == 0  # its twin in looks is another identity
    assert found["valid"].tolist() == [True, False, True, False]
    assert ranking(z, z, who, who, None, None, same=False)["valid"].all()


def test_what_says_nothing_ranks_by_chance_whatever_the_order_of_the_gallery() -> None:
    who, where = torch.arange(40).repeat_interleave(8), torch.arange(4).repeat_interleave(2).repeat(40)
    floor = chance(who, who, where, where, same=True)
    assert float(floor["rank1"].mean()) == pytest.approx(6 / (320 - 2))
    constant = torch.ones(320, 5)
    found = ranking(constant, constant, who, who, where, where, same=True)
    assert float(found["ap"].mean()) == pytest.approx(float(floor["ap"].mean()), rel=0.3)
    assert float(found["rank1"].mean()) < 0.06
    perfect = torch.nn.functional.one_hot(who).float()
    assert float(ranking(perfect, perfect, who, who, where, where, same=True)["ap"].min()) == 1


def test_chance_is_the_mean_over_all_orders() -> None:
    who, items = torch.tensor([1]), torch.tensor([1, 0, 1, 0, 2, 3])
    found = []
    for order in itertools.permutations(range(6)):
        distances = torch.tensor([[0.1 + 0.1 * place for place in order]])
        found.append([float(v) for v in ranking(*at_distances(distances), who, items, None, None, same=False).values()])
    floor = chance(who, items, None, None, same=False)
    assert [float(v) for v in floor.values()] == pytest.approx(torch.tensor(found).mean(0).tolist(), abs=1e-5)
    lonely = chance(torch.tensor([7]), items, None, None, same=False)
    assert [float(v) for v in lonely.values()] == [0, 0, 0, 0]


def test_verification_counts_matches_above_the_impostors() -> None:
    distances = torch.tensor([[0.1, 0.3, 0.2, 0.4, 0.9]])
    who, items = torch.tensor([1]), torch.tensor([1, 1, 2, 1, 3])
    arguments = (*at_distances(distances), who, items, None, None)
    assert float(verification(*arguments, same=False, far=0.0)["tar"]) == pytest.approx(1 / 3)
    assert float(verification(*arguments, same=False, far=0.5)["tar"]) == 1
    cameras = (torch.tensor([0]), torch.tensor([0, 1, 0, 1, 0]))
    assert float(verification(*arguments[:4], *cameras, same=False, far=0.0)["tar"]) == 0  # the nearest is dropped
    assert not verification(*arguments[:2], torch.tensor([9]), items, None, None, same=False, far=0.1)["valid"].any()


# ---- sampling and loss ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("identities", [8, 9, 15, 30])
def test_a_batch_holds_p_identities_with_k_images_each(identities: int) -> None:
    ids = 3 * torch.randint(identities, (400,), generator=torch.Generator().manual_seed(0))
    index = identity_batches(ids, batch=32, instances=4)
    assert index.shape == (400 // 32, 32)
    groups = ids[index].unflatten(1, (8, 4))
    assert (groups == groups[..., :1]).all()
    assert all(len(set(row.tolist())) == 8 for row in groups[..., 0])
    assert all(len(set(four.tolist())) == 4 for four in index.view(-1, 4))  # each has more than four images


def test_an_epoch_takes_turns_and_differs_from_the_next() -> None:
    ids = torch.arange(16).repeat_interleave(8)
    index = identity_batches(ids, batch=32, instances=4)
    assert index.flatten().unique().numel() == 128  # identities of equal size: every image once
    assert not torch.equal(index, identity_batches(ids, batch=32, instances=4))


def test_few_images_are_repeated_and_few_identities_share_a_batch() -> None:
    pairs = identity_batches(torch.arange(64) // 2, batch=16, instances=4)
    assert all(sorted(four.bincount().tolist())[-2:] == [2, 2] for four in pairs.view(-1, 4))
    assert identity_batches(torch.zeros(40, dtype=torch.long), batch=16, instances=4).shape == (2, 16)
    assert identity_batches(torch.arange(12) // 3, batch=100, instances=4).shape == (1, 12)
    with pytest.raises(UserError, match=r"^\.instances: a batch of 7 images holds 1 identities of 4"):
        identity_batches(torch.arange(12) // 3, batch=7, instances=4)


def test_sampling_and_loss_make_no_host_read() -> None:
    with FakeTensorMode():
        ids = torch.zeros(64, dtype=torch.long)
        index = identity_batches(ids, batch=16, instances=4)
        features = torch.rand(16, 5, requires_grad=True)
        batch_hard(features, features, ids[index[0]], 0.3).backward()
        assert features.grad is not None


def test_batch_hard_in_closed_form() -> None:
    points = torch.tensor([[0.0], [1.0], [3.0], [3.5]])
    ids = torch.tensor([0, 0, 1, 1])
    gaps = torch.tensor([1 - 3.0, 1 - 2.0, 0.5 - 2.0, 0.5 - 2.5])  # farthest of one's own less nearest of the others
    assert float(batch_hard(points, points, ids, 1.7)) == pytest.approx(float((gaps + 1.7).clamp_min(0).mean()))
    assert float(batch_hard(points, points, ids, None)) == pytest.approx(float(torch.log1p(gaps.exp()).mean()))
    crossed = batch_hard(points, points + 1.2, ids, 10.0)  # against another set of points
    assert float(crossed) == pytest.approx(10 + sum((2.2 - 4.2, 1.2 - 3.2, 1.7 - 0.8, 1.2 - 1.3)) / 4)


def test_the_gradient_of_the_triplet_pulls_together_and_pushes_apart() -> None:
    points = torch.tensor([[0.0], [1.0], [1.5], [2.0]], requires_grad=True)
    loss = batch_hard(points, points, torch.tensor([0, 0, 1, 1]), 0.3)
    (gradient,) = torch.autograd.grad(loss, points)
    assert gradient[0] < 0 < gradient[3]  # a step down the gradient moves the outer ones inwards
    same = torch.zeros(4, 1, requires_grad=True)  # everything collapsed, and nobody else there
    (flat,) = torch.autograd.grad(batch_hard(same, same, torch.zeros(4, dtype=torch.long), 0.3), same)
    assert torch.isfinite(flat).all()
    assert torch.isfinite(batch_hard(same, same, torch.arange(4), None))
