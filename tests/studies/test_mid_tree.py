"""MID for decision trees: what a split is worth, the random answer, and the attacks with and without path counts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from splitpriv.studies.tabular import attack
from splitpriv.studies.tabular.data import Table
from splitpriv.studies.tabular.tree import Node, Tree, entropy, gains, gini, macro_f1
from splitpriv.types import UserError

SHIPPED: dict[str, Any] = {
    "criterion": "entropy", "information": "leaf", "depth": 4, "leaf": 5, "thresholds": 16, "sensitive_from": 0,
    "randomised": True,
}  # fmt: skip


def table(n: int = 600, seed: int = 0) -> Table:
    """y is s most of the time and else a coin; another column knows y a little."""
    rng = np.random.default_rng(seed)
    s = (rng.random(n) < 0.4).astype(float)
    y = np.where(rng.random(n) < 0.8, s, rng.random(n) < 0.5).astype(float)
    return Table(np.stack([y + 1.5 * rng.standard_normal(n), s, rng.standard_normal(n)], 1), y, 1, 2)


def fitted(weight: float, data: Table, **settings: Any) -> Tree:
    return Tree(weight, **{**SHIPPED, **settings}).fit(data)


def leaves(node: Node) -> list[Node]:
    return [node] if node.low is None or node.high is None else leaves(node.low) + leaves(node.high)


def features(node: Node, depth: int = 0) -> list[tuple[int, int]]:
    if node.feature is None or node.low is None or node.high is None:
        return []
    return [(depth, node.feature), *features(node.low, depth + 1), *features(node.high, depth + 1)]


def test_impurities_and_gains() -> None:
    assert entropy(np.array([0.5, 0.5])) == pytest.approx(math.log(2))
    assert entropy(np.array([1.0, 0.0])) == 0
    assert gini(np.array([0.5, 0.5])) == pytest.approx(0.5)
    hot = np.eye(2)[[0, 0, 1, 1]]
    low = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 0]], dtype=bool).T
    third = math.log(2) - 0.75 * entropy(np.array([1 / 3, 2 / 3]))
    assert gains(hot, low, entropy) == pytest.approx([math.log(2), 0, third])
    assert gains(hot, low, gini) == pytest.approx([0.5, 0, 0.5 - 0.75 * 4 / 9])


def test_macro_f1() -> None:
    truth, guess = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    assert macro_f1(truth, guess, 2) == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert macro_f1(truth, np.zeros(4, int), 2) == pytest.approx(1 / 3)


def test_the_information_of_the_answer_is_what_the_tree_took_off_the_entropy() -> None:
    data = table()
    tree = fitted(0.0, data)
    sizes = np.array([leaf.counts.sum() for leaf in leaves(tree.root)]) / 600
    inside = np.array([float(entropy(leaf.counts / leaf.counts.sum())) for leaf in leaves(tree.root)])
    whole = float(entropy(tree.root.counts / 600))
    assert tree.information == pytest.approx(whole - float(sizes @ inside), abs=1e-9)
    assert tree.information <= float(entropy(sizes))  # I(X; Ŷ) <= H(leaf)
    assert min(leaf.counts.sum() for leaf in leaves(tree.root)) >= 5


def test_a_split_is_made_where_its_gain_beats_lambda_times_its_price() -> None:
    """One binary column: the split stays as long as gain / H(branch) exceeds λ, the gain ratio."""
    data = table()
    data = Table(data.x[:, 1:2].repeat(2, 1), data.y, 1, 2)
    low = data.x[:, 1] <= 0.5
    ratio = float(
        gains(np.eye(2)[data.y.astype(int)], low[:, None], entropy)[0] / entropy(np.array([low.mean(), 1 - low.mean()]))
    )
    assert len(leaves(fitted(0.99 * ratio, data).root)) == 2
    assert len(leaves(fitted(1.01 * ratio, data).root)) == 1


def test_lambda_shrinks_the_tree_to_a_constant() -> None:
    data = table()
    for settings in ({}, {"criterion": "gini"}, {"criterion": "gini", "information": "prediction"}):
        trees = [fitted(w, data, **settings) for w in (0.0, 0.2, 2.0)]
        information = [t.information for t in trees]
        assert information == sorted(information, reverse=True)
        assert len(leaves(trees[0].root)) > 2 and len(leaves(trees[-1].root)) == 1 and information[-1] == 0


def test_a_price_on_the_sensitive_column_alone_spares_the_others() -> None:
    data = table()
    tree = fitted(0.8, data, information="sensitive")
    assert features(tree.root) and all(f != 1 for _, f in features(tree.root))
    assert any(f == 1 for _, f in features(fitted(0.0, data).root))


def test_the_sensitive_column_waits_for_its_depth() -> None:
    assert (0, 1) in features(fitted(0.0, table()).root)
    later = features(fitted(0.0, table(), sensitive_from=2).root)
    assert any(f == 1 for _, f in later) and all(depth >= 2 for depth, f in later if f == 1)


def test_answers_are_drawn_from_the_leaf() -> None:
    data = table(4000)
    tree, rng = fitted(0.0, data, leaf=200), np.random.default_rng(0)
    share = tree.shown(data.x)
    assert share.sum(1) == pytest.approx(np.ones(4000))
    drawn = np.mean([tree.answer(data.x, rng) for _ in range(200)], 0)
    assert np.abs(drawn - share[:, 1]).max() < 0.2 and np.abs(drawn - share[:, 1]).mean() < 0.04
    sure = fitted(0.0, data, leaf=200, randomised=False)
    assert set(np.unique(sure.shown(data.x))) == {0.0, 1.0}
    assert np.array_equal(sure.answer(data.x, rng), sure.counts(data.x).argmax(1))


def test_the_map_attack_reads_the_confusion_matrix() -> None:
    """A stump on s: ŷ = s, so the guess is the v whose column explains y better than the prior."""
    data = table(4000)
    data = Table(data.x[:, 1:2].repeat(2, 1), data.y, 1, 2)
    tree, prior = fitted(0.0, data, depth=1, sensitive_from=0, randomised=False), attack.marginal(data)
    tree.root.feature = 1
    scores = attack.from_truth(tree, data, prior)
    s, y = data.sensitive, data.y.astype(int)
    for v in (0, 1):
        want = prior[v] * np.array([(y[s == v] == k).mean() for k in (0, 1)])
        assert scores[:, v] == pytest.approx(want[y], abs=1e-3)
    assert attack.grade(data, attack.guess(scores, prior))["accuracy"] > 0.85


def test_path_counts_by_hand() -> None:
    """Two levels, of which only one side asks for s: prior, over the rows that v can reach, times rows with label y."""
    tree = Tree(0.0, **SHIPPED)
    inner = Node(np.array([40.0, 20.0]), 1, 0.5, Node(np.array([30.0, 2.0])), Node(np.array([10.0, 18.0])))
    tree.root = Node(np.array([60.0, 40.0]), 0, 0.0, inner, Node(np.array([20.0, 20.0])))
    tree.classes, tree.column = 2, 1
    victims = Table(np.array([[-1.0, 0.0], [1.0, 1.0]]), np.array([1.0, 0.0]), 1, 2)
    prior = np.array([0.6, 0.4])
    scores = attack.from_counts(tree, victims, prior)
    assert scores[0] == pytest.approx([0.6 / 72 * 2, 0.4 / 68 * 18])
    assert scores[1] == pytest.approx([0.6 / 72 * 20, 0.4 / 68 * 20])


def test_a_tie_goes_to_the_commonest_value() -> None:
    scores = np.array([[0.3, 0.3], [0.1, 0.2], [0.2, 0.1], [0.0, 0.0]])
    assert attack.guess(scores, np.array([0.4, 0.6])).tolist() == [1, 1, 0, 1]
    assert attack.guess(scores, np.array([0.6, 0.4])).tolist() == [0, 1, 0, 0]


def test_a_constant_tree_leaves_the_prior() -> None:
    data, victims = table(), table(seed=1)
    tree, prior, rng = fitted(5.0, data), attack.marginal(data), np.random.default_rng(0)
    for scores in (
        attack.from_truth(tree, victims, prior), attack.from_counts(tree, victims, prior),
        attack.from_answer(tree, victims, prior, tree.answer(victims.x, rng)),
    ):  # fmt: skip
        assert not attack.guess(scores, prior).any()


def test_every_attack_beats_the_prior_without_a_defence() -> None:
    data, victims = table(2000), table(2000, seed=1)
    tree, prior, rng = fitted(0.0, data, leaf=50), attack.marginal(data), np.random.default_rng(0)
    floor = attack.grade(victims, np.zeros(2000, int))["accuracy"]
    for scores in (
        attack.from_truth(tree, victims, prior), attack.from_counts(tree, victims, prior),
        attack.from_answer(tree, victims, prior, tree.answer(victims.x, rng)),
    ):  # fmt: skip
        assert attack.grade(victims, attack.guess(scores, prior))["accuracy"] > floor + 0.1


def test_a_pair_of_settings_that_means_nothing_is_refused() -> None:
    with pytest.raises(UserError, match=r"^\.model\.information: .*gini"):
        fitted(0.1, table(), information="prediction")
