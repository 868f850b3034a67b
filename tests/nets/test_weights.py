"""Weights from files: their names and nests, all of them or the difference in one line, and no code run."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from splitpriv.nets import small, start, vgg, weights
from splitpriv.nets.split import SplitNet
from splitpriv.store.keys import fingerprint
from splitpriv.types import Spec, UserError
from tests.nets import toys


def net(classes: int = 4) -> nn.Module:
    return toys.Plain(classes)


def saved(seed: int = 1, classes: int = 4) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return {name: torch.randn(t.shape) if t.is_floating_point() else t for name, t in net(classes).state_dict().items()}


def wrapped(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def load(file: Path, *, replaces: bool = False, classes: int = 4, into: nn.Module | None = None) -> nn.Module:
    made = into or net(classes)
    weights.load(made, file, "your net", classes, replaces=replaces)
    return made


def refusal(file: Path, **how: Any) -> str:
    with pytest.raises(UserError) as error:
        load(file, **how)
    assert len(error.value.problems) == 1 and "\n" not in str(error.value)
    assert str(error.value).startswith("backbone.weights: ")
    return str(error.value)


FORMS: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "plain": lambda s: s,
    "wrapped": lambda s: wrapped("module.", s),
    "twice": lambda s: wrapped("model.module.", s),
    "nested": lambda s: {"epoch": 3, "optimizer": {"lr": 0.1}, "state_dict": wrapped("model.", s)},
    "deep": lambda s: {"model": {"state_dict": s}},
    "uncounted": lambda s: {name: t for name, t in s.items() if "num_batches" not in name},
}


@pytest.mark.parametrize("form", FORMS)
def test_weights_are_found_under_the_names_that_people_save_them_by(form: str, tmp_path: Path) -> None:
    state = saved()
    torch.save(FORMS[form](state), tmp_path / "w.pt")
    made = load(tmp_path / "w.pt").state_dict()
    assert all(torch.equal(made[name], tensor) for name, tensor in state.items())


def test_safetensors_are_read_and_a_network_on_meta_is_checked_alone(tmp_path: Path) -> None:
    state = saved()
    save_file(state, tmp_path / "w.safetensors")
    assert torch.equal(load(tmp_path / "w.safetensors").state_dict()["stem.0.weight"], state["stem.0.weight"])
    with torch.device("meta"):
        assert load(tmp_path / "w.safetensors").state_dict()["stem.0.weight"].is_meta


def test_what_a_wrapper_is_called_may_be_what_a_network_calls_its_part(tmp_path: Path) -> None:
    made = nn.ModuleDict({"model": net()})
    torch.save(made.state_dict(), tmp_path / "w.pt")
    load(tmp_path / "w.pt", into=made)


def test_densenets_as_torchvision_saved_them() -> None:
    own = ["features.denseblock1.denselayer1.norm1.weight", "features.denseblock1.denselayer1.conv2.weight"]
    old = {name.replace("norm1", "norm.1").replace("conv2", "conv.2"): torch.zeros(1) for name in own}
    assert sorted(weights.renamed(old, own)) == sorted(own)


def test_what_does_not_fit_is_told_apart(tmp_path: Path) -> None:
    state = saved()
    torch.save({**{k: v for k, v in state.items() if k not in ("stem.0.bias", "head.bias")}, "odd": torch.ones(1),
                "stem.0.weight": torch.ones(8, 3, 3, 3)}, tmp_path / "w.pt")  # fmt: skip
    told = refusal(tmp_path / "w.pt")
    assert "does not fit your net: 2 missing (stem.0.bias, head.bias), 1 unexpected (odd), 1 of another shape" in told
    assert "stem.0.weight: 8x3x3x3 in the file, 4x3x3x3 here" in told and "this very network" in told
    torch.save({name: torch.ones(2) for name in "abcdefgh"}, tmp_path / "other.pt")
    other = refusal(tmp_path / "other.pt")
    assert "8 unexpected (a, b, c, ...)" in other and "of another architecture" in other


def test_a_head_of_another_size_is_replaced_only_when_asked(tmp_path: Path) -> None:
    state = saved(classes=7)
    torch.save(state, tmp_path / "w.pt")
    told = refusal(tmp_path / "w.pt")
    assert "has 7 classes, and the data set has 4; backbone.head=replace draws a new one" in told
    fresh = net()
    drawn = fresh.state_dict()["head.weight"].clone()
    made = load(tmp_path / "w.pt", replaces=True, into=fresh).state_dict()
    assert torch.equal(made["head.weight"], drawn) and torch.equal(made["stem.0.weight"], state["stem.0.weight"])
    torch.save({k: v for k, v in state.items() if not k.startswith("head")}, tmp_path / "headless.pt")
    assert "2 missing (head.weight, head.bias)" in refusal(tmp_path / "headless.pt")
    load(tmp_path / "headless.pt", replaces=True)
    torch.save(saved(classes=4), tmp_path / "same.pt")  # nothing to replace: it is kept
    assert not torch.equal(load(tmp_path / "same.pt", replaces=True, into=fresh).state_dict()["head.weight"], drawn)


class Trap:
    """Raises when it is unpickled: code that must not run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise SystemExit('code of the file was run')",))


def test_what_is_no_file_of_weights_is_one_message_each(tmp_path: Path) -> None:
    assert "is not there; give a" in refusal(tmp_path / "none.pt")
    assert "is a folder; give a" in refusal(tmp_path)
    torch.save(net(), tmp_path / "whole.pt")
    torch.save({"state_dict": saved(), "run": Trap()}, tmp_path / "trap.pt")
    (tmp_path / "trap2.pth").write_bytes(pickle.dumps(Trap()))
    for name in ("whole.pt", "trap.pt", "trap2.pth"):
        assert "holds pickled objects besides tensors, whose code is not run; save the tensors" in refusal(
            tmp_path / name
        )
    (tmp_path / "text.pt").write_text("weights")
    (tmp_path / "empty.pt").write_bytes(b"")
    torch.save(saved(), tmp_path / "whole2.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "whole2.pt").read_bytes()[:900])
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "script.pt")
    for name in ("text.pt", "empty.pt", "cut.pt", "script.pt"):
        assert "is no file of weights" in (told := refusal(tmp_path / name)) or "TorchScript archive" in told
    (tmp_path / "text.safetensors").write_text("weights")
    assert "is no safetensors file" in refusal(tmp_path / "text.safetensors")
    torch.save({"epoch": 3, "lr": 0.1}, tmp_path / "numbers.pt")
    assert "holds epoch, lr, no tensors by name" in refusal(tmp_path / "numbers.pt")
    torch.save(torch.ones(3), tmp_path / "tensor.pt")
    assert "holds a Tensor, no tensors by name" in refusal(tmp_path / "tensor.pt")
    torch.save({**saved(), "head.bias": torch.full((4,), float("nan"))}, tmp_path / "nan.pt")
    assert "NaN or infinite" in refusal(tmp_path / "nan.pt")


def test_a_network_of_ours_starts_from_a_file_as_it_is_and_a_stand_in_for_it_does_not(tmp_path: Path) -> None:
    spec, file = Spec((3, 32, 32), 4), tmp_path / "w.pt"
    make = functools.partial(vgg.vgg11, dropout=0.5, init="xavier")
    run = SplitNet(make(spec), spec, at="conv2", bottleneck=None).state_dict()
    torch.save(wrapped("net.", run) | {"chain.mask": torch.ones(1)}, file)  # the model of a run, as it is pushed
    again = SplitNet(make(spec, weights=str(file)), spec, at="middle", bottleneck=None)  # which xavier leaves alone
    ours = again.state_dict()
    assert torch.equal(ours["edge.conv1.conv.weight"], run["edge.conv1.conv.weight"])
    assert torch.equal(ours["cloud.head.fc3.weight"], run["cloud.head.fc3.weight"])
    assert set(again.facts) == {"weights"} and again.facts == make(spec, weights=str(file)).facts
    stand_in = start.fresh(functools.partial(make, weights=str(file)))(spec).state_dict()
    assert not torch.equal(stand_in["conv1.conv.weight"], run["edge.conv1.conv.weight"])
    with pytest.raises(UserError, match=r"^backbone.weights: .*does not fit tiny: .*another architecture"):
        small.tiny(spec, width=4, weights=str(file))
    with pytest.raises(UserError, match=r"has 4 classes, and the data set has 5; backbone.head=replace"):
        make(Spec((3, 32, 32), 5), weights=str(file))
    assert len(make(Spec((3, 32, 32), 5), weights=str(file), head="replace").head.fc3.weight) == 5
    neutral = {"_target_": "splitpriv.nets.small.tiny", "width": 4}
    assert fingerprint(b=neutral) == fingerprint(b={**neutral, "weights": None, "head": "keep"})
