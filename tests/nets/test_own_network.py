"""A stranger's module and weights in a run: consent, keys, no training, the cuts as a table and a picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from splitpriv.commands.cli import main
from splitpriv.config import compose
from splitpriv.run import stages
from splitpriv.run.context import Run
from splitpriv.run.prepare import check, from_overrides
from splitpriv.store import Store
from splitpriv.types import UserError
from tests.small import TINT

SOURCE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes, width=4):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 4, 1), nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        self.body = nn.Conv2d(width, 8, 3, 2, 1)
        self.head = nn.Linear(8, num_classes)

    def forward(self, x):
        return self.head(self.body(self.stem(x)).mean((2, 3)))

class Noisy(Net):
    def forward(self, x):
        return super().forward(x + 0.1 * torch.randn_like(x))

class Frozen(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.requires_grad_(False)

def text(num_classes):
    return "no module"

def broken(num_classes):
    raise ValueError("width must be even")

four = 4
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    (folder / "mynet.py").write_text(SOURCE)
    return folder


def words(own: Path, *more: str) -> list[str]:
    return ["backbone=module", f"plugins=[{own / 'mynet.py'}]", "backbone.name=mynet:Net", *more]


def problems(*over: str) -> list[str]:
    try:
        return check(compose(over))
    except UserError as error:
        return error.problems


def weights_of(own: Path, seed: int, name: str = "w.pt") -> Path:
    space: dict[str, Any] = {}
    exec(SOURCE, space)
    torch.manual_seed(seed)
    torch.save(space["Net"](10).state_dict(), own / name)
    return own / name


def test_naming_the_plug_in_is_the_consent(own: Path) -> None:
    assert problems(*words(own)) == []
    (told,) = problems("backbone=module", "backbone.name=mynet:Net")
    assert "is of no plug-in; consent to its code with plugins=[mynet]" in told
    (told,) = problems("backbone=module", "backbone.name=os:getcwd")
    assert "is of no plug-in" in told


@pytest.mark.parametrize(
    ("name", "told"),
    [("Net backbone.width=3", "backbone.width: no such key here"), ("text", "makes a str, not a torch.nn.Module"),
     ("broken", "(ValueError: width must be even)"), ("four", "cannot be called"), ("missing", "missing")],
)  # fmt: skip
def test_what_makes_no_module_is_said(own: Path, name: str, told: str) -> None:
    (problem,) = problems(*words(own), *f"backbone.name=mynet:{name}".split())
    assert told in problem and problem.startswith("backbone")


def test_a_key_holds_source_and_weights_by_content(own: Path) -> None:
    first = weights_of(own, 1)
    keys = [from_overrides(words(own, f"backbone.weights={first}")).plan.fits]
    again = weights_of(own, 1, "copy.pt")
    keys.append(from_overrides(words(own, f"backbone.weights={again}")).plan.fits)
    keys.append(from_overrides(words(own, f"backbone.weights={weights_of(own, 2)}")).plan.fits)
    keys.append(from_overrides(words(own)).plan.fits)
    (own / "mynet.py").write_text(SOURCE + "\n# changed\n")
    keys.append(from_overrides(words(own)).plan.fits)
    (own / "mynet.py").write_text(SOURCE)
    assert keys[0] == keys[1] and len({tuple(key) for key in keys}) == 4


def test_a_network_that_came_frozen_has_nothing_to_train(own: Path) -> None:
    frozen = [*words(own), "backbone.name=mynet:Frozen"]
    assert any(p.startswith("backbone: nothing learns in phase 'fit'") for p in problems(*frozen))
    assert problems(*frozen, "optim=none") == []


@pytest.mark.parametrize(
    ("more", "told"),
    [(["split=bottleneck"], "split.bottleneck: its layers have to learn"), (["monitor=decoder"], "monitor: watches"),
     (["defense=[nopeek]"], "defense.nopeek: has to learn"), (["optim.epochs=2"], "optim.epochs: ")],
)  # fmt: skip
def test_nothing_that_must_learn_goes_with_no_training(more: list[str], told: str) -> None:
    assert any(problem.startswith(told) for problem in problems("optim=none", *more))
    assert problems("optim=none", "defense=[noise]") == []


def test_own_weights_are_evaluated_as_they_are(own: Path, tmp_path: Path) -> None:
    file = weights_of(own, 3)
    run = untrained(own, tmp_path, f"backbone.weights={file}", "defense=[noise]")
    kept = torch.load(file)
    state = run.model.net.state_dict()
    assert all(torch.equal(state[next(k for k in state if k.endswith(f"net.{name}"))], t) for name, t in kept.items())
    facts = facts_of(run, tmp_path)  # of a chain, which nothing trained
    assert "utility/accuracy" in facts and facts["adaptive"] == {"noise": ["draws"]}


def test_a_network_that_draws_has_no_features_to_keep_and_asks_for_repeated_queries(own: Path, tmp_path: Path) -> None:
    run = untrained(own, tmp_path, "backbone.name=mynet:Noisy", "defense=[none]")
    index = torch.arange(len(run.aux))
    assert not torch.equal(run.aux.release(index, 4), run.aux.release(index, 4))
    assert facts_of(run, tmp_path)["adaptive"] == {"edge": ["draws"]}


def untrained(own: Path, store: Path, *more: str) -> Run:
    quick = (w for w in TINT if not w.startswith(("backbone.", "optim.", "split.")))
    return Run(
        from_overrides(words(own, "split.at=body", "optim=none", *quick, *more)), Store(store), torch.device("cpu")
    )


def facts_of(run: Run, home: Path) -> dict[str, Any]:
    stages.utility(run, home)
    facts: dict[str, Any] = json.loads((home / "facts.json").read_text())
    return facts


def test_the_cuts_are_printed_and_drawn(capsys: pytest.CaptureFixture[str], own: Path, tmp_path: Path) -> None:
    out = tmp_path / "cuts.png"
    assert main(["cuts", *words(own), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "stem" in printed and "4x8x8" in printed and "112" in printed and out.stat().st_size > 10_000
    assert main(["cuts", "backbone=tiny"]) == 0
    assert "conv2 (middle)" in capsys.readouterr().out
    assert main(["cuts", "backbone=tiny", "--out", "x.txt"]) == 2
