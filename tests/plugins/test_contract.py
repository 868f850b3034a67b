"""What `splitpriv plugin test` finds: each check fails for an option that breaks it, and says how."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from splitpriv import plugins
from splitpriv.commands import cli
from splitpriv.contract import attacks, backbones, base, defenses, run, runs, yamls
from splitpriv.plugins import find
from splitpriv.types import UserError

LANTERN = Path(__file__).parents[2] / "examples" / "plugin" / "lantern"


@pytest.fixture
def lantern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """The template with something in it replaced, named for all that is composed."""
    import shutil

    root = tmp_path / "lantern"
    shutil.copytree(LANTERN, root)
    monkeypatch.setenv(find.VARIABLE, str(root))
    base.composed.cache_clear()

    def replace(file: str, old: str, new: str) -> None:
        text = (root / file).read_text()
        assert old in text
        (root / file).write_text(text.replace(old, new))
        plugins.use(plugins.named([]))

    plugins.use(plugins.named([]))
    yield replace
    plugins.use([])
    base.composed.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "lantern"]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("file", "old", "new", "check", "said"),
    [
        ("shuffle.py", "return torch.cat([z[rows, order], z[:, moved:]], 1)", "return z", defenses.changes_something,
         "it changes neither"),
        ("shuffle.py", "self.share * z.shape[1]), torch", "float(z.sum())), torch", defenses.CHECKS[5],
         "aten._local_scalar"),
        ("shuffle.py", "z.shape[1]), torch", "z[0, :, 0].shape[0]), torch", defenses.CHECKS[3], "too many indices"),
        ("nearest.py", ".mean(1)", ".mean(2)", attacks.never_waits, "of 10 releases it recovers (10, 3, 8, 8)"),
        ("nearest.py", "Neighbours(images", "Neighbours(images * __import__('random').random()", attacks.repeats,
         "gives other numbers when it is repeated"),
        ("patches.py", '"deep": "mix2"', '"deep": "mix3"', backbones.takes_images, "lies after 'mix3'; its stages are"),
        ("patches.py", "fc=nn.Linear(width, ", "fc=nn.Linear(width, 1 + ", backbones.takes_images, "it answers (2, 8)"),
        ("lanterns.py", "size), 3", "size), 2", runs.is_read, "are not whole numbers below 2"),
        ("lanterns.py", "RandomState(self.seed)", "RandomState()", runs.is_read, "reads other images each time"),
        ("conf/table/glow.yaml", "split=middle, ", "split=muddle, ", runs.plans, "split muddle is not in"),
    ],
)  # fmt: skip
def test_what_breaks_a_check_is_said(
    file: str, old: str, new: str, check: Callable[[str], None], said: str, lantern: Callable[..., None]
) -> None:
    lantern(file, old, new)
    option = {"shuffle.py": "shuffle", "nearest.py": "nearest", "patches.py": "patches", "lanterns.py": "lanterns"}
    with pytest.raises(Exception, match=r".") as error:
        check(option.get(file, "glow"))
    told = "; ".join(error.value.problems) if isinstance(error.value, UserError) else run.told(error.value)
    assert said in told and "\n" not in told
    assert (
        isinstance(error.value, AssertionError | UserError)
        or f"at {find.Path(plugins.active()[0].root) / file}" in told
    )


def test_a_yaml_and_its_signature_agree(lantern: Callable[..., None]) -> None:
    lantern("shuffle.py", "*, share: Fraction)", "*, share: Fraction, more: int = 1)")
    with pytest.raises(AssertionError, match="its YAML does not say more"):
        yamls.matches_its_signature("defense", "shuffle")


def test_a_tracker_that_fails_is_told(lantern: Callable[..., None]) -> None:
    lantern("diary.py", 'told = [f"', 'told = [f"{nothing}')
    with pytest.raises(UserError, match=r"track diary: failed, .*NameError"):
        runs.records("diary")


def test_the_command_lists_and_tests(lantern: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plugin", "list"]) == 0
    assert "defense=shuffle          Channels of z in another order" in capsys.readouterr().out
    assert cli.main(["plugin", "test", "--only", "table/glow"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2 kept, 0 broken"
    lantern("conf/table/glow.yaml", "split=middle, ", "split=muddle, ")
    assert cli.main(["plugin", "test", "--only", "table/glow"]) == 1
    assert "broken  table=glow: plans: none: split muddle" in capsys.readouterr().out
    assert cli.main(["plugin", "test", "--only", "table/glo"]) == 2
    assert cli.main(["plugin", "test", "json"]) == 2
