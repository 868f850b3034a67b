"""The null space of the server's first layer: what it does not read, or hardly, does not leave the device."""

from __future__ import annotations

from math import prod
from typing import Annotated, Any

import torch
from annotated_types import Ge
from torch import Tensor, nn

from splitpriv.defenses.base import Defended
from splitpriv.defenses.parts.subspace import MOST, Share, Subspace, gathered
from splitpriv.nets.modes import evaluating
from splitpriv.types import Epoch, Shape, Spec, UserError

CHUNK = 256  # directions that the layer is asked about at a time


class NullSpace(Subspace):
    """z on the k directions by which the server's first layer learns most of it, k a `share` of its entries (Samragh et
    al. 2021, arXiv 2104.11413).

    With A the layer as a matrix on the whole of z and AᵀA = V S² Vᵀ, direction v brings the energy s²·E[(vᵀz)²] to the
    layer's output; those with the least are dropped, first of all A's null space, where s = 0. So no answer changes
    while k is A's rank or more, and below it the layer's output loses the energies dropped. A and energies are those at
    the end of each epoch, over up to `samples` training features; edge and cloud learn through those of the epoch
    before, and the first epoch through none.

    Open: the paper chooses directions for a given distortion of the output, and its body was not at hand: whether
    energies are means or each image's own, and how it unrolls convolutions. Raises UserError where something else of
    the server reads z, too, as a shortcut does, or where A would take more than 256 MiB.
    """

    def __init__(self, *, share: Share, samples: Annotated[int, Ge(1)]) -> None:
        super().__init__(share)
        self.samples = samples

    def attach(self, model: Defended, spec: Spec, shape: Shape) -> None:
        super().attach(model, spec, shape)
        if (n := prod(shape)) ** 2 > MOST:
            raise UserError(f".share: A is known by {n}² numbers, more than {MOST}; cut the network deeper")
        self.shape = shape
        self.server = lambda: model.net.cloud  # no module of its own: the device does not hold it
        if not read_alone(self.server(), shape):
            raise UserError(": more than one layer of the server reads z, as a shortcut does, and each misses "
                            "something else; cut the network elsewhere")  # fmt: skip

    @torch.no_grad()
    def on_epoch_end(self, epoch: Epoch) -> None:
        self.learn(gathered(epoch, self.samples), gram(self.server(), self.shape))

    def learn(self, flat: Tensor, read: Tensor) -> None:
        """Take the directions for features (N, n) and AᵀA (n, n)."""
        squares, directions = torch.linalg.eigh(read)
        energies = squares.clamp_min(0) * (flat @ directions).square().mean(0)
        self.basis.copy_(directions[:, energies.topk(self.rank).indices])


class _SeenError(Exception):
    """Carries what the first layer made of z past the rest of the network."""

    def __init__(self, output: Tensor) -> None:
        self.output = output


def _first(layer: nn.Module) -> bool:
    """Whether a layer has weights of its own that are a matrix or filters."""
    return any(p.dim() > 1 for p in layer.parameters(recurse=False))


def first_output(server: nn.Module, z: Tensor) -> Tensor:
    """What the first layer with weights makes of z (N, *shape)."""

    def seen(_: nn.Module, __: Any, output: Tensor) -> None:
        raise _SeenError(output)

    hooks = [layer.register_forward_hook(seen) for layer in server.modules() if _first(layer)]
    try:
        server(z)
    except _SeenError as read:
        return read.output
    finally:
        for hook in hooks:
            hook.remove()
    raise UserError(": the server has no layer with weights, so that there is nothing which it does not read")


def read_alone(server: nn.Module, shape: Shape) -> bool:
    """Whether z (1, *shape) reaches the answer through its first layer with weights alone."""
    left = [layer for layer in server.modules() if _first(layer)]
    first: list[nn.Module] = []

    def cut(layer: nn.Module, _: Any, output: Tensor) -> Tensor:
        first.append(layer)
        return output.detach() if len(first) == 1 else output

    hooks = [layer.register_forward_hook(cut) for layer in left]
    try:
        with evaluating(server), torch.enable_grad():
            z = torch.zeros(1, *shape, device=next(server.parameters()).device, requires_grad=True)
            answer = server(z).sum()
            return not answer.requires_grad or torch.autograd.grad(answer, z, allow_unused=True)[0] is None
    finally:
        for hook in hooks:
            hook.remove()


def gram(server: nn.Module, shape: Shape) -> Tensor:
    """AᵀA (n, n) of its first layer with weights, A the linear part of what that makes of z, (N, *shape)."""
    n, device = prod(shape), next(server.parameters()).device
    rows = []
    with evaluating(server), torch.enable_grad():
        for part in torch.eye(n, device=device).split(CHUNK):
            z = torch.zeros(len(part), *shape, device=device, requires_grad=True)
            nothing = first_output(server, z)
            read = first_output(server, part.view_as(z)).detach() - nothing.detach()
            rows.append(torch.autograd.grad(nothing, z, read)[0].flatten(1))
    return torch.cat(rows)
