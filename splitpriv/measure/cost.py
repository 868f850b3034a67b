"""What the device pays for one image."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median, quantiles

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from splitpriv.defenses.base import Defended
from splitpriv.measure.memory import memory
from splitpriv.nets.graph import countable
from splitpriv.nets.modes import evaluating
from splitpriv.types import Spec


@torch.no_grad()
def cost(model: Defended, spec: Spec, repeats: int) -> dict[str, float]:
    """What the device pays for one image: parameters, multiply-accumulates, bytes sent and held, milliseconds.

    The device's part is the edge with its defences, without co-trained adversaries. MACs are half of torch's FLOP
    count, which knows matrix products and convolutions. `release_bytes` is nominal, see `rate` for what a coder makes
    of them. The latency is the median of `repeats`, beside the distance of their quartiles, and this machine's.
    """
    device = next(model.parameters()).device
    x = torch.full((1, *spec.image), 0.5, device=device)
    with evaluating(model):
        edge_macs, total_macs = macs(model.release, x), macs(model, x)
        held = memory(model, lambda: model.release(x))
        times = _times(lambda: model.release(x), repeats, device)
    idle = {id(p) for _, d in model.defenses() for p in d.adversary_parameters()}
    kept = {id(p): p.numel() for part in (model.net.edge, model.chain) for p in part.parameters() if id(p) not in idle}
    bits = 32.0
    for _, defense in model.defenses():  # noise after a grid leaves the grid
        bits = min(bits, defense.bits) if defense.noise_std == 0 else defense.bits
    return {
        "edge_parameters": float(sum(kept.values())),
        "edge_macs": edge_macs,
        "total_macs": total_macs,
        "release_bytes": torch.Size(model.shape).numel() * bits / 8,
        **held,
        "edge_latency_ms": median(times),
        "edge_latency_spread_ms": quantiles(times, n=4)[2] - quantiles(times, n=4)[0] if repeats > 1 else 0.0,
    }


def macs(call: Callable[[Tensor], Tensor], x: Tensor) -> float:
    """Multiply-accumulates of `call` on images x: half the operations that torch counts."""
    with countable(), FlopCounterMode(display=False) as counter:
        call(x)
    return counter.get_total_flops() / 2


def _times(call: Callable[[], Tensor], repeats: int, device: torch.device) -> list[float]:
    times = []
    for _ in range(3 + repeats):
        start = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        elif device.type == "mps":
            torch.mps.synchronize()
        times.append(1e3 * (time.perf_counter() - start))
    return times[3:]
