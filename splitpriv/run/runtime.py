"""Where and how fast a run computes."""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Interval

from splitpriv.types import UserError

Threads = Annotated[int, Interval(ge=1, le=1024)]
Pack = Annotated[int, Interval(ge=1, le=64)]


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Device, precision, memory layout and threads; only `precision` changes what is computed, and enters the key."""

    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["fp32", "bf16"]
    channels_last: bool
    compile: bool
    capture: bool
    pack: Pack
    threads: Threads

    def __post_init__(self) -> None:
        compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
        if self.compile and shutil.which(compiler) is None:
            raise UserError(
                f"runtime.compile: torch.compile needs a C++ compiler, and there is no {compiler} on PATH; install "
                "one, name it in CXX, or set runtime.compile=false"
            )

    def start(self) -> torch.device:
        """Set threads and determinism for this process and return the device; raise UserError if there is none."""
        torch.set_num_threads(self.threads)
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs to be deterministic
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a tenth of the time
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.allow_tf32 = False  # on by default: fp32 would mean 10 bits of mantissa in convolutions
        if self.device == "cuda" and not torch.cuda.is_available():
            raise UserError("runtime.device: torch sees no CUDA device; use runtime.device=auto or cpu")
        on_gpu = self.device != "cpu" and torch.cuda.is_available()
        if self.precision == "bf16" and not on_gpu and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            warnings.warn(
                "runtime.precision=bf16: this CPU has no bf16 arithmetic, and fp32 is far faster", stacklevel=2
            )
        if on_gpu and self.pack > 1:
            torch.cuda.set_per_process_memory_fraction(1 / self.pack)
        return torch.device("cuda" if on_gpu else "cpu")
