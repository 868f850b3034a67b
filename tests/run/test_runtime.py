"""What a run sets for its process."""

from __future__ import annotations

import os

import pytest
import torch

from splitpriv.launch import task
from splitpriv.measure.remedies import load
from splitpriv.run import train
from splitpriv.run.runtime import Runtime, turn
from splitpriv.types import UserError


def test_fp32_is_fp32_and_cublas_is_deterministic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    made("cpu").start()
    assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert torch.are_deterministic_algorithms_enabled()


def made(device: str) -> Runtime:
    """A runtime as it ships, on that device."""
    node = {k: v for k, v in load("runtime", "auto").items() if k != "_target_"}
    return Runtime(**{**node, "device": device})


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cuda:-1", "CUDA", "cpu:0", ""])
def test_what_is_no_device_is_refused_by_name(device: str) -> None:
    with pytest.raises(UserError, match=r"runtime.device: .* is no device; choose auto, cpu, cuda, .*cuda:1, mps"):
        made(device)


@pytest.mark.parametrize(
    ("there", "device", "found"),
    [
        (0, "auto", "cpu"), (0, "cuda", "torch sees no CUDA device"), (0, "cuda:1", "torch sees no CUDA device"),
        (0, "each", "torch sees no CUDA device"), (0, "mps", "torch sees no Apple GPU"), (2, "auto", "cuda:0"),
        (2, "cuda", "cuda:0"), (2, "cuda:1", "cuda:1"), (2, "cuda:2", "torch sees 2, cuda:0 to cuda:1"),
        (2, "cpu", "cpu"), (2, "each", "cuda:0"),
    ],
)  # fmt: skip
def test_a_device_is_found_or_the_message_says_which_there_are(
    there: int, device: str, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    if " " in found:
        with pytest.raises(UserError, match=found):
            made(device)._found()
    else:
        assert str(made(device)._found()) == found


def test_points_of_a_sweep_take_the_devices_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [turn("each", number) for number in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]
    assert turn("cpu", 1) == "cpu"
    cfg = {"runtime": {"device": "each", "threads": 1}}
    assert task._turned(cfg, 1)["runtime"] == {"device": "cuda:1", "threads": 1} and cfg["runtime"]["device"] == "each"


def test_lightning_is_told_which_of_several_devices() -> None:
    assert train._placed(torch.device("cuda", 1)) == {"accelerator": "gpu", "devices": [1]}
    assert train._placed(torch.device("mps")) == {"accelerator": "mps", "devices": 1}
