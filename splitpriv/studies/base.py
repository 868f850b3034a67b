"""What studies share: the command, a config group composed and checked like the rest, the frame of a row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from rich.table import Table

from splitpriv import config, metrics
from splitpriv.config import Config
from splitpriv.report.terminal import console
from splitpriv.store import Row, Store
from splitpriv.studies import STUDIES
from splitpriv.targets import build
from splitpriv.types import UserError, blame


class Study:
    """What an option of a study's group builds.

    `columns`: the entries of its rows that the terminal shows, and their headings; those that no row has are left out.
    """

    columns: ClassVar[Mapping[str, str]]

    def rows(self, node: Config, cfg: Config, store: Store) -> Iterable[Row]:
        """Its rows, made and put into the store unless they are there. `node` holds its settings, `cfg` the rest."""
        raise NotImplementedError

    def title(self, row: Row) -> str:
        """What all its rows have in common, in a line."""
        raise NotImplementedError


def run(name: str, words: Sequence[str]) -> list[Row]:
    """`splitpriv NAME [OPTION ...] key=value ...`: print and return the rows of these options of conf/NAME."""
    overrides = [w for w in words if "=" in w]
    shown = []
    for option in [w for w in words if "=" not in w] or STUDIES[name][1]:
        study, node, cfg = compose(name, option, overrides)
        rows = list(study.rows(node, cfg, Store(cfg["paths"]["outputs"])))
        show(study, rows)
        shown += rows
    return shown


def compose(name: str, option: str, overrides: Sequence[str]) -> tuple[Study, Config, Config]:
    """What `conf/<name>/<option>.yaml` builds, its node, and the config of the run around it without that group."""
    try:
        cfg = config.compose([f"+{name}={option}", *overrides])
    except config.RefusedError as error:
        from splitpriv.run.prepare import check  # with all that trains networks

        problems = [
            *error.problems,
            *(p for p in check(error.rest) if not error.follows(p)),
        ]  # the run itself does not know the group
        raise UserError(*(p for p in problems if not p.startswith(f"{name}: no such key here"))) from error
    node = cfg.pop(name)
    cfg["choices"].pop(name)
    with blame(name):
        return build(node, name)(), node, cfg


def row(study: str, key: str, **entries: Any) -> Row:
    """The flat record of one result, with what every reader asks a row for."""
    from splitpriv.run.row import provenance  # with all that trains networks

    return {"key": key, "study": study, "attack_seed": 0, "fit": [], "stages": [], "trajectory": [], "flags": [],
            **entries, **provenance()}  # fmt: skip


def show(study: Study, rows: Sequence[Row]) -> None:
    """One line per row: every number with half its 95 % interval, where it has one."""
    grid = Table(title=study.title(rows[0]), title_justify="left", pad_edge=False)
    keys = [key for key in study.columns if any(key in row for row in rows)]
    for key in keys:
        grid.add_column(study.columns[key], justify="right")
    for row in rows:
        grid.add_row(*(_cell(row, key) for key in keys))
    console().print(grid)


def _cell(row: Row, key: str) -> str:
    value, metric, half = row.get(key), metrics.find(key), row.get(f"interval/{key}")
    if metric is None or value is None:
        return "" if value is None else str(value)
    return metric.text(value) if half is None else f"{metric.text(value)} ± {metric.text(half)}"
