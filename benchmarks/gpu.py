"""On a GPU: a step as it is, compiled, captured, and with several runs packed on the device, beside the floors.

    python -m benchmarks.gpu [--device cuda] [--steps 200] [--out benchmarks/gpu.json]

`scripts/gpu.sh` runs it first. On a CPU it shows that the parts work, and says nothing of a GPU.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import time
from pathlib import Path
from typing import Any

from splitpriv import config  # before torchvision

# isort: split
import torch

from benchmarks.step import Bench
from splitpriv.run.capture import Captured
from splitpriv.run.fit import Job, SplitFit
from splitpriv.tasks.classify import Classify
from splitpriv.types import Phase

# Per step of CEM's split VGG11 at batch 128, 118 GFLOP: tensor time at 790 TFLOP/s, and a graph of 150 kernels.
FLOORS = {"tensor ms": 0.15, "graph ms": 0.3, "goal captured ms": 0.6}
PACKS = (1, 2, 4, 8)
NETWORK = ("defense=[cem,noise]", "dataset=cifar10", "backbone=vgg11", "split=cem", "optim.batch=128")


def module(device: str, precision: str, compiled: bool, capture: bool) -> SplitFit:
    """CEM's network on random images, ready to step."""
    bench = Bench(8, *NETWORK)
    bench.model.precision = precision
    model = bench.model.to(device)
    model.channels_last = True
    model.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if compiled:
        model.net.edge.compile()
        model.net.cloud.compile()
    split = bench.split.to(device)
    job = Job(
        "gpu", Phase("fit", 1), bench.recipe, bench.dataset, Classify(smoothing=0.0), split, split, capture=capture
    )
    made = SplitFit(model, job)
    made.whole = bench.steps
    return made


def step_ms(device: str, precision: str, steps: int, *, compiled: bool = False, capture: bool = False) -> float:
    """Milliseconds of a step, the median of five stretches of `steps`."""
    made = module(device, precision, compiled, capture)
    order = made.batches()
    call = made.captured if capture else Captured(made.step, torch.device("cpu"), False)
    for i in range(8):
        call(order[i % len(order)], 0.5)
    times = []
    for _ in range(5):
        wait(device)
        start = time.perf_counter()
        for i in range(steps):
            call(order[i % len(order)], 0.5)
        wait(device)
        times.append((time.perf_counter() - start) / steps * 1e3)
    return statistics.median(times)


def wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def packed(device: str, precision: str, steps: int, count: int) -> float:
    """Steps a second of `count` processes on one device, together."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(count) as pool:
        each = pool.starmap(_one, [(device, precision, steps)] * count)
    return sum(1e3 / ms for ms in each)


def _one(device: str, precision: str, steps: int) -> float:
    torch.set_num_threads(1)
    return step_ms(device, precision, steps, capture=True)


def main() -> None:
    """Measure what fits, writing after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--packs", type=int, default=max(PACKS), help="the most runs on the device at a time")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/gpu.json"))
    args = parser.parse_args()
    on_gpu = args.device.startswith("cuda")
    told: dict[str, Any] = {"device": torch.cuda.get_device_name() if on_gpu else "CPU", "torch": torch.__version__}
    told |= {"floors": FLOORS, "step ms": {}, "steps a second": {}}
    precisions = ("fp32", "bf16") if on_gpu else ("fp32",)
    ways: dict[str, dict[str, bool]] = {"eager": {}, "captured": {"capture": True}}
    ways |= {"compiled": {"compiled": True}} if on_gpu else {}
    for precision in precisions:
        for way, how in ways.items():
            told["step ms"][f"{way} {precision}"] = step_ms(args.device, precision, args.steps, **how)
            save(args.out, told)
    for count in (c for c in PACKS if c <= args.packs):
        told["steps a second"][str(count)] = packed(args.device, precisions[-1], args.steps, count)
        save(args.out, told)


def save(out: Path, told: dict[str, Any]) -> None:
    out.write_text(json.dumps(told, indent=1) + "\n")
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    config.compose([])
    main()
