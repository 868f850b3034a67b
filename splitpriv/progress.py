"""Progress bars on long work: one look for fits and attacks, silent where nobody watches."""

from __future__ import annotations

import os
from typing import Any

from tqdm import tqdm


def bar(label: str, total: int, unit: str = "epoch", initial: int = 0) -> Any:
    """A bar on standard error; hidden when that is no terminal, or when SPLITPRIV_PROGRESS=0."""
    hidden: bool | None = True if os.environ.get("SPLITPRIV_PROGRESS") == "0" else None
    return tqdm(total=total, initial=initial, desc=label, unit=unit, disable=hidden, leave=False, dynamic_ncols=True)
