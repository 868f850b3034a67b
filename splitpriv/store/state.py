"""Training that survives a SIGKILL: state saved once an epoch, atomically, and every epoch seeded by its own name."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from splitpriv.store.folder import say, write_atomic
from splitpriv.store.proof import whole_zip
from splitpriv.types import UserError


def seed_epoch(key: str, epoch: int) -> None:
    """Seed torch from (key, epoch), so that a resumed epoch draws what it would have drawn."""
    seed = int.from_bytes(hashlib.sha256(f"{key}/{epoch}".encode()).digest()[:8], "big") >> 1
    # Where there is no accelerator, torch would write down for each kind who wanted it seeded: a tenth of a small run.
    (torch.manual_seed if torch.accelerator.is_available() else torch.default_generator.manual_seed)(seed)


def save_state(path: Path, epoch: int, parts: Mapping[str, Any], notes: Any) -> None:
    """Write the state dicts of `parts`, after `epoch` epochs, beside `notes` (plain values), in one atomic step."""
    state = {"epoch": epoch, "parts": {name: part.state_dict() for name, part in parts.items()}, "notes": notes}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomic(path, buffer.getvalue())


def load_state(path: Path, parts: Mapping[str, Any]) -> tuple[int, Any]:
    """Load what `save_state` wrote into `parts`; return the number of finished epochs and the notes, or (0, None)."""
    state = found_state(path)
    if state is None:
        return 0, None
    restore(state, parts)
    return state["epoch"], state["notes"]


def restore(state: Mapping[str, Any], parts: Mapping[str, Any]) -> None:
    """Bring `parts` to the state that was read."""
    for name, part in parts.items():
        part.load_state_dict(state["parts"][name])


def found_state(path: Path) -> dict[str, Any] | None:
    """What `save_state` wrote, or None; a damaged file is said, and removed: its training begins again."""
    if not path.exists():
        return None
    if whole_zip(path):
        return read_state(path)
    say(f"{path.parent.parent.name}/{path.parent.name}: {path.name} is damaged; begun again")
    path.unlink()
    return None


def read_state(path: Path) -> dict[str, Any]:
    """What `save_state` wrote, on the CPU; UserError for a file that is damaged or holds more than plain values."""
    try:
        if not whole_zip(path):
            raise ValueError("a checksum is wrong")
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError) as error:
        raise UserError(
            f"paths.outputs: {path} is damaged, or holds code, which is never run; delete it and repeat the command"
        ) from error


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors as safetensors, atomically."""
    write_atomic(path, safetensors.torch.save({name: t.detach().cpu().contiguous() for name, t in tensors.items()}))


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read what `save_tensors` wrote, on the CPU."""
    return safetensors.torch.load_file(path)
