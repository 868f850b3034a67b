"""Whole runs: starting, sweeping, sharing stages, and reading many rows."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.paired import TURNS, Result, command, cpu, ratios, spread

NANO = (
    "dataset=gaussian", "dataset.samples=400", "backbone.width=4", "protocol=smoke", "protocol.limit.train=64",
    "protocol.limit.aux=48", "protocol.limit.victims=32", "protocol.limit.val=16", "protocol.attacked=8", "split.at=1",
    "optim.epochs=2", "optim.batch=16", "measure.latency_repeats=1", "measure.draws=2", "attack=[decoder]",
    "decoder@attack.decoder.net=conv", "attack.decoder.net.width=8", "attack.decoder.net.widest=8",
    "attack.decoder.epochs=2", "attack.decoder.batch=16",
)  # fmt: skip


def startup(quick: bool) -> Iterator[Result]:
    """CPU seconds of commands as whole processes."""
    count = 2 if quick else TURNS
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder)
        command("run", *NANO, outputs=store)
        fill(store / "many", 100 if quick else 1000)
        commands: list[tuple[str, tuple[str, ...], Path, float]] = [
            ("--help", ("--help",), store, 0.4),
            ("check", ("check",), store, 1),
            ("a cached answer", ("run", *NANO), store, 1),
            ("rows of 1,000 rows", ("rows",), store / "many", 1),
        ]
        spent: dict[str, list[float]] = {what: [] for what, *_ in commands}
        for _ in range(count):
            for what, words, outputs, _bar in commands:
                spent[what].append(command(*words, outputs=outputs)[0])
        for what, _, _, bar in commands:
            yield spread(what, spent[what], "CPU s", bar=bar)
    yield spread("first training step", [_first_step() for _ in range(count)], "CPU s", bar=4)


def _first_step() -> float:
    """CPU seconds of a process from its start to the end of its first training step."""
    code = (
        "import sys, time; from splitpriv.run import fit; plain = fit.SplitFit.step\n"
        "def step(self, *of):\n"
        "    plain(self, *of); print(time.process_time()); sys.stdout.flush(); import os; os._exit(0)\n"
        "fit.SplitFit.step = step\nfrom splitpriv.commands.cli import main; main(sys.argv[1:])"
    )
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", code, "run", *NANO, f"paths.outputs={folder}"],
            check=True,
            capture_output=True,
            text=True,
        )
    return float(done.stdout.split()[-1])


def sweeps(quick: bool) -> Iterator[Result]:
    """Nano runs in one process over as many processes; each further job; a finished sweep again; shared attacks."""
    many, count = (8, 1) if quick else (32, TURNS)
    seeds = ",".join(map(str, range(many)))
    spent: dict[str, list[float]] = {what: [] for what in ("fresh", "joblib", "further", "again")}
    for _ in range(count):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)

            def sweep(name: str, *words: str, root: Path = root) -> float:
                return command("run", "-m", *NANO, *words, outputs=root / name)[0]

            whole, some = sweep("whole", f"seed={seeds}"), sweep("some", "seed=0,1,2,3")
            joblib = sweep("joblib", f"seed={seeds}", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
            each = sum(command("run", *NANO, f"seed={s}", outputs=root / "apart")[0] for s in range(4)) / 4
            own = (_stage_seconds(root / "whole") - _stage_seconds(root / "some")) / (many - 4)
            empty = command("check", *NANO, outputs=root / "whole")[0]
            spent["fresh"].append(many * each / whole)
            spent["joblib"].append(many * each / joblib)
            spent["further"].append((whole - some) / (many - 4) - own)
            spent["again"].append(max(0.0, sweep("whole", f"seed={seeds}") - empty) / many)
    what = f"{many} fresh processes over {many} nano runs in process"
    yield spread(what, spent["fresh"], "×", bar=10, least=True)
    what = f"{many} fresh processes over joblib's two workers"
    yield spread(what, spent["joblib"], "×", bar=10, least=True, note="CPU seconds")
    what = "each further job of an in-process sweep, beside its stages"
    yield spread(what, spent["further"], "CPU s", bar=0.15, note="training, attack and measures are its stages")
    yield spread("a finished sweep again, per run", spent["again"], "CPU s", bar=0.1)
    yield from _checks(count)
    with tempfile.TemporaryDirectory() as folder:
        yield from _shared(Path(folder))


def _checks(count: int) -> Iterator[Result]:
    """Checking a sweep: what each further point costs, in processes that remember no plan."""
    axes = {
        "seeds": ((), "seed", [str(i) for i in range(202)]),
        "strengths": (("defense=[noise]",), "defense.noise.sigma", [f"{0.001 * (1 + i):.3f}" for i in range(102)]),
    }  # fmt: skip
    for what, (words, key, values) in axes.items():
        each = []
        for _ in range(count):
            spent = []
            for part in (values, values[:2]):
                with tempfile.TemporaryDirectory() as folder:
                    told = ("check", "-m", *NANO, *words, f"{key}={','.join(part)}")
                    spent.append(command(*told, outputs=Path(folder), SPLITPRIV_CACHE=f"{folder}/cache")[0])
            each.append((spent[0] - spent[1]) / (len(values) - 2))
        yield spread(f"checking a sweep over {what}, per point", each, "CPU s", bar=0.02)


def _stage_seconds(outputs: Path) -> float:
    """CPU seconds that the stages of a store took by their own records."""
    from splitpriv.store import proof

    homes = [done.parent for done in outputs.glob("*/*/done")]
    return sum((proof.recorded(home) or {}).get(proof.MADE, {}).get("cpu_s", 0.0) for home in homes)


def _shared(root: Path) -> Iterator[Result]:
    """Four attacks on one target over four separate runs."""
    from splitpriv import config
    from splitpriv.run import pipeline
    from splitpriv.run.prepare import prepare
    from splitpriv.store import Store

    attacks = ["decoder", "decoder_avg", "rmle", "gallery"]
    without = ("attack", "dataset", "protocol.limit.train", "protocol.attacked", "decoder@")
    words = [w for w in NANO if not w.startswith(without)]
    words += ["dataset=fashion_tint", "protocol.limit.train=4096", "protocol.attacked=8"]
    cheap = {
        "decoder": ["attack.decoder.epochs=2"], "decoder_avg": ["attack.decoder_avg.epochs=2"],
        "rmle": ["attack.rmle.steps=20"], "gallery": [],
    }  # fmt: skip

    def run(name: str, chosen: list[str]) -> None:
        told = [f"attack=[{','.join(chosen)}]", *(word for attack in chosen for word in cheap[attack])]
        cfg = config.compose([*words, "optim.epochs=4", *told, f"paths.outputs={root / name}"])
        pipeline.execute(prepare(cfg), Store(root / name))

    run("warm", attacks)
    own, other = [], []
    for turn in range(TURNS):
        own.append(cpu(lambda turn=turn: run(f"together{turn}", attacks)))
        other.append(cpu(lambda turn=turn: [run(f"apart{turn}{a}", [a]) for a in attacks]))
    yield spread("four attacks on one target over four separate runs", ratios(own, other), "", bar=0.6)


def fill(outputs: Path, count: int) -> None:
    """A store of `count` rows: one real one, its key, seed and numbers changed."""
    with tempfile.TemporaryDirectory() as folder:
        command("run", *NANO, outputs=Path(folder))
        text = next((Path(folder) / "rows").glob("*.json")).read_text()
    row = json.loads(text)
    from splitpriv.store import proof

    (outputs / "rows").mkdir(parents=True, exist_ok=True)
    for i in range(count):
        key = f"{i:08x}"
        new = {**row, "key": key, "seed": i % 7, "chain": ("none", "noise", "nopeek", "cem+noise")[i % 4]}
        new["privacy/worst/mse"] = new["privacy/decoder/mse"] = row["floor/mean_image/mse"] * (0.2 + 0.5 * i / count)
        new |= {"protocol": "strict", "victims": 1000, "utility/accuracy": 0.8, "flags": []}
        new.pop("verdict", None)
        new["defense.noise.sigma"] = round(0.01 * (1 + i % 5), 3)
        new.pop(proof.SUM, None)
        (outputs / "rows" / f"{key}.json").write_text(proof.seal(new))


def many_rows(quick: bool) -> Iterator[Result]:
    """Listing, curve and dashboard at 100, 1,000 and 10,000 rows."""
    sizes, count = ((100, 300), 1) if quick else ((100, 1000, 10_000), TURNS)
    with tempfile.TemporaryDirectory() as folder:
        words = {"rows": ("rows",), "curve": ("curve", "--out", f"{folder}/curve.png"),
                 "dashboard": ("dashboard", "--out", f"{folder}/page.html")}  # fmt: skip
        for size in sizes:
            fill(Path(folder) / str(size), size)
            command("rows", outputs=Path(folder) / str(size))  # whatever is kept beside the rows is made
        spent: dict[str, dict[int, list[float]]] = {what: {size: [] for size in sizes} for what in words}
        for _ in range(count):
            for size in sizes:
                for what, call in words.items():
                    spent[what][size].append(command(*call, outputs=Path(folder) / str(size))[0])
    for what, times in spent.items():
        each = {size: statistics.median(values) for size, values in times.items()}
        grown = (each[sizes[-1]] - each[sizes[0]]) / (sizes[-1] - sizes[0])
        note = "; ".join(f"{size:,} rows {value:.2f}" for size, value in each.items())
        yield spread(
            f"{what} of {sizes[-1]:,} rows",
            times[sizes[-1]],
            "CPU s",
            bar=5,
            note=f"{note}; {1e6 * grown:.0f} µs a row",
        )


BENCHES: dict[str, Any] = {"startup": startup, "sweeps": sweeps, "rows": many_rows}
