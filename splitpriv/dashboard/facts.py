"""What the page knows of what rows hold: metrics with unit and direction, and what a flag means."""

from __future__ import annotations

from typing import Any

from splitpriv.metrics import GROUPS

# What a flag begins with or contains, and what it means; the first that matches is shown.
FLAGS: tuple[tuple[str, str], ...] = (
    ("splits overlap", "The target, the attacker and the victims share images, so part of the attack may be memory. "
     "Published protocols do this; do not compare such rows with rows of disjoint splits."),
    ("release is constant", "Two draws show no sign of the image in the release: there is none, or only averaging "
     "finds it. Look at the chain, and at attacks that average, before the numbers."),
    ("worse than a random image", "The attack loses to showing any image of the attacker's own data: it did not work. "
     "Its error says nothing about privacy; give it more steps, or look for a bug."),
    ("no better than the mean image", "The attack learnt nothing beyond the average image. Either the defence holds, "
     "or the attack is too weak; a stronger attack decides."),
    ("not converged", "The attack was still improving when it stopped, so a longer one would reconstruct more: the "
     "privacy shown is an upper limit."),
    ("better than on the undefended", "The attack does better against the chain than against no defence at all. That "
     "is noise between runs, or the undefended attack was too weak."),
    ("which averages fewer", "This attack may use all that its twin uses, and more, yet does worse: its optimisation "
     "fails, and its number is not the worst case."),
    ("white box", "Whoever holds the edge can do all that a black-box attacker can. A weaker white box means that its "
     "optimisation failed, often through masked gradients; trust the black box."),
    ("beats the bound", "The attack does better than a proven lower bound on its error allows: an assumption of the "
     "bound does not hold here, or a number is wrong."),
    ("only one attack", "Privacy is the worst case over attacks; one attack is a weak worst case."),
    ("non-adaptive", "The chain has randomness or a mask that an adversary who knows it would attack differently; no "
     "such attack is in this run, so its privacy is overstated."),
    (" is nan", "A number of this run is not finite: something diverged."),
    (" is inf", "A number of this run is not finite: something diverged."),
)  # fmt: skip


def facts() -> dict[str, Any]:
    """What the page knows of metrics and flags, as plain data."""
    known = {
        group: {
            name: {"label": f"{m.label} {m.unit}".strip(), "digits": m.digits, "arrow": m.arrow}
            for name, m in table.items()
        }
        for group, table in GROUPS.items()
    }
    return {"metrics": known, "flags": [list(f) for f in FLAGS]}
