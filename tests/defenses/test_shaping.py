"""Defences that shape a release: tokens shuffled, dropped or permuted, and what an adversary reads off them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from splitpriv.defenses.base import Defended
from splitpriv.defenses.dual_path import DualPath
from splitpriv.defenses.hsic import Hsic
from splitpriv.defenses.noise import Noise
from splitpriv.defenses.parts.places import Order, Places, matched
from splitpriv.defenses.parts.sight import sight
from splitpriv.defenses.patch_permutation import PatchPermutation
from splitpriv.defenses.token_drop import TokenDrop
from splitpriv.defenses.token_shuffle import TokenShuffle
from splitpriv.defenses.two_servers import TwoServers
from splitpriv.nets.small import tiny
from splitpriv.nets.split import SplitNet
from splitpriv.nets.vit import vit_tiny
from splitpriv.types import Shape, Spec, UserError

SPEC = Spec((1, 16, 16), 4)
X = torch.rand(24, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def vit(**chain: object) -> Defended:
    """A transformer of two blocks cut behind its tokens, 16 of them, whose positions are plain to see."""
    torch.manual_seed(0)
    backbone = vit_tiny(SPEC, width=16, blocks=2, heads=2, patch=4)
    with torch.no_grad():
        backbone.embed.positions.mul_(50)  # type: ignore[operator, union-attr]
    net = SplitNet(backbone, SPEC, at="embed", bottleneck=None)
    return Defended(net, chain, SPEC).eval().requires_grad_(False)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(16, 8), (17, 8), (3, 4, 6), (10,)])
def test_places_go_there_and_back(shape: Shape) -> None:
    z = torch.rand(2, *shape)
    for patch in (1, 2) if len(shape) == 3 else (1,):
        places = Places(shape, patch)
        tokens = places.tokens(z)
        assert tokens.shape == (2, places.count, places.width)
        assert torch.equal(places.back(tokens, z), z)
        order = torch.randperm(places.count)
        moved = places.moved(z, order)
        assert torch.equal(places.tokens(moved), tokens[:, order])
        assert torch.equal(places.moved(moved, order.argsort()), z)


def test_a_class_token_stays_first() -> None:
    z = torch.rand(3, 17, 8)
    moved = Places((17, 8)).moved(z, torch.arange(15, -1, -1))
    assert torch.equal(moved[:, 0], z[:, 0]) and torch.equal(moved[:, 1], z[:, 16])


def test_a_patch_of_a_map_moves_whole() -> None:
    z = torch.arange(16.0).view(1, 1, 4, 4)
    moved = Places((1, 4, 4), 2).moved(z, torch.tensor([3, 1, 2, 0]))
    assert moved[0, 0].tolist() == [[10, 11, 2, 3], [14, 15, 6, 7], [8, 9, 0, 1], [12, 13, 4, 5]]


def test_places_that_cannot_be() -> None:
    with pytest.raises(UserError, match=r"^\.patch: 3 does not divide z of 4x4"):
        Places((2, 4, 4), 3)
    with pytest.raises(UserError, match=r"so there is nothing to choose from; cut elsewhere, or lower \.patch"):
        Places((2, 4, 4), 4)


def test_the_greedy_choice_is_a_permutation_and_the_best_where_it_is_clear() -> None:
    torch.manual_seed(0)
    truth = torch.stack([torch.randperm(7) for _ in range(5)])
    clear = torch.rand(5, 7, 7).scatter(1, truth.unsqueeze(1), 2.0)  # token truth[j] belongs at place j
    assert torch.equal(matched(clear), truth)
    assert torch.equal(matched(torch.zeros(3, 6, 6)).sort(1).values, torch.arange(6).expand(3, 6))


@pytest.mark.parametrize("ties", [False, True])
def test_the_greedy_choice_takes_the_highest_first(ties: bool) -> None:
    score = torch.randn(4, 9, 9, generator=torch.Generator().manual_seed(5))
    score = score.mul(2).round() if ties else score
    for one, order in zip(score, matched(score), strict=True):
        left, expected = one.clone(), torch.empty(9, dtype=torch.long)
        for _ in range(9):
            token, place = divmod(int(left.argmax()), 9)
            expected[place] = token
            left[token], left[:, place] = -torch.inf, -torch.inf
        assert torch.equal(order, expected)


# ---- token_shuffle -------------------------------------------------------------------------------------------------


def test_a_shuffled_release_equals_itself_up_to_order_and_the_cloud_answers_as_before() -> None:
    model, plain = vit(shuffle=TokenShuffle(share=1.0)), vit()
    torch.manual_seed(1)
    z, sent = model.features(X), model.release(X)
    assert not torch.equal(sent, z) and not torch.equal(model.release(X), sent)
    assert torch.equal(sent.sort(1).values, z.sort(1).values)
    assert (model.classify(sent) - plain(X)).abs().max() < 1e-5


def test_every_image_has_an_order_of_its_own() -> None:
    shuffle = TokenShuffle(share=1.0)
    vit(shuffle=shuffle)
    ramp = torch.arange(16.0).view(1, 16, 1).expand(8, 16, 16)
    orders = {tuple(tokens[:, 0].tolist()) for tokens in shuffle.after_edge(ramp)}
    assert len(orders) == 8


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_share_of_the_tokens_changes_places(share: float) -> None:
    shuffle = TokenShuffle(share=share)
    vit(shuffle=shuffle)
    ramp = torch.arange(16.0).view(1, 16, 1).expand(200, 16, 16)
    moved = (shuffle.after_edge(ramp) != ramp)[..., 0].float().sum(1)
    assert moved.max() <= 16 * share
    assert moved.mean() == pytest.approx(max(0, 16 * share - 1), abs=0.4)  # one stays by chance, on average


def test_noiseless_tokens_are_put_back_where_they_were() -> None:
    model = vit(shuffle=TokenShuffle(share=1.0))
    read = sight(model, X[:16])
    assert torch.equal(read(model.release(X)), model.features(X))
    assert model.chain["shuffle"].facts == {"order_restored": 1.0}


def test_without_a_sign_of_their_places_tokens_still_get_one_order() -> None:
    """Right or wrong, it depends on the tokens alone, so that expected and received releases can be compared."""
    torch.manual_seed(0)
    order, tokens = Order(torch.rand(64, 9, 5)), torch.rand(4, 9, 5)
    shuffled = tokens[:, torch.randperm(9)]
    put = tokens.gather(1, order(tokens)[..., None].expand_as(tokens))
    again = shuffled.gather(1, order(shuffled)[..., None].expand_as(tokens))
    assert torch.equal(put, again)


def test_it_is_read_through_noise_before_and_after_it() -> None:
    for chain in (("noise", "shuffle"), ("shuffle", "noise")):
        links = {"noise": Noise(sigma=0.05), "shuffle": TokenShuffle(share=1.0)}
        model = vit(**{name: links[name] for name in chain})
        read = sight(model, X[:16])
        assert (read(model.release(X)) - model.features(X)).abs().max() < 0.5


def test_a_chain_that_hides_nothing_is_read_as_it_is() -> None:
    r = torch.rand(2, 16, 16)
    assert sight(vit(noise=Noise(sigma=1.0)), X)(r) is r


def test_a_share_that_comes_to_nothing_is_refused() -> None:
    model = vit()
    for link in (TokenShuffle(share=0.1), TokenShuffle(share=0), TokenDrop(rate=0.05), TokenDrop(rate=0)):
        link.attach(model, SPEC, (16, 8))
    for link, shape, said in (
        (TokenShuffle(share=0.05), (16, 8), r"^\.share: 0.05 of the places is 1 of 16, .*give at least 0.125, or 0"),
        (TokenDrop(rate=0.01), (16, 8), r"^\.rate: 0.01 of the places is 0 of 16, .*give at least 0.063, or 0"),
        (PatchPermutation(patch=2, share=0.1, order="fresh"), (3, 4, 4), r"^\.share: 0.1 of the places is 0 of 4"),
    ):
        with pytest.raises(UserError, match=said):
            link.attach(model, SPEC, shape)


# ---- token_drop ----------------------------------------------------------------------------------------------------


def test_the_share_of_tokens_is_dropped_whole_and_afresh() -> None:
    drop = TokenDrop(rate=0.25)
    vit(drop=drop)
    z = torch.rand(50, 16, 16) + 1
    sent = drop.after_edge(z)
    gone = (sent == 0).all(2)
    assert torch.equal(gone.sum(1), torch.full((50,), 4)) and torch.equal(sent[~gone], z[~gone])
    assert not torch.equal((drop.after_edge(z) == 0).all(2), gone)
    assert torch.equal(drop.expected(z), 0.75 * z)
    assert drop.bits == 24 + 1 / 16


def test_a_class_token_and_one_other_are_always_sent() -> None:
    drop = TokenDrop(rate=0.99)
    drop.attach(vit(), SPEC, (17, 8))
    sent = drop.after_edge(torch.ones(20, 17, 8))
    assert bool((sent[:, 0] == 1).all()) and torch.equal(sent[..., 0].sum(1), torch.full((20,), 2.0))


# ---- patch_permutation ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["fresh", "fixed"])
def test_patches_change_places_and_every_adversary_has_them_in_one_order(order: str) -> None:
    permute = PatchPermutation(patch=2, share=1.0, order=order)
    net = SplitNet(tiny(SPEC, width=4), SPEC, at="shallow", bottleneck=None)
    model = Defended(net, {"permute": permute}, SPEC).eval().requires_grad_(False)
    z = model.features(X)
    sent, again = permute.after_edge(z), permute.after_edge(z)
    assert not torch.equal(sent, z) and torch.equal(sent, again) == (order == "fixed")
    assert torch.equal(
        permute.places.tokens(sent).sum(2).sort(1).values, permute.places.tokens(z).sum(2).sort(1).values
    )
    read = sight(model, X)
    assert torch.equal(read(sent), read(again)) and torch.equal(read(model.expected(X)), read(sent))


# ---- two_servers ---------------------------------------------------------------------------------------------------

SHARES = {"bits": 20, "fraction": 10}


def servers(**changed: object) -> tuple[TwoServers, Defended]:
    link = TwoServers(**{"scheme": "additive", "holds": "first", **SHARES, **changed})  # type: ignore[arg-type]
    return link, vit(servers=link)


def test_two_shares_sum_to_z_and_the_cloud_answers_as_before() -> None:
    link, model = servers()
    z, sent = model.features(X), model.release(X)
    assert sent.shape == (24, 16, 32)
    first, second = (2**20 * share for share in sent.chunk(2, 2))
    assert torch.equal(((first + second) % 2**20 + 2**19) % 2**20 - 2**19, (z * 2**10).round())
    assert (model.classify(sent) - vit()(X)).abs().max() < 0.02
    assert torch.equal(model.classify(sent), model.classify(link.together(sent)))


@pytest.mark.parametrize("holds", ["first", "second"])
def test_one_share_alone_is_independent_of_z(holds: str) -> None:
    """Uniform in the ring, whatever z is: the mean and the spread of both shares are those of a uniform law."""
    link, _ = servers(holds=holds, bits=8, fraction=2)
    for value in (-3.0, 0.0, 5.0):
        z = torch.full((400, 16, 16), value)
        share = 256 * link.reading(z, False)(link.after_edge(z))
        assert torch.equal(share, share.round()) and share.min() >= 0 and share.max() < 256
        counts = torch.bincount(share.long().flatten(), minlength=256) / share.numel()
        assert (counts - 1 / 256).abs().max() < 6 * (1 / 256 / share.numel()) ** 0.5
    again = [link.reading(z, False)(link.after_edge(z)) for _ in range(2)]
    assert not torch.equal(*again)


def test_colluders_hold_z_whatever_the_chain_assumes() -> None:
    link, model = servers()
    for read in (sight(model, X, colludes=True), sight(servers(holds="both")[1], X)):
        assert (read(model.release(X)) - model.features(X)).abs().max() <= 2**-11
    assert sight(model, X)(model.release(X)).shape == (24, 16, 16)
    assert link.adaptive == {"collusion"} and servers(holds="both")[0].adaptive == set()
    assert torch.equal(link.together(link.expected(model.features(X))), link.together(model.release(X)))


def test_a_gradient_passes_through_the_shares() -> None:
    link, _ = servers()
    z = torch.rand(2, 16, 16, requires_grad=True)
    link.unite(*link.divide(z)).sum().backward()
    assert torch.allclose(z.grad, torch.ones_like(z))  # type: ignore[arg-type]


def test_what_lies_beyond_the_ring_is_clipped() -> None:
    link, _ = servers(bits=6, fraction=2)
    z = torch.tensor([[[-100.0, -8.0, 7.75, 100.0]]])
    assert link.unite(*link.divide(z)).tolist() == [[[-8.0, -8.0, 7.75, 7.75]]]


def test_divided_servers_see_half_of_the_channels_each() -> None:
    first, model = servers(scheme="divided")
    second, _ = servers(scheme="divided", holds="second")
    z = model.release(X)
    assert torch.equal(z, model.features(X))
    assert torch.equal(torch.cat([first.reading(z, False)(z), second.reading(z, False)(z)], 2), z)


def test_servers_that_cannot_be() -> None:
    with pytest.raises(UserError, match=r"^\.fraction: 20 of 20 bits"):
        servers(fraction=20)
    with pytest.raises(UserError, match=r"^\.scheme: z \(1, 8, 8\) has one channel"):
        TwoServers(scheme="divided", holds="first", **SHARES).attach(vit(), SPEC, (1, 8, 8))
    shares = servers()[0]
    shares.validate({"noise": Noise(sigma=1.0), "shares": shares})
    with pytest.raises(UserError, match=r"^: noise comes after it, .*list it before"):
        shares.validate({"shares": shares, "noise": Noise(sigma=1.0)})
    with pytest.raises(UserError, match=r"^: hsic comes after it, .*list it before"):
        shares.validate({"shares": shares, "hsic": Hsic(weight=1, sigma=None, form="hsic")})
    with pytest.raises(UserError, match=r"^: prune trains in phases"):
        servers()[0].validate({"prune": SimpleNamespace(phases=(1,))})  # type: ignore[dict-item]


# ---- dual_path -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 6, 5), (16, 4), (10,)])
def test_two_paths_add_up_to_z_and_the_first_has_block_means(shape: Shape) -> None:
    path = DualPath(sigma=0.0, factor=2, holds="both")
    path.attach(vit(), SPEC, shape)
    z = torch.rand(2, *shape)
    low, rest = path.divide(z)
    assert torch.allclose(path.unite(low, rest), z) and not torch.equal(low, z)
    assert torch.allclose(path.low(low), low) and path.low(rest).abs().max() < 1e-6
    assert torch.equal(path.expected(z), path.after_edge(z))


def test_noise_is_on_the_second_path_alone() -> None:
    link = DualPath(sigma=2.0, factor=2, holds="second")
    model = vit(path=link)
    z = model.features(X)
    sent, again = model.release(X), model.release(X)
    first, second = sent.chunk(2, 2)
    assert torch.equal(first, again.chunk(2, 2)[0]) and torch.equal(first, link.low(z))
    assert (second - (z - first)).std().item() == pytest.approx(2.0, rel=0.05)
    assert torch.equal(link.reading(z, False)(sent), second) and torch.equal(link.reading(z, True)(sent), sent)
    assert link.adaptive == {"collusion", "draws"}
