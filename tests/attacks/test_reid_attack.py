"""Linkability: it beats chance where a release tells who it is, and nowhere else; new identities only."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from splitpriv import config, host
from splitpriv.attacks.base import Access, Aux
from splitpriv.attacks.decoder import Decoder
from splitpriv.attacks.reid import ReID
from splitpriv.data.base import Split
from splitpriv.nets.decoders import conv
from splitpriv.nets.reid import embedder
from splitpriv.stats.ranking import chance, ranking
from splitpriv.store import state
from splitpriv.types import Spec, UserError

KNOWN, NEW, CAMERAS, SHOTS = 12, 10, 2, 3
SPEC = Spec((3, 8, 8), KNOWN + NEW, {"identity": KNOWN + NEW, "camera": CAMERAS})
SETTINGS: dict[str, Any] = {
    "embedder": functools.partial(embedder, width=8, widest=16), "features": 8, "gallery": "releases", "decoder": None,
    "epochs": 12, "batch": 32, "instances": 4, "lr": 0.01, "min_lr": 1e-4, "weight_decay": 0.0, "ce": 1.0,
    "smoothing": 0.1, "triplet": 1.0, "margin": 0.3, "held": 0.25, "patience": None, "select": "best",
    "tolerance": 0.05, "draws": 1,
}  # fmt: skip


def people(first: int, count: int) -> Split:
    """Images of patches of colour: who it is decides the patches, the camera the contrast and the light."""
    dice = torch.Generator().manual_seed(first)
    who, where, _ = torch.cartesian_prod(*map(torch.arange, (count, CAMERAS, SHOTS))).T
    patches = torch.rand(count, 3, 2, 2, generator=dice).repeat_interleave(4, 2).repeat_interleave(4, 3)[who]
    seen = torch.where(where[:, None, None, None] == 0, patches, 0.3 + 0.5 * patches)
    x = (seen + 0.1 * torch.randn(len(who), 3, 8, 8, generator=dice)).clamp(0, 1)
    return Split(x, who + first, torch.arange(len(who)), {"identity": who + first, "camera": where})


def same(z: Tensor) -> Tensor:
    return z


def mixed(x: Tensor) -> Tensor:
    """A release of another shape, in which the image is not to be seen but all of it is left."""
    mix = torch.randn(192, 192, generator=torch.Generator().manual_seed(1)) / 14
    return (x.flatten(1) @ mix).view(-1, 12, 4, 4)


class World:
    def __init__(self, edge: Callable[[Tensor], Tensor] = mixed, noise: Callable[[Tensor], Tensor] = same) -> None:
        self.edge, self.noise, self.aux, self.victims = edge, noise, people(0, KNOWN), people(KNOWN, NEW)
        self.seen: list[Tensor] = []

    def release(self, x: Tensor) -> Tensor:
        return self.noise(self.edge(x))

    def access(self, attack: ReID, spec: Spec = SPEC) -> Access:
        def obfuscate(z: Tensor) -> Tensor:
            self.seen.append(self.noise(z))
            return self.seen[-1]

        def intercept(draws: int) -> Tensor:
            raise AssertionError("a fit must not look at the victims")

        rights: dict[Any, Any] = {"query": self.release, "edge": self.release, "clean": self.edge, "cloud": None}
        rights["aux"] = Aux(self.aux, self.edge, obfuscate, cacheable=True)
        shape = tuple(self.edge(self.aux.x(slice(0, 2))).shape[1:])
        return Access(attack.requires, spec=spec, shape=shape, device=torch.device("cpu"), intercept=intercept,
                      rights=rights, autocast=contextlib.nullcontext)  # fmt: skip

    def attacked(self, attack: ReID, home: Path) -> tuple[float, float]:
        """mAP of the attack over the victims, and what chance gives."""
        home.mkdir(parents=True, exist_ok=True)
        matcher = attack.fit(self.access(attack), home)
        x, who, where = self.victims.x(slice(None)), self.victims.y, self.victims.attributes["camera"]
        with torch.no_grad():
            queries = matcher(self.release(x))
            gallery = queries if matcher.enrol is None else matcher.enrol(x)
        assert queries.shape == gallery.shape == (len(x), attack.features)
        assert not queries.requires_grad
        found = ranking(queries, gallery, who, who, where, where, same=True)
        return float(found["ap"].mean()), float(chance(who, who, where, where, same=True)["ap"].mean())


def attack(**changed: Any) -> ReID:
    return ReID(**{**SETTINGS, **changed})


def decoder(**changed: Any) -> Decoder:
    node = config.compose(["attack=[decoder]"])["attack"]["decoder"]
    few = {"epochs": 15, "batch": 16, "lr": 0.01, "held": 0.0, "patience": None, "select": "last"}
    settings = {k: v for k, v in {**node, **few, **changed}.items() if k != "_target_"}
    return Decoder(**settings | {"net": functools.partial(conv, width=8, widest=8)})


KINDS = {"link": {}, "cross": {"gallery": "images"}, "recon": {"gallery": "images", "decoder": decoder},
         "linked_recon": {"decoder": decoder}}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_it_links_new_identities_in_a_release_that_tells(kind: str, tmp_path: Path) -> None:
    found, floor = World().attacked(attack(**KINDS[kind]), tmp_path / "key")
    assert found > 2.5 * floor


@pytest.mark.parametrize("kind", ["link", "cross"])
def test_it_ranks_by_chance_where_releases_are_constant_or_noise(kind: str, tmp_path: Path) -> None:
    for name, edge, noise in (
        ("constant", lambda x: torch.ones(len(x), 4, 4, 4), same),
        ("noise", mixed, torch.randn_like),
    ):
        found, floor = World(edge, noise).attacked(attack(**KINDS[kind], epochs=4), tmp_path / name)
        assert found < 2 * floor


@pytest.mark.parametrize(("ce", "triplet"), [(1.0, 0.0), (0.0, 1.0)])
def test_it_learns_on_aux_by_either_loss_alone(ce: float, triplet: float, tmp_path: Path) -> None:
    start, _ = World().attacked(attack(lr=1e-12, min_lr=0.0, epochs=1), tmp_path / "start")
    found, _ = World().attacked(attack(ce=ce, triplet=triplet), tmp_path / "learned")
    assert found > start + 0.1


def test_the_triplet_reaches_every_layer_of_both_nets() -> None:
    learner, here = attack(gallery="images", ce=0.0), World()
    access = here.access(learner)
    net = learner._nets(access, KNOWN + NEW).train()
    part = torch.arange(24)
    learner._loss(net, learner._seen(access, part), here.aux.y[part], access).backward()
    for view in ("release", "image"):
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net[view].parameters())
        assert sum(float(p.grad.abs().sum()) for p in net[view].parameters() if p.grad is not None) > 0


@pytest.mark.parametrize(("share", "held_out"), [(0.25, 3), (0.2, 2), (0.3, 4), (0.01, 1)])
def test_what_is_held_out_are_whole_identities(
    share: float, held_out: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner, here, shown = attack(epochs=2, held=share), World(), {"learned": set(), "held": set()}
    loss, held = ReID._loss, ReID._map

    def _loss(self: ReID, net: Any, seen: Any, ids: Tensor, access: Access) -> Tensor:
        shown["learned"] |= set(ids.tolist())
        return loss(self, net, seen, ids, access)

    def _map(self: ReID, net: Any, look: Any, access: Access, index: Tensor) -> Tensor:
        shown["held"] |= set(here.aux.y[index].tolist())
        return held(self, net, look, access, index)

    monkeypatch.setattr(ReID, "_loss", _loss)
    monkeypatch.setattr(ReID, "_map", _map)
    report = learner.fit(here.access(learner), tmp_path).report
    assert len(shown["held"]) == held_out and not shown["held"] & shown["learned"]
    assert shown["held"] | shown["learned"] == set(range(KNOWN))
    assert len(report["held"]) == 2 and all(0 <= value <= 1 for value in report["held"])


def test_it_meets_fresh_releases_and_averages_draws(tmp_path: Path) -> None:
    here, learner = World(noise=lambda z: z + torch.randn_like(z)), attack(epochs=1, draws=4)
    learner.fit(here.access(learner), tmp_path)
    single = len(here.seen)
    assert not torch.equal(here.seen[0], here.seen[1])
    assert learner.adapts == {"draws"} and not attack().adapts
    again = World(noise=here.noise)
    (tmp_path / "one").mkdir()
    attack(epochs=1).fit(again.access(attack()), tmp_path / "one")
    assert single == 4 * len(again.seen)


def test_images_alone_are_learned_from_where_a_decoder_reconstructs(tmp_path: Path) -> None:
    learner, here = attack(gallery="images", decoder=lambda: decoder(epochs=1), epochs=1), World()
    matcher = learner.fit(here.access(learner), tmp_path)
    assert set(matcher.net._modules) == {"image", "neck"}
    x = here.victims.x(slice(0, 5))
    assert matcher.enrol is not None
    assert torch.equal(matcher.enrol(x), matcher.net["neck"].embed(matcher.net["image"](x)))
    assert learner.requires == {"query", "aux"}
    assert attack(decoder=lambda: decoder(mask=True)).requires == {"query", "aux", "mask"}


def test_a_killed_fit_ends_in_the_same_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(home: Path) -> Tensor:
        here, learner = World(noise=lambda z: z + 0.1 * torch.randn_like(z)), attack(epochs=3)
        home.mkdir(parents=True, exist_ok=True)
        matcher = learner.fit(here.access(learner), home)
        return matcher(here.edge(here.victims.x(slice(None))))

    whole = fit(tmp_path / "a" / "key")
    real, calls = state.save_state, []

    def killed(*arguments: Any) -> None:
        real(*arguments)
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(state, "save_state", killed)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "b" / "key")
    assert torch.equal(fit(tmp_path / "b" / "key"), whole)
    assert len(calls) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_no_step_waits_for_the_device(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "to_host", lambda values: [1.0] * values.numel())
    monkeypatch.setattr(state, "save_state", lambda *_: None)
    monkeypatch.setattr(state, "save_tensors", lambda *_: None)
    settings = {**KINDS[kind], "epochs": 2, "batch": 16}
    if "decoder" in settings:
        settings["decoder"] = lambda: decoder(epochs=1)
    with FakeTensorMode():
        zeros = torch.zeros(32, dtype=torch.long)
        here = World(noise=lambda z: z + 0.1 * torch.randn_like(z))
        here.aux = Split(torch.rand(32, 3, 8, 8), zeros, torch.arange(32), {"identity": zeros, "camera": zeros})
        learner = attack(**settings)
        matcher = learner.fit(here.access(learner), tmp_path)
        assert matcher(here.release(torch.rand(10, 3, 8, 8))).shape == (10, 8)


def test_mistakes_name_the_key_and_the_remedy(tmp_path: Path) -> None:
    plain = Spec((3, 8, 8), 2)
    with pytest.raises(UserError, match="the data set has no identities; use dataset=identities, veri or market1501"):
        attack().fit(World().access(attack(), plain), tmp_path)
    for said, changed in {
        r"\.triplet: 0 beside ce=0": {"ce": 0.0, "triplet": 0.0},
        r"\.held: 0 leaves nothing": {"held": 0.0},
        r"\.decoder\.draws: is 1, but the attack averages 4": {"decoder": decoder, "draws": 4},
    }.items():
        with pytest.raises(UserError, match=f"^{said}"):
            attack(**changed)
    with pytest.raises(UserError, match=r"^\.batch: 3 images hold fewer than two identities"):
        attack(batch=3)


def test_releases_of_any_shape_can_be_embedded() -> None:
    for shape in ((3, 8, 8), (12, 4, 4), (64,), (17, 6), (4, 33, 20)):
        net = embedder(shape, (3, 32, 32), 5, width=4, widest=8).eval()
        assert net(torch.rand(2, *shape)).shape == (2, 5)
