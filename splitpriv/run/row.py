"""The flat record of a run, which tables, curves and dashboards read."""

from __future__ import annotations

import functools
import json
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from splitpriv import __version__
from splitpriv.attacks.base import Attack
from splitpriv.config import Config, flatten
from splitpriv.measure import checks, measure, remedies, samples, verdict
from splitpriv.measure.flags import Flag, raised
from splitpriv.metrics import PRIVACY
from splitpriv.run.plan import Plan
from splitpriv.run.prepare import Prepared
from splitpriv.store import Row, Store
from splitpriv.store.state import load_tensors
from splitpriv.targets import locate

NAMED = (
    "dataset",
    "backbone",
    "split",
    "task",
    "optim",
    "protocol",
    "knowledge",
    "monitor",
    "setting",
)  # groups whose option a row names
FLOORS = ("mean_image", "random_image")
SCORES = "scores.safetensors"  # in a measure stage: metric -> (victims,)
MEMBERS = "members.safetensors"  # of a suite: member/metric -> (victims,)


def head(prepared: Prepared) -> Row:
    """What a row says of its settings, known before anything is trained."""
    cfg, plan = prepared.cfg, prepared.plan
    apart = ("choices", "objective", "paths", "plugins", "runtime", "track", "seed", "attack_seed")
    at = cfg["split"]["at"]
    return {
        "key": plan.row, "chain": "+".join(cfg["defense"]) or "none", "seed": cfg["seed"],
        "attack_seed": cfg["attack_seed"], **{k: v for k, v in cfg["choices"].items() if k in NAMED},
        "backbone": _backbone(cfg),
        "cut": at if isinstance(at, int | str) else f"budget {at['budget']}",
        "precision": cfg["runtime"]["precision"], "fit": list(plan.fits), **_makes(cfg["defense"]),
        **{k: v for k, v in flatten({k: v for k, v in cfg.items() if k not in apart}).items() if v != {}},
    }  # fmt: skip


def _makes(chain: Config) -> Row:
    """The links whose numbers have changed since they came, with their version: rows of before are of another make."""
    ours = {name: locate(node["_target_"], "row") for name, node in chain.items() if "_target_" in node}
    versions = {name: getattr(link, "version", 1) for name, link in ours.items()}
    told = " ".join(f"{name} {version}" for name, version in versions.items() if version != 1)
    return {"makes": told} if told else {}


def _backbone(cfg: Config) -> str:
    """The option, and of one that makes models by name which of them."""
    option, name = cfg["choices"]["backbone"], cfg["backbone"].get("name")
    return f"{option}:{name}" if name else str(option)


def make_row(
    prepared: Prepared,
    store: Store,
    facts: Mapping[str, Any],
    shared: Mapping[str, Any],
    homes: Mapping[str, Path],
    scored: Mapping[str, Path],
) -> Row:
    """The flat record of a run: config, utility, privacy per attack and in the worst case, floors, cost, flags."""
    cfg, parts, plan = prepared.cfg, prepared.parts, prepared.plan
    means = {name: read_json(home / "means.json") for name, home in scored.items()}
    reports = {name: read_json(home / "report.json") for name, home in homes.items()}
    images = [name for name, attack in parts.attacks.items() if attack.recovers == "image"]
    per_image = {name: load_tensors(scored[name] / SCORES) for name in images}
    attacks = {
        name: checks.Facts(
            means[name], cfg["attack"][name], attack.requires, attack.draws, attack.eot,
            reports[name].get("converged"), attack.adapts, reports[name].get("gain_from_twice_aux"),
            _error(per_image.get(name, {})), attack.typical, attack.suite is not None, _mse(scored[name] / MEMBERS),
            reports[name].get("gain_from_twice_effort"),
            reports[name].get("contradicted") if reports[name].get("misled") else None,
            reports[name].get("chosen_on"),
        )
        for name, attack in parts.attacks.items()
    }  # fmt: skip
    plain = {k: v for k, v in facts.items() if "/" in k}
    floors = {n: {k.split("/")[2]: v for k, v in plain.items() if k.startswith(f"floor/{n}/")} for n in FLOORS}
    utility = {k[8:]: v for k, v in plain.items() if k.startswith("utility/")}
    bounds = {k[6:]: v for k, v in plain.items() if k.startswith("bound/")}
    release = {k[8:]: v for k, v in plain.items() if k.startswith("release/")}
    drift = [report["drift"] for report in reports.values() if "drift" in report]  # a state that attacks woke
    release |= {"memory": max(drift)} if drift else {}
    overlaps = {pair.replace("-", " and "): counts["named"] for pair, counts in shared["pairs"].items()}
    protocol, agreed = cfg["choices"]["protocol"], cfg["protocol"]
    flags = checks.doubts(attacks, **floors, signal=facts["signal"], overlaps=overlaps, utility=utility,
                          declared=verdict.official(protocol, agreed["overlap"], agreed.get("slices") or {}),
                          adaptive=facts["adaptive"], bounds=bounds, release=release,
                          spare=functools.partial(remedies.more_aux, agreed, parts.knowledge, shared))  # fmt: skip
    flags += [raised("pull", name, **words) for name, words in facts.get("doubts", {}).items()]
    flags += samples.copies(shared, agreed["overlap"])
    flags += samples.gaps(facts.get("gaps", {}), agreed["limit"])
    suite = _suite(parts.attacks, reports)
    members = _members(scored[suite] / MEMBERS) if suite else {}
    if suite:
        means["suite"] = nearer(means[suite], floors["mean_image"])
    if images:
        reached = measure.worst({**per_image, **{f"{suite}/{m}": s for m, s in members.items()}})
        means["worst"] = nearer(measure.summary(reached), floors["mean_image"])
    clean = {name: means.pop(name) for name in list(means) if name.startswith("clean/")}
    where, mixed = computed(store, plan)
    curves = [note for key in plan.fits for note in read_json(store.home("fit", key) / "curve.json")]
    row = {
        **head(prepared), "ceiling": plan.ceiling, **plain,
        **{f"privacy/{name}/{metric}": value for name, told in means.items() for metric, value in told.items()},
        **{f"{name}/{metric}": value for name, told in clean.items() for metric, value in told.items()},
        **{f"binds/{what}": name for what, name in checks.binding(parts.attacks, means).items()},
        **{f"attack/{name}/{k}": v for name, report in reports.items() for k, v in report.items()},
        **{f"suite/{m}/{metric}": v for m, s in members.items() for metric, v in measure.summary(s).items()},
        **({"suite": _named(parts.attacks[suite], reports[suite])} if suite else {}),
        **{f"scores/{name}": f"measure/{home.name}/{SCORES}" for name, home in scored.items()},
        **{f"picture/{name}": f"measure/{plan.scores[name]}/grid.png" for name in images},
        **{f"data/{k}": v for k, v in (parts.dataset.reading.facts() if parts.dataset.reading else {}).items()},
        **{f"duplicates/{pair}/{k}": counts[k] for pair, counts in shared["pairs"].items() for k in ("exact", "near")},
        "duplicates/moved": shared["moved"],
        "headline": parts.task.headline, "victims": facts["victims"], "tested": facts.get("tested"),
        "trajectory": curves, **where, **provenance(),
    }  # fmt: skip
    above = [checks.above_ceiling(name, row, cfg["attack"][name], facts["victims"]) for name in parts.attacks]
    flags += [flag for doubts in above for flag in doubts]
    flags = [*verdict.implied(row | {"verdict": None}), *flags, *mixed]
    return {**row, "verdict": verdict.weigh(flags), "flags": [flag.record() for flag in flags]}


def nearer(told: Mapping[str, float], floor: Mapping[str, float]) -> dict[str, float]:
    """Of each metric what attacks reached, or the mean image's where that is better: no adversary need do worse."""
    better = {True: max, False: min}
    least = {name: better[PRIVACY[name].better == "lower"](told[name], floor[name]) for name in floor if name in told}
    return {**told, **least}


def _suite(attacks: Mapping[str, Attack], reports: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The suite that answers for a row: of several, the one that does best on its own data."""
    names = [name for name, attack in attacks.items() if attack.suite is not None]
    return min(names, key=lambda name: reports[name]["select_mse"], default=None)


def _named(suite: Attack, report: Mapping[str, Any]) -> str:
    """The suite's name; where it answered by other members than most rows' suites, not one that is compared with them:
    most victims contradict what it learned from aux, or its nets see a readout of the release."""
    more = {"readout": report.get("decoder/readout"), "unaided": report.get("misled")}
    return " ".join([str(suite.suite), *(word for word, so in more.items() if so)])


def _members(path: Path) -> dict[str, measure.Scores]:
    """Per-image scores of the members of a suite, by name."""
    members: dict[str, measure.Scores] = {}
    for key, values in load_tensors(path).items():
        member, metric = key.split("/")
        members.setdefault(member, {})[metric] = values
    return members


def _mse(path: Path) -> dict[str, float]:
    """The mean MSE of each member of a suite; of another attack, nothing."""
    members = _members(path) if path.exists() else {}
    return {name: float(scores["mse"].double().mean()) for name, scores in members.items()}


def read_json(path: Path) -> Any:
    """The content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def computed(store: Store, plan: Plan) -> tuple[Row, list[Flag]]:
    """The stages of a run and where they were computed, for the row; flags where that was not one place.

    Sums are rounded in an order that depends on the device and the number of threads: the same config gives numbers
    that differ in a late digit, which an optimisation over many steps may carry forward to an early one.
    """
    stages = [(stage.kind, stage.key) for stage in plan.stages()]
    made = [store.made(*stage) for stage in stages if stage[1] != plan.copies]  # counts are the same anywhere
    flags: list[Flag] = []
    where: Row = {}
    for what in ("device", "threads"):
        places = list(dict.fromkeys(m[what] for m in made if what in m))  # a stage of an older version does not say
        where[f"runtime.{what}"] = places[0] if len(places) == 1 else " and ".join(map(str, places)) or None
        if len(places) > 1:
            again = f"runtime.{what}={str(places[-1]).split()[0]} paths.outputs=anew"  # a store that has none of them
            flags.append(raised("mixed", f"runtime.{what}", places=where[f"runtime.{what}"], more=again))
    return {"stages": ["/".join(stage) for stage in stages], **where}, flags


def _error(scores: Mapping[str, Any]) -> float:
    """The standard error of a mean MSE over victims, from that of each."""
    mse = scores.get("mse")
    return float(mse.double().std() / len(mse) ** 0.5) if mse is not None and len(mse) > 1 else 0.0


@functools.cache
def provenance() -> dict[str, str | None]:
    """Versions, and the commit where the code runs from a git checkout."""
    try:
        commit = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True, text=True, check=False,
        ).stdout.strip()  # fmt: skip
    except OSError:  # no git on this machine
        commit = ""
    there = [
        name for name in ("torch", "torchvision", "pytorch-lightning", "timm") if find_spec(name.replace("-", "_"))
    ]
    versions = {f"version/{name}": metadata.version(name) for name in there}
    own = {"version/splitpriv": __version__, "version/python": platform.python_version()}
    return {**own, **versions, "commit": commit or None}
