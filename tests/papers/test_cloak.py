"""Cloak (Mireshghallah et al., WWW 2021): what its map, mask and constants must do where the truth is known."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from planted import PLANTED, accuracy, defended, images, learn, module_of, same, state, stretch

from splitpriv.defenses.base import Defended
from splitpriv.defenses.parts.cloak_map import NoiseMap

LOUD = {"max_scale": 2.0, "noise": {"increase": stretch(0.1, 0.5)}, "suppress": stretch(0.02, 0.0)}


@functools.cache
def found() -> Defended:
    """All phases of Cloak on the planted classifier; shared, so do not change it."""
    return learn(defended(**LOUD, ratio=0.9), epochs=20)


def pattern(shape: tuple[int, ...], rho: torch.Tensor | float, **changes: object) -> NoiseMap:
    settings = {"max_scale": 1.5, "min_scale": 0.0, "relative": False, "rho_init": -4.0, "samples": 64} | changes
    made = NoiseMap(shape, **settings)  # type: ignore[arg-type]
    with torch.no_grad():
        made.rho.copy_(torch.as_tensor(rho).expand(shape))
    return made


# ---- the map -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rho", "sigma"),
    [(-4.0, 5.030251956997171e-4), (-9.0, 2.2844969269140524e-08), (-10.0, 3.0917304272853054e-09), (20.0, 1.5)],
)
def test_sigma_at_the_starts_of_paper_and_code(rho: float, sigma: float) -> None:
    made = pattern((7,), rho)
    assert made.sigma.tolist() == pytest.approx([sigma] * 7, rel=1e-6)
    assert pattern((7,), rho, min_scale=0.1).sigma.tolist() == pytest.approx([0.1 + 1.4 / 1.5 * sigma] * 7, rel=1e-6)


@pytest.mark.parametrize("rho", [-4.0, -10.0])
@pytest.mark.parametrize("kind", ["mean_sigma", "mean_sigma_sq", "gaussian_mi_bound"])
def test_the_noise_term_is_finite_where_it_starts_and_pushes_sigma_up(kind: str, rho: float) -> None:
    """Written with tanh in float32, the paper's start gives sigma = 0, an infinite loss and no gradient."""
    assert (1 + torch.tanh(torch.tensor(-10.0))) * 1.5 / 2 == 0
    for count in (16, 400):  # the covariance over rows, and over features
        made = pattern((100,), rho, samples=count)
        made.observe(torch.rand(400, 100, generator=torch.Generator().manual_seed(0)))
        value = made.regulariser(kind)  # type: ignore[arg-type]
        value.backward()
        assert value.isfinite()
        assert (made.rho.grad < 0).all()
        if kind == "mean_sigma":
            assert made.rho.grad.tolist() == pytest.approx([-2 / 100 * (1 - math.exp(2 * rho))] * 100, rel=1e-3)


def test_the_bound_is_the_log_determinant_in_either_form() -> None:
    i, j = torch.arange(1, 401.0).double()[:, None], torch.arange(1, 4.0).double()[None]
    rows = torch.sin(i * j + 0.3 * j) + 0.1 * torch.cos(0.7 * i + j)
    for sigma, nats in ((0.1, 5.917066311111544), (0.5, 1.6610954963874667)):
        made = pattern((3,), math.atanh(2 * sigma / 1.5 - 1), samples=400).double()
        made.observe(rows)
        assert float(made.information()) == pytest.approx(nats, rel=1e-6)
    made = pattern((3,), torch.tensor([0.1, 1.0, 0.5]).mul(2 / 1.5).sub(1).atanh(), samples=400).double()
    made.observe(rows)
    assert float(made.information()) == pytest.approx(2.731403641332958, rel=1e-6)  # not the product of Equation 5
    wide = pattern((60,), torch.randn(60), samples=20).double()
    wide.observe(x := torch.rand(20, 60, dtype=torch.float64))
    scaled = torch.cov(x.T) / wide.sigma[:, None] / wide.sigma
    exact = 0.5 * torch.linalg.slogdet(torch.eye(60).double() + scaled).logabsdet
    assert float(wide.information()) == pytest.approx(float(exact), rel=1e-9)


# ---- the phases, on the planted classifier ---------------------------------------------------------------------


def test_little_noise_exactly_where_the_label_is() -> None:
    sigma = found().chain["cloak"].map.sigma.flatten()
    assert sigma[PLANTED].max() < 0.25 * sigma[~PLANTED].min()
    assert torch.equal(found().keep.flatten().bool(), PLANTED)
    assert accuracy(found()) > 0.9


def test_the_printed_orientation_gives_chance() -> None:
    printed = learn(defended(**LOUD, ratio=0.1, orientation="printed"), epochs=20)
    assert torch.equal(printed.keep.flatten().bool(), ~PLANTED)
    assert abs(accuracy(printed) - 0.5) < 0.1 < accuracy(found()) - 0.8


def test_a_suppressed_pixel_leaves_no_trace_in_the_release() -> None:
    model, x = found(), images().images[:8]
    other = torch.where(model.keep.bool(), x, torch.rand_like(x) * 1e6)
    releases = []
    for image in (x, other):
        torch.manual_seed(0)
        releases.append(model.release(image))
    assert torch.equal(*releases)
    gone = ~model.keep.bool()
    constants = releases[0].masked_select(gone).view(8, -1)
    assert torch.equal(constants, constants[:1].expand_as(constants))
    one = x.clone()
    one.view(8, -1)[:, PLANTED.nonzero()[0]] += 1e-3
    torch.manual_seed(0)
    assert not torch.equal(model.release(one), releases[0])


def test_only_the_map_learns_and_then_only_the_constants() -> None:
    model = defended(**LOUD)
    net = state(model.net)
    cloak = model.chain["cloak"]
    for phase, learning in zip(cloak.phases[1:], ({"map.rho", "map.mu"}, {"values"}), strict=True):
        module = module_of(model, phase)
        before = state(cloak)
        module.order = module.batches()
        module.step(module.order[0], 0.0)
        assert all(p.grad is None for p in model.net.parameters())
        assert {n for n, p in cloak.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0} == learning
        moved = set(before) - same(before, state(cloak))
        assert learning <= moved <= learning | {f"map.{n}" for n in ("seen", "mean", "spread", "rows")}
        if phase.name == "suppress":
            assert moved == learning
        assert same(net, state(model.net)) == set(net), "weights and BatchNorm statistics of a frozen network"
    learn(legacy := defended("cloak_official", **LOUD), epochs=1)
    assert not torch.equal(legacy.net.cloud[0].running_mean, net["cloud.0.running_mean"])  # as the code has it


def test_without_the_noise_term_sigma_stays_small() -> None:
    quiet = learn(defended(fill="none", noise={"increase": stretch(0.01, 0.0)}), epochs=10)
    assert quiet.chain["cloak"].map.sigma.max() < 0.01 * 1.5
    assert accuracy(quiet) > 0.98


def test_with_a_large_one_all_is_noise() -> None:
    loud = learn(defended(fill="none", max_scale=20.0, noise={"increase": stretch(0.3, 1e4)}), epochs=8)
    assert loud.chain["cloak"].map.sigma.min() > 0.99 * 20
    assert abs(accuracy(loud) - 0.5) < 0.1


def test_the_suppression_ratio_counts_elements() -> None:
    made = pattern((3, 2, 2), torch.arange(12.0).view(3, 2, 2) - 6)
    keep = made.keep(0.9, 1 / 3, "element", "code")
    assert keep.flatten().tolist() == [True] * 8 + [False] * 4
    assert made.keep(0.9, None, "element", "code").equal(made.sigma < 0.9 * 1.5)
    pixels = made.keep(0.9, 0.5, "pixel", "code")
    assert pixels.equal(torch.tensor([[True, True], [False, False]]).expand(3, 2, 2))
    assert pattern((3, 2, 2), 30.0 + torch.arange(12.0).view(3, 2, 2)).keep(0.9, 0.25, "element", "code").sum() == 9
    facts = found().chain["cloak"].facts
    assert facts["suppressed"] == pytest.approx(0.9)
    assert facts["below_0.1M"] <= facts["below_0.5M"] <= facts["below_0.9M"]
    assert all(math.isfinite(v) for v in facts.values())
