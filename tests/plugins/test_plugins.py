"""One's own packages, folders and files: what they bring counts, is keyed by its source, and nothing else is let in."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small import SMALL

from splitpriv import config, options, plugins, targets
from splitpriv.commands.cli import main
from splitpriv.launch.running import problems_of
from splitpriv.plugins import find
from splitpriv.run.prepare import from_overrides, prepare
from splitpriv.store.keys import fingerprint
from splitpriv.types import UserError

CODE = '''
from splitpriv.defenses.base import Defense
from splitpriv.types import NonNegative

class Shift(Defense):
    """z + by."""
    def __init__(self, *, by: NonNegative) -> None:
        super().__init__()
        self.by = by
    def after_edge(self, z):
        return z + self.by
'''
YAML = "# Adds a constant.\nshift:\n  _target_: {}.Shift\n  by: 0.5\n"


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = set(sys.modules)
    monkeypatch.delenv(find.VARIABLE, raising=False)
    yield
    plugins.use([])
    for name in set(sys.modules) - before:
        if not name.startswith(("splitpriv", "torch")):
            del sys.modules[name]


def file(folder: Path, name: str = "shifting", code: str = CODE, option: str = "shift") -> Path:
    """A plug-in of one file, with its option beside it."""
    (folder / "conf" / "defense").mkdir(parents=True, exist_ok=True)
    (folder / "conf" / "defense" / f"{option}.yaml").write_text(YAML.format(name))
    (folder / f"{name}.py").write_text(code)
    return folder / f"{name}.py"


def package(folder: Path, name: str = "shifts", init: bool = True) -> Path:
    """The same as a package, or as a folder without an __init__.py."""
    file(folder / name, "inner")
    (folder / name / "conf" / "defense" / "shift.yaml").write_text(YAML.format(f"{name}.inner"))
    if init:
        (folder / name / "__init__.py").write_text("")
    return folder / name


def key(*words: str) -> str:
    return fingerprint(node=config.compose([*words, "defense=[shift]"])["defense"])


def told(*words: str) -> str:
    """What is said of a command that is refused."""
    with pytest.raises(UserError) as error:
        from_overrides(words)
    assert len(error.value.problems) == 1, error.value.problems
    return error.value.problems[0]


@pytest.mark.parametrize("kind", ["file", "package", "folder"])
def test_a_file_a_package_and_a_folder_bring_classes_and_options(kind: str, tmp_path: Path) -> None:
    path = file(tmp_path) if kind == "file" else package(tmp_path, init=kind == "package")
    cfg = config.compose([f"plugins=[{path}]", "defense=[shift]"])
    assert cfg["plugins"] == [str(path)]
    defense = targets.build({**cfg["defense"]["shift"], "by": 0.25}, "defense.shift")()
    assert (type(defense).__name__, defense.by) == ("Shift", 0.25)
    assert "shift" in options.names(config.CONF, "defense")
    with pytest.raises(UserError, match=r"defense\.shift\.by: input should be greater"):
        targets.build({**cfg["defense"]["shift"], "by": -1.0}, "defense.shift")


def test_naming_it_is_the_consent_and_only_in_this_run(tmp_path: Path) -> None:
    path = file(tmp_path)
    key(f"plugins=[{path}]")
    with pytest.raises(UserError, match="is refused"):
        targets.locate("json.JSONDecoder", "defense.shift")
    assert told("defense=[shift]").startswith("defense: no option 'shift'")
    with pytest.raises(UserError, match=r"is refused; .* or with a plug-in that is named: plugins=\[shifting\]"):
        targets.locate("shifting.Shift", "defense.shift")


def test_an_installed_package_and_an_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path)
    about = tmp_path / "shifts-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: shifts\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[splitpriv.plugins]\nshifts = shifts\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with monkeypatch.context() as other:
        other.setattr(find, "_installed", tuple)
        by_name = key("plugins=[shifts]")
        other.setenv(find.VARIABLE, "shifts")
        assert key() == by_name
    find._installed.cache_clear()
    assert key() == by_name
    assert config.compose([])["plugins"] == ["shifts"]
    monkeypatch.undo()
    find._installed.cache_clear()


def test_keys_follow_the_source_and_only_of_what_is_used(tmp_path: Path) -> None:
    path = file(tmp_path)
    word = f"plugins=[{path}]"
    first, bare = key(word), from_overrides(SMALL).plan.row
    assert from_overrides([*SMALL, word]).plan.row == bare
    path.write_text(CODE.replace("z + self.by", "z - self.by"))
    second = key(word)
    assert second != first
    assert targets.build({"_target_": "shifting.Shift", "by": 0.5}, "defense.shift")().after_edge(1.0) == 0.5
    path.write_text(CODE.replace("class Shift(Defense):", "class Shift(Defense):\n    version = 2\n"))
    assert key(word) not in (first, second)
    path.write_text(CODE)
    assert key(word) == first
    folder = package(tmp_path)
    whole = key(f"plugins=[{folder}]")
    (folder / "helper.py").write_text("x = 1\n")
    assert key(f"plugins=[{folder}]") != whole


def test_another_process_finds_it_again_by_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path)
    monkeypatch.chdir(tmp_path)
    cfg = config.compose([*SMALL, "plugins=[shifts]", "defense=[shift]"])
    monkeypatch.chdir("/")
    plugins.use([])
    assert prepare(cfg).plan.row == prepare(cfg).plan.row
    assert cfg["plugins"] == [str(tmp_path / "shifts")]


def test_what_cannot_be_a_plug_in_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, code in {"lost": "import not_there", "wrong": "x = (", "raises": "1 / 0", "leaves": "raise SystemExit(3)",
                       "circle": "import ring", "ring": "from circle import x"}.items():  # fmt: skip
        Path(f"{name}.py").write_text(code)
    Path("numpy.py").write_text("")
    Path("no-name.py").write_text("")
    Path("notes.txt").write_text("")
    Path("empty").mkdir()
    here = str(tmp_path)
    for word, said in {
        "missing": "neither installed nor a file", "missing.py": "no file or folder missing.py", "./missing": "no file",
        "lost.py": f"(ModuleNotFoundError: No module named 'not_there' at {here}/lost.py:1); install not_there",
        "wrong.py": f"(SyntaxError: '(' was never closed at {here}/wrong.py:1)", "raises.py": "ZeroDivisionError",
        "leaves.py": "SystemExit", "circle.py,ring.py": "circular import", "numpy.py": "would be hidden; rename it",
        "no-name.py": "call it for example no_name", "./notes.txt": "is no Python file", "empty": "no Python",
        "json": "like a part of Python", "splitpriv": "like a part of splitpriv", "sys": "built into Python", "1": "",
    }.items():  # fmt: skip
        for problem in _problems(f"plugins=[{word}]"):
            assert problem.startswith("plugins: ") and said in problem and "\n" not in problem, problem
    assert _problems("plugins={a: 1}")[0].startswith("plugins: lists packages")
    monkeypatch.setenv(find.VARIABLE, "missing")
    assert _problems()[0].startswith("SPLITPRIV_PLUGINS: 'missing' is neither")


def _problems(*words: str) -> list[str]:
    with pytest.raises(UserError) as error:
        from_overrides(words)
    return error.value.problems


def test_two_of_one_name_or_of_one_option_are_told_apart_by_their_users(tmp_path: Path) -> None:
    a, b, c = file(tmp_path / "a"), file(tmp_path / "b"), file(tmp_path / "c", "other")
    assert told(f"plugins=[{a},{b}]").endswith("are both called shifting; rename one")
    assert told(f"plugins=[{a},{c}]").endswith("are both defense=shift; rename one of them")
    assert from_overrides([*SMALL, f"plugins=[{a},{a}]", "defense=[shift]"]).cfg["plugins"] == [str(a)]
    assert "is called like our own defense=noise" in told(f"plugins=[{file(tmp_path / 'd', 'fourth', option='noise')}]")


def test_what_is_wrong_inside_its_conf_is_told_with_the_file(tmp_path: Path) -> None:
    path = file(tmp_path)
    conf, word = tmp_path / "conf", f"plugins=[{path}]"
    option = conf / "defense" / "shift.yaml"

    def problem(target: str = "shifting.Shift", code: str = CODE) -> str:
        path.write_text(code)
        plugins.use(plugins.named([str(path)]))
        with pytest.raises(UserError) as error:
            targets.build({"_target_": target, "by": 1.0}, "defense.shift")
        assert len(error.value.problems) == 1
        return error.value.problems[0]

    assert problem("somewhere.else.Shift").startswith("defense.shift._target_: 'somewhere.else.Shift' is refused")
    assert "shifting has no Gone; correct" in problem("shifting.Gone")
    assert "makes no Defense" in problem(code=CODE.replace("class Shift(Defense)", "class Shift"))
    assert "takes it by position; write a *" in problem(code=CODE.replace("*, by", "by"))
    assert "is refused; name a class or function defined there" in problem("shifting.Path", "from pathlib import Path")
    option.write_text("shift: [")
    assert "is not YAML" in told(word)
    option.write_text("- a\n")
    assert "holds no settings" in told(word)
    option.write_text("# Two in a circle.\ndefaults:\n  - turn\n")
    (conf / "defense" / "turn.yaml").write_text("# Back.\ndefaults:\n  - shift\n")
    assert told(word, "defense=[shift]").startswith("defense: ")
    option.unlink()
    (conf / "defense" / "turn.yaml").rename(conf / "defense" / "turn.yml")
    assert "rename it to turn.yaml" in told(word)
    (conf / "defense").rename(conf / "defence")
    assert f"{conf / 'defence'} is no group of options" in _problems(word)[0]


def test_a_plug_in_without_conf_serves_by_its_classes(tmp_path: Path) -> None:
    path = tmp_path / "shifting.py"
    path.write_text(CODE)
    assert "brings no options, and nothing here names a class of it" in told(f"plugins=[{path}]")
    words = [*SMALL, f"plugins=[{path}]", "+defense.shift={_target_: shifting.Shift, by: 1.0}"]
    assert list(from_overrides(words).parts.attacks) == ["decoder"]


@pytest.mark.parametrize("hook", ["validate(self, chain)", "attach(self, *given)", "on_epoch_end(self, epoch)"])
def test_what_a_line_of_it_raises_is_told_by_its_place(hook: str, tmp_path: Path, capsys: Any) -> None:
    """Before, or in training: one line that names file and line, exit code 2, and no traceback of ours."""
    path = file(tmp_path, code=f"{CODE}\n    def {hook}:\n        return {{}}['nothing']\n")
    line = 1 + path.read_text().splitlines().index("        return {}['nothing']")
    where = f"paths.outputs={tmp_path / 'out'}"
    assert main(["run", *SMALL, f"plugins=[{path}]", "defense=[shift]", where]) == 2
    said = capsys.readouterr().err
    assert f"splitpriv: plugins: shifting: KeyError: 'nothing' at {path}:{line}; correct it" in said
    assert "Traceback" not in said


def test_a_bug_of_ours_stays_one(tmp_path: Path) -> None:
    plugins.use([str(file(tmp_path))])
    assert problems_of(KeyError("ours")) == []


ATTACK = """
import torch
from splitpriv.attacks.base import Attack, Reconstructor

class Grey(Attack):
    requires = frozenset({{"query", "aux"}})
    def fit(self, access, home):
        {}
        made = Reconstructor()
        made.report, made.forward = {{}}, lambda r: torch.full((len(r), *access.spec.image), 0.5)
        return made
"""


@pytest.mark.parametrize(("line", "told"), [
    ("return None", "fit returns a NoneType; return a splitpriv.attacks.base.Reconstructor"),
    ("access.aux.split.x(slice(0, 8)).zero_()", "fit changes in place what it is given"),
])  # fmt: skip
def test_an_attack_that_gives_nothing_or_spoils_what_others_read(
    line: str, told: str, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "greying.py").write_text(ATTACK.format(line))
    (tmp_path / "conf" / "attack").mkdir(parents=True)
    (tmp_path / "conf" / "attack" / "grey.yaml").write_text("# @package attack.grey\n# Grey.\n_target_: greying.Grey\n")
    words = [f"plugins=[{tmp_path / 'greying.py'}]", "attack=[grey]"]
    small = [word for word in SMALL if not word.startswith("attack=")]
    assert main(["run", *small, *words, f"paths.outputs={tmp_path / 'out'}"]) == 2
    assert f"splitpriv: attack.grey: {told}" in capsys.readouterr().err
