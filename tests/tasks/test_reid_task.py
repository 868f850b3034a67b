"""The task of PATROL: what it learns from, what it is judged by, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small import DECODER, SMALL, execute
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from splitpriv import config
from splitpriv.data.base import Split
from splitpriv.defenses.base import Defended
from splitpriv.nets.reid import BNNeck, GeM, resnet18_reid, tiny_reid
from splitpriv.nets.split import SplitNet
from splitpriv.run.fit import Job, SplitFit
from splitpriv.run.parts import assemble, make_model
from splitpriv.run.prepare import check
from splitpriv.stats.ranking import ranking
from splitpriv.stats.triplets import batch_hard
from splitpriv.store import Store
from splitpriv.tasks.reid import ReID
from splitpriv.types import Phase, Spec, Step, UserError

SPEC = Spec((3, 8, 8), 6, {"identity": 6, "camera": 2, "gallery": 2})
SETTINGS: dict[str, Any] = {"smoothing": 0.1, "triplet": 1.0, "margin": 0.3, "instances": 4}
RUN = (
    "dataset=identities", "dataset.train_identities=16", "dataset.test_identities=6", "dataset.cameras=3",
    "dataset.shots=3", "backbone=tiny_reid", "task=reid", "protocol.attacked=null",
)  # fmt: skip


def model(at: int | str = 1, width: int = 4, seed: int = 0) -> Defended:
    torch.manual_seed(seed)
    net = SplitNet(tiny_reid(SPEC, width=width, last_stride=1, pooling="mean"), SPEC, at=at, bottleneck=None)
    return Defended(net, {}, SPEC)


def step(count: int = 12) -> Step:
    y = torch.arange(count) // 4
    return Step(torch.rand(count, 3, 8, 8), y, {"identity": y}, nn.Identity(), "fit", 0, 0.0, 0.1)


def people(identities: int, cameras: int = 2, shots: int = 2, noise: float = 0.05) -> Split:
    """Images of one colour each, with noise; whole colours differ between identities alone."""
    dice = torch.Generator().manual_seed(0)
    who, where, turn = torch.cartesian_prod(*map(torch.arange, (identities, cameras, shots))).T
    colours = torch.rand(identities, 3, 1, 1, generator=dice)[who]
    x = (colours + noise * torch.randn(len(who), 3, 8, 8, generator=dice)).clamp(0, 1)
    return Split(x, who, torch.arange(len(who)), {"identity": who, "camera": where, "gallery": (turn > 0).long()})


def test_the_loss_is_ce_after_the_neck_and_the_triplet_before_it() -> None:
    target, at = model().train(), step()
    for margin in (0.3, None):
        found, right = ReID(**{**SETTINGS, "triplet": 0.5, "margin": margin}).terms(target, target.release(at.x), at)
        features = target.net.cloud[:-1](target.release(at.x))
        logits = target.net.cloud[-1](features)
        assert set(found) == {"task", "triplet"}
        torch.testing.assert_close(found["task"], F.cross_entropy(logits, at.y, label_smoothing=0.1))
        torch.testing.assert_close(found["triplet"], 0.5 * batch_hard(features, features, at.y, margin))
        assert torch.equal(right, logits.argmax(1) == at.y)
    assert set(ReID(**{**SETTINGS, "triplet": 0.0}).terms(target, target.release(at.x), at)[0]) == {"task"}


def test_the_gradient_of_the_triplet_reaches_the_edge_and_not_the_neck() -> None:
    target, at = model().train(), step()
    found, _ = ReID(**SETTINGS).terms(target, target.release(at.x), at)
    found["triplet"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in target.net.edge.parameters())
    assert all(p.grad is None for p in target.net.cloud[-1].parameters())


def test_utility_ranks_the_victims_queries_in_their_gallery_by_the_neck() -> None:
    target, task, victims = model().eval(), ReID(**SETTINGS), people(6, noise=0.3)
    neck: Any = target.net.cloud[-1]
    neck.neck.running_mean.normal_()
    neck.neck.weight.data.uniform_(0, 2)
    found = task.utility(target, {"victims": victims, "val": victims}, draws=1, batch=5)
    with torch.no_grad():
        z = neck.neck(target.net.cloud[:-1](target.release(victims.x(slice(None)))))
    asks = victims.attributes["gallery"] == 0
    sides = [(t[asks], t[~asks]) for t in (z, victims.y, victims.attributes["camera"])]
    expected = ranking(*sides[0], *sides[1], *sides[2], same=False)
    assert found["map"] == pytest.approx(float(expected["ap"].mean()))
    assert found["rank1"] == pytest.approx(float(expected["rank1"].mean()))
    assert found["rank5"] == pytest.approx(float(expected["rank5"].mean()))
    assert found["accuracy"] == pytest.approx(float((neck.fc(z).argmax(1) == victims.y).float().mean()))
    assert 0.2 < found["map"] < 1
    splits = {"victims": victims, "val": victims}
    floor = task.chance(splits)
    assert floor.keys() <= found.keys() and floor["accuracy"] == floor["balanced_accuracy"] == pytest.approx(1 / 6)
    assert 0 < floor["map"] < found["map"] and task.tested(splits) == int(asks.sum()) and not task.gaps(splits, SPEC)
    assert task.utility(target, {"victims": victims, "val": victims}, draws=3, batch=50) == pytest.approx(found)


def test_matches_on_the_query_s_own_camera_do_not_count() -> None:
    target, task, victims = model().eval(), ReID(**SETTINGS), people(6, noise=0.0)
    assert task.utility(target, {"victims": victims, "val": victims}, draws=1, batch=50)["map"] == pytest.approx(1)
    where = victims.attributes["camera"]
    where.zero_()
    with pytest.raises(
        UserError, match="no query has its identity in the gallery on another camera; take more victims"
    ):
        task.utility(target, {"victims": victims, "val": victims}, draws=1, batch=50)


def test_it_learns_to_tell_new_identities_apart() -> None:
    def learn(**changed: Any) -> float:
        target, task, train = model(width=8), ReID(**{**SETTINGS, **changed}), people(6, cameras=3, shots=3, noise=0.4)
        optimizer = torch.optim.Adam(target.parameters(), lr=0.01)
        target.train()
        for _ in range(12):
            for index in task.batches(train, 24):
                at = Step(train.x(index), train.y[index], {}, nn.Identity(), "fit", 0, 0.0, 0.1)
                found, _ = task.terms(target, target.release(at.x), at)
                optimizer.zero_grad()
                torch.stack(list(found.values())).sum().backward()
                optimizer.step()
        return task.utility(target, {"victims": new, "val": train}, draws=1, batch=99)["map"]

    new = people(12, cameras=3, shots=2, noise=0.4)
    start = ReID(**SETTINGS).utility(model(width=8), {"victims": new, "val": new}, draws=1, batch=99)["map"]
    assert learn() > start + 0.1


def test_batches_hold_p_identities_with_k_images() -> None:
    index = ReID(**SETTINGS).batches(people(6), 16)
    assert index.shape == (24 // 16, 16)
    groups = people(6).y[index].view(-1, 4, 4)
    assert (groups == groups[..., :1]).all()
    assert all(len(set(row.tolist())) == 4 for row in groups[..., 0])
    with pytest.raises(UserError, match=r"^task\.instances: a batch of 6 images"):
        ReID(**SETTINGS).batches(people(6), 6)
    with pytest.raises(UserError, match=r"^\.instances: 1 leaves the triplet loss no pair"):
        ReID(**{**SETTINGS, "instances": 1})


def test_a_step_makes_no_host_read() -> None:
    cfg = config.compose([*RUN, "optim.batch=16", "protocol.limit.train=64"])
    parts = assemble(cfg)
    with FakeTensorMode():
        target = make_model(cfg, parts.dataset)
        zeros = torch.zeros(32, dtype=torch.long)
        kinds = dict.fromkeys(parts.dataset.spec.attributes, zeros)
        split = Split(torch.rand(32, 3, 32, 32), zeros, torch.arange(32), kinds)
        module = SplitFit(target, Job("key", Phase("fit"), parts.optim, parts.dataset, parts.task, split, split))
        module.order = module.batches()
        assert module.order.shape == (2, 16)
        module.step(module.order[0], 0.0)
    assert {"task", "triplet"} <= set(module.sums)


def test_a_run_shows_map_and_cmc(tmp_path: Any) -> None:
    small = [o for o in (*SMALL, *DECODER) if not o.startswith("dataset")]
    cfg = config.compose([*small, *RUN, "optim.batch=32", "protocol.limit.train=null", "protocol.limit.victims=null"])
    row = execute(cfg, Store(tmp_path))
    assert {"utility/map", "utility/rank1", "utility/rank5", "utility/accuracy"} <= row.keys()
    assert 0 < row["utility/map"] <= 1
    assert {"task", "triplet", "accuracy/val"} <= row["trajectory"][0].keys()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["dataset=fashion_tint"], "dataset: has no identity, camera, gallery; task=reid needs dataset=identities"),
        (["backbone=tiny"], "backbone: task=reid needs a BNNeck; use backbone=tiny_reid or resnet18_reid"),
        (["task.instances=1"], "task.instances: 1 leaves"),
        (["task.margin=0"], "task.margin"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_read(overrides: list[str], said: str) -> None:
    names = {o.split("=")[0] for o in overrides}
    kept = [o for o in RUN if not any(o.startswith((f"{n}=", f"{n}.")) for n in names if "." not in n)]
    problems = check(config.compose([*kept, *overrides]))
    assert any(said in problem for problem in problems), problems


# ---- networks ------------------------------------------------------------------------------------------------------


def test_the_neck_has_no_offset_and_its_layer_none_either() -> None:
    neck = BNNeck(5, 3)
    assert {name for name, _ in neck.named_parameters()} == {"neck.weight", "fc.weight"}
    features = 3 + 2 * torch.randn(64, 5)
    embedded: Tensor = neck.train().embed(features)
    torch.testing.assert_close(embedded.mean(0), torch.zeros(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(embedded.std(0, correction=0), torch.ones(5), atol=1e-3, rtol=0)
    torch.testing.assert_close(neck(features), embedded @ neck.fc.weight.T)
    again = BNNeck(5, 3)
    again.load_state_dict(neck.state_dict())


@pytest.mark.parametrize("stride", [1, 2])
def test_the_last_stride_keeps_or_halves_the_last_maps(stride: Any) -> None:
    spec = Spec((3, 64, 32), 7)
    with torch.device("meta"), torch.no_grad():
        for make, settings in ((resnet18_reid, {"weights": "none"}), (tiny_reid, {"width": 4})):
            backbone = make(spec, last_stride=stride, pooling="mean", **settings).eval()
            maps = SplitNet(backbone, spec, at=len(backbone) - 2, bottleneck=None).edge(torch.rand(2, 3, 64, 32))
            before = 4 if make is resnet18_reid else 16
            assert maps.shape[2:] == (before // stride, before // stride // 2)
            features = SplitNet(backbone, spec, at="pool", bottleneck=None).edge(torch.rand(2, 3, 64, 32))
            assert features.shape == (2, maps.shape[1])


def test_gem_is_the_mean_at_one_and_nears_the_maximum() -> None:
    z, pool = torch.rand(2, 3, 4, 4), GeM()
    torch.testing.assert_close(pool(z), z.pow(3).mean((2, 3)).pow(1 / 3))
    pool.p.data.fill_(1.0)
    torch.testing.assert_close(pool(z), z.mean((2, 3)))
    pool.p.data.fill_(60.0)
    torch.testing.assert_close(pool(z), z.amax((2, 3)), rtol=0.06, atol=0)
