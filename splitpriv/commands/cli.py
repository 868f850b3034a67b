"""The commands. torch is imported only by those that compute, so that help answers at once."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from splitpriv import __version__, overrides, stop
from splitpriv.commands import (
    arguments,
    audit,
    board,
    card,
    completion,
    curve,
    cuts,
    dashboard,
    data,
    export,
    hub,
    init,
    notes,
    plugin,
    rows,
    store,
    sweep,
    track,
    tune,
)
from splitpriv.launch import streams
from splitpriv.launch.running import complain, problems_of
from splitpriv.store import say
from splitpriv.studies import STUDIES
from splitpriv.tables import cli as tables
from splitpriv.types import UserError

if TYPE_CHECKING:
    from splitpriv.run.plan import Planned

EXAMPLES = """examples:
  splitpriv run                                          the default: shipped images, tiny network, no defence
  splitpriv run 'defense=[cem,noise]' defense.noise.sigma=0.05 'attack=[decoder,rmle]' seed=1
  splitpriv run -m 'defense=[none],[noise],[cem,noise]' seed=0,1,2       a sweep, one run after the other
  splitpriv run -m hydra/launcher=joblib seed=0,1,2,3                    the same in parallel processes
  splitpriv check dataset=cifar10 backbone=vgg11                         validate; say what is cached; train nothing
  splitpriv check -m 'defense=[none],[noise]' defense.noise.sigma=0.1    the same of every point of a sweep
  splitpriv rows --where dataset=cifar10 --format csv                    every finished run
  splitpriv table run cem_table1 --scale smoke           complete a paper's table; then: table show|diff
  splitpriv data verify cifar10                                          is the data there, and whole?
  splitpriv data describe my/images                                      what is read of it, and what is not
"""


HYDRAS = {"--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn"}  # where Hydra's own commands look


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        "splitpriv", description="Run, attack and compare defences of split inference.", epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    top.add_argument("--version", action="version", version=f"splitpriv {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="train, defend, attack, measure and record one run, or with -m a sweep")
    run.add_argument("-m", "--multirun", action="store_true", help="sweep over comma-separated values")
    run.add_argument("--fail-fast", action="store_true", help="with -m: the first point that fails cancels the others")
    check = commands.add_parser("check", help="validate, print keys and what is cached; train nothing")
    for name, (text, _) in STUDIES.items():
        study = commands.add_parser(name, help=text)
        study.add_argument("overrides", nargs="*", metavar="OPTION or key=value", help=f"options of conf/{name}")
    check.add_argument("-m", "--multirun", action="store_true", help="every point of a sweep: what is cached")
    for command in (run, check):
        command.add_argument("overrides", nargs="*", metavar="key=value", help="Hydra overrides of conf/")

    for module in (
        audit,
        rows,
        curve,
        cuts,
        sweep,
        tune,
        track,
        dashboard,
        board,
        tables,
        data,
        store,
        export,
        card,
        hub,
        notes,
        plugin,
        init,
        completion,
    ):
        module.add(commands)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 on success, 2 for a user's mistake, 1 for anything else.

    A full disk or a full standard output is a user's mistake, too; a signal gives 128 and its number (130 Ctrl-C, 143
    SIGTERM, 129 SIGHUP, 138 SIGUSR1).
    """
    streams.ready()
    top = parser()
    completion.answer(top)
    args, rest = top.parse_known_args(argv)  # argparse leaves overrides that follow an option to us
    if wrong := [r for r in rest if r.startswith("-")]:
        if HYDRAS & {word.partition("=")[0] for word in wrong}:
            told = "options of your own come with a plug-in, a folder that holds conf/<group>/<option>.yaml"
            return complain([f"{wrong[0].partition('=')[0]}: {told}; write plugins=[FOLDER]"])
        if args.command in ("run", "check") and all("=" in word for word in wrong):
            return complain(overrides.parse(word)[1] for word in wrong)
        top.error(f"unrecognized arguments: {' '.join(wrong)}")
    args.overrides += rest
    code = 0
    try:
        with nullcontext() if args.command == "dashboard" else stop.signals(), streams.shown():
            arguments.require_places(args)
            arguments.require_out(args)
            code = int(COMMANDS[args.command](args) or 0)
        return code or 2 * streams.lost()
    except (KeyboardInterrupt, stop.Stopped) as asked:
        name, code = (asked.name, asked.code) if isinstance(asked, stop.Stopped) else ("SIGINT", 130)
        words = sys.argv[1:] if argv is None else argv
        say(f"stopped by {name}; this continues where it stopped: {shlex.join(['splitpriv', *words])}")
        return code
    except Exception as error:
        problems = problems_of(error)
        if not problems:
            raise
        return complain(problems)


# ---- run and check -------------------------------------------------------------------------------------------------


def run(args: argparse.Namespace) -> int:
    """One run, or a sweep whose every point is checked before the first starts."""
    from splitpriv.launch.running import point

    if args.multirun:
        return multirun(args.overrides, args.fail_fast)
    if args.fail_fast:
        raise UserError("--fail-fast: is for sweeps; add -m, or leave it out")
    point(_single(args.overrides))
    return 0


def _single(words: Sequence[str]) -> Planned:
    """One run, checked; what several words say of one key is told."""
    from splitpriv.run import known

    for line in overrides.last_of(words)[1]:
        say(line)
    for word in words:
        if overrides.is_hydra(word):
            raise UserError(f"{overrides.key_of(word)}: is for sweeps; add -m, or leave it out")
    return known.planned(words)


def multirun(words: Sequence[str], fail_fast: bool = False) -> int:
    """Check all points, then hand them to Hydra's launcher; points that fail do not stop the others."""
    from splitpriv.launch import points, search, sweeping

    if points.searches(words):
        failed = search.run(words, _stamped)
    else:
        runs, notes = points.checked(words)
        for line in notes:
            say(line)
        failed = sweeping.launch(runs, words, _stamped(runs[0].prepared), fail_fast=fail_fast)
    return complain(failed) if failed else 0


def _stamped(prepared: Planned) -> Path:
    """The folder of a sweep that starts now."""
    from splitpriv.launch import folder
    from splitpriv.store import Store

    return folder.fresh(Store(prepared.cfg["paths"]["outputs"]).root)


def check(args: argparse.Namespace) -> int:
    """Print the key and the state of every stage, or with -m those of every point of a sweep."""
    from splitpriv.launch import points, search
    from splitpriv.report import preview, terminal
    from splitpriv.run.plan import preview as states_of
    from splitpriv.store import Store

    if args.multirun and not points.searches(args.overrides):
        runs, notes = points.checked(args.overrides)
        for line in notes:
            say(line)
        preview.print_sweep({str(point): point.prepared for point in runs})
        return 0
    prepared = search.checked(args.overrides)[0] if args.multirun else _single(args.overrides)
    states, row = states_of(prepared, Store(prepared.cfg["paths"]["outputs"]))
    prepared.say_reading()
    terminal.print_plan(states, prepared.plan.row, row)
    return 0


def study(args: argparse.Namespace) -> int:
    """What no run answers."""
    from splitpriv.studies import base

    base.run(args.command, args.overrides)
    return 0


COMMANDS = {
    "run": run, "check": check, "audit": audit.run,
    "rows": rows.run, "curve": curve.run, "track": track.run, "dashboard": dashboard.run, "board": board.run,
    "data": data.run, "table": tables.table, **dict.fromkeys(STUDIES, study),
    "store": store.run, "sweep": sweep.run, "tune": tune.run, "export": export.run, "note": notes.run,
    "tag": notes.run, "plugin": plugin.run, "card": card.run, "cuts": cuts.run, "init": init.run, "push": hub.push,
    "pull": hub.pull, "completion": completion.run,
}  # fmt: skip
