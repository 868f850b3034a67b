"""Intervals over seeds: closed forms, what scipy says, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from splitpriv.stats.interval import compare, holm, interval, over_targets, sign_flip, t_test


def test_t_interval_in_closed_form() -> None:
    found = interval([1.0, 2.0, 3.0])
    assert found.n == 3 and found.mean == 2
    assert found.half == pytest.approx(4.302652729911275 / math.sqrt(3))
    assert (found.low, found.high) == (pytest.approx(2 - found.half), pytest.approx(2 + found.half))


def test_an_interval_that_a_limit_cuts_off_has_no_half() -> None:
    found = interval([0.01, 0.03], within=(0.0, 1.0))
    assert found.low == 0 and found.high == pytest.approx(0.02 + 12.706205 * 0.01, abs=1e-6) and found.half is None


@pytest.mark.parametrize("method", ["t", "percentile", "bca"])
def test_plus_minus_is_refused_below_two_seeds(method: str) -> None:
    found = interval([0.3], method)  # type: ignore[arg-type]
    assert (found.mean, found.n, found.low, found.high, found.half) == (0.3, 1, None, None, None)


def test_a_number_that_is_not_finite_has_no_interval() -> None:
    found = interval([0.1, math.nan, 0.2])
    assert math.isnan(found.mean) and found.half is None
    assert t_test([0.1, math.inf]) is None


def test_no_value_is_a_mistake_of_ours() -> None:
    with pytest.raises(ValueError, match="at least one"):
        interval([])


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_bootstrap_is_scipys_and_repeats(method: str) -> None:
    values = [0.1, 0.4, 0.2, 0.9, 0.5] * 3
    found, again = interval(values, method), interval(values, method)  # type: ignore[arg-type]
    assert found == again and found.low is not None and found.high is not None
    assert min(values) < found.low < found.mean < found.high < max(values)
    t = interval(values)
    assert t.low is not None and t.low < found.low  # a bootstrap is narrower than Student's


def test_percentile_and_bca_differ_on_skewed_values() -> None:
    values = [0.0, 0.0, 0.1, 0.1, 0.2, 3.0] * 3
    assert interval(values, "percentile") != interval(values, "bca")


def test_only_exact_numbers_that_agree_have_a_width_of_zero() -> None:
    for method in ("t", "percentile", "bca"):
        assert interval([2.0, 2.0], method).half is None  # type: ignore[arg-type]
        assert interval([2.0, 2.0], method, exact=True).half == 0  # type: ignore[arg-type]


def test_few_values_are_not_bootstrapped() -> None:
    for method in ("percentile", "bca"):
        values = [float(i * i) for i in range(14)]
        assert interval(values, method) == interval(values)  # type: ignore[arg-type]
        assert interval([*values, 1.0], method) != interval([*values, 1.0])  # type: ignore[arg-type]


def test_intervals_of_five_seeds_cover_as_often_as_they_say() -> None:
    draws = np.random.default_rng(0).standard_normal((300, 5))
    found = [interval(list(values), "percentile") for values in draws]
    assert 0.92 < np.mean([e.low <= 0 <= e.high for e in found if e.low is not None and e.high is not None]) < 0.98


def test_attack_seeds_are_nested_in_target_seeds() -> None:
    values = {(0, 0): 1.0, (0, 1): 3.0, (1, 0): 5.0}
    assert over_targets(values) == {0: 2.0, 1: 5.0}
    assert interval(list(over_targets(values).values())).n == 2


def test_paired_comparison_is_scipys_over_common_seeds() -> None:
    rng = np.random.default_rng(3)
    a = {s: float(v) for s, v in enumerate(rng.normal(1, 0.2, 7))}
    b = {s: float(v) for s, v in enumerate(rng.normal(0.8, 0.2, 9)) if s != 2}
    common = sorted(set(a) & set(b))
    found = compare(a, b)
    assert found is not None and found.difference.n == len(common) == 6
    wanted = stats.ttest_rel([a[s] for s in common], [b[s] for s in common])
    assert found.p == pytest.approx(wanted.pvalue)
    low, high = wanted.confidence_interval(0.95)
    assert (found.difference.low, found.difference.high) == (pytest.approx(low), pytest.approx(high))


def test_pairing_matters() -> None:
    a, b = {0: 10.0, 1: 20.1, 2: 30.0}, {0: 9.0, 1: 19.0, 2: 29.1}
    found = compare(a, b)
    assert found is not None and found.p is not None and found.p < 0.01  # unpaired: .95


def test_a_margin_and_a_ratio() -> None:
    a, b = {0: 0.9, 1: 0.91}, {0: 0.92, 1: 0.9301}
    found = compare(a, b, by=-0.05)
    assert (
        found is not None
        and found.difference.mean == pytest.approx(-0.02, rel=0.01)
        and found.p is not None
        and found.p < 0.01
    )
    ratio = compare({0: 3.0, 1: 6.0}, {0: 2.0, 1: 4.0}, relative=True)
    assert ratio is not None and ratio.difference.mean == 0.5 and ratio.p is None  # no spread to judge by
    assert compare({0: 1.0}, {0: 0.0}, relative=True) is None


def test_against_a_number_and_without_common_seeds() -> None:
    found = compare({0: 1.0, 5: 3.0}, 1.5)
    assert found is not None and found.difference.mean == 0.5 and found.difference.n == 2
    assert compare({0: 1.0}, {1: 1.0}) is None


def test_one_seed_has_a_difference_and_no_test() -> None:
    found = compare({0: 2.0}, {0: 1.0})
    assert found is not None
    assert (found.difference.mean, found.difference.half, found.p, found.p_flip) == (1.0, None, None, None)


@pytest.mark.parametrize(("n", "wanted"), [(6, 2 / 64), (8, 2 / 256)])
def test_sign_flips_are_counted_exactly(n: int, wanted: float) -> None:
    assert sign_flip([0.1 + i for i in range(n)]) == pytest.approx(wanted)


def test_sign_flip_equals_scipys_permutation_test() -> None:
    d = [0.4, -0.1, 0.7, 0.2, 0.5, -0.3, 0.6]
    wanted = stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue
    assert sign_flip(d) == pytest.approx(wanted)


def test_sign_flip_is_silent_where_it_cannot_reach_five_percent() -> None:
    assert sign_flip([1.0, 2.0, 3.0, 4.0, 5.0]) is None


def test_many_pairs_are_sampled() -> None:
    found = sign_flip([0.5] * 20)
    assert found is not None and 0 < found < 1e-3


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([None, 0.04, None]) == [None, 0.04, None]
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_random_numbers_that_differ_alike_are_not_judged() -> None:
    """One victim in 64, at two seeds: no spread, and no certainty either."""
    found = compare({0: 0.5, 1: 0.515625}, {0: 0.484375, 1: 0.5})
    assert found is not None and found.p is None and found.difference.low is None
    agreed = compare({0: 10.94, 1: 10.94}, {0: 7.81, 1: 7.81})
    assert agreed is not None and agreed.p is None and agreed.difference.low is None
    counts = compare({0: 100.0, 1: 100.0}, {0: 90.0, 1: 90.0}, exact=True)
    assert counts is not None and counts.p == 0.0 and counts.difference.half == 0
    once = compare({0: 100.0}, {0: 90.0}, exact=True)
    assert once is not None and once.p is None


def test_an_interval_ends_where_the_number_does() -> None:
    wide, kept = interval([0.05, 0.4]), interval([0.05, 0.4], within=(0.0, 1.0))
    assert wide.low is not None and wide.high is not None and wide.low < 0 and wide.high > 1
    assert (kept.low, kept.high, kept.mean) == (0.0, 1.0, wide.mean)
    assert interval([2.0, 3.0], within=(0.0, math.inf)).low == 0
