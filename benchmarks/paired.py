"""Two things timed in turns."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

TURNS = 5


@dataclass(frozen=True)
class Result:
    """A figure beside its bar: `bar` None where it is only recorded; `least` where more is better."""

    what: str
    figure: float
    low: float
    high: float
    unit: str
    bar: float | None = None
    least: bool = False
    note: str = ""
    points: dict[int, float] = field(default_factory=dict)  # CPU seconds by size, where a cost is drawn over it

    @property
    def holds(self) -> bool | None:
        if self.bar is None:
            return None
        return self.figure >= self.bar if self.least else self.figure <= self.bar

    def record(self) -> dict[str, Any]:
        return {**asdict(self), "holds": self.holds}


def spread(what: str, values: Sequence[float], unit: str, **more: Any) -> Result:
    """Median, smallest and largest of a figure's turns."""
    return Result(what, statistics.median(values), min(values), max(values), unit, **more)


def cpu(call: Callable[[], Any]) -> float:
    """CPU seconds of this process while `call` runs."""
    start = time.process_time()
    call()
    return time.process_time() - start


def turns(ours: Callable[[], Any], theirs: Callable[[], Any], count: int = TURNS) -> tuple[list[float], list[float]]:
    """CPU seconds of both, in turns, each first as often as second; a turn before them warms up."""
    pairs: list[tuple[float, float]] = []
    for turn in range(count + 1):
        if turn % 2:
            other, own = cpu(theirs), cpu(ours)
        else:
            own, other = cpu(ours), cpu(theirs)
        pairs.append((own, other))
    return [own for own, _ in pairs[1:]], [other for _, other in pairs[1:]]


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    return [own / other for own, other in zip(ours, theirs, strict=True)]


def command(*words: str, outputs: Path, **environment: str) -> tuple[float, str]:
    """CPU seconds of `splitpriv …` as a process of its own, children included, and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    about = {"SPLITPRIV_OUTPUTS": str(outputs), "SPLITPRIV_PROGRESS": "0", "OMP_NUM_THREADS": "1", **environment}
    call = [sys.executable, "-m", "splitpriv", *words]
    done = subprocess.run(call, check=False, text=True, capture_output=True, env={**os.environ, **about})
    if done.returncode:
        raise RuntimeError(f"splitpriv {' '.join(words)}: {done.stderr[-800:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout
