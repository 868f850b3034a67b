"""Samragh et al.: what the server's first layer does not read does not leave the device."""

from __future__ import annotations

from math import prod
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from splitpriv.defenses.null_space import NullSpace, gram, read_alone
from splitpriv.types import Epoch, Spec, UserError

SPEC = Spec((1, 8, 8), 2)
SHAPE = (3, 2, 4)


def server() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(24, 6), nn.ReLU(), nn.Linear(6, 2))


def attached(cloud: nn.Module, share: float, shape: tuple[int, ...] = SHAPE) -> Any:
    found = NullSpace(share=share, samples=100)
    found.attach(SimpleNamespace(net=SimpleNamespace(cloud=cloud)), SPEC, shape)  # type: ignore[arg-type]
    return found


def epoch(flat: Tensor) -> Epoch:
    batches = [(part.view(-1, *SHAPE), torch.zeros(len(part))) for part in flat.split(40)]
    return Epoch("fit", 0, 0.1, lambda: iter(batches))


def test_what_the_first_layer_does_not_read_goes_and_no_answer_changes() -> None:
    cloud, flat = server(), 2 + torch.randn(200, 24)
    found = attached(cloud, 6 / 24)
    z = flat.view(-1, *SHAPE)
    assert torch.equal(found.after_edge(z), z)  # before anything is known
    state = torch.get_rng_state()
    found.on_epoch_end(epoch(flat))
    assert torch.equal(torch.get_rng_state(), state)
    sent = found.after_edge(z)
    assert torch.allclose(cloud(sent), cloud(z), atol=1e-4)
    null = torch.linalg.svd(cloud[1].weight)[2][6:]  # its null space
    assert (flat @ null.T).abs().mean() > 0.5
    assert (sent.flatten(1) @ null.T).abs().max() < 1e-4
    assert found.bits == pytest.approx(32 * 6 / 24)


@pytest.mark.parametrize("kept", [1, 3, 5])
def test_the_layer_loses_the_energies_that_are_dropped(kept: int) -> None:
    """In closed form: with AᵀA = V S² Vᵀ the errors of directions are orthogonal behind A."""
    cloud, flat = server(), (torch.randn(100, 24) @ torch.randn(24, 24)).double()
    found = attached(cloud, kept / 24).double()
    cloud.double()
    found.learn(flat, cloud[1].weight.T @ cloud[1].weight)
    squares, directions = torch.linalg.eigh(cloud[1].weight.T @ cloud[1].weight)
    energies = (squares * (flat @ directions).square().mean(0)).sort().values
    lost = (found.after_edge(flat.view(-1, *SHAPE)).flatten(1) - flat) @ cloud[1].weight.T
    assert lost.square().sum(1).mean().item() == pytest.approx(energies[:-kept].sum().item(), rel=1e-6)


def test_a_layer_is_known_whole_whatever_its_kind() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 5, 3, stride=2, padding=1)
    shape = (3, 6, 4)
    matrix = torch.autograd.functional.jacobian(lambda z: layer(z.view(1, *shape)).flatten(), torch.zeros(prod(shape)))
    told = gram(nn.Sequential(layer, nn.BatchNorm2d(5), nn.Flatten(), nn.Linear(30, 2)).train(), shape)
    assert torch.allclose(told, matrix.T @ matrix, atol=1e-5)


class Shortcut(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        return self.inner(z) + z


def test_a_server_that_reads_z_twice_or_not_at_all_is_refused() -> None:
    assert read_alone(server(), SHAPE) and not read_alone(Shortcut(), SHAPE)
    with pytest.raises(UserError, match=r"^: more than one layer of the server reads z"):
        attached(Shortcut(), 0.5)
    with torch.device("meta"), pytest.raises(UserError, match=r"^\.share: A is known by 16384² numbers"):
        attached(nn.Conv2d(64, 8, 1), 0.001, (64, 16, 16))
