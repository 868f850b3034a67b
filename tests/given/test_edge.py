"""Edges that others made: what is opened, what is seen of it, and one message for each that does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from splitpriv.given.device import Device
from splitpriv.given.edge import Edge, digest_of, opened
from splitpriv.types import UserError

CPU, IMAGE = torch.device("cpu"), (3, 8, 8)


class Cut(nn.Module):
    """Half the image's size, with what a test asks for done to it."""

    def __init__(self, then: Any = lambda z: z) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.then = then

    def forward(self, x: torch.Tensor) -> Any:
        return self.then(self.conv(x))


def graph(path: Path, shape: Any = ("n", 3, 8, 8), kind: int = TensorProto.FLOAT, extra: bool = False,
          outputs: int = 1, external: bool = False) -> Path:  # fmt: skip
    """An ONNX file of one convolution, or of what is wrong with it."""
    inputs = [helper.make_tensor_value_info("x", kind, shape)]
    inputs += [helper.make_tensor_value_info("y", TensorProto.FLOAT, ("n", 1))] if extra else []
    cast = [helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT)]
    draw = np.random.default_rng(0)
    weight = onnx.numpy_helper.from_array(draw.normal(size=(4, 3, *[3] * (len(shape) - 2))).astype(np.float32), "w")
    way = {"strides": [2] * (len(shape) - 2), "pads": [1] * 2 * (len(shape) - 2)}
    nodes = [*cast, helper.make_node("Conv", ["f", "w"], ["z"], **way)]
    told = [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)]
    if outputs > 1:
        nodes += [helper.make_node("Relu", ["z"], ["r"])]
        told += [helper.make_tensor_value_info("r", TensorProto.FLOAT, None)]
    model = helper.make_model(helper.make_graph(nodes, "g", inputs, told, [weight]),
                              opset_imports=[helper.make_opsetid("", 17)], ir_version=8)  # fmt: skip
    onnx.save_model(model, str(path), save_as_external_data=external, location=f"{path.name}.data", size_threshold=0)
    return path


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "edge.pt2"
    torch.export.save(torch.export.export(Cut().eval(), (torch.rand(2, *IMAGE),)), path)
    return path


def device(edge: Edge, **more: Any) -> Device:
    return Device(edge, IMAGE, CPU, **more)


def test_a_module_is_a_white_box_and_an_onnx_file_a_black_one(tmp_path):
    module = Cut().eval()
    white, black = device(opened(module)), device(opened(graph(tmp_path / "edge.onnx")))
    assert white.white and white.fixed and not black.white and black.fixed
    assert all(p.requires_grad for p in module.parameters()), "it is somebody's own"
    assert white.shape == black.shape == (4, 4, 4)
    assert white.cost()["edge_parameters"] == 112 and "edge_parameters" not in black.cost()
    x = torch.rand(5, *IMAGE)
    normal = device(opened(module), mean=(0.5, 0.4, 0.3), std=(0.2,))
    per = torch.tensor([0.5, 0.4, 0.3]).view(1, 3, 1, 1)
    assert torch.allclose(normal.release(x), module((x - per) / 0.2), atol=1e-6)


def test_a_fixed_batch_is_filled_up(tmp_path, program):
    x = torch.rand(5, *IMAGE)
    any_batch = device(opened(graph(tmp_path / "any.onnx"))).release(x)
    assert torch.allclose(device(opened(graph(tmp_path / "one.onnx", (1, 3, 8, 8)))).release(x), any_batch, atol=1e-6)
    two = device(opened(program))
    assert two.edge.batch == 2 and two.white
    assert torch.allclose(two.release(x)[:4], torch.cat([two.release(x[:2]), two.release(x[2:4])]))
    assert two.release(x).shape == (5, 4, 4, 4)


def test_a_random_device_and_one_without_gradients_are_told():
    noisy = device(opened(Cut(lambda z: z + torch.randn_like(z))))
    assert noisy.white and not noisy.fixed and noisy.repeats
    bytes_sent = device(opened(Cut(lambda z: (z * 20).to(torch.int8))))
    assert not bytes_sent.white and bytes_sent.fixed and bytes_sent.cost()["release_bytes"] == 64


def test_a_key_follows_what_decides_the_answer(tmp_path):
    torch.manual_seed(0)
    module = Cut()
    before = digest_of(module)
    assert digest_of(module) == before
    module.conv.weight.data[0, 0, 0, 0] += 1
    assert digest_of(module) != before
    inside = graph(tmp_path / "a.onnx", external=True)
    before = opened(inside).digest
    weights = tmp_path / "a.onnx.data"
    raw = bytearray(weights.read_bytes())
    raw[0] ^= 1
    weights.write_bytes(raw)
    assert opened(inside).digest != before
    weights.unlink()
    with pytest.raises(UserError, match=r"keeps its weights in a\.onnx\.data"):
        opened(inside)


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"extra": True}, "takes 2 inputs"),
        ({"kind": TensorProto.UINT8}, "floats, images in [0, 1]"),
        ({"shape": ("n", 8, 8, 3)}, "channels last"),
        ({"shape": ("n", 3, 8)}, "export one that takes images"),
        ({"outputs": 2}, "gives 2 outputs"),
    ],
)
def test_an_onnx_file_that_is_not_for_images(tmp_path, form, says):
    with pytest.raises(UserError) as error:
        opened(graph(tmp_path / "edge.onnx", **form))
    assert says in str(error.value) and len(error.value.problems) == 1


@pytest.mark.parametrize("name", ["edge.onnx", "edge.pt2", "edge.pt", "edge.h5", "lost.onnx"])
def test_a_file_that_is_no_edge(tmp_path, name):
    if not name.startswith("lost"):
        (tmp_path / name).write_bytes(b"PK no such thing")
    with pytest.raises(UserError, match="--edge: ") as error:
        opened(tmp_path / name)
    assert len(error.value.problems) == 1


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("def edge(): return 3", "returned a int; return an nn.Module"),
        ("def edge(): return lambda x: x", "returned a function"),
        ("def other(): ...", "has no function 'edge'"),
        ("def edge(): raise OSError('weights are gone')", "OSError: weights are gone"),
        ("def edge(size): ...", "failed when called without arguments"),
        ("import nothing_such", "cannot be imported (ModuleNotFoundError"),
    ],
)
def test_a_function_that_makes_no_edge(tmp_path, code, says):
    (tmp_path / "mine.py").write_text(code)
    with pytest.raises(UserError) as error:
        opened(f"{tmp_path}/mine.py:edge")
    assert says in str(error.value) and len(error.value.problems) == 1


def test_a_function_is_called_with_the_same_random_numbers(tmp_path, monkeypatch):
    (tmp_path / "its_edge.py").write_text("import torch\ndef edge(): return torch.nn.Conv2d(3, 4, 3)\n")
    monkeypatch.chdir(tmp_path)
    assert opened("its_edge:edge").digest == opened("its_edge.py:edge").digest


@pytest.mark.parametrize(
    ("then", "says"),
    [
        (lambda z: (z, z), "answers with a tuple of 2"),
        (lambda z: {"z": z}, "answers with a dict of 1"),
        (lambda z: z.mean(), "its first axis must be that of the images"),
        (lambda z: z.flatten(0, 1), "its first axis must be that of the images"),
        (lambda z: z / 0, "NaN or infinite"),
        (lambda z: z.reshape(7), "fails on images of 3x8x8"),
    ],
)
def test_an_answer_that_is_no_release(then, says):
    with pytest.raises(UserError) as error:
        device(opened(Cut(then)))
    assert says in str(error.value) and len(error.value.problems) == 1


def test_images_of_another_size_name_the_remedy(tmp_path, program):
    for edge in (opened(program), opened(graph(tmp_path / "edge.onnx"))):
        with pytest.raises(UserError, match="add --size 8"):
            Device(edge, (3, 9, 9), CPU)
        with pytest.raises(UserError, match="add --channels 3"):
            Device(edge, (1, 8, 8), CPU)
    with pytest.raises(UserError, match="--mean, --std: 2 numbers for 3 channels"):
        device(opened(program), mean=(0.5, 0.5))
