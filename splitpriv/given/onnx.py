"""An ONNX file, run by onnxruntime: what leaves the device can be asked for, and nothing else is known of it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from splitpriv.store.proof import sha256
from splitpriv.types import UserError

FLOATS = {"tensor(float)": torch.float32, "tensor(double)": torch.float64, "tensor(float16)": torch.float16}


class Session:
    """The one function of an ONNX file: images (N, C, H, W) -> its output.

    `image`: the (C, H, W) that it takes and `batch` the number of images, None where anything will do; `digest` is that
    of the file and of the files that it names. Raises UserError for a file that takes anything but images, or answers
    with anything but one tensor.
    """

    def __init__(self, path: Path) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise UserError("--edge: .onnx needs onnxruntime; pip install 'splitpriv[onnx]'") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4
        self.digest = _digest(path)
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # whatever a damaged file makes of its reader
            said = next(iter(str(error).splitlines()), type(error).__name__)[:200]
            raise UserError(f"--edge: {path} cannot be run by onnxruntime ({said}); export it again") from error
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        if len(inputs) != 1:
            raise UserError(
                f"--edge: {path} takes {len(inputs)} inputs ({_told(inputs)}); export one that takes images"
            )
        if len(outputs) != 1:
            raise UserError(f"--edge: {path} gives {len(outputs)} outputs ({_told(outputs)}); export it with the one "
                            "that leaves the device")  # fmt: skip
        self.name, self.dtype = inputs[0].name, FLOATS.get(inputs[0].type)
        if self.dtype is None:
            raise UserError(f"--edge: {path} takes {_told(inputs)}; export one that takes floats, images in [0, 1]")
        shape = [size if isinstance(size, int) and size > 0 else None for size in inputs[0].shape or ()]
        if len(shape) != 4:
            raise UserError(f"--edge: {path} takes {_told(inputs)}; export one that takes images (N, C, H, W)")
        if shape[3] in (1, 3) and shape[1] not in (1, 3):
            raise UserError(f"--edge: {path} takes {_told(inputs)}, channels last; export it with channels first")
        if not outputs[0].type.startswith("tensor("):
            raise UserError(f"--edge: {path} gives {outputs[0].type}; export it with one tensor as its output")
        self.batch, self.image = shape[0], (shape[1], shape[2], shape[3])

    def __call__(self, x: Tensor) -> Tensor:
        told = self.session.run(None, {self.name: x.detach().cpu().to(self.dtype).numpy()})[0]
        return torch.from_numpy(told).to(x.device)


def _told(parts: Any) -> str:
    return ", ".join(f"{part.name}: {part.type} {part.shape}" for part in parts)


def _digest(path: Path) -> str:
    """SHA-256 of the file and of those in which it keeps its weights."""
    try:
        import onnx
    except ImportError as error:
        raise UserError("--edge: .onnx needs onnx; pip install 'splitpriv[onnx]'") from error
    try:
        graph = onnx.load(str(path), load_external_data=False).graph
    except Exception as error:  # protobuf raises kinds of its own
        raise UserError(f"--edge: {path} is no ONNX file ({type(error).__name__}); export it again") from error
    places = {entry.value for tensor in graph.initializer for entry in tensor.external_data if entry.key == "location"}
    digest = hashlib.sha256(sha256(path).encode())
    for place in sorted(places):
        file = path.parent / place
        if not file.is_file():
            raise UserError(f"--edge: {path} keeps its weights in {place}, which is not beside it; put it there")
        digest.update(sha256(file).encode())
    return digest.hexdigest()
