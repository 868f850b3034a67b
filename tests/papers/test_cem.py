"""CEM (Xia et al., CVPR 2025): the loss against direct, loop-by-loop computations; refits, scale, costs of a step."""

import math
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from splitpriv import host
from splitpriv.defenses.base import Defended, Defense
from splitpriv.defenses.cem import Cem
from splitpriv.defenses.parts.cem_released import SHARE
from splitpriv.types import Epoch, Spec, Step, UserError

SIGMA = 0.05
CONF = Path(__file__).parents[2] / "conf" / "defense"
MODES = ["released", "released_compat", "paper"]


class Noise(Defense):
    @property
    def noise_std(self):
        return SIGMA

    def after_edge(self, z):
        return z + SIGMA * torch.randn_like(z)


class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.edge = nn.Sequential(nn.Conv2d(1, 3, 2, stride=2), nn.Sigmoid())
        self.cloud = nn.Sequential(nn.Flatten(), nn.Linear(12, classes))


def cem(**changes):
    names = {"released_compat": ["cem", "cem_compat"], "paper": ["cem", "cem_paper"]}
    files = names.get(changes.get("mode", "released"), ["cem"])
    settings = {}
    for name in files:
        settings |= yaml.safe_load((CONF / f"{name}.yaml").read_text())["cem"]
    settings.pop("grid")
    assert settings.pop("_target_") == "splitpriv.defenses.cem.Cem"
    return Cem(**(settings | changes))


def defended(classes=4, **changes):
    return Defended(Net(classes), {"cem": cem(**changes), "noise": Noise()}, Spec((1, 4, 4), classes))


def step(y, lr=1e-5):
    return Step(y.new_zeros(len(y), 1, 4, 4).float(), y, {}, nn.Identity(), "fit", 1, 0.0, lr)


def epoch(*batches):
    return Epoch("fit", 0, 0.05, lambda: iter(batches))


def blobs(n=96, classes=4, seed=0):
    """Two tight clusters per class in 12 dimensions."""
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % classes
    which = torch.arange(n) // classes % 2
    centres = torch.rand(classes, 2, 12, generator=torch.Generator().manual_seed(99))
    return (centres[y, which] + 0.05 * torch.randn(n, 12, generator=g)).view(n, 3, 2, 2), y


def filled(mode, seed=3, **changes):
    """A defence in float64 with random statistics, as after some epoch."""
    torch.manual_seed(seed)
    defense = defended(mode=mode, clusters=3, **changes).double().chain["cem"]
    s = defense.statistics
    s.centres.copy_(torch.rand_like(s.centres))
    s.weight.copy_(torch.rand_like(s.weight).add(0.1))
    s.weight.div_(s.weight.sum() if mode == "paper" else s.weight.sum(1, keepdim=True))
    s.images.fill_(400)
    if mode == "paper":
        d = torch.randn(*s.cov.shape[:2], 20).double() * 0.3
        s.cov.copy_(d @ d.mT / 20 if s.cov.dim() == 3 else d.square().mean(2))
    else:
        s.variance.copy_(torch.rand_like(s.variance) * 0.2)
    return defense


def direct(z, y, s, *, compat, log_entropy=True, tau=0.125):
    """The released formula by loops over classes, clusters and samples; z (N, D) in float64."""
    classes, clusters, dims = s.centres.shape
    ordered, total = sorted(y.tolist()), 0.0
    present = sorted(set(ordered))
    for r, c in enumerate(present):
        of = ordered[r] if compat else c
        cells = {}
        for i in range(len(y)):
            if y[i] == c:
                far = [
                    float(sum((z[i, d].detach() - s.centres[c, j, d]) ** 2 for d in range(dims)))
                    for j in range(clusters)
                ]
                cells.setdefault(far.index(min(far)), []).append(i)
        for j, members in cells.items():
            w, stored = float(s.weight[of, j]), float(s.variance[of, j])
            v = sum(((z[i] - s.centres[c, j]) ** 2).sum() for i in members) / (len(members) * dims)
            rho = 10 * len(members) / (w * float(s.images) / classes)
            rho = 0.99 if rho >= 1 else rho
            v = rho * v + (1 - rho) * stored
            if log_entropy:
                term = torch.clamp(torch.log(v + 0.01) - math.log(tau * SIGMA**2 + 0.01), min=0)
            else:
                term = v + 0.001
            total = total + w * term
    return total / len(present)


@pytest.mark.parametrize("log_entropy", [True, False])
@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [3, 1], [2]])
@pytest.mark.parametrize("compat", [False, True])
def test_the_released_loss_and_its_gradient_equal_the_formula(compat, labels, log_entropy):
    defense = filled("released_compat" if compat else "released", log_entropy=log_entropy)
    y = torch.tensor(labels * (12 // len(labels)))[torch.randperm(12)]
    z = torch.rand(12, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    mine, right = defense.penalty(z, step(y)), 16 * direct(z.flatten(1), y, defense.statistics, compat=compat,
                                                           log_entropy=log_entropy)  # fmt: skip
    (g_mine,), (g_right,) = torch.autograd.grad(mine, z), torch.autograd.grad(right, z)
    assert mine.shape == ()
    assert mine > 0
    assert g_right.abs().max() > 1e-4
    assert abs(mine - right) <= 1e-6 * abs(right)
    torch.testing.assert_close(g_mine, g_right, rtol=1e-6, atol=1e-12)


def test_a_large_share_is_capped_and_spread_below_the_threshold_is_free():
    defense, y = filled("released"), torch.arange(4).repeat(3)
    z = torch.rand(12, 3, 2, 2, dtype=torch.float64)
    defense.statistics.images.fill_(1)  # every share exceeds 1
    right = 16 * direct(z.flatten(1), y, defense.statistics, compat=False)
    torch.testing.assert_close(defense.penalty(z, step(y)), right)
    defense.statistics.variance.zero_()
    assert defense.penalty(defense.statistics.centres[y, 0].view(12, 3, 2, 2), step(y)) == 0


def test_float32_is_as_good():
    defense = filled("released_compat")
    y, z = torch.arange(4).repeat(3), torch.rand(12, 3, 2, 2, dtype=torch.float64)
    right = defense.penalty(z, step(y))
    assert abs(defense.float().penalty(z.float(), step(y)) - right) <= 1e-6 * right


def test_the_released_indexing_gives_other_numbers():
    y, z = torch.arange(4).repeat(3), torch.rand(12, 3, 2, 2, dtype=torch.float64)
    intended, quirk = (filled(m).penalty(z, step(y)) for m in ("released", "released_compat"))
    assert abs(intended - quirk) > 1e-3


@pytest.mark.parametrize(
    ("lr", "scale"), [(0.05, 0.02), (0.002, 0.5), (4.2e-4, 1 / 0.42), (4e-4, 1), (8e-5, 1), (0, 1)]
)
def test_lambda_is_scaled_by_the_two_branches_of_the_released_schedule(lr, scale):
    y, z = torch.arange(4).repeat(3), torch.rand(12, 3, 2, 2, dtype=torch.float64)
    defense = filled("released")
    torch.testing.assert_close(defense.penalty(z, step(y, lr)), scale * defense.penalty(z, step(y, 1e-6)))
    constant = filled("released", rate_threshold=None)
    assert constant.penalty(z, step(y, lr)) == constant.penalty(z, step(y, 1e-6))


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_paper_mode_equals_equations_5_to_7(covariance):
    defense = filled("paper", covariance=covariance)
    s, n, dims = defense.statistics, 9, 12
    y, z = torch.arange(n) % 4, torch.rand(n, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    means, pi, cov = s.centres.flatten(0, 1).clone(), s.weight.flatten().clone(), s.cov.clone()
    flat, right, moved = z.flatten(1), 0.0, []
    own = [min(range(12), key=lambda j: float((flat[i].detach() - means[j]).norm())) for i in range(n)]
    for j in range(12):
        members = [i for i in range(n) if own[i] == j]
        p = (float(pi[j]) * (400 - n) + len(members)) / 400
        sigma = cov[j] if covariance == "full" else torch.diag(cov[j])
        if members:
            outer = sum(torch.outer(flat[i] - means[j], flat[i] - means[j]) for i in members) / len(members)
            outer = outer if covariance == "full" else torch.diag(torch.diag(outer))
            sigma = (1 - len(members) / (p * 400)) * sigma + len(members) / (p * 400) * outer
        noise = SIGMA**2 * torch.eye(dims, dtype=torch.float64)
        right = right + p * (-math.log(p) + 0.5 * (torch.logdet(sigma + noise) - torch.logdet(noise)))
        moved.append((p, sigma.detach()))
    mine = defense.penalty(z, step(y, lr=0.05))
    torch.testing.assert_close(mine, 16 * right, rtol=1e-9, atol=0)
    for got, want in zip(torch.autograd.grad(mine, z), torch.autograd.grad(16 * right, z), strict=True):
        assert want.abs().max() > 1e-3
        torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-10)
    assert torch.equal(s.cov, cov), "a penalty alone moves nothing"
    defense.on_step_end(z, step(y))
    torch.testing.assert_close(s.weight.flatten(), torch.tensor([p for p, _ in moved], dtype=torch.float64))
    kept = torch.stack([c if covariance == "full" else torch.diag(c) for _, c in moved])
    torch.testing.assert_close(s.cov, kept)
    assert torch.isclose(s.weight.sum(), torch.tensor(1.0, dtype=torch.float64))


def spread(z, y):
    return sum(float(z[y == c].detach().var(0).sum()) for c in y.unique())


@pytest.mark.parametrize("mode", MODES)
def test_the_penalty_reaches_the_edge_alone_and_contracts_classes(mode):
    torch.manual_seed(0)
    model = defended(2, mode=mode, clusters=1)
    x, y = torch.rand(32, 1, 4, 4), torch.arange(32) % 2
    optimizer = torch.optim.SGD(model.parameters(), 0.02 if mode == "paper" else 1.0)
    before = spread(model.features(x), y)
    for index in range(6):
        model.chain["cem"].on_epoch_end(epoch((model.features(x).detach(), y)))
        for _ in range(4):
            optimizer.zero_grad()
            z = model.features(x)
            model.chain["cem"].penalty(z, step(y)).backward()
            assert all(p.grad is None for p in model.net.cloud.parameters())
            assert index or all(p.grad.abs().sum() > 1e-3 for p in model.net.edge.parameters())
            optimizer.step()
            model.chain["cem"].on_step_end(z.detach(), step(y))
    assert spread(model.features(x), y) < 0.6 * before


def test_with_weight_zero_nothing_contracts():
    defense = filled("released", weight=0)
    z = torch.rand(12, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(defense.penalty(z, step(torch.arange(12) % 4)), z)
    assert not gradient.any()


@pytest.mark.parametrize("mode", MODES)
def test_before_the_first_refit_the_penalty_is_exactly_zero(mode):
    defense = defended(mode=mode).chain["cem"]
    z, y = blobs()
    for _ in range(2):
        z = z.requires_grad_()
        value = defense.penalty(z, step(y))
        (gradient,) = torch.autograd.grad(value, z)
        assert value == 0
        assert not gradient.any()
        defense.on_step_end(z.detach(), step(y))


@pytest.mark.parametrize("mode", MODES)
def test_a_refit_stores_the_statistics_of_planted_clusters(mode):
    torch.manual_seed(1)
    defense = defended(5, mode=mode, clusters=2).chain["cem"]  # no image of the fifth class
    z, y = blobs(400)
    defense.on_epoch_end(epoch((z[:100], y[:100]), (z[100:], y[100:])))
    s, flat = defense.statistics, z.flatten(1)
    assert s.images == 400
    for c in range(4):
        for part in (flat[c::8], flat[c + 4 :: 8]):
            j = int((s.centres[c] - part.mean(0)).norm(dim=1).argmin())
            torch.testing.assert_close(s.centres[c, j], part.mean(0), rtol=1e-3, atol=1e-3)
            total = part.var(0, correction=0)
            if mode == "paper":
                torch.testing.assert_close(s.cov[2 * c + j].diagonal(), total, rtol=0.02, atol=1e-5)
            else:
                torch.testing.assert_close(s.variance[c, j], total.mean(), rtol=1e-4, atol=0)
    share = 1 / 8 if mode == "paper" else 1 / 2
    torch.testing.assert_close(s.weight[:4], torch.full((4, 2), share), rtol=1e-4, atol=0)
    assert not s.weight[4].any()
    first = s.centres.clone()
    defense.on_epoch_end(epoch((z, y)))
    torch.testing.assert_close(s.centres, first, rtol=1e-4, atol=1e-4)  # a warm start stays, in the same order
    assert torch.isfinite(defense.penalty(z, step(y)))


def test_samples_bounds_what_is_fitted_but_not_what_is_counted():
    defense = defended(clusters=1, samples=5).chain["cem"]
    z, y = blobs(200)
    defense.on_epoch_end(epoch((z[:100], y[:100]), (z[100:], y[100:])))
    assert defense.statistics.images == 200
    torch.testing.assert_close(defense.statistics.centres[2, 0], z[y == 2][:5].flatten(1).mean(0))


@pytest.mark.parametrize("mode", MODES)
def test_state_survives_a_strict_round_trip(mode):
    z, y = blobs()
    old, new = defended(mode=mode, clusters=2), defended(mode=mode, clusters=2)
    old.chain["cem"].on_epoch_end(epoch((z, y)))
    new.load_state_dict(old.state_dict(), strict=True)
    want = old.chain["cem"].penalty(z, step(y))
    assert want > 0
    assert torch.equal(new.chain["cem"].penalty(z, step(y)), want)


def test_a_repeated_refit_and_step_give_equal_bits():
    def once():
        torch.manual_seed(5)
        defense = defended().chain["cem"]
        z, y = blobs()
        defense.on_epoch_end(epoch((z, y)))
        z.requires_grad_()
        return torch.autograd.grad(defense.penalty(z, step(y)), z)[0]

    assert torch.equal(once(), once())


def test_without_noise_the_chain_is_refused():
    with pytest.raises(UserError, match=r"^defense\.cem: .*needs noise.*list noise beside it: defense=\[cem,noise\]$"):
        cem().validate({"cem": cem()})
    chain = {"cem": cem(), "noise": Noise()}
    chain["cem"].validate(chain)


def test_full_covariances_that_cannot_fit_are_refused():
    with pytest.raises(UserError, match=r"^defense\.cem\.covariance: .*GiB; use diagonal$"):
        cem(mode="paper").attach(defended(), Spec((3, 64, 64), 200), (2048,))


def test_sigma_is_that_of_noise_listed_later_and_follows_it():
    model = defended()
    assert model.chain["cem"].sigma == pytest.approx(SIGMA)
    model.chain["more"] = Noise()
    assert model.chain["cem"].sigma == pytest.approx(SIGMA * 2**0.5)


@pytest.mark.parametrize("mode", MODES)
def test_steps_and_refits_read_nothing_from_the_device(mode, monkeypatch):
    monkeypatch.setattr(host, "to_host", lambda values: [6.0] * values.numel())
    with FakeTensorMode():
        defense = defended(mode=mode, iterations=2).chain["cem"]
        z, y = torch.rand(12, 3, 2, 2, requires_grad=True), torch.randint(4, (12,))
        defense.on_epoch_end(epoch((z.detach(), y)))
        defense.penalty(z, step(y)).backward()
        defense.on_step_end(z.detach(), step(y))


class Counter(TorchDispatchMode):
    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("mode", MODES)
def test_a_step_takes_few_operations_however_many_classes(mode):
    counts = []
    for classes in (3, 40):
        defense = defended(classes, mode=mode).chain["cem"]
        with Counter() as counter:
            defense.penalty(torch.rand(12, 3, 2, 2), step(torch.randint(classes, (12,))))
        counts.append(counter.count)
    assert counts[0] == counts[1] <= 80


def test_rho_of_the_authors_does_not_depend_on_the_number_of_images():
    z, y = blobs(n=32, seed=5)
    z = z.double()
    scaled = filled("released", boost="authors")
    plain = filled("released", boost=SHARE * 400 / 32)
    assert torch.equal(scaled.penalty(z, step(y)), plain.penalty(z, step(y)))
    scaled.statistics.images.fill_(40_000)  # a hundred times the images, and the same share of a variance is new
    assert torch.allclose(scaled.penalty(z, step(y)), plain.penalty(z, step(y)))


def test_the_row_says_how_hard_it_pulled_and_flags_another_operating_point():
    found = filled("released").pull(128, [0.0, 0.05, 0.01, 8e-5])
    assert found.facts == pytest.approx({"rho": 10 * 128 / 400, "lambda": (0.32 + 1.6 + 16) / 3, "lambda_last": 16})
    assert found.doubt == {"what": "ρ = 3.2, theirs 0.0256", "remedy": "boost=authors"}
    assert filled("released", boost="authors").pull(128, [0.05]).doubt == {}
    paper = filled("paper").pull(128, [0.05, 0.05])
    assert paper.facts["rho"] == 128 / 400
    assert paper.doubt == {}
    assert defended().chain["cem"].pull(128, [0.05]).facts == {}
