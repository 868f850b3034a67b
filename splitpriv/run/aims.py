"""What a sweeper optimises: one or several numbers of a row, named by `objective`. Part of no key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from splitpriv import metrics
from splitpriv.types import UserError

IMAGE = ("mse", "psnr", "ssim")
ASKED = {"lpips": "lpips", "ms_ssim": "ms_ssim", "told": "judge", "feature_distance": "judge"}  # metric -> its setting


def names(objective: Any) -> list[str]:
    """The columns that an objective names."""
    return [str(name) for name in objective] if isinstance(objective, list) else [str(objective)] if objective else []


def problems(cfg: Mapping[str, Any], recovers: Mapping[str, str], suite: bool = False) -> list[str]:
    """Columns of `objective` that no row of this config has; `recovers`: what each attack does; `suite`: one is."""
    if not isinstance(cfg["objective"], str | list | None):
        return [f"objective: is {cfg['objective']!r}; name a column of the row, as in objective=utility/accuracy"]
    out = []
    for name in names(cfg["objective"]):
        group, attack, metric = name.split("/") if name.count("/") == 2 else (name.partition("/")[0], "", "")
        images = [a for a, what in recovers.items() if what == "image"]
        known = metrics.find(name) is not None
        if group in ("privacy", "clean"):
            known = known and (
                attack in recovers or (attack == "worst" and bool(images)) or (attack == "suite" and suite)
            )
            if known and (attack in ("worst", "suite") or attack in images):
                known = metric in IMAGE or bool(cfg["measure"].get(ASKED.get(metric, "")))
        elif group == "ceiling":
            known = False  # of another run
        if not known:
            remedy = f"choose such as utility/accuracy, privacy/{next(iter(images), next(iter(recovers)))}/..."
            out.append(f"objective: no row of this run has {name!r}; {remedy}")
    return out


def values(objective: Any, row: Mapping[str, Any]) -> float | tuple[float, ...] | None:
    """Its numbers in a finished row: one, several, or None for none; raise UserError where the row lacks one."""
    measured = []
    for name in names(objective):
        value = row.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            numbers = [key for key in row if metrics.find(key) and isinstance(row[key], int | float)]
            raise UserError(f"objective: the row has no number {name!r}; it has {', '.join(numbers)}")
        measured.append(float(value))
    return tuple(measured) if len(measured) > 1 else measured[0] if measured else None


def directions(objective: Sequence[str]) -> list[str]:
    """Which way each column is better for whoever runs the device, in a sweeper's words."""
    told = [metrics.find(name) for name in objective]
    return ["maximize" if metric and metric.better == "higher" else "minimize" for metric in told]
