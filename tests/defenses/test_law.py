"""What a mechanism says of its releases beyond their mean, so that no attack takes a mask for noise."""

from __future__ import annotations

from pydoc import locate

import pytest
import torch
from shipped import composed, links

from splitpriv.attacks.base import mean_of
from splitpriv.data.gaussian import Gaussian
from splitpriv.defenses.base import Defended, Defense
from splitpriv.defenses.dropout import Dropout
from splitpriv.defenses.parts.law import adaptive, gap, law
from splitpriv.defenses.parts.sight import sight
from splitpriv.defenses.topk import TopK
from splitpriv.run.parts import make_model

DATASET = Gaussian(size=8, samples=8, std=0.1, length=2.0, nugget=0.01, test_share=0.5, seed=0, crop=0, flip=False,
                   rotation=0)  # fmt: skip


def model_of(chain: str) -> Defended:
    torch.manual_seed(0)
    return make_model(composed(f"defense=[{chain}]"), DATASET).eval().requires_grad_(False)


@pytest.mark.parametrize("chain", ["dropout", "token_drop", "topk", "disco", "nopeek,dropout", "topk,nopeek"])
def test_the_true_image_explains_every_release_and_another_does_not(chain: str) -> None:
    model = model_of(chain)
    x, other = torch.rand(64, 1, 8, 8), torch.rand(64, 1, 8, 8)
    released = model.release(x)
    found = law(model, x)
    assert found is not None and found.bound is None
    last = found.link
    there = released != 0 if "drop" in chain else torch.ones_like(released, dtype=torch.bool)  # z has zeros, too
    torch.testing.assert_close(
        gap(model, last)(x, released)[there], torch.zeros_like(released[there]), atol=1e-6, rtol=0
    )
    assert gap(model, last)(other, released).flatten(1).square().mean(1).min() > 0


def test_a_sample_of_a_tensor_is_explained_but_for_what_is_drawn_around_it() -> None:
    model = model_of("shredder")
    link = model.chain["shredder"]
    link.on = True
    x = torch.rand(64, 1, 8, 8)
    released = model.release(x)
    left, mean = gap(model, link)(x, released).square().mean(), (model.expected(x) - released).square().mean()
    assert left < 0.2 * mean


def test_what_was_mixed_in_is_a_row_of_a_bank_that_is_known() -> None:
    model, x = model_of("mixup"), torch.rand(64, 1, 8, 8)
    link = model.chain["mixup"]
    link.share = 0.4
    link.bank.copy_(model.features(torch.rand(link.rows, 1, 8, 8)))
    released, other = model.release(x), x.roll(1, 0)
    told, found = gap(model, link), law(model, x)
    assert found is not None and found.link is link
    assert told(x, released).abs().max() < 1e-5
    own, mean = told(other, released), model.expected(other) - released
    assert 0 < own.square().mean() <= mean.square().mean()


def test_an_angle_is_found_for_every_image_that_is_compared() -> None:
    model, x = model_of("complex_valued"), torch.rand(64, 1, 8, 8)
    read = sight(model, torch.rand(256, 1, 8, 8))
    released, found = read(model.release(x)), law(model, torch.rand(64, 1, 8, 8), shown=read)
    assert found is not None
    told = gap(model, found.link)
    assert told(x, released).abs().max() < 1e-4
    assert told(x.roll(1, 0), released).square().mean() > 1e-3 * (model.expected(x) - released).square().mean() > 0


@pytest.mark.parametrize("chain", ["none", "noise"])
def test_elsewhere_the_expected_release_is_all_that_is_told(chain: str) -> None:
    assert law(model_of(chain), torch.rand(64, 1, 8, 8)) is None
    z, release = torch.rand(2, 4), torch.rand(2, 4)
    assert torch.equal(Defense().gap(z, release), z - release) and Defense().present(release).all()


@pytest.mark.parametrize("chain", ["dropout,noise", "topk,noise", "dropout,quantize", "disco,noise",
                                   "token_drop,noise", "dropout,nopeek,quantize,noise"])  # fmt: skip
def test_a_mask_is_seen_through_what_follows_it(chain: str) -> None:
    """Nobody makes the suite weak by a little noise, or by rounding, behind a mask."""
    model = model_of(chain)
    if "noise" in model.chain:
        model.chain["noise"].sigma = 1e-4
    x, aux = torch.rand(64, 1, 8, 8), torch.rand(64, 1, 8, 8)
    released = model.release(x)
    found = law(model, aux)
    assert found is not None and found.bound is not None
    there = found.present(released)
    left = gap(model, found.link)(x, released.where(there, 0.0)).square()
    mean = (model.expected(x) - released).square()
    assert 0.01 < there.double().mean() < 0.99
    assert left[there].mean() < 0.1 * mean[there].mean() or chain[:5] in ("topk,", "disco")  # the mean says as much


@pytest.mark.parametrize("sigma", [0.3, 10.0])
def test_noise_that_drowns_the_mask_is_told_by_the_mean(sigma: float) -> None:
    model = model_of("dropout,noise")
    model.chain["noise"].sigma = sigma
    assert law(model, torch.rand(64, 1, 8, 8)) is None


@pytest.mark.parametrize(("chain", "sigma"), [("topk,noise", 0.05), ("disco,noise", 1e-4), ("dropout,noise", 0.01)])
@pytest.mark.parametrize("draws", [16, 256])
def test_repeated_releases_are_read_as_sharply_as_their_mean(chain: str, sigma: float, draws: int) -> None:
    """A mask that is fixed is averaged better than it is seen through, release by release."""
    model, x = model_of(chain), torch.rand(64, 1, 8, 8)
    model.chain["noise"].sigma = sigma
    found = law(model, torch.rand(64, 1, 8, 8), draws)
    assert found is not None or chain != "dropout,noise"
    plain = mean_of(lambda: model.release(x), draws)
    off = (model.expected(x) - plain).square().mean(), (model.expected(x.roll(1, 0)) - plain).square().mean()
    if found:
        read = mean_of(lambda: model.release(x), draws, found.present)
        told = gap(model, found.link)
        assert told(x.roll(1, 0), read).square().mean() / told(x, read).square().mean() > 0.4 * off[1] / off[0]


@pytest.mark.parametrize("chain", ["dropout,token_drop", "token_drop,dropout", "dropout,topk", "topk,dropout"])
def test_of_two_masks_the_law_that_tells_images_apart_best_is_taken(chain: str) -> None:
    model, x = model_of(chain), torch.rand(64, 1, 8, 8)
    released, other = model.release(x), x.roll(1, 0)
    found = law(model, torch.rand(64, 1, 8, 8))
    assert found is not None
    told = gap(model, found.link)
    by_law = told(other, released).square().mean() / told(x, released).square().mean()
    by_mean = (model.expected(other) - released).square().mean() / (model.expected(x) - released).square().mean()
    assert by_law > 1.2 * by_mean


@pytest.mark.parametrize("chain", ["dropout,token_shuffle", "token_shuffle,dropout", "dropout,patch_permutation"])
def test_a_mask_is_seen_through_an_order_that_is_found_again(chain: str) -> None:
    """As it is read, a release in an order of its own is one of a mask alone; in another order the mean says more."""
    model, x = model_of(chain), torch.rand(64, 1, 8, 8)
    model.requires_grad_(False)
    assert law(model, x, shown=lambda r: r.flip(1)) is None
    for link in model.chain.values():
        if not isinstance(link, Dropout):
            link.after_edge = lambda z: z
    found = law(model, x, shown=lambda r: r)
    assert found is not None and isinstance(found.link, Dropout)


def test_the_mean_of_repeated_releases_counts_what_arrived() -> None:
    draws = iter([torch.tensor([1.0, 0.01, 3.0]), torch.tensor([2.0, 0.02, -0.01])])
    pooled = mean_of(lambda: next(draws), 2, lambda r: r.abs() > 0.1)
    assert torch.equal(pooled, torch.tensor([1.5, 0.0, 3.0]))


def test_every_mechanism_that_tells_its_law_is_tested_here() -> None:
    shipped = {key: locate(node["_target_"]) for brought in links().values() for key, node in brought.items()}
    assert {key for key, link in shipped.items() if link.gap is not Defense.gap} == {
        "complex_valued", "disco", "dropout", "mixup", "token_drop", "topk", "shredder"}  # fmt: skip


def test_repeated_releases_under_a_mask_give_z_itself() -> None:
    link, z = Dropout(rate=0.2), torch.randn(64, 4, 4, 4)
    pooled = mean_of(lambda: link.after_edge(z), 16, link.present)
    torch.testing.assert_close(pooled[link.present(pooled)], z[link.present(pooled)])
    assert link.present(pooled).double().mean() > 0.999
    assert (mean_of(lambda: link.after_edge(z), 16) - z).square().mean() > 0.02


def test_zeros_count_where_z_has_zeros_of_its_own() -> None:
    link = Dropout(rate=0.2)
    torch.manual_seed(0)
    dense, sparse = torch.randn(8, 4096), torch.randn(8, 4096).clamp_min(0)
    ones = torch.ones(8, 4096)
    missing = link.after_edge(dense)
    assert (link.gap(ones, missing)[missing == 0] == 0).all()
    released = link.after_edge(sparse)
    weight = link.gap(ones, released)[released == 0].square()
    share = 0.5 / (0.5 + 0.2 * 0.5)  # of the zeros those of z itself
    assert weight.mean() == pytest.approx(share, abs=0.06)


@pytest.mark.parametrize("by", ["value", "magnitude"])
def test_an_entry_that_was_kept_pulls_although_the_guess_would_drop_it(by: str) -> None:
    link, z = TopK(keep=0.25, by=by, scope="sample"), torch.tensor([[4.0, 3.0, 2.0, 1.0, 0.5, 0.4, -0.3, 0.2]])
    guess = torch.tensor([[0.1, 3.0, 2.0, 4.0, 0.5, 0.4, -0.3, 0.2]], requires_grad=True)
    gap = link.gap(guess, link.after_edge(z))
    assert torch.equal(gap, torch.tensor([[-3.9, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]]))
    (slope,) = torch.autograd.grad(gap.square().sum(), guess)
    assert slope[0, 0] < 0 < slope[0, 3]
    relu = torch.tensor([[4.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]])  # two are kept, one of them a zero
    assert torch.equal(link.gap(torch.ones(1, 8), link.after_edge(relu)), torch.tensor([[-3.0] + 7 * [1.0]]))


def test_to_look_at_a_chain_shifts_no_random_number_outside() -> None:
    model, x = model_of("dropout,noise"), torch.rand(64, 1, 8, 8)
    state = torch.get_rng_state()
    law(model, x, 4)
    assert torch.equal(torch.get_rng_state(), state)


def test_what_is_drawn_before_the_edge_wants_repeated_releases() -> None:
    class Mirror(Defense):
        def before_edge(self, x: torch.Tensor) -> torch.Tensor:
            return torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x, x.flip(-1))

    model = model_of("nopeek")
    model.chain["mirror"] = Mirror()
    assert adaptive(model)["mirror"] == ["draws"] and not adaptive(model)["nopeek"]
