"""The members that learn: the decoder ladder, the refinement that sees a gradient, and the fusion of all candidates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from splitpriv import host
from splitpriv.attacks.suite import readout
from splitpriv.attacks.suite.lab import CHUNK, Found, Lab, batch_of, mse
from splitpriv.attacks.suite.plateau import Length, Trainee
from splitpriv.nets import inverters
from splitpriv.store import state

BATCH = 32
WIDTH, BLOCKS = 32, 2  # of the nets that refine and fuse
WIDTHS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4)  # of the gallery, in units of the noise
POOL = 64  # images whose candidates are kept together
RUNGS: dict[str, Callable[..., nn.Module]] = {
    "plain": partial(inverters.folded, width=48, blocks=2, depth=0),
    "unet": partial(inverters.folded, width=32, blocks=0, depth=2),
    "wide": partial(inverters.folded, width=64, blocks=3, depth=0),
}


class Trained:
    """A trained member: `answered` by a net that never changes again, and what the row says of its training."""

    def __init__(self, answered: Callable[[nn.Module], Found], trainee: Trainee, length: Length) -> None:
        self.answered, self.trainee = answered, trainee
        self.answer = answered(trainee.finish(length))
        self.report = trainee.report

    @torch.no_grad()
    def __call__(self, releases: Tensor) -> Tensor:
        return self.answer(releases).clamp(0, 1)

    def before(self) -> Found:
        """The same member as it was when its rate began to fall."""
        answer = self.answered(self.trainee.before())
        return torch.no_grad()(lambda releases: answer(releases).clamp(0, 1))


def decoder(lab: Lab, length: Length, rungs: Sequence[str]) -> Trained:
    """The ladder: nets race at equal cost, the worse half leaves after every doubling, the last goes to its plateau.

    Where a ridge regression reads more of a release than these nets have learned by then, they begin anew on what it
    reads, if that brings them further.
    """
    trainees, costs = _begun(lab, length.first, rungs)
    best = min(t.after(length.first) for t in trainees.values())
    lab.view = readout.read(lab, best)
    if lab.view is not None:
        other, cost = _begun(lab, length.first, rungs)
        if min(t.after(length.first) for t in other.values()) < (1 - readout.BETTER) * best:
            trainees, costs = other, cost
        else:
            lab.view = None
    unit, racing = min(costs.values()), list(trainees)
    steps = length.first
    while len(racing) > 1:
        for name in racing:
            trainees[name].advance(round(steps * unit / costs[name]))
        racing = sorted(racing, key=lambda name: trainees[name].best)[: (len(racing) + 1) // 2]
        steps *= 2
    share = unit / costs[racing[0]]
    winner = trainees[racing[0]]
    within = Length(round(length.first * share), round(length.most * share))
    made = Trained(lambda net: net, winner, within)
    made.report |= {"net": racing[0], "rungs": {name: t.best for name, t in trainees.items()}}
    if lab.view is not None:
        made.report["readout"] = True
    return made


def _begun(lab: Lab, steps: int, rungs: Sequence[str]) -> tuple[dict[str, Trainee], dict[str, int]]:
    """Nets of the ladder after the first of its races, and what a release costs each."""
    trainees = {name: _decoder(lab, name) for name in rungs}
    costs = {name: flops(t.net, lab) for name, t in trainees.items()}
    for name, trainee in trainees.items():
        trainee.advance(round(steps * min(costs.values()) / costs[name]))
    return trainees, costs


def _decoder(lab: Lab, name: str) -> Trainee:
    label = f"decoder {name}" if lab.view is None else f"decoder {name} readout"
    first = lab.scale if lab.view is None else lab.view  # measured before the net is seeded

    def make() -> nn.Module:
        with lab.access.device:
            return nn.Sequential(first, RUNGS[name](lab.seen_shape, lab.access.spec.image))

    def loss(net: nn.Module) -> Tensor:
        x = batch_of(lab, BATCH, "learn", "fuse")
        return mse(net(lab.release(x)), x)

    x, releases = lab.pairs("held")
    path = lab.room("decoder") / f"{label.removeprefix('decoder ')}.pt"
    return Trainee(label, path, f"{lab.home.name} {label}", make, loss, lambda net: mse(net(releases), x), lab.floor)


def flops(net: nn.Module, lab: Lab) -> int:
    """Floating-point operations of `net` for two releases."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.eval()(torch.zeros(2, *lab.access.shape, device=lab.access.device))
    return int(counter.get_total_flops())


@dataclass(frozen=True)
class Step:
    """One learned step: from `base`, with the gradient of the distance there, and further candidates."""

    lab: Lab
    base: Found
    others: Sequence[Found] = ()

    def known(self, releases: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """What a refiner sees: (releases, unexplained part), and (base, gradient there, its further candidates)."""
        with torch.no_grad():
            start = self.base(releases)
            more = [other(releases) for other in self.others]
        slope, gap = self.lab.look(start, releases)
        return [self.lab.seen(releases), self.lab.seen_change(gap)], [start, slope, *more]

    def answered(self, net: nn.Module) -> Found:
        """The base with the correction that `net` gives."""

        def answer(r: Tensor) -> Tensor:
            releases, images = self.known(r)
            return images[0] + net(releases, images)

        return answer


def refine(lab: Lab, name: str, length: Length, base: Found) -> Trained:
    """A net that takes one step from `base`: it has seen where the gradient of the distance leads on aux."""
    step, key = Step(lab, base), f"{lab.home.name} {name}"

    def loss(net: nn.Module) -> Tensor:
        x = batch_of(lab, BATCH, "learn", "fuse")
        releases, images = step.known(lab.release(x))
        return mse(images[0] + net(releases, images), x)

    x, held = lab.pairs("held")
    releases, images = step.known(held)
    trainee = Trainee(name, lab.room(name) / "net.pt", key, lambda: _refiner(lab, 2), loss,
                      lambda net: mse(images[0] + net(releases, images), x), lab.floor)  # fmt: skip
    return Trained(step.answered, trainee, length)


def fuse(lab: Lab, length: Length, base: Found, others: Sequence[Found], images: int) -> Trained:
    """A net that sees all candidates and answers one image, by a correction of `base`.

    Candidates are dear where they are searched for, so it learns from a fixed pool of `images` images of aux.
    """
    step, key, room = Step(lab, base, others), f"{lab.home.name} fuse", lab.room("fuse")
    pool = (_pool(lab, step, room / f"pool{i}.pt", i) for i in range(-(-images // POOL)))
    x, *known = map(torch.cat, zip(*pool, strict=True))  # and none of the parts stays

    def loss(net: nn.Module) -> Tensor:
        part = torch.randint(len(x), (BATCH,)).to(x.device)
        seen = [t[part] for t in known]
        return mse(seen[2] + net(seen[:2], seen[2:]), x[part])

    truth, held = lab.pairs("held")
    releases, guesses = step.known(held)
    trainee = Trainee("fuse", room / "net.pt", key, lambda: _refiner(lab, 2 + len(others)), loss,
                      lambda net: mse(guesses[0] + net(releases, guesses), truth), lab.floor)  # fmt: skip
    return Trained(step.answered, trainee, length)


def _pool(lab: Lab, step: Step, path: Path, number: int) -> list[Tensor]:
    """Images of aux and all that is known of their releases, kept in `path`."""
    _, kept = state.load_state(path, {})
    if kept is None:
        state.seed_epoch(f"{lab.home.name} pool", number)
        x = batch_of(lab, POOL, "learn", "fuse")
        releases, images = step.known(lab.release(x))
        kept = [x, *releases, *images]
        state.save_state(path, 1, {}, kept)
    return [t.to(lab.access.device) for t in kept]


def _refiner(lab: Lab, guesses: int) -> nn.Module:
    with lab.access.device:
        return inverters.Refiner([lab.seen_shape] * 2, lab.access.spec.image, guesses, width=WIDTH, blocks=BLOCKS)


def mean_image(lab: Lab) -> Found:
    """Whoever never looks at a release: no answer of the suite is worse on aux."""
    mean = lab.mean_image
    return lambda releases: mean.expand(len(releases), *mean.shape)


class Gallery:
    """Images of aux, weighed by how well their expected releases explain the one received: a posterior mean.

    Of `WIDTHS`, multiples of the noise, the one with the lowest MSE on held-out aux; a narrow one gives the nearest.
    """

    def __init__(self, lab: Lab) -> None:
        index = torch.cat([lab.parts["learn"], lab.parts["fuse"]])
        self.images = torch.cat([lab.images(part) for part in index.split(CHUNK)])
        self.root = lab.precision.sqrt()
        with torch.no_grad():
            shown = torch.cat([self._flat(lab.expected(part)) for part in self.images.split(CHUNK)])
        self.centre = shown.mean(0)  # distances by products lose digits to what all have in common
        self.shown, self.width = shown - self.centre, WIDTHS[0]
        x, releases = lab.pairs("held")
        told = host.to_host(torch.stack([mse(self._weighed(releases, width), x) for width in WIDTHS]))
        self.width = WIDTHS[told.index(min(told))]
        self.report = {"width": self.width, "held": min(told)}

    def _flat(self, releases: Tensor) -> Tensor:
        return (releases * self.root).flatten(1)

    def _weighed(self, releases: Tensor, width: float) -> Tensor:
        far = torch.cdist(self._flat(releases) - self.centre, self.shown).square() / (2 * width)
        return ((-far).softmax(1) @ self.images.flatten(1)).view(-1, *self.images.shape[1:])

    def __call__(self, releases: Tensor) -> Tensor:
        return self._weighed(releases, self.width)
