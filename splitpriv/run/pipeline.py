"""The only file that knows the order of the stages: config -> fit -> attack -> measure -> row."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from splitpriv.attacks.base import Access, Attack, Aux, answer, mean_of
from splitpriv.config import Config, build
from splitpriv.data.base import Split
from splitpriv.defenses.base import Defended
from splitpriv.measure import measure, pictures, traits
from splitpriv.measure.cost import cost
from splitpriv.run.fit import Job
from splitpriv.run.plan import Parts, Plan, assemble, make_model, make_monitor, plan
from splitpriv.run.row import make_row, overlaps, read_json
from splitpriv.run.train import load_weights, train_phase
from splitpriv.store import Row, State, Store, write_atomic
from splitpriv.store.state import load_tensors, save_tensors, seed_epoch
from splitpriv.types import Phase, blame

RECOVERED = "reconstructions.safetensors"


@dataclass
class Run:
    """One run in progress: what its stages share, made when first needed."""

    cfg: Config
    store: Store
    parts: Parts
    chart: Plan
    device: torch.device
    given: Mapping[str, Split] | None = None  # splits instead of those that the protocol makes, on the device

    @cached_property
    def splits(self) -> Mapping[str, Split]:
        """train, val, aux, victims on the device; images stay on the host when they would fill it."""
        if self.given is not None:
            return self.given
        pools = self.parts.dataset.pools(Path(self.cfg["paths"]["data"]))
        splits = self.parts.protocol.split(pools)
        pixels = math.prod(self.parts.dataset.spec.image) * sum(map(len, splits.values()))
        large = pixels > 2**32  # bytes, at one a pixel
        return {name: split.to(self.device, keep_images=large) for name, split in splits.items()}

    @cached_property
    def known(self) -> dict[str, Split]:
        """The splits as the adversary's knowledge has them: another aux, perhaps fewer victims."""
        return self.parts.knowledge.apply(self.splits, self.parts.dataset.spec, Path(self.cfg["paths"]["data"]))

    @cached_property
    def victims(self) -> Split:
        """The victims whose releases are attacked; only `measure` looks at their images."""
        return self.known["victims"].take(slice(0, self.parts.protocol.attacked))

    @cached_property
    def model(self) -> Defended:
        """The trained model: every phase in turn, each cached."""
        homes: list[Path] = []
        for phase, key, seed in zip(self.chart.phases, self.chart.fits, self.chart.seeds, strict=True):
            model = self._prepared(homes)
            homes.append(self.store.memo("fit", key, partial(self._train, model, phase, seed)))
        load_weights(model, homes[-1])
        return model.eval().requires_grad_(False)

    def _prepared(self, homes: list[Path]) -> Defended:
        """The model as the phase after `homes` finds it: replayed, since a defence may change it between phases."""
        phases, seeds = self.chart.phases, self.chart.seeds
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
        seed_epoch(self.chart.start, -1)
        model = make_model(self.cfg, self.parts.dataset, chain).to(self.device)
        if self.parts.runtime.channels_last:
            model.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.parts.runtime.compile:
            model.net.edge.compile()
            model.net.cloud.compile()
        return model

    def _train(self, model: Defended, phase: Phase, seed: str, home: Path) -> None:
        node = {**self.cfg["optim"], **phase.optim}
        job = Job(
            seed, phase, build(node, "optim")(), self.parts.dataset, self.parts.task, self.splits["train"],
            self.splits["val"], self.parts.protocol.select, self.parts.protocol.select_after, f"fit {phase.name}",
        )  # fmt: skip
        monitor = make_monitor(self.cfg, model)
        train_phase(model, job, home, monitor.to(self.device) if monitor is not None else None)

    @cached_property
    def aux(self) -> Aux:
        """The adversary's data, its noise-free features shared by all attacks that observe releases."""
        return self._aux(lambda r: r)

    def _aux(self, shown: Callable[[Tensor], Tensor]) -> Aux:
        model = self.model
        return Aux(self.known["aux"], model.features, lambda z: shown(model.obfuscate(z)), model.input_is_fixed)

    def access(self, attack: Attack) -> Access:
        """What this attack may hold, in the form that it observes."""
        model, spec = self.model, self.parts.dataset.spec
        outputs = attack.observe != "release"

        def shown(r: Tensor) -> Tensor:
            return answer(model.classify(r), attack.observe, attack.top) if outputs else r

        @torch.no_grad()
        def query(x: Tensor) -> Tensor:
            return shown(model.release(x))

        @torch.no_grad()
        def intercept(draws: int) -> Tensor:
            occasions = iter(range(draws))
            return mean_of(lambda: torch.cat([shown(r) for r in self.releases(next(occasions)).split(256)]), draws)

        shape = (spec.classes,) if outputs else model.shape
        aux = None
        if "aux" in attack.requires:
            aux = self._aux(shown) if outputs else self.aux
        return Access(
            attack.requires, spec=spec, shape=shape, device=self.device, intercept=intercept, autocast=model.autocast,
            rights={"query": query, "edge": lambda x: shown(model.release(x)), "clean": model.net.edge,
                    "cloud": model.classify, "aux": aux,
                    "mask": torch.ones(shape, device=self.device) if outputs else model.keep},
        )  # fmt: skip

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

    @torch.no_grad()
    def releases(self, draw: int) -> Tensor:
        """What the device sends for every victim on one occasion; the same occasion is the same for all attacks."""
        model = self.model  # made before the seed is set, should this be its first use
        seed_epoch(f"victims of {self.chart.seeds[-1]}", draw)
        return torch.cat([model.release(self.victims.x(slice(i, i + 256))) for i in range(0, len(self.victims), 256)])

    # ---- stages after the fit; each writes into its folder ----

    def attack(self, name: str, home: Path, clean: bool = False) -> None:
        """Fit one attack and recover what it can of every victim from its release, or from x itself where `clean`."""
        attack = self.parts.attacks[name]
        key = self.chart.clean[name][0] if clean else self.chart.attacks[name]
        access = self.exposed(attack) if clean else self.access(attack)
        seed_epoch(key, -1)
        with blame(f"attack.{name}"):
            reconstructor = attack.fit(access, home)
            releases = access.intercept(attack.draws)
            seed_epoch(key, -2)
            with torch.no_grad():
                found: dict[str, Tensor] = {
                    attack.recovers: torch.cat([reconstructor(part) for part in releases.split(256)])
                }
                if reconstructor.enrol is not None:
                    whole = range(0, len(self.victims), 256)
                    parts = [reconstructor.enrol(self.victims.x(slice(i, i + 256))) for i in whole]
                    found["gallery"] = torch.cat(parts)
        save_tensors(home / RECOVERED, found)
        write_atomic(home / "report.json", json.dumps(reconstructor.report))

    def score(self, name: str, home: Path, clean: bool = False) -> None:
        """Compare what was recovered with the truth: one number per victim and metric, and their means."""
        attack = self.parts.attacks[name]
        key = self.chart.clean[name][0] if clean else self.chart.attacks[name]
        found = load_tensors(self.store.home("attack", key) / RECOVERED)
        if attack.recovers == "image":
            scores = self._compare(name, found["image"], home)
            means = measure.summary(scores)
        elif attack.recovers == "attribute":
            scores, means = traits.attribute(found["attribute"], self.victims, self.known["aux"], attack.attribute)
        else:
            scores, means = traits.identity(found["identity"], found.get("gallery"), self.victims)
        save_tensors(home / "scores.safetensors", scores)
        write_atomic(home / "means.json", json.dumps(means))

    def _compare(self, name: str, images: Tensor, home: Path) -> measure.Scores:
        """Per-image scores of reconstructions, and their picture."""
        x = self.victims.x(slice(None)).cpu()
        scores = measure.scores(images, x, **self._similarity())
        title = f"{'+'.join(self.cfg['defense']) or 'none'} attacked by {name}"
        shown = pictures.choose(x, images, scores, seed=0)  # the same victims for all
        shown.write(home)
        pictures.grid(shown, title).save(home / "grid.png")
        return scores

    def _similarity(self) -> dict[str, Any]:
        return {"ssim_padding": self.parts.measure.ssim_padding, "lpips": self.parts.measure.lpips}

    def utility(self, home: Path) -> None:
        """What the chain costs, and the floors: what an attacker scores who never looks at a release."""
        settings, spec = self.parts.measure, self.parts.dataset.spec
        model = self.model  # trained or loaded, which leaves the generator in different states
        seed_epoch(self.chart.utility, -1)
        found = self.parts.task.utility(model, self.splits, draws=settings.draws, batch=settings.batch)
        floors = measure.floors(self.known["aux"].images, self.victims.x(slice(None)), **self._similarity())
        audit = settings.auditor
        with blame("measure.audit"):
            audited = audit.facts(model, self.splits, spec) if audit else {}
        facts = {
            **{f"utility/{k}": v for k, v in found.items()},
            **{f"floor/{n}/{k}": v for n, scores in floors.items() for k, v in measure.summary(scores).items()},
            **{f"cost/{k}": v for k, v in cost(model, spec, settings.latency_repeats).items()},
            "cost/edge_stages": float(model.net.at),
            **{f"bound/{k}": v for k, v in measure.bounds(model, self.splits["train"], spec).items()},
            **audited,
            "signal": measure.signal(self.releases(0), self.releases(1)),
            **{f"defense/{n}/{k}": v for n, d in model.defenses() for k, v in d.facts.items()},
            "adaptive": {name: sorted(d.adaptive) for name, d in model.defenses()},
            "overlaps": overlaps(self.known),
            "victims": len(self.victims),
        }
        write_atomic(home / "facts.json", json.dumps(facts))


def preview(cfg: Config, store: Store) -> tuple[Plan, list[tuple[str, str, State]], State]:
    """The plan of a run, the state of each stage, and that of its row."""
    chart = plan(cfg, assemble(cfg))
    states = [(label, key, store.state(stage, key)) for label, stage, key in chart.stages()]
    return chart, states, "cached" if store.row(chart.row) else "missing"


def execute(cfg: Config, store: Store) -> Row:
    """Run one config to its row; stages that are in the store return at once. Raise UserError for a user's mistake."""
    parts = assemble(cfg)
    chart = plan(cfg, parts)
    finished = store.row(chart.row)
    if finished is not None:
        return finished
    run = Run(cfg, store, parts, chart, parts.runtime.start())
    _ = run.known  # what is wrong with the data shows before anything is trained
    _ = run.model  # the row tells of every fit, also where all that follows from them is cached
    facts = read_json(store.memo("measure", chart.utility, run.utility) / "facts.json")
    homes = {name: store.memo("attack", key, partial(run.attack, name)) for name, key in chart.attacks.items()}
    scored = {name: store.memo("measure", key, partial(run.score, name)) for name, key in chart.scores.items()}
    for name, (attack, scores) in chart.clean.items():
        store.memo("attack", attack, partial(run.attack, name, clean=True))
        scored[f"clean/{name}"] = store.memo("measure", scores, partial(run.score, name, clean=True))
    row = make_row(cfg, parts, chart, store, facts, homes, scored)
    store.add_row(row)
    return row
