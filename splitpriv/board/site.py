"""The board as a static site: one page that needs no network, JSON beside it, a card for each line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from splitpriv import __version__, plain
from splitpriv.board import about, chains, entries, kept, worlds
from splitpriv.board.lines import Known
from splitpriv.dashboard import build, thumbs
from splitpriv.dashboard.facts import facts
from splitpriv.measure import pictures
from splitpriv.report.terminal import judged
from splitpriv.store import Row, Store, write_atomic

SCRIPTS = ("core.js", "state.js", "plot.js", "parts.js", "board.js")
WEIGHTS = "model.safetensors"  # of a model that lies beside its entry, and so on the site


def make(rows: Sequence[Row], store: Store, folder: Path | None, out: Path, found: entries.Entries) -> dict[str, Any]:
    """Write the site of some rows into `out`: index.html, board.json, worlds/ID.json, cards/KEY.html; its data.

    `folder`: where committed pictures lie; those of the store are used otherwise. `found`: what others sent in.
    """
    by_key = {row["key"]: row for row in rows}
    data, strips = collect(rows, store, folder, found)
    out.mkdir(parents=True, exist_ok=True)
    for board in data["boards"]:
        _json(out / "worlds" / f"{board['id']}.json", board)
        for line in board["lines"]:
            _card(by_key[line["key"]], store, out / "cards" / f"{line['key']}.html")
    for weights in (path for name in found.models for path in found.weights(name)):
        place = out / "models" / weights.parent.name / weights.name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(weights.read_bytes())
    _json(out / "board.json", data)
    write_atomic(out / "index.html", build.rendered("board", SCRIPTS, build.pack(data), strips))
    return data


def collect(
    rows: Sequence[Row], store: Store, folder: Path | None, found: entries.Entries
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What the site shows, as plain data in strict JSON, and the strips of pictures that it names."""
    known: Known = found.reached(rows)
    boards = worlds.boards(rows, known)
    by_key = {row["key"]: row for row in rows}
    strips: dict[str, bytes] = {}
    defences: dict[str, Any] = {}
    models = [{**m, "link": f"models/{name}/{WEIGHTS}"} if any(w.name == WEIGHTS for w in found.weights(name)) else m
              for name, m in found.models.items()]  # fmt: skip
    for board in boards:
        for line in board["lines"]:
            row = by_key[line["key"]]
            line["command"] = about.command(row)
            listed = chains.listed(row)
            line["claimed"] = about.claimed(listed, board["world"])
            line["shown"] = _shown(row, store, folder, strips)
            line["weights"] = next((m["link"] for m in models if m["row"] in line["keys"]), None)
            defences.setdefault(line["chain"], {"links": about.links(row), "claims": _claims(listed)})
    sent = [{**a, "kept": bool(found.folder and entries.sent(found.folder, a["name"]))} for a in found.attacks.values()]
    data = {
        "version": __version__, "made": build.now(), "facts": facts(), "boards": boards, "defences": defences,
        "models": models, "attacks": sent,
    }  # fmt: skip
    return plain.strict(data), strips


def _claims(chain: str) -> list[dict[str, Any]]:
    return [claim for claim in about.claims() if claim["chain"] == chain]


def _shown(row: Row, store: Store, folder: Path | None, strips: dict[str, bytes]) -> dict[str, Any] | None:
    """The strips of a row: those committed beside it, else those of its stages in the store."""
    told = row.get(kept.SHOWN)
    if told and folder:
        webps = {which: kept.strip(folder, told[which]) for which in ("x", "images")}
        if all(webps.values()):
            strips.update({told[which]: webp for which, webp in webps.items() if webp})
            return {**told, "count": len(told["mse"])}
    home = next((store.root / v for k, v in row.items() if k.startswith("picture/") and v), None)
    shown = pictures.read(home.parent) if home else None
    if shown is None:
        return None
    fixed = shown.at("fixed")
    tiles = {"x": pictures.tiles(fixed.x), "images": pictures.tiles(fixed.images)}
    names = {which: thumbs.digest(each) for which, each in tiles.items()}
    strips.update({names[which]: thumbs.encode(names[which], each, 0) for which, each in tiles.items()})
    mse = [float(v) for v in fixed.scores["mse"]]
    return {**names, "size": list(fixed.x.shape[2:]), "mse": mse, "count": len(mse)}


def _card(row: Row, store: Store, out: Path) -> None:
    from splitpriv.deploy import card, sheet

    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.write(card.card(judged([row], store)[0], store, []), out)


def _json(path: Path, data: Mapping[str, Any] | Iterable[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps(data, indent=1, allow_nan=False) + "\n")
