"""What a sweep would do: its points, and the stages that are still to be made."""

from __future__ import annotations

from collections.abc import Mapping

from rich.markup import escape
from rich.table import Table

from splitpriv.report.terminal import COLOURS, console
from splitpriv.run.plan import Planned, preview
from splitpriv.store import Store


def print_sweep(points: Mapping[str, Planned]) -> None:
    """A line for each point: its row's key, how many of its stages are cached, and what it would make first.

    Stages that several points share are made by the first of them, and counted there.
    """
    table = Table(box=None, pad_edge=False)
    for column in ("point", "row", "state", "stages cached", "to make"):
        table.add_column(column, overflow="fold")
    seen: set[tuple[str, str]] = set()
    todo: dict[str, int] = {}
    cached = 0
    for name, prepared in points.items():
        states, row = preview(prepared, Store(prepared.cfg["paths"]["outputs"]))
        kept = sum(state == "cached" for _, state in states)
        new = [stage for stage, state in states if state != "cached" and (stage.kind, stage.key) not in seen]
        if row == "cached":
            cached, new = cached + 1, []
        seen.update((stage.kind, stage.key) for stage in new)
        for stage in new:
            todo[stage.kind] = todo.get(stage.kind, 0) + 1
        made = ", ".join(str(stage) for stage in new)
        table.add_row(escape(name), prepared.plan.row, f"[{COLOURS[row]}]{row}[/]", f"{kept} of {len(states)}", made)
    console().print(table)
    work = ", ".join(f"{count} x {kind}" for kind, count in todo.items()) or "nothing"
    print(f"{len(points)} points: {cached} cached, {len(points) - cached} to run; to make: {work}")
    print(f"cost: {_epochs(points, seen)}")


def _epochs(points: Mapping[str, Planned], todo: set[tuple[str, str]]) -> str:
    """The length of all trainings that are to be made, each counted once."""
    fits: dict[str, float] = {}
    attacks: dict[str, str] = {}
    for prepared in points.values():
        for phase, key in zip(prepared.plan.phases, prepared.plan.fits, strict=True):
            if ("fit", key) in todo:
                fits[key] = phase.epochs or prepared.cfg["optim"]["epochs"]
        for name, key in prepared.plan.attacks.items():
            if ("attack", key) in todo:
                node = prepared.cfg["attack"][name]
                attacks[key] = next((f"{node[unit]} {unit}" for unit in ("epochs", "steps") if unit in node), "")
    lengths: dict[str, int] = {}
    for length in filter(None, attacks.values()):
        count, unit = length.split()
        lengths[unit] = lengths.get(unit, 0) + int(count)
    told = "".join(f", {count:,} {unit} of attacks at most" for unit, count in lengths.items())
    return f"{sum(fits.values()):,g} epochs of training{told}"
