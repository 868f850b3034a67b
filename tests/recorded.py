"""A finished run to be recorded, and what trackers wrote, read back."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from small import execute, tiny

from splitpriv.store import Row, Store

OFFLINE = "track.wandb.mode=offline"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Row, Path]:
    root = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPLITPRIV_OUTPUTS", str(root))
        return execute(tiny("defense=[noise]"), Store(root)), root


@pytest.fixture
def done(made: tuple[Row, Path], tmp_path: Path) -> tuple[Row, Store]:
    shutil.copytree(made[1], tmp_path / "outputs")
    return made[0], Store(tmp_path / "outputs")


@pytest.fixture
def no_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_RUN_ID", "WANDB_SWEEP_ID", "WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))


def received(home: Path) -> list[list[dict[str, Any]]]:
    """What a server would receive: the records of every local piece of a W&B run, oldest first."""
    pieces = []
    for folder in sorted(home.glob("wandb/offline-run-*")):
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(folder)]
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        pieces.append([json.loads(line) for line in found.splitlines() if line.strip()])
    return pieces


def history(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [r["history"]["item"] for r in records if r["type"] == "history"]


def summary(records: list[dict[str, Any]]) -> dict[str, Any]:
    updates = [r["summary"]["update"] for r in records if r["type"] == "summary" and "update" in r["summary"]]
    return {k: v for update in updates for k, v in update.items()}


def scalars(folder: Path, tag: str) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return [(e.step, e.value) for e in events.Scalars(tag)], events.Tags()
