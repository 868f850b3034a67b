"""The front, its volume and what a loss buys, against numbers worked out by hand."""

from __future__ import annotations

import pytest

from splitpriv.stats.frontier import bought, bought_over_seeds, hypervolume, pareto


def test_the_front_leaves_out_what_another_point_matches_and_beats() -> None:
    points = [(0.9, 1.0), (0.8, 2.0), (0.8, 1.5), (0.7, 1.9), (0.6, 4.0)]
    assert pareto(points) == [4, 1, 0]
    assert pareto([(0.5, 1.0)]) == [0]


def test_the_hypervolume_is_an_area_above_the_reference() -> None:
    assert hypervolume([(0.9, 1.0), (0.8, 2.0)], (0.7, 0.0)) == pytest.approx(0.1 * 1 + 0.1 * 2)
    assert hypervolume([(0.6, 9.0)], (0.7, 0.0)) == 0


def test_what_a_loss_buys_is_linear_between_neighbours_and_never_extrapolated() -> None:
    start, points = (0.9, 1.0), [(0.88, 3.0), (0.86, 2.0), (0.84, 5.0)]
    assert bought(points, start, 0.0) == (1.0, False)
    assert bought(points, start, 0.01) == (pytest.approx(2.0), False)
    assert bought(points, start, 0.03) == (pytest.approx(3.5), False)  # the dominated point in the middle is no part
    assert bought(points, start, 0.06) == (pytest.approx(5.0), False)
    assert bought(points, start, 0.10) == (5.0, True)  # at least that
    assert bought([(0.95, 4.0)], start, 0.01) == (4.0, True)  # better in both


def test_nothing_is_told_of_what_lies_between_distant_points() -> None:
    assert bought([(0.7, 9.0)], (0.9, 1.0), 0.01) is None
    assert bought([(0.7, 9.0)], (0.9, 1.0), 0.2) == (9.0, False)
    assert bought([(0.7, 9.0)], (0.9, 1.0), 0.0) == (1.0, False)


def test_seeds_are_the_unit_and_none_may_be_missing() -> None:
    curves = {seed: [(0.88, 3.0 + seed)] for seed in range(5)}
    starts = dict.fromkeys(range(5), (0.9, 1.0))
    found = bought_over_seeds(curves, starts, 0.02)
    assert found is not None
    estimate, least = found
    assert estimate.n == 5 and estimate.mean == pytest.approx(5.0) and not least
    assert estimate.low is not None and estimate.high is not None and estimate.low < 5.0 < estimate.high
    assert bought_over_seeds({**curves, 9: [(0.7, 2.0)]}, {**starts, 9: (0.9, 1.0)}, 0.02) is None
    lessened = bought_over_seeds({**curves, 9: [(0.895, 2.0)]}, {**starts, 9: (0.9, 1.0)}, 0.02)
    assert lessened is not None and lessened[1]
    one = bought_over_seeds({0: curves[0]}, starts, 0.02)
    assert one is not None and one[0].low is None
