"""Cutting a backbone: where, by which name, and the bottleneck across the cut."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from splitpriv.nets import resnet, small, vgg
from splitpriv.nets.bottleneck import bottleneck_pair
from splitpriv.nets.split import Backbone, SplitNet
from splitpriv.types import Shape, Spec, UserError

RGB = Spec((3, 32, 32), 10, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25))
C8 = {"channels": 8, "kernel": 3, "stride": 1, "activation": "sigmoid"}

BUILDERS: dict[str, Callable[[], Backbone]] = {
    "tiny": lambda: small.tiny(RGB, width=8),
    "lenet5": lambda: small.lenet5(RGB),
    "vgg11": lambda: vgg.vgg11(RGB, dropout=0.5, init="default"),
    "resnet20": lambda: resnet.resnet20(RGB, stem_kernel=3, stem_width=16, widths=[16, 32, 64], strides=[1, 2, 2]),
    "resnet20_cem": lambda: resnet.resnet20(RGB, stem_kernel=5, stem_width=16, widths=[32, 64, 128], strides=[2, 2, 2]),
    "resnet18": lambda: resnet.resnet18(RGB, width=8),
}


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def stir(module: nn.Module) -> None:
    """BatchNorm statistics and affines that are not the identity."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor in (part.weight.data, part.bias.data, part.running_mean, part.running_var):
                tensor.uniform_(0.5, 1.5)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", BUILDERS)
def test_every_cut_computes_the_whole_backbone_and_keeps_its_names(name: str) -> None:
    backbone = BUILDERS[name]().eval()
    stir(backbone)
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        whole = backbone(x)
        for at in range(len(backbone)):
            net = SplitNet(backbone, RGB, at=at, bottleneck=None)
            z = net.edge(x)
            kept = z.clone()
            assert torch.equal(net.cloud(z), whole)
            assert torch.equal(z, kept), "the cloud changes the release in place"
            names = [n.removeprefix("edge.").removeprefix("cloud.") for n in net.state_dict()]
            assert names == list(backbone.state_dict())
            assert (len(net.edge), net.at) == (at, at)
    assert whole.shape == (2, 10)
    assert "head" in dict(net.cloud.named_children())


@pytest.mark.parametrize("name", BUILDERS)
def test_words_and_names_are_the_last_stage_kept(name: str) -> None:
    backbone = BUILDERS[name]()
    assert list(backbone.cuts) == ["shallow", "middle", "deep"]
    depths = []
    for word, stage in backbone.cuts.items():
        by_word, by_name = (SplitNet(backbone, RGB, at=at, bottleneck=None) for at in (word, stage))
        assert list(dict(by_word.edge.named_children()))[-1] == stage
        assert by_word.at == by_name.at
        depths.append(by_word.at)
    assert depths == sorted(set(depths))


def test_raw_image_leaves_at_zero() -> None:
    net = SplitNet(BUILDERS["tiny"](), RGB, at=0, bottleneck=None)
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(net.edge(x), x)
    assert parameters(net.edge) == 0


@pytest.mark.parametrize(
    ("at", "said"),
    [(-1, "outside 0..3"), (4, "outside 0..3"), (True, "no stage"), ("head", "must stay in the cloud"),
     ("conv22", "did you mean 'conv2'"), ("midle", "did you mean 'middle'")],
)  # fmt: skip
def test_a_bad_cut_lists_the_stages(at: Any, said: str) -> None:
    with pytest.raises(UserError) as error:
        SplitNet(BUILDERS["tiny"](), RGB, at=at, bottleneck=None)
    text = str(error.value)
    assert text.startswith("split.at: ")
    assert said in text
    assert "stages are ['conv1', 'conv2', 'conv3', 'head']" in text


def test_normalisation_is_inside_the_first_stage() -> None:
    net = SplitNet(BUILDERS["tiny"](), RGB, at=1, bottleneck=None)
    x = torch.rand(2, 3, 32, 32)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (RGB.mean, RGB.std))
    torch.testing.assert_close(net.edge.conv1.normalise(x), (x - mean) / std)  # type: ignore[union-attr,operator]
    assert not any("normalise" in key for key in net.state_dict())


def test_vgg11_split_as_cem_has_its_parameter_counts_and_macs() -> None:
    net = SplitNet(vgg.vgg11(RGB, dropout=0.5, init="xavier"), RGB, at=4, bottleneck=C8).eval()
    head = parameters(net.cloud.head)  # type: ignore[arg-type]
    assert (parameters(net.edge), parameters(net.cloud) - head, head) == (85_256, 9_159_296, 530_442)
    assert list(dict(net.edge.named_children())) == ["conv1", "pool1", "conv2", "pool2", "bottleneck"]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        z = net.edge(torch.rand(1, 3, 32, 32))
    assert z.shape == (1, 8, 8, 8)
    assert counter.get_total_flops() / 2 == pytest.approx(21.6e6, rel=0.02)
    assert z.min() > 0 and z.max() < 1


def test_xavier_reaches_the_edge_and_its_bottleneck_only() -> None:
    net = SplitNet(vgg.vgg11(RGB, dropout=0.5, init="xavier"), RGB, at=4, bottleneck=C8)
    conv = net.edge.bottleneck.conv  # type: ignore[union-attr]
    assert not conv.bias.any()  # type: ignore[union-attr,operator]
    bound = (6 / (9 * (128 + 8))) ** 0.5
    assert 0.95 * bound < float(conv.weight.detach().abs().max()) <= bound  # type: ignore[union-attr,operator]
    assert net.cloud.conv3.conv.bias.any()  # type: ignore[union-attr,operator]


def test_resnet_counts() -> None:
    assert parameters(BUILDERS["resnet20"]()) == 269_722
    with torch.device("meta"):
        assert parameters(resnet.resnet18(RGB, width=64)) == 11_173_962
    spec = Spec((3, 64, 64), 200)
    wide = resnet.resnet20(spec, stem_kernel=5, stem_width=16, widths=[32, 64, 128], strides=[2, 2, 2])
    net = SplitNet(wide, spec, at=5, bottleneck=C8).eval()
    with torch.no_grad():
        assert net.edge(torch.rand(1, 3, 64, 64)).shape == (1, 8, 16, 16)


@pytest.mark.parametrize(
    ("widths", "strides"), [([16, 32], [1, 2, 2]), ([16, 32, 64], [1, 2]), ([16, 8, 64], [1, 2, 2])]
)
def test_resnet20_refuses_impossible_groups(widths: list[int], strides: list[int]) -> None:
    with pytest.raises(UserError, match=r"backbone\.widths"):
        resnet.resnet20(RGB, stem_kernel=3, stem_width=16, widths=widths, strides=strides)


@pytest.mark.parametrize("shape", [(5, 7, 9), (5, 8, 8), (5, 1, 1), (5, 13, 6)])
def test_bottleneck_restores_any_size(shape: Shape) -> None:
    z = torch.rand(2, *shape)
    for kernel, stride in product([1, 2, 3, 4, 5], [1, 2, 3]):
        settings = {"channels": 2, "kernel": kernel, "stride": stride, "activation": "none"}
        squeeze, expand = bottleneck_pair(shape, settings)
        assert squeeze(z).shape[1] == 2
        assert expand is not None and expand(squeeze(z)).shape == z.shape, (kernel, stride)


@pytest.mark.parametrize("shape", [(12,), (5, 12), (3, 4, 4)])
@pytest.mark.parametrize("channels", [4, None])
@pytest.mark.parametrize("activation", ["none", "relu", "sigmoid", "batchnorm"])
def test_bottleneck_on_flat_token_and_image_releases(shape: Shape, channels: int | None, activation: str) -> None:
    settings = {"channels": channels, "kernel": 3, "stride": 1, "activation": activation}
    squeeze, expand = bottleneck_pair(shape, settings)
    z = torch.randn(6, *shape)
    release = squeeze(z)
    assert (release if expand is None else expand(release)).shape == z.shape
    assert (expand is None) == (channels is None)
    if channels is None:
        assert parameters(squeeze) == (2 * shape[0 if len(shape) == 3 else -1] if activation == "batchnorm" else 0)
    checks: dict[str, Callable[[Tensor], Any]] = {
        "none": lambda r: (r < 0).any(),
        "relu": lambda r: (r >= 0).all(),
        "sigmoid": lambda r: ((r > 0) & (r < 1)).all(),
        "batchnorm": lambda r: r.mean().abs() < 1e-5,
    }
    assert checks[activation](release)


@pytest.mark.parametrize("at", [0, 1, "conv2"])
def test_bottleneck_sits_across_the_cut(at: int | str) -> None:
    backbone = BUILDERS["tiny"]()
    backbone[0][-2].eval()  # type: ignore[index]
    modes = [m.training for m in backbone.modules()]
    net = SplitNet(backbone, RGB, at=at, bottleneck={**C8, "channels": 2, "stride": 2})
    assert [m.training for m in backbone.modules()] == modes
    assert list(dict(net.edge.named_children()))[-1] == "bottleneck"
    assert next(iter(dict(net.cloud.named_children()))) == "expand"
    assert "expand" not in net.stages
    assert net.eval()(torch.rand(2, 3, 32, 32)).shape == (2, 10)


def test_a_release_activation_alone_has_no_mirror() -> None:
    backbone = BUILDERS["tiny"]()
    net = SplitNet(backbone, RGB, at=2, bottleneck={**C8, "channels": None})
    plain = SplitNet(backbone, RGB, at=2, bottleneck=None)
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(net.eval().edge(x), plain.edge(x).sigmoid())
    assert list(net.cloud.state_dict()) == list(plain.cloud.state_dict())


def test_all_problems_of_a_bottleneck_at_once() -> None:
    with pytest.raises(UserError) as error:
        SplitNet(
            BUILDERS["tiny"](), RGB, at=1, bottleneck={"chanels": 8, "kernel": 0, "stride": 1.5, "activation": "tanh"}
        )
    text = str(error.value)
    assert len(error.value.problems) == 5
    assert "split.bottleneck.chanels: unknown key (did you mean 'channels'?)" in text
    for key in ("channels: missing", "kernel: 0", "stride: 1.5", "activation: 'tanh'"):
        assert f"split.bottleneck.{key}" in text
