"""Guesses of an attribute, against scikit-learn; floors from counts alone."""

import math

import pytest
import torch

from splitpriv.stats.classification import advantage, auc, balanced_accuracy, from_label, majority

metrics = pytest.importorskip("sklearn.metrics")


def drawn(values, n=300, seed=0):
    g = torch.Generator().manual_seed(seed)
    truth = torch.multinomial(torch.arange(1.0, values + 1), n, replacement=True, generator=g)
    logits = torch.randn(n, values, generator=g) + torch.nn.functional.one_hot(truth, values)
    return logits, truth


@pytest.mark.parametrize("values", [2, 3, 7])
def test_equal_scikit_learn_s(values):
    logits, truth = drawn(values)
    logits = (logits * 4).round() / 4  # ties
    guess, share = logits.argmax(1), logits.double().softmax(1).numpy()
    balanced = metrics.balanced_accuracy_score(truth, guess)
    assert balanced_accuracy(guess, truth, values) == pytest.approx(balanced)
    assert advantage(guess, truth, values) == pytest.approx(balanced - 1 / values)
    area = metrics.roc_auc_score(truth, share[:, 1] if values == 2 else share, multi_class="ovr", average="macro")
    assert auc(logits, truth) == pytest.approx(area, abs=1e-9)


def test_a_blind_guess_has_no_advantage():
    logits, truth = drawn(3)
    for value in range(3):
        assert advantage(torch.full_like(truth, value), truth, 3) == pytest.approx(0)
    assert auc(torch.zeros_like(logits), truth) == pytest.approx(0.5)


def test_absent_values_do_not_count():
    truth = torch.tensor([0, 0, 2, 2])
    logits = torch.tensor([[2.0, 0, 1], [1, 0, 0], [0, 3, 1], [0, 0, 1]])
    assert balanced_accuracy(logits.argmax(1), truth, 3) == pytest.approx(0.75)
    share = logits.double().softmax(1)
    expected = sum(metrics.roc_auc_score(truth == v, share[:, v]) for v in (0, 2)) / 2
    assert auc(logits, truth) == pytest.approx(expected)
    assert math.isnan(auc(logits, torch.zeros(4, dtype=torch.long)))


def test_majority_is_learned_on_known_data():
    truth, known = torch.tensor([1, 1, 1, 0]), torch.tensor([0, 0, 1])
    assert majority(truth, known, 2) == pytest.approx(0.25)
    assert majority(truth, truth, 3) == pytest.approx(0.75)


def test_guess_from_the_label():
    known_y = torch.tensor([0] * 10 + [1] * 10)
    known = torch.tensor([0] * 9 + [1] + [0] * 6 + [1] * 4)  # value 1: rare, but likelier than its share where y = 1
    y = torch.tensor([0, 1, 2])
    assert from_label(known, known_y, y, 2, "accuracy").tolist() == [0, 0, 0]
    assert from_label(known, known_y, y, 2).tolist() == [0, 1, 0], "an unknown label gets the frequent value"
    same = torch.randint(0, 3, (50,), generator=torch.Generator().manual_seed(0))
    assert torch.equal(from_label(same, same, same, 3), same)


@pytest.mark.parametrize("best", ["accuracy", "balanced_accuracy"])
def test_no_other_guess_from_the_label_is_better(best):
    g = torch.Generator().manual_seed(3)
    y = torch.randint(0, 3, (400,), generator=g)
    s = (torch.rand(400, generator=g) < 0.2 + 0.15 * y).long()
    score = balanced_accuracy if best == "balanced_accuracy" else lambda a, b, _: (a == b).double().mean().item()
    found = score(from_label(s, y, y, 2, best), s, 2)
    every = [score(torch.tensor([a, b, c])[y], s, 2) for a in (0, 1) for b in (0, 1) for c in (0, 1)]
    assert found == pytest.approx(max(every))
