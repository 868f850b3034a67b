"""How the tests of a page open it."""

from __future__ import annotations

from typing import Any


def opened(tab: Any, address: str, place: str = "") -> Any:
    """A page at one of its places, when it is ready."""
    tab.goto("about:blank")
    tab.goto(f"{address}#{place}")
    tab.wait_for_selector("body[data-ready=yes]")
    return tab
