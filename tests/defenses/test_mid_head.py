"""The bottleneck at the last layers: the head it makes, when its penalty is asked, and what stays as it was."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from small import execute, tiny
from torch import Tensor, nn

from splitpriv import config, targets
from splitpriv.defenses.base import Defended
from splitpriv.defenses.mid import Head, Mid
from splitpriv.run.context import Run
from splitpriv.run.parts import make_model
from splitpriv.run.prepare import prepare
from splitpriv.stats.vib import kl_to_normal
from splitpriv.store import Store
from splitpriv.types import Phase, Spec, Step, UserError

SHIPPED: dict[str, Any] = {
    "beta": 0.5, "kl_reduction": "sum", "size": None, "shift": 5.0, "sample_at_test": True, "warmup": 0.0
}  # fmt: skip
SPEC = Spec((1, 4, 4), 3)


class Net(nn.Module):
    def __init__(self, last: nn.Module) -> None:
        super().__init__()
        self.edge = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1))
        self.cloud = nn.Sequential(nn.Flatten(), nn.Linear(32, 9), nn.Tanh(), nn.Sequential(nn.Identity(), last))


def defended(last: nn.Module | None = None, **settings: Any) -> tuple[Defended, Mid]:
    torch.manual_seed(0)
    mid = Mid(**{**SHIPPED, **settings})
    return Defended(Net(last or nn.Linear(9, 3)), {"mid": mid}, SPEC), mid  # type: ignore[arg-type]


def head(model: Defended) -> Head:
    return next(m for m in model.net.cloud.modules() if isinstance(m, Head))


def step(progress: float = 1.0) -> Step:
    return Step(torch.zeros(1), torch.zeros(1).long(), {}, nn.Identity(), "fit", 0, progress, 0.1)


def x(n: int = 8) -> Tensor:
    return torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(1))


@functools.cache
def dataset() -> Any:
    return targets.build(tiny()["dataset"], "dataset")()


def test_the_last_layer_becomes_a_code_of_half_its_inputs() -> None:
    model, mid = defended()
    made = head(model)
    assert made.code.encode.weight.shape == (8, 9)
    assert made.decode.weight.shape == (3, 4)
    assert mid.size == 4
    assert model(x()).shape == (8, 3)
    wide, mid = defended(size=7)
    assert head(wide).code.encode.weight.shape == (14, 9)
    assert mid.facts["size"] == 7


def test_names_are_stable_and_loading_is_strict() -> None:
    names = {f"net.cloud.head.fc.{k}" for k in
             ("code.encode.weight", "code.encode.bias", "decode.weight", "decode.bias")}  # fmt: skip
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = make_model(tiny("defense=[mid]"), dataset())
        state = model.state_dict()
        assert names <= state.keys()
        assert "net.cloud.head.fc.weight" not in state
        assert {k for k in state if k.startswith("chain.")} == {"chain.mid.information"}
        make_model(tiny("defense=[mid]"), dataset()).load_state_dict(state)


def test_all_but_the_head_starts_as_without_it_and_no_random_number_is_used() -> None:
    found = []
    for chain in ("none", "mid"):
        torch.manual_seed(3)
        model = make_model(tiny(f"defense=[{chain}]"), dataset())
        found.append(({k: v for k, v in model.net.state_dict().items() if "head" not in k}, torch.rand(3)))
    (plain, after), (mid, after_mid) = found
    assert torch.equal(after, after_mid)
    assert plain.keys() == mid.keys() and all(torch.equal(plain[k], mid[k]) for k in plain)
    torch.manual_seed(4)
    other = head(make_model(tiny("defense=[mid]"), dataset())).decode.weight
    torch.manual_seed(3)
    assert not torch.equal(head(make_model(tiny("defense=[mid]"), dataset())).decode.weight, other)


def test_the_release_is_untouched_and_the_answer_is_random_where_asked() -> None:
    for sample in (True, False):
        model, mid = defended(sample_at_test=sample, shift=0.0)
        assert torch.equal(model.eval().release(x()), model.net.edge(x()))
        assert torch.equal(model(x()), model(x())) == (not sample)
        assert not torch.equal(model.train()(x()), model(x()))
        assert mid.adaptive == ({"answers", "network"} if sample else {"network"})
    made, h = head(model), torch.rand(5, 9)
    assert torch.equal(made.eval()(h), made.decode(made.code.moments(h)[0]))


@pytest.mark.parametrize("answered", [True, False], ids=["after the answer", "before it"])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_the_penalty_is_beta_times_the_kl_of_this_step(answered: bool, reduction: str) -> None:
    model, mid = defended(kl_reduction=reduction)
    model.train()
    for scale in (1.0, 2.0):  # the second step must not see the first one's
        z = model.features(scale * x())
        if answered:
            model.classify(z)
        penalty = mid.penalty(z, step())
        grads = torch.autograd.grad(penalty, [*model.net.edge.parameters(), head(model).code.encode.weight])
        z = model.features(scale * x())
        kl = kl_to_normal(*head(model).code.moments(model.net.cloud[:-1](z)))
        want = 0.5 * kl.sum(1).mean() / (1 if reduction == "sum" else 4)
        assert penalty.item() == pytest.approx(want.item(), rel=1e-5)
        expected = torch.autograd.grad(want, [*model.net.edge.parameters(), head(model).code.encode.weight])
        assert all(torch.allclose(a, b, atol=1e-6) and b.abs().max() > 0 for a, b in zip(grads, expected, strict=True))
        if not answered:
            model.classify(z)
        mid.on_step_end(z, step())
        assert head(model).kl is None


def test_an_answer_outside_training_leaves_nothing_behind() -> None:
    model, mid = defended()
    model.eval()(x())
    assert head(model).kl is None
    assert torch.isfinite(mid.penalty(model.features(x()), step()))
    assert head(model).kl is None and not head(model).watched
    model.train()(x())
    mid.on_phase_start(Phase("fit"), model)
    assert head(model).kl is None


def test_beta_rises_over_the_warm_up() -> None:
    model, mid = defended(warmup=0.2)
    z = model.features(x())
    whole = mid.penalty(z, step(1.0)).item()
    assert [mid.penalty(z, step(p)).item() / whole for p in (0.0, 0.1, 0.2)] == pytest.approx([0, 0.5, 1])


def test_a_cloud_without_a_last_linear_layer_is_refused() -> None:
    with pytest.raises(UserError, match=r"^defense\.mid: .*ends in Sigmoid"):
        defended(nn.Sequential(nn.Linear(9, 3), nn.Sigmoid()))


@pytest.mark.parametrize("backbone", ["tiny", "lenet5", "resnet20", "vgg11", "mobilenet_v2", "vit_b_16"])
def test_it_finds_the_head_of_every_kind_of_backbone(backbone: str) -> None:
    cfg = config.compose(["dataset=fashion_tint", f"backbone={backbone}", "defense=[mid]"])
    with torch.device("meta"):
        model = make_model(cfg, targets.build(cfg["dataset"], "dataset")())
        assert head(model).decode.out_features == 10


def test_only_an_attack_on_answers_must_average_them(tmp_path: Path) -> None:
    quick = [f"attack.{name}.{key}" for name in ("label_inversion", "label_inversion_avg")
             for key in ("epochs=1", "net.width=8", "net.widest=8")]  # fmt: skip
    for attacks, flagged in (
        ("decoder", False), ("decoder,label_inversion", True), ("decoder,label_inversion,label_inversion_avg", False)
    ):  # fmt: skip
        words = [w for w in quick if w.split(".")[1] in attacks.split(",")]
        row = execute(tiny("defense=[mid]", f"attack=[{attacks}]", *words), Store(tmp_path))
        said = [flag["text"] for flag in row["flags"] if flag["kind"] == "adaptive"]
        want = ["non-adaptive: mid needs an attack that knows how to average repeated answers (draws > 1)"]
        assert said == want * flagged


def test_averaged_answers_of_it_tell_more_and_its_releases_do_not(tmp_path: Path) -> None:
    cfg = tiny("defense=[mid]", "attack=[decoder,label_inversion]", "defense.mid.shift=0.0")
    run = Run(prepare(cfg), Store(tmp_path), torch.device("cpu"))
    release, answers = (run.access(run.parts.attacks[name]).intercept for name in ("decoder", "label_inversion"))
    assert torch.allclose(release(1), release(8), atol=1e-6)
    exact = answers(400)
    assert (answers(16) - exact).std() < 0.5 * (answers(1) - exact).std()


def test_a_run_trains_it_and_says_its_facts(tmp_path: Path) -> None:
    off, on = (
        execute(tiny("defense=[mid]", f"defense.mid.beta={b}", "optim.epochs=6"), Store(tmp_path)) for b in (0.0, 1.0)
    )
    assert on["defense/mid/beta_of_mean"] == on["defense/mid/size"] == 8
    assert on["defense/mid/information_nats"] < 0.5 * off["defense/mid/information_nats"]
    assert all(note["penalty/mid"] > 0 for note in on["trajectory"])
    assert on["cost/edge_parameters"] == off["cost/edge_parameters"]
