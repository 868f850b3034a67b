"""Which printed claims hold here: each with its difference, its interval, and Holm's p over the table's claims."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from splitpriv.measure.verdict import doubts_of, weigh
from splitpriv.report.worlds import apart
from splitpriv.stats.interval import Comparison, compare, holm
from splitpriv.store import Row
from splitpriv.tables.results import Results
from splitpriv.tables.spec import Claim, Part, parts

Verdict = Literal["holds", "fails", "a sign", "undecided", "void", "no data"]
ALPHA = 0.05


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


def judge(results: Results) -> list[Finding]:
    """Every claim of the table. It holds, or fails, where Holm's adjusted p is below .05; else it is undecided.

    A claim of several parts holds only if all do (its p is their largest); it fails if one part does (Bonferroni over
    the parts that have the wrong sign). Over void rows it is void, over doubtful ones at most a sign.
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
        _believe(finding, results)
    return findings


def _believe(finding: Finding, results: Results) -> None:
    """Take back what the rows behind a finding cannot carry."""
    compared = [part for part, c in finding.parts if c is not None]
    doubts = [(row, flag) for part in compared for row, column in _cells(part)
              for run in results.runs.get((row, column), ()) for flag in doubts_of(run)]  # fmt: skip
    state = weigh([flag for _, flag in doubts])
    if unlike := [line for part in compared for line in _unlike(_cells(part), results)]:
        finding.verdict, finding.why = "void", unlike[0]
    elif state == "void":
        row, flag = next((row, flag) for row, flag in doubts if flag.voids)
        finding.verdict, finding.why = "void", f"rests on void rows, one of them in {row}: {flag.text}"
    elif state == "doubtful" and finding.verdict in ("holds", "fails"):
        finding.verdict, finding.why = "a sign", f"{finding.verdict} by its numbers, which rest on doubtful rows"
    cells = [cell for part in compared for cell in _cells(part)]
    if partial := {entry.remark for cell in cells if (entry := results.entries.get(cell)) and entry.remark}:
        finding.why = "; ".join(filter(None, (finding.why, "averages of " + " and ".join(sorted(partial)))))


def _cells(part: Part) -> list[tuple[str, str]]:
    return [side for side in (part.more, part.than) if not isinstance(side, float)]


def _unlike(cells: list[tuple[str, str]], results: Results) -> list[str]:
    """Why the rows behind two cells cannot be compared: those of a suite and of a worst case hang on one suite."""
    pools: dict[str, list[Row]] = {}
    for row, column in cells:
        who = results.attacker(column)
        for name in dict.fromkeys(("", "suite" if who == "worst" else who, who)):
            pools.setdefault(name, []).extend(results.runs.get((row, column), ()))
    return [line for who, rows in pools.items() for line in apart(rows, who)]


def _right(finding: Finding) -> bool:
    return all(c is None or c.difference.mean > finding.claim.by for _, c in finding.parts)


def _compare(claim: Claim, results: Results) -> Finding:
    compared = [(part, _one(part, claim, results)) for part in parts(claim, results.table)]
    told = [(part, c) for part, c in compared if c is not None and math.isfinite(c.difference.mean)]
    known = [c for _, c in told]
    if not known:
        return Finding(claim, compared, "no data", "no finished pair of runs with a common seed")
    wrong = [c for c in known if not c.difference.mean > claim.by]
    finding = Finding(claim, compared, "undecided", "", _deciding(told, wrong))
    n = min(c.difference.n for c in known)
    absent = len(compared) - len(known)
    if absent and not wrong:  # what is known speaks for it, but the claim is about more
        finding.why = f"right sign in {len(known)} of {len(compared)} comparisons; the others have no runs yet"
        return finding
    tested = [c.p for c in (wrong or known) if c.p is not None]
    if len(tested) < len(wrong or known):
        finding.why = f"{'wrong' if wrong else 'right'} sign at n = {n}; two target seeds are the least for an interval"
        return finding
    finding.p = min(1.0, min(tested) * len(compared)) if wrong else max(tested)
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
