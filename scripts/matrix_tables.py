"""Put the tables of docs/autoinvert.md and docs/calibration.md anew, from the rows of results/matrix/; attacks nothing.

python scripts/matrix_tables.py
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from splitpriv.measure.checks import UNSETTLED
from splitpriv.measure.verdict import FAR, references

ROOT = Path(__file__).parents[1]
PAGES = ("docs/autoinvert.md", "docs/calibration.md")
SUITE = "autoinvert_quick"
SINGLES = ("decoder", "rmle", "gallery", "pnp", "gan_decoder", "latent", "deep_prior", "decoder, 64 epochs")
REPEATED = ("decoder_avg", "rmle_avg")
MEMBERS = ("mean", "gallery", "decoder", "refine", "search", "blend", "fuse", "polish")
NEEDS = {
    "refine": "decoder",
    "search": "refine",
    "blend": "search",
    "fuse": "search",
    "polish": "fuse",
}  # what they build on
STEPS = ("decoder", "refine", "search", "fuse", "polish")  # members that build on one another
LEAST = 0.01  # a gain below this is none
MANY = 12  # chains on which an attack has to be played before it is ranked

Plays = Mapping[str, Any]


def matrix(root: Path = ROOT) -> dict[tuple[str, str], Plays]:
    """(world, chain) -> its plays, of chains that the suite has attacked."""
    worlds = [path for name in ("fashion_tint", "cifar10") if (path := root / f"results/matrix/{name}.json").exists()]
    told = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in worlds}
    return {
        (world, chain): plays
        for world, chains in told.items()
        for chain, plays in chains.items()
        if SUITE in plays and "pair" in plays
    }


def grid(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [list(head), ["---"] * len(head), *map(list, lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def shown(plays: Plays, name: str) -> str:
    return f"{plays[name]['mse']:.5f}" if name in plays else ""


def attacks(rows: Mapping[tuple[str, str], Plays]) -> str:
    """What every attack leaves on every chain, and what the suite leaves of the best of them."""
    names = [n for n in SINGLES if any(n in plays for plays in rows.values())]
    lines = []
    for (world, chain), plays in rows.items():
        best = min((plays[n]["mse"], n) for n in names if n in plays)
        told = plays[SUITE]
        lines.append([world, chain, f"{told['floor']:.4f}", *(shown(plays, n) for n in names), shown(plays, SUITE),
                      f"{told['mse'] / best[0]:.2f} of {best[1]}"])  # fmt: skip
    return grid(("data", "chain", "mean image", *names, "`quick`", "suite / best single"), lines)


def members(rows: Mapping[tuple[str, str], Plays]) -> str:
    """What each member of the suite leaves on every chain, what it answered, and its seconds."""
    names = [n for n in MEMBERS if any(n in plays[SUITE]["members"] for plays in rows.values()) and n != "mean"]
    lines = []
    for (world, chain), plays in rows.items():
        told = plays[SUITE]
        lines.append([world, chain, *(shown(told["members"], n) for n in names), told["answer"],
                      f"{told['mse'] / plays['pair']['mse']:.2f}", f"{told['cpu_s']:.0f}"])  # fmt: skip
    return grid(("data", "chain", *names, "answer", "suite / pair of before", "CPU s"), lines)


def longer(rows: Mapping[tuple[str, str], Plays]) -> str:
    """The suite beside the same attacker's longer and repeated attempts, where they were played."""
    control = "decoder of the suite, 4 times as long"
    lines = []
    for (world, chain), plays in rows.items():
        if control in plays or "autoinvert" in plays:
            lines.append([world, chain, shown(plays[SUITE]["members"], "decoder"), shown(plays, control),
                          shown(plays, SUITE), *whole(plays)])  # fmt: skip
    return grid(("data", "chain", "decoder of `quick`", "four times as long", "`quick`", "`autoinvert`",
                 *(f"its {STEPS[0]}", *STEPS[1:]), "answer", "twice the effort", "CPU s"), lines)  # fmt: skip


def whole(plays: Plays) -> list[str]:
    """What the whole suite leaves, by itself and by its members, and what twice its effort would take off."""
    if not entire(plays):
        return [""] * (4 + len(STEPS))
    told = plays["autoinvert"]
    members = (shown(told["members"], name) for name in STEPS)
    more = "" if told.get("twice") is None else f"{100 * told['twice']:.0f} %"
    return [f"{told['mse']:.5f}{mark(told)}", *members, told["answer"], more, f"{told['cpu_s']:.0f}"]


def mark(told: Plays) -> str:
    """A sign beside the number of a suite whose row is void, since twice its effort would take off too much."""
    return " †" if (told.get("twice") or 0) > UNSETTLED else ""


def entire(plays: Plays) -> bool:
    """Whether the whole suite was played, at the version of the quick one."""
    return bool(plays.get("autoinvert", {}).get("suite") == plays[SUITE]["suite"].split()[0])


def repeated(rows: Mapping[tuple[str, str], Plays]) -> str:
    """What 16 releases of every victim give away."""
    many = f"{SUITE}, 16 queries"
    lines = [[chain, *(shown(plays, n) for n in REPEATED), shown(plays, many), shown(plays, SUITE)]
             for (_, chain), plays in rows.items() if many in plays]  # fmt: skip
    return grid(("chain", *REPEATED, "`quick`, 16 queries", "`quick`, 1 query"), lines)


def black(rows: Mapping[tuple[str, str], Plays]) -> str:
    """What an adversary rebuilds who can only query the device."""
    lines = [[world, chain, shown(plays, "autoinvert_black") + mark(plays["autoinvert_black"]), shown(plays, SUITE),
              whole(plays)[0]]
             for (world, chain), plays in rows.items() if "autoinvert_black" in plays]  # fmt: skip
    return grid(("data", "chain", "`autoinvert_black`", "`quick`", "`autoinvert`"), lines)


def order(rows: Mapping[tuple[str, str], Plays]) -> str:
    """The defences, the most private first, under the attacks of before and under the suite; of void rows none."""
    lines = []
    rows = {key: plays for key, plays in rows.items() if not void(key[0], plays[SUITE]["accuracy"])}
    for world in dict.fromkeys(world for world, _ in rows):
        chains = [chain for w, chain in rows if w == world]
        before = sorted(chains, key=lambda c: -rows[world, c]["pair"]["mse"])
        after = sorted(chains, key=lambda c: -rows[world, c][SUITE]["mse"])
        undefended = rows[world, "none"]
        for place, chain in enumerate(after, 1):
            plays, was = rows[world, chain], before.index(chain) + 1
            lines.append([world, str(place), chain, str(was) if was != place else "same",
                          *(f"{plays[n]['mse'] / undefended[n]['mse']:.1f}" for n in ("pair", SUITE)),
                          times(plays, undefended), f"{plays['pair']['mse']:.4f}", shown(plays, SUITE),
                          whole(plays)[0], f"{plays[SUITE]['accuracy']:.1%}"])  # fmt: skip
    return grid(("data", "place", "chain", "place before", "× none before", "× none by `quick`", "× none by the whole",
                 "pair of before", "`quick`", "`autoinvert`", "accuracy"), lines)  # fmt: skip


def times(plays: Plays, undefended: Plays) -> str:
    """How many times the error of no defence the whole suite leaves, where both were played."""
    both = entire(plays) and entire(undefended)
    if not both:
        return ""
    told, bare = plays["autoinvert"], undefended["autoinvert"]
    return f"{told['mse'] / bare['mse']:.1f}{mark(told) or mark(bare)}"


def void(world: str, accuracy: float) -> bool:
    """Whether a row is void because its network has not learnt its task."""
    return accuracy < FAR * references()[world]["accuracy"]["printed"]


def errors(plays: Plays, name: str) -> tuple[float, float] | None:
    """MSE and seconds of a candidate, a single attack by its name or a member as `suite: name`; None if not played."""
    _, _, member = name.partition("suite: ")
    told = plays[SUITE]["members"].get(member) if member else plays.get(name)
    return (told["mse"], told.get("cpu_s") or 0.0) if told else None


def greedy(rows: Mapping[tuple[str, str], Plays], needs: Mapping[str, str] = NEEDS) -> str:
    """Attacks one by one, each time the one that lowers the error of the best so far most for its seconds.

    The gain is the mean over chains of the logarithm of the error before over that after, as a percentage; a member
    that builds on others comes with them, and at their cost, unless they are there. An attack binds where no other does
    better. What was played on a few chains only has no place.
    """
    every = [*SINGLES, *(f"suite: {m}" for m in MEMBERS if m != "mean")]
    left = [name for name in every if sum(bool(errors(plays, name)) for plays in rows.values()) >= min(MANY, len(rows))]
    least = {key: min(e[0] for n in left if (e := errors(plays, n))) for key, plays in rows.items()}
    best = {key: plays[SUITE]["floor"] for key, plays in rows.items()}
    taken: list[str] = []
    lines = []
    while left:
        priced = {name: (gain(rows, best, name), sum(price(rows, n) for n in stack(name, taken, needs)))
                  for name in left}  # fmt: skip
        useful = [name for name in left if priced[name][0] >= LEAST]
        name = max(useful or left, key=lambda n: priced[n][0] / max(priced[n][1], 0.1))
        got, cost = priced[name]
        new = stack(name, taken, needs) if useful else [name]
        taken += new if useful else []
        for key, plays in rows.items():
            best[key] = min([best[key], *(e[0] for n in taken if (e := errors(plays, n)))])
        told = [(key, e[0]) for key, plays in rows.items() if (e := errors(plays, name))]
        binds = sum(value == least[key] for key, value in told)
        lines.append([str(len(lines) + 1) if useful else "", " + ".join(new).replace("+ suite: ", "+ "), f"{len(told)}",
                      f"{100 * (1 - math.exp(-got)):.1f} %", f"{cost:.0f}", f"{binds}"])  # fmt: skip
        left = [n for n in left if n not in new]
    return grid(("taken", "attack", "chains", "error falls by", "CPU s more", "binds on"), lines)


def greedy_whole(rows: Mapping[tuple[str, str], Plays]) -> str:
    """The same for the whole suite, which has more members, and sums them all."""
    played = {key: {**plays, SUITE: plays["autoinvert"]} for key, plays in rows.items() if entire(plays)}
    return greedy(played, {**NEEDS, "blend": "polish"})


def stack(name: str, taken: Sequence[str], needs: Mapping[str, str]) -> list[str]:
    """An attack after those that it builds on and that are not there."""
    below = needs.get(name.removeprefix("suite: ")) if name.startswith("suite: ") else None
    return [*(stack(f"suite: {below}", taken, needs) if below and f"suite: {below}" not in taken else []), name]


def gain(rows: Mapping[tuple[str, str], Plays], best: Mapping[tuple[str, str], float], name: str) -> float:
    logs = [max(0.0, math.log(best[key] / told[0])) for key, plays in rows.items() if (told := errors(plays, name))]
    return sum(logs) / len(logs)


def price(rows: Mapping[tuple[str, str], Plays], name: str) -> float:
    costs = [told[1] for plays in rows.values() if (told := errors(plays, name))]
    return sum(costs) / len(costs)


def calibration(told: Sequence[Plays]) -> str:
    """The suite against the best that there can be."""
    lines = [[r["world"], f"{r['noise']:g}", f"`{r['attack']}`", f"{r['floor']:.5f}", f"{r['least']:.5f}",
              f"{r['exact']:.5f}" if r["exact"] else "", f"{r['mse']:.5f} ± {r['error']:.5f}",
              f"{r['least'] / r['mse']:.3f}", f"{r['exact'] / r['mse']:.3f}" if r["exact"] else "",
              str(r["victims"]), r["answer"], f"{r['cpu_s']:.0f}"] for r in told]  # fmt: skip
    head = ("world", "noise", "tier", "mean image", "MMSE", "exact, same victims", "MSE", "MMSE / MSE", "exact / MSE",
            "victims", "answer", "CPU s")  # fmt: skip
    return grid(head, lines)


def alone(told: Sequence[Plays]) -> str:
    """MMSE / MSE of each member by itself."""
    names = [n for n in MEMBERS if any(n in r["members"] for r in told)]
    lines = [[r["world"], f"{r['noise']:g}", f"`{r['attack']}`", *(ratio(r, n) for n in names)] for r in told]
    return grid(("world", "noise", "tier", *names), lines)


def ratio(told: Plays, member: str) -> str:
    return f"{told['least'] / told['members'][member]:.2f}" if member in told["members"] else ""


TABLES: dict[str, Callable[[Mapping[tuple[str, str], Plays]], str]] = {
    "attacks": attacks, "members": members, "longer": longer, "repeated": repeated,
    "black": black, "order": order, "greedy": greedy,
    "greedy_whole": greedy_whole,
}  # fmt: skip


def woven(page: str, root: Path = ROOT) -> str:
    """The page with its tables as the committed rows have them."""
    rows = matrix(root)
    told = json.loads((root / "results/matrix/calibration.json").read_text(encoding="utf-8"))
    tables = {name: make(rows) for name, make in TABLES.items()}
    return weave(page, {**tables, "calibration": calibration(told), "alone": alone(told)})


def weave(page: str, tables: Mapping[str, str]) -> str:
    """The page with every table between its `<!-- table: name -->` and `<!-- end -->`."""

    def filled(match: re.Match[str]) -> str:
        return f"<!-- table: {match[1]} -->\n\n{tables[match[1]]}\n\n<!-- end -->"

    return re.sub(r"<!-- table: (\w+) -->.*?<!-- end -->", filled, page, flags=re.DOTALL)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    for name in PAGES:
        page = ROOT / name
        page.write_text(woven(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
