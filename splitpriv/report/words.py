"""A row in plain words: what was attacked, what it gave away, and why to doubt that. Imports no torch."""

from __future__ import annotations

from splitpriv.measure.flags import flags_of
from splitpriv.metrics import PRIVACY, find
from splitpriv.report.terminal import attacks_of, images_of, often
from splitpriv.store import Row

LEAST = 0.02  # share of what tells pictures apart below which an attack has learnt nothing
PARTS = ((0.75, "nearly everything"), (0.5, "most"), (0.25, "a good part"), (LEAST, "a little"))


def summary(row: Row) -> list[str]:
    """Sentences on a judged row: the verdict, the service, the strongest attack, and every doubt."""
    if row.get("study") == "audit":
        return [f"{row['verdict']}: {row['chain']} ({access(row)}), key {row['key']}.", *rebuilt(row), *doubts(row)]
    what = f"{row['chain']} on {row.get('dataset', '?')}, {row.get('backbone', '?')} cut at {row.get('cut', '?')}"
    what += often(row, ", ")
    told = [f"{row['verdict']}: {what}, seed {row['seed']}, key {row['key']}.", *_service(row), *rebuilt(row)]
    return [*told, *doubts(row)]


ACCESS = {"white": "the adversary knows the edge", "query": "the adversary can ask the edge, and no more",
          "recorded": "the adversary has pairs that were recorded, and no edge"}  # fmt: skip


def access(row: Row) -> str:
    """What the adversary of an audit has of the device, in words."""
    return ACCESS.get(str(row.get("knowledge")), "an audit")


def rebuilt(row: Row) -> list[str]:
    """What attacks on images rebuilt, between not looking at the release and no defence; empty without any."""
    who = "suite" if "privacy/suite/mse" in row else "worst"
    mse, floor = row.get(f"privacy/{who}/mse"), row.get("floor/mean_image/mse")
    if mse is None or not floor or not images_of(row):
        return []
    name = row.get("binds/image") or images_of(row)[0]
    numbers = ", ".join(f"{PRIVACY[m].label} {PRIVACY[m].text(row[f'privacy/{who}/{m}'])}{_unit(m)}"
                        for m in ("mse", "psnr", "ssim") if row.get(f"privacy/{who}/{m}") is not None)  # fmt: skip
    share, whose = given_away(row), "pictures that were set apart" if row.get("sent") else "victims' pictures"
    most = row.get(f"ceiling/{who}/mse")
    beside = f" Without a defence it would be {max(0.0, 1 - most / floor):.0%}." if most is not None else ""
    return [
        f"{name} rebuilt {row.get('victims', '?')} {whose} with {numbers}.",
        f"The release gives away {amount(share)}: {share:.0%} of what tells one picture from the average one."
        f"{beside}",
    ]  # fmt: skip


def given_away(row: Row) -> float:
    """The share of the pixels' variance that the strongest attack explains, at least 0: of whoever never looks at a
    release and answers the mean image it is 0, of a perfect copy 1."""
    who = "suite" if "privacy/suite/mse" in row else "worst"
    return max(0.0, 1 - float(row[f"privacy/{who}/mse"] / row["floor/mean_image/mse"]))


def amount(share: float) -> str:
    """A share of what tells pictures apart, in a word."""
    return next((word for least, word in PARTS if share >= least), "next to nothing")


def doubts(row: Row) -> list[str]:
    """Each flag with what clears it."""
    return [f"Doubt: {flag.text}{' (void)' if flag.voids else ''}; {flag.way}." for flag in flags_of(row)]


def _service(row: Row) -> list[str]:
    name = str(row.get("headline", "accuracy"))
    value, metric, blind = row.get(f"utility/{name}"), find(f"utility/{name}"), row.get(f"chance/{name}")
    told = [] if value is None or metric is None else [
        f"The service's {metric.label} is {metric.text(value)}"
        + (f" ({metric.text(blind)} without looking)." if blind is not None else ".")
    ]  # fmt: skip
    others = [a for a in attacks_of(row) if a not in images_of(row)]
    for attack in others:
        reached = row.get(f"privacy/{attack}/balanced_accuracy", row.get(f"privacy/{attack}/map"))
        if reached is not None:
            told.append(f"{attack} reads its secret off the release with {reached:.1%}.")
    return told


def _unit(name: str) -> str:
    return f" {PRIVACY[name].unit}" if PRIVACY[name].unit else ""
