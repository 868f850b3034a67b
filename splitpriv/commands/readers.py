"""Commands that read what is there: rows, curves, trackers, the dashboard, tables, data sets."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from splitpriv.dashboard import cli as dashboard_cli
from splitpriv.types import UserError


def _store(overrides: Sequence[str]) -> Any:
    from splitpriv import config
    from splitpriv.store import Store

    return Store(config.compose(overrides)["paths"]["outputs"])


def _filters(where: Sequence[str]) -> dict[str, str]:
    wrong = [f"--where {w}: is not key=value; write for example --where dataset=cifar10" for w in where if "=" not in w]
    if wrong:
        raise UserError(*wrong)
    keys = [w.split("=", 1)[0] for w in where]
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        raise UserError(*(f"--where {key}: is given twice; keep one" for key in twice))
    return dict(w.split("=", 1) for w in where)


def _matching(args: argparse.Namespace) -> tuple[list[dict[str, Any]], Any]:
    """The rows that `--where` keeps, judged, and their store; raise UserError for a key that no row has."""
    from splitpriv import config
    from splitpriv.report import terminal

    places = [word for word in args.where if word.startswith("paths.")]  # argparse cannot tell them from filters
    store = _store([*args.overrides, *places])
    wanted = _filters([word for word in args.where if word not in places])
    known = list(dict.fromkeys(key for row in store.rows() for key in row))
    if known and (wrong := [key for key in wanted if key not in known]):
        raise UserError(*(f"--where {key}: no row has this key; {config.nearest(key, known)}" for key in wrong))
    return terminal.judged(store.rows(wanted), store), store


def rows(args: argparse.Namespace) -> int:
    """Print finished runs as a table, CSV or JSON."""
    from splitpriv.report import terminal

    found, store = _matching(args)
    if args.format == "json":
        print(json.dumps(found, indent=1))
    elif args.format == "csv":
        terminal.print_csv(found)
    else:
        terminal.print_rows(found, store)
    return 0


def curve(args: argparse.Namespace) -> int:
    """Draw the privacy-utility picture of finished runs."""
    from splitpriv.report import curves, frontier

    found, store = _matching(args)
    if not found:
        raise UserError("curve: no finished run matches; make some with `splitpriv run`, or loosen --where")
    out = args.out or store.root / "curve.png"
    if out.suffix not in (".png", ".svg", ".pdf", ".json"):
        raise UserError(f"--out {out}: pictures are .png, .svg or .pdf, numbers .json; change its ending")
    reference = tuple(args.reference) if args.reference else None
    numbers = curves.draw(
        found, store, out, metric=args.metric, x=args.x, y=args.y, by=args.by, reference=reference
    )  # fmt: skip
    frontier.print_frontier(numbers)
    print(f"picture: {out}")
    return 0


def track(args: argparse.Namespace) -> int:
    """Record finished runs with the trackers of `track=[...]`, or compare them in one W&B run."""
    import tempfile

    from splitpriv import track
    from splitpriv.report import curves
    from splitpriv.run import prepare
    from splitpriv.targets import build

    overrides = list(args.overrides)
    args.overrides = [o for o in overrides if o.startswith("paths.")]
    cfg = prepare.from_overrides(overrides).cfg
    if not cfg["track"]:
        raise UserError("track: lists no tracker; add for example 'track=[wandb]'")
    found, store = _matching(args)
    if not found:
        raise UserError("track: no finished run matches; make some with `splitpriv run`, or loosen --where")
    if args.report:
        node = cfg["track"].get("wandb")
        if node is None:
            raise UserError("track: a report is a W&B run; add 'track=[wandb]'")
        home = store.root / "track" / "wandb"
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as scratch:
            picture = Path(scratch) / "curve.png"
            drawn = curves.draw(found, store, picture, metric=args.metric, x=args.x, y=args.y, by=args.by)
            print(f"report: {build(node, 'track.wandb')().report(found, home, picture, drawn, args.by)}")
        return 0
    if (args.x, args.y, args.metric, args.by) != (None, None, "mse", "chain"):
        raise UserError("--x, --y, --metric, --by: belong to a report; add --report")
    said = [line for row in found for line in track.record(row, cfg["track"], store)]
    if said:
        raise UserError(*said)
    return 0


def dashboard(args: argparse.Namespace) -> int:
    """Write or serve the page of finished runs and rendered tables."""
    return dashboard_cli.run(args, lambda: _matching(args), lambda: _rendered(args))


def _rendered(args: argparse.Namespace) -> list[dict[str, Any]]:
    """The tables that `splitpriv table show` left in the store."""
    places = [word for word in args.where if word.startswith("paths.")]
    folder = _store([*args.overrides, *places]).root / "tables"
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def data(args: argparse.Namespace) -> int:
    """List the data sets, or fetch or verify one."""
    from splitpriv import config
    from splitpriv.targets import build

    names = sorted(p.stem for p in (config.CONF / "dataset").glob("*.yaml"))
    overrides = [o for o in [args.name, *args.overrides] if o and "=" in o]
    name = args.name if args.name and "=" not in args.name else None
    if args.action == "list":
        for known in names:
            first = (config.CONF / "dataset" / f"{known}.yaml").read_text().splitlines()[0]
            print(f"{known:14} {first.lstrip('# ')}")
        return 0
    if name is None:
        raise UserError(f"data {args.action}: name a data set; there are {', '.join(names)}")
    cfg = config.compose([f"dataset={name}", *overrides])
    dataset = build(cfg["dataset"], "dataset")()
    root = Path(cfg["paths"]["data"])
    if args.action == "fetch":
        dataset.fetch(root)
    print(f"{name}: {dataset.verify(root)}")
    return 0
