"""Exported halves are the model: to rounding where nothing is drawn, in law and afresh where something is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from splitpriv.commands import cli
from splitpriv.defenses.base import Defended
from splitpriv.defenses.parts.deployed import Cloud, Edge
from splitpriv.deploy import export, formats, graph
from splitpriv.run import reopen
from splitpriv.run.context import Run
from splitpriv.store import Row, Store
from splitpriv.types import UserError

Shelf = tuple[Store, Row]


@pytest.fixture(scope="module")
def model(shelf: Shelf) -> Defended:
    prepared = reopen.reopened(shelf[1], shelf[0])
    return Run(prepared, shelf[0], torch.device("cpu")).model


@pytest.fixture(scope="module")
def exported(model: Defended, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In torch's format, without the measurement of latency, which takes a process."""
    out = tmp_path_factory.mktemp("exported") / "torch"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "probe", lambda *_: {})
        export.export(model, "torch", out, {"key": "k"})
    return out


def test_the_halves_are_the_model(exported: Path, model: Defended) -> None:
    facts = json.loads((exported / "export.json").read_text())
    assert facts["edge"]["random"] and not facts["cloud"]["random"] and facts["cloud"]["apart"] <= 1e-5
    x = torch.rand(5, *model.spec.image)
    edge, cloud = formats.read(exported / "edge.pt2"), formats.read(exported / "cloud.pt2")
    first, second = edge(x.numpy()), edge(x.numpy())
    assert not np.array_equal(first, second)
    assert (first - model.features(x).numpy()).std() == pytest.approx(0.3, rel=0.2)
    np.testing.assert_allclose(cloud(first), model.classify(torch.from_numpy(first)).numpy(), atol=1e-5)
    assert cloud(first[:1]).shape == (1, 2)  # any number of images


def test_only_what_the_device_needs_leaves(model: Defended) -> None:
    """No adversary, no statistics of training images, no cloud."""
    edge = Edge(model)
    edge.model.register_buffer("centres", torch.ones(3))
    program, _ = graph.traced(edge, model.spec.image, None, "edge")
    names = set(program.state_dict)
    assert "model.centres" not in names and not any("cloud" in name for name in names)
    assert {f"model.net.edge.{name}" for name, _ in model.net.edge.named_parameters()} <= names
    assert not any("edge" in name for name in Cloud(model).state_dict())


class Step(nn.Module):
    """A half that can be made to differ."""

    def __init__(self, by: float = 0.0, noise: float = 0.0) -> None:
        super().__init__()
        self.by, self.noise = by, noise

    def forward(self, x: Tensor) -> Tensor:
        return x + self.by + self.noise * torch.randn_like(x)


def as_run(half: nn.Module) -> formats.Run:
    return lambda x: half(torch.from_numpy(x)).numpy()


def test_what_is_not_the_model_is_found() -> None:
    x = torch.rand(4, 3, 8, 8)
    assert export.compare(Step(), as_run(Step(5e-6)), x, False, "it")["apart"] > 0
    with pytest.raises(UserError, match="differs from the model by"):
        export.compare(Step(), as_run(Step(1e-3)), x, False, "it")
    assert export.compare(Step(noise=0.1), as_run(Step(noise=0.1)), x, True, "it")["errors"] < 6
    with pytest.raises(UserError, match="standard errors"):
        export.compare(Step(noise=0.1), as_run(Step(noise=0.2)), x, True, "it")
    with pytest.raises(UserError, match="standard errors"):
        export.compare(Step(noise=0.1), as_run(Step(0.1, noise=0.1)), x, True, "it")
    frozen = torch.randn(256, 3, 8, 8) * 0.1
    with pytest.raises(UserError, match="same noise again"):
        export.compare(Step(noise=0.1), lambda v: v + frozen[: len(v)].numpy(), x, True, "it")


def test_what_a_half_cannot_be_traced_by_is_said() -> None:
    class Moody(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(UserError, match="the edge cannot be traced"):
        graph.traced(Moody(), (1, 4, 4), None, "edge")

    class Whole(nn.Module):  # what it does depends on how many images there are
        def forward(self, x: Tensor) -> Tensor:
            return x.reshape(1, -1).topk(max(1, int(0.5 * x.shape[0] * 16))).values

    assert graph.traced(Whole(), (1, 4, 4), None, "edge")[1] is False


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nokey", "--format", "torch"], "key: no run in .* has a key that begins with 'nokey'"),
        (["KEY", "--format", "tflite"], "export --format: there is no 'tflite'"),
        (["KEY", "--format", "onnx"], "needs onnxscript, not installed here; pip install 'splitpriv\\[onnx]'"),
        (["KEY", "--format", "torch", "--out", "FULL"], "--out .*: is not empty"),
    ],
)
def test_bad_input_is_one_line(words: list[str], told: str, shelf: Shelf, tmp_path: Path, capsys: Any,
                               monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(formats, "find_spec", lambda name: None if name == "onnxscript" else True)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    named = {"KEY": shelf[1]["key"], "FULL": str(tmp_path / "full")}
    assert cli.main(["export", *(named.get(w, w) for w in words), f"paths.outputs={shelf[0].root}"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert re.search(told, said[0])


class Company(nn.Module):
    """What one image gives depends on those beside it, as where the largest values of a whole batch are kept."""

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(1, -1)
        kept = flat.topk(max(1, int(0.5 * flat.shape[1])), dim=1).values.amin()
        return torch.where(x >= kept, x, 0.0)


def test_a_half_that_fixes_its_batch_is_compared_image_by_image() -> None:
    torch.manual_seed(0)
    x = torch.rand(4, 1, 4, 4) * torch.arange(1, 5).view(-1, 1, 1, 1)
    single = export.Single(Company())
    assert not torch.equal(single(x), Company()(x))
    run = export._one_by_one(as_run(Company()))
    assert export.compare(single, run, x, False, "it") == {"apart": 0.0, "jumps": 0.0}


def test_a_model_in_another_precision_is_refused(model: Defended, tmp_path: Path,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(model, "precision", "bf16")
    with pytest.raises(UserError, match=r"runtime\.precision: the model computes in bf16"):
        export.export(model, "torch", tmp_path / "out", {})
    assert not list(tmp_path.iterdir())


DEFENSES = Path(__file__).parents[1] / "defenses"
LACKS = {  # defences with an operation that a format, or its runtime, does not have
    "torch": (), "onnx": ("disco", "disco_official", "sparse_coding"),
    "executorch": ("disco", "disco_official", "mixup", "two_servers", "random_projection", "patch_permutation",
                   "token_drop", "token_shuffle"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("form", ["torch", "onnx", "executorch"])
def test_every_defence_exports_or_says_why_not(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained on a tiny network, written, and read again in its own runtime; `export` compares it with the model."""
    monkeypatch.syspath_prepend(str(DEFENSES))
    from test_defense_configs import NAMES, alone, trained

    monkeypatch.setattr(export, "probe", lambda *_: {})
    refused = {}
    for name in NAMES:
        try:
            facts = export.export(trained(alone(name)).model.eval(), form, tmp_path / name, {})
            if name in ("noise", "laplace", "ldp", "dropout", "cloak", "vib"):
                assert facts["edge"]["random"], name
        except UserError as error:
            (refused[name],) = error.problems
    assert refused.keys() == {"adversarial_noise", *LACKS[form]}  # to release it differentiates, which no format holds


@pytest.mark.slow
@pytest.mark.parametrize("form", ["torch", "onnx", "executorch"])
def test_the_command_exports_and_measures(form: str, shelf: Shelf, tmp_path: Path, capsys: Any) -> None:
    """Latency, size and memory come from a process that holds nothing but the file and its runtime."""
    words = ["export", shelf[1]["key"], "--format", form, "--out", str(tmp_path / "out")]
    assert cli.main([*words, f"paths.outputs={shelf[0].root}"]) == 0
    facts = export.read_facts(tmp_path / "out")
    x = np.full((1, *facts["edge"]["input"]), 0.5, np.float32)
    first, second = (formats.read(tmp_path / "out" / facts["edge"]["file"])(x) for _ in range(2))
    assert not np.array_equal(first, second)  # two sessions of a process do not draw the same
    assert facts["edge"]["latency_ms"] > 0 and facts["edge"]["peak_bytes"] >= 0 and facts["edge"]["bytes"] > 1000
    assert "drawn as the model draws" in capsys.readouterr().out


def test_a_refusal_names_the_operation_that_a_format_lacks() -> None:
    told = "Next steps:\nNo ONNX function found for <OpOverload(op='aten.randperm', overload='default')>.\n(above)"
    assert formats._operation(RuntimeError(told)) == "aten.randperm"
    assert formats._operation(RuntimeError("first\n the shape \n\n")) == "the shape" and formats._operation(KeyError())
