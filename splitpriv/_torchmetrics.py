"""Let Lightning have torchmetrics' two base classes without the rest of it.

`import torchmetrics` brings every metric, torchvision and scipy.signal: a quarter of what a run spends before its first
step. Lightning, which imports it always, asks for the base classes and the version alone. So those are handed out
first; the package runs its own import when anything else of it is asked for, and then is what it would have been.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import version
from logging import getLogger
from types import ModuleType
from typing import Any

_FIRST = {"Metric": "torchmetrics.metric", "MetricCollection": "torchmetrics.collections"}


class _Late(Loader):
    """Runs the import that `loader` would run when a name is asked for that is not among the first."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        def late(name: str) -> Any:
            if part := sys.modules.get(f"{module.__name__}.{name}"):  # in the midst of its own import
                return part
            if name in _FIRST:
                with suppress(ImportError):  # another version, put together in another way: as it would have been
                    import_module("torchmetrics.utilities")  # first: it and the base class import one another
                    return getattr(import_module(_FIRST[name]), name)
            elif name.startswith("__") and name != "__all__":  # asked of every module by some
                raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
            module.__dict__.pop("__getattr__", None)
            self.loader.exec_module(module)
            return getattr(module, name)

        module.__dict__.update(__getattr__=late, __version__=version("torchmetrics"), _logger=getLogger("torchmetrics"))


class _Finder(MetaPathFinder):
    """Steps in once, at the first `import torchmetrics`."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "torchmetrics":
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Late(spec.loader)
        return spec


def import_late() -> None:
    """Install the hook, once; free until torchmetrics is imported."""
    if "torchmetrics" not in sys.modules and not any(isinstance(f, _Finder) for f in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
