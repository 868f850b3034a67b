"""MID for linear regression: the closed forms, the two estimates of information, and the attack on it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from splitpriv.studies.tabular import attack
from splitpriv.studies.tabular.data import Table
from splitpriv.studies.tabular.linear import Linear, gaussian_information, kde_information, shrink


def table(n: int = 400, effect: float = 1.0, seed: int = 0) -> Table:
    """y = x₁ + effect·s + noise, s a coin."""
    rng = np.random.default_rng(seed)
    s = (rng.random(n) < 0.4).astype(float)
    x = np.stack([rng.standard_normal(n), s], 1)
    return Table(x, x[:, 0] + effect * s + 0.5 * rng.standard_normal(n), 1, 0)


def fitted(weight: float, data: Table, estimator: str = "gaussian", noise: float | None = None) -> Linear:
    return Linear(weight, estimator=estimator, noise=noise).fit(data)  # type: ignore[arg-type]


@pytest.mark.parametrize("weight", [0.0, 0.05, 0.5, 3.0, 50.0])
@pytest.mark.parametrize(("explained", "sigma"), [(0.5, 0.7), (0.9, 0.3), (0.98, 0.05)])
def test_the_shrunk_weights_minimise_error_plus_information(weight: float, explained: float, sigma: float) -> None:
    def cost(t: float) -> float:
        return explained * (t * t - 2 * t) + weight * gaussian_information(t * t * explained, sigma)

    t = float(shrink(np.ones(1), explained, sigma, weight)[0])
    best = min(cost(float(u)) for u in np.linspace(0, 1, 4001))
    assert cost(t) <= best + 1e-7
    assert 0 <= t <= 1
    assert (t == pytest.approx(1.0)) == (weight == 0)


def test_no_other_direction_is_better() -> None:
    """For the Gaussian estimate the minimiser keeps the direction of least squares."""
    data, model = table(), fitted(0.4, table(), noise=0.5)
    x, y = (data.x - model.shift) / model.scale, (data.y - model.centre) / model.unit

    def cost(w: np.ndarray) -> float:
        return float(((y - x @ w) ** 2).mean()) + 0.4 * gaussian_information(float((x @ w).var()), 0.5)

    rng = np.random.default_rng(1)
    assert all(cost(model.w) <= cost(model.w + 0.05 * rng.standard_normal(2)) for _ in range(200))


def test_without_weight_it_is_least_squares() -> None:
    data = table(100)
    for estimator in ("gaussian", "kde"):
        model = fitted(0.0, data, estimator)
        x = np.c_[data.x, np.ones(100)]
        want = x @ np.linalg.lstsq(x, data.y, rcond=None)[0]
        assert np.allclose(model.mean(data.x) * model.unit + model.centre, want, atol=1e-6)
        assert model.sigma == pytest.approx(model.residual)


def test_the_gaussian_information_is_that_of_the_channel() -> None:
    assert gaussian_information(3.0, 1.0) == pytest.approx(math.log(2))
    assert gaussian_information(0.0, 1.0) == 0


def test_the_kernel_information_bounds_the_channel_and_vanishes_with_the_weights() -> None:
    """For Gaussian means of variance v it is ½ log(1 + v/σ²) + v/2(v + σ²): less than half a nat above the truth."""
    rng = np.random.default_rng(0)
    for v, sigma in ((1.0, 0.5), (0.1, 1.0), (4.0, 1.0)):
        means = torch.from_numpy(rng.standard_normal(1500) * math.sqrt(v))
        got, true = float(kde_information(means, sigma)), gaussian_information(v, sigma)
        assert got == pytest.approx(true + v / (2 * (v + sigma**2)), abs=0.06)
        assert got > true
    assert float(kde_information(torch.zeros(50, dtype=torch.float64), 0.3)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("estimator", ["gaussian", "kde"])
def test_lambda_trades_information_for_error(estimator: str) -> None:
    data, rng = table(), np.random.default_rng(0)
    models = [fitted(w, data, estimator, noise=0.5) for w in (0.0, 0.3, 1.0, 10.0)]
    information = [m.information for m in models]
    error = [m.utility(data, rng)["mse"] for m in models]
    assert information == sorted(information, reverse=True) and information[-1] < 0.2 * information[0]
    assert error == sorted(error) and error[-1] > 0.8


def test_the_kernel_weights_are_a_minimum() -> None:
    data = table(200)
    model = fitted(0.5, data, "kde", noise=0.5)
    x, y = (data.x - model.shift) / model.scale, (data.y - model.centre) / model.unit

    def cost(t: float) -> float:
        answers = x @ (t * model.w)
        return float(((y - answers) ** 2).mean()) + 0.5 * float(kde_information(torch.from_numpy(answers), 0.5))

    assert minimize_scalar(cost, bounds=(0.2, 3), method="bounded").x == pytest.approx(1.0, abs=0.01)


def test_an_answer_carries_the_noise() -> None:
    data = table(4000)
    model = fitted(0.2, data, noise=0.7)
    noise = model.answer(data.x, np.random.default_rng(0)) - model.mean(data.x)
    assert noise.std() == pytest.approx(0.7, rel=0.05)
    found = model.utility(data, np.random.default_rng(0))
    assert found["mse_released"] - found["mse"] == pytest.approx(0.49)
    assert found["r2"] == pytest.approx(1 - found["mse"], rel=1e-6)


def test_the_map_attack_is_bayes_rule() -> None:
    """With the right model and error, its accuracy is that of the likelihood ratio: Φ on either side of a threshold."""
    data, victims = table(4000), table(40_000, seed=1)
    model, prior = fitted(0.0, data), attack.marginal(data)
    guess = attack.guess(attack.from_truth(model, victims, prior), prior)
    edge = 0.5 / 1.0 * math.log(0.6 / 0.4) * 0.5 + 0.5  # of y − x₁, where 0.4 N(1, .25) overtakes 0.6 N(0, .25)
    assert (guess == (victims.y - victims.x[:, 0] > edge)).mean() > 0.99

    def phi(t: float) -> float:
        return 0.5 * math.erfc(-t / math.sqrt(2))

    bayes = 0.6 * phi(edge / 0.5) + 0.4 * phi((1 - edge) / 0.5)
    assert attack.grade(victims, guess)["accuracy"] == pytest.approx(bayes, abs=0.01)


def test_the_attacks_fall_to_the_commonest_value_as_lambda_grows() -> None:
    data, victims = table(2000), table(4000, seed=1)
    prior = attack.marginal(data)
    found = []
    for weight in (0.0, 1.0, 100.0):
        model = fitted(weight, data)
        answers = model.answer(victims.x, np.random.default_rng(0))
        pair = attack.from_truth(model, victims, prior), attack.from_answer(model, victims, prior, answers)
        found.append([attack.grade(victims, attack.guess(s, prior))["accuracy"] for s in pair])
    none, _, much = found
    assert min(none) > 0.8
    assert much == pytest.approx([0.6, 0.6], abs=0.02)


def test_without_noise_an_answer_gives_the_value_away() -> None:
    data = table()
    model, prior = fitted(0.0, data, noise=1e-3), attack.marginal(data)
    answers = model.answer(data.x, np.random.default_rng(0))
    assert attack.grade(data, attack.guess(attack.from_answer(model, data, prior, answers), prior))["accuracy"] == 1.0
