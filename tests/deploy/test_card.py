"""The card says what a row holds, no more: as a page, printed, and as Markdown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splitpriv.commands import cli
from splitpriv.deploy import card, faces, sheet
from splitpriv.report.terminal import judged
from splitpriv.store import Row, Store
from splitpriv.types import UserError

Shelf = tuple[Store, Row]


@pytest.fixture(scope="module")
def made(shelf: Shelf) -> card.Card:
    store, row = shelf
    whole = judged([row], store)[0]
    return card.card(whole, store, faces.faces(whole, store))


def test_it_says_who_attacks_what_they_got_and_what_is_left(made: card.Card, shelf: Shelf) -> None:
    row = shelf[1]
    told = {section.title: " ".join(section.lines) for section in made.sections}
    assert list(told) == ["Decision", "Threat model", "Mitigation", "Risk: adversarial testing", "Utility and cost",
                          "Residual risk", "Not tried"]  # fmt: skip
    assert made.verdict == "void" and "says nothing about the risk" in told["Decision"]
    assert "not the reconstruction of training data" in told["Threat model"] and "black box" in told["Threat model"]
    assert "white box" not in told["Threat model"] and "white-box" in told["Not tried"]
    assert "Gaussian noise" in told["Mitigation"] and "sigma 0.3" in told["Mitigation"]
    assert f"{row['cost/bits_per_image']:,.0f} bit/image" in told["Utility and cost"]
    assert "one release of an image" in told["Residual risk"] and "only 8 victims" in told["Residual risk"]
    (head, mse, *_) = made.sections[3].table
    assert head[1:3] == ["average risk", "maximum risk"]
    assert float(mse[1]) == pytest.approx(row["privacy/worst/mse"], abs=1e-4)
    assert float(mse[2]) < float(mse[1]) and float(mse[3]) == pytest.approx(row["floor/mean_image/mse"], abs=1e-4)


def test_five_worst_and_five_median_victims_are_shown(made: card.Card) -> None:
    worst, median = made.faces
    assert len(worst.x) == len(median.x) == len(worst.images) == 5
    assert sorted(worst.said) == worst.said and float(worst.said[0]) <= float(median.said[0])
    assert faces.chosen(range(100))["median"] == [47, 48, 49, 50, 51] and faces.chosen(range(3))["worst"] == [0, 1, 2]


def test_without_its_run_the_store_s_few_pictures_stand_in(shelf: Shelf, capsys: Any) -> None:
    store, row = shelf
    shown = faces.faces({**row, "backbone.depth": 3}, store)
    assert [len(f.x) for f in shown] == [3, 3] and "the few victims that the store keeps" in capsys.readouterr().err
    assert faces.faces({k: v for k, v in row.items() if not k.startswith("picture/")}, store) == []


def test_a_page_is_whole_and_inert(made: card.Card, tmp_path: Path) -> None:
    hostile = card.Card("<script>alert(1)</script>", "sound", "a\x1b[31mb", made.sections, made.faces)
    page = sheet.html(hostile)
    assert "<script" not in page and "\x1b" not in page and "&lt;script&gt;" in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page) and page.count("data:image/png") == 2
    marked = sheet.markdown(hostile, "card.png")
    assert "\\<script\\>" in marked and "![" in marked and "| MSE" in marked
    (out, strip) = sheet.write(made, tmp_path / "cards" / "one.md")
    assert strip.name in out.read_text() and strip.read_bytes().startswith(b"\x89PNG")


def test_a_row_with_little_in_it_has_a_card(shelf: Shelf) -> None:
    bare = {"key": "0123456789abcdef", "chain": "none", "seed": 0, "verdict": "sound", "flags": []}
    told = sheet.markdown(card.card(bare, shelf[0], []), "")
    assert "No attack was run" in told and "sends the feature as it is" in told
    with pytest.raises(UserError, match="the study tabular"):
        card.card({**bare, "study": "tabular"}, shelf[0], [])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nokey"], "has a key that begins with 'nokey'"),
        (["KEY", "--out", "card.docx"], "a card is .html, .pdf or .md"),
        (["KEY", "--out", "card.pdf"], "a PDF is printed by Chromium or Chrome, and none is on PATH"),
    ],
)
def test_bad_input_is_one_line(words: list[str], told: str, shelf: Shelf, capsys: Any,
                               monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(sheet, "BROWSERS", ("no-such-browser",))
    words = [shelf[1]["key"] if w == "KEY" else w for w in words]
    assert cli.main(["card", *words, f"paths.outputs={shelf[0].root}"]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert told in said


def test_the_command_writes_a_page(shelf: Shelf, capsys: Any) -> None:
    store, row = shelf
    assert cli.main(["card", row["key"][:6], "--no-pictures", f"paths.outputs={store.root}"]) == 0
    page = (store.root / "cards" / f"{row['key']}.html").read_text()
    assert "Defence: noise" in page and "data:image" not in page


@pytest.mark.slow
@pytest.mark.skipif(sheet.browser() is None, reason="no browser")
def test_it_prints_on_one_page(made: card.Card, tmp_path: Path) -> None:
    (out,) = sheet.write(made, tmp_path / "card.pdf")
    assert out.read_bytes().startswith(b"%PDF") and re.findall(rb"/Count (\d+)", out.read_bytes()) == [b"1"]
    assert np.prod(made.faces[0].x.shape)
