"""How sure a mean over seeds is: intervals, paired differences, Holm's correction. The target's seed is the unit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np

Method = Literal["t", "percentile", "bca"]
Seeds = Mapping[int, float]  # target seed -> value, attack seeds already averaged

LEVEL = 0.95
RESAMPLES = 9999
EXACT = 14  # pairs up to which all 2^n sign flips are counted
BOOTSTRAPPED = 15  # values from which a bootstrap covers the mean about as often as it says
FLIPPABLE = 6  # pairs from which a two-sided sign-flip test can reach .05


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` target seeds; `low` and `high` bound its interval and are None where n is below 2."""

    mean: float
    n: int
    low: float | None = None
    high: float | None = None

    @property
    def half(self) -> float | None:
        """The number after "±"; None below n = 2, and where the ends do not lie equally far, as at a limit."""
        if self.low is None or self.high is None:
            return None
        up, down = self.high - self.mean, self.mean - self.low
        return up if math.isclose(up, down, rel_tol=1e-6, abs_tol=1e-12) else None


def over_targets(values: Mapping[tuple[int, int], float]) -> dict[int, float]:
    """(target seed, attack seed) -> value as target seed -> mean: nested attack seeds add no degree of freedom."""
    nested: dict[int, list[float]] = {}
    for (target, _), value in values.items():
        nested.setdefault(target, []).append(value)
    return {target: math.fsum(group) / len(group) for target, group in sorted(nested.items())}


def interval(values: Sequence[float], method: Method = "t", level: float = LEVEL, exact: bool = False,
             within: tuple[float, float] = (-math.inf, math.inf)) -> Estimate:  # fmt: skip
    """The mean of one value per target seed, with Student's t interval or a bootstrap one (Efron 1987 for BCa).

    Below BOOTSTRAPPED values it is Student's, whatever `method`: a 95 % bootstrap of five normal values covers their
    mean in 84 of 100 draws, Student's in 95. No interval below two values, nor where one is not finite, nor where seeds
    agree by chance: only an `exact` number, such as a count of parameters, has a width of zero. It ends at the limits
    `within` which the number lies by what it is. Raises ValueError without any value.
    """
    if not values:
        raise ValueError("an interval needs at least one value")
    array = np.asarray(values, dtype=float)
    mean, n = float(array.mean()), len(array)
    if n < 2 or not np.isfinite(array).all():
        return Estimate(mean, n)
    if np.ptp(array) == 0:
        return Estimate(mean, n, mean, mean) if exact else Estimate(mean, n)
    if method == "t" or n < BOOTSTRAPPED:
        from scipy.special import stdtrit  # what scipy.stats asks, without the second that its import takes

        half = float(stdtrit(n - 1, (1 + level) / 2) * array.std(ddof=1) / math.sqrt(n))
        return Estimate(mean, n, max(mean - half, min(within[0], mean)), min(mean + half, max(within[1], mean)))
    from scipy import stats

    bounds = stats.bootstrap(
        (array,), np.mean, confidence_level=level, n_resamples=RESAMPLES, method=method,
        rng=np.random.default_rng(0), vectorized=True,
    ).confidence_interval  # fmt: skip
    return Estimate(mean, n, float(bounds.low), float(bounds.high))


@dataclass(frozen=True)
class Comparison:
    """The mean of a - b over common target seeds; `p` of Student's paired test, `p_flip` of the sign-flip test."""

    difference: Estimate
    p: float | None
    p_flip: float | None


def compare(a: Seeds, b: Seeds | float, by: float = 0.0, relative: bool = False, method: Method = "t",
            exact: bool = False) -> Comparison | None:  # fmt: skip
    """Compare two chains over the target seeds that both have, or one chain with a number; None without a common seed.

    Tests are two-sided, of a mean difference equal to `by`; `relative` looks at a / b - 1 of every seed instead.
    Differences that agree over seeds are certain where the numbers are `exact`, and no ground for a test elsewhere.
    """
    common = sorted(a) if isinstance(b, int | float) else sorted(set(a) & set(b))
    pairs = [(a[seed], float(b) if isinstance(b, int | float) else b[seed]) for seed in common]
    if relative:
        pairs = [pair for pair in pairs if pair[1] != 0]
    if not pairs:
        return None
    differences = [x / y - 1 if relative else x - y for x, y in pairs]
    if np.ptp(differences) <= 1e-12 * np.abs(differences).max():
        certain = exact and len(differences) > 1
        p = float(differences[0] == by) if certain else None
        return Comparison(interval([differences[0]] * len(differences), method, exact=certain), p, None)
    shifted = [d - by for d in differences]
    return Comparison(interval(differences, method), t_test(shifted), sign_flip(shifted))


def t_test(differences: Sequence[float]) -> float | None:
    """The two-sided p of a zero mean by Student's test; None below two values, without spread, or if not finite."""
    array = np.asarray(differences, dtype=float)
    if len(array) < 2 or not np.isfinite(array).all() or np.ptp(array) == 0:
        return None
    from scipy import stats

    return float(stats.ttest_1samp(array, 0.0).pvalue)


def sign_flip(differences: Sequence[float]) -> float | None:
    """The two-sided p of differences symmetric about zero, by flipping their signs; None where n cannot reach .05.

    All 2^n flips are counted up to 14 pairs, 9,999 seeded ones beyond.
    """
    array = np.asarray(differences, dtype=float)
    n = len(array)
    if n < FLIPPABLE or not np.isfinite(array).all():
        return None
    if n <= EXACT:
        signs = np.array(list(product((1.0, -1.0), repeat=n)))
    else:
        drawn = np.random.default_rng(0).choice((1.0, -1.0), size=(RESAMPLES, n))
        signs = np.concatenate([np.ones((1, n)), drawn])
    means = np.abs(signs @ array)
    return float((means >= abs(array.sum()) * (1 - 1e-12)).mean())


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Holm's (1979) adjusted p of a family of tests, in the given order; None stays None and does not count."""
    tested = sorted((p, i) for i, p in enumerate(ps) if p is not None)
    adjusted: list[float | None] = [None] * len(ps)
    largest = 0.0
    for rank, (p, i) in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - rank) * p))
        adjusted[i] = largest
    return adjusted
