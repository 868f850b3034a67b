"""A run on one page for whoever must decide: who attacks, what they got, what it costs, what is left and not tried.

Words are those of ISO/IEC 27559 (threat modelling, maximum and average risk, adversarial testing, mitigation, residual
risk) and of NIST AI 100-2 (the adversary's goal, knowledge and capability).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from splitpriv import plain, targets
from splitpriv.attacks.base import Attack
from splitpriv.measure import pictures
from splitpriv.measure.flags import flags_of
from splitpriv.metrics import PRIVACY, find
from splitpriv.report import words
from splitpriv.report.terminal import attacks_of, images_of
from splitpriv.run.reopen import nested
from splitpriv.store import Row, Store
from splitpriv.types import UserError

GOAL = (
    "Inference-input reconstruction: to rebuild the image that a device sends for inference, or to read a secret of "
    "it, from the release that reaches the server. It is not the reconstruction of training data, nor membership "
    "inference."
)
RIGHTS = {  # what an attack declares, in the words of NIST AI 100-2
    "query": "queries the edge with images of its own (black box)",
    "edge": "holds the edge and its chain with gradients (white box)",
    "expected": "knows the chain's noise by its mean",
    "gap": "knows what a mask or its like let pass, by its law",
    "clean": "holds the edge without its chain",
    "cloud": "holds the server's half",
    "mask": "knows which values of a release are constants",
    "aux": "has labelled images of its own, and never a victim's",
}
NEVER = (
    "reconstruction of training data, membership inference and model extraction",
    "poisoning of the training, evasion, and devices or servers that leave the protocol",
    "side channels of the device, and what a release tells beside its values (size, time)",
    "attacks that are yet to be invented: what was measured is a lower bound on what an adversary can do",
)


@dataclass
class Section:
    """A heading with sentences, and perhaps a table whose first row is its head."""

    title: str
    lines: list[str] = field(default_factory=list)
    table: list[list[str]] = field(default_factory=list)


@dataclass
class Faces:
    """Some victims above what was rebuilt of them, both (N, H, W, 3) in bytes, with a word under each."""

    title: str
    x: np.ndarray
    images: np.ndarray
    said: list[str]


@dataclass
class Card:
    """What a card holds, whatever it is written as."""

    title: str
    verdict: str
    subtitle: str
    sections: list[Section]
    faces: list[Faces]


def card(row: Row, store: Store, faces: Sequence[Faces]) -> Card:
    """The card of a judged row; raise UserError for a study, which deploys nothing."""
    if row.get("study"):
        raise UserError(f"{row['key']}: is a row of the study {row['study']}, which deploys no network; name a run's")
    where = f"{row.get('dataset', '?')}, {row.get('backbone', '?')} cut at {row.get('cut', '?')}"
    sections = [
        Section("Decision", _decision(row)), _threat(row), Section("Mitigation", _mitigation(row)), _risk(row, store),
        _service(row), Section("Residual risk", _residual(row)), Section("Not tried", _untried(row)),
    ]  # fmt: skip
    subtitle = (
        f"{where} · task {row.get('task', '?')} · key {row['key']} · splitpriv {row.get('version/splitpriv', '?')}"
    )
    card = Card(f"Defence: {row['chain']}", str(row["verdict"]), subtitle, sections, list(faces))
    for section in card.sections:
        section.lines = [plain.line(line) for line in section.lines]
        section.table = [[plain.line(cell) for cell in line] for line in section.table]
    return card


def _decision(row: Row) -> list[str]:
    meaning = {
        "sound": "Sound: nothing speaks against reading the numbers below.",
        "doubtful": "Doubtful: the numbers below stand, but read the doubts under residual risk first.",
        "void": "Void: this evaluation says nothing about the risk. Do not decide on it; make it again as said below.",
    }[str(row["verdict"])]
    why = [flag.text for flag in flags_of(row) if flag.voids]
    if why:
        return [f"{meaning} Why: {'; '.join(why)}."]
    return [meaning, *words.rebuilt(row)]


def _attacks(row: Row) -> dict[str, Attack]:
    """The attacks of a row, built from its settings; those that this version cannot build are left out."""
    built: dict[str, Attack] = {}
    for name, node in nested(row)["attack"].items():
        try:
            built[name] = targets.build(node, f"attack.{name}")()
        except UserError:
            continue
    return built


def _threat(row: Row) -> Section:
    attacks = _attacks(row)
    rights = {right for attack in attacks.values() for right in attack.requires}
    knows = "; ".join(text for right, text in RIGHTS.items() if right in rights) or "not known for this row"
    draws = max((attack.draws for attack in attacks.values()), default=1)
    queries = f"up to {draws} releases of one image" if draws > 1 else "one release of every image"
    return Section("Threat model", [
        f"Goal. {GOAL}",
        f"Knowledge. The adversary {knows}. What his images are: {row.get('knowledge', '?')}"
        + (f", {many} at most." if (many := row.get("protocol.limit.aux")) else "."),
        f"Capability. He sees {queries}, and asks the edge as often as he likes about images of his own.",
    ])  # fmt: skip


def _mitigation(row: Row) -> list[str]:
    chain = nested(row)["defense"]
    told = []
    for name, node in chain.items():
        try:
            doc = targets.locate(str(node.get("_target_")), f"defense.{name}").__doc__ or ""
        except UserError:
            doc = ""
        first = re.split(r"(?<!et al)\. ", " ".join(doc.split()))[0].rstrip(".")
        numbers = ", ".join(f"{k} {v:g}" for k, v in node.items()
                            if isinstance(v, int | float) and not isinstance(v, bool))  # fmt: skip
        told.append(f"{name}: {first}" + (f" ({numbers})." if numbers and len(numbers) < 60 else "."))
    told += [str(v) + "." for k, v in row.items() if k.startswith("defense/") and k.endswith("/certificate")]
    return told or ["None: the device sends the feature as it is."]


def _risk(row: Row, store: Store) -> Section:
    """Average and maximum risk over the victims, between what no release gives and what no defence leaves."""
    section = Section("Risk: adversarial testing")
    images, who = images_of(row), "suite" if "privacy/suite/mse" in row else "worst"
    if images and f"privacy/{who}/mse" in row:
        each = _per_victim(row, store, who)
        section.table.append(
            ["reconstruction", "average risk", "maximum risk", "without a release", "without a defence"]
        )
        for name in (m for m in PRIVACY if f"privacy/{who}/{m}" in row and f"floor/mean_image/{m}" in row):
            metric, cells = (
                PRIVACY[name],
                [f"privacy/{who}/{name}", f"floor/mean_image/{name}", f"ceiling/{who}/{name}"],
            )
            mean, floor, most = ("" if row.get(c) is None else metric.text(row[c]) for c in cells)
            values = each.get(name)
            worst = ("" if values is None or not len(values) else
                     metric.text(float(values.max() if metric.better == "lower" else values.min())))  # fmt: skip
            section.table.append([metric.heading, mean, worst, floor, most or "not run"])
        whose = "the suite" if who == "suite" else "the best attack on each"
        section.lines.append(
            f"Average: over {row.get('victims')} victims, of {whose} ({', '.join(images)}). Maximum: the one victim "
            "that was rebuilt best. ↑ higher, ↓ lower is more private."
        )
    for name in (a for a in attacks_of(row) if a not in images):
        for which in ("balanced_accuracy", "accuracy", "map", "rank1"):
            if (value := row.get(f"privacy/{name}/{which}")) is not None:
                clean, what = row.get(f"clean/{name}/{which}"), row.get(f"attack.{name}.attribute") or "identity"
                most = f" ({clean:.1%} from the image itself)" if clean is not None else ""
                section.lines.append(f"Inference: {name} finds {what} with {PRIVACY[which].label} {value:.1%}{most}.")
                break
    if bounds := [f"{m.label} {m.text(v)}" for k, v in row.items() if k.startswith("bound/") and "mse" in k
                  and (m := find(k)) and isinstance(v, float) and "error" not in k]:  # fmt: skip
        section.lines.append(f"Bounds on all attacks on one release: {'; '.join(bounds)}.")
    return section if section.lines else Section(section.title, ["No attack was run."])


def _per_victim(row: Row, store: Store, who: str) -> dict[str, np.ndarray]:
    """Scores of every victim, metric -> (victims,): the suite's, or of the best attack on each; empty without files."""
    paths = {k[7:]: v for k, v in row.items() if k.startswith("scores/") and "clean/" not in k and v}
    suites = (
        [n for n in images_of(row) if "autoinvert" in str(row.get(f"attack.{n}._target_"))] if who == "suite" else []
    )
    kept = [pictures.read_scores(store.root / paths[n]) for n in suites or images_of(row)
            if n in paths and (store.root / paths[n]).is_file()]  # fmt: skip
    names = set.intersection(*map(set, kept)) if kept else set()
    return {name: (np.max if PRIVACY[name].better == "lower" else np.min)([s[name] for s in kept], axis=0)
            for name in names if name in PRIVACY}  # fmt: skip


def _service(row: Row) -> Section:
    """What the service is worth, and what the device pays."""
    name = str(row.get("headline", "accuracy"))
    section, seen = Section("Utility and cost"), {f"utility/{name}": "", f"chance/{name}": "without looking: "}
    utility = [f"{before}{m.label} {m.text(row[k])}" for k, before in seen.items()
               if (m := find(k)) and row.get(k) is not None]  # fmt: skip
    if utility:
        section.lines.append(f"Utility: {', '.join(utility)}, on {row.get('tested') or row.get('victims')} images.")
    costs = ("bits_per_image", "release_bytes", "edge_parameters", "edge_macs", "edge_weight_bytes", "edge_peak_bytes")
    paid = [f"{m.label} {m.text(row[k])} {m.unit}".strip() for c in costs
            if (m := find(k := f"cost/{c}")) and row.get(k) is not None]  # fmt: skip
    if paid:
        section.lines.append(f"Rate and size: {', '.join(paid)}.")
    if (latency := row.get("cost/edge_latency_ms")) is not None:
        spread = row.get("cost/edge_latency_spread_ms")
        apart = f", quartiles {spread:.3f} ms apart" if spread is not None else ""
        where = f"{row.get('runtime.device') or 'device unknown'}, threads: {row.get('runtime.threads') or '?'}"
        section.lines.append(f"Latency of the edge: {latency:.3f} ms an image{apart}, where it was measured ({where}).")
    return section


def _residual(row: Row) -> list[str]:
    draws = max((attack.draws for attack in _attacks(row).values()), default=1)
    seen = f"at most {draws} releases" if draws > 1 else "one release"
    told = [f"Queries allowed: attacks saw {seen} of an image. Whoever sees more of the same image can average what is "
            "drawn at random: limit how often one leaves the device."]  # fmt: skip
    return told + [f"{flag.text} ({flag.way})." for flag in flags_of(row)]


def _untried(row: Row) -> list[str]:
    attacks = _attacks(row).values()
    rights = {right for attack in attacks for right in attack.requires}
    told = {
        "attacks that average repeated releases": not any(attack.draws > 1 for attack in attacks),
        "white-box attacks": "edge" not in rights,
        "the suite of attacks (attack=[autoinvert])": not row.get("suite"),
        "inference of attributes": not any(attack.recovers == "attribute" for attack in attacks),
        "identification of people": not any(attack.recovers == "identity" for attack in attacks),
        "adversaries with images of another law": row.get("knowledge") == "same",
        "another training of the same network (this is one seed)": True,
    }  # fmt: skip
    here = ", ".join(text for text, missing in told.items() if missing)
    return [f"In this run: {here}.", f"By splitpriv at all: {'; '.join(NEVER)}."]
