"""What can be known beforehand is refused by `check`, with the key that is at fault."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small import changed, tiny

from splitpriv.commands import cli
from splitpriv.measure.measure import SMALLEST
from splitpriv.run import limits
from splitpriv.run.limits import finite
from splitpriv.run.parts import assemble, make_model
from splitpriv.run.prepare import check
from splitpriv.targets import build
from splitpriv.types import Phase, UserError

WRONG = [
    ("optim.optimizer.lr", float("nan"), "is nan"),
    ("optim.optimizer.lr", 0.0, "teaches nothing"),
    ("optim.optimizer.lr", 1e9, "at most 100"),
    ("optim.optimizer.weight_decay", 1e30, "beyond any use"),
    ("optim.optimizer.momentum", float("nan"), "is nan"),
    ("optim.optimizer.betas", [0.9, float("inf")], "is inf"),
    ("optim.optimizer", {"_target_": "torch.optim.LBFGS", "lr": 0.1}, "closure"),
    ("optim.schedule.T_max", 0, "at least 1"),
    ("attack.decoder.lr", 1e9, "at most 100"),
    ("runtime.threads", 10**6, "1024"),
    ("seed", 2**64, "2^53"),
    ("attack_seed", 2**53, "2^53"),
    ("dataset.seed", 2**31, "below 2^31"),
    ("dataset.crop", 9, "images of 8"),
    ("dataset.size", 5000, "at most 32"),
    ("backbone.width", 10**6, "GiB"),
    (
        "attack.decoder.net",
        {"_target_": "splitpriv.nets.decoders.residual", "blocks": 2, "width": 10**6},
        "net.width: makes",
    ),
    ("protocol.slices", {}, "lacks train"),
    ("attack.x", {"_target_": "splitpriv.commands.cli.main"}, "makes no Attack"),
    ("defense.x", {"_target_": "splitpriv.attacks.rmle.Rmle"}, "makes no Defense"),
    ("dataset._target_", "splitpriv.nets.small.tiny", "makes no Dataset"),
    ("backbone._target_", "splitpriv.nets.decoders.conv", "makes no Backbone"),
    ("optim.optimizer._target_", "torch.optim.lr_scheduler.StepLR", "makes no Optimizer"),
    ("attack.decoder.net._target_", "splitpriv.run.runtime.Runtime", "makes no Module"),
    ("attack.decoder.loss", {"_target_": "splitpriv.nets.small.tiny"}, "plain value"),
    ("task._target_", "splitpriv.__main__.main", "public"),
    ("attack", [1], "list options by name"),
    ("split", None, "split=middle"),
]


@pytest.mark.parametrize(("key", "value", "said"), WRONG, ids=lambda v: str(v)[:40])
def test_check_names_the_key(key: str, value: object, said: str) -> None:
    problems = check(changed(tiny(), key, value))
    assert any(p.startswith(key.removesuffix("._target_")) and said in p for p in problems), problems


def test_a_batch_of_one_that_batchnorm_cannot_normalise() -> None:
    narrow = tiny("dataset.size=2", "split.at=1")
    [problem] = check(changed(narrow, "optim.batch", 1))
    assert problem.startswith("optim.batch: leaves a batch of one image")
    [problem] = check(changed(narrow, "protocol.limit.train", 1))
    assert problem.startswith("protocol.limit.train: ")
    assert check(narrow) == []
    model = make_model(narrow, assemble(narrow).dataset)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(UserError, match=r"^protocol\.slices\.train: "):  # known once the data are read
        limits.require_normal(model.net, model.spec.image, 1, "protocol.slices.train")
    assert all(v.equal(before[k]) for k, v in model.state_dict().items())


def test_a_defence_that_a_training_would_leave_idle() -> None:
    waits = {"knn_entropy": (3, 0, 0), "pan": (0, 2, 0), "cem": (0, 0, 1), "noise": (0, 0, 0)}
    links = {name: SimpleNamespace(alike=a, idle=i, waits=w) for name, (a, i, w) in waits.items()}
    model: Any = SimpleNamespace(defenses=links.items)
    limits.require_use(model, others=3.0, epochs=[2.5])
    with pytest.raises(UserError) as error:
        limits.require_use(model, others=0.15, epochs=[1, 1])  # cem's statistics outlast a phase
    assert [p.partition(":")[0] for p in error.value.problems] == ["optim.batch", "optim.epochs"]
    with pytest.raises(UserError, match="in which cem acts"):
        limits.require_use(model, others=3.0, epochs=[1])
    assert check(tiny("defense=[knn_entropy,noise]", "defense.knn_entropy.k=16"))[0].startswith(
        "optim.batch: holds 7.5"
    )
    assert check(tiny("defense=[cem,noise]", "optim.epochs=1"))[0].startswith("optim.epochs: 1 leave none in which cem")


def test_a_problem_of_a_whole_link_bears_its_name() -> None:
    [problem] = check(tiny("defense=[two_servers,hsic]"))
    assert problem.startswith("defense.two_servers: hsic comes after it")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("attack=[unshuffle]", "attack.unshuffle.patch=3"), "attack.unshuffle.patch: 3 does not divide z"),
        (("attack=[colluding_layers]", "attack.colluding_layers.layers=50"), "attack.colluding_layers.layers: 50, but"),
    ],
)
def test_an_attack_that_does_not_fit_the_network_is_refused_before_training(words: tuple[str, ...], said: str) -> None:
    assert [p for p in check(tiny(*words, decoder=False)) if p.startswith(said)]


def test_what_a_defence_keeps_fits_into_memory() -> None:
    for bank in (10**10, 2**53 - 1):  # the second one overflows before anything is counted
        [problem] = check(tiny("defense=[mixup]", f"defense.mixup.bank={bank}"))
        assert problem.startswith("defense.mixup.bank: ") and "\n" not in problem


@pytest.mark.parametrize("net", SMALLEST)
def test_lpips_has_a_smallest_image(net: str) -> None:
    import torchvision

    made = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}[net]
    with torch.device("meta"):
        layers = getattr(torchvision.models, made)().features
    layers = layers[: {"alex": 12, "vgg": 30, "squeeze": 13}[net]].eval()
    side = SMALLEST[net]  # type: ignore[index]
    assert layers(torch.empty(1, 3, side, side, device="meta")).numel()
    with pytest.raises(RuntimeError, match="too small"):
        layers(torch.empty(1, 3, side - 1, side - 1, device="meta"))


def test_lpips_on_small_images_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("splitpriv.measure.measure.lpips_weights", lambda net: tmp_path)
    [problem] = check(changed(tiny(), "measure.lpips", "alex"))
    assert problem.startswith("measure.lpips: alex has no answer on images of 8x8") and "31" in problem


def test_a_compiler_that_fails_is_told_before_anything_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(part: Any) -> Any:
        raise RuntimeError("\nomp.h: no such file\nand much more")

    monkeypatch.setattr(torch, "compile", fails)
    runtime = build(changed(tiny(), "runtime.compile", True)["runtime"], "runtime")()
    with pytest.raises(UserError, match=r"runtime\.compile: nothing can be compiled here \(omp\.h: no such file\)"):
        runtime.start()


def test_compile_asks_for_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = changed(tiny(), "runtime.compile", True)
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert [p.partition(";")[0] for p in check(compiled)] == [
        "runtime.compile: torch.compile needs a C++ compiler, and there is no no-such-compiler on PATH"
    ]
    monkeypatch.setenv("CXX", "sh")
    assert check(compiled) == []


@pytest.mark.parametrize("variable", ["SPLITPRIV_OUTPUTS", "SPLITPRIV_DATA"])
def test_an_empty_folder_is_none(
    variable: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(variable, "")
    assert cli.main(["check"]) == 2
    assert variable in capsys.readouterr().err
    assert not (Path.cwd() / "rows").exists() and os.environ[variable] == ""


def test_a_weight_that_is_no_number_is_found() -> None:
    net = torch.nn.BatchNorm1d(2)
    assert finite(net).item()
    net.running_mean[0] = float("nan")  # type: ignore[index]
    assert not finite(net).item()


def test_parts_are_what_their_place_asks_for() -> None:
    node = {"_target_": "splitpriv.data.gaussian.Gaussian"}
    with pytest.raises(UserError, match=r"^knowledge\._target_: .* makes no Knowledge"):
        build(node, "knowledge")
    with pytest.raises(UserError, match=r"^paths: takes no _target_"):
        build(node, "paths")


@pytest.mark.parametrize(
    ("phases", "said"),
    [
        ([Phase("fit", train=("edge", "could"))], "defense: phase 'fit' speaks of could; a phase trains"),  # type: ignore[arg-type]
        ([Phase("fit", frozen=("edge.none",))], "defense: phase 'fit' speaks of edge.none"),
        ([Phase("a"), Phase("b", train=("edge",))], "backbone: nothing learns in phase 'b', since all weights"),
    ],
)
def test_a_phase_in_which_nothing_learns(phases: list[Phase], said: str) -> None:
    cfg = tiny()
    model = make_model(cfg, build(cfg["dataset"], "dataset")())
    limits.require_learning(model, [Phase("a"), Phase("b", train=("edge",), frozen=("cloud",))])
    model.frozen = frozenset(name for name, _ in model.named_parameters() if name.startswith("net.edge"))
    with pytest.raises(UserError) as error:
        limits.require_learning(model, phases)
    assert str(error.value).startswith(said)
