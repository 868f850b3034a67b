"""How the page names and explains what rows hold: metrics with unit and direction, and what a flag means."""

from __future__ import annotations

from typing import Any

from splitpriv.report.terminal import METRICS

# label, digits after the point ("%" for a percentage), and which way is more private: "↑", "↓" or "" for neither
PRIVACY: dict[str, tuple[str, str, str]] = {
    **{name: (label[:-2], form[3:-2], label[-1]) for name, (label, form) in METRICS.items()},
    "truth": ("probability of the truth", "%", "↓"),
    "correct": ("right about the attribute", "%", "↓"),
    "ap": ("average precision", "%", "↓"),
    "accuracy": ("attacker's accuracy", "%", "↓"),
    "balanced_accuracy": ("attacker's balanced accuracy", "%", "↓"),
    "auc": ("AUC", "3", "↓"),
    "advantage": ("advantage over guessing", "%", "↓"),
    "majority": ("accuracy of guessing the majority", "%", ""),
    "map": ("mean average precision", "%", "↓"),
    "rank1": ("rank-1 identification", "%", "↓"),
    "rank5": ("rank-5 identification", "%", "↓"),
    "tar": ("true accepts at 0.1 % false", "%", "↓"),
    "label_balanced_accuracy": ("balanced accuracy from the label", "%", ""),
    "over_label": ("advantage over the label", "%", "↓"),
    "chance_map": ("mean average precision by chance", "%", ""),
    "chance_rank1": ("rank-1 by chance", "%", ""),
}
YES_NO = frozenset({"correct", "rank1", "rank5"})  # scores that are 0 or 1 for each victim
# label, digits, and which way is better for whoever runs the device
UTILITY: dict[str, tuple[str, str, str]] = {
    "accuracy": ("accuracy", "%", "↑"),
    "balanced_accuracy": ("balanced accuracy", "%", "↑"),
    "cross_entropy": ("cross-entropy nats", "4", "↓"),
    "map": ("mean average precision", "%", "↑"),
    "rank1": ("rank-1 identification", "%", "↑"),
    "rank5": ("rank-5 identification", "%", "↑"),
}
COST: dict[str, tuple[str, str, str]] = {
    "edge_parameters": ("edge parameters", "0", "↓"),
    "edge_stages": ("edge stages", "0", ""),
    "edge_macs": ("edge MAC/image", "0", "↓"),
    "total_macs": ("total MAC/image", "0", "↓"),
    "release_bytes": ("release B/image", "0", "↓"),
    "edge_latency_ms": ("edge latency ms", "3", "↓"),
}

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

    def plain(table: dict[str, tuple[str, str, str]]) -> dict[str, dict[str, str]]:
        return {k: {"label": label, "digits": digits, "arrow": arrow} for k, (label, digits, arrow) in table.items()}

    return {
        "privacy": plain(PRIVACY),
        "utility": plain(UTILITY),
        "cost": plain(COST),
        "flags": [list(f) for f in FLAGS],
    }
