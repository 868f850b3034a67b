"""A new project is whole, and nothing of anyone's is overwritten."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from splitpriv import plugins
from splitpriv.commands import cli
from splitpriv.run.prepare import from_overrides


def test_a_new_project_can_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli.main(["init", str(tmp_path / "new")]) == 0
    monkeypatch.chdir(tmp_path / "new")
    prepared = from_overrides(["plugins=[mine]", "+setting=first"])
    assert list(prepared.cfg["defense"]) == ["clip"] and prepared.cfg["choices"]["setting"] == "first"
    assert prepared.cfg["plugins"] == [str(tmp_path / "new" / "mine")]
    assert all(path in Path("README.md").read_text() for path in ("mine/clip.py", "mine/conf/setting/first.yaml"))
    plugins.use([])
    sys.modules.pop("mine", None)
    sys.modules.pop("mine.clip", None)


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").write_text("keep")
    assert cli.main(["init", str(tmp_path)]) == 2
    assert cli.main(["init", str(tmp_path / "mine")]) == 2
    assert cli.main(["init", str(tmp_path / "mine" / "below")]) == 2
    assert cli.main(["init", str(tmp_path / "new"), "seed=1"]) == 2
    told = capsys.readouterr().err.splitlines()
    assert [p.name for p in tmp_path.iterdir()] == ["mine"] and (tmp_path / "mine").read_text() == "keep"
    assert len(told) == 4 and all(line.startswith("splitpriv: init: ") for line in told)
