"""File formats of an exported half: how each is written, and how its runtime reads it again."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import secrets
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from splitpriv.types import Shape, UserError

Run = Callable[[np.ndarray], np.ndarray]  # (N, ...) float32 -> (N, ...) float32


@dataclass(frozen=True)
class Format:
    """One way to deploy: its ending, the modules that it needs, those of which extra, and what it does of draws."""

    ending: str
    needs: tuple[str, ...]
    extra: str
    most: int | None  # images per call; None: any number
    draws: str


FORMATS = {
    "torch": Format(".pt2", (), "", None, "torch's generator, which starts from the same number in every process: call "
                                          "torch.seed() once in each"),
    "onnx": Format(".onnx", ("onnx", "onnxruntime", "onnxscript"), "onnx", None,
                   "onnxruntime's generator, which starts from the clock, alike for all sessions of a process: call "
                   "onnxruntime.set_seed(secrets.randbits(63)) before each session"),
    "executorch": Format(".pte", ("executorch",), "executorch", 1, "the system's entropy, anew for every draw"),
}  # fmt: skip


def require(name: str) -> Format:
    """A format by its name; raise UserError for an unknown one, or one whose libraries are not installed."""
    if name not in FORMATS:
        raise UserError(f"export --format: there is no {name!r}; choose one of {', '.join(FORMATS)}")
    form = FORMATS[name]
    if missing := [module for module in form.needs if find_spec(module) is None]:
        raise UserError(f"export --format {name}: needs {', '.join(missing)}, not installed here; "
                        f"pip install 'splitpriv[{form.extra}]'")  # fmt: skip
    return form


def write(name: str, half: Any, shape: Shape, path: Path, what: str) -> tuple[bool, bool]:
    """Write the module `half` on (N, *shape) to `path`; whether N is free there, and whether it draws.

    Raises UserError for what the format cannot express; `what` names the half in its message.
    """
    from splitpriv.deploy import graph

    form = FORMATS[name]
    program, free = graph.traced(half, shape, form.most, what)
    random = graph.is_random(program)
    try:
        with _quiet():
            WRITERS[name](program if name == "torch" else graph.elementary(program), path)
    except OSError:
        raise
    except Exception as error:  # of many kinds: operations, types or shapes that a format lacks
        raise UserError(f"export --format {name}: the {what} has an operation that it cannot express "
                        f"({_operation(error)}); choose another format") from error  # fmt: skip
    return free, random


def _operation(error: BaseException) -> str:
    """The operation that an exporter lacks, or else the last line of what it says."""
    if missing := re.search(r"\baten\.\w+", str(error)):
        return missing[0]
    told = [line.strip() for line in str(error).splitlines() if line.strip()]
    return told[-1][:160] if told else type(error).__name__


def _write_torch(program: Any, path: Path) -> None:
    import torch

    torch.export.save(program, path)


def _write_onnx(program: Any, path: Path) -> None:
    import torch

    torch.onnx.export(program, (), path, dynamo=True, external_data=False, verbose=False, input_names=["input"],
                      output_names=["output"])  # fmt: skip


def _write_executorch(program: Any, path: Path) -> None:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    path.write_bytes(lowered.to_executorch().buffer)


WRITERS: dict[str, Callable[[Any, Path], None]] = {
    "torch": _write_torch, "onnx": _write_onnx, "executorch": _write_executorch,
}  # fmt: skip


def read(path: Path) -> Run:
    """An exported half in its own runtime, on one thread; the format follows from the ending."""
    with _quiet():
        return READERS[path.suffix](path)


def _read_torch(path: Path) -> Run:
    import torch

    module = torch.export.load(path).module()
    return lambda x: module(torch.from_numpy(x)).detach().numpy()


def _read_onnx(path: Path) -> Run:
    import onnxruntime

    onnxruntime.set_seed(secrets.randbits(63))  # else all sessions of a process draw the same noise
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: np.asarray(session.run(None, {name: x})[0])


def _read_executorch(path: Path) -> Run:
    import torch
    from executorch.runtime import Runtime

    def answer(x: np.ndarray) -> np.ndarray:
        try:
            return method.execute([torch.from_numpy(x)])[0].numpy().copy()
        except RuntimeError as error:
            raise _unfit(error) from error

    try:
        method = Runtime.get().load_program(path).load_method("forward")
    except RuntimeError as error:
        raise _unfit(error) from error
    assert method is not None
    return answer


def _unfit(error: RuntimeError) -> UserError:
    """What ExecuTorch writes and its own runtime does not take: an operation without a kernel, mostly."""
    return UserError(f"export --format executorch: its runtime does not take the file ({error}); choose another format")


READERS: dict[str, Callable[[Path], Run]] = {
    ".pt2": _read_torch, ".onnx": _read_onnx, ".pte": _read_executorch,
}  # fmt: skip


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what exporters tell their developers."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
