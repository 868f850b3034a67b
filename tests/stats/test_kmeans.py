import pytest
import torch

from splitpriv.stats.kmeans import by_class, lloyd, seed_centres


def naive(points, start, iterations):
    """Lloyd by loops, for one class."""
    centres, label = [c.clone() for c in start], None
    for _ in range(iterations):
        new = [min(range(len(centres)), key=lambda j: float((p - centres[j]).norm())) for p in points]
        if new == label:
            break
        label = new
        for j in range(len(centres)):
            own = [p for p, i in zip(points, label, strict=True) if i == j]
            if own:
                centres[j] = torch.stack(own).mean(0)
    return torch.stack(centres)


def ragged(seed=0):
    g = torch.Generator().manual_seed(seed)
    y = torch.cat([torch.zeros(30), torch.full((11,), 2), torch.ones(19)]).long()[torch.randperm(60, generator=g)]
    return torch.rand(60, 2, 3, generator=g), y


@pytest.mark.parametrize("iterations", [1, 3, 50])
def test_lloyd_equals_loops_from_the_same_start(iterations):
    z, y = ragged()
    table = by_class([(z[:7], y[:7]), (z[7:], y[7:])], 3, None)
    start = torch.rand(3, 4, 6, generator=torch.Generator().manual_seed(1))
    start[1, 3] = 100.0  # never the nearest: keeps its place
    got = lloyd(table.points, table.mask, start, iterations)
    for c in range(3):
        torch.testing.assert_close(got.centres[c], naive(z[y == c].flatten(1), start[c], iterations))
    assert torch.equal(got.centres[1, 3], start[1, 3])
    assert got.sizes.sum(1).tolist() == [30, 19, 11]
    assert torch.equal(got.member.sum(2) > 0, table.mask)


def test_a_table_keeps_order_and_limit():
    z, y = ragged()
    full, short = (by_class([(z[:25], y[:25]), (z[25:], y[25:])], 4, limit) for limit in (None, 12))
    assert full.points.shape == (4, 30, 6)
    assert short.points.shape == (4, 12, 6)
    assert full.total == short.total == 60
    assert short.mask.sum(1).tolist() == [12, 12, 11, 0]
    for c in range(4):
        want = z[y == c].flatten(1)
        assert torch.equal(full.points[c][full.mask[c]], want)
        assert torch.equal(short.points[c][short.mask[c]], want[:12])


def test_planted_clusters_are_found():
    g = torch.Generator().manual_seed(4)
    planted = 4 * torch.rand(3, 2, 5, generator=g)
    y, which = torch.arange(300) % 3, torch.arange(300) // 3 % 2
    table = by_class([(planted[y, which] + 0.02 * torch.randn(300, 5, generator=g), y)], 3, None)
    got = lloyd(table.points, table.mask, seed_centres(table.points, table.mask, 2, g), 50)
    distance = torch.cdist(planted, got.centres)
    assert distance.amin(2).max() < 0.02
    assert distance.amin(1).max() < 0.02
    assert (got.sizes == 50).all()


def test_seeds_are_drawn_with_the_chances_that_are_stated():
    # from the class {0, 1, 3}: first uniform, second proportional to distance
    points, mask = torch.tensor([0.0, 1.0, 3.0, 9.0]).view(1, 4, 1), torch.tensor([[True, True, True, False]])
    n = 6000
    drawn = seed_centres(points.expand(n, -1, -1), mask.expand(n, -1), 2, torch.Generator().manual_seed(0)).squeeze(2)
    assert not (drawn == 9).any()
    for first, chances in {0: {1: 1 / 4, 3: 3 / 4}, 1: {0: 1 / 3, 3: 2 / 3}, 3: {0: 3 / 5, 1: 2 / 5}}.items():
        of = drawn[drawn[:, 0] == first]
        assert len(of) / n == pytest.approx(1 / 3, abs=0.03)
        for second, chance in chances.items():
            assert float((of[:, 1] == second).float().mean()) == pytest.approx(chance, abs=0.04)


def test_an_absent_class_and_equal_points_do_no_harm():
    table = by_class([(torch.ones(6, 3), torch.zeros(6).long())], 2, None)
    got = lloyd(table.points, table.mask, seed_centres(table.points, table.mask, 4), 5)
    assert torch.isfinite(got.centres).all()
    assert got.sizes.sum(1).tolist() == [6, 0]
    assert torch.equal(got.centres[0], torch.ones(4, 3))
