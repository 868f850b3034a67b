"""The board's rows: every defence over its grid, then the best strength of each under the whole suite.

    python scripts/fill_board.py fashion_tint --plan      # what is there, what is missing, and what that costs
    python scripts/fill_board.py fashion_tint             # makes it, the most telling first; ends and goes on anywhere

Rows go to results/board/<world>.jsonl, with small pictures of the first seed's; stages stay in the store. `grid`: five
strengths by 2 seeds under the suite at a bounded cost. `whole`: of each chain the strength that protects most at one
point of loss or less, by 5 seeds, at 1 and 16 queries under the whole suite, and at 1 query the first that costs more,
without which nobody could say what the chain leaves at that loss. Seconds are the processor's.
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from splitpriv import config, options
from splitpriv.board import kept
from splitpriv.measure.verdict import verdict
from splitpriv.report import worlds
from splitpriv.store import Row, Store
from splitpriv.types import UserError

ROWS = Path(__file__).parents[1] / "results" / "board"
FIRST = ("none", "noise", "cem", "nopeek", "dropout", "quantize", "adversarial")  # the most telling, in this order
LOSS = 0.01  # of utility that the strength for the whole suite may cost
DIAGONAL = {"cem_paper": ("defense.cem.covariance=diagonal",)}  # full ones of 2,048 values take half a minute a step
WHOLE = 12  # times as long as the suite at a bounded cost, where neither was measured


@dataclass(frozen=True)
class World:
    """A target and its attacker; `chains` None: every defence that has a grid; `strengths`: places of the grid."""

    base: tuple[str, ...]
    grid_seeds: int
    chains: tuple[str, ...] | None = None
    strengths: tuple[int, ...] = (0, 1, 2, 3, 4)
    whole_seeds: int = 5
    seconds: float = 90.0  # of a row, before any was measured
    attribute: str = "tint"  # private; asked for where a defence hides attributes


SOME = ("none", "noise", "cem", "nopeek", "dropout", "quantize", "adversarial", "topk", "vib", "cloak")
WORLDS = {
    "fashion_tint": World(("+setting=demo", "protocol.attacked=200"), 2),
    "fairface": World(
        ("dataset=fairface", "backbone=resnet20_slim", "split=bottleneck", "split.at=shallow",
         "split.bottleneck.activation=sigmoid", "optim.epochs=10", "measure=judged",
         "measure.judge.attribute=race", "protocol.attacked=200",
         "protocol.limit={train: 6000, val: 500, aux: 3000, victims: 2000}"),
        3, (*SOME, "arl"), (1, 3), 3, 500.0, "race"),
    "cifar10": World(
        ("dataset=cifar10", "backbone=vgg11", "split=cem", "optim=fast", "backbone.dropout=0", "task.smoothing=0.2",
         "optim.epochs=16", "runtime.precision=bf16", "measure.ssim_padding=zero", "measure.draws=2",
         "protocol.attacked=256", "protocol.limit={train: null, val: 1000, aux: 4000, victims: null}"),
        3, SOME, (1, 3), 3, 900.0),
}  # fmt: skip


@dataclass(frozen=True)
class Point:
    """One row to make."""

    step: str
    chain: str
    words: tuple[str, ...]
    seed: int
    queries: int = 1

    def overrides(self, world: World) -> list[str]:
        """The words of its run."""
        suite = "autoinvert_quick" if self.step == "grid" else "autoinvert"
        probe = ",probe" if any(word.startswith("attack.probe.") for word in self.words) else ""
        return [
            *world.base,
            *self.words,
            f"attack=[{suite}{probe}]",
            f"seed={self.seed}",
            f"protocol.queries={self.queries}",
        ]


def chains(world: World) -> dict[str, tuple[str, ...]]:
    """Chain -> its words: with noise where a defence needs it, and small nets where it trains one beside `tiny`."""
    from splitpriv.run.prepare import from_overrides

    names = [n for n in options.names(config.CONF, "defense") if n == "none" or config.grid(n)]
    names = [n for n in names if world.chains is None or n in world.chains]
    told: dict[str, tuple[str, ...]] = {}
    for name in sorted(names, key=lambda n: FIRST.index(n) if n in FIRST else len(FIRST)):
        nodes = config.compose([f"defense=[{name}]"])["defense"]
        nets = [f"defense.{n}.net" for n, node in nodes.items() if isinstance(node.get("net"), Mapping)]
        small = tuple(word for key in nets for word in (f"decoder@{key}=conv", f"{key}.width=16"))
        hides = any("classifier" in node and "against" not in node for node in nodes.values())
        probed = (f"attack.probe.attribute={world.attribute}",) if hides else ()
        for chain in (f"defense=[{name}]", f"defense=[{name},noise]"):
            try:
                from_overrides([*world.base, chain, *small, *DIAGONAL.get(name, ())])
            except UserError:
                continue
            told[name] = (chain, *small, *DIAGONAL.get(name, ()), *probed)
            break
    return told


def strengths(world: World, name: str, words: tuple[str, ...]) -> dict[int, tuple[str, ...]]:
    """Place in its grid -> the words of a chain at that strength, the weakest first; one place for a chain without."""
    grids = config.grid(name)
    return {i: (*words, *(f"{key}={values[i]}" for key, values in grids.items()))
            for i in (world.strengths if grids else world.strengths[:1])}  # fmt: skip


def grid(world: World) -> list[Point]:
    """All points of the first step: a seed's middle strengths of all chains before the ends, then the next seed."""
    found = {name: strengths(world, name, words) for name, words in chains(world).items()}
    points = []
    for early in (True, False):
        for seed in range(world.grid_seeds):
            for i in sorted(world.strengths, key=lambda i: abs(i - 2)):
                points += [Point("grid", name, at[i], seed)
                           for name, at in found.items() if (name in FIRST) == early and i in at]  # fmt: skip
    return sorted(points, key=lambda p: p.chain != "none")


def whole(world: World, rows: Sequence[Row]) -> list[Point]:
    """All points of the second step, as far as the rows of the first say which strength each chain gets."""
    found: list[tuple[str, tuple[str, ...], int]] = []  # chain, its words, and queries
    known = {_told(row): row for row in rows if verdict(row) != "void"}
    bare = {seed: known.get(_asked(world, Point("grid", "none", ("defense=[none]",), seed)))
            for seed in range(world.grid_seeds)}  # fmt: skip
    for name, words in chains(world).items():
        at = list(strengths(world, name, words).values())
        within: dict[int, float] = {}  # place of a strength that costs no more -> what it leaves the suite
        dearer: list[int] = []  # of one that costs more, and is not void
        for i, told in enumerate(at):
            made = [(known.get(_asked(world, Point("grid", name, told, seed))), twin) for seed, twin in bare.items()]
            both = [(row, twin) for row, twin in made if row and twin]
            lost = [twin["utility/accuracy"] - row["utility/accuracy"] for row, twin in both]
            if lost and statistics.fmean(lost) <= LOSS:
                within[i] = statistics.fmean(row["privacy/suite/mse"] for row, _ in both)
            elif lost:
                dearer.append(i)
        if within:
            best, beyond = max(within, key=lambda i: within[i]), [i for i in dearer if i > max(within)][:1]
            found += [(name, at[best], 1), (name, at[best], 16), *((name, at[i], 1) for i in beyond)]
    return [Point("whole", name, words, seed, q) for seed in range(world.whole_seeds) for name, words, q in found]


def _asked(world: World, point: Point) -> str:
    return " ".join(point.overrides(world))


def key(world: World, point: Point) -> str:
    """What its row is called now: of before are those whose numbers have changed since."""
    from splitpriv.run.prepare import from_overrides

    return from_overrides(point.overrides(world)).plan.row


def _told(row: Row) -> str:
    return str(row.get("board/words", ""))


def points(world: World, rows: Sequence[Row], steps: Sequence[str]) -> Iterator[Point]:
    """What the steps ask for, in the order in which it is made."""
    if "grid" in steps:
        yield from grid(world)
    if "whole" in steps:
        yield from whole(world, rows)


def cost(world: World, rows: Sequence[Row], missing: Sequence[Point]) -> float:
    """Seconds of what is missing: of rows of the same chain and step, else of the same step, else as World says."""
    spent: dict[Any, list[float]] = defaultdict(list)
    for row in rows:
        for key in ((row.get("board/chain"), row["board/step"]), row["board/step"]):
            spent[key].append(row[kept.SPENT])

    def of(point: Point) -> float:
        known = spent.get((point.chain, point.step)) or spent.get(point.step)
        if known:
            return statistics.median(known)
        quick = statistics.median(spent["grid"]) if spent.get("grid") else world.seconds
        return quick * (1 if point.step == "grid" else WHOLE)

    return sum(map(of, missing))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("world", choices=WORLDS)
    parser.add_argument("--plan", action="store_true", help="say what is missing and its cost, and make nothing")
    parser.add_argument("--steps", nargs="+", choices=["grid", "whole"], default=["grid", "whole"])
    parser.add_argument("--chains", nargs="+", metavar="DEFENCE", help="only these, by the name of their option")
    parser.add_argument("--seeds", nargs="+", type=int, help="only these")
    parser.add_argument("--take", type=Path, metavar="STORE", help="only add what this store has of the world's board")
    parser.add_argument("--store", type=Path, default=Path("outputs"), help="default: outputs")
    args = parser.parse_args()
    world, path = WORLDS[args.world], ROWS / f"{args.world}.jsonl"
    if args.take:
        print(f"{args.world}: {take(world, Store(args.take), path)} rows taken")
        return
    from splitpriv.attacks.suite.autoinvert import SUITE  # rows of an older suite stand on boards of their own

    made: set[tuple[str, str]] = set()
    for step in args.steps:
        rows = [row for row in (kept.read([path]) if path.exists() else []) if str(row["suite"]).split()[0] == SUITE]
        made |= {(_told(row), row["key"]) for row in rows}
        wanted = [p for p in points(world, rows, [step]) if (not args.chains or p.chain in args.chains)
                  and (args.seeds is None or p.seed in args.seeds)]  # fmt: skip
        words = {told for told, _ in made}
        missing = [p for p in wanted if (told := _asked(world, p)) not in words or (told, key(world, p)) not in made]
        hours = cost(world, rows, missing) / 3600
        print(
            f"{args.world} {step}: {len(wanted)} rows, {len(missing)} missing, about {hours:.1f} CPU hours", flush=True
        )
        for point in [] if args.plan else missing:
            make(world, point, Store(args.store), path)


def take(world: World, store: Store, path: Path) -> int:
    """Add the rows of another store that stand on this world's boards; how many there are."""
    from splitpriv.run.prepare import from_overrides
    from splitpriv.run.row import head

    known = {row["key"] for row in kept.read([path])} if path.exists() else set()
    target = worlds.settings(head(from_overrides([*world.base, "defense=[none]"])))
    found = [row for row in store.rows() if row.get("suite") and row["key"] not in known]
    found = [row for row in found if worlds.settings(row) == target]
    for row in found:
        kept.append(path, kept.kept(row, store, path.parent, pictured=row["seed"] == 0) | {"board/step": "taken"})
    return len(found)


def make(world: World, point: Point, store: Store, path: Path) -> None:
    """One row, at the end of its file."""
    from splitpriv.run.pipeline import execute
    from splitpriv.run.prepare import from_overrides

    asked = _asked(world, point)
    try:
        row = execute(
            from_overrides([*point.overrides(world), f"paths.outputs={store.root}", "runtime.threads=1"]), store
        )
    except UserError as error:
        print(f"left out {asked}: {error.problems[0]}", flush=True)
        return
    about = {"board/words": asked, "board/chain": point.chain, "board/step": point.step}
    slim = kept.kept(row, store, path.parent, pictured=point.seed == 0)
    kept.append(path, {**slim, **about})
    print(
        f"{asked}: {row['utility/accuracy']:.4f} {row['privacy/suite/mse']:.5f}, {slim[kept.SPENT]:.0f} s", flush=True
    )


if __name__ == "__main__":
    main()
