"""MID for decision trees: a reconstruction of the paper's idea, whose formula is not public. Information is in nats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from splitpriv.studies.tabular.data import Floats, Ints, Table
from splitpriv.types import Count, UserError, Whole


@dataclass
class Node:
    """`counts` (classes,) of the training rows that pass; a leaf has no `feature`."""

    counts: Floats
    feature: int | None = None
    threshold: float = 0.0
    low: Node | None = None
    high: Node | None = None


class Tree:
    """MID-tree (reconstructed): a split is worth gain(y) − λ·gain_I, and is made while the best is worth more than 0.

    gain(y): what it takes off the entropy or the Gini impurity of y. gain_I by `information`: leaf, the entropy of the
    branch taken, which adds up to H(leaf) = I(X; leaf) >= I(X; Ŷ); prediction, what it takes off the entropy of the
    random answer, which adds up to I(X; Ŷ); sensitive, what it takes off the entropy of the sensitive column.
    `sensitive_from`: depth from which splits on that column are allowed (the priority heuristic of Fredrikson et al.
    2015). Answers are drawn from the leaf's frequencies, or are its majority where `randomised` is false.
    """

    key_name: ClassVar[str] = "splitpriv.tabular.tree.Tree"

    label = "MID-tree (reconstructed)"
    headline = "f1"  # its utility
    classify = True

    def __init__(self, weight: float, *, criterion: Literal["entropy", "gini"],
                 information: Literal["leaf", "prediction", "sensitive"], depth: Count, leaf: Count, thresholds: Count,
                 sensitive_from: Whole, randomised: bool) -> None:  # fmt: skip
        if information == "prediction" and criterion == "entropy":
            raise UserError(".model.information: prediction and criterion=entropy are one quantity, (1 - λ) times the "
                            "gain, so that no λ below 1 changes the tree; use criterion=gini")  # fmt: skip
        self.weight, self.depth, self.leaf, self.thresholds = weight, depth, leaf, thresholds
        self.impurity = gini if criterion == "gini" else entropy
        self.kind, self.sensitive_from, self.randomised = information, sensitive_from, randomised

    def fit(self, table: Table) -> Tree:
        """Learn from a table. `confusion` (classes, classes) becomes Pr[y | ŷ], columns adding up to 1."""
        self.classes, self.column = table.classes, table.column
        hot = np.eye(table.classes)[table.y.astype(np.int64)]
        self.root = self._grow(table.x, hot, np.eye(2)[table.sensitive], 0)
        share = self.shown(table.x)
        joint = hot.T @ share + 1e-3
        self.confusion = joint / joint.sum(0)
        self.information = max(0.0, float(entropy(share.mean(0)) - entropy(share).mean()))
        return self

    def _grow(self, x: Floats, hot: Floats, private: Floats, depth: int) -> Node:
        node = Node(hot.sum(0))
        pairs = [(f, t) for f in range(x.shape[1]) if f != self.column or depth >= self.sensitive_from
                 for t in self._candidates(x[:, f])]  # fmt: skip
        if depth == self.depth or not pairs:
            return node
        features, thresholds = (np.array(part) for part in zip(*pairs, strict=True))
        low = x[:, features] <= thresholds
        share = low.mean(0)
        price = {
            "leaf": lambda: entropy(np.stack([share, 1 - share], -1)),
            "prediction": lambda: gains(hot, low, entropy),
            "sensitive": lambda: gains(private, low, entropy),
        }[self.kind]()
        worth = gains(hot, low, self.impurity) - self.weight * price
        worth[np.minimum(low.sum(0), (~low).sum(0)) < self.leaf] = -np.inf
        best = int(worth.argmax())
        if worth[best] > 1e-9:
            node.feature, node.threshold = int(features[best]), float(thresholds[best])
            left = low[:, best]
            node.low = self._grow(x[left], hot[left], private[left], depth + 1)
            node.high = self._grow(x[~left], hot[~left], private[~left], depth + 1)
        return node

    def _candidates(self, values: Floats) -> Floats:
        different = np.unique(values)
        between = (different[1:] + different[:-1]) / 2
        if len(between) <= self.thresholds:
            return between
        cuts: Floats = np.unique(np.quantile(values, np.linspace(0, 1, self.thresholds + 2)[1:-1]))
        return cuts

    def counts(self, x: Floats) -> Floats:
        """Training rows of every class in the leaf that each row of x reaches, (N, classes)."""
        out = np.empty((len(x), self.classes))
        waiting: list[tuple[Node, Ints]] = [(self.root, np.arange(len(x)))]
        while waiting:
            node, rows = waiting.pop()
            if node.low is None or node.high is None:
                out[rows] = node.counts
                continue
            low = x[rows, node.feature] <= node.threshold
            waiting += [(node.low, rows[low]), (node.high, rows[~low])]
        return out

    def shown(self, x: Floats) -> Floats:
        """The distribution of the answer, (N, classes)."""
        counts = self.counts(x)
        if not self.randomised:
            return np.eye(self.classes)[counts.argmax(1)]
        share: Floats = counts / counts.sum(1, keepdims=True)
        return share

    def answer(self, x: Floats, rng: Generator) -> Ints:
        """Ŷ, (N,)."""
        return (rng.random((len(x), 1)) > self.shown(x).cumsum(1)[:, :-1]).sum(1)

    def utility(self, table: Table, rng: Generator) -> dict[str, float]:
        """Accuracy and macro-F1 of the leaf's majority, and of the answer."""
        y, best = table.y.astype(np.int64), self.counts(table.x).argmax(1)
        answer = self.answer(table.x, rng)
        return {"f1": macro_f1(y, best, self.classes), "accuracy": float((best == y).mean()),
                "f1_released": macro_f1(y, answer, self.classes)}  # fmt: skip


def entropy(share: Floats) -> Floats:
    """−Σ p log p over the last axis, nats."""
    nats: Floats = -(share * np.log(np.maximum(share, 1e-300))).sum(-1)
    return nats


def gini(share: Floats) -> Floats:
    """1 − Σ p² over the last axis."""
    impurity: Floats = 1 - (share**2).sum(-1)
    return impurity


def gains(hot: Floats, low: NDArray[np.bool_], impurity: Callable[[Floats], Floats]) -> Floats:
    """What each split `low` (N, M) of rows with one-hot labels (N, K) takes off their mean impurity, (M,)."""
    below = low.T.astype(np.float64) @ hot
    above = hot.sum(0) - below
    kept = np.zeros(len(below))
    for part in (below, above):
        size = part.sum(1)
        kept += size / len(hot) * impurity(part / np.maximum(size, 1)[:, None])
    return impurity(hot.mean(0)) - kept


def macro_f1(truth: Ints, guess: Ints, classes: int) -> float:
    """The mean over classes of F1; a class that neither has nor is given counts as 0."""
    hits = [2 * ((truth == k) & (guess == k)).sum() / max(1, (truth == k).sum() + (guess == k).sum())
            for k in range(classes)]  # fmt: skip
    return float(np.mean(hits))
