"""What the page knows of what rows hold: metrics with unit and direction, and what a flag means."""

from __future__ import annotations

from typing import Any

from splitpriv.measure.kinds import KINDS
from splitpriv.measure.otherwise import OTHERWISE
from splitpriv.metrics import GROUPS


def facts() -> dict[str, Any]:
    """What the page knows of metrics and flags, as plain data."""
    known = {
        group: {
            name: {"label": f"{m.label} {m.unit}".strip(), "digits": m.digits, "arrow": m.arrow}
            for name, m in table.items()
        }
        for group, table in GROUPS.items()
    }
    return {"metrics": known, "flags": {name: kind.means for name, kind in KINDS.items()}, "otherwise": OTHERWISE}
