"""The rights that docs/attacks.md tells of every attack are those that its class declares."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from splitpriv import config, options
from splitpriv.targets import build

PAGE = Path(__file__).parents[2] / "docs" / "attacks.md"
NAMES = options.names(config.CONF, "attack")


def rows() -> Iterator[tuple[list[str], str]]:
    """Of each table with a column of rights: the options of a row, and its rights as they stand there."""
    at = None
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if cells[:2] == ["", "name"]:
            at = cells.index("holds")
        elif not line.startswith("|"):
            at = None
        elif at and (given := re.findall(r"`(\w+)`", cells[1])) and given[0] in NAMES:
            yield [given[0], *(given[0] + name if name.startswith("_") else name for name in given[1:])], cells[at]


def held(name: str) -> frozenset[str]:
    return frozenset(build(config.compose([f"attack=[{name}]"])["attack"][name], f"attack.{name}")().requires)


def test_every_attack_has_one_row() -> None:
    assert sorted(name for names, _ in rows() for name in names) == sorted(NAMES)


@pytest.mark.parametrize(("names", "told"), [*rows()], ids=lambda value: value[0] if isinstance(value, list) else "")
def test_its_rights_are_those_of_its_class(names: list[str], told: str) -> None:
    """Before the brackets what all variants hold, within them what some do."""
    always, some = ({*re.findall(r"\w+", part)} - {"nothing"} for part in told.partition("(")[::2])
    rights = [held(name) for name in names]
    assert always == frozenset.intersection(*rights)
    assert some == frozenset.union(*rights) - always
