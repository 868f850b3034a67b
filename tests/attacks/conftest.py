"""Small worlds for attacks: an edge, a release, and an adversary's access to them."""

from __future__ import annotations

import pytest

from splitpriv.contract.attacks import SPEC, World, pictures

__all__ = ["SPEC", "World", "pictures"]


@pytest.fixture
def world() -> type[World]:
    return World


@pytest.fixture(autouse=True)
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPLITPRIV_PROGRESS", "0")
