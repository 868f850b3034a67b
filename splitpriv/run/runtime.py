"""Where and how fast a run computes."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import shutil
import sys
import warnings
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Interval

from splitpriv.types import UserError

DEVICE = re.compile(r"auto|cpu|mps|each|cuda(:\d{1,3})?")
Threads = Annotated[int, Interval(ge=1, le=1024)]
Pack = Annotated[int, Interval(ge=1, le=64)]


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Device, precision, memory layout and threads; only `precision` changes what is computed, and enters the key.

    `device`: auto (a CUDA device where there is one, else the CPU), cpu, cuda, cuda:N, mps (Apple's), or each: points
    of a sweep take the CUDA devices in turn, since several devices are several runs.
    """

    device: str
    precision: Literal["fp32", "bf16"]
    channels_last: bool
    compile: bool
    capture: bool
    pack: Pack
    threads: Threads

    def __post_init__(self) -> None:
        if not DEVICE.fullmatch(self.device):
            raise UserError(
                f"runtime.device: {self.device!r} is no device; choose auto, cpu, cuda, one of several as cuda:1, mps, "
                "or each, by which the points of a sweep take turns"
            )
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
        device = self._found()
        if self.compile:
            _require_compiling(device)
        if device.type == "cpu":
            _keep_memory()
        if device.type == "cuda":
            torch.cuda.set_device(device)
        if self.precision == "bf16" and device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            warnings.warn(
                "runtime.precision=bf16: this CPU has no bf16 arithmetic, and fp32 is far faster", stacklevel=2
            )
        if device.type == "cuda" and self.pack > 1:
            torch.cuda.set_per_process_memory_fraction(1 / self.pack, device)
        return device

    def _found(self) -> torch.device:
        """The device that is meant; raise UserError where this machine has none such."""
        there = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if self.device == "mps" and not torch.backends.mps.is_available():
            raise UserError("runtime.device: torch sees no Apple GPU (mps); use runtime.device=auto or cpu")
        if self.device.startswith(("cuda", "each")) and not there:
            raise UserError("runtime.device: torch sees no CUDA device; use runtime.device=auto or cpu")
        if self.device in ("cpu", "mps") or not there:
            return torch.device(self.device if self.device == "mps" else "cpu")
        number = int(self.device.partition(":")[2] or 0)
        if number >= there:
            raise UserError(
                f"runtime.device: {self.device} is not there; torch sees {there}, cuda:0 to cuda:{there - 1}"
            )
        return torch.device("cuda", number)


def _require_compiling(device: torch.device) -> None:
    """Raise UserError unless a line of code compiles here, as the network will: a compiler may lack headers."""
    try:
        torch.compile(torch.sin)(torch.ones(8, device=device))
    except Exception as error:  # whatever the compiler, its headers or the cache of what it made say
        said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UserError(f"runtime.compile: nothing can be compiled here ({said[:150]}); mend or name the compiler "
                        "(CXX), or set runtime.compile=false") from error  # fmt: skip


def _keep_memory() -> None:
    """Let glibc keep what a step has freed for the next one: asking the system for it again takes a tenth of a step.

    What a run before has left in pieces goes back first, else a sweep in one process grows with every point.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    most, trim, top = (-3, 2**30), (-1, 2**31 - 1), (-2, 2**26)  # sizes that are mapped, given back, asked for at once
    libc = ctypes.CDLL(None)
    for option, size in (most, trim, top):
        libc.mallopt(option, size)
    libc.malloc_trim(0)


def turn(device: str, number: int) -> str:
    """The device of a sweep's point by its number, where `each` asks the points to take turns."""
    there = torch.cuda.device_count() if device == "each" else 0
    return f"cuda:{number % there}" if there else device
