"""Progress without a terminal: plain lines, every few seconds, and none where they are not wanted."""

from __future__ import annotations

from splitpriv import progress


def test_lines_where_there_is_no_terminal(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.delenv("SPLITPRIV_PROGRESS", raising=False)
    with progress.bar("decoder", 40, unit="step") as bar:
        for _ in range(4):
            now[0] += 3.0
            bar.set_postfix({"held": "0.01"}, refresh=False)
            bar.update(10)
    assert capsys.readouterr().err == ("decoder: 20/40 step, held 0.01, 6 s\ndecoder: 40/40 step, held 0.01, 12 s\n")


def test_silence_on_demand(monkeypatch, capsys):
    monkeypatch.setenv("SPLITPRIV_PROGRESS", "0")
    monkeypatch.setattr(progress, "EVERY", 0.0)
    with progress.bar("decoder", 2) as bar:
        bar.update(2)
    assert capsys.readouterr().err == ""
