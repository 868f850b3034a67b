"""What a network and hooks return, held against what they must keep; nothing here reads a value in a step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from splitpriv.defenses.parts.aside import aside
from splitpriv.nets.modes import evaluating
from splitpriv.types import Shape, Spec, UserError

if TYPE_CHECKING:
    from splitpriv.defenses.base import Defended, Defense
    from splitpriv.nets.split import SplitNet


@contextmanager
def probing(model: nn.Module) -> Iterator[None]:
    """A look that leaves no trace: no gradient, no random number used up, no statistics learnt."""
    with evaluating(model), torch.no_grad(), aside():
        yield


@contextmanager
def intact(given: Tensor, called: str) -> Iterator[None]:
    """Raises UserError where the block changes `given` itself, which others read after it: a feature that is cached, a
    release that is attacked, an image of the data set."""
    before = None if given.is_inference() else given._version  # which inference does not count
    yield
    if before is not None and given._version != before:
        raise UserError(f"{called} changes in place what it is given, which others read, too; return a new tensor")


def held(hook: Callable[[Tensor], Any], given: Tensor, called: str, shape: Shape | None = None) -> Tensor:
    """What `hook` makes of `given` (N, ...): one float32 tensor (N, ...), of `shape` behind N if that is said.

    Raises UserError otherwise.
    """
    with intact(given, called):
        made = hook(given)
    if not isinstance(made, Tensor):
        raise UserError(f"{called} returns a {type(made).__name__}; return one tensor")
    if made.shape[:1] != given.shape[:1] or made.dtype != torch.float32:
        raise UserError(f"{called} makes {tuple(made.shape)} in {made.dtype} of {tuple(given.shape)}; return a row "
                        "for each image, in torch.float32")  # fmt: skip
    if shape is not None and made.shape[1:] != shape:
        raise UserError(f"{called} makes {tuple(made.shape[1:])} of each image, and must make {shape}; correct it")
    return made


def taken(model: Defended, z: Tensor | None = None) -> None:
    """Raise UserError where the cloud cannot take what the chain makes of z (None: of what the edge makes)."""
    _, _, edge = next(model.shapes(z))
    if model.shape == edge:
        return
    try:
        with probing(model):
            model.classify(torch.zeros(2, *model.shape, device=next(model.net.parameters()).device))
    except (IndexError, RuntimeError, TypeError, ValueError) as error:
        told = f"sends {model.shape} of each image, which the cloud, made for {edge}, cannot take"
        raise UserError(f"defense: {told}; let after_edge keep that shape, or attach fit the cloud to it") from error


def logits(net: SplitNet, spec: Spec) -> None:
    """Raise UserError where a network has no weights, or does not make logits (N, classes) of images."""
    weight = next(net.parameters(), None)
    if weight is None:
        raise UserError("backbone: has no weights; give at least one stage some")
    with probing(net):
        z = net.edge(torch.full((2, *spec.image), 0.5, device=weight.device))
        fits = isinstance(z, Tensor) and len(z) == 2
        made = net.cloud(z.float()) if fits else None
    if not fits:
        told = tuple(z.shape) if isinstance(z, Tensor) else f"a {type(z).__name__}"
        raise UserError(
            f"backbone: the edge makes {told} of 2 images; let each stage return a tensor with a row for each"
        )
    if not isinstance(made, Tensor) or tuple(made.shape) != (2, spec.classes):
        told = tuple(made.shape) if isinstance(made, Tensor) else f"a {type(made).__name__}"
        raise UserError(f"backbone: the cloud makes {told} of 2 images, and must make logits {(2, spec.classes)}, one "
                        "for each class of the data set; correct its last stage")  # fmt: skip


def scalar(value: Any, called: str, learns: bool = True) -> Tensor:
    """`value`, a loss: one number in a tensor, which has a gradient if anything `learns` from it; raises UserError."""
    if not isinstance(value, Tensor) or value.dim():
        told = f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise UserError(f"{called} returns {told}; return a scalar tensor, as of z.square().mean()")
    if learns and not value.requires_grad:
        raise UserError(f"{called} has no gradient, so that nothing learns from it; detach nothing on its way, let "
                        "what it looks at learn, or leave it out")  # fmt: skip
    return value


def rival(defense: Defense, net: nn.Module, called: str) -> torch.optim.Optimizer:
    """A new optimiser of a defence's adversary; raises UserError unless it trains the adversary, whole and alone."""
    optimizer = defense.adversary_optimizer()
    theirs = {id(p) for p in defense.adversary_parameters()}
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if theirs != trained or theirs & {id(p) for p in net.parameters()}:
        raise UserError(f"{called}: adversary_optimizer must train what adversary_parameters names, all of it and "
                        "nothing else, and no weight of the network; correct the two")  # fmt: skip
    return optimizer
