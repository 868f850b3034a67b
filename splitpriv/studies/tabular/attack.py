"""The MAP attack (Fredrikson et al. 2014, 2015): the sensitive value that best explains what the attacker knows.

It holds the model, all other features of the victim, the marginal of the sensitive one and the model's error, and picks
the value v with the largest prior(v)·Pr[observed | f(v, x_others)]. Every function returns such scores, (N, 2).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from splitpriv.studies.tabular.data import Floats, Ints, Table
from splitpriv.studies.tabular.linear import Linear
from splitpriv.studies.tabular.tree import Node, Tree, macro_f1

Model = Linear | Tree


def marginal(train: Table) -> Floats:
    """prior(v) as the attacker knows it, (2,)."""
    share: Floats = np.bincount(train.sensitive, minlength=2) / len(train.y)
    return share


def from_truth(model: Model, victims: Table, prior: Floats) -> Floats:
    """Observed is the true response y: its density under the residual's Gaussian, or its entry of the confusion matrix.

    A random tree's entry is the mean over its answers.
    """

    def fit(x: Floats) -> Floats:
        if isinstance(model, Linear):
            y = (victims.y - model.centre) / model.unit
            return _normal(y - model.mean(x), model.residual)
        chance = model.shown(x) @ model.confusion.T
        return _pick(chance, victims.y.astype(np.int64))

    return _scores(fit, victims, prior)


def from_answer(model: Model, victims: Table, prior: Floats, answers: Floats | Ints) -> Floats:
    """Observed is one answer Ŷ of the model to the victim's row: what I(X; Ŷ) speaks of."""

    def fit(x: Floats) -> Floats:
        if isinstance(model, Linear):
            return _normal(answers - model.mean(x), model.sigma)
        return _pick(model.shown(x), answers.astype(np.int64))

    return _scores(fit, victims, prior)


def from_counts(model: Tree, victims: Table, prior: Floats) -> Floats:
    """White box with path counts: prior(v) times the share of training rows with label y on the path that v takes,
    over the share of training rows on all paths that v may take.
    """
    reach = np.array([_passes(model.root, model.column, v) for v in (0, 1)])
    total = model.root.counts.sum()
    labels = victims.y.astype(np.int64)
    return _scores(lambda x: _pick(model.counts(x), labels) / total, victims, prior * total / reach)


def _passes(node: Node, column: int, value: int) -> float:
    """Training rows in the leaves that a row with this sensitive value can reach."""
    if node.low is None or node.high is None:
        return float(node.counts.sum())
    ways = [node.low, node.high]
    if node.feature == column:
        ways = ways[:1] if value <= node.threshold else ways[1:]
    return sum(_passes(way, column, value) for way in ways)


def guess(scores: Floats, prior: Floats) -> Ints:
    """The best value, (N,); the more common one where both explain as well."""
    common = int(prior.argmax())
    edge = scores[:, 1] - scores[:, 0]
    even = np.abs(edge) <= 1e-12 * np.maximum(scores.max(1), 1e-300)
    return np.where(even, common, (edge > 0).astype(np.int64))


def grade(victims: Table, guessed: Ints) -> dict[str, float]:
    """Accuracy, and macro-F1 as the paper scores trees."""
    truth = victims.sensitive
    return {"accuracy": float((guessed == truth).mean()), "f1": macro_f1(truth, guessed, 2)}


def _scores(fit: Callable[[Floats], Floats], victims: Table, prior: Floats) -> Floats:
    return np.stack([prior[v] * fit(victims.supposing(v)) for v in (0, 1)], 1)


def _normal(error: Floats, sigma: float) -> Floats:
    density: Floats = np.exp(-0.5 * (error / sigma) ** 2)
    return density


def _pick(table: Floats, column: Ints) -> Floats:
    picked: Floats = table[np.arange(len(table)), column]
    return picked
