"""No input makes `check` or `run` end in a traceback: real presets, changed by values that nobody should give."""

from __future__ import annotations

import copy
import functools
import resource
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small import DECODER, MONITOR, SMALL, TINT

from splitpriv import config
from splitpriv.launch import points
from splitpriv.run import pipeline
from splitpriv.run.prepare import check, prepare
from splitpriv.store import Store
from splitpriv.types import UserError

PRESETS = [
    (*SMALL, *DECODER), (*SMALL, *MONITOR), (*TINT, *DECODER, "defense=[cem,noise]"), ("+setting=demo",),
    (*SMALL, "defense=[vib]", "attack=[rmle]"), (*SMALL, "defense=[adversarial]", "optim=cem", "split=bottleneck"),
    ("defense=[prune]",), ("defense=[cloak]", "measure=audit", "split=raw"), ("defense=[topk,quantize,ldp]",),
    ("+setting=compare",), ("+setting=reid_small",), ("knowledge=disjoint", "split=budget", "protocol=cem_official"),
    ("knowledge=other_set", "dataset@knowledge.source=gaussian", "optim=adam", "track=[csv]"), ("dataset=identities",),
]  # fmt: skip
TARGETS = ["splitpriv.commands.cli.main", "splitpriv.__main__.main", "splitpriv.defenses.noise.Noise", "os.system",
           "torch.optim.SGD", "torch.optim.LBFGS", "torch.optim.lr_scheduler.OneCycleLR", "splitpriv.nets.small.tiny",
           "splitpriv.types.Count", "splitpriv.config.compose", "", "x", "splitpriv.", 3, None]  # fmt: skip
PLAIN = st.one_of(
    st.none(), st.booleans(), st.sampled_from([0, -1, 1, 2, 3, 5, 64, 1000, 10**6, 2**31, 2**53, 2**63, 10**40]),
    st.sampled_from([0.0, -0.5, 0.5, 1.0, 1e-30, 1e9, 1e300, float("nan"), float("inf"), -float("inf")]),
    st.sampled_from(["", "auto", "None", "1e-3", "mean", "conv1", "y", "é" * 50, "../x", "${optim}", "???", "\0"]),
)  # fmt: skip
HOSTILE = st.one_of(
    PLAIN, st.lists(PLAIN, max_size=4), st.just({}), st.dictionaries(st.sampled_from(["a", "at", "lr", ""]), PLAIN),
    st.builds(lambda t: {"_target_": t}, st.sampled_from(TARGETS)), st.lists(st.lists(PLAIN, max_size=3), max_size=3),
)  # fmt: skip
FUZZ = settings(deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
Change = tuple[float, str, Any]


@functools.cache
def preset(index: int) -> config.Config:
    return config.compose(list(PRESETS[index]))


def places(tree: dict[Any, Any]) -> Iterator[tuple[dict[Any, Any], Any]]:
    for key, value in tree.items():
        yield tree, key
        if isinstance(value, dict):
            yield from places(value)


def changed(index: int, changes: list[Change]) -> config.Config:
    """A preset with values replaced, keys removed or added, each at a share of the way through its places."""
    cfg = copy.deepcopy(preset(index))
    for share, how, value in changes:
        found = list(places({k: v for k, v in cfg.items() if k not in ("paths", "choices")}))
        node, key = found[int(share * len(found))]
        node = cfg if key in cfg and node.get(key) is cfg.get(key) else node
        if how == "remove":
            node.pop(key, None)
        else:
            node["extra" if how == "add" else "_target_" if how == "target" else key] = copy.deepcopy(value)
    return cfg


CHANGES = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True), st.sampled_from(["set", "set", "set", "remove", "add", "target"]), HOSTILE
    ),
    min_size=1, max_size=3,
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _little_memory() -> Iterator[None]:
    """What would take gigabytes fails here, instead of taking the machine along."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = (
        int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() if Path("/proc").exists() else 0
    )
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**33, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def one_line_each(problems: list[str]) -> None:
    assert all(problem and "\n" not in problem for problem in problems)


def attempt(index: int, changes: list[Change]) -> None:
    one_line_each(check(changed(index, changes)))


@settings(FUZZ, max_examples=100)
@given(st.integers(0, len(PRESETS) - 1), CHANGES)
def test_check_always_answers(index: int, changes: list[Change]) -> None:
    attempt(index, changes)


@pytest.mark.slow
@settings(FUZZ, max_examples=5000)
@given(st.integers(0, len(PRESETS) - 1), CHANGES)
def test_check_always_answers_at_length(index: int, changes: list[Change]) -> None:
    attempt(index, changes)


KEYS = ["seed", "defense", "attack", "dataset", "optim", "optim.epochs", "optim.optimizer.lr", "defense.noise.sigma",
        "+defense.noise.sigma", "paths.outputs", "~optim", "~seed", "+x", "++optim.batch", "decoder@attack.decoder.net",
        "+setting", "hydra.sweep.dir", "objective", "protocol.slices", "split.at", "choices", "--seed", "", "@",
        "optim.x", "track", "task", "+optim.optimizer.lr.x", "dataset@knowledge.source"]  # fmt: skip
VALUES = [
    "0",
    "1",
    "0,1",
    "[none]",
    "[noise]",
    "[none],[noise]",
    "noise",
    "None",
    "null",
    "{}",
    "{a:1}",
    "[",
    "]",
    "[]",
    "''",
    "'a b'",
    '"1e-3"',
    "nan",
    "1e999",
    "${optim}",
    "${nope}",
    "${seed}",
    "../x",
    "/etc/passwd",
    "é",
    "a b",
    "range(0,3)",
    "interval(0,1)",
    "choice(1,2)",
    "glob(*)",
    "sgd",
    "[sgd,adam]",
    "demo",
    "tiny",
    "=",
    ",",
    "\\",
    "'",
    "${oc.env:HOME}",
    "${oc.env:NOPE}",
    "utility/accuracy",
    "[[[1]]]",
    "{a:{b:[1,{}]}}",
    "#",
    "\t",
    "!!",
    "conv",
]
WORDS = st.lists(
    st.one_of(st.builds("{}={}".format, st.sampled_from(KEYS), st.sampled_from(VALUES)), st.sampled_from(KEYS),
              st.text(max_size=6)), min_size=1, max_size=3,
)  # fmt: skip


@settings(FUZZ, max_examples=60)
@given(WORDS)
def test_words_always_get_an_answer(words: list[str]) -> None:
    for read in (config.compose, points.expand):
        try:
            read(words)
        except UserError as error:
            one_line_each(error.problems)


@pytest.mark.slow
@settings(FUZZ, max_examples=60)
@given(st.sampled_from([0, 1, 4, 5]), CHANGES)
def test_what_check_accepts_runs_or_is_refused(index: int, changes: list[Change]) -> None:
    cfg = changed(index, changes)
    if check(cfg):
        return
    with TemporaryDirectory() as folder:
        try:
            assert pipeline.execute(prepare(cfg), Store(folder))["key"]
        except UserError as error:
            one_line_each([p.splitlines()[0] for p in error.problems])
