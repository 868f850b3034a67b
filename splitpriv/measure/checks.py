"""Is this evaluation believable? Flags for the row; a flag is a reason to look again, not a verdict."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

from splitpriv.measure import remedies, strange
from splitpriv.measure.flags import Flag, raised
from splitpriv.measure.kinds import KINDS
from splitpriv.measure.remedies import ADAPTIVE, longer

MARGIN = 0.02  # relative differences of mean MSE below this are noise between attacks
SIGNIFICANT = 3.0  # standard errors
STARVED = 0.1  # share of the error that twice the aux would take away; above it there is too little (known to some .02)
THIN = 20  # images by whose error members are told apart
UNSETTLED = 0.1  # share of a suite's error that twice its effort would take away; above it there is no plateau in sight
SURE = 1.96  # standard errors of a 95 % interval
BOXES = {"white": ("refine", "search", "polish", "unaided"), "black": ("decoder",)}  # members, by what they must know
AVERAGED = ("draws", "eot")  # settings in which twins may differ

STRENGTH = {"image": ("mse", -1), "attribute": ("balanced_accuracy", 1), "identity": ("map", 1)}

Means = Mapping[str, float]


@dataclass(frozen=True)
class Facts:
    """What the checks know of one attack: its mean scores, and how it was made.

    `settings` is its node of the config; `converged` is None where an attack cannot say; `requires`, `draws`, `eot` and
    `adapts` are the attack's own; `gain` is the share of its error that twice the aux would take away, where known;
    `error` is the standard error of its MSE over victims, which says nothing of a `typical` one; `suite` says that it
    is a suite, which has rivals within: `members` are their MSE, `effort` the share that twice of it would save,
    `contradicted` the share of the first victims whose releases speak against what it learned from aux, if most do,
    `chosen_on` the images of aux by which it chose its answer.
    """

    means: Means
    settings: Mapping[str, Any] = field(default_factory=dict)
    requires: frozenset[str] = frozenset()
    draws: int = 1
    eot: int = 1
    converged: bool | None = None
    adapts: frozenset[str] = frozenset()
    gain: float | None = None
    error: float = 0.0
    typical: bool = False
    suite: bool = False
    members: Means = field(default_factory=dict)
    effort: float | None = None
    contradicted: float | None = None
    chosen_on: int | None = None

    @property
    def unfinished(self) -> str:
        """The kind of doubt where it has not converged: a suite promises its plateau, unless cut short by its name."""
        promised = self.suite and self.settings.get("tier") != "quick"
        return "unsettled" if promised and not (self.effort is not None and self.effort <= UNSETTLED) else "short"

    @property
    def apart(self) -> dict[str, Any]:
        """What twins have in common."""
        return {key: value for key, value in self.settings.items() if key not in AVERAGED}


def doubts(
    attacks: Mapping[str, Facts],
    *,
    mean_image: Means,
    random_image: Means,
    signal: float | None = None,
    overlaps: Mapping[str, int] | None = None,
    declared: bool = False,
    utility: Means | None = None,
    adaptive: Mapping[str, Sequence[str]] | None = None,
    bounds: Means | None = None,
    release: Means | None = None,
    spare: Callable[[int], str] = lambda times: "",
) -> list[Flag]:
    """Flags of one run, most serious first.

    `mean_image` and `random_image`: the floors' mean scores. `signal`: `measure.signal` of the release. `overlaps`:
    images shared, per pair of splits, which are `declared` where a published protocol or the adversary's knowledge has
    it so. `adaptive`: the attacks that each defence must be measured by, those that average
    answers only if some attack observes any. `bounds`: lower bounds on the MSE of any attack, under names that end in
    "_mse" or "_mmse", with a standard error under "..._error" where they have one. `release`:
    `oddities.oddities`. `spare`: the override that gives attacks so many times the adversary's own images.
    """
    mse = {name: f.means["mse"] for name, f in attacks.items()
           if math.isfinite(f.means.get("mse", math.nan)) and not f.typical}  # fmt: skip
    flags = [*_numbers({"utility": utility or {}, **{name: f.means for name, f in attacks.items()}})]
    shared = "declared" if declared else "overlap"
    flags += [raised(shared, pair, count=count) for pair, count in (overlaps or {}).items() if count]
    silent = signal is not None and not signal >= SIGNIFICANT
    flags += [raised("constant")] if silent else []
    flags += strange.flags(release or {}, silent)
    flags += [*_floors(attacks, mse, mean_image, random_image), *_guesses(attacks)]
    told = attacks.items()
    flags += [raised(f.unfinished, n, longer=longer(n, f.settings)) for n, f in told if f.converged is False]
    flags += [raised("starved", n, gain=f.gain, more=spare(2)) for n, f in told if (f.gain or 0) > STARVED]
    flags += [raised("thin", n, count=f.chosen_on, more=spare(math.ceil(THIN / f.chosen_on)))
              for n, f in told if f.chosen_on and f.chosen_on < THIN]  # fmt: skip
    flags += [raised("unlike", n, share=f.contradicted) for n, f in told if f.contradicted]
    unmet = [*_unmet(attacks, adaptive or {})]
    more = _completed(attacks, [kind for _, kind in unmet])
    flags += [raised(kind if kind in KINDS else "adaptive", name, what=ADAPTIVE[kind], attacks=more)
              for name, kind in unmet]  # fmt: skip
    flags += _beaten(attacks, mse, bounds or {})
    flags += [*_twins(attacks, mse), *_boxes(attacks, mse)]
    if len(attacks) == 1 and not any(f.suite for f in attacks.values()):
        flags.append(raised("alone", attacks=more))
    return flags


def _beaten(attacks: Mapping[str, Facts], mse: Means, bounds: Means) -> Iterator[Flag]:
    """Attacks that do better than a bound by more than the chance of victims and draws explains."""
    for bound, value in bounds.items():
        if not bound.endswith(("_mse", "_mmse")):
            continue
        for name, mean in mse.items():
            chance = math.hypot(attacks[name].error, bounds.get(f"{bound}_error", 0.0))
            if mean < value - SIGNIFICANT * chance and attacks[name].draws == 1:  # the bounds are on one release
                yield raised("bound", name, bound=bound, value=value)


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


def above_ceiling(name: str, row: Mapping[str, Any], settings: Mapping[str, Any], victims: int) -> Iterator[Flag]:
    """Flags of an attack with these settings that does better against the chain (privacy/...) than against no defence
    (ceiling/...), or on x itself (clean/...); shares by more than they vary over so many victims.
    """
    for group, kind in (("ceiling", "ceiling"), ("clean", "clean")):
        for key, sign in STRENGTH.values():
            reached, least = (row.get(f"{where}/{name}/{key}") for where in ("privacy", group))
            if reached is None or least is None:
                continue
            noise = MARGIN * least if sign < 0 else SURE * math.sqrt(max(least * (1 - least), 0) / victims)
            if sign * (reached - least) > noise:
                yield raised(kind, name, longer=remedies.longer(name, settings))


def _completed(attacks: Mapping[str, Facts], kinds: Sequence[str]) -> str:
    """The list of attacks with what is lacking: those that adapt to these kinds, and a second one."""
    listed = {name: f.settings for name, f in attacks.items()}
    lacking = [remedies.another(listed)] if len(listed) == 1 else []
    lacking += [remedies.adapting(listed, kind) for kind in kinds]
    names = [*listed, *dict.fromkeys(name for name in lacking if name)]
    return f"attack=[{','.join(names)}]" if len(names) > len(listed) else ""


def _unmet(attacks: Mapping[str, Facts], adaptive: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """Each defence, and a kind of attack that it must be measured by and is not."""
    unseen = set() if any(_sees_answers(f.settings) for f in attacks.values()) else {"answers"}
    for name, kinds in adaptive.items():
        for kind in kinds:
            if kind not in unseen and not any(kind in f.adapts for f in attacks.values()):
                yield name, kind


def _sees_answers(settings: Mapping[str, Any]) -> bool:
    """Whether an attack, or one that it holds, observes what the server answers instead of the release."""
    held = [value for value in settings.values() if isinstance(value, Mapping)]
    return settings.get("observe", "release") != "release" or any(map(_sees_answers, held))


def _numbers(told: Mapping[str, Means]) -> Iterator[Flag]:
    for name, means in told.items():
        for metric, value in means.items():
            if not math.isfinite(value):
                yield raised("number", name, metric=metric, value=value)


def _floors(attacks: Mapping[str, Facts], mse: Means, mean_image: Means, random_image: Means) -> Iterator[Flag]:
    """Attacks that an image of aux would replace."""
    for name, value in mse.items():
        if value > random_image["mse"]:
            yield raised("random", name, longer=longer(name, attacks[name].settings))
        elif value >= mean_image["mse"] * (1 - MARGIN):
            yield raised("mean", name, longer=longer(name, attacks[name].settings))


def _guesses(attacks: Mapping[str, Facts]) -> Iterator[Flag]:
    """Attacks that a guess without the release would replace."""
    for name, f in attacks.items():
        for reached, blind in (("map", "chance_map"), ("balanced_accuracy", "label_balanced_accuracy")):
            if reached in f.means and blind in f.means and f.means[reached] <= f.means[blind] * (1 + MARGIN):
                yield raised(
                    "guess", name, metric=reached, blind=blind.replace("_", " "), longer=longer(name, f.settings)
                )


def _twins(attacks: Mapping[str, Facts], mse: Means) -> Iterator[Flag]:
    """A pair that differs only in `draws` or `eot`: the one with more has all that the other has."""
    for more, less in permutations(mse, 2):
        a, b = attacks[more], attacks[less]
        if a.apart == b.apart and mse[more] > mse[less] * (1 + MARGIN):
            for what, averaged, same in (("releases", "draws", "eot"), ("gradients", "eot", "draws")):
                if getattr(a, averaged) > getattr(b, averaged) and getattr(a, same) == getattr(b, same):
                    yield raised("twin", more, other=less, what=what, longer=longer(more, a.settings))


def _boxes(attacks: Mapping[str, Facts], mse: Means) -> Iterator[Flag]:
    """Whoever holds the edge can do all that a black-box attacker can."""
    white = {name: mse[name] for name in mse if attacks[name].requires & remedies.WHITE}
    black = {name: mse[name] for name in mse if name not in white}
    if white and black and min(white.values()) > min(black.values()) * (1 + MARGIN):
        subject, other = (min(box, key=box.__getitem__) for box in (white, black))
        yield raised("box", subject, other=other, longer=longer(subject, attacks[subject].settings))
    for name in white:
        told = attacks[name].members
        least = {box: min(told.get(member, math.inf) for member in names) for box, names in BOXES.items()}
        if math.isfinite(least["white"]) and least["white"] > least["black"] * (1 + MARGIN):
            yield raised("box", f"{name}'s search", other="its decoder", longer=longer(name, attacks[name].settings))
