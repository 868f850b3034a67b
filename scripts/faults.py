"""Kill, stop, damage, fill and lock a store, and see that no row ever says anything else: `make faults`.

Every fault is given to a process forked from one that has imported everything, on runs of about a second. Afterwards
the same command must end with 0 in the row of a run that nobody disturbed. A fault that left a trace which had to be
built again counts as rebuilt, any other as survived; a row with another number, a traceback, a wrong exit code or a
file that `store verify` doubts afterwards is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

os.environ["OMP_NUM_THREADS"], os.environ["SPLITPRIV_PROGRESS"] = "1", "0"
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import torch  # noqa: E402
from small import DECODER, NOISE, SMALL, numbers  # noqa: E402

from splitpriv.commands import cli  # noqa: E402
from splitpriv.launch import sweeping  # noqa: E402, F401  # children shall find it imported
from splitpriv.run import pipeline, prepare  # noqa: E402, F401
from splitpriv.store import Row, Store, care  # noqa: E402

RUN = (*SMALL, *DECODER, *NOISE, "attack=[decoder,rmle]", "attack.rmle.steps=40", "protocol.select=best")
SEEDS = (0, 1, 2)
AGAIN = ("built again", "begun again", "is no row")
PARTS = ("kill", "term", "pair", "sweep", "damage", "full", "readonly", "stdout")
SHARE = {"kill": 0.3, "term": 0.15, "pair": 0.1, "sweep": 0.25, "damage": 0.2, "full": 1, "readonly": 1, "stdout": 1}


@dataclass
class Child:
    """A forked command; `log` has what it printed."""

    pid: int
    log: Path
    code: int | None = None

    def wait(self, seconds: float | None = None) -> int | None:
        """Its exit code, negative for a signal; None where it still runs after so long."""
        end = time.monotonic() + (seconds or 600)
        while self.code is None and time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
            else:
                time.sleep(0.002)
        return self.code

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace", encoding="utf-8")


def start(folder: Path, *words: str, before: Callable[[], None] = lambda: None) -> Child:
    """Fork, and run one command in a process group of its own; `before` prepares the child."""
    log = Path(tempfile.mkstemp(dir=folder, suffix=".log")[1])
    pid = os.fork()
    if pid:
        return Child(pid, log)
    code = 99
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        out = os.open(log, os.O_WRONLY | os.O_APPEND)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", encoding="utf-8"), os.fdopen(2, "w", buffering=1, encoding="utf-8")
        before()
        code = cli.main(list(words))
        sys.stdout.flush()
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


@dataclass
class Torture:
    """All faults of one call, with what came of them."""

    folder: Path
    random: random.Random
    minutes: float | None
    found: dict[str, Counter[str]] = field(default_factory=dict)
    wanted: dict[int, Row] = field(default_factory=dict)
    length: float = 1.0  # seconds of an undisturbed run

    def words(self, store: Path, seed: int) -> tuple[str, ...]:
        return "run", *RUN, f"seed={seed}", f"paths.outputs={store}"

    def fresh(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.folder, prefix="store"))

    def reference(self) -> None:
        """The rows that every disturbed run must end in."""
        for seed in SEEDS:
            store, begun = self.fresh(), time.monotonic()
            child = start(self.folder, *self.words(store, seed))
            if child.wait():
                sys.exit(f"an undisturbed run ended with {child.code}:\n{child.said}")
            self.length = time.monotonic() - begun
            self.wanted[seed] = numbers(Store(store).rows()[0])
            if seed:
                shutil.rmtree(store)
            else:
                self.whole = store

    def count(self, part: str, what: str, why: str = "") -> None:
        self.found.setdefault(part, Counter())[what] += 1
        if what == "wrong":
            print(f"WRONG {part}: {why}", flush=True)

    def judge(self, part: str, store: Path, seeds: tuple[int, ...], faults: int, trouble: str = "") -> None:
        """Repeat the command undisturbed; book the `faults` that came before by how it ends."""
        said = trouble
        for seed in seeds:
            child = start(self.folder, *self.words(store, seed))
            if child.wait() != 0:
                trouble = trouble or f"the same command ended with {child.code}"
            said += child.said
        rows = {row["seed"]: numbers(row) for row in Store(store).rows()}
        for seed in seeds:
            if seed in rows and rows[seed] != self.wanted[seed]:
                differs = [k for k in self.wanted[seed] if rows[seed].get(k) != self.wanted[seed][k]]
                trouble = trouble or f"the row of seed {seed} differs in {differs}"
        if doubts := care.verify(Store(store)).damaged:
            trouble = trouble or f"damaged afterwards: {doubts}"
        if "Traceback" in said:
            trouble = trouble or "a traceback"
        what = "wrong" if trouble else "rebuilt" if any(word in said for word in AGAIN) else "survived"
        for index in range(faults):
            self.count(part, what if not index or what != "wrong" else "survived", f"{trouble}\n{said[-3000:]}")
        shutil.rmtree(store, ignore_errors=True)

    def until(self, part: str, count: int) -> Iterator[int]:
        """Go on until `count` faults of a part are booked, or its share of the minutes is over."""
        end = time.monotonic() + 60 * SHARE[part] * self.minutes if self.minutes else float("inf")
        while (done := sum(self.found.get(part, {}).values())) < count and time.monotonic() < end:
            yield count - done

    # ---- the faults ----

    def signals(self, part: str, number: int, count: int) -> None:
        """A signal at any moment of a run, several times over one store."""
        for left in self.until(part, count):
            store, seed, faults, trouble = self.fresh(), self.random.choice(SEEDS), 0, ""
            for _ in range(min(left, 5)):
                child = start(self.folder, *self.words(store, seed))
                ended = child.wait(self.random.uniform(0.02, self.length))
                if ended is None:
                    os.killpg(child.pid, number)
                    faults, ended = faults + 1, child.wait(20)
                    right = (-9 if number == signal.SIGKILL else 143, 0)  # 0: it had just finished
                    faults -= ended == 0
                    if ended not in right or "Traceback" in child.said:
                        trouble = f"it ended with {ended}: {child.said[-2000:]}"
                    if ended == 143 and "this continues where it stopped" not in child.said:
                        trouble = f"it did not say how to continue: {child.said}"
                if ended == 0:
                    break
            self.judge(part, store, (seed,), faults, trouble)

    def pair(self, count: int) -> None:
        """Two processes that sweep over the same seeds on one store; one of them is killed, or both."""
        for _ in self.until("pair", count):
            store = self.fresh()
            sweep = ("run", "-m", *RUN, "seed=0,1", f"paths.outputs={store}")
            both = [start(self.folder, *sweep) for _ in range(2)]
            time.sleep(self.random.uniform(0.1, 3 * self.length))
            victims = both[: self.random.choice((1, 2))]
            faults = 0
            for child in victims:
                if child.wait(0.001) is None:
                    os.killpg(child.pid, signal.SIGKILL)
                    faults += 1
            ends = [child.wait() for child in both]
            trouble = "" if set(ends) <= {0, -9} else f"they ended with {ends}: {[c.said[-1500:] for c in both]}"
            self.judge("pair", store, (0, 1), faults, trouble)

    def sweep(self, kills: int, stops: int) -> None:
        """A sweep in parallel processes of joblib: the group, a worker or the parent is killed, or it is stopped."""
        kinds = [("SIGTERM", "parent")] * stops
        kinds += [("SIGKILL", ("group", "worker", "parent")[i % 3]) for i in range(kills)]
        self.random.shuffle(kinds)
        for left in self.until("sweep", len(kinds)):
            name, who = kinds[left - 1]
            store = self.fresh()
            child = start(
                self.folder, "run", "-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", *RUN, "optim.epochs=2",
                "seed=0,1,2", f"paths.outputs={store}",
            )  # fmt: skip
            while child.wait(0.01) is None and not list(store.glob("fit/*/last.pt")):
                pass  # workers need some seconds to start
            time.sleep(self.random.uniform(0, 2 * self.length))
            faults, right, number = 0, {0}, signal.Signals[name]
            if child.wait(0.001) is None:
                faults, right = 1, {0, 143} if name == "SIGTERM" else {0, -9} if who != "worker" else {0, 2}
                if who == "group":
                    os.killpg(child.pid, number)
                elif who == "parent" or not (workers := _children(child.pid)):
                    os.kill(child.pid, number)
                    right |= {-9}
                else:
                    os.kill(self.random.choice(workers), number)
            ended = child.wait(60)
            time.sleep(0.1)
            orphans = _group(child.pid)
            trouble = "" if ended in right else f"{name} to the {who}: it ended with {ended}: {child.said[-2000:]}"
            if name == "SIGTERM" and orphans:
                trouble = trouble or f"SIGTERM left processes behind: {orphans}"
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            if name != "SIGKILL" and "Traceback" in child.said:
                trouble = trouble or f"a traceback: {child.said[-2000:]}"
            self.judge("sweep", store, SEEDS, faults, trouble)

    def damage(self) -> None:
        """Every file of a finished store, truncated, emptied, flipped and deleted in turn."""
        files = [p.relative_to(self.whole) for p in sorted(self.whole.rglob("*")) if p.is_file()]
        files = [p for p in files if p.suffix != ".lock" and p.parts[0] in ("fit", "attack", "measure", "rows")]
        todo = [(file, kind) for file in files for kind in DAMAGES]
        self.random.shuffle(todo)
        for left in self.until("damage", len(todo)):
            file, kind = todo[left - 1]
            store = self.fresh()
            shutil.copytree(self.whole, store, dirs_exist_ok=True)
            DAMAGES[kind](store / file, self.random)
            if file.parts[0] != "rows":  # else the row answers, whatever became of its stages
                for row in store.glob("rows/*.json"):
                    row.unlink()
            self.judge("damage", store, (0,), 1)

    def full(self) -> None:
        """A disk of a size that is enough for a part of the run only: a tmpfs, or a limit on files for non-roots."""
        for size in (16, 48, 96, 160, 240, 400):
            store = self.fresh()

            def limit(size: int = size) -> None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (size * 64, size * 64))

            with disk(store, f"size={size}k") as mounted:
                child = start(self.folder, *self.words(store, 0), before=(lambda: None) if mounted else limit)
                ended, trouble = child.wait(), ""
                if ended not in (0, 2) or (ended == 2 and "splitpriv: paths.outputs: " not in child.said):
                    trouble = f"it ended with {ended}: {child.said[-2000:]}"
                if mounted:
                    subprocess.run(["mount", "-o", "remount,size=64m", str(store)], check=True)
                if ended == 2 or trouble:
                    self.judge("full", store, (0,), 1, trouble)
        self.disk = "tmpfs of 16 to 400 kB" if mounted else "RLIMIT_FSIZE of 1 to 25 kB"

    def readonly(self) -> None:
        """A finished store that may not be written: its row is there, another run is refused by name.

        A tmpfs mounted read-only, or modes where nobody may mount.
        """
        for row, seed, right in ((True, 0, 0), (True, 1, 2), (False, 0, 2)):  # without its row, which cannot be written
            store = self.fresh()
            with disk(store, "size=64m") as mounted:
                shutil.copytree(self.whole, store, dirs_exist_ok=True)
                for path in [] if row else store.glob("rows/*.json"):
                    path.unlink()
                if mounted:
                    subprocess.run(["mount", "-o", "remount,ro", str(store)], check=True)
                else:
                    _modes(store, 0o555, 0o444)
                child = start(self.folder, *self.words(store, seed))
                ok = child.wait() == right and "Traceback" not in child.said
                ok = ok and (not right or "splitpriv: paths.outputs: " in child.said)
                self.count("readonly", "survived" if ok else "wrong", f"seed {seed}: {child.code}: {child.said}")
                if not mounted:
                    _modes(store, 0o755, 0o644)

    def stdout(self) -> None:
        """A standard output that is full, closed, or a pipe whose reader has left."""

        def full() -> None:
            os.dup2(os.open("/dev/full", os.O_WRONLY), 1)

        def closed() -> None:
            os.close(1)
            sys.stdout = None  # type: ignore[assignment]  # as Python starts

        def left() -> None:
            read, write = os.pipe()
            os.close(read)
            os.dup2(write, 1)

        for before, right, word in ((full, 2, "standard output"), (closed, 2, "standard output"), (left, 0, "")):
            store = self.fresh()
            child = start(self.folder, *self.words(store, 0), before=before)
            trouble = "" if child.wait() == right and word in child.said and "paths.outputs: " not in child.said else (
                f"{before.__name__}: it ended with {child.code}: {child.said[-2000:]}")  # fmt: skip
            if not list(store.glob("rows/*.json")):
                trouble = trouble or f"{before.__name__}: it lost the row"
            self.judge("stdout", store, (0,), 1, trouble)


@contextlib.contextmanager
def disk(folder: Path, options: str) -> Iterator[bool]:
    """A small file system in `folder`, where this machine lets us mount one."""
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, check=False, capture_output=True).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


def _modes(store: Path, folders: int, files: int) -> None:
    for path in (store, *store.rglob("*")):
        path.chmod(folders if path.is_dir() else files)


def _truncate(path: Path, _: random.Random) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _flip(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path, random.Random], None]] = {
    "truncated": _truncate,
    "emptied": lambda path, _: path.write_bytes(b"") and None,
    "flipped": _flip,
    "deleted": lambda path, _: path.unlink(),
}


def _stat(pid: str) -> list[str]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return ["", "", ""]


def _group(group: int) -> list[str]:
    """Living processes of a group, as far as /proc tells."""
    found = [p.name for p in Path("/proc").glob("[0-9]*")]
    return [pid for pid in found if (stat := _stat(pid))[2] == str(group) and stat[0] not in "ZX"]


def _children(pid: int) -> list[int]:
    """The workers of a parent: what it started and is no tracker of resources."""
    found = [p.name for p in Path("/proc").glob("[0-9]*") if _stat(p.name)[1] == str(pid)]
    commands = {p: Path(f"/proc/{p}/cmdline").read_bytes() for p in found if Path(f"/proc/{p}/cmdline").exists()}
    return [int(p) for p, command in commands.items() if b"LokyProcess" in command]


def main() -> int:
    """Inflict the faults and print what came of them; 1 where anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, help="a sample of the faults that takes about so long")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--kills", type=int, default=100, help="SIGKILLs over runs (default 100)")
    parser.add_argument("--terms", type=int, default=20, help="SIGTERMs over runs (default 20)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and places")
    args = parser.parse_args()
    torch.set_num_threads(1)
    prepare.from_overrides(RUN)  # whatever that imports
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faults") as name:
        folder = Path(name)
        torture = Torture(folder, random.Random(args.seed), args.minutes)
        torture.disk = ""
        torture.reference()
        parts: dict[str, Callable[[], None]] = {
            "kill": lambda: torture.signals("kill", signal.SIGKILL, args.kills),
            "term": lambda: torture.signals("term", signal.SIGTERM, args.terms),
            "pair": lambda: torture.pair(12),
            "sweep": lambda: torture.sweep(9, 3) if not args.minutes else torture.sweep(1, 1),
            "damage": torture.damage, "full": torture.full, "readonly": torture.readonly, "stdout": torture.stdout,
        }  # fmt: skip
        for part in args.only:
            parts[part]()
            print(line(part, torture.found.get(part, Counter())), flush=True)
    total = sum(torture.found.values(), Counter())
    print(line("all", total), f" in {time.monotonic() - begun:.0f} s; disk: {torture.disk or 'not filled'}")
    return int(total["wrong"] > 0)


def line(name: str, counts: Counter[str]) -> str:
    """One line of figures."""
    words = ", ".join(f"{what} {counts[what]}" for what in ("survived", "rebuilt", "wrong"))
    return f"{name:10} injected {sum(counts.values())}, {words}"


if __name__ == "__main__":
    sys.exit(main())
