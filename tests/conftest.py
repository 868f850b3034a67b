"""Every test computes on one thread, in a store and a data folder of its own."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["SPLITPRIV_PROGRESS"] = "0"

import torch

torch.set_num_threads(1)


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()  # torch and all that is imported lives on: no later collection shall walk through it


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPLITPRIV_OUTPUTS", str(tmp_path / "outputs"))
    monkeypatch.setenv("SPLITPRIV_CACHE", str(tmp_path / "cache"))
    if "SPLITPRIV_DATA" not in os.environ:
        monkeypatch.setenv("SPLITPRIV_DATA", str(tmp_path / "data"))
