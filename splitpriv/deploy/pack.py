"""A run as a folder in the layout of a model hub: weights, config, row and card, each with its hash."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from splitpriv import plain
from splitpriv.defenses.base import Defended
from splitpriv.defenses.parts.deployed import Edge
from splitpriv.deploy import card, graph, sheet
from splitpriv.deploy.card import Faces
from splitpriv.run.context import Run
from splitpriv.run.reopen import GROUPS
from splitpriv.store import Row, Store, proof, rows, write_atomic
from splitpriv.store.state import load_tensors, read_state, save_state, save_tensors
from splitpriv.types import UserError

MANIFEST, ROW, CONFIG, CURVES, README = "splitpriv.json", "row.json", "config.json", "curves.json", "README.md"
LAYOUT = 1  # of the folder
KEY = re.compile(r"[0-9a-f]{8,64}")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}")
FRONT = """---
library_name: splitpriv
pipeline_tag: image-classification
tags: [split-inference, privacy, model-inversion, {chain}]
---

Pull it, and hold it against its row: `splitpriv pull FOLDER` (or `hf://owner/name`).

"""


class Held:
    """Tensors that pass for a module where a state is saved."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = dict(tensors)

    def state_dict(self) -> dict[str, Tensor]:
        """The tensors."""
        return self.tensors


def pack(run: Run, row: Row, out: Path, faces: list[Faces]) -> list[str]:
    """Write the run of `row` into the empty folder `out`; the names of its files.

    Of the chain only what a release is computed from keeps its values: co-trained adversaries and statistics of
    training images, which re-evaluation does not need, are zeros.
    """
    out.mkdir(parents=True, exist_ok=True)
    idle = unread(run.model)
    states = [read_state(run.store.home("fit", fit) / "weights.pt")["parts"]["model"] for fit in run.plan.fits]
    weights = [f"phase-{i}.safetensors" for i in range(len(states) - 1)] + ["model.safetensors"]
    for name, state in zip(weights, states, strict=True):
        save_tensors(out / name, {k: torch.zeros_like(v) if k in idle else v.clone() for k, v in state.items()})
    curves = [
        json.loads((run.store.home("fit", fit) / "curve.json").read_text(encoding="utf-8")) for fit in run.plan.fits
    ]
    write_atomic(out / CURVES, plain.dumps({"curves": curves}))
    settings = {k: placeless(run.cfg[k]) for k in (*GROUPS, "seed", "attack_seed", "choices")}
    write_atomic(out / CONFIG, plain.dumps(settings, indent=1))
    write_atomic(out / ROW, proof.seal(plain.finite({k: placeless(v) for k, v in row.items()}), indent=1))
    made = card.card(row, run.store, faces)
    sheet.write(made, out / "card.html")
    sheet.write(made, out / README)
    front = FRONT.format(chain=", ".join(re.findall(r"\w+", str(row["chain"]))))
    write_atomic(out / README, front + (out / README).read_text(encoding="utf-8"))
    files = {path.name: proof.sha256(path) for path in sorted(out.iterdir())}
    about = {"layout": LAYOUT, "key": row["key"], "weights": weights, "files": files}
    write_atomic(out / MANIFEST, proof.seal(about, indent=1))
    return [*files, MANIFEST]


def placeless(value: Any) -> Any:
    """The same without the absolute paths of this machine."""
    if isinstance(value, Mapping):
        return {k: placeless(v) for k, v in value.items()}
    return plain.placeless(value) if isinstance(value, str) else value


def unread(model: Defended) -> set[str]:
    """The parameters and buffers of a model's chain that no release is computed from, as its state names them."""
    program, _ = graph.traced(Edge(model), model.spec.image, None, "edge")
    read = {name.removeprefix("model.") for name in program.state_dict}
    return {name for name in model.state_dict() if name.startswith("chain.") and name not in read}


def manifest(folder: Path) -> dict[str, Any]:
    """What a pushed folder says it holds, with every file there and as it was; raise UserError where not."""
    where = f"pull {folder}"
    try:
        about = proof.unseal((folder / MANIFEST).read_text(encoding="utf-8"), since="layout")
        files, weights = dict(about["files"]), list(about["weights"])
        named = all(NAME.fullmatch(name) for name in (*files, *weights)) and KEY.fullmatch(about["key"]) is not None
    except FileNotFoundError as error:
        raise UserError(f"{where}: has no {MANIFEST}; name a folder that `splitpriv push` made") from error
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise UserError(f"{where}: its {MANIFEST} is damaged ({plain.line(str(error))}); push it again") from error
    if about.get("layout") != LAYOUT:
        raise UserError(
            f"{where}: its layout is {about.get('layout')}, and this version reads {LAYOUT}; update splitpriv"
        )
    if not named or not {ROW, CURVES, *weights} <= set(files):
        raise UserError(f"{where}: its {MANIFEST} names files that no push makes; do not trust it")
    if wrong := [name for name in weights if not name.endswith(".safetensors")]:
        raise UserError(f"{where}: {wrong[0]} is no safetensors, and other weights may hold code; do not trust it")
    for name, digest in files.items():
        path = folder / name
        if not path.is_file():
            raise UserError(f"{where}: {name} is missing; fetch it again")
        if proof.sha256(path) != digest:
            raise UserError(f"{where}: {name} is not what was pushed, its hash differs; fetch it again")
    return about


def row_of(folder: Path, about: Mapping[str, Any]) -> Row:
    """The row of a pushed folder; raise UserError where it is none."""
    try:
        row = plain.restored(proof.unseal((folder / ROW).read_text(encoding="utf-8"), since="stages"))
        wrong = rows.fault(row, str(about["key"]))
    except (OSError, ValueError, RecursionError) as error:
        wrong = str(error)
    if wrong:
        raise UserError(f"pull {folder}: {ROW} is no row ({plain.line(wrong)}); push it again")
    return row


def unpack(folder: Path, about: Mapping[str, Any], fits: tuple[str, ...], store: Store) -> None:
    """Put the weights of a pushed folder into `store` as its fits; raise UserError where they are damaged."""
    weights = about["weights"]
    try:
        curves = plain.restored(json.loads((folder / CURVES).read_text(encoding="utf-8")))["curves"]
        if not all(isinstance(curve, list) and all(isinstance(note, dict) for note in curve) for curve in curves):
            raise ValueError("curves that are no lists of epochs")
        if len(curves) != len(weights) or len(weights) != len(fits):
            raise ValueError(f"{len(weights)} phases and {len(curves)} curves of {len(fits)}")
        states = [load_tensors(folder / name) for name in weights]
    except (OSError, ValueError, LookupError, TypeError, RecursionError, safetensors.SafetensorError) as error:
        raise UserError(f"pull {folder}: its weights are damaged ({plain.line(str(error))}); fetch it again") from error
    for fit, state, curve in zip(fits, states, curves, strict=True):

        def build(home: Path, state: dict[str, Tensor] = state, curve: Any = curve) -> None:
            save_state(home / "weights.pt", len(curve), {"model": Held(state)}, None)
            write_atomic(home / "curve.json", json.dumps(curve))

        store.memo("fit", fit, build, leaves=("weights.pt", "curve.json"), made=lambda: {"pulled": about["key"]})
