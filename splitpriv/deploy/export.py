"""A trained model as files for a device and a server, each held against the model before it counts as exported."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from splitpriv import __version__, plain
from splitpriv.defenses.base import Defended
from splitpriv.defenses.parts.aside import aside
from splitpriv.defenses.parts.deployed import Cloud, Edge
from splitpriv.deploy import formats
from splitpriv.deploy.probe import probe
from splitpriv.store import proof, write_atomic
from splitpriv.types import Shape, UserError

NEAR = 1e-5  # where nothing is drawn, how far a value may be from the model's
JUMPS = 0.002  # share of values that may be further: those that rounding puts on the other side of a step
DRAWS, ERRORS = 256, 6.0  # releases of an image, and standard errors that their mean and spread may be apart
FACTS = "export.json"


def require_empty(out: Path, where: str = "") -> None:
    """Raise UserError where `out` exists and is anything but an empty folder; `where` names it in its message."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{where or f'--out {out}'}: is not empty; choose another folder, or empty it")


def export(model: Defended, form: str, out: Path, about: Mapping[str, Any], calls: int = 100) -> dict[str, Any]:
    """Write edge and cloud of `model` in a format into the folder `out`, with `export.json`, and return what that says.

    Nothing is left in `out` unless both halves give what the model gives: within 1e-5 where nothing is drawn, else with
    its mean and spread and afresh in every call. `about` goes into the facts. Raises UserError with one line.
    """
    formats.require(form)
    require_empty(out)
    if model.precision != "fp32":
        raise UserError(f"runtime.precision: the model computes in {model.precision}, of which an export in float32 "
                        "is no copy; make the run with runtime.precision=fp32")  # fmt: skip
    scratch = out.with_name(f".{out.name}.{os.getpid()}")
    scratch.mkdir(parents=True)
    try:
        facts = _halves(model, form, scratch, calls)
        facts = {**about, "format": form, "splitpriv": __version__, "draws": formats.FORMATS[form].draws, **facts}
        write_atomic(scratch / FACTS, plain.dumps(facts, indent=1) + "\n")
        if out.exists():
            out.rmdir()
        scratch.rename(out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return facts


def _halves(model: Defended, form: str, home: Path, calls: int) -> dict[str, Any]:
    halves: dict[str, tuple[nn.Module, Shape]] = {
        "edge": (Edge(model), model.spec.image), "cloud": (Cloud(model), tuple(model.shape)),
    }  # fmt: skip
    facts: dict[str, Any] = {}
    with torch.no_grad(), aside(seed=0):
        x = torch.rand(4, *model.spec.image)
        for name, (half, shape) in halves.items():
            path = home / f"{name}{formats.FORMATS[form].ending}"
            free, random = formats.write(form, half, shape, path, name)
            run = formats.read(path)
            single = half if free else Single(half)  # what a batch of one gives, where the batch decides
            checked = compare(single, run if free else _one_by_one(run), x, random, f"{form}'s {name}")
            facts[name] = {
                "file": path.name, "sha256": proof.sha256(path), "bytes": path.stat().st_size, "input": [*shape],
                "output": [*half(x).shape[1:]], "any_batch": free, "random": random, **checked,
                **probe(path, shape, calls),
            }  # fmt: skip
            x = single(x)
    return facts


class Single(nn.Module):
    """A half that answers images one by one."""

    def __init__(self, half: nn.Module) -> None:
        super().__init__()
        self.inner = half

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.inner(one) for one in x.split(1)])


def _one_by_one(run: formats.Run) -> formats.Run:
    """The same for a runtime that takes one image a call."""
    return lambda x: np.concatenate([run(x[i : i + 1]) for i in range(len(x))])


def compare(half: nn.Module, run: formats.Run, x: Tensor, random: bool, what: str) -> dict[str, float]:
    """How far a deployed half is from `half` on x (N, ...); raise UserError where that is not rounding, or not chance.

    `apart`: the largest difference where nothing is drawn, of values scaled to at most 1; `jumps`: the share beyond
    1e-5, on another side of a grid's step. `errors`: where it draws, the largest difference of the mean over images of
    means and of spreads over 256 releases, in standard errors.
    """
    if not random:
        wanted, found = half(x), torch.from_numpy(run(x.numpy()))
        apart = (found - wanted).abs() / wanted.abs().clamp_min(1)
        jumps = float((apart > NEAR).float().mean())
        near = float(apart[apart <= NEAR].max()) if jumps < 1 else float(apart.max())
        if found.shape != wanted.shape or jumps > JUMPS:
            raise UserError(f"export: {what} differs from the model by {float(apart.max()):.2g} in {jumps:.1%} of all "
                            "values; choose another format")  # fmt: skip
        return {"apart": near, "jumps": jumps}
    many = x[:1].expand(DRAWS, *x.shape[1:]).contiguous()
    wanted, found = half(many).double().flatten(1), torch.from_numpy(run(many.numpy())).double().flatten(1)
    errors = max(_errors(wanted, found), _errors(_squares(wanted), _squares(found)))
    again = torch.from_numpy(run(many[:16].numpy())).flatten(1)  # many: a draw among a few may well repeat
    if torch.equal(again, again[:1].expand_as(again)) or torch.equal(again, found[:16].to(again.dtype)):
        raise UserError(f"export: {what} draws the same noise again; choose another format")
    if not errors < ERRORS:
        raise UserError(f"export: what {what} draws is {errors:.1f} standard errors from the model's; choose another "
                        "format")  # fmt: skip
    return {"errors": errors}


def _squares(values: Tensor) -> Tensor:
    return (values - values.mean(0)).square()


def _errors(a: Tensor, b: Tensor) -> float:
    """The largest difference of means over rows, in standard errors."""
    spread = ((a.var(0) + b.var(0)) / len(a)).sqrt()
    apart = (a.mean(0) - b.mean(0)).abs()
    return float((apart / spread.clamp_min(1e-6 * (1 + a.abs().mean(0)))).max())


def told(facts: Mapping[str, Any]) -> list[str]:
    """What an export says of itself, a line per half."""
    lines = []
    for name in ("edge", "cloud"):
        half = facts[name]
        near = f"within {half['apart']:.1e} of the model" if "apart" in half else "drawn as the model draws"
        flips = f", {half['jumps']:.2%} a step away" if half.get("jumps") else ""
        speed = ""
        if "latency_ms" in half:
            low, high = half["latency_quartiles_ms"]
            speed = f", {half['latency_ms']:.3f} ms an image ({low:.3f} to {high:.3f})"
        memory = f", {half['peak_bytes'] / 1e6:.1f} MB at its peak" if "peak_bytes" in half else ""
        batch = "any number of images" if half["any_batch"] else "one image a call"
        lines.append(f"{half['file']}: {half['bytes'] / 1e6:.2f} MB, {near}{flips}, {batch}{speed}{memory}")
    return lines


def read_facts(folder: Path) -> dict[str, Any]:
    """What `export.json` of a folder says."""
    return dict(json.loads((folder / FACTS).read_text(encoding="utf-8")))
