"""What the stages of one run share: splits, the trained model, and what an attack may hold of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from splitpriv.attacks.base import Access, Attack, Aux, Right, answer, mean_of
from splitpriv.data.base import Split
from splitpriv.defenses.base import Defended
from splitpriv.defenses.parts.aside import aside, reseeds
from splitpriv.defenses.parts.held import probing
from splitpriv.defenses.parts.law import gap, input_is_fixed, law, some
from splitpriv.defenses.parts.sight import sight
from splitpriv.measure.judge import Bench
from splitpriv.run import enough
from splitpriv.run.fit import Job
from splitpriv.run.limits import require_normal, roomy
from splitpriv.run.parts import make_model, make_monitor
from splitpriv.run.plan import prior_key
from splitpriv.run.prepare import Prepared
from splitpriv.run.recipe import Untrained
from splitpriv.run.row import provenance
from splitpriv.run.train import leave, load_weights, train_phase
from splitpriv.store import Store
from splitpriv.store.state import seed_epoch
from splitpriv.targets import build
from splitpriv.types import Phase, UserError

LEAVES = {"fit": ("weights.pt", "curve.json"), "attack": ("reconstructions.safetensors", "report.json")}


@dataclass
class Run:
    """One run in progress: what its stages share, made when first needed."""

    prepared: Prepared
    store: Store
    device: torch.device
    given: Mapping[str, Split] | None = None  # splits instead of those that the protocol makes, on the device

    moved = 0  # images, so that copies are on one side

    def __post_init__(self) -> None:
        self.cfg, self.parts, self.plan = self.prepared.cfg, self.prepared.parts, self.prepared.plan

    @cached_property
    def splits(self) -> Mapping[str, Split]:
        """train, val, aux, victims on the device; images stay on the host when they would fill it."""
        if self.given is not None:
            return self.given
        with roomy(self.cfg["dataset"], "dataset"):
            pools = self.parts.dataset.read(Path(self.cfg["paths"]["data"]))
        splits, self.moved = self.parts.protocol.parted(self.parts.protocol.split(pools), self.parts.dataset.duplicates)
        pixels = math.prod(self.parts.dataset.spec.image) * sum(map(len, splits.values()))
        large = pixels > 2**32  # bytes, at one a pixel
        return {name: split.to(self.device, keep_images=large) for name, split in splits.items()}

    @cached_property
    def known(self) -> dict[str, Split]:
        """The splits as the adversary's knowledge has them: another aux, perhaps fewer victims."""
        with roomy(self.cfg["knowledge"], "knowledge"):
            return self.parts.knowledge.apply(self.splits, self.parts.dataset.spec, Path(self.cfg["paths"]["data"]))

    @cached_property
    def victims(self) -> Split:
        """The victims whose releases are attacked; only `measure` looks at their images."""
        return self.known["victims"].take(slice(0, self.parts.protocol.attacked))

    @cached_property
    def bench(self) -> Bench | None:
        """What judges reconstructions, if `measure.judge` asks for it."""
        judge, aux = self.parts.measure.judging, self.known["aux"]
        if judge is None:
            return None
        with aside():  # what follows is the same whether it was learned before or now
            return Bench(judge, judge.learned(aux, self.parts.dataset.spec, self._share), aux, self.victims)

    @cached_property
    def model(self) -> Defended:
        """The trained model: every phase in turn, each cached."""
        homes: list[Path] = []
        for phase, key, seed in zip(self.plan.phases, self.plan.fits, self.plan.seeds, strict=True):
            model = self._before(homes)
            homes.append(self.kept("fit", key, partial(self._train, model, phase, seed)))
        load_weights(model, homes[-1])
        with probing(model.eval().requires_grad_(False)):
            model.reseeds = reseeds(lambda: model.release(some(model)))
        return model

    def kept(self, kind: str, key: str, build: Callable[[Path], None]) -> Path:
        """The folder of a stage of this run, built if need be; it records where and by what it was."""
        leaves = LEAVES.get(
            kind,
            ("facts.json",) if key in (self.plan.utility, self.plan.copies) else ("scores.safetensors", "means.json"),
        )
        return self.store.memo(kind, key, build, leaves=leaves, made=self.conditions)

    def conditions(self) -> dict[str, Any]:
        """What a number's last digits may depend on, besides the config that its key hashes."""
        device = f"cuda {torch.cuda.get_device_name(self.device)}" if self.device.type == "cuda" else self.device.type
        return {"device": device, "threads": torch.get_num_threads(), **provenance()}

    def _before(self, homes: list[Path]) -> Defended:
        """The model as the phase after `homes` finds it: replayed, since a defence may change it between phases."""
        phases, seeds = self.plan.phases, self.plan.seeds
        model = self._fresh(chain=not phases[0].idle)
        for i in range(len(homes) + 1):
            if i:
                arrives = phases[i - 1].idle and not phases[i].idle
                model = self._fresh(chain=True) if arrives else model
                load_weights(model, homes[i - 1], net_only=arrives)
            seed_epoch(seeds[i], -1)
            for _, defense in model.defenses():
                defense.on_phase_start(phases[i], model)
        return model

    def _fresh(self, chain: bool) -> Defended:
        """A model that starts from the same network whatever its chain is: comparisons between chains are paired."""
        seed_epoch(self.plan.start, -1)
        model = make_model(self.cfg, self.parts.dataset, chain).to(self.device)
        if self.parts.runtime.channels_last:
            model.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.parts.runtime.compile:
            model.net.edge.compile()
            model.net.cloud.compile()
        return model

    def _train(self, model: Defended, phase: Phase, seed: str, home: Path) -> None:
        if isinstance(self.parts.optim, Untrained):
            leave(model, home)
            return
        node = {**self.cfg["optim"], **phase.optim}
        batch = min(node["batch"], len(self.splits["train"]))
        require_normal(model.net, model.spec.image, batch, "protocol.slices.train")
        job = Job(
            seed, phase, build(node, "optim")(), self.parts.dataset, self.parts.task, self.splits["train"],
            self.splits["val"], self.parts.protocol.select, self.parts.protocol.select_after, f"fit {phase.name}",
            self.parts.runtime.capture,
        )  # fmt: skip
        monitor = make_monitor(self.cfg, model)
        train_phase(model, job, home, monitor.to(self.device) if monitor is not None else None)

    def sight(self, colludes: bool = False) -> Callable[[Tensor], Tensor]:
        """What every adversary does first with a release: undo what the chain hides without a secret."""
        if colludes not in self._sights:
            with aside(seed=0):
                self._sights[colludes] = sight(self.model, self.known["aux"].x(slice(0, 512)), colludes)
        return self._sights[colludes]

    @cached_property
    def _sights(self) -> dict[bool, Callable[[Tensor], Tensor]]:
        return {}

    @cached_property
    def aux(self) -> Aux:
        """The adversary's data, its noise-free features shared by all attacks that observe releases."""
        return self._aux(self.sight())

    def _aux(self, shown: Callable[[Tensor], Tensor]) -> Aux:
        model = self.model
        return Aux(self.known["aux"], model.features, lambda z: shown(model.obfuscate(z)), input_is_fixed(model))

    def access(self, attack: Attack) -> Access:
        """What this attack may hold, in the form that it observes."""
        model, spec, sight = self.model, self.parts.dataset.spec, self.sight(attack.colludes)
        outputs = attack.observe != "release"

        def shown(r: Tensor) -> Tensor:
            return answer(model.classify(r), attack.observe, attack.top) if outputs else sight(r)

        @torch.no_grad()
        def query(x: Tensor) -> Tensor:
            return shown(model.release(x))

        told_apart = "gap" in attack.requires and not outputs
        found = law(model, self.known["aux"].x(slice(0, 64)), attack.draws, sight) if told_apart else None
        told: dict[Right, Any] = {"gap": found and gap(model, found.link), "present": found and found.present}

        @torch.no_grad()
        def intercept(draws: int) -> Tensor:
            occasions = iter(range(draws))

            def once() -> Tensor:
                return torch.cat([shown(r) for r in self.releases(next(occasions)).split(256)])

            return mean_of(once, draws, told["present"] if "present" in attack.requires else None)

        shape = (spec.classes,) if outputs else tuple(sight(model.keep[None]).shape[1:])
        aux = None
        if "aux" in attack.requires:
            aux = self._aux(shown) if outputs or attack.colludes else self.aux
        return Access(
            attack.requires, spec=spec, shape=shape, device=self.device, intercept=intercept, autocast=model.autocast,
            rights={**told, "query": query, "edge": lambda x: shown(model.release(x)),
                    "expected": lambda x: shown(model.expected(x)), "clean": model.net.edge,
                    "cloud": model.classify, "layers": model.net.deeper, "aux": aux,
                    "mask": model.keep if shape == model.shape else torch.ones(shape, device=self.device)},
            shared=self._share,
        )  # fmt: skip

    def _share(self, what: Mapping[str, Any], build: Callable[[Path], None]) -> Path:
        """A stage of the store that hangs on the adversary's images and on `what`."""
        return self.store.memo("prior", prior_key(self.plan.images, what), build)

    def exposed(self, attack: Attack) -> Access:
        """The same where the device sends x itself: what the attribute gives away in any case."""

        def same(x: Tensor) -> Tensor:
            return x

        spec = self.parts.dataset.spec
        return Access(
            attack.requires, spec=spec, shape=spec.image, device=self.device, autocast=nullcontext,
            intercept=lambda draws: self.victims.x(slice(None)),
            rights={"query": same, "aux": Aux(self.known["aux"], same, same, cacheable=False)},
        )  # fmt: skip

    def require_data(self) -> None:
        """Raise UserError where there are too few images for an attack, the task or a measure."""
        enough.require(self.parts, self.splits, self.known["aux"], self.victims)

    def require_finite(self) -> None:
        """Raise UserError where what the trained device sends is NaN or infinite: no attack is at fault for that."""
        with torch.no_grad(), aside():
            sent = {name: z for name, _, z in self.model.walk(self.splits["train"].x(slice(0, 256)))}
        before = "optim.optimizer"
        for name, z in sent.items():
            if not z.isfinite().all():
                optimizer = before == "optim.optimizer"
                remedy = "lower optim.optimizer.lr, or set optim.clip" if optimizer else "lower its settings"
                raise UserError(f"{before}: what the trained device sends is NaN or infinite; {remedy}")
            before = f"defense.{name}"

    @torch.no_grad()
    def releases(self, draw: int) -> Tensor:
        """What the device sends for every victim on one occasion; the same occasion is the same for all attacks."""
        model = self.model  # made before the seed is set, should this be its first use
        seed_epoch(f"victims of {self.plan.seeds[-1]}", draw)
        return torch.cat([model.release(self.victims.x(slice(i, i + 256))) for i in range(0, len(self.victims), 256)])
