"""Where a network can be cut, as a table and as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from splitpriv.nets.cuts import Cut
from splitpriv.report.terminal import console
from splitpriv.types import Shape


def print_cuts(places: Sequence[Cut], words: Mapping[str, str], image: Shape, title: str) -> None:
    """One line per cut; `words` maps shallow, middle and deep to names."""
    out = console()
    if not places:
        out.print(f"{escape(title)}: no cut but the raw image, split.at=0")
        return
    table = Table(title=escape(title), title_justify="left", pad_edge=False)
    for column in ("at", "behind", "release", "bytes", "of the image", "parameters", "MACs", "of all"):
        table.add_column(column, justify="left" if column in ("behind", "release") else "right")
    for number, cut in enumerate(places, 1):
        said = ", ".join(word for word, name in words.items() if name == cut.name)
        behind = f"{cut.name} ({said})" if said else cut.name
        table.add_row(
            str(number), escape(behind), "x".join(map(str, cut.shape)), f"{cut.release_bytes:,}",
            f"{cut.release_bytes / prod(image):.2f}", f"{cut.parameters:,}", _count(cut.macs),
            f"{cut.macs / cut.total:.0%}" if cut.total else "",
        )  # fmt: skip
    out.print(table)
    smallest = min(places, key=lambda cut: cut.release_bytes)
    out.print(f"{len(places)} cuts; the smallest release is {smallest.release_bytes:,} bytes, behind "
              f"{escape(smallest.name)}; bytes of the image are those of 8 bits a value")  # fmt: skip


def _count(macs: float) -> str:
    return f"{macs / 1e9:,.2f} G" if macs >= 1e9 else f"{macs / 1e6:,.2f} M"


def draw(places: Sequence[Cut], words: Mapping[str, str], image: Shape, title: str, out: Path) -> None:
    """Bytes of the release against depth, and beneath them what the edge holds and computes of the whole."""
    import matplotlib.pyplot as plt

    from splitpriv.report.curves import COLOURS  # which chooses a backend without a screen

    figure, (above, below) = plt.subplots(2, 1, figsize=(max(7, 0.22 * len(places)), 7), sharex=True,
                                          layout="constrained")  # fmt: skip
    depth = range(1, len(places) + 1)
    above.set_title(title)
    above.bar(depth, [cut.release_bytes for cut in places], color=COLOURS[0])
    above.axhline(prod(image), color=COLOURS[3], linestyle="--", label="the image, 8 bits a value")
    above.set_yscale("log")
    above.set_ylabel("bytes of the release")
    above.legend(fontsize="small")
    most = max(cut.parameters for cut in places) or 1
    below.plot(
        depth, [cut.macs / (cut.total or 1) for cut in places], "o-", ms=3, color=COLOURS[2], label="MACs, of all"
    )
    below.plot(depth, [cut.parameters / most for cut in places], "s-", ms=3, color=COLOURS[1],
               label=f"parameters, of {most:,} before the last cut")  # fmt: skip
    below.set_ylabel("share on the edge")
    below.legend(fontsize="small")
    for word, name in words.items():
        at = [i for i, cut in enumerate(places, 1) if cut.name == name]
        for axes in (above, below) if at else ():
            axes.axvline(at[0], color="0.6", linewidth=0.8, zorder=0)
        if at:
            below.annotate(word, (at[0], 0.02), rotation=90, fontsize="small", va="bottom", ha="right")
    below.set_xticks(list(depth), [cut.name for cut in places], rotation=90, fontsize=6)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=130)
    plt.close(figure)
