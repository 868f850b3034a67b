"""From rows to one HTML file: `collect` makes plain data of them, `page` puts it into a page without a network."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from splitpriv import __version__, plain
from splitpriv.dashboard import thumbs
from splitpriv.dashboard.facts import facts
from splitpriv.dashboard.status import status
from splitpriv.heap import growing
from splitpriv.measure.verdict import doubts_of, verdict
from splitpriv.metrics import PRIVACY
from splitpriv.report.seeds import images
from splitpriv.report.terminal import attacks_of, scores_of
from splitpriv.report.worlds import among
from splitpriv.store import Row, Store

ASSETS = Path(__file__).parent / "assets"
SCRIPTS = ("core.js", "state.js", "query.js", "plot.js", "parts.js", "overview.js", "runs.js", "compare.js", "run.js",
           "tables.js", "status.js", "app.js")  # fmt: skip
VENDOR = ("plotly-basic.min.js", "htm-preact.min.js")
LEFT_OUT = 50  # files that are no rows, by name
LIMIT = 9_600_000  # bytes of a page
POINTS = 150  # of a curve; longer ones are thinned
BINS = 160  # of a histogram; the page joins them to about 40 over the range that it shows
SEEDS = ("seed", "attack_seed")
OTHER = {"key", "chain", "ceiling", "victims", "commit", "headline", "verdict", "way", "note"}  # no settings

Table = Mapping[str, Any]  # name, title, columns, rows, notes


# ---- data ----------------------------------------------------------------------------------------------------------


@growing()
def collect(rows: Sequence[Row], store: Store, tables: Iterable[Table] = ()) -> tuple[dict[str, Any], thumbs.Strips]:
    """What the page shows of these rows, as plain data, and the strips that it names.

    `tables` are already rendered: {name, title, columns: [text], rows: [[cell]], notes: [text]}.
    """
    strips = thumbs.Strips()
    root = os.path.realpath(store.root)
    measured = {row["key"]: _measured(row, store, root) for row in rows}
    edges = _edges(rows, measured)
    runs = [_run(row, measured[row["key"]], edges, strips, store) for row in rows]
    turns = Counter[tuple[str, int, int]]()
    for row, run, world in zip(rows, runs, among(rows), strict=True):
        run["world"] = world
        same = run["group"], row["seed"], row.get("attack_seed", 0)
        turns[same] += 1  # a second one is made of other weights or code: in no mean with the first
        run["group"] += f"-{turns[same]}" if turns[same] > 1 else ""
    wrong = store.read_rows()[1] if store.wrong is None else store.wrong
    data = {
        "version": __version__, "made": now(), "store": store.root.name, "left_out": sorted(wrong.items())[:LEFT_OUT],
        "runs": runs, "edges": {f"{d}/{m}": e for (d, m), e in edges.items()}, "facts": facts(),
        "tables": [_table(table) for table in tables],
    }  # fmt: skip
    return plain.strict(data), strips


def whole(rows: Sequence[Row], store: Store, tables: Iterable[Table] = ()) -> tuple[dict[str, Any], thumbs.Strips]:
    """The same with how far the store is: all that a page needs which no server refreshes."""
    data, strips = collect(rows, store, tables)
    return {**data, "status": plain.strict(status(store))}, strips


def now() -> str:
    """The time, for people and programs."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def group_of(row: Row) -> str:
    """A name for all runs of the same images that differ in their seeds alone."""
    config = [(k, row[k]) for k in _settings(tuple(row)) if "." in k or is_setting(k, row[k])]
    return hashlib.sha256(repr((row.get("chain"), config, images(row))).encode()).hexdigest()[:10]


@lru_cache(maxsize=512)
def _settings(keys: tuple[str, ...]) -> tuple[str, ...]:
    """Those that may be: thousands of rows have the same keys."""
    return tuple(sorted(key for key in keys if "/" not in key and key not in SEEDS))


def is_setting(key: str, value: Any) -> bool:
    """Whether an entry at the top of a row says how the run was made."""
    return key not in OTHER and not isinstance(value, list | dict)


def _measured(row: Row, store: Store, root: str) -> dict[str, dict[str, Any]]:
    """What the measure stages of a row hold, by attack; a row without its stages, or with a foreign path, has none."""
    homes = {name: f"{store.root}/{path}".rpartition("/")[0] for name, path in scores_of(row).items()}
    inside = {n: h for n, h in homes.items() if os.path.realpath(h).startswith(f"{root}{os.sep}")}
    stages = {name: thumbs.measured(Path(home)) for name, home in inside.items()}
    return {name: stage for name, stage in stages.items() if stage}


def _edges(rows: Sequence[Row], measured: Mapping[str, Mapping[str, Any]]) -> dict[tuple[str, str], list[float]]:
    """One range of histograms per data set and metric, so that they can be laid over one another."""
    ends: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        for stage in measured[row["key"]].values():
            for metric, values in stage["scores"].items():
                kept = values[np.isfinite(values)]
                if len(kept):
                    low, high = np.quantile(kept, [0.005, 0.995])
                    span = ends.setdefault((str(row.get("dataset", "")), metric), [low, high])
                    span[0], span[1] = min(span[0], low), max(span[1], high)
    shares = {k: [0.0, 1.0] for k in ends if k[1] in PRIVACY and PRIVACY[k[1]].digits == "%"}
    return {k: [float(lo), float(hi if hi > lo else lo + 1e-6)] for k, (lo, hi) in {**ends, **shares}.items()}


def _run(row: Row, measured: Mapping[str, Any], edges: Mapping[Any, list[float]], strips: thumbs.Strips,
         store: Store) -> dict[str, Any]:  # fmt: skip
    attacks: dict[str, Any] = {}
    for name, stage in measured.items():
        shown: dict[str, Any] = {"scores": {}}
        for metric, values in stage["scores"].items():
            span = edges.get((str(row.get("dataset", "")), metric))
            if span:
                bins = 2 if metric in PRIVACY and PRIVACY[metric].yes_no else BINS
                shown["scores"][metric] = _histogram(values[np.isfinite(values)], span, bins)
        for part in ("fixed", "extremes"):
            if tiles := stage.get(part):
                shown[part] = {k: strips.add(v) if k in ("x", "images") else v for k, v in tiles.items()}
                if "x" in tiles:
                    shown[part]["size"] = list(tiles["x"].shape[1:3])
        if "fixed" in shown:
            shown["fixed"]["who"] = [thumbs.digest(tile)[:8] for tile in stage["fixed"]["x"]]
        attacks[name] = shown
    path = store.root / "rows" / f"{row['key']}.json"
    finished = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds") if path.exists() else ""
    curves = {k: _thin(list(range(1, len(row[k]) + 1)), row[k]) for k in _of_attacks(tuple(row)) if is_curve(k, row[k])}
    return {
        "row": plain.finite({**{k: v for k, v in row.items() if k not in curves and k != "trajectory"},
                "verdict": verdict(row), "flags": [flag.record() for flag in doubts_of(row)]}), "finished": finished,
        "group": group_of(row), "attacks": attacks_of(row),
        "shown": attacks, "curves": curves, "trajectory": _trajectory(row.get("trajectory") or []),
    }  # fmt: skip


@lru_cache(maxsize=512)
def _of_attacks(keys: tuple[str, ...]) -> tuple[str, ...]:
    """Those that may be curves."""
    return tuple(key for key in keys if key.startswith("attack/"))


def is_curve(key: str, value: Any) -> bool:
    """Whether an entry of a row is an attack's curve, and not a short list of settings."""
    return key.startswith("attack/") and isinstance(value, list) and len(value) > 1 and all(map(_is_number, value))


def _histogram(values: np.ndarray, span: list[float], bins: int) -> dict[str, Any]:
    """Counts in equal bins of `span`, the end bins holding what lies beyond, and quantiles."""
    counts, _ = np.histogram(values.clip(span[0], span[1]), bins, (span[0], span[1]))
    low, middle, high = np.quantile(values, [0.05, 0.5, 0.95]) if len(values) else (math.nan,) * 3
    return {"counts": counts.tolist(), "n": len(values), "low": low, "median": middle, "high": high}


def _trajectory(notes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A list of epochs as columns: curves over the epochs of all phases, and where each phase begins."""
    keys = dict.fromkeys(k for note in notes for k, v in note.items() if _is_number(v) and k != "epoch")
    starts = [(i, str(note.get("phase", ""))) for i, note in enumerate(notes)
              if i == 0 or note.get("phase") != notes[i - 1].get("phase")]  # fmt: skip
    curves = {}
    for key in keys:
        at = [i for i, note in enumerate(notes) if _is_number(note.get(key))]
        curves[key] = _thin([i + 1 for i in at], [notes[i][key] for i in at])
    return {"curves": curves, "phases": [{"at": i + 1, "name": name} for i, name in starts], "epochs": len(notes)}


def _thin(at: list[int], values: list[Any]) -> dict[str, Any]:
    """A curve of at most POINTS points, its ends among them, with five digits."""
    many = len(at)
    if many > POINTS:
        keep = sorted({round(i * (many - 1) / (POINTS - 1)) for i in range(POINTS)})
        at, values = [at[i] for i in keep], [values[i] for i in keep]
    return {"at": at, "y": [float(f"{value:.5g}") for value in values], "of": many}


def _table(table: Table) -> dict[str, Any]:
    cells = [[row.get(c, "") for c in table["columns"]] if isinstance(row, Mapping) else list(row)
             for row in table["rows"]]  # fmt: skip
    notes = table.get("notes") or []
    return {"name": str(table["name"]), "title": str(table.get("title") or table["name"]),
            "columns": [str(c) for c in table["columns"]], "rows": cells,
            "notes": [notes] if isinstance(notes, str) else [str(note) for note in notes]}  # fmt: skip


def _is_number(value: Any) -> bool:
    return type(value) is float or (isinstance(value, int | float) and not isinstance(value, bool))


# ---- page ----------------------------------------------------------------------------------------------------------


@cache
def scripts(names: tuple[str, ...] = SCRIPTS) -> tuple[tuple[str, str], ...]:
    """Every script of a page and its hash; the page runs these and nothing else."""
    vendor = [(ASSETS / "vendor" / name).read_text(encoding="utf-8") for name in VENDOR]
    own = "\n".join((ASSETS / name).read_text(encoding="utf-8") for name in names)
    codes = [*vendor, f'(() => {{\n"use strict";\n{own}\n}})();\n']
    return tuple((code, _hash(code)) for code in (code.replace("</script", "<\\/script") for code in codes))


def _hash(code: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()


def page(data: Mapping[str, Any] | None, strips: thumbs.Strips | None, limit: int = LIMIT) -> str:
    """One self-contained HTML file; without data a page that asks its own server for it, again and again."""
    if data is None or strips is None:
        return rendered("dashboard", SCRIPTS, "", {}, live=True)
    packed = pack(data)
    room = limit - len(rendered("dashboard", SCRIPTS, packed, {}).encode()) - 40 * len(strips.tiles)
    webps, smaller = strips.encode(int(0.74 * room))
    return rendered("dashboard", SCRIPTS, packed, webps, smaller)


def rendered(title: str, own: tuple[str, ...], packed: str, webps: Mapping[str, bytes], smaller: int = 0,
             live: bool = False) -> str:  # fmt: skip
    """The HTML of a page with these scripts of ours; `packed`: its data, as `pack` makes them; `webps`: its strips."""
    from jinja2 import Environment, FileSystemLoader, select_autoescape

    template = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=select_autoescape(default=True)
    ).get_template("page.html.j2")
    strips = {name: base64.b64encode(webp).decode() for name, webp in webps.items()}
    style = (ASSETS / "style.css").read_text(encoding="utf-8")
    return template.render({"title": title, "scripts": scripts(own), "style": style, "live": live, "data": packed,
                            "smaller": smaller, "strips": strips})  # fmt: skip


def pack(data: Any) -> str:
    """JSON, compressed, in base64: nothing in it can end a script element."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode()
