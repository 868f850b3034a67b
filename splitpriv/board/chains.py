"""What a board calls a chain: the options that make it, so that presets of one link stand apart. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from splitpriv import config, options
from splitpriv.config import flatten
from splitpriv.store import Row


@dataclass(frozen=True)
class Part:
    """An option of `defense` as a row has it, and the settings, not of its grid, that the row has otherwise."""

    option: str
    differing: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """The option, with what differs from it in parentheses."""
        told = ", ".join(f"{key}={value}" for key, value in self.differing)
        return f"{self.option}({told})" if told else self.option


def parts(row: Row) -> list[Part]:
    """The options that a row's links come from, in order; a link of no option here stands for itself.

    Of options with the same links the one counts that most settings agree with, then what the row says that it is of,
    then the one that has the link's name. Strengths of its grid, nets within and what follows from other settings tell
    options not apart.
    """
    rest = list(dict.fromkeys(key.split(".")[1] for key in row if key.startswith("defense.") and "/" not in key))
    found: list[Part] = []
    while rest:
        fits = [(option, k) for option, names in _options(options.own()).items()
                if (k := len(names)) and names == {*rest[:k]}]  # fmt: skip
        told = [(k, Part(option, _differing(option, row)), option) for option, k in fits]
        if not told:
            found.append(Part(rest.pop(0)))
            continue
        k, part, _ = min(
            told, key=lambda t: (len(t[1].differing), -t[0], t[2] != row.get("board/chain"), t[2] != rest[0])
        )
        found.append(part)
        rest = rest[k:]
    return found


def name(row: Row) -> str:
    """What the chain of a row is called: its options, joined; "none" without any."""
    return "+".join(part.name for part in parts(row)) or "none"


def listed(row: Row) -> str:
    """The options alone, as a command or a paper's table lists them."""
    return "+".join(part.option for part in parts(row)) or "none"


@cache
def _options(plugged: object) -> dict[str, set[str]]:
    """The links of each option; `plugged`: the files of plug-ins, with which they change."""
    return {name: {*options.called(config.CONF, "defense", name)} - {"none"}
            for name in options.names(config.CONF, "defense")}  # fmt: skip


@cache
def _settled(option: str, plugged: object) -> dict[str, Any]:
    """What an option itself settles: key -> value, without its grid, nets within, and what follows from elsewhere."""
    grid = config.grid(option)
    return {key: value for key, value in _own(option).items()
            if key not in grid and "net" not in key.split(".") and "${" not in str(value)}  # fmt: skip


def _own(option: str) -> dict[str, Any]:
    settings = options.read(config.CONF, "defense", option)
    above = [d for d in settings.pop("defaults", []) if isinstance(d, str) and d not in ("_self_", option)]
    told = {key: value for other in above for key, value in _own(other).items()}
    nodes = {link: {k: v for k, v in node.items() if k != "grid"}
             for link, node in settings.items() if isinstance(node, Mapping)}  # fmt: skip
    for key, value in flatten({"defense": nodes}).items():
        told = {k: v for k, v in told.items() if not k.startswith(f"{key}.") and not key.startswith(f"{k}.")}
        told[key] = value
    return told


def _differing(option: str, row: Row) -> tuple[tuple[str, Any], ...]:
    """What a row has otherwise than the option says; a setting that it lacks came later, or lies in another node."""
    found = []
    for key, value in _settled(option, options.own()).items():
        node = key.rpartition(".")[0]
        if key in row:
            if not _same(row[key], value):
                found.append((key, row[key]))
        elif node in row:
            found.append((node, row[node]))
        elif value is None and any(k.startswith(f"{key}.") for k in row):
            found.append((key, "set"))
    return tuple((key.removeprefix("defense."), value) for key, value in dict.fromkeys(found))


def _same(a: Any, b: Any) -> bool:
    """Whether two values are one, however YAML writes them: 1e-5 is text to some of its readers."""
    try:
        return a == b or float(a) == float(b)
    except (TypeError, ValueError):
        return False
