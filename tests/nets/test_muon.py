"""The optimiser of `optim=fast`."""

from __future__ import annotations

import torch
from torch import nn

from splitpriv.nets.muon import MuonSGD

RATES = {"lr": 0.1, "momentum": 0.6, "iterations": 5, "rest_lr": 0.05, "rest_momentum": 0.9, "weight_decay": 0.0}


def test_banks_move_orthogonally_and_the_rest_as_nesterov_sgd_moves_it():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(32, 2))
    theirs = [p.detach().clone().requires_grad_() for p in net.parameters()]
    ours = MuonSGD(net.parameters(), **RATES)
    sgd = torch.optim.SGD(theirs, lr=0.05, momentum=0.9, nesterov=True)
    before = net[0].weight.detach().clone()
    for step in range(2):
        for p, q in zip(net.parameters(), theirs, strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        ours.step()
        sgd.step()
        if not step:
            moves = torch.linalg.svdvals((net[0].weight.detach() - before).flatten(1))
            assert moves.min() > 0.06 and moves.max() < 0.13
    rest = [1, 2, 3]
    assert all(torch.allclose(list(net.parameters())[i], theirs[i]) for i in rest)
    assert not torch.allclose(net[0].weight, theirs[0])


def test_decay_spares_what_a_defence_asks_for_and_maps_of_one_output_are_no_banks():
    bank, bias, free = (nn.Parameter(torch.ones(*s)) for s in ((2, 1, 1, 1), (2,), (1, 1, 2, 2)))
    groups = [{"params": [bank, bias]}, {"params": [free], "weight_decay": 0.0}]
    muon = MuonSGD(groups, **{**RATES, "weight_decay": 0.5})
    assert [(g["banks"], g["weight_decay"], g["lr"]) for g in muon.param_groups] == [
        (False, 0.5, 0.05), (False, 0.0, 0.05), (True, 0.5, 0.1)]  # fmt: skip
    for p in (bank, bias, free):
        p.grad = torch.zeros_like(p)
    muon.step()
    assert (
        torch.allclose(bank, torch.full_like(bank, 0.95)) and bias[0] < 1 and torch.equal(free, torch.ones_like(free))
    )


def test_a_restored_optimiser_goes_on_where_it_was():
    def steps(muon: MuonSGD, p: nn.Parameter, n: int) -> None:
        for i in range(n):
            p.grad = torch.full_like(p, 1.0 + i).tril()
            muon.step()

    one = nn.Parameter(torch.eye(3)[:, :, None, None].clone())
    first = MuonSGD([one], **RATES)
    steps(first, one, 2)
    two = nn.Parameter(one.detach().clone())
    second = MuonSGD([two], **RATES)
    second.load_state_dict(first.state_dict())
    steps(first, one, 1)
    steps(second, two, 1)
    assert torch.equal(one, two)
