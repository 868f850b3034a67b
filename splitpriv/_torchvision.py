"""Let torchvision import beside a CPU-only torch.

PyPI's torchvision is linked against CUDA. Beside a CPU torch its compiled operators cannot load, and the import fails
with "operator torchvision::nms does not exist", taking torchmetrics, Lightning and timm with it. Everything used here
is pure Python, so it is enough to declare the two schemas first. Where the operators load, nothing is declared.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

_SCHEMAS = {
    "torchvision::nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "torchvision::qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


class _DeclareSchemas(MetaPathFinder):
    """Steps in once, just before the first `import torchvision`, so that torch is not imported any earlier."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == "torchvision":
            sys.meta_path.remove(self)
            spec = PathFinder.find_spec(name)
            if spec is not None and spec.origin is not None:
                _declare_unless_compiled(Path(spec.origin).parent)
        return None


def _declare_unless_compiled(package: Path) -> None:
    import torch

    for library in package.glob("_C*"):
        try:
            torch.ops.load_library(str(library))
            return
        except OSError:
            continue
    for name, schema in _SCHEMAS.items():
        torch.library.define(name, schema)


def allow_cpu_torch() -> None:
    """Install the hook, once; free until torchvision is imported."""
    if "torchvision" not in sys.modules and not any(isinstance(f, _DeclareSchemas) for f in sys.meta_path):
        sys.meta_path.insert(0, _DeclareSchemas())
