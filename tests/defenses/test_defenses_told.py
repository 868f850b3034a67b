"""What is told of every defence: a row in docs/defenses.md, and in its docstring where its paper has the equation."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from shipped import NAMES, links

from splitpriv.targets import locate

PAGE = Path(__file__).parents[2] / "docs" / "defenses.md"
CLASSES = {node["_target_"]: key for name in NAMES for key, node in links()[name].items()}
PLACE = re.compile(r"§|\b[Ee]q(uations?|\.) \d|Algorithm \d|\bat hand\b|\b[Nn]o paper\b|without a paper")


def test_every_option_has_one_row_in_the_docs() -> None:
    firsts = [line.split("|")[1] for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    told = [name for first in firsts for name in re.findall(r"`(\w+)`", first)]
    assert sorted(told) == [name for name in NAMES if name != "none"]


@pytest.mark.parametrize("target", CLASSES)
def test_a_docstring_says_where_its_equation_stands_or_that_it_does_not_know(target: str) -> None:
    told = inspect.getdoc(locate(target, CLASSES[target])) or ""
    assert PLACE.search(" ".join(told.split()))
