"""The only file that knows the order of the stages: config -> fit -> attack -> measure -> row."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from splitpriv import measure, pictures
from splitpriv.attacks.base import Access, Attack, Aux, mean_of
from splitpriv.config import Config, build
from splitpriv.data.base import Split
from splitpriv.defenses.base import Defended
from splitpriv.fit import Job
from splitpriv.plan import Parts, Plan, assemble, make_model, make_monitor, plan
from splitpriv.resume import load_tensors, save_tensors, seed_epoch
from splitpriv.row import make_row, overlaps, read_json
from splitpriv.store import Row, State, Store, write_atomic
from splitpriv.train import load_weights, train_phase
from splitpriv.types import Phase, blame


@dataclass
class Run:
    """One run in progress: what its stages share, made when first needed."""

    cfg: Config
    store: Store
    parts: Parts
    chart: Plan
    device: torch.device

    @cached_property
    def splits(self) -> dict[str, Split]:
        """train, val, aux, victims on the device; images stay on the host when they would fill it."""
        pools = self.parts.dataset.pools(Path(self.cfg["paths"]["data"]))
        splits = self.parts.protocol.split(pools)
        pixels = math.prod(self.parts.dataset.spec.image) * sum(map(len, splits.values()))
        large = pixels > 2**32  # bytes, at one a pixel
        return {name: split.to(self.device, keep_images=large) for name, split in splits.items()}

    @cached_property
    def victims(self) -> Split:
        """The victims whose releases are attacked; only `measure` looks at their images."""
        return self.splits["victims"].take(slice(0, self.parts.protocol.attacked))

    @cached_property
    def model(self) -> Defended:
        """The trained model: every phase in turn, each cached."""
        home, idle = None, False
        for phase, key, seed in zip(self.chart.phases, self.chart.fits, self.chart.seeds, strict=True):
            model = self._fresh(chain=not phase.idle)
            if home is not None:
                load_weights(model, home, net_only=idle)
            home = self.store.memo("fit", key, partial(self._train, model, phase, seed))
            load_weights(model, home)
            idle = phase.idle
        return model.eval().requires_grad_(False)

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
            seed, phase, build(node, "optim")(), self.parts.dataset, self.splits["train"], self.splits["val"],
            self.parts.protocol.select, self.parts.protocol.select_after, f"fit {phase.name}",
        )  # fmt: skip
        monitor = make_monitor(self.cfg, model)
        train_phase(model, job, home, monitor.to(self.device) if monitor is not None else None)

    @cached_property
    def aux(self) -> Aux:
        """The adversary's data, its noise-free features shared by all attacks of the run."""
        model = self.model
        return Aux(self.splits["aux"], model.features, model.obfuscate, model.input_is_fixed)

    def access(self, attack: Attack) -> Access:
        """What this attack may hold."""
        model = self.model

        @torch.no_grad()
        def query(x: Tensor) -> Tensor:
            return model.release(x)

        return Access(
            attack.requires, spec=self.parts.dataset.spec, shape=model.shape, device=self.device,
            intercept=self.intercept, autocast=model.autocast,
            rights={"query": query, "edge": model.release, "clean": model.net.edge, "cloud": model.classify,
                    "aux": self.aux if "aux" in attack.requires else None},
        )  # fmt: skip

    @torch.no_grad()
    def releases(self, draw: int) -> Tensor:
        """What the device sends for every victim on one occasion; the same occasion is the same for all attacks."""
        model = self.model  # made before the seed is set, should this be its first use
        seed_epoch(f"victims of {self.chart.seeds[-1]}", draw)
        return torch.cat([model.release(self.victims.x(slice(i, i + 256))) for i in range(0, len(self.victims), 256)])

    def intercept(self, draws: int) -> Tensor:
        """The mean of the first `draws` releases of every victim."""
        occasions = iter(range(draws))
        return mean_of(lambda: self.releases(next(occasions)), draws)

    # ---- stages after the fit; each writes into its folder ----

    def attack(self, name: str, home: Path) -> None:
        """Fit one attack and reconstruct every victim from its release."""
        attack, key = self.parts.attacks[name], self.chart.attacks[name]
        access = self.access(attack)
        seed_epoch(key, -1)
        with blame(f"attack.{name}"):
            reconstructor = attack.fit(access, home)
            releases = access.intercept(attack.draws)
            seed_epoch(key, -2)
            with torch.no_grad():
                images = torch.cat([reconstructor(part) for part in releases.split(256)])
        save_tensors(home / "reconstructions.safetensors", {"images": images})
        write_atomic(home / "report.json", json.dumps(reconstructor.report))

    def score(self, name: str, home: Path) -> None:
        """Compare reconstructions with the victims, one number per image and metric, and draw them."""
        found = load_tensors(self.store.home("attack", self.chart.attacks[name]) / "reconstructions.safetensors")
        x, images = self.victims.x(slice(None)).cpu(), found["images"]
        scores = measure.scores(images, x, **self._similarity())
        save_tensors(home / "scores.safetensors", scores)
        chain = "+".join(self.cfg["defense"]) or "none"
        title = f"{chain} attacked by {name}"
        fixed = pictures.grid(home / "grid.png", x, images, scores, seed=self.cfg["seed"], title=title)[
            : pictures.FIXED
        ]
        shown = {k: (v[fixed] * 255).round().to(torch.uint8) for k, v in {"x": x, "images": images}.items()}
        save_tensors(home / "shown.safetensors", shown)

    def _similarity(self) -> dict[str, Any]:
        return {"ssim_padding": self.parts.measure.ssim_padding, "lpips": self.parts.measure.lpips}

    def utility(self, home: Path) -> None:
        """What the chain costs, and the floors: what an attacker scores who never looks at a release."""
        settings, spec = self.parts.measure, self.parts.dataset.spec
        model = self.model  # trained or loaded, which leaves the generator in different states
        seed_epoch(self.chart.utility, -1)
        found = measure.utility(model, self.splits["victims"], draws=settings.draws, batch=settings.batch)
        floors = measure.floors(self.splits["aux"].images, self.victims.x(slice(None)), **self._similarity())
        facts = {
            **{f"utility/{k}": v for k, v in found.items()},
            **{f"floor/{n}/{k}": v for n, scores in floors.items() for k, v in measure.summary(scores).items()},
            **{f"cost/{k}": v for k, v in measure.cost(model, spec, settings.latency_repeats).items()},
            **{f"bound/{k}": v for k, v in measure.bounds(model, self.splits["train"], spec).items()},
            "signal": measure.signal(self.releases(0), self.releases(1)),
            "overlaps": overlaps(self.splits),
            "certificates": {n: d.certificate for n, d in model.defenses() if hasattr(d, "certificate")},
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
    _ = run.model  # the row tells of every fit, also where all that follows from them is cached
    facts = read_json(store.memo("measure", chart.utility, run.utility) / "facts.json")
    homes = {name: store.memo("attack", key, partial(run.attack, name)) for name, key in chart.attacks.items()}
    scored = {name: store.memo("measure", key, partial(run.score, name)) for name, key in chart.scores.items()}
    row = make_row(cfg, parts, chart, store, facts, homes, scored)
    store.add_row(row)
    return row
