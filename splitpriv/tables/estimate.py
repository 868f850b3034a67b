"""What the missing cells of a table will take: as their like took in the store, else from a few steps timed here.

Once the seconds for timing are over, a kind of work that was not timed counts as one that was, of the same network; a
later call times further kinds.
"""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splitpriv.config import Config
from splitpriv.store import Store
from splitpriv.store.keys import fingerprint
from splitpriv.tables import took
from splitpriv.tables.cells import OPEN, Cell
from splitpriv.tables.timer import Timer

if TYPE_CHECKING:
    from splitpriv.attacks.base import Attack
    from splitpriv.run.plan import Stage
    from splitpriv.run.prepare import Prepared

BATCH = 32  # images of a timed step, at most
AUX = 32  # images that a timed attack learns from
STEPS = (1, 3)  # batches of the short and the long fit
LENGTHS = ("epochs", "steps")  # settings of an attack that its time is proportional to

_READ: dict[tuple[str, str], Any] = {}


def estimate(
    cells: Sequence[Cell], timer: Timer, store: Store
) -> tuple[dict[tuple[str, str], float | None], float, int]:
    """Seconds per (row, play), their sum, and how many cells it leaves out; a stage that several share counts once."""
    import splitpriv.run.stages  # noqa: F401  # takes seconds, which are no part of what is timed

    for cell in cells:
        if cell.prepared is not None:
            _tell(cell.prepared, timer, store)
    seen: set[str] = set()
    rows: dict[tuple[str, str], float | None] = {}
    total, unknown = 0.0, 0
    for cell in cells:
        if cell.state not in OPEN or cell.prepared is None:
            continue
        stages = [stage for stage in cell.stages if stage.key not in seen]
        seen.update(stage.key for stage in stages)
        seconds = list(_stages(cell.prepared, stages, timer))
        place, known = (cell.row, cell.play), [s for s in seconds if s is not None]
        if len(known) < len(seconds):
            unknown += 1
            rows[place] = None
        elif rows.get(place, 0.0) is not None:
            rows[place] = (rows.get(place) or 0.0) + sum(known)
        total += sum(known)
    return rows, total, unknown


def _stages(prepared: Prepared, stages: Sequence[Stage], timer: Timer) -> Iterator[float | None]:
    """The seconds of each attack, then of all fits; what scores a run is little beside what makes it, and left out."""
    cfg, sizes = prepared.cfg, _known_sizes(prepared, timer)
    for stage in stages:  # first: they are few, while fits stand in for one another
        if stage.kind == "attack":
            attack = prepared.parts.attacks[stage.name]
            yield timer.heard(**took.attack(cfg, stage.name)) or _attack_seconds(cfg, stage.name, attack, sizes, timer)
    if any(stage.kind == "fit" for stage in stages):
        if not _epochs(prepared):
            yield 0.0
            return
        chain = "+".join(cfg["defense"]) or "none"
        rate = timer.get(
            f"training steps of {chain}", partial(_fit_rate, cfg), alike=took.network(cfg), fit=took.training(cfg)
        )
        yield rate * sizes["train"] * _epochs(prepared) if rate is not None and sizes else None


def _known_sizes(prepared: Prepared, timer: Timer) -> Mapping[str, int] | None:
    cfg = prepared.cfg
    data = cfg["choices"].get("dataset", "the data")
    what = {"sizes": cfg["dataset"], "protocol": cfg["protocol"], "knowledge": cfg.get("knowledge")}
    sizes: Mapping[str, int] | None = timer.get(f"the splits of {data}", partial(_sizes, prepared), **what)
    return sizes


def _tell(prepared: Prepared, timer: Timer, store: Store) -> None:
    """Tell the timer what finished stages of a cell took."""
    cfg, plan = prepared.cfg, prepared.plan
    for name, key in plan.attacks.items():
        if seconds := took.seconds(store, "attack", key):
            timer.tell(seconds, **took.attack(cfg, name))
    fits = [took.seconds(store, "fit", key) for key in plan.fits]
    sizes = _known_sizes(prepared, timer) if fits and all(fits) else None
    if sizes and _epochs(prepared):
        timer.tell(sum(fits) / sizes["train"] / _epochs(prepared), alike=took.network(cfg), fit=took.training(cfg))


def _attack_seconds(
    cfg: Config, name: str, attack: Attack, sizes: Mapping[str, int] | None, timer: Timer
) -> float | None:  # fmt: skip
    node = cfg["attack"][name]
    if getattr(attack, "suite", None):
        timer.give_up(name, "a suite goes on to its plateau; the first that is finished here tells")
        return None
    base = _with_lengths(node, dict.fromkeys(_lengths(node), 1))
    rates = timer.get(f"steps of {name}", partial(_attack_rates, cfg, name), attack=base, of=took.network(cfg))
    if rates is None or not sizes:
        return None
    scale = {"epochs": sizes["aux"] / AUX, "steps": sizes["victims"] / min(AUX, sizes["victims"])}
    out = float(rates[""]) * scale["epochs"]
    for path, length in _lengths(node).items():
        out += rates[path] * (length - 1) * scale[path.rpartition(".")[2]]
    return out


def _lengths(node: Mapping[str, Any], where: str = "") -> dict[str, int]:
    lengths = {}
    for key, value in node.items():
        if isinstance(value, Mapping):
            lengths.update(_lengths(value, f"{where}{key}."))
        elif key in LENGTHS and isinstance(value, int):
            lengths[f"{where}{key}"] = value
    return lengths


def _with_lengths(node: Mapping[str, Any], lengths: Mapping[str, int]) -> dict[str, Any]:
    out = copy.deepcopy(dict(node))
    for path, value in lengths.items():
        *inner, last = path.split(".")
        at = out
        for part in inner:
            at = at[part]
        at[last] = value
    return out


# ---- measurements --------------------------------------------------------------------------------------------------


def _run(cfg: Config, folder: str, **limit: int) -> Any:
    """A run of a few images in a store of its own, its data read."""
    from splitpriv.run.context import Run
    from splitpriv.run.prepare import prepare

    cfg = copy.deepcopy(cfg)
    cfg["monitor"] = {}
    for role, count in limit.items():
        most = cfg["protocol"]["limit"].get(role)
        cfg["protocol"]["limit"][role] = count if most is None else min(most, count)
    attacked = cfg["protocol"]["attacked"]
    cfg["protocol"]["attacked"] = AUX if attacked is None else min(attacked, AUX)
    prepared = prepare(cfg)
    splits = prepared.parts.protocol.split(_pools(prepared))
    device = prepared.parts.runtime.start()
    return Run(prepared, Store(folder), device, {name: split.to(device) for name, split in splits.items()})


def _pools(prepared: Prepared) -> Any:
    """The images of a data set, read once for all that is timed."""
    root, key = prepared.cfg["paths"]["data"], fingerprint(dataset=prepared.cfg["dataset"])
    if (root, key) not in _READ:
        _READ.clear()
        _READ[root, key] = prepared.parts.dataset.read(Path(root))
    return _READ[root, key]


def _sizes(prepared: Prepared) -> dict[str, int]:
    """How many images each split of the real run has."""
    parts = prepared.parts
    splits = parts.protocol.split(_pools(prepared))
    sizes = {role: len(split) for role, split in splits.items()}
    return {**sizes, "victims": min(sizes["victims"], parts.protocol.attacked or sizes["victims"])}


def _epochs(prepared: Prepared) -> float:
    return sum(phase.epochs or int(prepared.cfg["optim"]["epochs"]) for phase in prepared.parts.phases)


def _clock(run: Any) -> float:
    """Seconds, of this processor alone where it does the work: what else a machine does is no part of an estimate."""
    cpu = run.device.type == "cpu"
    return time.process_time() / run.prepared.parts.runtime.threads if cpu else time.perf_counter()


def _fit_rate(cfg: Config) -> float:
    """Seconds per image and epoch of training: what three batches take longer than one, the first of a process warm."""
    cfg = copy.deepcopy(cfg)
    cfg["optim"] |= {"epochs": 1, "batch": min(BATCH, cfg["optim"]["batch"])}
    seconds, images = {}, {}
    for steps in (STEPS[0], *STEPS):  # the first of the three warms up
        with tempfile.TemporaryDirectory() as folder:
            run = _run(cfg, folder, train=steps * cfg["optim"]["batch"], val=AUX, aux=AUX, victims=AUX)
            start = _clock(run)
            _ = run.model
            seconds[steps], images[steps] = _clock(run) - start, len(run.splits["train"])
    more = images[STEPS[1]] - images[STEPS[0]]
    if more <= 0:  # the split has less than two batches
        return seconds[STEPS[1]] / images[STEPS[1]] / _epochs(run.prepared)
    return max(seconds[STEPS[1]] - seconds[STEPS[0]], 0.0) / more / _epochs(run.prepared)


def _attack_rates(cfg: Config, name: str) -> dict[str, float]:
    """Seconds of the attack on a few images at the least length, and for one more of each of its lengths."""
    from splitpriv.run import stages

    cfg = copy.deepcopy(cfg)
    if "batch" in cfg["optim"]:  # something is trained
        cfg["optim"] |= {"epochs": 1, "batch": min(BATCH, cfg["optim"]["batch"])}
    lengths = dict.fromkeys(_lengths(cfg["attack"][name]), 1)
    node = cfg["attack"][name]

    def seconds(chosen: Mapping[str, int]) -> float:
        cfg["attack"] = {name: _with_lengths(node, chosen)}
        with tempfile.TemporaryDirectory() as folder:
            run = _run(cfg, folder, train=cfg["optim"]["batch"], val=AUX, aux=AUX, victims=AUX)
            _ = run.model
            home = Path(folder) / "attack"
            home.mkdir()
            start = _clock(run)
            stages.attack(run, name, home)
            return _clock(run) - start

    base = seconds(lengths)
    return {"": base, **{path: max(seconds({**lengths, path: 3}) - base, 0.0) / 2 for path in lengths}}


def spoken(seconds: float | None) -> str:
    """A duration for people."""
    if seconds is None:
        return "unknown"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
