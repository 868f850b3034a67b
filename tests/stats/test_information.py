"""Mutual information: golden numbers, npeet_plus as the oracle, Gaussians where the answer is known."""

import math

import pytest
import torch
from torch import nn

from splitpriv.stats.information import (
    InfoNCE,
    gaussian_information,
    held_out_information,
    knn_divergence,
    knn_information,
    mi_loss,
)


def grid(n, d, a=1.0, b=0.7):
    """The deterministic pseudo-data behind the golden numbers."""
    i, j = torch.arange(1, n + 1, dtype=torch.float64)[:, None], torch.arange(1, d + 1, dtype=torch.float64)
    return torch.sin(a * i * j + 0.3 * j) + 0.1 * torch.cos(b * i + j)


def gaussian_pair(d, sigma, n=2000, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=g, dtype=torch.float64)
    return x, x + sigma * torch.randn(n, d, generator=g, dtype=torch.float64)


# ---- nearest neighbours --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gain", "expected"),
    [(0.0, 11.301202583331076), (0.1, 9.549753796888576), (0.5, 4.194618154736385), (2.0, 0.33005197917821083)],
)
def test_golden_numbers(gain, expected):
    x = grid(400, 3)
    z = x + gain * grid(400, 3, 1.7, 2.3)
    joint, product = torch.cat([x, z], 1)[:200], torch.cat([x[200:], z[200:].roll(1, 0)], 1)
    assert knn_divergence(joint, product, k=3) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_is_npeet_s_in_its_metric_and_kd_tree_s_in_ite_s(k):
    npeet = pytest.importorskip("npeet_plus")
    tree = pytest.importorskip("scipy.spatial").cKDTree
    p, q = grid(150, 6), grid(200, 6, 1.3, 0.2)
    assert knn_divergence(p, q, k=k, norm=math.inf) == pytest.approx(
        npeet.kldiv(p.numpy(), q.numpy(), k=k, base=math.e), abs=1e-12
    )
    rho = tree(p).query(p, k=k + 1)[0][:, -1]
    nu = tree(q).query(p, k=[k])[0][:, -1]
    ite = 6 * torch.tensor(nu / rho).log().mean() + math.log(200 / 149)
    assert knn_divergence(p, q, k=k) == pytest.approx(float(ite), abs=1e-12)


def test_chunks_change_nothing(monkeypatch):
    p, q = grid(50, 4), grid(60, 4, 1.3)
    whole = knn_divergence(p, q, k=3)
    monkeypatch.setattr("splitpriv.stats.information.ROWS", 7)
    assert knn_divergence(p, q, k=3) == pytest.approx(whole, abs=1e-12)


def test_near_points_are_not_cancelled():
    """A matrix product would lose distances of 1e-9 between points of length 1e3."""
    p = torch.rand(40, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert knn_divergence(1e-9 * p + 1e3, 1e-9 * p.flip(0) + 1e3 + 1e-9, k=2) == pytest.approx(
        knn_divergence(p, p.flip(0) + 1, k=2), abs=0.02
    )


def test_gaussians_in_few_dimensions_and_too_low_in_many():
    for d, sigma in ((1, 0.3), (2, 1.0)):
        x, z = gaussian_pair(d, sigma)
        assert knn_information(x, z, k=3) == pytest.approx(0.5 * d * math.log(1 + sigma**-2), abs=0.12)
    x, z = gaussian_pair(50, 0.3)
    assert knn_information(x, z, k=3) < 0.2 * 25 * math.log(1 + 0.3**-2)


def test_independent_pairs_share_nothing():
    x, _ = gaussian_pair(3, 1.0)
    _, z = gaussian_pair(3, 1.0, seed=1)
    assert abs(knn_information(x, z, k=3)) < 0.1


def test_loss_orders_noise_and_lies_between_its_ends():
    x = gaussian_pair(8, 1.0, 600)[0]
    losses = [mi_loss(x, x + s * gaussian_pair(8, 1.0, 600, seed=1)[0], k=3) for s in (1e-6, 0.1, 0.5, 3.0)]
    percents = [loss.percent for loss in losses]
    assert percents == sorted(percents)
    assert mi_loss(x, x, k=3).percent == pytest.approx(0, abs=1e-9), "the same seed for both"
    assert percents[0] < 5
    assert percents[-1] > 90
    assert all(loss.own == losses[0].own for loss in losses)
    assert losses[1].percent == pytest.approx(100 * (1 - losses[1].nats / losses[1].own))


def test_repeats_and_depends_on_the_seed_alone():
    x, z = gaussian_pair(3, 0.5, 300)
    first = knn_information(x, z, k=3)
    torch.manual_seed(7)
    state = torch.get_rng_state()
    assert knn_information(x, z, k=3) == first
    assert torch.equal(torch.get_rng_state(), state)
    assert knn_information(x, z, k=3, seed=1) != first


def test_colours_are_averaged_and_features_are_not():
    g = torch.Generator().manual_seed(0)
    x = torch.rand(200, 3, 2, 2, generator=g)
    z = x + 0.1 * torch.randn(200, 3, 2, 2, generator=g)
    each = [knn_information(x[:, c], z[:, c], k=3) for c in range(3)]
    assert mi_loss(x, z, k=3).nats == pytest.approx(sum(each) / 3, abs=1e-12)
    feature = z.flatten(1)[:, :5]
    assert mi_loss(x, feature, k=3).nats == knn_information(x, feature, k=3)
    assert mi_loss(x, feature, k=3).own == knn_information(x, x, k=3)


def test_equal_images_and_constant_channels_stay_finite():
    x = torch.zeros(80, 3, 2, 2)
    x[:, 0] = torch.rand(80, 2, 2, generator=torch.Generator().manual_seed(0)).round()
    for z in (x, torch.zeros(80, 7)):
        loss = mi_loss(x, z, k=3)
        assert math.isfinite(loss.nats) and math.isfinite(loss.own)
    assert mi_loss(x[:, 1:], x[:, 1:], k=3).own == pytest.approx(0, abs=1.5)


def test_too_few_pairs_are_refused():
    with pytest.raises(ValueError, match="at least 8"):
        knn_information(*gaussian_pair(2, 1.0, 7), k=3)
    assert math.isfinite(knn_information(*gaussian_pair(2, 1.0, 8), k=3))


# ---- Gaussian bound ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [60, 200, 2000])
def test_the_held_out_bound_is_never_too_low_where_the_plug_in_is_by_far(n):
    """300 dimensions, a spectrum that falls as of features: truth 1/2 log|I + C|."""
    g = torch.Generator().manual_seed(0)
    values = 400.0 / torch.arange(1, 301, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(300, 300, generator=g, dtype=torch.float64))[0]
    signal = torch.randn(n, 300, generator=g, dtype=torch.float64) * values.sqrt() @ turn
    truth = 0.5 * float((1 + values).log().sum())
    nats, error = held_out_information(signal, 1.0)
    assert truth < nats + 3 * error
    assert gaussian_information(signal, 1.0) < truth * (0.5 if n == 60 else 0.999)
    if n == 2000:
        assert nats < 1.15 * truth


def test_the_held_out_bound_is_exact_where_data_abound_and_holds_for_any_law():
    g = torch.Generator().manual_seed(1)
    signal = torch.randn(4000, 3, generator=g, dtype=torch.float64)
    nats, error = held_out_information(signal, 0.5)
    assert nats == pytest.approx(1.5 * math.log(1 + 4), abs=4 * error)
    two = signal.sign()  # three bits; the Gaussian of their covariance says more
    assert held_out_information(two, 0.1)[0] > 3 * math.log(2)
    hidden = torch.tensor([0.5, math.inf, 0.5], dtype=torch.float64)
    assert held_out_information(signal, hidden)[0] == pytest.approx(held_out_information(signal[:, ::2], 0.5)[0])


def test_gaussian_golden_numbers():
    a = grid(400, 3)
    assert gaussian_information(a, 0.1) == pytest.approx(5.917066311111544, abs=1e-10)
    assert gaussian_information(a, 0.5) == pytest.approx(1.6610954963874667, abs=1e-10)
    std = torch.tensor([0.01, 1.0, 0.25], dtype=torch.float64).sqrt()
    assert gaussian_information(a, std) == pytest.approx(2.731403641332958, abs=1e-10), "no product of eigenvalues"


def test_dual_form_is_the_same_number():
    wide = grid(12, 30, 1.3)
    centred = (wide - wide.mean(0)) / torch.linspace(0.1, 2, 30, dtype=torch.float64)
    direct = 0.5 * torch.logdet(torch.eye(30) + centred.mT @ centred / 11)
    std = torch.linspace(0.1, 2, 30, dtype=torch.float64)
    assert gaussian_information(wide, std) == pytest.approx(float(direct), rel=1e-10)
    assert gaussian_information(wide.reshape(12, 5, 6), std.reshape(5, 6)) == pytest.approx(float(direct), rel=1e-10)


def test_entries_that_do_not_pass_tell_nothing():
    a = grid(40, 4)
    std = torch.tensor([0.1, math.inf, 0.1, math.inf], dtype=torch.float64)
    assert gaussian_information(a, std) == pytest.approx(gaussian_information(a[:, ::2], 0.1), rel=1e-12)


# ---- learned bound -------------------------------------------------------------------------------------------------

SMALL = InfoNCE(width=64, batch=128, steps=150, lr=3e-3)


@pytest.mark.parametrize(("d", "sigma"), [(1, 0.3), (4, 1.0)])
def test_learned_bound_lies_below_and_near(d, sigma):
    x, z = gaussian_pair(d, sigma)
    true = 0.5 * d * math.log(1 + sigma**-2)
    found = SMALL((x[:1000], z[:1000]), (x[1000:], z[1000:]))
    assert 0.8 * true < found < true + 0.05


def test_learned_bound_is_capped_and_never_negative():
    x, _ = gaussian_pair(6, 1.0, 600)
    _, other = gaussian_pair(6, 1.0, 600, seed=5)
    assert SMALL((x[:300], other[:300]), (x[300:], other[300:])) < 0.05
    same = SMALL((x[:300], x[:300]), (x[300:], x[300:]))
    assert SMALL.cap(300) == pytest.approx(math.log(128))
    assert SMALL.cap(40) == pytest.approx(math.log(40))
    assert 0.7 * math.log(100) < same <= math.log(128)


def test_what_is_told_about_other_pairs_is_never_negative():
    """A critic of dependent pairs is far off on independent ones, and 0 is always a bound."""
    x, z = gaussian_pair(2, 0.3, 600)
    assert SMALL((x[:300], z[:300]), (x[300:], z[300:].roll(1, 0))) == 0


def test_learned_bound_takes_nothing_from_the_pairs_it_is_judged_on():
    """Neither choice nor scale: the bound on a set is the mean of those on its batches."""
    x, z = gaussian_pair(2, 0.5, 300)
    critic = InfoNCE(width=8, batch=50, steps=40, lr=1e-2)
    train = x[:200], z[:200]
    halves = [critic(train, (x[i : i + 50], z[i : i + 50])) for i in (200, 250)]
    assert critic(train, (x[200:], z[200:])) == pytest.approx(sum(halves) / 2, rel=1e-6)
    assert min(halves) > 0.1


def test_learned_bound_repeats_and_leaves_the_random_state():
    x, z = gaussian_pair(2, 0.5, 200)
    quick = InfoNCE(width=8, batch=64, steps=10, lr=1e-2)
    first = quick((x[:100], z[:100]), (x[100:], z[100:]))
    torch.manual_seed(3)
    state = torch.get_rng_state()
    with torch.no_grad():
        assert quick((x[:100], z[:100]), (x[100:], z[100:])) == first
    assert torch.equal(torch.get_rng_state(), state)


def test_learned_bound_is_the_formula():
    identity = nn.ModuleList([nn.Identity(), nn.Identity()])
    x, z = gaussian_pair(4, 1.0, 10)
    score = -(torch.cdist(x, z) ** 2) / 2
    expected = math.log(10) + (score.diagonal() - score.logsumexp(1)).mean()
    got = InfoNCE(width=1, batch=64, steps=1, lr=1.0).bound(identity, [x, z])
    assert got == pytest.approx(float(expected), abs=1e-10)


def test_constant_entries_and_other_scales_do_no_harm():
    x, z = gaussian_pair(3, 0.5, 800)
    wide = torch.cat([1e-4 * z, torch.full((800, 2), 0.3, dtype=torch.float64)], 1).float()
    wide[400:, 3] += 1e-7
    assert SMALL((x[:400], wide[:400]), (x[400:], wide[400:])) > 1.2
