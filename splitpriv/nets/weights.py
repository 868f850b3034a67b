"""Weights from a file into a network: read without running code, all of them, or the difference in one line."""

from __future__ import annotations

import hashlib
import pickle
import re
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from splitpriv.types import UserError

Head = Literal["keep", "replace"]  # the last layer, where that of the file has other classes

NESTS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights")
PREFIXES = ("module.", "model.", "_orig_mod.", "net.", "backbone.")
AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")  # heads that torchvision's Inceptions have while they are trained
REMEDY = "save the tensors alone: torch.save(net.state_dict(), FILE), or a .safetensors file"
NAMES = 3  # shown of each kind of difference
_RUN = re.compile(r"net\.(?:edge|cloud)\.")  # the two halves in the model of a run, as `splitpriv push` saves it
_DENSE = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")  # as torchvision's DenseNets were saved


def load(net: nn.Module, file: Path, called: str, classes: int, *, replaces: bool) -> str:
    """Load the weights in `file` into `net`, all of them; with `replaces` a head of another size stays as it was drawn.

    Returns a hash of what was loaded, by name, which is the same whatever kind of file it came from.

    Raises UserError for a file that holds no weights, or pickled code, and for weights that do not fit.
    """
    own = net.state_dict()
    state = renamed(_network(read(file)), own)
    state = {name: tensor for name, tensor in state.items() if name in own or not name.startswith(AUXILIARY)}
    head = head_of(net, classes)
    missing = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    strange = [name for name in state if name not in own]
    shaped = [name for name in own if name in state and own[name].shape != state[name].shape]
    lost = [name for name in head if name in missing or name in shaped]
    if lost and replaces:
        missing, shaped = ([name for name in kind if name not in head] for kind in (missing, shaped))
        state = {name: tensor for name, tensor in state.items() if name not in lost}
    if missing or strange or shaped:
        raise UserError(_difference(file, called, own, state, classes, head, missing, strange, shaped))
    if not all(tensor.isfinite().all() for tensor in state.values() if tensor.is_floating_point()):
        raise UserError(f"backbone.weights: {file} holds weights that are NaN or infinite; save them again")
    if not any(tensor.is_meta for tensor in own.values()):
        net.load_state_dict(state, strict=False)
    return digest(state)


def digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and values."""
    whole = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].contiguous()
        whole.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        whole.update(tensor.flatten().view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return whole.hexdigest()


def head_of(net: nn.Module, classes: int) -> list[str]:
    """The names of the last layer's weights, by its rows: one per class."""
    names: list[str] = []
    for name, module in net.named_modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, nn.Parameter) and weight.dim() > 1 and len(weight) == classes:
            names = [f"{name}.{key}".lstrip(".") for key, _ in module.named_parameters(recurse=False)]
    return names


def read(file: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of what torch.save wrote, by name, on the CPU."""
    if not file.is_file():
        told = "is a folder" if file.is_dir() else "is not there"
        raise UserError(f"backbone.weights: {file} {told}; give a .safetensors, .pt or .pth file")
    if file.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            with torch.device("cpu"):
                return load_file(file)
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise UserError(f"backbone.weights: {file} is no safetensors file ({error}); save it again") from error
    try:
        with warnings.catch_warnings(), torch.device("cpu"):
            warnings.simplefilter("ignore")
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if re.search(r"GLOBAL|Unsupported (class|global)", str(error)) or file.read_bytes()[:1] == pickle.PROTO:
            raise UserError(
                f"backbone.weights: {file} holds pickled objects besides tensors, whose code is not run; {REMEDY}"
            ) from error
        raise UserError(
            f"backbone.weights: {file} is no file of weights; give a .safetensors, .pt or .pth file"
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        told = "is a TorchScript archive" if "TorchScript" in str(error) else "is no file of weights, or a damaged one"
        raise UserError(f"backbone.weights: {file} {told}; {REMEDY}") from error
    return _tensors(content, file)


def _tensors(content: Any, file: Path) -> dict[str, Tensor]:
    """The names and tensors in what was saved, perhaps one level down."""
    for _ in range(3):
        if isinstance(content, Mapping) and content and all(isinstance(v, Tensor) for v in content.values()):
            return {str(name): tensor for name, tensor in content.items()}
        inner = next((content[key] for key in NESTS if isinstance(content.get(key), Mapping)), None) \
            if isinstance(content, Mapping) else None  # fmt: skip
        if inner is None:
            break
        content = inner
    held = f"a {type(content).__name__}"
    if isinstance(content, Mapping):
        held = f"{', '.join(map(str, list(content)[:NAMES])) or 'nothing'}{', ...' if len(content) > NAMES else ''}"
    raise UserError(f"backbone.weights: {file} holds {held}, no tensors by name; {REMEDY}")


def _network(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Of the model of a run the network alone, put together again; of any other file all of it."""
    halves = {_RUN.sub("", name): tensor for name, tensor in state.items() if _RUN.match(name)}
    return halves or state


def renamed(state: Mapping[str, Tensor], own: Collection[str]) -> dict[str, Tensor]:
    """The same under the network's names: without what a wrapper put before all of them."""
    names = {name: name for name in state}
    while not any(name in own for name in names.values()):
        prefix = next((p for p in PREFIXES if all(name.startswith(p) for name in names.values())), None)
        if prefix is None or not names:
            break
        names = {saved: name.removeprefix(prefix) for saved, name in names.items()}
    fixed = {saved: _DENSE.sub(r"\1\2", name) for saved, name in names.items()}
    return {fixed[saved] if fixed[saved] in own else names[saved]: tensor for saved, tensor in state.items()}


def _difference(
    file: Path, called: str, own: Mapping[str, Tensor], state: Mapping[str, Tensor], classes: int,
    head: Collection[str], missing: list[str], strange: list[str], shaped: list[str],
) -> str:  # fmt: skip
    """What does not fit, in one line."""
    if not missing and not strange and set(shaped) <= set(head):
        theirs = len(state[shaped[0]])
        return (f"backbone.weights: the head in {file} has {theirs} classes, and the data set has {classes}; "
                "backbone.head=replace draws a new one")  # fmt: skip
    told = [f"{len(names)} {kind} ({', '.join(names[:NAMES])}{', ...' if len(names) > NAMES else ''})"
            for kind, names in (("missing", missing), ("unexpected", strange)) if names]  # fmt: skip
    if shaped:
        sizes = [f"{n}: {_size(state[n])} in the file, {_size(own[n])} here" for n in shaped[:NAMES]]
        told.append(f"{len(shaped)} of another shape ({'; '.join(sizes)}{'; ...' if len(shaped) > NAMES else ''})")
    other = "they look like those of another architecture" if len(missing) + len(shaped) > len(own) / 2 else \
        "give weights that were saved of this very network"  # fmt: skip
    return f"backbone.weights: {file} does not fit {called}: {', '.join(told)}; {other}"


def _size(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"
