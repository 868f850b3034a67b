"""Sweeps: Hydra expands the overrides and launches the points, in turn or through any of its launchers."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from splitpriv.config import CONF, resolve
from splitpriv.store import write_atomic
from splitpriv.types import UserError


def points(overrides: Sequence[str]) -> list[list[str]]:
    """The overrides of every point of a sweep, as Hydra's basic sweeper would expand them."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        raise UserError(f"overrides: {str(error).splitlines()[0]}; quote lists and sweeps for the shell") from error
    if any(o.key_or_group == "hydra/sweeper" for o in parsed):  # such a sweeper picks its points while it runs
        return [[o.input_line for o in parsed if not o.is_sweep_override() and o.input_line]]
    jobs = BasicSweeper.split_arguments(parsed, max_batch_size=None)[0]
    return [list(job) for job in jobs]


def launch(overrides: Sequence[str], folder: Path) -> list[str]:
    """Run every point, with Hydra's bookkeeping in `folder`; return the problems of those that failed."""
    import hydra

    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come back to us instead of being printed by Hydra
    arguments = sys.argv
    quoted = str(folder).replace("'", r"\'")  # spaces, commas and brackets mean something to Hydra
    sys.argv = ["splitpriv", "-m", f"hydra.sweep.dir='{quoted}'", *overrides]
    try:
        hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")(task)()
    finally:
        sys.argv = arguments
    return [problem for path in sorted(folder.glob("*/failed.json")) for problem in json.loads(path.read_text())]


def task(composed: Any) -> None:
    """One point of a sweep, in any process of the launcher; done.json names its row, failed.json the problems."""
    from hydra.core.hydra_config import HydraConfig

    from splitpriv import cli

    job = HydraConfig.get()
    try:
        row = cli.point(resolve(composed, job.runtime.choices), wait=False)
        write_atomic(Path(job.runtime.output_dir) / "done.json", json.dumps({"key": row["key"]}))
    except Exception as error:
        problems = cli.problems_of(error) or traceback.format_exc().splitlines()
        label = " ".join(job.overrides.task)
        write_atomic(Path(job.runtime.output_dir) / "failed.json", json.dumps([f"[{label}] {p}" for p in problems]))
