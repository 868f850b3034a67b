"""Privacy against utility: the Pareto front, its hypervolume, and the privacy that a given loss of utility buys.

Points are (utility, privacy), both made so that higher is better for the defender.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from splitpriv.stats.interval import Estimate, interval

Points = Sequence[tuple[float, float]]


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

    found: NDArray[np.float64] = np.asarray(points, dtype=float)
    return float(moocore.hypervolume(found, ref=np.asarray(reference, dtype=float), maximise=True))


def bought(points: Points, start: tuple[float, float], loss: float) -> float | None:
    """The privacy of the front at `loss` of utility below `start`, the undefended point.

    The front runs through `start` and is linear between neighbours. None where no point loses as much: nothing is
    extrapolated, so a chain that was not swept far enough has no number rather than a flattering one.
    """
    every = [start, *points]
    front = [every[i] for i in pareto(every)]
    wanted = start[0] - loss
    utility, privacy = (np.array(side) for side in zip(*front, strict=True))
    if not utility[0] <= wanted <= utility[-1]:
        return None
    return float(np.interp(wanted, utility, privacy))


def bought_over_seeds(
    curves: Mapping[int, Points], starts: Mapping[int, tuple[float, float]], loss: float
) -> Estimate | None:
    """`bought` of every target seed, with its own undefended point; the mean and its bootstrap interval over seeds.

    None if any seed's curve does not reach that loss: a mean over the others would favour whoever lost less.
    """
    seeds = sorted(set(curves) & set(starts))
    values = [bought(curves[seed], starts[seed], loss) for seed in seeds]
    if not values or any(value is None for value in values):
        return None
    return interval([value for value in values if value is not None], "percentile")
