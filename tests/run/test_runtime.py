"""What a run sets for its process."""

from __future__ import annotations

import os

import pytest
import torch

from splitpriv.run.runtime import Runtime


def test_fp32_is_fp32_and_cublas_is_deterministic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    Runtime(device="cpu", precision="fp32", channels_last=True, compile=False, threads=1).start()
    assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert torch.are_deterministic_algorithms_enabled()
