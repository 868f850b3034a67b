"""Every backbone that conf/ offers builds through its signature; torchvision's compute what torchvision computes."""

from __future__ import annotations

import functools
import importlib
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from omegaconf import OmegaConf

from splitpriv import config
from splitpriv.contract import backbones
from splitpriv.nets import pretrained, small, vgg
from splitpriv.nets.bottleneck import bottleneck_pair
from splitpriv.nets.layers import Normalise
from splitpriv.nets.split import Backbone, SplitNet, affordable_stages, kept_stages
from splitpriv.types import Spec, UserError

CONF = Path(__file__).parents[2] / "conf"
RGB = Spec((3, 32, 32), 10)
TORCHVISION = ("vgg16", "resnet50", "mobilenet_v2", "vit_b_16")


BY_NAME = {"timm": {"name": "test_resnet"}, "torchvision": {"name": "squeezenet1_1"}}


def options(group: str) -> list[str]:
    return sorted(p.stem for p in (CONF / group).glob("*.yaml") if p.stem != "module")  # which a plug-in makes


def node(group: str, name: str) -> dict[str, Any]:
    if group == "decoder":  # one option may build on another
        composed = config.compose(["attack=[decoder]", f"decoder@attack.decoder.net={name}"])
        return typing.cast(dict[str, Any], composed["attack"]["decoder"]["net"])
    return typing.cast(dict[str, Any], OmegaConf.to_container(OmegaConf.load(CONF / group / f"{name}.yaml")))


def located(settings: dict[str, Any]) -> Callable[..., Any]:
    module, _, function = settings["_target_"].rpartition(".")
    return typing.cast(Callable[..., Any], getattr(importlib.import_module(module), function))


def built(name: str, spec: Spec) -> Backbone:
    settings = {**node("backbone", name), **BY_NAME.get(name, {})}
    target = located(settings)
    return typing.cast(Backbone, target(spec, **{k: v for k, v in settings.items() if k != "_target_"}))


@pytest.mark.parametrize("name", options("backbone"))
@pytest.mark.parametrize("image", [(1, 32, 32), (3, 48, 40)])
def test_every_backbone_of_conf_runs_on_any_image(name: str, image: tuple[int, int, int]) -> None:
    backbones.runs_on(functools.partial(built, name), Spec(image, 7))


@pytest.mark.parametrize("name", TORCHVISION)
def test_stages_hold_exactly_torchvisions_parameters(name: str) -> None:
    models: Any = importlib.import_module("torchvision.models")

    with torch.device("meta"):
        backbone = built(name, Spec((3, 224, 224), 1000))
        original = models.get_model(name, weights=None)
    sizes = sorted(tuple(p.shape) for p in backbone.parameters())
    assert sizes == sorted(tuple(p.shape) for p in original.parameters())


def test_mobilenet_equals_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    models: Any = importlib.import_module("torchvision.models")

    torch.manual_seed(0)
    original = models.mobilenet_v2(weights=None)
    original.classifier[0].p = 0.0
    original.classifier[1].weight.data.normal_()
    with torch.no_grad():
        for _ in range(20):
            original(torch.rand(4, 3, 32, 32))  # BatchNorm statistics that keep the signal alive
    original.eval()
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **__: original.state_dict())
    x = torch.rand(2, 3, 64, 64)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    with torch.no_grad():
        same = pretrained.mobilenet_v2(Spec((3, 64, 64), 1000), weights="imagenet").eval()
        expected = original((x - mean) / std)
        assert expected.std() > 0.1
        torch.testing.assert_close(same(x), expected)
        fewer = pretrained.mobilenet_v2(Spec((3, 64, 64), 5), weights="imagenet").eval()
        assert fewer(x).shape == (2, 5)
        cut = [torch.nn.Sequential(*list(net)[:-1]) for net in (fewer, same)]
        torch.testing.assert_close(cut[0](x), cut[1](x))


def test_vit_embedding_and_head_equal_torchvision() -> None:
    from torchvision.models import VisionTransformer

    torch.manual_seed(0)
    vit = VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=3).eval()
    torch.nn.init.normal_(vit.get_parameter("heads.head.weight"))
    embed = pretrained.PatchEmbedding(Normalise((0.0,), (1.0,), 3), vit)
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        z = vit.encoder.layers(embed(x))
        torch.testing.assert_close(vit.heads(pretrained.FirstToken()(vit.encoder.ln(z))), vit(x))
        assert embed(torch.rand(2, 1, 20, 50)).shape == (2, 17, 16)  # any size, grey too


def test_vit_releases_tokens_and_can_be_squeezed() -> None:
    with torch.device("meta"), torch.no_grad():
        backbone = built("vit_b_16", RGB)
        bottleneck = {"channels": 8, "kernel": 3, "stride": 1, "activation": "sigmoid"}
        net = SplitNet(backbone, RGB, at=1, bottleneck=bottleneck).eval()
        z = net.edge(torch.rand(2, 3, 32, 32))
        assert z.shape == (2, 197, 8)
        assert net.cloud(z).shape == (2, 10)


@pytest.mark.parametrize("name", options("backbone"))
def test_a_step_makes_no_host_read(name: str) -> None:
    backbones.learns(functools.partial(built, name), RGB)


@pytest.mark.parametrize("there", [False, True])
def test_missing_weights_name_the_key_and_the_file(
    there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_, **__: (_ for _ in ()).throw(URLError("offline")))
    file = tmp_path / "checkpoints" / "mobilenet_v2-b0353104.pth"
    if there:
        file.parent.mkdir()
        file.write_bytes(b"not a checkpoint")
    with pytest.raises(UserError) as error:
        pretrained.mobilenet_v2(RGB, weights="imagenet")
    assert str(error.value).startswith("backbone.weights: ")
    assert str(file) in str(error.value)
    assert ("delete it" if there else "backbone.weights=none") in str(error.value)


@pytest.mark.parametrize(("side", "channels"), [(8, 1), (8, 3), (9, 3), (28, 1), (64, 3)])
def test_tiny_takes_any_image(side: int, channels: int) -> None:
    spec = Spec((channels, side, side), 4)
    backbone = small.tiny(spec, width=4).eval()
    assert backbone(torch.rand(2, *spec.image)).shape == (2, 4)


@pytest.mark.parametrize("side", [28, 31, 32, 48])
def test_lenet5_takes_digits(side: int) -> None:
    spec = Spec((1, side, side), 10)
    backbone = small.lenet5(spec)
    assert backbone(torch.rand(2, *spec.image)).shape == (2, 10)
    if side <= 32:
        assert SplitNet(backbone, spec, at="conv3", bottleneck=None).edge(torch.rand(2, *spec.image)).shape == (
            2,
            120,
            1,
            1,
        )


def test_lenet5_has_the_published_size() -> None:
    assert sum(p.numel() for p in small.lenet5(Spec((1, 32, 32), 10)).parameters()) == 61_706


def test_vgg16_of_cloak_has_the_published_layers_and_starts_alive() -> None:
    with torch.device("meta"):
        whole = vgg.vgg16_cloak(Spec((3, 32, 32), 2))
    convs = sum(p.numel() for name, p in whole.named_parameters() if "conv" in name)
    head = [(layer.in_features, layer.out_features) for layer in whole.modules() if isinstance(layer, torch.nn.Linear)]
    assert convs == 14_714_688 and head == [(512, 256), (256, 256), (256, 2)]
    assert not any(isinstance(module, torch.nn.BatchNorm2d | torch.nn.Dropout) for module in whole.modules())
    torch.manual_seed(0)
    with torch.no_grad():
        z = SplitNet(vgg.vgg16_cloak(RGB), RGB, at="pool5", bottleneck=None).edge(torch.rand(4, 3, 32, 32))
    assert z.shape == (4, 512, 1, 1) and z.std(0).mean() > 1e-3


def test_linear_is_linear_in_the_raw_pixels() -> None:
    spec = Spec((1, 4, 4), 2, mean=(0.3,), std=(0.1,))
    net = SplitNet(small.linear(spec, features=5, hidden=8), spec, at="middle", bottleneck=None)
    x = torch.rand(3, 1, 4, 4)
    weight = net.state_dict()["edge.linear.fc.weight"]
    torch.testing.assert_close(net.edge(x), x.flatten(1) @ weight.T)


@pytest.mark.parametrize(
    "build", [lambda s: vgg.vgg11(s, dropout=0.5, init="default"), lambda s: pretrained.vgg16(s, weights="none")]
)
def test_an_image_too_small_is_said_so(build: Callable[[Spec], Backbone]) -> None:
    with pytest.raises(UserError, match="at least 32x32, these are 28x28"):
        build(Spec((1, 28, 28), 10))


def test_other_channels_are_refused_by_torchvision() -> None:
    with torch.device("meta"), pytest.raises(UserError, match="1 or 3 channels, not 2"):
        pretrained.resnet50(Spec((2, 32, 32), 10), weights="none")


@pytest.mark.parametrize("name", options("split"))
def test_every_split_of_conf_is_complete(name: str) -> None:
    settings = node("split", name)
    assert set(settings) == {"at", "bottleneck"}
    if isinstance(settings["at"], dict):
        settings["at"] = affordable_stages(settings["at"], [100, 10**9])
    assert (
        0
        <= kept_stages(settings["at"], [f"s{i}" for i in range(9)], {"shallow": "s1", "middle": "s2", "deep": "s3"})
        < 9
    )
    if settings["bottleneck"] is not None:
        bottleneck_pair((16, 8, 8), settings["bottleneck"])
    assert (CONF / "split" / f"{name}.yaml").read_text().startswith("# ")
