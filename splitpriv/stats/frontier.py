"""Privacy against utility: the Pareto front, its hypervolume, and the privacy that a given loss of utility buys.

Points are (utility, privacy), both made so that higher is better for the defender.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from splitpriv.stats.interval import Estimate, interval

Points = Sequence[tuple[float, float]]
GAP = 0.05  # of utility: the widest gap between two points over which a privacy is interpolated


def pareto(points: Points) -> list[int]:
    """Indices of the points that none other matches in both and exceeds in one, by rising utility."""
    best: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: points[i], reverse=True):
        if not best or points[i][1] > points[best[-1]][1]:
            best.append(i)
    return best[::-1]


def hypervolume(points: Points, reference: tuple[float, float]) -> float:
    """The area that `points` dominate above `reference` (utility, privacy); points below it add nothing."""
    import moocore

    array: NDArray[np.float64] = np.asarray(points, dtype=float)
    return float(moocore.hypervolume(array, ref=np.asarray(reference, dtype=float), maximise=True))


def bought(points: Points, start: tuple[float, float], loss: float) -> tuple[float, bool] | None:
    """The privacy of the front at `loss` of utility below `start`, the undefended point, and whether it is a least one.

    The front runs through `start` and is linear between neighbours no more than GAP of utility apart; None between
    others, which say nothing of what lies between them. A front that ends before `loss` buys at least its last privacy:
    nothing is extrapolated.
    """
    every = [start, *points]
    front = [every[i] for i in pareto(every)]
    wanted = start[0] - loss
    if wanted <= front[0][0]:
        return front[0][1], wanted < front[0][0]
    above = next(i for i, point in enumerate(front) if point[0] >= wanted)
    (x0, y0), (x1, y1) = front[above - 1], front[above]
    if x1 - x0 > GAP and x1 != wanted:
        return None
    return y0 + (y1 - y0) * (wanted - x0) / (x1 - x0), False


def bought_over_seeds(
    curves: Mapping[int, Points], starts: Mapping[int, tuple[float, float]], loss: float,
    within: tuple[float, float] = (-math.inf, math.inf),
) -> tuple[Estimate, bool] | None:  # fmt: skip
    """`bought` of every target seed, with its own undefended point: mean, interval over seeds, whether a least one.

    The interval is Student's and ends at the limits `within` which a privacy lies. None if any seed has none: a mean
    over the others would favour whoever lost less.
    """
    privacies = [bought(curves[seed], starts[seed], loss) for seed in sorted(set(curves) & set(starts))]
    known = [value for value in privacies if value is not None]
    if not known or len(known) < len(privacies):
        return None
    return interval([value for value, _ in known], within=within), any(least for _, least in known)
