"""Progress without a terminal: plain lines, every few seconds, and none where they are not wanted."""

from __future__ import annotations

import re
from pathlib import Path

from tqdm import tqdm

import splitpriv
from splitpriv import progress


def test_lines_where_there_is_no_terminal(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress, "_printed", 0.0)
    monkeypatch.delenv("SPLITPRIV_PROGRESS", raising=False)
    with progress.bar("decoder", 40, unit="step") as bar:
        for _ in range(4):
            now[0] += 3.0
            bar.set_postfix({"held": "0.01"}, refresh=False)
            bar.update(10)
    assert capsys.readouterr().err == ("decoder: 20/40 step, held 0.01, 6 s\ndecoder: 40/40 step, held 0.01, 12 s\n")


def test_many_short_ones_are_not_silent_together(monkeypatch, capsys):
    """Twenty searches of three seconds each are a minute; and a long step of a bar has lines of its own."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress, "_printed", 0.0)
    monkeypatch.delenv("SPLITPRIV_PROGRESS", raising=False)
    with progress.bar("pool", 4, unit="part") as bar:
        for _ in range(4):
            for _ in progress.steps("descent", 3):
                now[0] += 1.0
            bar.update()
    assert capsys.readouterr().err == "descent: 2/3 step, 2 s\ndescent: 1/3 step, 1 s\n"


def test_what_has_no_known_end_is_counted(monkeypatch, capsys):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    monkeypatch.delenv("SPLITPRIV_PROGRESS", raising=False)
    with progress.bar("choice on aux", None, unit="plan") as bar:
        bar.update()
    assert capsys.readouterr().err == "choice on aux: 1 plan, 0 s\n"


def test_silence_on_demand(monkeypatch, capsys):
    monkeypatch.setenv("SPLITPRIV_PROGRESS", "0")
    monkeypatch.setattr(progress, "EVERY", 0.0)
    with progress.bar("decoder", 2) as bar:
        bar.update(2)
    assert capsys.readouterr().err == ""


def test_lines_take_the_place_of_a_bar_wherever_one_is_used(monkeypatch):
    """What the package asks of a bar, both kinds have."""
    monkeypatch.delenv("SPLITPRIV_PROGRESS", raising=False)
    used = {
        found for path in Path(splitpriv.__file__).parent.rglob("*.py")
        for found in re.findall(r"\b(?:bar|ticker)\.(\w+)\(", path.read_text())
    }  # fmt: skip
    assert {"update", "set_postfix", "close"} <= used
    lines = progress.bar("fit", 1)
    assert isinstance(lines, progress.Lines) and all(hasattr(lines, name) and hasattr(tqdm, name) for name in used)
