"""Which printed claims hold here: each with its difference, its interval, and Holm's p over the table's claims."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from splitpriv.stats.interval import Comparison, compare, holm

if TYPE_CHECKING:
    from splitpriv.tables.results import Results
    from splitpriv.tables.spec import Claim, Table

Verdict = Literal["holds", "fails", "undecided", "no data"]
Side = str | float
ALPHA = 0.05


@dataclass(frozen=True)
class Part:
    """One comparison of a claim: `more` against `than`, each (row, column) or a number."""

    more: tuple[str, str] | float
    than: tuple[str, str] | float

    def __str__(self) -> str:
        sides = [s if isinstance(s, float) else s[0] for s in (self.more, self.than)]
        columns = [s[1] for s in (self.more, self.than) if not isinstance(s, float)]
        if len(columns) == 2 and columns[0] != columns[1]:
            sides = [s if isinstance(s, float) else "@".join(s) for s in (self.more, self.than)]
            return f"{sides[0]} > {sides[1]}"
        return f"{sides[0]} > {sides[1]} in {columns[0]}"


@dataclass
class Finding:
    """A claim beside what the rows say. `p`: of the whole claim; `adjusted`: Holm's; `weakest`: its deciding part."""

    claim: Claim
    parts: list[tuple[Part, Comparison | None]]
    verdict: Verdict
    why: str
    weakest: tuple[Part, Comparison] | None = None
    p: float | None = None
    adjusted: float | None = None


def parts(claim: Claim, table: Table) -> list[Part]:
    """All comparisons that a claim is made of."""
    pairs: list[tuple[Side, Side]] = [*claim.pairs, *pairwise(claim.order)]
    if claim.more is not None and claim.than is not None:
        pairs.append((claim.more, claim.than))
    names = list(table.rows) if claim.each == "rows" else claim.each
    if names:
        pairs = [(_named(a, name), _named(b, name)) for name in names for a, b in pairs]
    columns = claim.columns or [next(iter(table.columns))]
    return list(dict.fromkeys(Part(_side(a, c), _side(b, c)) for a, b in pairs for c in columns))


def sides(claim: Claim, table: Table) -> Iterator[tuple[str, str]]:
    """Every (row, column) that a claim mentions."""
    for part in parts(claim, table):
        yield from (side for side in (part.more, part.than) if not isinstance(side, float))


def _named(side: Side, name: str) -> Side:
    return side.replace("{row}", name) if isinstance(side, str) else side


def _side(side: Side, column: str) -> tuple[str, str] | float:
    if isinstance(side, str):
        row, _, named = side.partition("@")
        return row, named or column
    return float(side)


def judge(results: Results) -> list[Finding]:
    """Every claim of the table. It holds, or fails, where Holm's adjusted p is below .05; else it is undecided.

    A claim of several parts holds only if all do (its p is their largest); it fails if one part does (Bonferroni over
    the parts that have the wrong sign).
    """
    findings = [_compare(claim, results) for claim in results.table.claims]
    for finding, adjusted in zip(findings, holm([f.p for f in findings]), strict=True):
        finding.adjusted = adjusted
        if finding.verdict == "undecided" and adjusted is not None:
            right = _right(finding)
            if adjusted < ALPHA:
                finding.verdict, finding.why = "holds" if right else "fails", ""
            else:
                finding.why = f"{'right' if right else 'wrong'} sign, but not beyond chance"
    return findings


def _right(finding: Finding) -> bool:
    return all(c is None or c.difference.mean > finding.claim.by for _, c in finding.parts)


def _compare(claim: Claim, results: Results) -> Finding:
    found = [(part, _one(part, claim, results)) for part in parts(claim, results.table)]
    told = [(part, c) for part, c in found if c is not None and math.isfinite(c.difference.mean)]
    known = [c for _, c in told]
    if not known:
        return Finding(claim, found, "no data", "no finished pair of runs with a common seed")
    wrong = [c for c in known if not c.difference.mean > claim.by]
    finding = Finding(claim, found, "undecided", "", _deciding(told, wrong))
    n = min(c.difference.n for c in known)
    absent = len(found) - len(known)
    if absent and not wrong:  # what is known speaks for it, but the claim is about more
        finding.why = f"right sign in {len(known)} of {len(found)} comparisons; the others have no runs yet"
        return finding
    tested = [c.p for c in (wrong or known) if c.p is not None]
    if len(tested) < len(wrong or known):
        finding.why = f"{'wrong' if wrong else 'right'} sign at n = {n}; two target seeds are the least for an interval"
        return finding
    finding.p = min(1.0, min(tested) * len(found)) if wrong else max(tested)
    return finding


def _deciding(told: list[tuple[Part, Comparison]], wrong: list[Comparison]) -> tuple[Part, Comparison]:
    """The part that a claim hangs on: the surest of the wrong sign, else the least sure; units do not compare."""
    if wrong:
        return min((pair for pair in told if pair[1] in wrong), key=lambda pair: _p(pair[1]))
    return max(told, key=lambda pair: _p(pair[1]))


def _p(c: Comparison) -> float:
    return math.inf if c.p is None else c.p


def _one(part: Part, claim: Claim, results: Results) -> Comparison | None:
    if isinstance(part.more, float):  # a number above a row: the row below it
        if isinstance(part.than, float):
            return None
        low = {seed: -v for seed, v in results.seeds(*part.than).items()}
        return compare(low, -part.more, claim.by, method=results.method, exact=results.is_exact(part.than[1]))
    a = results.seeds(*part.more)
    b: dict[int, float] | float = part.than if isinstance(part.than, float) else results.seeds(*part.than)
    exact = results.is_exact(part.more[1])
    return compare(a, b, claim.by, claim.relative, results.method, exact)
