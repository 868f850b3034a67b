"""Is this evaluation believable? Short flags for the row; a flag is a reason to look again, not a verdict."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

MARGIN = 0.02  # relative differences of mean MSE below this are noise between attacks
SIGNIFICANT = 3.0  # standard errors
ADAPTIVE = {
    "draws": "how to average repeated releases (draws > 1)",
    "answers": "how to average repeated answers (draws > 1)",
    "mask": "what the chain keeps (mask)",
}

STRENGTH = {"image": ("mse", -1), "attribute": ("balanced_accuracy", 1), "identity": ("map", 1)}

Means = Mapping[str, float]


@dataclass(frozen=True)
class Facts:
    """What the checks know of one attack: its mean scores, and how it was made.

    `kind` names its class; `settings` holds every setting besides `draws` and `eot`, so that twins can be told;
    `converged` is None where an attack cannot say; `adapts` is `Attack.adapts`.
    """

    means: Means
    kind: str = ""
    requires: frozenset[str] = frozenset()
    draws: int = 1
    eot: int = 1
    converged: bool | None = None
    adapts: frozenset[str] = frozenset()
    settings: Mapping[str, Any] = field(default_factory=dict)


def doubts(
    attacks: Mapping[str, Facts],
    *,
    mean_image: Means,
    random_image: Means,
    signal: float | None = None,
    overlaps: Mapping[str, int] | None = None,
    utility: Means | None = None,
    adaptive: Mapping[str, Sequence[str]] | None = None,
    bounds: Means | None = None,
) -> list[str]:
    """Flags of one run, most serious first.

    `mean_image` and `random_image`: the floors' mean scores. `ceiling`: mean scores of the same attacks on the
    undefended network, if known. `signal`: `measure.signal` of the release. `overlaps`: images shared, per pair of
    splits. `adaptive`: the attacks that each defence must be measured by, those that average answers only if some
    attack observes any. `bounds`: lower bounds on the MSE of any attack, under names that end in "_mse".
    """
    flags = [*_numbers({"utility": utility or {}, **{name: f.means for name, f in attacks.items()}})]
    flags += [f"splits overlap: {pair} ({count} images)" for pair, count in (overlaps or {}).items() if count]
    if signal is not None and not signal >= SIGNIFICANT:
        flags.append("release is constant: two draws show no sign of the image (repeated ones may)")
    mse = {name: f.means["mse"] for name, f in attacks.items() if math.isfinite(f.means.get("mse", math.nan))}
    for name, value in mse.items():
        if value > random_image["mse"]:
            flags.append(f"{name}: worse than a random image of aux")
        elif value >= mean_image["mse"] * (1 - MARGIN):
            flags.append(f"{name}: no better than the mean image of aux")
    for name, f in attacks.items():
        for found, blind in (("map", "chance_map"), ("balanced_accuracy", "label_balanced_accuracy")):
            if found in f.means and blind in f.means and f.means[found] <= f.means[blind] * (1 + MARGIN):
                flags.append(f"{name}: {found} is no better than {blind.replace('_', ' ')}")
    flags += [f"{name}: not converged" for name, f in attacks.items() if f.converged is False]
    unseen = set() if any(_sees_answers(f.settings) for f in attacks.values()) else {"answers"}
    flags += [
        f"non-adaptive: {name} needs an attack that knows {ADAPTIVE[kind]}"
        for name, kinds in (adaptive or {}).items()
        for kind in kinds
        if kind not in unseen and not any(kind in f.adapts for f in attacks.values())
    ]
    flags += [
        f"{name}: beats the bound {bound} ({value:.4g})"
        for bound, value in (bounds or {}).items()
        if bound.endswith("_mse")
        for name in mse
        if mse[name] < value and attacks[name].draws == 1  # the bounds are on one release
    ]
    flags += _twins(attacks, mse)
    flags += _boxes(attacks, mse)
    if len(attacks) == 1:
        flags.append("only one attack was run")
    return flags


def binding(attacks: Mapping[str, Any], means: Mapping[str, Means]) -> dict[str, str]:
    """The strongest attack on each thing that attacks recover: "image", an attribute by its name, "identity"."""
    best: dict[str, tuple[float, str]] = {}
    for name, attack in attacks.items():
        what = attack.attribute if attack.recovers == "attribute" else attack.recovers
        key, sign = STRENGTH[attack.recovers]
        strength = sign * means[name].get(key, math.nan)
        if math.isfinite(strength) and (what not in best or strength > best[what][0]):
            best[what] = strength, name
    return {what: name for what, (_, name) in best.items()}


def above_ceiling(name: str, mse: float, undefended: float) -> list[str]:
    """The flag of an attack that does better against the chain than against no defence."""
    return [f"{name}: better than on the undefended network"] if mse < undefended * (1 - MARGIN) else []


def _sees_answers(settings: Mapping[str, Any]) -> bool:
    """Whether an attack, or one that it holds, observes what the server answers instead of the release."""
    held = [value for value in settings.values() if isinstance(value, Mapping)]
    return settings.get("observe", "release") != "release" or any(map(_sees_answers, held))


def _numbers(found: Mapping[str, Means]) -> Iterator[str]:
    for name, means in found.items():
        for metric, value in means.items():
            if not math.isfinite(value):
                yield f"{name}: {metric} is {value}"


def _twins(attacks: Mapping[str, Facts], mse: Means) -> Iterator[str]:
    """A pair that differs only in `draws` or `eot`: the one with more has all that the other has."""
    for more, less in permutations(mse, 2):
        a, b = attacks[more], attacks[less]
        if (a.kind, a.settings) == (b.kind, b.settings) and mse[more] > mse[less] * (1 + MARGIN):
            if a.draws > b.draws and a.eot == b.eot:
                yield f"{more}: weaker than {less}, which averages fewer releases"
            if a.eot > b.eot and a.draws == b.draws:
                yield f"{more}: weaker than {less}, which averages fewer gradients"


def _boxes(attacks: Mapping[str, Facts], mse: Means) -> Iterator[str]:
    """Whoever holds the edge can do all that a black-box attacker can."""
    white = {name: mse[name] for name in mse if attacks[name].requires & {"edge", "clean"}}
    black = {name: mse[name] for name in mse if name not in white}
    if white and black and min(white.values()) > min(black.values()) * (1 + MARGIN):
        names = (min(found, key=found.__getitem__) for found in (white, black))
        yield "white box ({}) weaker than black box ({})".format(*names)
