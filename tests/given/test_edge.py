"""Edges that others made: what is opened, what is seen of it, and one message for each that does not fit."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from splitpriv.given.device import Device
from splitpriv.given.digest import UntoldError, digest_of
from splitpriv.given.edge import Edge, opened
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


def test_a_bounded_batch_is_kept_to_and_every_number_of_images_asked_for(tmp_path):
    few = torch.export.Dim("n", max=4)
    torch.export.save(torch.export.export(Cut().eval(), (torch.rand(2, *IMAGE),), dynamic_shapes=({0: few},)),
                      tmp_path / "few.pt2")  # fmt: skip
    bounded = device(opened(tmp_path / "few.pt2"))
    assert (bounded.edge.batch, bounded.edge.most) == (None, 4)
    assert bounded.release(torch.rand(9, *IMAGE)).shape == (9, 4, 4, 4)
    with pytest.raises(UserError, match=r"answers 1 images with .* \(4, 4, 4\); its first axis"):
        device(opened(Cut(lambda z: z.squeeze())))
    with pytest.raises(UserError, match=r"fails on 256 images of 3x8x8 \(too many\); let it take any number"):
        device(opened(Cut(refusing)))


def refusing(z):
    if len(z) > 64:
        raise ValueError("too many")
    return z


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


NETWORK = """
import torch
import scale_helpers
SCALE = 1.0
def helper(x): return x * SCALE
class Own(torch.nn.Module):
    kept = 1
    def __init__(self, sigma=0.0):
        super().__init__()
        self.conv, self.sigma, self.then = torch.nn.Conv2d(3, 4, 3), sigma, lambda z: z + sigma
        self.register_forward_hook(lambda module, x, z: z)
    def forward(self, x):
        from scale_helpers import late
        return self.then(late(scale_helpers.twice(helper(self.conv(x))))) in ({1, 2}, {"a", "b", "c"})
def make(): return Own()
"""
HELPERS = """
FACTOR = 2
def late(x): return x
def twice(x): return FACTOR * x
"""


def network(at: Path, code: str = NETWORK, helpers: str = HELPERS) -> str:
    """The digest of an edge that is written in files, opened in a process that has not seen them."""
    for name, text in (("own.py", code), ("scale_helpers.py", helpers)):
        (at / name).write_text(text)
    importlib.invalidate_caches()
    sys.modules.pop("scale_helpers", None)
    shutil.rmtree(at / "__pycache__", ignore_errors=True)
    return opened(f"{at}/own.py:make").digest


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return Own()", "return Own(1e4)"),
        ("SCALE = 1.0", "SCALE = 3.0"),
        ("x * SCALE", "x + SCALE"),
        ("kept = 1", "kept = 2"),
        ("z + sigma", "z - sigma"),
        ("x, z: z)", "x, z: -z)"),
        ("FACTOR = 2", "FACTOR = 3"),
        ("late(x): return x", "late(x): return -x"),
        ("\n", "\n# what a digest of code cannot see, such as getattr\n"),
    ],
)
def test_a_key_follows_the_code_behind_a_name(tmp_path, monkeypatch, old, new):
    monkeypatch.syspath_prepend(str(tmp_path))
    before = network(tmp_path)
    assert network(tmp_path) == before
    in_helpers = old in HELPERS and old not in NETWORK
    changed = (HELPERS if in_helpers else NETWORK).replace(old, new, 1)
    assert network(tmp_path, **{"helpers" if in_helpers else "code": changed}) != before


def test_a_key_follows_what_a_module_holds_and_reaches(monkeypatch):
    torch.manual_seed(0)
    noisy = Cut(partial(torch.mul, other=2.0))
    before = opened(noisy).digest
    assert opened(noisy).digest == before
    digests = {before}
    for name, value in (("then", partial(torch.mul, other=3.0)), ("sigma", 0.0), ("sigma", 0.1), ("sigma", 5.0),
                        ("map", np.eye(2)), ("map", [torch.ones(2)]), ("map", {1: opened})):  # fmt: skip
        setattr(noisy, name, value)
        digests.add(opened(noisy).digest)
    assert len(digests) == 8
    reaching = Cut(lambda z: IMAGE[0] * z)
    before = opened(reaching).digest
    monkeypatch.setitem(globals(), "IMAGE", (4, 8, 8))
    assert opened(reaching).digest != before


def test_a_digest_is_the_same_in_every_process(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    network(tmp_path)
    sys.modules.pop("own", None)
    code = "import own, torch\nfrom splitpriv.given.digest import digest_of\n"
    code += "torch.manual_seed(0)\ntold = digest_of(own.make())\nprint(told)"
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True,
                          env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": path})  # fmt: skip
    nn.Conv2d(3, 4, 3).register_forward_hook(print)  # which moves the numbers that hooks have
    space: dict[str, Any] = {}
    exec(code, space)
    assert space["told"] == done.stdout.strip()


def test_what_no_digest_can_tell_is_asked_anew(tmp_path, capsys):
    held = Cut()
    for name, value in (("lock", threading.Lock()), ("generator", (step for step in ()))):
        held.session = value  # as a handle of a library in C would be
        with pytest.raises(UntoldError, match=name):
            digest_of(held)
    code = "import threading, torch\ndef edge(): made = torch.nn.ReLU(); made.held = threading.Lock(); return made"
    (tmp_path / "mine.py").write_text(code)
    assert opened(f"{tmp_path}/mine.py:edge").digest != opened(f"{tmp_path}/mine.py:edge").digest
    assert "edge holds a _thread.lock, which no key can tell; its audit is made anew" in capsys.readouterr().err


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
