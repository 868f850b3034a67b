"""The statistics of a release: what is reported, on what, and what is left out."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from splitpriv import config, metrics, targets
from splitpriv.data.base import Split
from splitpriv.defenses.base import Defended, Defense
from splitpriv.defenses.dropout import Dropout
from splitpriv.defenses.noise import Laplace, Noise
from splitpriv.measure.audit import Audit, first_noise
from splitpriv.stats import fisher, information
from splitpriv.types import Spec, UserError

SPEC = Spec((1, 4, 4), 2, {"side": 2}, entropy=1.0, fisher=400.0)
ALL: dict[str, Any] = {
    "samples": 40, "knn": True, "k": 3, "gaussian": True, "fairness": "side", "fisher": True, "probes": 4,
    "infonce": partial(information.InfoNCE, width=8, batch=16, steps=5, lr=0.01),
}  # fmt: skip
NOTHING = {**ALL, "knn": False, "gaussian": False, "infonce": None, "fairness": None, "fisher": False}
NOISE = {
    "information/gaussian_nats",
    "information/gaussian_error_nats",
    "bound/dfil",
    "bound/dfil_mse_unbiased",
    "bound/van_trees_mse",
}
OTHERS = {
    "information/samples", "information/knn_nats", "information/knn_own_nats", "information/knn_loss_percent",
    "information/infonce_nats", "information/infonce_cap_nats", "fairness/side/demographic_parity",
    "fairness/side/equalised_odds", "fairness/side/equal_opportunity",
}  # fmt: skip


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.edge, self.cloud = nn.Sequential(nn.Flatten(), nn.Linear(16, 4)), nn.Linear(4, 2)


class Shift(Defense):
    """Moves every feature; not noise."""

    def after_edge(self, z: Tensor) -> Tensor:
        return z + 5


class Masked(Defense):
    """Gaussian noise of one deviation per entry, the last entry replaced by a constant."""

    def __init__(self, std: tuple[float, ...] = (0.1, 0.2, 0.4, math.inf)) -> None:
        super().__init__()
        self.std = torch.tensor(std)

    @property
    def gaussian_std(self) -> Tensor:
        return self.std

    def after_edge(self, z: Tensor) -> Tensor:
        passes = self.std.isfinite()
        return torch.where(passes, z + self.std.where(passes, 0) * torch.randn_like(z), 0.7)


class Blur(Defense):
    def before_edge(self, x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=True).expand_as(x)


def model(*chain: Defense, spec: Spec = SPEC) -> Defended:
    torch.manual_seed(0)
    links = {f"d{i}": d for i, d in enumerate(chain)}
    return Defended(Net(), links, spec).eval().requires_grad_(False)  # type: ignore[arg-type]


def splits(victims: int = 60, train: int = 50) -> dict[str, Split]:
    found = {}
    for i, (name, count) in enumerate({"train": train, "victims": victims}.items()):
        g = torch.Generator().manual_seed(i)
        x = torch.rand(count, 1, 4, 4, generator=g)
        side = torch.randint(0, 2, (count,), generator=g)
        found[name] = Split(x, (x.mean((1, 2, 3)) > 0.5).long(), torch.arange(count) + 1000 * i, {"side": side})
    return found


def facts(target: Defended, **changes: Any) -> dict[str, float]:
    torch.manual_seed(1)
    return Audit(**{**ALL, **changes}).facts(target, splits(), target.spec)


# ---- what is reported ----------------------------------------------------------------------------------------------


def test_everything_is_there_and_finite() -> None:
    found = facts(model(Noise(sigma=0.1)))
    assert set(found) == NOISE | OTHERS and all(map(metrics.find, found))
    assert all(type(value) is float and math.isfinite(value) for value in found.values())
    assert found["information/samples"] == 40
    assert found["information/infonce_nats"] <= found["information/infonce_cap_nats"] == math.log(16)


@pytest.mark.parametrize(
    ("switch", "gone"),
    [
        ({"knn": False}, "information/knn"),
        ({"gaussian": False}, "information/gaussian"),
        ({"infonce": None}, "information/infonce"),
        ({"fairness": None}, "fairness/"),
        ({"fisher": False}, "bound/"),
    ],
)
def test_each_part_can_be_left_out(switch: dict[str, Any], gone: str) -> None:
    every, found = facts(model(Noise(sigma=0.1))), facts(model(Noise(sigma=0.1)), **switch)
    assert set(every) - set(found) == {name for name in every if name.startswith(gone)} != set()


def test_without_gaussian_noise_first_the_gaussian_values_are_left_out() -> None:
    masked, blurred = (Dropout(rate=0.5), Noise(sigma=0.1)), (Blur(), Noise(sigma=0.1))
    for chain in ((), (Noise(sigma=0.0),), (Laplace(scale=0.1),), masked, blurred):
        assert set(facts(model(*chain))) == OTHERS


# ---- the release that is audited -----------------------------------------------------------------------------------


def test_numbers_are_those_of_the_functions_on_fresh_releases() -> None:
    target, parts = model(Noise(sigma=0.1)), splits()
    found = facts(target)
    torch.manual_seed(1)
    x = parts["victims"].images[:40]
    loss = information.mi_loss(x, target.release(x), k=3)
    assert found["information/knn_nats"] == loss.nats
    assert found["information/knn_loss_percent"] == loss.percent
    z = target.features(x)
    assert found["information/gaussian_nats"] == pytest.approx(information.held_out_information(z, 0.1)[0])
    assert found["bound/dfil"] == pytest.approx(float(fisher.dfil(target.net.edge, x, 0.1, probes=4).mean()))
    assert found["bound/dfil_mse_unbiased"] == pytest.approx(1 / found["bound/dfil"])
    assert found["bound/van_trees_mse"] == pytest.approx(1 / (found["bound/dfil"] + 400 / 16))


def test_noise_is_fresh_and_comes_from_the_run_s_seed() -> None:
    target, quick = model(Noise(sigma=0.5)), {**NOTHING, "knn": True}
    first, again = facts(target, **quick), facts(target, **quick)
    assert first == again
    another = Audit(**quick).facts(target, splits(), SPEC)
    assert another["information/knn_nats"] != first["information/knn_nats"]
    assert another["information/knn_own_nats"] == first["information/knn_own_nats"]


def test_more_noise_says_less() -> None:
    names = ("information/knn_nats", "information/gaussian_nats", "bound/dfil")
    audit = Audit(**{**ALL, "samples": 500})
    little, much = (audit.facts(model(Noise(sigma=s)), splits(victims=500), SPEC) for s in (0.01, 1.0))
    assert all(much[name] < little[name] for name in names)
    assert much["bound/van_trees_mse"] > little["bound/van_trees_mse"]
    assert much["information/knn_loss_percent"] > little["information/knn_loss_percent"]


def test_what_follows_the_noise_changes_no_bound() -> None:
    alone = facts(model(Noise(sigma=0.1)))
    for rest in (Shift(), Dropout(rate=0.9), Laplace(scale=1.0)):
        found = facts(model(Noise(sigma=0.1), rest))
        assert {name: found[name] for name in NOISE} == {name: alone[name] for name in NOISE}
    assert facts(model(Noise(sigma=0.1), Laplace(scale=9.0)))["information/knn_nats"] < alone["information/knn_nats"]


def test_leading_noises_add_in_variance() -> None:
    both, one = facts(model(Noise(sigma=0.3), Noise(sigma=0.4))), facts(model(Noise(sigma=0.5)))
    assert {name: both[name] for name in NOISE} == pytest.approx({name: one[name] for name in NOISE})


def test_noise_of_one_deviation_per_entry_and_constants() -> None:
    target = model(Masked())
    found, x = facts(target), splits()["victims"].images[:40]
    std = torch.tensor([0.1, 0.2, 0.4])
    weight = target.net.edge[1].weight.detach()[:3]
    assert found["bound/dfil"] == pytest.approx(float((weight / std[:, None]).square().sum()) / 16, rel=1e-5)
    gain, _ = information.held_out_information(target.features(x)[:, :3], std)
    assert found["information/gaussian_nats"] == pytest.approx(gain, rel=1e-6)
    assert first_noise(model(Masked((0.1, 0.0, 0.1, 0.1)))) is None, "an entry without noise has no such bound"


def test_full_precision_whatever_the_run_s() -> None:
    half = model(Noise(sigma=0.1))
    half.precision = "bf16"
    found, full = facts(half), facts(model(Noise(sigma=0.1)))
    assert {name: found[name] for name in NOISE} == {name: full[name] for name in NOISE}
    assert found["information/knn_nats"] != full["information/knn_nats"], "the release itself is half"


def test_an_unknown_prior_is_named_as_an_assumption() -> None:
    spec = Spec((1, 4, 4), 2, {"side": 2})
    found = facts(model(Noise(sigma=0.1), spec=spec))
    assert "bound/van_trees_mse" not in found
    prior = fisher.gaussian_prior(splits()["train"].images[:40], 1 / (12 * 255**2))
    assert found["bound/van_trees_gaussian_prior_mse"] == pytest.approx(1 / (found["bound/dfil"] + prior / 16))


# ---- fairness, mistakes, modes -------------------------------------------------------------------------------------


def test_fairness_is_that_of_the_classifier_on_all_victims() -> None:
    target, victims = model(), splits()["victims"]
    cloud: Any = target.net.cloud
    middle = target.features(victims.images)[:, 0].median()
    cloud.weight.copy_(torch.tensor([[0.0, 0, 0, 0], [1, 0, 0, 0]]))
    cloud.bias.copy_(torch.stack([middle, torch.tensor(0.0)]))
    found = facts(target, **{**NOTHING, "fairness": "side"})
    right, side = target(victims.images).argmax(1) == victims.y, victims.attributes["side"]
    share = [[right[(side == s) & (victims.y == y)].double().mean() for s in (0, 1)] for y in (0, 1)]
    gaps = [abs(float(a - b)) for a, b in share]
    assert found["fairness/side/equalised_odds"] == pytest.approx(sum(gaps)) != 0
    assert found["fairness/side/equal_opportunity"] == pytest.approx(gaps[1])
    positive = [(target(victims.images).argmax(1) == 1)[side == s].double().mean() for s in (0, 1)]
    assert found["fairness/side/demographic_parity"] == pytest.approx(abs(float(positive[0] - positive[1]))) != 0
    moved = model(Shift())
    moved.net = target.net
    release = facts(moved, **{**NOTHING, "fairness": "side"})
    assert release["fairness/side/equalised_odds"] == 0, "all releases are on one side of the cloud's plane"
    cloud.bias.copy_(torch.tensor([9.0, 0.0]))
    blind = facts(target, **{**NOTHING, "fairness": "side"})
    assert [v for k, v in blind.items() if k.startswith("fairness/")] == [0.0, 0.0, 0.0]


def test_an_attribute_that_is_not_there_is_a_user_s_error() -> None:
    audit = Audit(**{**ALL, "fairness": "age"})
    with pytest.raises(UserError, match=r"^\.fairness: the data set has no attribute 'age' \(there are: side\)"):
        audit.validate(SPEC)
    with pytest.raises(UserError, match="none at all"):
        audit.facts(model(), splits(), Spec((1, 4, 4), 2))


def test_too_few_victims_are_a_user_s_error() -> None:
    with pytest.raises(UserError, match=r"^\.samples: 7 are too few for 3 neighbours"):
        Audit(**{**ALL, "samples": 7})
    with pytest.raises(UserError, match=r"^\.k: 7 victims are too few"):
        Audit(**ALL).facts(model(), splits(victims=7), SPEC)
    assert Audit(**{**ALL, "knn": False}).facts(model(), splits(victims=7), SPEC)


def test_the_model_is_left_as_it_was() -> None:
    target = model(Noise(sigma=0.1))
    target.train()
    facts(target)
    assert all(module.training for module in target.modules())
    assert all(p.grad is None and not p.requires_grad for p in target.parameters())


def test_the_yaml_builds() -> None:
    """The option's own node; that `measure=audit` composes is asserted with every other YAML."""
    from omegaconf import OmegaConf

    node: Any = OmegaConf.to_container(OmegaConf.load(config.CONF / "measure" / "audit.yaml"))
    assert node["defaults"] == ["default", "_self_"]
    problems: list[str] = []
    audit = targets.bind(node["audit"], "measure.audit", problems, "Audit")()
    assert isinstance(audit, Audit)
    assert isinstance(audit.infonce, information.InfoNCE)
    assert problems == []
    none = {**node["audit"], "infonce": {**node["audit"]["infonce"], "steps": 0}}
    targets.bind(none, "measure.audit", problems, "Audit")
    assert len(problems) == 1 and problems[0].startswith("measure.audit.infonce.steps: ")
