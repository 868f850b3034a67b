"""Making a great many objects: Python's search for cycles rests, and wakes again."""

from __future__ import annotations

import gc

import pytest

from splitpriv.heap import growing


def test_the_search_for_cycles_rests_and_wakes_whatever_happens() -> None:
    assert gc.isenabled()
    with growing():
        assert not gc.isenabled()
        with growing():
            pass
        assert not gc.isenabled()  # one within another does not end its rest
    with pytest.raises(KeyError), growing():
        raise KeyError
    assert gc.isenabled()
