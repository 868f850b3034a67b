"""Rows for people: tables on the terminal, CSV."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from splitpriv.store import Row, Store

if TYPE_CHECKING:
    from splitpriv.plan import Plan
    from splitpriv.store import State

METRICS = {"mse": ("MSE ↑", "{:.4f}"), "psnr": ("PSNR dB ↓", "{:.2f}"), "ssim": ("SSIM ↓", "{:.3f}"),
           "lpips": ("LPIPS ↑", "{:.3f}")}  # fmt: skip
COLOURS = {"cached": "green", "partial": "yellow", "failed": "red", "missing": "dim"}


def console() -> Console:
    """Wide enough for a table when the output is a file or a pipe."""
    return Console(width=None if sys.stdout.isatty() else 140, highlight=False)


def with_ceilings(rows: Sequence[Row], store: Store) -> list[Row]:
    """Rows with `ceiling/<attack>/<metric>` added where the undefended twin of a run is in the store."""
    out = []
    for row in rows:
        twin = store.row(row["ceiling"]) if row["ceiling"] != row["key"] else None
        found = {f"ceiling/{k[8:]}": v for k, v in twin.items() if k.startswith("privacy/")} if twin else {}
        out.append({**row, **found})
    return out


def print_row(row: Row, store: Store) -> None:
    """The short readable result of one run."""
    row = with_ceilings([row], store)[0]
    out = console()
    out.print(
        f"\n[bold]{row['chain']}[/]  {row['dataset']} · {row['backbone']} cut at {row['cut']} · seed {row['seed']} · "
        f"accuracy [bold]{row['utility/accuracy']:.2%}[/] · edge {row['cost/edge_parameters']:,.0f} parameters, "
        f"{row['cost/release_bytes']:,.0f} bytes released · key {row['key']}"
    )
    metrics = [m for m in METRICS if f"privacy/worst/{m}" in row]
    table = Table(box=None, pad_edge=False)
    table.add_column("reconstruction by")
    for metric in metrics:
        table.add_column(METRICS[metric][0], justify="right")
    names = attacks_of(row)
    lines = [(name, f"privacy/{name}") for name in names]
    lines += [("worst case per image", "privacy/worst")] if len(names) > 1 else []
    lines += [(f"{name}, undefended", f"ceiling/{name}") for name in [*names, "worst"]
              if f"ceiling/{name}/mse" in row and (name != "worst" or len(names) > 1)]  # fmt: skip
    lines += [("floor: mean image", "floor/mean_image"), ("floor: random image", "floor/random_image")]
    for label, prefix in lines:
        style = "dim" if label.startswith("floor") or label.endswith("undefended") else None
        cells = [METRICS[m][1].format(row[f"{prefix}/{m}"]) if f"{prefix}/{m}" in row else "" for m in metrics]
        table.add_row(label, *cells, style=style)
    out.print(table)
    for flag in row["flags"]:
        out.print(f"[yellow]! {flag}[/]", markup=True)
    for name in names:
        out.print(f"[dim]pictures: {store.root / row[f'picture/{name}']}[/]", soft_wrap=True)


def attacks_of(row: Row) -> list[str]:
    """The attacks of a row, in the order in which they were listed."""
    return [key.split("/")[1] for key in row if key.startswith("picture/")]


def print_rows(rows: Sequence[Row], store: Store) -> None:
    """Many runs, one line each; the arrows say which way is more private."""
    if not rows:
        console().print(f"no finished run under {store.root}; make one with: splitpriv run")
        return
    table = Table(pad_edge=False)
    for column in ("chain", "dataset", "backbone", "cut", "seed"):
        table.add_column(column)
    table.add_column("accuracy", justify="right")
    metrics = [m for m in METRICS if any(f"privacy/worst/{m}" in row for row in rows)]
    for metric in metrics:
        table.add_column(f"worst {METRICS[metric][0]}", justify="right")
    table.add_column("undef. MSE", justify="right")
    table.add_column("floor MSE", justify="right")
    for column in ("attacks", "flags", "key"):
        table.add_column(column)
    for row in rows:
        cells = [
            METRICS[m][1].format(row[f"privacy/worst/{m}"]) if f"privacy/worst/{m}" in row else "" for m in metrics
        ]
        ceiling = row.get("ceiling/worst/mse")
        table.add_row(
            row["chain"], row["dataset"], row["backbone"], str(row["cut"]), str(row["seed"]),
            f"{row['utility/accuracy']:.2%}", *cells, f"{ceiling:.4f}" if ceiling is not None else "",
            f"{row['floor/mean_image/mse']:.4f}", ",".join(attacks_of(row)), str(len(row["flags"]) or ""), row["key"],
        )  # fmt: skip
    console().print(table)


def print_csv(rows: Sequence[Row]) -> None:
    """Every key of every row; curves and other lists are left to the JSON."""
    plain = [{k: v for k, v in row.items() if not isinstance(v, list | dict) or k == "flags"} for row in rows]
    columns = list(dict.fromkeys(key for row in plain for key in row))
    writer = csv.DictWriter(sys.stdout, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: "; ".join(v) if isinstance(v, list) else v for k, v in row.items()} for row in plain)


def print_plan(chart: Plan, states: Sequence[tuple[str, str, State]], row: State) -> None:
    """The key and the state of every stage."""
    table = Table(box=None, pad_edge=False)
    for column in ("stage", "key", "state"):
        table.add_column(column)
    for label, key, state in [*states, ("row", chart.row, row)]:
        table.add_row(label, key, f"[{COLOURS[state]}]{state}[/]")
    console().print(table)
