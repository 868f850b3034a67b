"""How cost and memory grow: with images, epochs, victims and runs."""

from __future__ import annotations

import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.paired import TURNS, Result, command, cpu, spread
from benchmarks.runs import NANO


def growth(quick: bool) -> Iterator[Result]:
    """Cost against images, epochs, victims and runs."""
    from splitpriv import config
    from splitpriv.run import pipeline
    from splitpriv.run.prepare import prepare
    from splitpriv.store import Store

    base = [w for w in NANO if w.split("=")[0] not in ("dataset", "dataset.samples")] + ["dataset=fashion_tint"]
    axes = {
        "training images": ("protocol.limit.train", (512, 2048, 4096)),
        "epochs": ("optim.epochs", (4, 16, 64)),
        "victims attacked": ("protocol.attacked", (64, 256, 1024)),
    }
    with tempfile.TemporaryDirectory() as folder:

        def seconds(axis: str, key: str, value: int) -> float:
            where = f"{folder}/{axis}{value}{time.monotonic_ns()}"
            more = ["protocol.limit.victims=1024"] if key == "protocol.attacked" else []
            cfg = config.compose([*base, *more, f"{key}={value}", f"paths.outputs={where}"])
            return cpu(lambda: pipeline.execute(prepare(cfg), Store(where)))

        def sweep(runs: int) -> float:
            words = ("run", "-m", *NANO, f"seed={','.join(map(str, range(runs)))}")
            return command(*words, outputs=Path(folder) / f"runs{runs}{time.monotonic_ns()}")[0]

        seconds("warm", "optim.epochs", 1)
        for axis, (key, values) in axes.items():
            turns = [[seconds(axis, key, v) for v in values] for _ in range(1 if quick else TURNS)]
            yield _slope(axis, values, turns)
        values = (2, 4, 8) if quick else (4, 16, 64)
        yield _slope("runs of a sweep", values, [[sweep(v) for v in values] for _ in range(1 if quick else TURNS)])


def _slope(axis: str, values: tuple[int, int, int], turns: list[list[float]]) -> Result:
    points = {v: statistics.median(t) for v, t in zip(values, zip(*turns, strict=True), strict=True)}
    each = [slope(dict(zip(values, turn, strict=True))) for turn in turns]
    note = "; ".join(f"{v}: {t:.2f} s" for v, t in points.items())
    what = f"growth with {axis}, log-log slope of the medians"
    return Result(what, slope(points), min(each), max(each), "", bar=1.05, note=note, points=points)


def slope(points: Mapping[int, float]) -> float:
    """Of cost over size at three sizes, log-log, the smallest size and its cost taken off."""
    (first, a), (second, b), (third, c) = sorted(points.items())
    return math.log(max(c - a, 1e-9) / max(b - a, 1e-9)) / math.log((third - first) / (second - first))


def memory(quick: bool) -> Iterator[Result]:
    """Peak memory of a process: one run, and what each further run, and ten times the epochs, add.

    Not by `getrusage`, in whose peak a process inherits that of the one which started it.
    """

    def peak(*words: str) -> float:
        code = (
            "import sys; from splitpriv.commands.cli import main\ntry: main(sys.argv[1:])\n"
            "except SystemExit: pass\n"
            "finally: print(*[line.split()[1] for line in open('/proc/self/status') if 'VmHWM' in line])"
        )
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                [sys.executable, "-c", code, *words, f"paths.outputs={folder}"],
                check=False,
                capture_output=True,
                text=True,
            )
        return float(done.stdout.split()[-1]) / 1024

    many, count = (9, 1) if quick else (17, TURNS)
    seeds = ",".join(map(str, range(many)))
    each = [(peak("run", *NANO), peak("run", "-m", *NANO, f"seed={seeds}"), peak("run", *NANO, "optim.epochs=20"))
            for _ in range(count)]  # fmt: skip
    yield spread("peak memory of a nano run", [one for one, _, _ in each], "MiB")
    further = [(several - one) / (many - 1) for one, several, _ in each]
    yield spread("… each further run of a sweep adds", further, "MiB", bar=1)
    yield spread("… ten times the epochs add", [longer - one for one, _, longer in each], "MiB", bar=10)


BENCHES: dict[str, Any] = {"growth": growth, "memory": memory}
