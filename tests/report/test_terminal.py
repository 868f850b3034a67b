"""What a person reads of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from splitpriv.api.listing import Rows
from splitpriv.report import terminal, words
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


def test_the_suite_s_answer_comes_first_under_its_name_and_the_worst_case_is_an_oracle(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"suite": 0.03, "autoinvert": 0.04, "worst": 0.01}
    mse = {f"privacy/{name}/mse": value for name, value in names.items()}
    told = {"suite": "autoinvert-9 quick", "picture/autoinvert": "measure/a/grid.png", "suite/decoder/mse": 0.05}
    terminal.print_row({**ROW, **mse, **told, "protocol.queries": 16}, Store(tmp_path))
    out = capsys.readouterr().out
    lines = [line.split() for line in out.splitlines()]
    assert "16 queries" in " ".join(out.split()) and "autoinvert-9 quick leaves MSE 0.0300" in " ".join(out.split())
    first, second = (line for line in lines if line[:1] in (["autoinvert-9"], ["autoinvert"]) and line[-1][:3] == "0.0")
    assert first == ["autoinvert-9", "quick,", "its", "answer", "0.0300"] and second == ["autoinvert", "0.0400"]
    assert ["worst", "case", "per", "image", "(an", "oracle)", "0.0100"] in lines


def test_words_and_notebooks_tell_how_often_images_were_released() -> None:
    row = {**ROW, "verdict": "sound", "flags": [], "protocol.queries": 16}
    assert "cut at 1, 16 queries, seed 0" in words.summary(row)[0]
    assert "queries" not in words.summary({**row, "protocol.queries": 1})[0]
    head = Rows([row])._repr_html_()
    assert "<th>protocol.queries</th>" in head and "<td>16</td>" in head
