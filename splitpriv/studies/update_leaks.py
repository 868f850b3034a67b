"""Update leaks: what the server's answers give away about the sample that it last learned from.

Salem et al., Updates-Leak, USENIX Security 2020, in the setting of MID's authors: one sample, one step of SGD.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor, nn

from splitpriv import config, host, progress
from splitpriv.attacks.base import answer, mean_of
from splitpriv.config import Config
from splitpriv.data.base import Split
from splitpriv.defenses.base import Defended
from splitpriv.defenses.parts.law import input_is_fixed
from splitpriv.measure.flags import raised
from splitpriv.run.context import Run
from splitpriv.run.plan import Plan
from splitpriv.run.prepare import Prepared, prepare
from splitpriv.run.row import head, read_json
from splitpriv.store import Row, Store, write_atomic
from splitpriv.store.keys import fingerprint
from splitpriv.store.state import load_tensors, save_tensors, seed_epoch
from splitpriv.studies import base
from splitpriv.studies.base import Study
from splitpriv.types import Count, Positive, Rate, UserError, blame

ATTACK = "update_leaks"


class UpdateLeaks(Study):
    """The attacker asks `probes` images before and after an update, and infers the updating sample's label.

    It trains a shadow of the target, by the same recipe with the same chain, on the first `shadow` share of aux,
    updates the shadow with `shadow_updates` further images of aux, one at a time, and fits an MLP from the differences
    of its answers to the labels; the target is updated with `updates` victims. An update is one step of SGD on the
    cross-entropy, at rate `update_lr`, in evaluation mode. Answers are averaged over each number of `draws`, with the
    chain's sampling at test on and, where it has any, off: one row each. The MLP is fitted `runs` times.
    """

    columns: ClassVar[dict[str, str]] = {
        "sample_at_test": "sampling at test", "draws": "answers averaged", "utility/accuracy": "accuracy ↑",
        f"privacy/{ATTACK}/accuracy": "label of the update ↓", "floor/prior/accuracy": "commonest label",
    }  # fmt: skip

    key_name: ClassVar[str] = "splitpriv.leaks.UpdateLeaks"

    version = 1

    def __init__(self, *, shadow: Rate, probes: Count, updates: Count, shadow_updates: Count, update_lr: Positive,
                 observe: Literal["logits", "softmax", "topk", "label"], top: Count, draws: list[Count],
                 hidden: list[Count], dropout: Rate, standardise: bool, epochs: Count, batch: Count, lr: Positive,
                 runs: Count) -> None:  # fmt: skip
        if not draws or shadow == 0:
            raise UserError(
                ".draws: is empty; give at least [1]" if not draws else ".shadow: 0 leaves nothing to learn"
            )
        self.shadow, self.probes, self.updates, self.shadow_updates = shadow, probes, updates, shadow_updates
        self.update_lr, self.observe, self.top, self.draws = update_lr, observe, top, sorted(set(draws))
        self.hidden, self.dropout, self.standardise = hidden, dropout, standardise
        self.epochs, self.batch, self.lr, self.runs = epochs, batch, lr, runs

    def rows(self, node: Config, cfg: Config, store: Store) -> Iterator[Row]:
        prepared = prepare(cfg)
        target = Run(prepared, store, prepared.parts.runtime.start())
        key = stage_key(node, prepared.plan, cfg)
        home = store.memo("leaks", key, lambda folder: measure(self, target, key, folder), made=target.conditions)
        twin = stage_key(node, prepare({**cfg, "defense": {}}).plan, cfg)
        told = head(dataclasses.replace(prepared, cfg={**cfg, "attack": {}}))  # the attacks it lists are not run
        stages = [*(f"fit/{fit}" for fit in prepared.plan.fits), f"leaks/{key}"]
        settings = {k: v for k, v in config.flatten({"leaks": node}).items() if k != "leaks.draws"}
        victims = len(load_tensors(next(home.glob("target_*.safetensors")))["delta"])  # fewer than asked for, perhaps
        for record in read_json(home / "found.json"):
            way = {k: record[k] for k in ("sample_at_test", "draws")}
            accuracy, floor = record["attack/accuracy"], record["floor/commonest"]
            blind = raised("guess", ATTACK, metric="accuracy", blind="the commonest label",
                           longer=f"leaks.epochs={2 * self.epochs}")  # fmt: skip
            words = f"{'drawn' if way['sample_at_test'] else 'not drawn'}, {way['draws']} averaged"
            row = base.row(
                "leaks", **{**told, **way, "key": row_key(key, **way)}, **settings, way=words, stages=stages,
                ceiling=row_key(twin, sample_at_test=False, draws=self.draws[0]), headline=prepared.parts.task.headline,
                victims=victims, flags=[blind.record()] if accuracy <= floor else [],
                **{k: v for k, v in record.items() if k.startswith("utility/")},
                **{f"privacy/{ATTACK}/accuracy": accuracy, "floor/prior/accuracy": floor,
                   f"interval/privacy/{ATTACK}/accuracy": half_interval(accuracy, victims),
                   f"values/privacy/{ATTACK}/accuracy": record["attack/runs"]},
            )  # fmt: skip
            store.add_row(row)
            yield row

    def title(self, row: Row) -> str:
        return f"update leaks: {row['chain']}  {row['dataset']} · {row['backbone']} · seed {row['seed']}"

    def parts(self, aux: Split) -> tuple[Split, Split, Split]:
        """What the shadow learns from, what updates it, and the probes, as many of each class as there are.

        Raises UserError where aux is too small.
        """
        first, needed = int(self.shadow * len(aux)), self.shadow_updates + self.probes
        if not 0 < first <= len(aux) - needed:
            raise UserError(
                f".shadow_updates: aux has {len(aux)} images, of which the shadow learns from {first}, and "
                f"{needed} are wanted beside; lower shadow, shadow_updates or probes, or raise protocol.limit.aux "
                "where it is what limits aux, or take a larger dataset"
            )
        rest = aux.take(slice(first, len(aux)))
        own = F.one_hot(rest.y)
        turn = (own.cumsum(0) * own).sum(1)  # how many of its class have come, itself included
        order = turn.argsort(stable=True)
        probes, others = order[: self.probes], order[self.probes :].sort().values
        return aux.take(slice(0, first)), rest.take(others[: self.shadow_updates]), rest.take(probes)

    @torch.no_grad()
    def differences(self, model: Defended, samples: Split, probes: Split, draws: int) -> Tensor:
        """Answers before an update less those after it, (N, probes · classes), for an update by each sample alone."""
        values = [p for name, p in model.named_parameters() if name not in model.frozen]
        kept = [p.clone() for p in values]
        x, rows = probes.x(slice(None)), []
        fixed = input_is_fixed(model)
        before = self._answers(model, x, draws, fixed)
        with progress.bar(f"updates, {draws} draws", len(samples), unit="update") as bar:
            for i in range(len(samples)):
                part = samples.take(slice(i, i + 1))
                with torch.enable_grad():
                    model.requires_grad_(True)
                    loss = F.cross_entropy(model(part.x(slice(None))), part.y)
                    grads = torch.autograd.grad(loss, values, allow_unused=True)
                    model.requires_grad_(False)
                for p, g in zip(values, grads, strict=True):
                    if g is not None:
                        p.sub_(g, alpha=self.update_lr)
                rows.append((before - self._answers(model, x, draws, fixed)).flatten())
                for p, old in zip(values, kept, strict=True):
                    p.copy_(old)
                bar.update()
        return torch.stack(rows)

    def _answers(self, model: Defended, x: Tensor, draws: int, fixed: bool) -> Tensor:
        z = model.features(x) if fixed else None

        def once() -> Tensor:
            return model.classify(model.obfuscate(model.features(x) if z is None else z))

        return mean_of(lambda: answer(once(), self.observe, self.top), draws)

    def infer(self, shadow: tuple[Tensor, Tensor], target: tuple[Tensor, Tensor], classes: int) -> Tensor:
        """Fit an MLP to (differences, labels) of the shadow; whether it is right about each update of the target."""
        (inputs, labels), (asked, truth) = shadow, target
        if self.standardise:
            mean, std = inputs.mean(0), inputs.std(0).clamp(min=1e-12)
            inputs, asked = (inputs - mean) / std, (asked - mean) / std
        sizes = [inputs.shape[1], *self.hidden]
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise(sizes):
            layers += [nn.Linear(a, b), nn.ReLU()]
        net = nn.Sequential(*layers, nn.Dropout(self.dropout), nn.Linear(sizes[-1], classes)).to(inputs.device)
        optimizer = torch.optim.Adam(net.parameters(), self.lr)
        for _ in range(self.epochs):
            for index in torch.randperm(len(labels), device=labels.device).split(self.batch):
                optimizer.zero_grad(set_to_none=True)
                F.cross_entropy(net(inputs[index]), labels[index]).backward()
                optimizer.step()
        with torch.no_grad():
            return (net.eval()(asked).argmax(1) == truth).float()


def shadow_of(target: Run, train: Split, val: Split, share: float) -> Run:
    """The same recipe and chain on the attacker's own images, from another initialisation."""
    plan = target.plan

    def other(key: str) -> str:
        return fingerprint(shadow=key, data=plan.utility, share=share, seed=target.cfg["attack_seed"])

    own = dataclasses.replace(
        plan, start=other(plan.start), fits=tuple(map(other, plan.fits)), seeds=tuple(map(other, plan.seeds))
    )
    given = {**target.splits, "train": train, "val": val}
    return Run(Prepared({**target.cfg, "monitor": {}}, own, target.parts), target.store, target.device, given)


def measure(attack: UpdateLeaks, target: Run, key: str, home: Path) -> None:
    """Train the shadow, update both networks, fit the attack; every count of draws, sampling on and off."""
    spec, settings = target.parts.dataset.spec, target.parts.measure
    with blame("leaks"):
        own, updates, probes = attack.parts(target.known["aux"])
    secrets = target.known["victims"].take(slice(0, attack.updates))
    models = {"target": target.model, "shadow": shadow_of(target, own, updates, attack.shadow).model}
    samples = {"target": secrets, "shadow": updates}
    records = []
    for on in (True, False):
        able = [model.sampling(on) for model in models.values()]
        if not on and not any(able):
            continue
        worth = target.parts.task.utility(models["target"], target.splits, draws=settings.draws, batch=settings.batch)
        x = probes.x(slice(0, 1))
        random = not torch.equal(models["target"](x), models["target"](x))
        for draws in attack.draws if random else attack.draws[:1]:
            pairs = {}
            for name, model in models.items():
                path = home / f"{name}_{'drawn' if on else 'mean'}_{draws}.safetensors"
                if not path.exists():
                    seed_epoch(f"{key}/{path.stem}", 0)
                    save_tensors(path, {"delta": attack.differences(model, samples[name], probes, draws)})
                pairs[name] = load_tensors(path)["delta"].to(target.device), samples[name].y
            right = []
            for run in range(attack.runs):
                seed_epoch(key, run)
                right.append(attack.infer(pairs["shadow"], pairs["target"], spec.classes).mean())
            runs = host.to_host(torch.stack(right))
            mean = sum(runs) / len(runs)
            records.append({
                "sample_at_test": on and any(able), "draws": draws, "attack/accuracy": mean, "attack/runs": runs,
                "floor/commonest": float(secrets.y.bincount().max()) / len(secrets),
                **{f"utility/{k}": v for k, v in worth.items()},
            })  # fmt: skip
    write_atomic(home / "found.json", json.dumps(records))


def half_interval(share: float, n: int) -> float:
    """The number after "±" of a share of `n`: the larger distance to an end of Wilson's 95 % interval."""
    ends = stats.binomtest(round(share * n), n).proportion_ci(method="wilson")
    return float(max(share - ends.low, ends.high - share))


def stage_key(node: Config, plan: Plan, cfg: Config) -> str:
    """The key of all that is measured on one target."""
    return fingerprint(leaks=node, after=plan.utility, seed=cfg["attack_seed"])


def row_key(key: str, *, sample_at_test: bool, draws: int) -> str:
    """The key of one of the rows of a stage."""
    return fingerprint(leaks=key, sample_at_test=sample_at_test, draws=draws)
