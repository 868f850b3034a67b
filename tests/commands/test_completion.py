"""What a shell proposes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from splitpriv import config
from splitpriv.commands import cli, completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_gets_its_code(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", shell]) == 0
    assert "splitpriv" in capsys.readouterr().out
    with pytest.raises(SystemExit) as refused:
        cli.main(["completion", "csh"])
    assert refused.value.code == 2


@pytest.mark.parametrize(
    ("prefix", "command", "proposed"),
    [
        ("data", "run", "dataset="), ("dataset=ci", "run", "dataset=cifar10"), ("defense=", "run", "defense=[cem"),
        ("defense=[cem,no", "check", "defense=[cem,noise"), ("+setting=d", "run", "+setting=demo"),
        ("defense.noise.", "run", "defense.noise.sigma="), ("attack.rmle.st", "run", "attack.rmle.steps="),
        ("optim.ep", "run", "optim.epochs="), ("paths.", "rows", "paths.outputs="), ("sho", "leaks", "short"),
    ],
)  # fmt: skip
def test_groups_options_and_settings_are_proposed(prefix: str, command: str, proposed: str) -> None:
    assert proposed in list(completion.words(prefix, command))


def test_every_option_of_every_group_is_proposed() -> None:
    for group in ("dataset", "backbone", "defense", "attack", "track"):
        told = {word.rpartition("=")[2].lstrip("[") for word in completion.words(f"{group}=")}
        assert {path.stem for path in (config.CONF / group).glob("*.yaml")} <= told


def test_a_shell_is_answered_without_torch(tmp_path: Path) -> None:
    line = "splitpriv check dataset=cif"
    answer = tmp_path / "answer"
    code = ("import sys, os, splitpriv.commands.cli as cli\n"
            "def leave(code):\n    os.write(2, str('torch' in sys.modules).encode()); os._exit(code)\n"
            "import argcomplete; real = argcomplete.autocomplete\n"
            "argcomplete.autocomplete = lambda top, **o: real(top, exit_method=leave, **o)\n"
            "cli.main([])")  # fmt: skip
    env = {**os.environ, "_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)),
           "_ARGCOMPLETE_STDOUT_FILENAME": str(answer), "_ARGCOMPLETE_COMP_WORDBREAKS": ""}  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert done.stderr == "False" and {"dataset=cifar10", "dataset=cifar100"} <= set(answer.read_text().split("\x0b"))
