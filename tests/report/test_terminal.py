"""What a person reads of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from splitpriv.report import terminal
from splitpriv.store import Row, Store

ROW: Row = {
    "key": "k", "ceiling": "k", "chain": "noise", "seed": 0, "dataset": "d", "backbone": "b", "cut": 1,
    "utility/accuracy": 0.5, "cost/edge_parameters": 8.0, "cost/release_bytes": 64.0, "privacy/probe/auc": 0.75,
    "privacy/probe/accuracy": 0.5,
}  # fmt: skip


def test_a_flag_is_followed_by_what_clears_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flag = {"kind": "alone", "subject": "", "text": "only one attack was run", "remedy": "attack=[decoder,rmle]"}
    terminal.print_row({**ROW, "flags": [flag, "of before"]}, Store(tmp_path))
    text = capsys.readouterr().out
    assert text.startswith("\ndoubtful noise  d")
    assert (
        "! only one attack was run\n  to clear this: attack=[decoder,rmle]\n! of before\n  no override clears this: "
        in text
    )
    assert "75" not in text.replace("0.750", "") and "50.00%" in text
