"""The imports point one way, and YAML and signatures agree."""

from __future__ import annotations

import ast
import functools
import json
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import splitpriv
from splitpriv import config, targets
from splitpriv.store.keys import fingerprint

PACKAGE = Path(splitpriv.__file__).parent
LAYERS = [  # rooms, or modules of the root: each may import from those before it
    {"types", "metrics", "plain", "progress", "_torchmetrics", "_torchvision", "host", "stop", "heap"},
    {"overrides", "plugins"},
    {"options"},
    {"resolved"},
    {"config"},
    {"targets"},
    {"store"},
    {"stats"},
    {"data", "nets"},
    {"defenses"},
    {"attacks"},
    {"measure"},
    {"tasks"},
    {"run"},
    {"given"},
    {"report"},
    {"track"},
    {"launch"},
    {"deploy"},
    {"dashboard", "tables", "studies"},
    {"board"},
    {"contract"},
    {"commands", "api"},
]
FILES = sorted(PACKAGE.rglob("*.py"))


MODULES = {".".join(("splitpriv", *p.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): p
           for p in FILES}  # fmt: skip


def rank(part: str) -> int:
    return next(i for i, layer in enumerate(LAYERS) if part in layer)


@functools.cache
def imports(path: Path) -> set[str]:
    """What a file imports, inside functions too; what it imports only for types is left out."""
    tree = ast.parse(path.read_text())
    typing_only = {id(n) for i in ast.walk(tree) if isinstance(i, ast.If) and "TYPE_CHECKING" in ast.dump(i.test)
                   for n in ast.walk(i)}  # fmt: skip
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, f"{path.name}: imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if part in ("__init__", "__main__"):
        return
    for name in imports(path):
        if name.startswith("splitpriv."):
            other = name.split(".")[1]
            same = other == part and path.parent != PACKAGE
            assert other == "__version__" or same or rank(other) < rank(part), f"{path.name} imports {name}"


def test_no_module_imports_itself_through_others() -> None:
    """Inside a room, too, and inside functions."""
    graph = {module: {name if name in MODULES else name.rpartition(".")[0] for name in imports(path)} - {"splitpriv"}
             for module, path in MODULES.items()}  # fmt: skip
    assert "splitpriv.run.pipeline" in graph["splitpriv.launch.running"]  # which imports it inside a function
    TopologicalSorter(graph).prepare()  # raises CycleError with the modules of a circle


@pytest.mark.parametrize(
    ("library", "allowed"),
    [
        ("pytorch_lightning", {"run"}),
        ("hydra", {"config", "launch", "options", "overrides", "resolved"}),
        ("matplotlib", {"report"}),
        ("wandb", {"track"}),
        ("mlflow", {"track"}),
        ("argparse", {"commands", "tables"}),
    ],
)
def test_a_library_lives_in_one_place(library: str, allowed: set[str]) -> None:
    users = {p.relative_to(PACKAGE).parts[0].removesuffix(".py") for p in FILES
             if any(name.split(".")[0] == library for name in imports(p))}  # fmt: skip
    assert users <= allowed


def test_the_core_knows_no_method() -> None:
    methods = {p.stem for group in ("defenses", "attacks") for p in (PACKAGE / group).glob("*.py")} - {
        "__init__",
        "base",
    }
    for path in PACKAGE.glob("*.py"):
        used = {
            name.split(".")[2]
            for name in imports(path)
            if name.startswith(("splitpriv.defenses.", "splitpriv.attacks."))
        }
        assert not used & methods, f"{path.name} imports {used & methods}"


def test_config_and_store_import_no_torch() -> None:
    modules = "splitpriv.commands.cli, splitpriv.store.keys, splitpriv.store, splitpriv.api"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


KEYS = json.loads((Path(__file__).parent / "golden" / "keys.json").read_text())
KEYED = ("dataset", "backbone", "split", "task", "optim", "protocol", "knowledge", "measure", "defense", "attack",
         "monitor")  # fmt: skip
APART = {"setting": "+setting={}", "tabular": "+tabular={}", "leaks": "+leaks={}",
         "decoder": "decoder@attack.decoder.net={}"}  # fmt: skip
YAMLS = [p for p in sorted(config.CONF.glob("*/*.yaml")) if p.parent.name != "table"]  # but tables


@pytest.mark.parametrize("path", YAMLS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_every_yaml_composes_and_matches_its_signature(path: Path) -> None:
    group, name = path.parent.name, path.stem
    cfg = _with(group, name)
    for where, node in targets.nodes(cfg):
        problems: list[str] = []
        targets.bind(node, where, problems)
        assert all("has no value" in problem for problem in problems)
        if str(node["_target_"]).startswith("splitpriv."):
            settings = targets.settings(targets.locate(node["_target_"], where))
            assert set(node) - {"_target_"} == set(settings)
            assert all(p.default is p.empty for p in settings.values())
    assert path.read_text().startswith("# ")
    if f"{group}/{name}" in KEYS:  # of what shipped when keys began; what moves keeps its key
        assert fingerprint(node=_node(cfg, group)) == KEYS[f"{group}/{name}"]


def _with(group: str, name: str) -> config.Config:
    """A config with that option; the n-th options of groups that neither choose nor read one another share one."""
    if group in APART:
        return config.compose([*(["attack=[decoder]"] if group == "decoder" else []), APART[group].format(name)])
    names: dict[str, list[str]] = {}
    for path in YAMLS:
        names.setdefault(path.parent.name, []).append(path.stem)
    n, reads = names[group].index(name), ("attack", "defense")
    beside = [g for g in names if g not in APART and (g in reads) == (group in reads) and n < len(names[g])]
    return _composed(*(f"{g}=[{names[g][n]}]" if g in config.LISTS else f"{g}={names[g][n]}" for g in beside))


@functools.cache
def _composed(*overrides: str) -> config.Config:
    return config.compose(overrides)


def _node(cfg: config.Config, group: str) -> object:
    """What an option brings into a key."""
    if group == "decoder":
        return cfg["attack"]["decoder"]["net"]
    return {part: cfg[part] for part in KEYED} if group == "setting" else cfg[group]


@pytest.mark.parametrize("folder", ["splitpriv", "scripts"])
def test_text_is_utf8_whatever_the_locale(folder: str) -> None:
    paths = sorted((PACKAGE.parent / folder).rglob("*.py"))
    nodes = [(path, node) for path in paths for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    assert not [f"{path}:{node.lineno}" for path, node in nodes if isinstance(node, ast.Call) and _opens_text(node)]


def _opens_text(call: ast.Call) -> bool:
    """Whether a call opens a file as text, by the locale: one of Path's methods, or open and fdopen without b."""
    name = getattr(call.func, "attr", None) or getattr(call.func, "id", None)
    said = {k.arg: k.value for k in call.keywords}
    if "encoding" in said or name not in ("open", "fdopen"):
        return "encoding" not in said and name in ("read_text", "write_text")
    owner = getattr(getattr(call.func, "value", None), "id", None)
    if name == "open" and owner in ("os", "Image", "tarfile", "gzip", "self"):  # no text by default
        return False
    place = int(isinstance(call.func, ast.Name) or name == "fdopen")  # of the mode
    modes = [*call.args[place : place + 1], *([said["mode"]] if "mode" in said else [])]
    return not any("b" in str(getattr(mode, "value", "")) for mode in modes)


def test_files_stay_small() -> None:
    assert not {p.name: n for p in FILES if (n := len(p.read_text().splitlines())) > 250}
