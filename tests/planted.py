"""A world in which it is known what Cloak should find: the label depends on 10 of 100 pixels."""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from splitpriv import config, targets
from splitpriv.data.base import Split
from splitpriv.defenses.base import Defended
from splitpriv.run.fit import Job, SplitFit
from splitpriv.run.recipe import Recipe
from splitpriv.tasks.classify import Classify
from splitpriv.types import Epoch, Phase, Spec

SPEC = Spec((1, 10, 10), 2)
PLANTED = torch.arange(100) % 10 == 3


class Net(nn.Module):
    """A linear classifier behind dropout and BatchNorm that do nothing in evaluation mode; the edge sends pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.edge = nn.Identity()
        head = nn.Linear(100, 2)
        with torch.no_grad():
            head.weight.copy_(torch.stack([-8.0 * PLANTED, 8.0 * PLANTED]) * (-1.0) ** torch.arange(100))
            head.bias.copy_(-head.weight.sum(1) / 2)
        self.cloud = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.3), nn.Flatten(), head)


@functools.cache
def shipped(name: str) -> config.Config:
    """The settings in `conf/defense/<name>.yaml`; shared, so do not change them."""
    return config.compose(["split=raw", f"defense=[{name}]"])["defense"]["cloak"]  # type: ignore[no-any-return]


def defended(name: str = "cloak", **changes: Any) -> Defended:
    """`conf/defense/<name>.yaml`, with some of its settings replaced, before the planted classifier."""
    node = shipped(name) | changes
    defense = targets.build(node, "defense.cloak")()
    defense.validate({"cloak": defense})
    return Defended(Net().eval(), {"cloak": defense}, SPEC).eval()  # type: ignore[arg-type]


def stretch(lr: float, gamma: float, epochs: int = 0) -> dict[str, Any]:
    return {"epochs": epochs, "lr": lr, "gamma": gamma, "lambda": None}


@functools.cache
def images(count: int = 1024) -> Split:
    """Uniform pixels, labelled by the classifier itself."""
    x = torch.rand(count, 1, 10, 10, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        y = Net().eval().cloud(x).argmax(1)
    return Split(x, y, torch.arange(count))


def module_of(model: Defended, phase: Phase, epochs: int = 1) -> SplitFit:
    """The fit of one phase, at its start."""
    for _, defense in model.defenses():
        defense.on_phase_start(phase, model)
    optimizer = functools.partial(torch.optim.Adam, lr=phase.optim["optimizer"]["lr"])
    recipe = Recipe(epochs=epochs, batch=128, clip=None, optimizer=optimizer, schedule=None, rise=None)
    plain: Any = SimpleNamespace(crop=0, flip=False, rotation=0.0)
    return SplitFit(model, Job("key", phase, recipe, plain, Classify(smoothing=0.0), images(), images()))


def learn(model: Defended, epochs: int, only: str | None = None) -> Defended:
    """`epochs` of eight steps of every phase after the network's own, or of one of them, as the engine takes them."""
    for phase in model.chain["cloak"].phases[1:]:
        if only not in (None, phase.name):
            continue
        module = module_of(model, phase, epochs)
        for module.epoch in range(epochs):
            torch.manual_seed(module.epoch)
            module._set_modes()
            module.order = module.batches()
            for i, index in enumerate(module.order):
                module.step(index, i / len(module.order))
            model.eval()
            for _, defense in model.defenses():
                defense.on_epoch_end(Epoch(phase.name, module.epoch, 0.0, lambda: iter(())))
    return model.eval().requires_grad_(False)


@torch.no_grad()
def accuracy(model: Defended) -> float:
    """Of four noisy releases of every image."""
    data = images()
    return sum(float((model(data.images).argmax(1) == data.y).float().mean()) for _ in range(4)) / 4


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> set[str]:
    """The names whose values are equal to the bit."""
    return {name for name in a if torch.equal(a[name], b[name])}
