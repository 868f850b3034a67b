import itertools

import pytest
import torch
from torch.distributions import MultivariateNormal

from splitpriv.stats.mixture import Mixture, fit, fit_clusters, log_det, log_prob


def covariances(m=3, d=4):
    root = torch.randn(m, d, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return root @ root.mT / d + 0.1 * torch.eye(d)


def test_log_determinants_include_the_noise():
    cov = covariances()
    noise = 0.3**2 * torch.eye(4, dtype=torch.float64)
    torch.testing.assert_close(log_det(cov, 0.3), torch.logdet(cov + noise))
    torch.testing.assert_close(
        log_det(cov.diagonal(dim1=1, dim2=2), 0.3), torch.logdet(torch.diag_embed(cov.diagonal(dim1=1, dim2=2)) + noise)
    )


def test_log_prob_equals_torch():
    cov, mean = covariances(), torch.randn(3, 4, dtype=torch.float64)
    weight, x = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64), torch.randn(7, 4, dtype=torch.float64)
    want = MultivariateNormal(mean, cov).log_prob(x[:, None]) + weight.log()
    torch.testing.assert_close(log_prob(Mixture(weight, mean, cov), x), want)
    flat = cov.diagonal(dim1=1, dim2=2)
    want = MultivariateNormal(mean, torch.diag_embed(flat)).log_prob(x[:, None]) + weight.log()
    torch.testing.assert_close(log_prob(Mixture(weight, mean, flat), x), want)


def overlapping(n=1500):
    g = torch.Generator().manual_seed(2)
    cov = torch.tensor([[[1.0, 0.6], [0.6, 1.0]], [[0.5, -0.3], [-0.3, 0.8]]], dtype=torch.float64)
    mean = torch.tensor([[0.0, 0.0], [3.0, 1.0]], dtype=torch.float64)
    which = (torch.rand(n, generator=g) < 0.7).long()
    x = torch.randn(n, 2, generator=g, dtype=torch.float64)
    return mean[which] + (torch.linalg.cholesky(cov)[which] @ x[..., None]).squeeze(2), mean, cov


def test_a_planted_mixture_is_found():
    x, mean, cov = overlapping()
    got = fit_clusters(x, 2, "full", 40, 1e-9, torch.Generator().manual_seed(0))
    order = got.mean[:, 0].argsort()
    torch.testing.assert_close(got.weight[order], torch.tensor([0.3, 0.7], dtype=torch.float64), rtol=0, atol=0.04)
    torch.testing.assert_close(got.mean[order], mean, rtol=0, atol=0.2)
    torch.testing.assert_close(got.cov[order], cov, rtol=0, atol=0.2)


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_likelihood_never_falls(covariance):
    x, _, _ = overlapping(300)
    share = torch.nn.functional.one_hot(torch.arange(300) % 3).double() + 0.1 * torch.rand(300, 3, dtype=torch.float64)
    share = share / share.sum(1, keepdim=True)
    values = [log_prob(fit(x, share, x[:3], covariance, n, 1e-12), x).logsumexp(1).sum() for n in range(6)]
    assert all(b >= a - 1e-9 for a, b in itertools.pairwise(values))
    assert values[-1] > values[0]


def test_points_without_a_share_and_components_without_points_change_nothing():
    x, _, _ = overlapping(50)
    share = torch.zeros(50, 3, dtype=torch.float64)
    share[:20, 0], share[20:40, 1] = 1, 1
    got = fit(x, share, torch.full((3, 2), 8.0, dtype=torch.float64), "full", 3, 1e-3)
    want = fit(x[:40], share[:40, :2], x[:2], "full", 3, 1e-3)
    torch.testing.assert_close(got.cov[:2], want.cov)
    assert got.weight[2] == 0
    assert torch.equal(got.mean[2], torch.full((2,), 8.0, dtype=torch.float64))
    torch.testing.assert_close(got.cov[2], 1e-3 * torch.eye(2, dtype=torch.float64))


def test_one_component_is_the_sample_moments_plus_jitter():
    x, _, _ = overlapping(200)
    got = fit_clusters(x, 1, "full", 3, 0.01)
    torch.testing.assert_close(got.cov[0], x.mT.cov(correction=0) + 0.01 * torch.eye(2))
    torch.testing.assert_close(got.mean[0], x.mean(0))
