"""Every defence: it acts, leaves comparisons paired, takes any z, works in chains, reads nothing from the device."""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from splitpriv import host, targets
from splitpriv.config import Config
from splitpriv.contract.base import composed, require, require_valued
from splitpriv.data.base import Split
from splitpriv.defenses.base import Defended, Defense
from splitpriv.run.fit import Job, SplitFit
from splitpriv.run.parts import make_model, make_monitor, schedule
from splitpriv.run.plan import WHOLE
from splitpriv.run.recipe import Recipe
from splitpriv.tasks.classify import Classify
from splitpriv.types import Epoch, Shape, Step, UserError

RECIPE = Recipe(
    epochs=2, batch=12, clip=None, optimizer=functools.partial(torch.optim.SGD, lr=0.05), schedule=None,
    rise=None,
)  # fmt: skip
HOOKS = ("before_edge", "after_edge", "penalty")


def alone(option: str) -> Config:
    """A config of one defence with no more beside it than it demands."""
    cfg = copy.deepcopy(composed(f"defense=[{option}]"))
    require_valued(cfg["defense"], "defense")
    try:
        model(cfg)
    except UserError:
        cfg = copy.deepcopy(composed(f"defense=[{option},noise]"))
        model(cfg)
    return cfg


@functools.cache
def dataset(size: int = 8) -> Any:
    node = {**composed()["dataset"], "size": size}
    return targets.build(node, "dataset")()


def model(cfg: Config, size: int = 8) -> Defended:
    torch.manual_seed(0)
    return make_model(cfg, dataset(size))


def images(size: int = 8) -> Split:
    torch.manual_seed(7)
    pixels, place = 0.5 + 0.05 * torch.randn(24, 1, size, size), torch.arange(24)
    return Split(pixels, place % 2, place, {name: place // 2 % n for name, n in dataset(size).spec.attributes.items()})


def step_of(module: Defended, data: Split, epoch: int = 1) -> Step:
    return Step(data.images, data.y, data.attributes, module.net.edge, "fit", epoch, 0.5, 0.05)


def trained(cfg: Config, watch: bool = False, epochs: int = 2) -> SplitFit:
    """Two epochs of two steps, as the engine takes them."""
    data, target = images(), model(cfg)
    for phase in (p for p in schedule(target) if not p.idle):
        for _, defense in target.defenses():
            defense.on_phase_start(phase, target)
        job = Job("key", phase, RECIPE, dataset(), Classify(smoothing=0.0), data, data)
        module = SplitFit(target, job, make_monitor(cfg, target) if watch else None)
        for epoch in range(epochs):
            torch.manual_seed(epoch)
            module.epoch, module.order = epoch, module.batches()
            module._set_modes()
            for i, index in enumerate(module.order):
                module.step(index, i / 2)
            target.eval()
            for name, defense in target.defenses():
                defense.on_epoch_end(Epoch(phase.name, epoch, 0.05, functools.partial(module.features, name)))
    return module


@functools.cache
def undefended() -> list[Tensor]:
    """The weights of the same without a defence."""
    return weights(trained(composed("defense=[none]")))


def weights(module: SplitFit | Defended, part: str = "net") -> list[Tensor]:
    target = module.model if isinstance(module, SplitFit) else module
    return [v.clone() for k, v in target.state_dict().items() if k.startswith(part)]


def equal(a: Sequence[Tensor], b: Sequence[Tensor]) -> bool:
    return len(a) == len(b) > 0 and all(torch.equal(p, q) for p, q in zip(a, b, strict=True))


# ---- what each must keep -------------------------------------------------------------------------------------------


def acts(target: Defended, names: set[str]) -> set[str]:
    """What the links `names` of a trained chain do: change the release, the loss ("penalty"), the network ("edge")."""
    target.eval()
    data, found = images(), set()
    step = step_of(target, data)
    x = data.images
    for name, defense in target.defenses():
        if name not in names:
            continue
        received = next(z for place, _, z in target.walk(x) if place == name)
        made = defense.before_edge(x)
        require(made.shape == x.shape, f"before_edge changes the shape of images from {x.shape} to {made.shape}")
        if not torch.equal(made, x) or _differs(defense.after_edge, received, received):
            found.add("release")
        penalty = defense.penalty(received, step)
        if penalty is not None:
            theirs = {id(p) for p in defense.adversary_parameters()}
            learns = [
                *target.net.edge.parameters(),
                *(p for p in defense.parameters() if p.requires_grad and id(p) not in theirs),
            ]
            gradients = torch.autograd.grad(penalty, learns, allow_unused=True)
            require(penalty.shape == () and torch.isfinite(penalty), f"its penalty is {penalty}, no finite scalar")
            require(
                any(g is not None and g.abs().max() > 1e-8 for g in gradients),
                "its penalty has no gradient in the edge or in itself, which so learn nothing from it",
            )
            found.add("penalty")
    if [v.shape for v in weights(target)] != [v.shape for v in undefended()]:
        found.add("edge")
    changes = _differs(target.release, x, target.net.edge(x))
    honest = "edge" in found or ("release" in found) == changes or len(target.chain) > 1
    require(honest, "what it does to z alone is not what it does in a model")
    return found


def _differs(change: Callable[[Tensor], Tensor], given: Tensor, plain: Tensor) -> bool:
    """Whether one of several draws is no longer `plain`."""
    return not all(torch.equal(change(given), plain) for _ in range(8))


def changes_something(option: str) -> None:
    """It changes the release, the loss or the network."""
    names = {*composed(f"defense=[{option}]")["defense"]}
    require(acts(trained(alone(option)).model, names), "it changes neither the release nor the loss nor the network")


def leaves_no_trace_when_off(cfg: Config, on: SplitFit | None = None, also: tuple[str, ...] = ()) -> bool:
    """Without its hooks it trains the undefended network bit by bit: to build it consumes no random number.

    `on`: it, trained; `also`: further hooks to switch off. Whether it changes what is learnt is returned.
    """
    plain = model(composed("defense=[none]"))
    drawn = torch.get_rng_state()
    target = model(cfg)
    require(
        torch.equal(drawn, torch.get_rng_state()), "to build it consumes random numbers; draw in `attach`, or aside"
    )
    on = on or trained(cfg)
    if schedule(target) != WHOLE:  # its network arrives trained
        built, fresh = list(target.net.parameters()), dict(plain.net.named_parameters())
        kept = {name: p for name, p in target.net.named_parameters() if name in fresh}  # it may have another cloud
        same = equal([fresh[name] for name in kept], list(kept.values()))
        require(same, "it changes the network's initial weights")
        if all("edge" not in phase.train for phase in schedule(target) if not phase.idle):
            require(equal(list(on.model.net.parameters()), built), "it changes weights that do not learn")
        return True
    with contextlib.ExitStack() as stack:
        for each in {type(defense) for defense in target.chain.values()}:
            for hook in (*HOOKS, *also):
                stack.enter_context(mock.patch.object(each, hook, getattr(Defense, hook)))
        off = weights(trained(cfg))
    require(
        equal(off, undefended()), "without its hooks the network learns otherwise; it draws random numbers beside them"
    )
    return not equal(weights(on), undefended())


def takes_a_raw_image(cfg: Config) -> None:
    """It works where the device sends the image itself, a grey one, or says in a line why it cannot."""
    try:
        module = trained({**cfg, "split": {"at": 0, "bottleneck": None}})
    except UserError:  # as of a share of the channels, of which there is one
        return
    require(_fits(module.model.shape, (1, 8, 8)), f"of an image (1, 8, 8) it makes a release {module.model.shape}")
    require(all(torch.isfinite(value) for value in module.sums.values()), "its loss on raw images is not finite")


def _fits(release: Shape, z: Shape) -> bool:
    """Whether a release is of the shape of z, or some of them side by side."""
    return release[1:] == z[1:] and release[0] % z[0] == 0


def takes_a_flat_feature(cfg: Config) -> None:
    """It works where z is a vector."""
    node = {"_target_": "splitpriv.nets.small.lenet5", "weights": None, "head": "keep"}
    target = model({**cfg, "backbone": node, "split": {"at": "fc1", "bottleneck": None}}, 28)
    data = images(28)
    require(_fits(target.shape, (84,)), f"of a vector (84,) it makes a release {target.shape}")
    for place, defense, z in target.walk(data.images):
        if defense is not None:
            for _ in range(bool(defense.adversary_parameters())):
                defense.adversary_loss(z.detach(), step_of(target, data)).backward()
            penalty = defense.penalty(z, step_of(target, data))
            require(penalty is None or torch.isfinite(penalty), f"{place}: its penalty on vectors is not finite")
    logits = target.classify(z)
    require(logits.shape == (24, dataset(28).spec.classes), f"the cloud answers {tuple(logits.shape)} to it")


def works_beside_another(cfg: Config) -> None:
    """It works before and after another defence of the chain, or refuses one of the two orders in a line."""
    refused: list[str] = []
    other = {k: {**v, "iterations": 2, "em_iterations": 1} for k, v in composed("defense=[cem]")["defense"].items()}
    noise = composed("defense=[noise]")["defense"]
    for order in ((other, cfg["defense"]), (cfg["defense"], other)):
        links: dict[str, Any] = {}
        for link in (noise, *order):
            links |= link if not set(link) & set(links) else {}
        try:
            module = trained({**cfg, "defense": copy.deepcopy(links)})
        except UserError as error:
            refused += error.problems
            continue
        require(all(torch.isfinite(v) for v in module.sums.values()), f"in {'+'.join(links)} the loss is not finite")
    require(len(refused) < 2, "; ".join(refused))


def reads_nothing_back(cfg: Config) -> None:
    """No step asks for a value of a tensor, which would make a GPU wait: a fake tensor has none."""
    dataset()
    with mock.patch.object(host, "to_host", lambda values: [12.0] * values.numel()), FakeTensorMode():
        module = trained(cfg, epochs=1)
    require(module.sums, "nothing was trained")


def _of(check: Any) -> Any:
    @functools.wraps(check)
    def of_option(option: str) -> None:
        check(alone(option))

    return of_option


CHECKS = (changes_something, *map(_of, (leaves_no_trace_when_off, takes_a_raw_image, takes_a_flat_feature,
                                        works_beside_another, reads_nothing_back)))  # fmt: skip
