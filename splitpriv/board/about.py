"""What a defence is, what its paper prints, and the command that repeats a row."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import yaml

from splitpriv import config, metrics, options, overrides, targets
from splitpriv.board import chains
from splitpriv.config import flatten
from splitpriv.run.reopen import GROUPS, nested
from splitpriv.store import Row
from splitpriv.tables import shipped
from splitpriv.types import UserError

SENTENCE = re.compile(r"(?<!et al)(?<!e\.g)(?<!Sec)(?<!Eq)\.\s+(?=[A-Z(`])")
CHOSEN = ("dataset", "backbone", "split", "task", "optim", "protocol", "knowledge")  # options that a row names
KEPT = {*GROUPS} - {"monitor"}


def links(row: Row) -> list[dict[str, Any]]:
    """Each option of a chain: its name, two sentences of what it is, and what else its file says of it.

    A class that bears the option's name tells of itself; of a preset, which is a class with other numbers or several
    links, its file does.
    """
    told = []
    for part in chains.parts(row):
        target = str(row.get(f"defense.{part.option}._target_", ""))
        note = SENTENCE.split(heading(part.option))
        if target.rpartition(".")[2].lower() == part.option.replace("_", "") or not note[0]:
            said, more = _documented(target, part.option), note
        else:
            said, more = note[:2], note[2:]
        told.append({"name": part.name, "said": _sentences(said[:2]), "yaml": _sentences(more)})
    return told or [{"name": "none", "said": "The device sends the feature as it is.", "yaml": heading("none")}]


def _documented(target: str, option: str) -> list[str]:
    """The sentences of a class's docstring."""
    try:
        doc = targets.locate(target, f"defense.{option}").__doc__ or ""
    except UserError:
        return []
    return [sentence for text in doc.split("\n\n")[:2] for sentence in SENTENCE.split(" ".join(text.split()))]


def _sentences(said: Sequence[str]) -> str:
    text = ". ".join(s.rstrip(".") for s in said)
    return f"{text}." if text else ""


def heading(option: str) -> str:
    """The comment above an option of `defense`, in one line."""
    path = options.file(config.CONF, "defense", option)
    lines = path.read_text(encoding="utf-8").splitlines() if path else []
    first = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return " ".join(line.lstrip("# ") for line in lines[:first] if not line.startswith("# @"))


@cache
def claims() -> list[dict[str, Any]]:
    """Every printed pair of utility and MSE of a chain: {chain, dataset, backbone, source, row, numbers}."""
    found = []
    for name in shipped.names():
        table = shipped.load(name)
        base = _words(table.scales["full"].base if "full" in table.scales else [])
        for row, line in table.rows.items():
            words = {**base, **_words(line.overrides)}
            numbers = [{"label": col.label, "value": table.value(row, c), "key": col.key}
                       for c, col in table.columns.items() if table.value(row, c) is not None]  # fmt: skip
            if "defense" in words and numbers:
                chain = "+".join(options.listed(words["defense"])) or "none"
                where = {"dataset": words.get("dataset", ""), "backbone": words.get("backbone", "")}
                found.append({"chain": chain, **where, "row": row, "source": table.source, "numbers": numbers})
    return found


def claimed(chain: str, world: Mapping[str, str]) -> list[dict[str, Any]]:
    """What papers print of a chain on this data set and network."""
    return [c for c in claims() if c["chain"] == chain and c["dataset"] == world.get("dataset")
            and world.get("backbone", "").startswith(c["backbone"] or "\0")]  # fmt: skip


def _words(given: list[str]) -> dict[str, str]:
    told = {overrides.key_of(word): overrides.value_of(word) for word in given if "=" in word}
    defaults = options.read(config.CONF, "setting", told.get("setting", "")).get("defaults", [])
    chosen = {k.removeprefix("override /"): str(v) for d in defaults if isinstance(d, dict) for k, v in d.items()}
    return {**chosen, **told}


def command(row: Row) -> str:
    """The command that makes a row again: the words that made it, else its options and what differs from them."""
    words = str(row.get("board/words") or "")
    told = _joined(words) if words else _rebuilt(row)
    return shlex.join(["splitpriv", "run", *told]) if told else ""


def _joined(words: str) -> list[str]:
    """Words that were joined by spaces; a value in braces holds spaces of its own."""
    told: list[str] = []
    for part in words.split(" "):
        if told and told[-1].count("{") > told[-1].count("}"):
            told[-1] += f" {part}"
        else:
            told.append(part)
    return told


def _rebuilt(row: Row) -> list[str]:
    """The words of a row that says none; empty where its options are not here."""
    own = nested(row)
    words = [f"{group}={row[group]}" for group in CHOSEN if group in row and ":" not in str(row[group])]
    chain, attacks = ",".join(own["defense"]) or "none", ",".join(own["attack"])
    words += [f"defense=[{chain}]", f"attack=[{attacks}]", f"seed={row['seed']}"]
    try:
        usual = flatten(config.compose(words))
    except UserError:
        return []
    told = flatten({k: v for k, v in own.items() if k in KEPT})
    words += [f"{k}={_written(v)}" for k, v in told.items() if k in usual and usual[k] != v]
    return [*words, *(f"+{k}={_written(v)}" for k, v in told.items() if k not in usual and v != {})]


def _written(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("...\n").strip()


def number(claim: Mapping[str, Any], key: str) -> float | None:
    """The first number that a paper prints of a metric such as `mse`."""
    for told in claim["numbers"]:
        if told["key"] and told["key"].endswith(f"/{key}") and metrics.find(told["key"]):
            return float(told["value"])
    return None
