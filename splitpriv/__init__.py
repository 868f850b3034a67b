"""splitpriv: run, attack and compare defences of split inference.

From Python: `run(overrides)`, `load(key)`, `rows(...)` and `audit(edge, aux, victims)`; see `splitpriv.api`. Nothing is
imported before it is asked for.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

from splitpriv._torchmetrics import import_late
from splitpriv._torchvision import allow_cpu_torch

if TYPE_CHECKING:
    from splitpriv.api import Rows, Run, audit, load, rows, run
    from splitpriv.types import UserError

__version__ = "0.1.0"
__all__ = ["Rows", "Run", "UserError", "audit", "load", "rows", "run"]

allow_cpu_torch()
import_late()


class _Callable(ModuleType):
    """`splitpriv.run` is the room in which runs are made and, called, makes one: one name for both."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return importlib.import_module("splitpriv.api").run(*args, **kwargs)


importlib.import_module("splitpriv.run").__class__ = _Callable


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'splitpriv' has no attribute {name!r}")
    return getattr(importlib.import_module("splitpriv.types" if name == "UserError" else "splitpriv.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
