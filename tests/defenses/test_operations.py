"""Training reads nothing from the device, and a step takes no more operations than recorded: growth over 5 % fails.

`PYTHONPATH=.:tests:tests/defenses python -m test_operations NAME...` records some of them anew in
tests/golden/operations.json, or all, where a change is meant.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from test_defense_configs import NAMES, alone
from torch.utils._python_dispatch import TorchDispatchMode

from splitpriv.contract.defenses import reads_nothing_back
from splitpriv.run.fit import SplitFit

GOLDEN = Path(__file__).parents[1] / "golden" / "operations.json"
RECORDED = json.loads(GOLDEN.read_text())


class Counter(TorchDispatchMode):
    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def operations(name: str) -> int:
    """Of the last step of a defence's last phase, optimiser included; a read from the device raises."""
    counts, step = [], SplitFit.step

    def counted(*args: Any) -> None:
        with Counter() as counter:
            step(*args)
        counts.append(counter.count)

    with mock.patch.object(SplitFit, "step", counted):
        reads_nothing_back(alone(name))
    return counts[-1]


@pytest.mark.parametrize("name", NAMES)
def test_training_reads_nothing_back_and_takes_no_more_operations_than_recorded(name: str) -> None:
    assert name in RECORDED, f"record it: python -m test_operations {name}"
    assert operations(name) <= 1.05 * RECORDED[name]


if __name__ == "__main__":
    made = RECORDED | {name: operations(name) for name in sys.argv[1:] or NAMES}
    GOLDEN.write_text(json.dumps({name: made[name] for name in NAMES}, indent=1) + "\n")
