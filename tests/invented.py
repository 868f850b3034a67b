"""Rows as a board has them, invented: chains over grids and seeds, with a void one and one at 16 queries."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from splitpriv.board import kept
from splitpriv.store import Row

GRID = {"noise": ("sigma", [0.02, 0.1, 0.4]), "nopeek": ("weight", [0.1, 1.0]), "dropout": ("rate", [0.1, 0.5])}
TARGETS = {"noise": "noise.Noise", "nopeek": "nopeek.NoPeek", "dropout": "dropout.Dropout"}


def row(chain: str, seed: int, at: float, **more: Any) -> Row:
    """One row; `at` in [0, 1] says how strong its defence is."""
    random = np.random.default_rng([seed, int(1000 * at)])
    mse = 0.002 + 0.02 * at * (1 + 0.02 * random.standard_normal())
    made = {
        "key": "", "chain": chain, "seed": seed, "attack_seed": 0, "dataset": "fashion_tint", "backbone": "tiny",
        "split": "bottleneck", "task": "classify", "optim": "sgd", "protocol": "strict", "knowledge": "same",
        "cut": "shallow", "headline": "accuracy", "suite": "autoinvert-1 quick", "victims": 200, "tested": 2000,
        "protocol.queries": 1, "protocol.attacked": 200, "optim.epochs": 10, "dataset.seed": 0,
        "attack.autoinvert_quick.tier": "quick", "fit": ["f" * 16],
        "utility/accuracy": 0.77 - 0.03 * at + 0.002 * random.standard_normal(), "chance/accuracy": 0.1,
        "floor/mean_image/mse": 0.042, "picture/autoinvert_quick": "measure/0/grid.png", "cost/edge_macs": 405504.0,
        "cost/bits_per_image": 65536.0 * (1 - 0.5 * at),
        "privacy/autoinvert_quick/mse": mse, "privacy/suite/mse": mse, "privacy/suite/ssim": 0.97 - 0.4 * at,
        "privacy/worst/mse": 0.9 * mse, "suite/decoder/mse": 2 * mse, "suite/search/mse": mse,
        "flags": [], "verdict": "sound", "stages": [], **more,
    }  # fmt: skip
    made["board/words"] = f"+setting=demo defense=[{chain}] protocol.limit={{aux: 2000}} seed={seed}"
    return {**made, "key": hashlib.sha256(json.dumps(made, default=str).encode()).hexdigest()[:16]}


def rows(seeds: int = 3) -> list[Row]:
    """A board: an undefended chain, three over their grids; one row void, one line at 16 queries, one flagged."""
    found = [row("none", seed, 0.0) for seed in range(seeds)]
    for chain, (setting, values) in GRID.items():
        for i, value in enumerate(values):
            told = {f"defense.{chain}._target_": f"splitpriv.defenses.{TARGETS[chain]}",
                    f"defense.{chain}.{setting}": value}  # fmt: skip
            strength = (i + 1) / len(values) * {"noise": 1.0, "nopeek": 0.2, "dropout": 0.98}[chain]
            found += [row(chain, seed, strength, **told) for seed in range(seeds)]
    found.append({**found[3], "key": "0" * 15 + "1", "protocol.queries": 16, "privacy/suite/mse": 0.001})
    near = {"kind": "near", "subject": "", "text": "splits look alike: train and aux (4 images)", "remedy": ""}
    void = {"kind": "smoke", "subject": "", "text": "protocol=smoke", "remedy": ""}
    found[4] = {**found[4], "flags": [near], "verdict": "doubtful"}
    found.append({**found[-2], "key": "0" * 15 + "2", "seed": 9, "flags": [void], "verdict": "void"})
    return found


def written(path: Path, made: list[Row]) -> Path:
    """A file of rows."""
    for each in made:
        kept.append(path, each)
    return path
