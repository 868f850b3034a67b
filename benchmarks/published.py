"""CEM as its authors' code computes it, written out plainly, beside our loop: the same network, images and epochs.

What makes theirs slow is kept: a loop over images through PIL, a Python loop over classes and clusters with a read-back
in each, a backward pass of its own for the penalty, and features of all images read again through PIL every epoch.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.paired import TURNS, Result, ratios, spread, turns
from benchmarks.step import Bench, end_epoch, fresh

CLASSES, CLUSTERS, BATCH, SIGMA = 10, 5, 128, 0.025


def plain_cem(net: nn.Module, pictures: list[Any], labels: list[int], epochs: int) -> None:
    """`epochs` of the published algorithm over PIL pictures."""
    from torchvision import transforms as T

    change = T.Compose([T.RandomCrop(32, 4), T.RandomHorizontalFlip(), T.RandomRotation(15), T.ToTensor()])
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    centres: dict[int, Tensor] = {}
    variances: dict[int, Tensor] = {}
    weights: dict[int, Tensor] = {}
    for _ in range(epochs):
        for start in range(0, len(pictures) - BATCH + 1, BATCH):
            x = torch.stack([change(pictures[i]) for i in range(start, start + BATCH)])
            y = torch.tensor(labels[start : start + BATCH])
            z = net.edge(x)
            optimizer.zero_grad()
            kept = None
            if centres:
                _penalty(z.flatten(1), y, centres, variances, weights, len(pictures)).backward(retain_graph=True)
                kept = [p.grad.clone() if p.grad is not None else None for p in net.edge.parameters()]
                optimizer.zero_grad()
            F.cross_entropy(net.cloud(z + SIGMA * torch.randn_like(z)), y).backward()
            for p, more in zip(net.edge.parameters(), kept or [], strict=False):
                if more is not None:
                    p.grad += 0.32 * more
            optimizer.step()
        with torch.no_grad():
            features = []
            for start in range(0, len(pictures) - BATCH + 1, BATCH):
                features.append(net.edge(torch.stack([change(p) for p in pictures[start : start + BATCH]])).flatten(1))
            _clusters(torch.cat(features), labels, centres, variances, weights)


def _penalty(z: Tensor, y: Tensor, centres: Any, variances: Any, weights: Any, count: int) -> Tensor:
    total, classes = torch.zeros(()), y.unique()
    for c in classes:
        name = int(c)
        if name not in centres:
            continue
        mine = z[y == c]
        apart = [torch.stack([(m - k).norm() for k in centres[name]]) for m in mine.detach()]
        nearest = torch.tensor([int(a.argmin()) for a in apart])
        for j in range(CLUSTERS):
            members = mine[nearest == j]
            if len(members) == 0:
                continue
            share = float(weights[name][j])
            rho = 10 * len(members) / max(share * count / CLASSES, 1e-9)
            rho = 0.99 if rho >= 1 else rho
            v = rho * ((members - centres[name][j]) ** 2).mean() + (1 - rho) * variances[name][j]
            if not torch.isnan(v):
                total = total + share * F.relu(torch.log(v + 0.01) - torch.log(torch.tensor(0.125 * SIGMA**2 + 0.01)))
    return total / len(classes)


def _clusters(z: Tensor, labels: list[int], centres: Any, variances: Any, weights: Any) -> None:
    y = torch.tensor(labels[: len(z)])
    for c in range(CLASSES):
        mine = z[y == c]
        if len(mine) < CLUSTERS:
            continue
        k = centres.get(c, mine[torch.randperm(len(mine))[:CLUSTERS]]).clone()
        for _ in range(50):
            nearest = torch.cdist(mine, k).argmin(1)
            new = torch.stack([mine[nearest == j].mean(0) if (nearest == j).any() else k[j] for j in range(CLUSTERS)])
            if torch.equal(new, k):
                break
            k = new
        centres[c] = k
        groups = [mine[nearest == j] for j in range(CLUSTERS)]
        apart = [((g - k[j]) ** 2).mean() if len(g) else torch.zeros(()) for j, g in enumerate(groups)]
        variances[c] = torch.stack(apart)
        weights[c] = torch.stack([(nearest == j).float().mean() for j in range(CLUSTERS)])
        for g in groups:  # made every epoch, though used for pictures alone
            torch.cov(g.T)


def loops(quick: bool) -> Iterator[Result]:
    """Two epochs of CEM on the cut VGG11, ours over theirs."""
    from PIL import Image

    steps, epochs = (1, 2) if quick else (4, 2)
    overrides = (
        "defense=[cem,noise]", "dataset=cifar10", "backbone=vgg11", "split=cem", "dataset.crop=4", "dataset.flip=true",
        "dataset.rotation=15", f"optim.batch={BATCH}",
    )  # fmt: skip
    bench = Bench(steps, *overrides)
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in bench.split.images]
    labels = bench.split.y.tolist()

    def theirs() -> None:
        net = copy.deepcopy(bench.model.net).train()
        plain_cem(net, pictures, labels, epochs)

    def ours(layout: torch.memory_format = torch.channels_last) -> None:
        module = fresh(bench)
        module.model.channels_last = layout is torch.channels_last  # as `runtime` has it unless told otherwise
        module.model.net.to(memory_format=layout)  # type: ignore[call-overload]
        for epoch in range(epochs):
            module.epoch = epoch
            order = module.batches()
            for i, index in enumerate(order):
                module.step(index, i / len(order))
            end_epoch(module, epoch)

    own, other = turns(ours, theirs, 1 if quick else TURNS)
    yield spread("our loop over CEM's published one, VGG11 cut, batch 128", ratios(own, other), "", bar=0.75)
    own, other = turns(lambda: ours(torch.contiguous_format), theirs, 1 if quick else TURNS)
    yield spread("… with runtime.channels_last=false", ratios(own, other), "", bar=0.75)


BENCHES = {"published": loops}
