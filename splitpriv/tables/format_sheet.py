"""A sheet as terminal text, Markdown, LaTeX (booktabs), CSV or HTML."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Callable, Mapping, Sequence

from splitpriv.tables.sheet import Sheet

LATEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
         "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
         "↑": r"$\uparrow$", "↓": r"$\downarrow$", "±": r"$\pm$", "−": "$-$", "×": r"$\times$", "λ": r"$\lambda$",
         "σ": r"$\sigma$", "β": r"$\beta$", "≥": r"$\geq$", "≤": r"$\leq$", "·": r"$\cdot$", "Δ": r"$\Delta$",
         "≈": r"$\approx$", "μ": r"$\mu$"}  # fmt: skip
STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2em; color: #111; background: #fff }
figure { margin: 0; overflow-x: auto }
figcaption { font-weight: bold; margin-bottom: .6em }
table { border-collapse: collapse; border-block: 2px solid }
thead { border-bottom: 1px solid }
th, td { padding: .25em .7em; text-align: right; white-space: nowrap; vertical-align: top }
th:first-child, .claims th, .claims td { text-align: left }
.claims td { white-space: normal }
ul, dl { max-width: 70em; color: #444 }
dt { float: left; width: 2em; clear: left }
"""
LAST = ("n", "verdict", "flags")  # columns
HEADS = ("row", "column", "play", "key", "mean", "low", "high", "n", "printed", "difference", "state", "seeds",
         *LAST[1:])  # fmt: skip


def terminal(sheet: Sheet) -> str:
    """A terminal table: printed and difference below ours."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from splitpriv.report.terminal import console

    table = Table(title=escape(sheet.title), title_justify="left", pad_edge=False)
    table.add_column("row", overflow="fold")
    for head in sheet.heads:
        table.add_column(escape(head), justify="right")
    table.add_column("n", justify="right")
    table.add_column("verdict")
    table.add_column("flags", overflow="fold")
    for row, verdict, marks, texts, n in sheet.lines:
        cells = []
        for text, keyed in zip(texts, sheet.keyed, strict=True):
            below = " ".join(part for part in (text.printed, text.difference) if part)
            ours = f"[dim]{escape(text.ours)}[/]" if not text.n else f"[bold]{escape(text.ours)}[/]"
            cells.append((f"{ours}\n[dim]{below}[/]" if below else ours) if keyed else f"[dim]{text.printed}[/]")
        table.add_row(escape(row), *cells, n, verdict, marks)
    shown = console()
    wide = max(shown.width, Console(width=10_000).measure(table).maximum) if not shown.is_terminal else shown.width
    out = Console(width=min(wide, 400), highlight=False, force_terminal=shown.is_terminal, file=io.StringIO())
    out.print(table)
    out.print("[dim]below ours: printed, and ours less printed[/]")
    for note in sheet.notes():
        out.print(f"[dim]{escape(note)}[/]", soft_wrap=True)
    for flag, letter in sheet.legend.items():
        out.print(f"[yellow]{letter}[/] {escape(flag)}", soft_wrap=True)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


def markdown(sheet: Sheet) -> str:
    """A GitHub table with footnotes as a list."""
    heads, rows = sheet.flat()
    clean = [[pipe(cell) for cell in row] for row in [heads, *rows]]
    rule = ["---", *["---:"] * (len(heads) - 3), "---", "---"]
    lines = [f"| {' | '.join(row)} |" for row in [clean[0], rule, *clean[1:]]]
    notes = [*map(pipe, sheet.notes()), *(f"**{letter}** {pipe(flag)}" for flag, letter in sheet.legend.items())]
    return "\n".join([f"### {pipe(sheet.title)}", "", *lines, "", *(f"- {note}" for note in notes), ""])


def pipe(text: str) -> str:
    """Text for a cell of a Markdown table."""
    for special in "\\|*_`<>[]":
        text = text.replace(special, f"\\{special}")
    return " ".join(text.split())


def latex(sheet: Sheet) -> str:
    """A booktabs table; needs the packages booktabs and, for its notes, nothing else."""
    groups: list[tuple[str, int]] = []
    for head, keyed, wide in zip(sheet.heads, sheet.keyed, sheet.wide, strict=True):
        groups.append((tex(head), 3 if keyed and wide else 1))
    total = sum(width for _, width in groups)
    first = " & ".join(f"\\multicolumn{{{width}}}{{c}}{{{head}}}" for head, width in groups)
    rules, at = "", 2
    for _, width in groups:
        rules += f"\\cmidrule(lr){{{at}-{at + width - 1}}}"
        at += width
    second = " & ".join(
        "ours & printed & $\\Delta$" if w == 3 else "ours" if k else "printed"
        for (_, w), k in zip(groups, sheet.keyed, strict=True)
    )
    body = [" & ".join(tex(cell) for cell in row) + r" \\" for row in sheet.flat()[1]]
    notes = [*sheet.notes(), *(f"{letter}: {flag}" for flag, letter in sheet.legend.items())]
    lines = [
        r"\begin{table}", r"\centering\small", f"\\caption{{{tex(sheet.title)}}}",
        f"\\begin{{tabular}}{{l{'r' * total}rll}}",
        r"\toprule", f" & {first} & & & \\\\", rules, f"row & {second} & n & verdict & flags \\\\", r"\midrule", *body,
        r"\bottomrule", r"\end{tabular}", r"\par\smallskip\footnotesize\raggedright",
        *(f"{tex(note)}\\\\" for note in notes), r"\end{table}", "",
    ]  # fmt: skip
    return "\n".join(lines)


def tex(text: str) -> str:
    """Text for LaTeX."""
    return "".join(LATEX.get(letter, letter) for letter in text)


def comma(sheet: Sheet) -> str:
    """One line for every entry, numbers in full."""
    results, out = sheet.results, io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADS)
    for row in results.rows:
        for name, column in sheet.columns:
            entry = results.entries[row, name]
            estimate = entry.estimate
            numbers = [estimate.mean, estimate.low, estimate.high, estimate.n] if estimate else [None] * 4
            shown = [*numbers, entry.printed, entry.difference]
            seeds = " ".join(f"{seed}:{value:.6g}" for seed, value in entry.seeds.items())
            writer.writerow([
                row, name, results.table.play_of(name) if column.key else "", column.key or "",
                *("" if v is None else repr(v) for v in shown), entry.state if not estimate else entry.remark, seeds,
                results.verdicts.get(row, ""), "; ".join(results.flags.get(row, [])),
            ])  # fmt: skip
    return out.getvalue()


def page(sheet: Sheet) -> str:
    """An HTML page with one table and its notes, all text escaped."""
    spans = [3 if k and w else 1 for k, w in zip(sheet.keyed, sheet.wide, strict=True)]
    first = "".join(f'<th colspan="{s}">{html.escape(h)}</th>' for h, s in zip(sheet.heads, spans, strict=True))
    second = "".join(
        "<th>ours</th><th>printed</th><th>Δ</th>" if s == 3 else "<th>ours</th>" if k else "<th>printed</th>"
        for s, k in zip(spans, sheet.keyed, strict=True)
    )
    body = "".join(_row(row) for row in sheet.flat()[1])
    notes = "".join(f"<li>{html.escape(note)}</li>\n" for note in sheet.notes())
    flags = "".join(f"<dt>{letter}</dt><dd>{html.escape(flag)}</dd>\n" for flag, letter in sheet.legend.items())
    return document(
        sheet.title,
        f'<figure class="paper-table"><figcaption>{html.escape(sheet.title)}</figcaption>\n<table>\n<thead>\n'
        f"<tr><th rowspan=2>row</th>{first}{''.join(f'<th rowspan=2>{head}</th>' for head in LAST)}</tr>\n"
        f"<tr>{second}</tr>\n"
        f"</thead>\n<tbody>\n{body}</tbody>\n</table>\n<ul>\n{notes}</ul>\n<dl>\n{flags}</dl>\n</figure>\n",
    )


def document(title: str, body: str) -> str:
    """A small page around `body`, which is HTML already."""
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{html.escape(title)}</title>\n'
        f"<style>{STYLE}</style></head>\n<body>\n{body}</body>\n</html>\n"
    )


def _row(cells: Sequence[str]) -> str:
    first, *others = map(html.escape, cells)
    return f"<tr><th scope=row>{first}</th>{''.join(f'<td>{cell}</td>' for cell in others)}</tr>\n"


FORMATS: Mapping[str, Callable[[Sheet], str]] = {
    "terminal": terminal, "markdown": markdown, "latex": latex, "csv": comma, "html": page,
}  # fmt: skip
