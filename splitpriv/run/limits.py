"""Values that no run can want, whatever their key: found before anything is built."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from splitpriv.config import Config, flatten
from splitpriv.defenses.base import Defended, Defense
from splitpriv.defenses.parts.aside import aside
from splitpriv.plugins.active import raised
from splitpriv.types import Phase, Shape, UserError

WHOLE = 2**53  # beyond it a key, and JSON, cannot tell two whole numbers apart
LARGEST = 1e15  # of all other numbers
SEED = 2**31  # of data and splits: what numpy's generators take, twice over
RATE = 100.0  # the largest learning rate
UNBUILT = "cannot be built with these settings"
UNROOMY = ("can't allocate memory", "out of memory", "array is too big", "Maximum allowed dimension", "overflow")
COPIES = 4  # of every parameter while it learns: itself, its gradient, and what an optimiser keeps


def numbers(cfg: Config) -> list[str]:
    """NaN, infinities, whole numbers beyond what a key can tell apart, and learning rates beyond sense."""
    problems = []
    for key, value in _leaves(cfg):
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        name = key.rpartition(".")[2]
        if not math.isfinite(value):
            problems.append(f"{key}: is {value}; give a finite number")
        elif isinstance(value, float) and abs(value) > LARGEST:
            problems.append(f"{key}: {value:.3g} is beyond any use, and its square beyond fp32; lower it")
        elif isinstance(value, int) and abs(value) >= WHOLE:
            problems.append(f"{key}: {value:.3g} is beyond 2^53, up to which keys tell whole numbers apart; lower it")
        elif name == "seed" and "." in key and not 0 <= value < SEED:
            problems.append(f"{key}: {value} is no seed; give a whole number from 0 to below 2^31")
        elif (name == "lr" or name.endswith("_lr")) and value > RATE:
            problems.append(f"{key}: {value:g} is no learning rate; give one of at most {RATE:g}")
        elif key == "optim.optimizer.lr" and value <= 0:
            problems.append(f"{key}: {value:g} teaches nothing; give a learning rate above 0")
        elif name == "T_max" and value < 1:
            problems.append(
                f"{key}: {value} is no length of a schedule; give at least 1, as in {key}=${{optim.epochs}}"
            )
    return problems


def _leaves(cfg: Config) -> Iterator[tuple[str, Any]]:
    for key, value in flatten({k: v for k, v in cfg.items() if k not in ("paths", "choices")}).items():
        yield key, value
        if isinstance(value, list):
            flat = list(value)
            for item in flat:
                if isinstance(item, list):
                    flat.extend(item)
                yield key, item


def largest(node: Mapping[str, Any], where: str) -> str:
    """The key of the largest whole number of a node, which makes its part too large; `where` if there is none."""
    held = {k: v if isinstance(v, list) else [v] for k, v in flatten(node).items() if not k.endswith("seed")}
    whole = {k: [n for n in values if isinstance(n, int) and not isinstance(n, bool)] for k, values in held.items()}
    sizes = {k: max(numbers) for k, numbers in whole.items() if numbers}
    return f"{where}.{max(sizes, key=lambda k: sizes[k])}" if sizes else where


def require_room(net: nn.Module, node: Mapping[str, Any], where: str) -> None:
    """Raise UserError where training a module would need more memory than this machine has."""
    learnt, fixed = (sum(t.numel() for t in tensors) for tensors in (net.parameters(), net.buffers()))
    size = 4 * (COPIES * learnt + fixed)
    if size > memory():
        raise UserError(
            f"{largest(node, where)}: makes {learnt + fixed:,} numbers, which need {size / 2**30:,.0f} GiB while they "
            f"are trained, and this machine has {memory() / 2**30:,.0f}; lower it"
        )


def require_normal(net: nn.Module, shape: Shape, batch: int, key: str, least: int = 2) -> None:
    """Raise UserError where training on `batch` inputs of `shape`, if below `least`, may leave some BatchNorm of `net`
    one value per channel, as at 1x1."""
    if batch >= least:
        return
    modes = [(module, module.training) for module in net.modules()]
    try:
        net.train()
        with torch.no_grad(), aside(), torch.device("meta"):
            copy.deepcopy(net).to("meta")(torch.empty(1, *shape))
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise UserError(
            f"{key}: leaves a batch of one image, of which BatchNorm at 1x1 makes zeros; give {least} or more"
        ) from error
    finally:
        for module, mode in modes:
            module.training = mode


def require_use(model: Defended, others: float, epochs: Sequence[float]) -> None:
    """Raise UserError for defences that would do nothing: where a batch has fewer than `others` images of an image's
    class beside it than they look at, and where they wait for longer than the `epochs` of the phases."""
    problems = [
        f"optim.batch: holds {others:.2g} other images of an image's class, and {name} looks at {d.alike}; raise it, "
        f"or correct defense.{name}" for name, d in model.defenses() if d.alike > others
    ] + [
        f"optim.epochs: {most:g} leave none in which {name} acts, which begins after {least}; raise it, or correct "
        f"defense.{name}" for name, d in model.defenses()
        for least, most in ((d.idle, max(epochs)), (d.waits, sum(epochs))) if 0 < least >= most
    ]  # fmt: skip
    if problems:
        raise UserError(*problems)


def require_learning(model: Defended, phases: Sequence[Phase]) -> None:
    """Raise UserError for phases that name what is not there, or in which nothing is left that learns."""
    roots = {"edge": "net.edge.", "cloud": "net.cloud.", "defense": "chain."}
    modules = {name for name, _ in model.net.named_modules()}
    learns = [name for name, _ in model.named_parameters() if name not in model.frozen]
    for phase in phases:
        strange = [name for name in phase.train if name not in roots] + sorted({*phase.frozen} - modules)
        if strange:
            raise UserError(f"defense: phase {phase.name!r} speaks of {', '.join(strange)}; a phase trains edge, cloud "
                            "or defense, and freezes modules of the network by name")  # fmt: skip
        if model.frozen and not any(name.startswith(roots[part]) for part in phase.train for name in learns):
            raise UserError(
                f"backbone: nothing learns in phase {phase.name!r}, since all weights in question came with "
                "requires_grad=False; let some learn, or choose optim=none"
            )


def require_still(cfg: Config, model: Defended) -> None:
    """Raise UserError for whatever has to learn where nothing is trained."""
    problems = [
        f"defense.{name}: has to learn, and optim=none trains nothing; leave it out, or choose optim=sgd"
        for name, d in model.defenses() if d.phases or list(d.parameters()) or type(d).penalty is not Defense.penalty
    ]  # fmt: skip
    if cfg["monitor"]:
        problems.append("monitor: watches training, and optim=none trains nothing; set monitor=none")
    if any(name.startswith("bottleneck.") for name, _ in model.net.edge.named_parameters()):
        problems.append(
            "split.bottleneck: its layers have to learn, and optim=none trains nothing; set split.bottleneck=null"
        )
    if problems:
        raise UserError(*problems)


def finite(module: nn.Module) -> Tensor:
    """Whether all weights and statistics of a module are finite, (1,), on its device."""
    floats = [t for t in module.state_dict().values() if t.is_floating_point()]
    return torch.stack([t.isfinite().all() for t in floats]).all()[None]


def memory() -> int:
    """The machine's memory in bytes."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):  # a system that does not tell
        return 2**40


@contextmanager
def roomy(node: Mapping[str, Any], where: str) -> Iterator[None]:
    """Data that do not fit into memory are a user's mistake: the largest of their settings is named."""
    try:
        yield
    except (MemoryError, RuntimeError, ValueError) as error:
        if not isinstance(error, MemoryError) and not any(word in str(error) for word in UNROOMY):
            raise
        raise UserError(f"{largest(node, where)}: makes more than this machine's memory holds; lower it") from error


@contextmanager
def buildable(node: Any, where: str) -> Iterator[None]:
    """Settings that each pass but together cannot be built are a user's mistake, too: whatever is raised names them."""
    try:
        yield
    except (ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, MemoryError, NameError,
            RuntimeError, TypeError, ValueError) as error:  # fmt: skip
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        named = [key for key in node if str(key) in first] if isinstance(node, Mapping) else []
        if isinstance(error, MemoryError) or any(word in first for word in ("alloc", "memory", "overflow")):
            key = largest(node, where) if isinstance(node, Mapping) else where
        else:
            key = f"{where}.{named[0]}" if named else where
        raise UserError(*(raised(error) or [f"{key}: {UNBUILT} ({first}); correct them"])) from error
