"""`python -m benchmarks [NAME …]`: measure, write JSON, and the table that the documentation shows."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

from splitpriv import config  # noqa: F401  # before torchvision: it lets that import beside a CPU torch

# isort: split
import torch

from benchmarks import growing, images, published, runs, step
from benchmarks.paired import Result

BENCHES = {**step.BENCHES, **published.BENCHES, **images.BENCHES, **runs.BENCHES, **growing.BENCHES}
ROOT = Path(__file__).resolve().parents[1]
MARK = "<!-- benchmarks: made by `make bench` -->"


def machine() -> dict[str, str]:
    """What the figures depend on."""
    cpuinfo = Path("/proc/cpuinfo")
    names = (
        [line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        if cpuinfo.exists()
        else []
    )
    flags = cpuinfo.read_text() if cpuinfo.exists() else ""
    return {
        "processor": names[0] if names else platform.processor(), "cores": str(os.cpu_count()),
        "vectors": "AVX-512" if "avx512f" in flags else "AVX2", "bf16": str("avx512_bf16" in flags).lower(),
        "python": platform.python_version(), "torch": torch.__version__,
    }  # fmt: skip


def table(entries: dict[str, list[dict[str, Any]]], about: dict[str, str]) -> str:
    """The figures beside their bars, in Markdown."""
    lines = [MARK, "", ", ".join(f"{k} {v}" for k, v in about.items()) + "; fp32, one thread, CPU time.", "",
             "| what | figure | least … most | bar | |", "|---|---|---|---|---|"]  # fmt: skip
    for name in BENCHES:
        for e in entries.get(name, []):
            bar = "" if e["bar"] is None else f"{'≥' if e['least'] else '≤'} {e['bar']:g}"
            held = {True: "holds", False: "**missed**", None: ""}[e["holds"]]
            note = f" ({e['note']})" if e["note"] else ""
            figure = f"{e['figure']:.3g} {e['unit']} | {e['low']:.3g} … {e['high']:.3g}"
            lines.append(f"| {e['what']}{note} | {figure} | {bar} | {held} |")
    return "\n".join(lines) + "\n"


def draw(entries: list[dict[str, Any]], out: Path) -> None:
    """Cost over size, both beyond the smallest one and its cost, axes logarithmic; dashed: in proportion."""
    drawn = {e["what"].removeprefix("growth with ").partition(",")[0]: e for e in entries if e.get("points")}
    if not drawn or not out.parent.exists():
        return
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    figure = Figure(figsize=(3 * len(drawn), 2.8), layout="constrained")
    for axes, (name, entry) in zip(figure.subplots(1, len(drawn), squeeze=False)[0], drawn.items(), strict=True):
        (first, least), *rest = sorted((int(size), cost) for size, cost in entry["points"].items())
        more, cost = [size - first for size, _ in rest], [cost - least for _, cost in rest]
        axes.loglog(more, cost, marker="o")
        axes.loglog(more, [cost[0] * size / more[0] for size in more], linestyle="--", color="grey")
        axes.set_xticks(more, [f"{size:,}" for size in more])
        axes.set_yticks(cost, [f"{seconds:.2g}" for seconds in cost])
        for side in (axes.xaxis, axes.yaxis):
            side.set_minor_formatter(NullFormatter())
        axes.set(xlabel=f"{name}, beyond {first}", ylabel="CPU s more", title=f"slope {entry['figure']:.2f}")
    figure.savefig(out, dpi=110)


def main() -> None:
    """Run what is named, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHES)}")
    parser.add_argument("--quick", action="store_true", help="few turns and small sizes: to see that they run")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results.json")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "performance.md", help="whose table is replaced")
    args = parser.parse_args()
    if unknown := [name for name in args.names if name not in BENCHES]:
        parser.error(f"{', '.join(unknown)}: no such benchmark; choose of {', '.join(BENCHES)}")
    torch.set_num_threads(1)
    told = json.loads(args.out.read_text()) if args.out.exists() else {"results": {}}
    for name in args.names or BENCHES:
        began = time.monotonic()
        told["results"][name] = [_said(result) for result in BENCHES[name](args.quick)]
        told["machine"] = machine()
        args.out.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    draw(told["results"].get("growth", []), args.page.with_name("growth.png"))
    if args.page.exists():
        before, _, _ = args.page.read_text().partition(MARK)
        args.page.write_text(before + table(told["results"], told["machine"]))


def _said(result: Result) -> dict[str, Any]:
    entry = result.record()
    held = {True: "holds", False: "MISSED", None: ""}[result.holds]
    print(
        f"{result.what}: {result.figure:.4g} {result.unit} ({result.low:.4g} … {result.high:.4g}) {held} {result.note}",
        flush=True,
    )
    return entry


if __name__ == "__main__":
    main()
