"""A captured step is the same step; runs of a sweep share a device by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small import NOISE, execute, numbers, tiny

from splitpriv.launch import hydra, sweeping
from splitpriv.run.capture import WARM, Captured
from splitpriv.store import Store


def test_capture_on_a_cpu_changes_no_number(tmp_path: Path) -> None:
    plain = execute(tiny(*NOISE), Store(tmp_path / "plain"))
    captured = execute(tiny(*NOISE, "runtime.capture=true"), Store(tmp_path / "captured"))
    assert captured["key"] == plain["key"]
    assert numbers(captured) == numbers(plain)


class Graph:
    """What CUDA would record, by calling again."""

    def __init__(self) -> None:
        self.replays = 0

    def replay(self) -> None:
        self.replays += 1


def test_an_epoch_warms_up_captures_once_and_replays_on_new_images(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[Any] = []
    captured = Captured(lambda index, share: taken.append(index.tolist()), torch.device("cuda"), steady=True)
    monkeypatch.setattr(captured, "_aside", captured.step)

    def capture(index: torch.Tensor, share: float) -> None:
        captured.index, captured.graph = index.clone(), Graph()

    monkeypatch.setattr(captured, "_capture", capture)
    for _ in range(2):
        captured.begin()
        for i in range(WARM + 4):
            captured(torch.tensor([i]), 0.0)
        assert captured.graph.replays == 4 and captured.index.tolist() == [WARM + 3]
    assert taken == 2 * [[i] for i in range(WARM)]


def test_adam_counts_its_steps_where_they_are_captured() -> None:
    for device, counts in (("cuda", True), ("cpu", False)):
        adam = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
        Captured(lambda *of: None, torch.device(device), True, [adam])
        assert adam.param_groups[0]["capturable"] is counts


def test_what_changes_within_an_epoch_is_not_captured() -> None:
    assert not Captured(lambda *of: None, torch.device("cuda"), steady=False).on
    assert not Captured(lambda *of: None, torch.device("cpu"), steady=True).on
    from splitpriv.run.parts import assemble, make_model

    for word, steady in (("defense.vib.warmup=0.5", False), ("defense.vib.warmup=0", True)):
        cfg = tiny("defense=[vib]", word)
        model = make_model(cfg, assemble(cfg).dataset)
        assert all(d.steady for _, d in model.defenses()) is steady


def test_packed_runs_take_as_many_workers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told: list[list[str]] = []

    def launcher(words: list[str], *of: Any) -> Any:
        told.append(words)
        raise KeyboardInterrupt

    monkeypatch.setattr(hydra, "launcher", launcher)
    cfg = tiny("runtime.pack=4")
    for words in ([], ["hydra/launcher=submitit_slurm"]):
        with pytest.raises(KeyboardInterrupt):
            sweeping.start(tmp_path, [{"overrides": []}], [cfg], words, names=["one"])
    assert told == [["hydra/launcher=joblib", "hydra.launcher.n_jobs=4"], ["hydra/launcher=submitit_slurm"]]
