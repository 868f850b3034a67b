"""Claims and their verdicts in every format."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Callable, Mapping, Sequence

from splitpriv.stats.interval import Comparison
from splitpriv.tables.claims import Finding
from splitpriv.tables.format_sheet import document, pipe, tex

COLOURS = {"holds": "green", "fails": "red", "a sign": "cyan", "undecided": "yellow", "void": "magenta",
           "no data": "dim"}  # fmt: skip
HEADS = ["claim", "verdict", "weakest difference", "95 % interval", "n", "p", "Holm p", "remark"]
NOTE = (
    "A claim holds, or fails, where Holm's p over the claims of this table is below .05 (two-sided paired tests over "
    "common target seeds; a claim of several comparisons by its weakest one); below two seeds it stays undecided. "
    "A claim over void rows is void, over doubtful ones at most a sign (`splitpriv rows` says why)."
)


def _number(value: float | None, relative: bool) -> str:
    if value is None:
        return ""
    return f"{value:+.1%}" if relative else f"{value:+.4g}"


def line(finding: Finding) -> list[str]:
    """The words of one finding, in the order of HEADS."""
    relative = finding.claim.relative
    text = finding.claim.text + (f" (printed: {finding.claim.printed})" if finding.claim.printed else "")
    ps = ["" if p is None else f"{p:.2g}" for p in (finding.p, finding.adjusted)]
    if finding.weakest is None:
        return [text, finding.verdict, "", "", "0", *ps, finding.why]
    part, c = finding.weakest
    remark = "; ".join(word for word in (finding.why, f"weakest: {part}" if len(finding.parts) > 1 else "") if word)
    told = [_number(c.difference.mean, relative), _between(c, relative), str(c.difference.n)]
    return [text, finding.verdict, *told, *ps, remark]


def _between(c: Comparison, relative: bool) -> str:
    low, high = c.difference.low, c.difference.high
    return "" if low is None else f"[{_number(low, relative)}, {_number(high, relative)}]"


def _detail(finding: Finding) -> list[str]:
    """One line for each comparison of a claim that has several."""
    out = []
    for part, c in finding.parts if len(finding.parts) > 1 else ():
        if c is None:
            out.append(f"{part}: no runs yet")
            continue
        flip = "" if c.p_flip is None else f", sign-flip p {c.p_flip:.2g}"
        told = f"{_number(c.difference.mean, finding.claim.relative)} {_between(c, finding.claim.relative)}".strip()
        out.append(f"{part}: {told}, n={c.difference.n}{flip}")
    return out


def terminal(title: str, findings: Sequence[Finding]) -> str:
    """A terminal table, every comparison below its claim."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from splitpriv.report.terminal import console

    table = Table(title=escape(f"{title}: claims"), title_justify="left", pad_edge=False, show_lines=True)
    for head in HEADS:
        table.add_column(head, overflow="fold", min_width={"claim": 56, "remark": 24}.get(head))
    for finding in findings:
        text, verdict, *others = line(finding)
        below = "".join(f"\n[dim]  {escape(told)}[/]" for told in _detail(finding))
        table.add_row(escape(text) + below, f"[{COLOURS[verdict]}]{verdict}[/]", *map(escape, others))
    shown = console()
    out = Console(width=max(shown.width, 120), highlight=False, force_terminal=shown.is_terminal, file=io.StringIO())
    out.print(table)
    out.print(f"[dim]{NOTE}[/]", soft_wrap=True)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


def markdown(title: str, findings: Sequence[Finding]) -> str:
    """A GitHub table, the comparisons as a list below it."""
    lines = [f"### {pipe(title)}: claims", "", f"| {' | '.join(HEADS)} |", f"|{'---|' * len(HEADS)}"]
    lines += [f"| {' | '.join(map(pipe, line(f)))} |" for f in findings]
    lines += ["", NOTE, ""]
    for finding in findings:
        if detail := _detail(finding):
            lines += [f"- {pipe(finding.claim.text)}", *(f"  - {pipe(d)}" for d in detail)]
    return "\n".join([*lines, ""])


def latex(title: str, findings: Sequence[Finding]) -> str:
    """A booktabs table."""
    lines = [r"\begin{table}", r"\centering\small", f"\\caption{{{tex(title)}: claims}}",
             f"\\begin{{tabular}}{{p{{5cm}}{'l' * (len(HEADS) - 1)}}}", r"\toprule",
             " & ".join(map(tex, HEADS)) + r" \\", r"\midrule"]  # fmt: skip
    lines += [" & ".join(map(tex, line(f))) + r" \\" for f in findings]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", f"\\par\\footnotesize {tex(NOTE)}", r"\end{table}", ""])


def comma(title: str, findings: Sequence[Finding]) -> str:
    """One line for every comparison, numbers in full."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["claim", "verdict", "comparison", "difference", "low", "high", "n", "p", "p_flip", "claim_p",
                     "holm_p", "remark"])  # fmt: skip
    for f in findings:
        for part, c in f.parts:
            d = c.difference if c else None
            compared = [d.mean, d.low, d.high, d.n, c.p, c.p_flip] if c and d else [None] * 6
            numbers = ["" if v is None else repr(v) for v in (*compared, f.p, f.adjusted)]
            writer.writerow([f.claim.text, f.verdict, str(part), *numbers, f.why])
    return out.getvalue()


def page(title: str, findings: Sequence[Finding]) -> str:
    """An HTML page with one table, all text escaped."""
    heads = "".join(f"<th>{html.escape(head)}</th>" for head in HEADS)
    body = ""
    for finding in findings:
        first, verdict, *others = line(finding)
        items = "".join(f"<li>{html.escape(d)}</li>" for d in _detail(finding))
        cells = "".join(f"<td>{html.escape(text)}</td>" for text in (verdict, *others))
        below = f"<ul>{items}</ul>" if items else ""
        body += f'<tr class="{verdict.replace(" ", "-")}"><td>{html.escape(first)}{below}</td>{cells}</tr>\n'
    caption = f"<figcaption>{html.escape(title)}: claims</figcaption>"
    return document(
        f"{title}: claims",
        f'<figure class="claims">{caption}\n<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}</tbody>\n'
        f"</table>\n<p>{html.escape(NOTE)}</p>\n</figure>\n",
    )


FORMATS: Mapping[str, Callable[[str, Sequence[Finding]], str]] = {
    "terminal": terminal, "markdown": markdown, "latex": latex, "csv": comma, "html": page,
}  # fmt: skip
