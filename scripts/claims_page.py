"""Put the table of all claims into docs/reproduction.md anew, from the committed rows of scale fast; attacks nothing.

python scripts/claims_page.py
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from matrix_tables import ROOT, grid, weave

from splitpriv.store import Store
from splitpriv.tables import cells, claims, format_claims, results, shipped

PAGE = ROOT / "docs/reproduction.md"
SCALE = "fast"
PAPERS = ("cem", "patrol", "cloak", "mid", "he2019")


def judged(name: str, root: Path = ROOT) -> Iterator[list[str]]:
    """The claims of one table: what is printed, what the committed rows say, and the verdict."""
    table, folder = shipped.load(name), root / f"results/{name}_{SCALE}"
    listed: list[cells.Cell] = []
    if folder.is_dir():
        listed = cells.expand(table, SCALE, cells.Extra.of([f"paths.outputs={folder}"]), [])
        cells.inspect(listed, Store(folder))
    told = results.gather(table, listed, cells.rows_of(listed, Store(folder)) if listed else {})
    for finding in claims.judge(told):
        _, verdict, difference, interval, n, _, p, why = format_claims.line(finding)
        ours = f"{difference} {interval}".strip() + (f", Holm's p {p}" if p else "")
        reason = "not run" if verdict == "no data" else why
        yield [f"`{name}`", finding.claim.text, finding.claim.printed or "its sign", ours, n, verdict, reason]


def woven(page: str) -> str:
    """The page with its table as the committed rows have it."""
    names = [name for name in shipped.names() if name.startswith(PAPERS) and shipped.load(name).claims]
    lines = [[cell.replace("|", "\\|") for cell in line] for name in names for line in judged(name)]
    return weave(page, {"claims": grid(("table", "claim", "printed", "ours", "n", "verdict", "reason"), lines)})


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    PAGE.write_text(woven(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
