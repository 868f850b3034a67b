"""What was checked before is known without torch, and only that."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from small import NOISE, SMALL, tiny

from splitpriv import config
from splitpriv.commands import cli
from splitpriv.run import known
from splitpriv.run.prepare import prepare
from splitpriv.store import Store

CHAINS = (NOISE, ("defense=[cloak]",), ("attack=[decoder,probe]", "attack.probe.attribute=tint"))


@pytest.mark.parametrize("words", CHAINS, ids=["noise", "phases", "clean"])
def test_a_plan_comes_back_as_it_was(words: tuple[str, ...]) -> None:
    cfg = config.compose(words)
    assert known._recalled(cfg) is None
    made = known.of(cfg)
    assert known._recalled(cfg) == made.plan == prepare(cfg).plan


def test_what_is_known_depends_on_settings_code_and_content() -> None:
    cfg = tiny(*NOISE)
    known.of(cfg)
    place = known._place(cfg)
    assert known._recalled({**cfg, "seed": 7}) is None
    assert known._recalled({**cfg, "paths": {**cfg["paths"], "outputs": "elsewhere"}}) is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(known, "_code", lambda: "edited")
        assert known._recalled(cfg) is None
    place.write_text(place.read_text().replace(known.of(cfg).plan.row, "0" * 16))
    assert known._recalled(cfg) is None


def test_files_and_code_of_ones_own_are_asked_anew(tmp_path: Path) -> None:
    cfg = tiny(*NOISE)
    made = prepare(cfg)
    assert known._is_told_by_config(made)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(made.parts.dataset), "content", lambda self, root: "of files")
        assert not known._is_told_by_config(made)
    made.cfg["backbone"]["weights"] = str(tmp_path / "w.pt")
    assert known._is_told_by_config(made)
    (tmp_path / "w.pt").touch()
    assert not known._is_told_by_config(made)
    made.cfg["backbone"] = {"_target_": "mine.Network"}
    assert not known._is_told_by_config(made)


def test_check_and_a_cached_run_do_without_torch(capsys: pytest.CaptureFixture[str]) -> None:
    words = [*SMALL, "attack=[decoder]"]
    cli.main(["check", *words])
    told = capsys.readouterr().out
    key = told.split()[-2]
    Store(os.environ["SPLITPRIV_OUTPUTS"]).add_row({"key": key, "chain": "none", "seed": 0})
    code = f"""
import sys
from splitpriv.commands import cli
assert cli.main(["check", *{words}]) == cli.main(["run", *{words}]) == cli.main(["rows"]) == 0
assert cli.main(["check", "-m", *{words}, "seed=0"]) == 0
assert not {{'torch', 'pytorch_lightning', 'matplotlib'}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[: len(told.split())] == [*told.split()[:-1], "cached"]
