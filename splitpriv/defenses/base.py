"""What a defence is, and the defended model that is trained, deployed and attacked."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from splitpriv.defenses.parts.aside import aside
from splitpriv.defenses.parts.held import held, intact, probing
from splitpriv.nets.small_maps import arithmetic, gains
from splitpriv.types import Epoch, Phase, Pull, Shape, Spec, Step, UserError, blame

if TYPE_CHECKING:
    from splitpriv.nets.split import SplitNet


class Defense(nn.Module):
    """One link of a chain: the same mechanism in training and at deployment. Every hook is optional.

    A defence returns penalties and never calls `backward`. Parameters of `adversary` learn only from `adversary_loss`,
    with an optimiser of their own. Buffers take their final shape in `attach`, so that strict loading works.
    """

    version: ClassVar[int] = 1  # bump when an edit changes the numbers, so that stored results are not reused
    unsaid: ClassVar[int] = 1  # the version of rows of before, which do not name theirs
    added: ClassVar[Mapping[str, Any]] = {}  # settings newer than keys, at the value that means what was done before
    bits: float = 32.0  # per released value
    additive_gaussian: ClassVar[bool] = False  # whether `after_edge` adds N(0, noise_std^2 I), and does nothing else
    adaptive: ClassVar[frozenset[str]] = frozenset()  # attacks it must be measured by (`Attack.adapts`)
    adversary_steps: int = 1
    alike: int = 0  # other images of an image's class without which a step teaches nothing; on average a batch has them
    idle = waits = 0  # epochs of every phase, and of the whole training, in which it does nothing
    steady: bool = True  # whether no step reads what changes within an epoch: `Step.progress`
    phases: tuple[Phase, ...] = ()  # at most one defence of a chain brings a schedule

    def attach(self, model: Defended, spec: Spec, shape: Shape) -> None:
        """Build what depends on `shape`, that of one z at this defence's place, without the batch.

        Called before any `after_edge` of this defence, and after those of the links before it. The draws of `attach`
        leave torch's generators as they were, so that a defence never shifts the network's random numbers.
        """

    def validate(self, chain: Mapping[str, Defense]) -> None:
        """Raise UserError where this defence cannot work in `chain`; called before any data is read."""

    @property
    def noise_std(self) -> float:
        """Standard deviation of the fixed-size noise this defence adds to every entry of z; 0 if it adds none."""
        return 0.0

    @property
    def gaussian_std(self) -> Tensor | float | None:
        """Per entry, the standard deviation of the Gaussian noise that `after_edge` adds at deployment, infinite where
        a constant replaces the entry; None if the defence does anything else to z."""
        return self.noise_std if self.additive_gaussian else None

    @property
    def keep(self) -> Tensor | None:
        """1 where an entry of z passes at deployment, 0 where a constant replaces it; None if nothing is fixed so."""
        return None

    @property
    def facts(self) -> Mapping[str, float | str]:
        """What the row says of this defence beyond its settings, once it is trained."""
        return {}

    def pull(self, batch: int, rates: Sequence[float]) -> Pull:
        """How hard the penalty pulled in a training at `rates` (of every epoch) on `batch` images a step."""
        return Pull()

    def before_edge(self, x: Tensor) -> Tensor:
        """Change the image x (N, C, H, W) on the device, before the edge; its shape stays."""
        return x

    def after_edge(self, z: Tensor) -> Tensor:
        """Change the feature z (N, ...) on the device, after the edge."""
        return z

    def expected(self, z: Tensor) -> Tensor:
        """`after_edge` with its randomness at its mean, differentiable; a draw where a defence does not say."""
        return self.after_edge(z)

    def gap(self, z: Tensor, release: Tensor) -> Tensor:
        """What of a release z does not explain, (N, *shape), differentiable in z; see `parts/law.py`."""
        return self.expected(z) - release

    def present(self, release: Tensor) -> Tensor:
        """True where an entry of a release says anything; repeated releases are averaged over these."""
        return torch.ones_like(release, dtype=torch.bool)

    def reading(self, own: Tensor, colludes: bool) -> Callable[[Tensor], Tensor]:
        """How an adversary reads releases, who has `own` (n, ...) of its images in true order; see `parts/sight.py`."""
        return lambda r: r

    def penalty(self, z: Tensor, step: Step) -> Tensor | None:
        """A scalar added to the task loss; z carries its gradient."""
        return None

    def adversary_parameters(self) -> list[nn.Parameter]:
        """Parameters of a co-trained adversary: they learn from `adversary_loss` alone, never from the main loss."""
        return []

    def undecayed(self) -> list[nn.Parameter]:
        """Parameters that the main optimiser trains without weight decay, because they bear a penalty of their own."""
        return []

    def adversary_optimizer(self) -> torch.optim.Optimizer:
        """A new optimiser over `adversary_parameters`; only asked of defences that have any."""
        raise UserError(f"defense: {type(self).__name__} has adversary_parameters; write its adversary_optimizer")

    def adversary_loss(self, z: Tensor, step: Step) -> Tensor:
        """What the adversary minimises; z arrives detached."""
        raise UserError(f"defense: {type(self).__name__} has adversary_parameters; write its adversary_loss")

    def on_phase_start(self, phase: Phase, model: Defended) -> None:
        """Called whenever a phase's model is made, trained or only loaded, with the weights of the phase before.

        What it changes in the model must follow from those weights. It may change shapes; then call `model.refresh`.
        """

    def sampling(self, on: bool) -> bool:
        """Draw at deployment, or take the mean of what would be drawn; whether this defence can do both."""
        return False

    def on_step_end(self, z: Tensor, step: Step) -> None: ...
    def on_epoch_end(self, epoch: Epoch) -> None: ...


class Defended(nn.Module):
    """A split network with its chain: the thing that is trained, deployed and attacked.

    `frozen` names the weights that its maker says never learn. `reseeds`: its releases set torch's random numbers.
    """

    reseeds = False

    def __init__(self, net: SplitNet, chain: Mapping[str, Defense], spec: Spec, z: Tensor | None = None) -> None:
        super().__init__()
        self.net, self.spec = net, spec
        self.chain = nn.ModuleDict(dict(chain))
        self.precision, self.channels_last, self.small_maps = "fp32", False, gains(net)
        for name, defense, shape in self.shapes(z):
            self.shape: Shape = shape
            if defense is not None:
                with blame(f"defense.{name}"), aside():
                    defense.attach(self, spec, shape)
        self.frozen = frozenset(name for name, p in self.named_parameters() if not p.requires_grad)
        if any((type(d).attach, type(d).before_edge) != (Defense.attach, Defense.before_edge) for d in chain.values()):
            self.refresh()  # what they changed

    def refresh(self) -> None:
        """Look again at the shape of a release, after the architecture changed."""
        with probing(self):
            x = self._grey()
            for name, defense in self.defenses():
                x = held(defense.before_edge, x, f"defense.{name}: before_edge", self.spec.image)
            self.shape = tuple(self.obfuscate(self._encode(x)).shape[1:])

    def shapes(self, z: Tensor | None = None) -> Iterator[tuple[str, Defense | None, Shape]]:
        """Each defence with the shape of the z that reaches it, without the batch; finally ("", None, the release's).

        Lazy: a link is asked what it makes of z only once the loop goes on, and may be attached until then.
        """
        with probing(self):
            z = held(self._encode, self._grey(), "backbone: the edge") if z is None else z
        for name, defense in self.defenses():
            yield name, defense, tuple(z.shape[1:])
            with probing(self):
                made = held(defense.after_edge, z, f"defense.{name}: after_edge")
                if type(defense).reading is Defense.reading:  # others may show more than they send
                    held(defense.expected, z, f"defense.{name}: expected", tuple(made.shape[1:]))
            z = made
        yield "", None, tuple(z.shape[1:])

    def _grey(self) -> Tensor:
        """Two images to find shapes with."""
        return torch.full((2, *self.spec.image), 0.5, device=next(self.net.parameters()).device)

    def defenses(self) -> Iterator[tuple[str, Defense]]:
        """The chain in its order."""
        yield from self.chain.items()  # type: ignore[misc]

    def sampling(self, on: bool) -> bool:
        """Switch every defence that can draw at deployment or answer with its mean; whether there is any."""
        return any([defense.sampling(on) for _, defense in self.defenses()])  # noqa: C419  # all of them

    @property
    def noise_std(self) -> float:
        """Standard deviation of all fixed-size noise in the release; independent noises add in variance."""
        return sum(d.noise_std**2 for _, d in self.defenses()) ** 0.5

    @property
    def keep(self) -> Tensor:
        """(*shape), 1 where an entry of the release varies and 0 where some defence made it a constant."""
        keep = torch.ones(self.shape, device=next(self.net.parameters()).device)
        return math.prod([d.keep for _, d in self.defenses() if d.keep is not None], start=keep)

    def features(self, x: Tensor) -> Tensor:
        """z before any `after_edge`: what the edge computes from x (N, C, H, W) in [0, 1]."""
        for _, defense in self.defenses():
            x = defense.before_edge(x)
        return self._encode(x)

    def _encode(self, x: Tensor) -> Tensor:
        """The edge's z from what every `before_edge` made of an image."""
        if self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        with self.autocast():
            return self.net.edge(x).float()

    def obfuscate(self, z: Tensor, drawn: bool = True) -> Tensor:
        """The release made from `features`: every `after_edge` in order, with fresh randomness, or as `expected`."""
        with aside() if self.reseeds else nullcontext():
            for _, link in self.defenses():
                z = link.after_edge(z) if drawn else link.expected(z)
            return z

    def walk(self, x: Tensor) -> Iterator[tuple[str, Defense | None, Tensor]]:
        """Each defence with the z it receives; finally ("", None, release)."""
        z = self.features(x)
        for name, defense in self.defenses():
            yield name, defense, z
            z = defense.after_edge(z)
        yield "", None, z

    def release(self, x: Tensor) -> Tensor:
        """What leaves the device for x (N, C, H, W) in [0, 1], after every defence; fresh noise on every call."""
        return self.obfuscate(self.features(x))

    def expected(self, x: Tensor) -> Tensor:
        """The release of x with every defence's randomness at its mean; the mean release where no link rounds noise."""
        return self.obfuscate(self.features(x), drawn=False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) that the cloud computes from the release."""
        return self.classify(self.release(x))

    def classify(self, released: Tensor) -> Tensor:
        """Logits (N, classes) of the cloud's half."""
        with self.autocast(), intact(released, "backbone: the cloud"):
            return self.net.cloud(released).float()

    def autocast(self) -> AbstractContextManager[Any]:
        """bf16 for the networks where `precision` says so; everything else stays fp32."""
        return arithmetic(self.net, self.precision, self.small_maps)
