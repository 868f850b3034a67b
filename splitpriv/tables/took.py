"""What finished stages took, and what of a run's settings that depends on."""

from __future__ import annotations

from typing import Any

from splitpriv.config import Config
from splitpriv.store import Store


def network(cfg: Config) -> dict[str, Any]:
    """What tells a network and its images from others."""
    return {name: cfg[name] for name in ("dataset", "backbone", "split")}


def training(cfg: Config) -> dict[str, Any]:
    """What tells the training of a chain from others, its length apart."""
    return {"defense": [*cfg["defense"].items()], "monitor": cfg["monitor"], "batch": cfg["optim"]["batch"],
            **network(cfg)}  # fmt: skip


def attack(cfg: Config, name: str) -> dict[str, Any]:
    """What a whole attack costs depends on, the chain apart."""
    return {"whole": cfg["attack"][name], "protocol": cfg["protocol"], "knowledge": cfg.get("knowledge"),
            "of": network(cfg)}  # fmt: skip


def seconds(store: Store, kind: str, key: str) -> float:
    """Seconds that a finished stage took, of this processor alone where it was made by one; 0 where it is not there."""
    made = store.made(kind, key)
    if made.get("device") == "cpu":
        return float(made.get("cpu_s", 0.0)) / max(1, int(made.get("threads", 1)))
    return float(made.get("wall_s", 0.0))
