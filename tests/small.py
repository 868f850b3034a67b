"""Runs that take a second: what the tests of the engine share."""

from __future__ import annotations

import copy
import functools
import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from splitpriv import config
from splitpriv.contract.base import DECODER, SMALL
from splitpriv.run import pipeline
from splitpriv.run.prepare import prepare
from splitpriv.store import Row, Store

REPEATS = {"edge_latency_ms", "edge_latency_spread_ms"}  # facts of the machine, not of the run
NOISE = ("defense=[noise]", "defense.noise.sigma=0.3")
MONITOR = ("monitor=decoder", "decoder@monitor.net=conv", "monitor.net.width=8", "monitor.net.widest=8")
TINT = tuple("dataset=fashion_tint" if o == "dataset=gaussian" else o for o in SMALL if o != "dataset.samples=400")


def arithmetic() -> str:
    """A fingerprint of how this machine and this torch round: convolution, product, reduction."""
    random = torch.Generator().manual_seed(0)
    x, w = torch.randn(8, 3, 32, 32, generator=random), torch.randn(16, 3, 3, 3, generator=random)
    y = F.conv2d(x, w, padding=1).flatten(1)
    parts = (y, y @ y.T, y.sum(1), y.exp().mean(1))
    return hashlib.sha256(b"".join(p.numpy().tobytes() for p in parts)).hexdigest()[:16]


@functools.cache
def _composed(overrides: tuple[str, ...]) -> config.Config:
    return config.compose(overrides)


def tiny(*overrides: str, decoder: bool = True) -> config.Config:
    """The config of a run of about half a second on 8x8 images; with its outputs where the environment says now."""
    cfg = copy.deepcopy(_composed((*SMALL, *(DECODER if decoder else ()), *overrides)))
    cfg["paths"]["outputs"] = os.environ["SPLITPRIV_OUTPUTS"]
    return cfg


def execute(cfg: config.Config, store: Store) -> Row:
    """The row of a config, made unless it is in the store."""
    return pipeline.execute(prepare(cfg), store)


def changed(cfg: config.Config, key: str, value: Any) -> config.Config:
    """A copy of `cfg` with the value at a dotted key replaced."""
    out = copy.deepcopy(cfg)
    *path, last = key.split(".")
    node = out
    for part in path:
        node = node[part]
    node[last] = value
    return out


def numbers(row: Row) -> dict[str, Any]:
    """What must repeat: every entry of a row but latencies, versions and the commit."""
    return {
        k: v for k, v in row.items() if k.split("/")[-1] not in REPEATS and not k.startswith(("version/", "commit"))
    }


def spawn(*arguments: str, outputs: Path, **environment: str) -> subprocess.Popen[str]:
    """`python -m splitpriv` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "splitpriv", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "SPLITPRIV_OUTPUTS": str(outputs), **environment},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a background job ignores Ctrl-C
    )  # fmt: skip
