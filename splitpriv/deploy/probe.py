"""Latency and memory of an exported half, in a process of its own: `python -m splitpriv.deploy.probe FILE SHAPE N`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import quantiles
from typing import Any

from splitpriv.types import Shape

WARM = 5  # calls before the first that counts


def probe(path: Path, shape: Shape, calls: int) -> dict[str, Any]:
    """Milliseconds of a call with one image of `shape`, median and the quartiles about it, and bytes of memory that the
    file takes at its peak beyond its runtime's own; on one thread of one processor of this machine.

    Empty where the system does not say: memory is read from Linux's /proc.
    """
    words = [sys.executable, "-m", "splitpriv.deploy.probe", str(path), json.dumps(shape), str(calls)]
    done = subprocess.run(words, capture_output=True, text=True, check=False,
                          env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"})  # fmt: skip
    lines = done.stdout.splitlines()
    return dict(json.loads(lines[-1])) if done.returncode == 0 and lines else {}


def main(path: Path, shape: Shape, calls: int) -> dict[str, Any]:
    """What `probe` asks of this process."""
    import numpy as np

    from splitpriv.deploy import formats

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    runtime = {".pt2": "torch", ".onnx": "onnxruntime", ".pte": "executorch.runtime"}[path.suffix]
    __import__(runtime)
    if runtime == "torch":
        import torch

        torch.set_num_threads(1)
        torch.ones(1) @ torch.ones(1)
    x = np.full((1, *shape), 0.5, np.float32)
    before = _resident("VmRSS", fresh=True)
    run, times = formats.read(path), []
    for _ in range(WARM + calls):
        start = time.perf_counter()
        run(x)
        times.append(1e3 * (time.perf_counter() - start))
    low, middle, high = quantiles(times[WARM:], n=4)
    told: dict[str, Any] = {"latency_ms": middle, "latency_quartiles_ms": [low, high], "calls": calls}
    peak = _resident("VmHWM")
    return told | ({"peak_bytes": max(0, peak - before)} if before and peak else {})


def _resident(what: str, fresh: bool = False) -> int:
    """Bytes of memory that this process holds (VmRSS), or held at most (VmHWM), since `fresh`; 0 where none says."""
    try:
        if fresh:
            Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return 1024 * int(next(line for line in lines if line.startswith(what)).split()[1])
    except (OSError, StopIteration):
        return 0


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), tuple(json.loads(sys.argv[2])), int(sys.argv[3]))))
