"""Gaps between groups: golden numbers, other libraries' conventions, more than two of everything."""

import itertools

import pytest
import torch

from splitpriv.stats.fairness import demographic_parity, equal_opportunity, equalised_odds

GUESS = torch.tensor([1, 1, 1, 1, 1, 0, 1, 0, 1, 0])
TRUTH = torch.tensor([1, 0, 0, 1, 1, 0, 1, 1, 0, 1])
GROUP = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 1, 1])


def test_golden_numbers():
    assert demographic_parity(GUESS, GROUP, 2, 2) == pytest.approx(0.6)
    assert equalised_odds(GUESS, TRUTH, GROUP, 2, 2) == pytest.approx(7 / 6), "a sum, not a maximum"
    assert equal_opportunity(GUESS, TRUTH, GROUP, 2, 2) == pytest.approx(2 / 3)


def test_names_of_groups_do_not_matter_and_classes_do():
    assert equalised_odds(GUESS, TRUTH, 1 - GROUP, 2, 2) == pytest.approx(7 / 6)
    assert demographic_parity(1 - GUESS, GROUP, 2, 2) == pytest.approx(0.6)
    assert equal_opportunity(1 - GUESS, 1 - TRUTH, GROUP, 2, 2) == pytest.approx(0.5), "the other class's term"


def test_a_classifier_that_is_right_or_blind_is_fair_where_it_should_be():
    assert equalised_odds(TRUTH, TRUTH, GROUP, 2, 2) == 0
    blind = torch.ones_like(TRUTH)
    assert demographic_parity(blind, GROUP, 2, 2) == equalised_odds(blind, TRUTH, GROUP, 2, 2) == 0


def test_more_classes_and_groups_are_the_widest_pairs():
    g = torch.Generator().manual_seed(0)
    guess, truth = (torch.randint(0, 4, (400,), generator=g) for _ in range(2))
    group = torch.randint(0, 3, (400,), generator=g)

    def widest(event, among):
        share = [event[among & (group == s)].double().mean().item() for s in range(3)]
        return max(abs(a - b) for a, b in itertools.combinations(share, 2))

    everyone = torch.ones(400, dtype=torch.bool)
    terms = [widest(guess == y, truth == y) for y in range(4)]
    assert demographic_parity(guess, group, 4, 3) == pytest.approx(max(widest(guess == c, everyone) for c in range(4)))
    assert equalised_odds(guess, truth, group, 4, 3) == pytest.approx(sum(terms))
    assert equal_opportunity(guess, truth, group, 4, 3) == pytest.approx(max(terms))


def test_absent_groups_are_left_out():
    assert demographic_parity(GUESS, GROUP, 2, 5) == pytest.approx(0.6)
    assert equalised_odds(GUESS, TRUTH, GROUP, 3, 4) == pytest.approx(7 / 6)
    alone = torch.zeros_like(GROUP)
    assert demographic_parity(GUESS, alone, 2, 2) == equalised_odds(GUESS, TRUTH, alone, 2, 2) == 0
