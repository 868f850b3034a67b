"""The stages of an audit that those of a run do not serve: attacks with releases of unknown images, and its facts."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from splitpriv.given.context import Audited
from splitpriv.measure import measure, pictures
from splitpriv.measure.oddities import oddities
from splitpriv.run.stages import RECOVERED, similarity
from splitpriv.store import write_atomic
from splitpriv.store.state import save_tensors, seed_epoch
from splitpriv.types import blame

LOOKED_AT = 64
SHOWN = 16  # of the releases of unknown images
SENT = "sent"  # in a reconstructions file: what was rebuilt of them


def attack(run: Audited, name: str, home: Path) -> None:
    """Fit one attack and rebuild every victim, and every release of which no image is known."""
    attack, key = run.parts.attacks[name], run.plan.attacks[name]
    access = run.access(attack)
    seed_epoch(key, -1)
    with blame(f"attack.{name}"):
        reconstructor = attack.fit(access, home)
        releases = access.intercept(attack.draws)
        seed_epoch(key, -2)
        with torch.no_grad():
            parts = [reconstructor.everything(part) for part in releases.split(256)]
            rebuilt = {f"image/{m}".strip("/"): torch.cat([part[m] for part in parts]) for m in parts[0]}
            if run.sent is not None:
                rebuilt[SENT] = torch.cat([reconstructor(part) for part in run.sent.split(256)])
    save_tensors(home / RECOVERED, rebuilt)
    if run.sent is not None:
        write_sheet(rebuilt[SENT], home / "sent.png", f"{'+'.join(run.cfg['defense'])} attacked by {name}")
    write_atomic(home / "report.json", json.dumps(reconstructor.report))
    reconstructor.tidy()


def write_sheet(images: torch.Tensor, path: Path, title: str) -> None:
    """The first of what was rebuilt from releases of unknown images, (N, C, H, W) in [0, 1], as a picture."""
    shown = (images[:SHOWN].cpu() * 255).round().to(torch.uint8).numpy()
    pictures.sheet(shown, title).save(path)


def facts(run: Audited, home: Path) -> None:
    """What the device pays and sends, and the floors: what whoever never looks at a release scores."""
    seed_epoch(run.plan.utility, -1)
    x = run.victims.x(slice(None))
    floors = measure.floors(run.known["aux"].images, x, **similarity(run))
    releases = run.releases(0)
    told: dict[str, Any] = {
        **{f"floor/{n}/{k}": v for n, scores in floors.items() for k, v in measure.summary(scores).items()},
        **{f"cost/{k}": v for k, v in _cost(run).items()},
        **{f"release/{k}": v for k, v in _odd(run, x[:LOOKED_AT], releases).items()},
        "signal": measure.signal(releases, run.releases(1)) if run.edge is not None else None,
        "adaptive": {}, "victims": len(x), "gaps": {},
    }  # fmt: skip
    write_atomic(home / "facts.json", json.dumps(told))


def _cost(run: Audited) -> dict[str, float]:
    if run.edge is not None:
        return run.edge.cost()
    return {"release_bytes": float(run.width * np.prod(run.shape))}


def _odd(run: Audited, x: torch.Tensor, releases: torch.Tensor) -> dict[str, float]:
    """What misleads attacks; of a device that shows no gradient nobody can say that it is zero."""
    if run.edge is None or len(x) < 4:
        size = releases.square().mean().sqrt()
        varies = (releases - releases.mean(0)).square().mean().sqrt()
        told = {"size": float(size), "variation": float(varies / size.clamp_min(1e-30)), "memory": 0.0, "company": 0.0}
    else:
        model: Any = SimpleNamespace(release=run.edge.release)
        told = oddities(model, x)
        if not run.edge.repeats:  # its random numbers are its own: two answers differ in any case
            told |= dict.fromkeys(("memory", "company", "whim", "recorded"), 0.0)
    return told if run.knowledge == "white" and "zero_gradient" in told else {**told, "zero_gradient": 0.0}
