"""The suite: every member does its part, lengths and weights are chosen on aux, and a kill changes no number."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import World, pictures
from small import arithmetic, execute, tiny
from torch import Tensor, nn

from splitpriv.attacks.rmle import variation
from splitpriv.attacks.suite import autoinvert, blend, lab, learnt, members, muon, plateau, search, settled
from splitpriv.attacks.suite.autoinvert import AutoInvert
from splitpriv.attacks.suite.lab import Lab, moved, mse
from splitpriv.attacks.suite.muon import Muon, orthogonal
from splitpriv.attacks.suite.plateau import Length, Trainee
from splitpriv.attacks.suite.search import Plan, descend
from splitpriv.defenses.dropout import Dropout
from splitpriv.nets import inverters
from splitpriv.run.prepare import prepare
from splitpriv.store import Store, state
from splitpriv.store.state import load_tensors

CONSTANTS = {
    plateau: ("ROUND", "RATE", "WARM", "FALL", "GAIN", "NEGLIGIBLE", "MEMORY"),
    search: ("TV", "ANCHOR", "RATE", "SHORT", "GAIN", "ALONE", "STRIDE"),
    autoinvert: ("TUNE", "MISLED"),
    members: ("BATCH", "WIDTHS", "WIDTH", "BLOCKS", "POOL"),
    lab: ("PARTS", "MOST", "SHIFT", "FAINT", "QUIET"),
    blend: ("IMAGES", "RIDGE"),
    settled: ("PATH", "IMAGES", "APART"),
    muon: ("MOMENTUM", "ADAM_SHARE", "QUINTIC"),
}
SHIPPED = dict(autoinvert.TIERS)  # tests have smaller ones
RUNGS = dict(members.RUNGS)
PRIORS = ("DENOISER", "GENERATOR", "PNP", "LATENT", "UNTRAINED")


def settings(name: str) -> str:
    """A fingerprint of all numbers that the members of a shipped tier follow."""
    tier = SHIPPED[name]
    told = {
        **{f"{module.__name__}.{name}": str(getattr(module, name))
           for module, names in CONSTANTS.items() for name in names},
        "tier": str(tier), **{f"rung {rung}": str(RUNGS[rung].keywords) for rung in tier.rungs},
        **{f"search.{name}": str(getattr(search, name).weighed) for name in ("Search", "Unaided")},
        **({name: str(getattr(learnt, name).keywords) for name in PRIORS} if tier.priors else {}),
    }  # fmt: skip
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


RECORD = Path(__file__).parents[1] / "golden" / "autoinvert.json"
AS_SHIPPED = {name: settings(name) for name in SHIPPED}  # before any test makes them smaller
SMALL = autoinvert.Tier(("plain", "unet"), Length(8, 24), Length(8, 24), 8, 10, 64, Length(8, 16))
LESS = {name: replace(SMALL, version=tier.version) for name, tier in SHIPPED.items()}
LESS["quick"] = replace(LESS["quick"], rungs=("plain",), pool=0, fuse=Length(0, 0))


@pytest.fixture(autouse=True)
def small(monkeypatch):
    lessen(monkeypatch)


def lessen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autoinvert, "TIERS", dict(LESS))
    monkeypatch.setattr(plateau, "ROUND", 8)
    monkeypatch.setattr(plateau, "WARM", 4)
    monkeypatch.setattr(members, "WIDTH", 8)
    rungs = {"plain": partial(inverters.folded, width=8, blocks=1, depth=0),
             "unet": partial(inverters.folded, width=4, blocks=0, depth=1)}  # fmt: skip
    monkeypatch.setattr(members, "RUNGS", rungs)


def frozen(attack: AutoInvert, numbers: dict[str, float], unaided: bool = False) -> None:
    """The members give the numbers that the suite's name stands for, nearly exactly on machines that compute alike.

    Rounding grows in training: between the two kinds of processor in the record they are up to a twelfth apart, so on a
    third a sixth is allowed. A change of any is a new suite: raise the tier's version, and add to the record what this
    prints; what it holds of other names is what rows of before were made by, and stays.
    """
    name = f"{attack.suite} unaided" if unaided else str(attack.suite)
    here = arithmetic()
    print(json.dumps({name: {"settings": AS_SHIPPED[attack.tier], "numbers": {here: numbers}}}, indent=1))
    kept = json.loads(RECORD.read_text())[name]
    assert kept["settings"] == AS_SHIPPED[attack.tier]
    known = kept["numbers"]
    expected = known[here] if here in known else next(iter(known.values()))
    assert numbers == pytest.approx(expected, rel=1e-5 if here in known else 1 / 6)


def errors_of(found: Any, here: World) -> dict[str, float]:
    """What each member leaves of releases that are not noisy."""
    x = pictures(20, seed=9)
    with torch.no_grad():
        return {member: float(mse(made(here.edge(x)), x)) for member, made in found.lab.made.items()}


def blurred(x: Tensor) -> Tensor:
    """An edge that loses detail: 2x2 means of an affine map."""
    return nn.functional.avg_pool2d(3 * x - 1, 2)


def noisy(z: Tensor) -> Tensor:
    return z + 0.05 * torch.randn_like(z)


def suite(knowledge: str = "white", queries: int = 1, tier: str = "standard") -> AutoInvert:
    return AutoInvert(tier=tier, knowledge=knowledge, queries=queries)  # type: ignore[arg-type]


def fitted(world, home: Path, **settings):
    attack, here = suite(**settings), world(edge=blurred, noise=noisy, aux=pictures(120))
    home.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    return attack.fit(here.access(attack), home), here


def lab_of(world, home: Path, **settings) -> Lab:
    attack, here = suite(**settings), world(edge=blurred, noise=noisy, aux=pictures(120))
    return Lab(here.access(attack), attack.draws, home, edge=here.edge)


@pytest.fixture(scope="module")
def standard(tmp_path_factory) -> tuple[Any, World]:
    """One fitted suite, for all tests that only look."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPLITPRIV_PROGRESS", "0")
        lessen(patch)
        return fitted(World, tmp_path_factory.mktemp("standard") / "golden")


def test_members_build_on_one_another_and_the_answer_is_the_best_of_them_on_aux(standard):
    found, here = standard
    x = pictures(40, seed=9)
    with torch.no_grad():
        told = found.everything(here.release(x))
    errors = {name: float(mse(images, x)) for name, images in told.items()}
    assert set(told) == {"", "mean", "gallery", "decoder", "refine", "search", "fuse", "polish", "blend"}
    assert errors["decoder"] < errors["mean"] and errors["refine"] < errors["decoder"]
    assert errors["search"] < errors["decoder"]
    assert found.choice == min(found.expected, key=found.expected.__getitem__)
    assert torch.equal(told[""], told[found.choice])
    assert errors[""] <= errors["mean"] and here.intercepted == 0
    assert all(images.min() >= 0 and images.max() <= 1 for images in told.values())


def test_an_adversary_whose_images_are_unlike_the_victims_searches_without_them(world, tmp_path):
    """What he has is dark and without contrast; that it misleads him he sees by the victims' releases."""
    attack, here = suite(), world(edge=blurred, noise=noisy, aux=0.2 * pictures(120))
    (home := tmp_path / "key").mkdir()
    torch.manual_seed(0)
    found = attack.fit(here.access(attack), home)
    x = pictures(40, seed=9)
    releases = here.release(x)
    with torch.no_grad():
        told = found.everything(releases)
    errors = {name: float(mse(images, x)) for name, images in told.items()}
    assert found.report["answer"] == "unaided" and found.report["misled"] and found.report["contradicted"] > 0.9
    assert errors[""] == errors["unaided"] < 0.5 * min(v for name, v in errors.items() if name not in ("", "unaided"))
    frozen(attack, errors, unaided=True)
    again = attack.fit(here.access(attack), home).everything(releases)  # after a kill: what was kept is read
    assert all(torch.equal(told[name], again[name]) for name in told)
    found.tidy()
    assert not [*home.glob("batch*")]
    alike = attack.fit(here.access(attack), home)
    assert "unaided" not in alike.everything(here.release(0.2 * x)) and alike.report["contradicted"] < 0.5


def test_what_a_mechanism_tells_of_its_releases_is_used(world, tmp_path):
    """Half of the entries are missing, and are seen to be: a suite that is not told takes them for noise."""
    x, link = pictures(40, seed=9), Dropout(rate=0.5)
    found: dict[str, dict[str, float]] = {}
    for name in ("told", "mean"):
        attack, here = suite(), world(edge=blurred, noise=link.after_edge, aux=pictures(120))
        access = here.access(attack)
        access._rights |= {"expected": lambda x: 0.5 * blurred(x), "present": link.present}
        access._rights["gap"] = (lambda x, r: link.gap(blurred(x), r)) if name == "told" else None
        (home := tmp_path / name / "key").mkdir(parents=True)
        torch.manual_seed(0)
        answers = attack.fit(access, home).everything(here.release(x))
        found[name] = {member: float(mse(images, x)) for member, images in answers.items()}
    assert found["told"]["search"] < 0.8 * found["mean"]["search"] and found["told"][""] < found["mean"][""]


def test_members_that_err_apart_are_blended_by_weights_that_aux_gives(world, tmp_path):
    place = lab_of(world, tmp_path / "key")
    x, _ = place.pairs("held")
    errors = [0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    place.made = {"one": lambda r: x[: len(r)] * 0.5 + 0.25 + errors[0][: len(r)].clamp(-0.2, 0.2),
                  "other": lambda r: x[: len(r)] * 0.5 + 0.25 + errors[1][: len(r)].clamp(-0.2, 0.2),
                  "grey": lambda r: torch.full_like(x[: len(r)], 0.5)}  # fmt: skip
    found = blend.Blend(place)
    releases = place.pairs("held")[1]
    told = {name: float(mse(made(releases), x)) for name, made in place.made.items()}
    one, other, grey = found.weights.tolist()
    assert one == pytest.approx(other, abs=0.1) and one + other > 1.2 and grey < 0
    assert mse(found(releases), x) < 0.7 * min(told.values())


def test_without_the_edge_a_stand_in_learned_from_queries_serves(world, tmp_path, monkeypatch):
    monkeypatch.setattr(autoinvert, "TIERS", {"standard": replace(SMALL, refine=Length(32, 96), pool=0)})
    found, here = fitted(world, tmp_path / "key", knowledge="black")
    assert not suite("black").requires & {"edge", "expected", "clean"}
    frozen(suite("black"), errors_of(found, here))
    x = pictures(20, seed=9)
    assert mse(found.lab.expected(x), here.edge(x)) < 0.2 * here.edge(x).var()
    assert found.expected["refine"] < 1.02 * found.expected["decoder"] and "standin/steps" in found.report


@pytest.fixture
def short_priors(monkeypatch):
    monkeypatch.setitem(autoinvert.TIERS, "plus", replace(LESS["plus"], rungs=("plain",), pool=0, priors=True))
    monkeypatch.setattr(learnt, "DENOISER", partial(learnt.DENOISER, width=4, depth=1, epochs=2))
    monkeypatch.setattr(learnt, "GENERATOR", partial(learnt.GENERATOR, width=4, size=8, epochs=2))
    monkeypatch.setattr(learnt, "UNTRAINED", partial(learnt.UNTRAINED, width=4, depth=1, steps=10, tune=4))
    monkeypatch.setattr(learnt, "LATENT", partial(learnt.LATENT, steps=10, tune=8))
    monkeypatch.setattr(learnt, "PNP", partial(learnt.PNP, levels=2, steps=4, tune=8))


def slowest(world, home: Path):
    attack, here = AutoInvert(tier="plus", knowledge="white", queries=1), world(blurred, noisy, pictures(120))
    asked: list[Any] = []
    access = here.access(attack)
    access._shared = lambda what, build: asked.append(what) or _built(build, home.parent / what["prior"])
    home.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    return attack.fit(access, home), here, attack.learns == (asked[1], asked[0])


def _built(build, folder: Path) -> Path:
    if not (folder / "prior.safetensors").exists():
        folder.mkdir(exist_ok=True)
        build(folder)
    return folder


def test_the_slowest_tier_searches_under_priors_that_all_chains_share(world, tmp_path, short_priors):
    found, here, as_told = slowest(world, tmp_path / "key")
    x = pictures(9, seed=9)
    with torch.no_grad():
        told = found.everything(here.release(x))
        again = found.lab.made["pnp"].found(here.release(x[:4]))  # no batch of before is taken for another
    frozen(suite(tier="plus"), errors_of(found, here))
    assert {"latent", "untrained", "pnp"} <= set(told) and again.shape == (4, 1, 8, 8)
    assert mse(told["pnp"], x) < mse(told["mean"], x)
    assert as_told and not AutoInvert(tier="plus", knowledge="black", queries=1).learns


@pytest.mark.parametrize("make", [
    pytest.param(partial(fitted, tier="quick"), id="quick"), pytest.param(fitted, id="white", marks=pytest.mark.slow),
    pytest.param(partial(fitted, knowledge="black"), id="black", marks=pytest.mark.slow),
    pytest.param(slowest, id="plus", marks=pytest.mark.slow),
])  # fmt: skip
def test_a_kill_changes_no_number(make, world, tmp_path, monkeypatch, short_priors):
    """Whatever member it comes in: the state is saved, and the next step is never made."""
    x = pictures(5, seed=9)
    whole, here, *_ = make(world, tmp_path / "whole" / "key")
    expected = whole.everything(here.edge(x))
    save, count = state.save_state, 0

    def killed(*args):
        nonlocal count
        save(*args)
        count += 1
        if count % 4 == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(state, "save_state", killed)
    for _ in range(90):
        try:
            again, *_ = make(world, tmp_path / "cut" / "key")
            told = again.everything(here.edge(x))
            break
        except KeyboardInterrupt:
            continue
    assert count > 15 and again.report == whole.report
    assert all(torch.equal(told[name], images) for name, images in expected.items())


def test_parts_of_aux_are_apart_and_the_same_in_every_run(world, tmp_path):
    place, again = (lab_of(world, tmp_path / "key") for _ in range(2))
    together = torch.cat(list(place.parts.values()))
    assert torch.equal(together.sort().values, torch.arange(120))
    assert all(torch.equal(place.parts[name], again.parts[name]) for name in place.parts)
    assert all(torch.equal(a, b) for a, b in zip(place.pairs("held"), again.pairs("held"), strict=True))


@pytest.mark.parametrize("queries", [1, 4])
def test_the_noise_is_measured_and_the_true_image_lies_where_it_says(world, tmp_path, queries):
    place = lab_of(world, tmp_path / "key", queries=queries)
    assert place.noise.mean().sqrt() == pytest.approx(0.05 / queries**0.5, rel=0.05)
    x, releases = place.pairs("learn")
    assert place.distance(x, releases).mean() == pytest.approx(float((place.weight * place.noise).mean()), rel=0.1)


def test_the_gallery_knows_the_image_where_it_has_it(world, tmp_path):
    place = lab_of(world, tmp_path / "key")
    gallery = members.Gallery(place)
    x, releases = place.pairs("learn")
    assert mse(gallery._weighed(releases, 1.0), x) < 0.02 * x.var()
    x, releases = place.pairs("held")
    assert mse(gallery(releases), x) < min(mse(place.mean_image, x), mse(gallery._weighed(releases, 1.0), x) * 1.001)
    assert gallery.width > 1


def test_a_search_goes_down_whatever_the_layout_of_its_start(world, tmp_path):
    place = lab_of(world, tmp_path / "key")
    x, releases = place.pairs("held")
    start = torch.full_like(x, 0.5)
    other = start.permute(0, 1, 3, 2).contiguous().permute(0, 1, 3, 2)
    plan = Plan(0.01, 0.0, 30)
    found = descend(place, releases, other, plan)
    assert place.distance(found, releases).mean() < 0.2 * place.distance(start, releases).mean()
    assert torch.equal(found, descend(place, releases, start, plan))
    held = descend(place, releases, start, Plan(0.01, 100.0, 30))
    assert mse(held, start) < 0.1 * mse(found, start)


def test_the_prior_s_gradient_is_that_of_the_total_variation():
    x = torch.rand(3, 2, 7, 9, generator=torch.Generator().manual_seed(0)).requires_grad_()
    (slope,) = torch.autograd.grad(variation(x, 1.0).sum(), x)
    torch.testing.assert_close(search.steepness(x.detach()), slope, rtol=1e-4, atol=1e-7)


def test_what_twice_the_aux_would_bring_follows_from_what_learned_images_are_rebuilt_better_by(standard):
    found, _ = standard
    x, releases = found.lab.pairs("learn")
    seen = float(mse(found.lab.made["refine"](releases), x))
    apart = found.expected["refine"]
    assert found.report["gain_from_twice_aux"] == pytest.approx(max(0, 1 - seen / apart) / 4, rel=1e-3)


def test_half_of_the_images_stay_where_they_are():
    torch.manual_seed(0)
    x = torch.rand(400, 1, 8, 8)
    same = (moved(x) == x).flatten(1).all(1).float().mean()
    assert 0.45 < same < 0.6
    flat = torch.full((8, 1, 8, 8), 0.7)
    assert torch.equal(moved(flat), flat)  # edges are repeated, nothing dark comes in


def test_muon_makes_updates_orthogonal():
    values = torch.linalg.svdvals(orthogonal(torch.randn(16, 40, generator=torch.Generator().manual_seed(0))))
    assert values.min() > 0.6 and values.max() < 1.3
    net = nn.Conv2d(3, 4, 3)
    muon = Muon(net, 0.1)
    muon.set_share(0.5)
    before = net.weight.detach().clone()
    net(torch.rand(2, 3, 8, 8)).square().mean().backward()
    muon.step()
    moves = torch.linalg.svdvals((net.weight.detach() - before).flatten(1))
    assert moves.min() > 0.03 and moves.max() < 0.07


def trained(path: Path, losses, floor: float = 1.0, length: Length | None = None) -> Trainee:
    """A trainee whose held-out error after `steps` is losses(steps)."""
    one = torch.ones(1, 1)
    trainee = Trainee("toy", path / "toy.pt", "key", lambda: nn.Linear(1, 1), lambda net: net(one).square().mean(),
                      lambda _: torch.tensor(losses(trainee.done)), floor)  # fmt: skip
    trainee.finish(length or Length(8, 96))
    return trainee


def test_a_training_ends_at_its_plateau_with_the_rate_decayed(tmp_path):
    flat = trained(tmp_path, lambda steps: max(0.5, 1 - steps / 32))
    assert flat.notes["settled"] and flat.notes["turn"] == 32 and flat.done == 48
    assert flat.muon.param_groups[0]["lr"] < 0.2 * plateau.RATE


@pytest.mark.parametrize("losses", [lambda steps: 1 / (1 + steps), lambda steps: 0.995], ids=["still falling", "mean"])
def test_what_still_falls_or_never_left_the_mean_image_has_not_settled(tmp_path, losses):
    trainee = trained(tmp_path, losses)
    assert not trainee.notes["settled"] and trainee.done <= 96


class Toy(members.Trained):
    """A member with an image of its own, and another one before its last stretch."""

    def __init__(self, now, before, gain=0.2):
        self.answer, self.early, self.report = now, before, {"gain": gain}

    def before(self):
        return self.early


def settling(place, x, passes: float):
    """A lab whose search lets the share `passes` of the decoder's error through, or none of it."""
    worse = (0.5 - x).sign()  # towards grey
    place.made = {
        "decoder": lab.Once(Toy(lambda r: (x + 0.1 * worse)[: len(r)], lambda r: (x + 0.2 * worse)[: len(r)]))
    }
    found = lambda r: x[: len(r)] + (place.made["decoder"](r) - x[: len(r)]) * passes + 0.01 * worse[: len(r)]  # noqa: E731
    found.report = {"gain": 0.01}
    place.made["search"] = found
    return place


def test_a_suite_has_converged_by_what_twice_the_effort_would_bring_to_its_answer(world, tmp_path):
    place = lab_of(world, tmp_path / "key")
    x, releases = place.pairs("held")
    nothing = settled.gains(settling(place, x, 0.0), "search")
    assert nothing == {"decoder": 0.0, "search": 0.01}
    some = settled.gains(settling(place, x, 0.05), "search")  # errors .015 and .02 where the decoder's are .1 and .2
    assert some["decoder"] == pytest.approx(0.2 * math.log(0.02 / 0.015) / math.log(2), rel=1e-3)
    assert torch.equal(place.made["decoder"](releases), x + 0.1 * (0.5 - x).sign())  # as it was
    assert settled.gains(place, "decoder")["decoder"] == pytest.approx(0.2)
    assert settled.gains(place, "gallery") == {"decoder": 0.2, "search": 0.01}  # it may be overtaken
    place.made["search"].report["gain"] = 1.0  # no longer search was tried
    assert settled.gains(place, "search")["decoder"] == 0.2


def test_a_member_remembers_what_it_was_before_its_rate_fell(tmp_path):
    trainee = trained(tmp_path, lambda steps: max(0.5, 1 - steps / 32))
    kept = trainee.before().weight
    again = trained(tmp_path, lambda steps: max(0.5, 1 - steps / 32))  # finished before
    assert torch.equal(again.before().weight, kept) and not torch.equal(kept, trainee.average.weight)


def test_a_row_names_the_suite_and_lists_its_members(tmp_path):
    row = execute(tiny("attack=[autoinvert]", "defense=[noise]", decoder=False), Store(tmp_path))
    members = {key.split("/")[1] for key in row if key.startswith("suite/")}
    kept = load_tensors(next(tmp_path.glob("attack/*/reconstructions.safetensors")))
    assert kept["image"].dtype == torch.float32 and f"image/{row['attack/autoinvert/answer']}" not in kept
    assert all(images.dtype == torch.float16 for name, images in kept.items() if name != "image")
    assert not [path for name in ("batch", "pool") for path in tmp_path.rglob(f"{name}*.pt")]
    assert row["suite"] == autoinvert.SUITE and {"mean", "decoder", "refine", "search"} <= members
    assert row["privacy/suite/mse"] == row["privacy/autoinvert/mse"]
    assert row["privacy/suite/mse"] == row[f"suite/{row['attack/autoinvert/answer']}/mse"]
    assert row["privacy/worst/mse"] <= min(row[f"suite/{name}/mse"] for name in members)
    assert row["privacy/worst/mse"] < row["privacy/suite/mse"]  # an oracle chooses per image
    assert not {"alone", "adaptive"} & {flag["kind"] for flag in row["flags"]}


def test_a_row_whose_victims_are_unlike_aux_says_so_and_has_a_suite_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(autoinvert, "MISLED", -1.0)  # all are
    monkeypatch.setattr(search, "ALONE", 4)
    row = execute(tiny("attack=[autoinvert]", "defense=[noise]", decoder=False), Store(tmp_path))
    assert row["suite"] == f"{autoinvert.SUITE} unaided" and row["attack/autoinvert/answer"] == "unaided"
    assert row["suite/unaided/mse"] == row["privacy/suite/mse"]


def test_members_and_their_numbers_are_those_of_the_suite_s_name(standard):
    """As those of other suites are where these are made."""
    frozen(suite(), errors_of(*standard))


def test_the_tier_that_is_cut_short_is_as_frozen(world, tmp_path):
    frozen(suite(tier="quick"), errors_of(*fitted(world, tmp_path / "key", tier="quick")))


@pytest.mark.parametrize("change", ["settings", "numbers"])
def test_no_change_passes_under_an_old_name(monkeypatch, tmp_path, standard, change):
    numbers = errors_of(*standard)
    record = json.loads(RECORD.read_text())
    record[autoinvert.SUITE] |= {"settings": AS_SHIPPED["standard"], "numbers": {arithmetic(): numbers}}
    (tmp_path / "record.json").write_text(json.dumps(record))
    monkeypatch.setattr(f"{__name__}.RECORD", tmp_path / "record.json")
    frozen(suite(), numbers)
    if change == "settings":
        monkeypatch.setitem(AS_SHIPPED, "standard", AS_SHIPPED["quick"])
    else:
        numbers["search"] *= 1.001
    with pytest.raises(AssertionError):
        frozen(suite(), numbers)


def test_suites_that_are_not_equal_have_names_of_their_own():
    names = [AutoInvert(tier=tier, knowledge=knows, queries=1).suite  # type: ignore[arg-type]
             for tier in autoinvert.TIERS for knows in ("white", "black")]  # fmt: skip
    assert len(set(names)) == 6 and autoinvert.SUITE in names and f"{autoinvert.SUITE} quick black" in names


def test_repeated_queries_are_another_attack_on_the_same_target():
    words = "attack=[autoinvert]", "protocol.queries"
    once, often = (prepare(tiny(words[0], f"{words[1]}={count}", decoder=False)) for count in (1, 16))
    assert once.plan.fits == often.plan.fits and once.plan.utility == often.plan.utility
    assert once.plan.attacks["autoinvert"] != often.plan.attacks["autoinvert"]
    assert often.parts.attacks["autoinvert"].draws == 16
