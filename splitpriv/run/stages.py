"""The stages after the fit: attack, score and utility; each writes into its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from splitpriv.attacks.base import Attack, Reconstructor
from splitpriv.attacks.training import hardest
from splitpriv.defenses.parts.held import intact
from splitpriv.defenses.parts.law import adaptive
from splitpriv.defenses.parts.sight import hides
from splitpriv.measure import measure, pictures, samples, traits
from splitpriv.measure.audit import first_noise
from splitpriv.measure.cost import cost
from splitpriv.measure.oddities import drift, oddities, sample
from splitpriv.measure.rate import rate
from splitpriv.measure.strange import SAME
from splitpriv.run import declared
from splitpriv.run import recovered as given
from splitpriv.run.context import Run
from splitpriv.run.row import MEMBERS, read_json
from splitpriv.store import write_atomic
from splitpriv.store.state import load_tensors, save_tensors, seed_epoch
from splitpriv.types import Spec, blame

RECOVERED = "reconstructions.safetensors"
LOOKED_AT = 64  # images whose releases are looked at for what misleads attacks
ASKED = 16  # images whose releases an attack must leave as they were


def copies(run: Run, home: Path) -> None:
    """What the splits share, before anything is trained on them."""
    write_atomic(home / "facts.json", json.dumps({**samples.shared(run.known), "moved": run.moved}))


def attack(run: Run, name: str, home: Path, clean: bool = False) -> None:
    """Fit one attack and recover what it can of every victim from its release, or from x itself where `clean`, then
    with as much effort as helps: that is the ceiling of all releases.
    """
    attack = run.parts.attacks[name]
    key = run.plan.clean[name][0] if clean else run.plan.attacks[name]
    run.require_finite()
    access = run.exposed(attack) if clean else run.access(attack)
    asked = run.splits["train"].x(slice(0, ASKED))
    before = sample(run.model, asked)
    aux = run.known["aux"]
    seed_epoch(key, -1)
    with blame(f"attack.{name}"):
        with intact(vars(aux).get("images", aux.y), ": fit"):
            fitted = hardest(attack, access, home) if clean else attack.fit(access, home)
        reconstructor = given.reconstructor(fitted)
        releases = access.intercept(attack.draws)
        seed_epoch(key, -2)
        with torch.no_grad():
            parts = [_kept(attack, reconstructor, part, run.parts.dataset.spec) for part in releases.split(256)]
            recovered: dict[str, Tensor] = {
                f"{attack.recovers}/{member}".strip("/"): torch.cat([part.pop(member) for part in parts])
                for member in [*parts[0]]
            }
            if reconstructor.enrol is not None:
                whole = range(0, len(run.victims), 256)
                gallery = [reconstructor.enrol(run.victims.x(slice(i, i + 256))) for i in whole]
                recovered["gallery"] = given.gallery(gallery, recovered[attack.recovers])
        given.report(attack, reconstructor.report)
    report = reconstructor.report
    if (moved := drift(before, sample(run.model, asked))) > SAME:
        report = {**report, "drift": moved}
    recovered.pop(f"image/{report.get('answer')}", None)  # which is what a suite answers
    save_tensors(home / RECOVERED, recovered)
    write_atomic(home / "report.json", json.dumps(report))
    reconstructor.tidy()


def _kept(attack: Attack, reconstructor: Reconstructor, releases: Tensor, spec: Spec) -> dict[str, Tensor]:
    """What is recovered; members' images in half the space."""
    found = given.everything(attack, reconstructor.everything(releases), len(releases), spec)
    return {name: part.half() if name else part for name, part in found.items()}


def score(run: Run, name: str, home: Path, clean: bool = False) -> None:
    """Compare what was recovered with the truth: one number per victim and metric, and their means."""
    attack = run.parts.attacks[name]
    key = run.plan.clean[name][0] if clean else run.plan.attacks[name]
    recovered = load_tensors(run.store.home("attack", key) / RECOVERED)
    if attack.recovers == "image":
        scores = _compare(run, name, recovered["image"], home)
        means = measure.summary(scores)
        if run.bench is not None:
            learned = run.splits["train"] if attack.typical else None
            means |= run.bench.means(recovered["image"], learned)
        answer = read_json(run.store.home("attack", key) / "report.json").get("answer")
        rebuilt = {n[6:]: images for n, images in recovered.items() if n.startswith("image/")}
        _members(run, {**rebuilt, **({answer: recovered["image"]} if answer else {})}, home)
    elif attack.recovers == "attribute":
        scores, means = traits.attribute(recovered["attribute"], run.victims, run.known["aux"], attack.attribute)
    else:
        scores, means = traits.identity(recovered["identity"], recovered.get("gallery"), run.victims)
    save_tensors(home / "scores.safetensors", scores)
    write_atomic(home / "means.json", json.dumps(means))


def _compare(run: Run, name: str, images: Tensor, home: Path) -> measure.Scores:
    """Per-image scores of reconstructions, and their picture."""
    x = run.victims.x(slice(None)).cpu()
    scores = measure.scores(images, x, **similarity(run))
    title = f"{'+'.join(run.cfg['defense']) or 'none'} attacked by {name}"
    shown = pictures.choose(x, images, scores, seed=0)  # the same victims for all
    shown.write(home)
    pictures.grid(shown, title).save(home / "grid.png")
    return scores


def _members(run: Run, rebuilt: Mapping[str, Tensor], home: Path) -> None:
    """Per-image scores of what each member of a suite rebuilt."""
    x = run.victims.x(slice(None)).cpu()
    scores = {member: measure.scores(images.float(), x, **similarity(run)) for member, images in rebuilt.items()}
    if scores:
        save_tensors(home / MEMBERS, {f"{m}/{metric}": v for m, told in scores.items() for metric, v in told.items()})


def similarity(run: Run) -> dict[str, Any]:
    """How reconstructions are compared with the truth."""
    settings = run.parts.measure
    return {"ssim_padding": settings.ssim_padding, "lpips": settings.lpips, "multiscale": settings.ms_ssim,
            "judge": run.bench}  # fmt: skip


def utility(run: Run, home: Path) -> None:
    """What the chain costs, and the floors: what an attacker scores who never looks at a release."""
    settings, spec = run.parts.measure, run.parts.dataset.spec
    model = run.model  # trained or loaded, which leaves the generator in different states
    seed_epoch(run.plan.utility, -1)
    task = run.parts.task
    worth = declared.worth(task, {
        "utility": task.utility(model, run.splits, draws=settings.draws, batch=settings.batch),
        "chance": task.chance(run.splits),
    })  # fmt: skip
    floors = measure.floors(run.known["aux"].images, run.victims.x(slice(None)), **similarity(run))
    gaps = declared.gaps(task, task.gaps(run.splits, spec))
    audit = settings.auditor
    with blame("measure.audit"):
        audited = audit.facts(model, run.splits, spec) if audit else {}
    curves = [note for key in run.plan.fits for note in read_json(run.store.home("fit", key) / "curve.json")]
    rates = [note["lr"] for note in curves]
    told = {n: declared.facts(n, d, run.parts.optim.batch, rates) for n, d in model.defenses()}
    channel = first_noise(model)  # what comes after it can only make reconstruction harder
    least = run.parts.dataset.least_error(Path(run.cfg["paths"]["data"]), *channel) if channel else {}
    read = None if any(hides(d) for _, d in model.defenses()) else run.sight()  # what is hidden is told by its reading
    looked = oddities(model, run.splits["train"].x(slice(0, LOOKED_AT)), read)
    facts = {
        **{f"{what}/{k}": v for what, numbers in worth.items() for k, v in numbers.items()},
        **{f"floor/{n}/{k}": v for n, scores in floors.items() for k, v in measure.summary(scores).items()},
        **{f"judge/{k}": v for k, v in (run.bench.facts if run.bench else {}).items()},
        **{f"cost/{k}": v for k, v in cost(model, spec, settings.latency_repeats).items()},
        **{f"cost/{k}": v for k, v in rate(model, run.splits["aux"]).items()},
        "cost/edge_stages": float(model.net.at),
        **{f"bound/{k}": v for k, v in measure.bounds(model, run.splits["train"], spec).items()},
        **{f"bound/{k}": v for k, v in least.items()},
        **audited,
        **{f"release/{k}": v for k, v in looked.items()},
        "signal": measure.signal(*(run.sight(True)(run.releases(draw)) for draw in (0, 1))),
        **{f"defense/{n}/{k}": v for n, (own, _) in told.items() for k, v in own.items()},
        **{f"defense/{n}/{k}": v for n, (_, pull) in told.items() for k, v in pull.facts.items()},
        "doubts": {n: pull.doubt for n, (_, pull) in told.items() if pull.doubt},
        "adaptive": adaptive(model),
        "victims": len(run.victims),
        "tested": declared.tested(task, task.tested(run.splits)),
        "gaps": {split: [run.parts.dataset.label(i) for i in missing] for split, missing in gaps.items()},
    }
    write_atomic(home / "facts.json", json.dumps(facts))
