"""What runs the points of a sweep where Hydra brings nothing: engines of ours, chosen by `hydra/launcher=NAME`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from splitpriv.launch.task import Task

Run = Callable[[list[int]], Exception | None]  # points by number -> why one ended without a word, if one did


class Engine:
    """An engine; its settings are `conf/hydra/launcher/<name>.yaml`."""

    def ready(self, task: Task) -> AbstractContextManager[Run]:
        """Reach what runs the points, or raise UserError, before anything is left on the disk."""
        raise NotImplementedError
