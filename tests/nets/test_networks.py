"""Anyone's network, cut at a module: the halves equal the whole, and what cannot be cut is said with what can."""

from __future__ import annotations

import copy
import random
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from splitpriv.defenses.selective_ensemble import anew, copied
from splitpriv.nets import standins
from splitpriv.nets.libraries import Seen, Timm, Torchvision, size_of
from splitpriv.nets.modes import evaluating
from splitpriv.nets.network import Network
from splitpriv.nets.split import SplitNet
from splitpriv.types import Spec, UserError
from tests.nets import toys

SPEC = Spec((3, 8, 8), 4)
PLAIN: dict[str, Any] = {
    "weights": None, "head": "keep", "resolution": "auto", "mean": None, "std": None, "arguments": {},
}  # fmt: skip


def network(net: nn.Module, spec: Spec = SPEC, **how: Any) -> Network:
    torch.manual_seed(0)
    said = {"size": None, "mean": [0.5] * 3, "std": [0.25] * 3, "facts": {}, **how}
    return Network(net, spec, f"the {type(net).__name__}", **said)


def random_statistics(net: nn.Module) -> nn.Module:
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return net


CUTS: dict[str, tuple[Callable[[], nn.Module], list[str]]] = {
    "plain": (toys.Plain, ["stem.0", "stem.1", "stem", "blocks.0.0", "blocks.0", "blocks.1.0", "blocks.1"]),
    "skip": (toys.Skip, ["first"]),
    "pair": (toys.Pair, ["first", "join", "last"]),
    "sized": (toys.Sized, ["first", "norm"]),
    "gate": (lambda: toys.Deciding(inside=True), ["first", "gate"]),
    "tied": (toys.Tied, ["first", "layer", "act"]),
    "tokens": (toys.Tokens, ["patch", "blocks.0", "blocks"]),
}


@pytest.fixture(scope="module", params=CUTS)
def cut(request: pytest.FixtureRequest) -> tuple[Network, list[str]]:
    torch.manual_seed(0)
    make, names = CUTS[request.param]
    return network(random_statistics(make())), names


def test_the_cuts_are_where_one_tensor_crosses(cut: tuple[Network, list[str]]) -> None:
    net, names = cut
    assert [place.name for place in net.places] == names
    assert net.stages == [*names, "head"] and set(net.cuts) == {"shallow", "middle", "deep"}


def test_halves_equal_the_whole_and_leave_a_release_as_it_is(cut: tuple[Network, list[str]]) -> None:
    net, _ = cut
    x = torch.rand(5, 3, 8, 8)
    with torch.no_grad(), evaluating(net):
        whole = net(x)
        for place in net.places:
            split = SplitNet(net, SPEC, at=place.name, bottleneck=None).eval()
            z = split.edge(x)
            kept = z.clone()
            torch.testing.assert_close(split.cloud(z), whole, rtol=0, atol=1e-6)
            assert torch.equal(z, kept) and tuple(z.shape[1:]) == place.shape
            assert sum(p.numel() for p in split.edge.parameters()) == place.parameters
            names = {name.partition(".")[2] for name in split.state_dict()}
            assert {name for name in net.state_dict() if "num_batches" not in name} <= names <= set(net.state_dict())


def test_halves_learn_as_the_whole_does(cut: tuple[Network, list[str]]) -> None:
    net, names = cut
    split = SplitNet(net, SPEC, at=names[-1], bottleneck=None).train()
    torch.manual_seed(1)
    x = torch.rand(6, 3, 8, 8)
    before = copy.deepcopy(net.state_dict())
    torch.manual_seed(2)
    whole = net.train()(x)
    after = copy.deepcopy(net.state_dict())
    net.load_state_dict(before)
    torch.manual_seed(2)
    torch.testing.assert_close(split(x), whole)
    learnt = {name: value for name, value in net.state_dict().items() if "num_batches" not in name}
    assert all(torch.equal(after[name], value) for name, value in learnt.items())
    split(x).sum().backward()
    assert all(p.grad is not None for p in split.parameters())
    assert {id(p) for p in split.parameters()} == {id(p) for p in net.parameters()}
    twin = copy.deepcopy(split).eval()
    with torch.no_grad():
        assert torch.equal(twin(x), split.eval()(x))


def refusal(net: Network | Callable[[], Network], at: int | str = 0) -> str:
    with pytest.raises(UserError) as error:
        SplitNet(net if isinstance(net, Network) else net(), SPEC, at=at, bottleneck=None)
    assert len(error.value.problems) == 1 and "\n" not in str(error.value)
    return str(error.value)


def test_what_is_no_cut_is_refused_with_the_cuts_that_are() -> None:
    skip = network(toys.Skip())
    assert refusal(skip, "second") == (
        "split.at: behind second more than one tensor crosses, or none; cuts are first (4x8x8, 112 parameters, 0.01 M "
        "MACs, 1,024 bytes)"
    )
    assert "no module 'frist' (did you mean 'first'?); cuts are first (" in refusal(skip, "frist")
    assert "split.at: 9 is outside 0..1; cuts are first" in refusal(skip, 9)
    assert "behind two more" in refusal(network(toys.Pair()), "two")
    assert "behind other more" in refusal(network(toys.Tied()), "other")
    gate = refusal(network(toys.Deciding(inside=True)), "gate.conv")
    assert "gate.conv lies in gate, whose forward torch.fx cannot follow (" in gate


def test_what_cannot_be_cut_at_all_is_said() -> None:
    deciding = refusal(lambda: network(toys.Deciding()))
    assert deciding.startswith("backbone: the Deciding cannot be")
    assert "gives a tuple, not logits (N, 4); wrap it" in refusal(lambda: network(toys.Answers()))
    assert "gives a tensor (N, 5), not logits (N, 4)" in refusal(lambda: network(toys.Skip(5)))
    small = refusal(lambda: network(nn.Sequential(nn.Conv2d(3, 4, 9), nn.Flatten(), nn.Linear(4, 4))))
    assert "cannot be run on images of 3x8x8" in small
    assert "has lazy layers" in refusal(lambda: network(nn.Sequential(nn.Flatten(), nn.LazyLinear(4))))


@pytest.mark.parametrize("decides", [False, True])
def test_what_cannot_be_cut_while_it_is_trained_is_said(decides: bool) -> None:
    told = refusal(network(toys.Trained(decides)), "second")
    assert told.startswith("split.at: second is no cut while the Trained is trained (")


class Squeezed(toys.Skip):
    """Loses the axis of the batch where that is one image."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x)[:, :, None].squeeze()


def test_what_answers_one_image_otherwise_is_refused() -> None:
    said = refusal(lambda: network(Squeezed()))
    assert "for one image, as a last batch may be, and not (1, " in said and "flatten(1)" in said


class Leaks(nn.Module):
    """A layer behind the cut asks what a layer before it saw, where no graph shows it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []
        self.writes, self.reads, self.head = Writes(self.seen), Reads(self.seen), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.reads(self.writes(x)).mean((2, 3)))
        return out


class Writes(nn.Conv2d):
    def __init__(self, seen: list[Tensor]) -> None:
        super().__init__(3, 4, 3)
        self.seen = seen

    def forward(self, x: Tensor) -> Tensor:
        self.seen[:] = [x]
        return super().forward(x)


class Reads(nn.Module):
    def __init__(self, seen: list[Tensor]) -> None:
        super().__init__()
        self.seen = seen

    def forward(self, z: Tensor) -> Tensor:
        return z + (self.seen.pop().mean() if self.seen else 0)


def test_a_cut_that_changes_the_numbers_is_refused() -> None:
    net = network(Leaks())
    assert "gives other logits than whole" in refusal(net, "writes")


def test_images_are_resized_and_normalised_on_the_edge() -> None:
    net = network(toys.Plain(), size=(16, 16), mean=[0.1, 0.2, 0.3], std=[1.0, 2.0, 0.5]).eval()
    x = torch.rand(2, 3, 8, 8)
    seen = nn.functional.interpolate(x, (16, 16), mode="bilinear") - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)
    seen = seen / torch.tensor([1.0, 2.0, 0.5]).view(3, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(net(x), net.model(seen))
        split = SplitNet(net, SPEC, at=1, bottleneck=None).eval()
        torch.testing.assert_close(split.edge(x), net.model.stem[0](seen))


def test_a_key_tells_apart_what_numbers_depend_on() -> None:
    facts = [network(net, **how).facts for net, how in (
        (toys.Skip(), {}), (toys.Skip(), {}), (toys.Tied(), {}), (toys.Skip(), {"mean": [0.0] * 3}),
        (toys.Skip(), {"size": (9, 9)}),
    )]  # fmt: skip
    assert facts[0] == facts[1] and all(facts[0] != other for other in facts[2:])


@pytest.mark.parametrize("library", [Torchvision, Timm])
def test_an_unknown_model_is_refused_with_near_ones(library: type[Torchvision | Timm]) -> None:
    name = {"Torchvision": "densnet121", "Timm": "mobilnetv3_small_100"}[library.__name__]
    with pytest.raises(UserError, match="did you mean .*" + name[-3:]):
        library(SPEC, name=name, **PLAIN)


def test_a_library_that_is_not_installed_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"backbone: needs the package timm, .*; pip install 'splitpriv\[timm\]'"):
        Timm(SPEC, name="resnet18", **PLAIN)


@pytest.mark.parametrize(
    ("resolution", "trained", "fixed", "size"),
    [("auto", False, False, None), ("auto", True, False, (224, 192)), ("auto", False, True, (224, 192)),
     ("data", True, True, None), ("model", False, False, (224, 192)), (64, True, False, (64, 64)),
     ((48, 32), False, False, (48, 32))],
)  # fmt: skip
def test_images_are_resized_for_weights_and_for_what_takes_one_size(
    resolution: Any, trained: bool, fixed: bool, size: tuple[int, int] | None
) -> None:
    assert size_of(resolution, Seen((224, 192), fixed), trained, "it") == size


def test_a_model_that_says_no_size_has_none_to_follow() -> None:
    assert size_of("auto", Seen(), True, "it") is None
    with pytest.raises(UserError, match=r"backbone.resolution: it says no size of its own"):
        size_of("model", Seen(), True, "it")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("library", "name", "at"),
    [(Torchvision, "mobilenet_v3_small", "features.4"), (Torchvision, "densenet121", "features.denseblock2"),
     (Timm, "mobilenetv3_small_100", "blocks.2.0")],
)  # fmt: skip
def test_libraries_models_cut_and_released_equal_the_whole(
    library: type[Torchvision | Timm], name: str, at: str
) -> None:
    spec = Spec((3, 32, 32), 10)
    torch.manual_seed(0)
    net = library(spec, name=name, **PLAIN)
    split = SplitNet(net, spec, at=at, bottleneck=None).eval()
    x = torch.rand(3, 3, 32, 32)
    with torch.no_grad(), evaluating(net):
        torch.testing.assert_close(split.cloud(split.edge(x)), net(x), rtol=0, atol=1e-6)


class Unfelt(toys.Skip):
    """Its first layer computes without gradients, where torch.fx can follow or, `asks`, torch.export alone."""

    def __init__(self, asks: bool) -> None:
        super().__init__()
        self.asks = asks

    def forward(self, x: Tensor) -> Tensor:
        if self.asks and x.shape[-1] > 100:
            x = x / 2
        with torch.no_grad():
            z = self.first(x)
        out: Tensor = self.head(self.second(z).mean((2, 3)))
        return out


class Aside(toys.Skip):
    """Computes without gradients what no weight learns by, as positions, running means and spectral norms are."""

    def __init__(self) -> None:
        super().__init__()
        self.second = nn.utils.parametrizations.spectral_norm(self.second)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        z = self.first(x)
        with torch.no_grad():
            where = torch.arange(z.shape[-1], device=z.device).float().sin()
        out: Tensor = self.head(self.second(z + where).mean((2, 3)))
        return out


class Wide(toys.Skip):
    """Computes in double precision."""

    def __init__(self) -> None:
        super().__init__()
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.double())


@pytest.mark.parametrize("asks", [False, True])
def test_what_a_cut_network_would_not_keep_is_refused(asks: bool) -> None:
    net = network(Unfelt(asks))
    assert refusal(net, "first").startswith("backbone: its forward computes under torch.no_grad()")
    SplitNet(net, SPEC, at=0, bottleneck=None)  # whole, it runs its own code
    SplitNet(network(Aside()), SPEC, at="first", bottleneck=None)
    assert "split.at: behind first the network computes in torch.float64" in refusal(network(Wide()), "first")


class Draws(toys.Skip):
    """Noise that is drawn as `kind` says."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "python":
            x = x * random.random()
        elif self.kind == "new":
            x = x + torch.randn(x.shape[0], 1, 1, 1, device=x.device)
        out: Tensor = self.head(self.second(self.first(x)).mean((2, 3)))
        return out


def test_a_draw_that_a_cut_would_make_but_once_is_refused_and_others_are_drawn_anew() -> None:
    assert refusal(lambda: network(Draws("python")), "first").startswith("backbone: its forward draws a random number")
    cut, x = SplitNet(network(Draws("new")), SPEC, at="first", bottleneck=None), torch.rand(5, 3, 8, 8)
    assert cut.edge(x).shape == (5, 4, 8, 8) and not torch.equal(cut.edge(x), cut.edge(x))
    assert cut.cloud(cut.edge(x)).shape == (5, 4)


def test_frozen_layers_are_in_the_key_and_an_adversary_s_copy_learns() -> None:
    def frozen(spec: Spec = SPEC) -> Network:
        return network(toys.Skip().requires_grad_(False))

    assert "frozen" not in network(toys.Skip()).facts and "first.weight" in frozen().facts["frozen"]
    assert all(p.requires_grad for p in standins.cut(SPEC, (4, 8, 8), frozen, "first", None).parameters())
    kept, new = copied(frozen()), anew(frozen())
    assert not any(p.requires_grad for p in kept.parameters()) and all(p.requires_grad for p in new.parameters())


class Rests(toys.Skip):
    """Its BatchNorm stays in evaluation mode, as in a part that was trained elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.second = nn.Sequential(nn.BatchNorm2d(4), nn.Dropout(0.5))

    def train(self, mode: bool = True) -> nn.Module:
        super().train(mode)
        self.second[0].eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.second(self.first(x)).mean((2, 3)))
        return out


def test_what_a_network_keeps_in_evaluation_stays_there() -> None:
    cut = SplitNet(network(Rests()), SPEC, at="second", bottleneck=None).train()
    assert [cut.edge.net.second[i].training for i in (0, 1)] == [False, True]
    cut(torch.rand(4, 3, 8, 8))
    assert not cut.edge.net.second[0].num_batches_tracked and cut.facts["resting"] == ["second.0"]
    assert not any(m.training for m in cut.eval().modules()) and "resting" not in network(toys.Skip()).facts
