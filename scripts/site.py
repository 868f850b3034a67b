"""The documentation site: its nav, and the pages that are made of conf/, of the flags' records and of docstrings.

MkDocs calls the `on_...` functions; everything else is plain: `pages()` is what is made, `nav()` where it stands.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import logging
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
CONF, DOCS = ROOT / "conf", ROOT / "docs"
LOG = logging.getLogger("mkdocs.hooks.site")
HOW_TO = (  # pages by the topic of their file; those that nobody has written yet are left out
    "own-network", "own-data", "audit", "sweep", "cluster", "table", "extend", "plugins", "python", "dashboard",
    "export", "card", "hub",
)  # fmt: skip
READING = (
    "defenses", "attacks", "peers", "protocol", "metrics", "flags", "board", "autoinvert", "calibration", "performance",
    "timm_models",
)  # fmt: skip
GROUPS = {  # of conf/, in the order of a run
    "dataset": "the images", "backbone": "the network", "split": "where it is cut", "task": "what the service answers",
    "optim": "how it is trained", "defense": "the chain: what is done to a release", "attack": "the adversaries",
    "decoder": "nets that turn a release into an image", "knowledge": "what the adversary's data is",
    "protocol": "who has which images", "measure": "what is measured", "monitor": "what watches the training",
    "runtime": "where it is computed", "track": "who is told", "setting": "whole settings, as `+setting=demo`",
    "hydra/launcher": "where the points of a sweep run", "hydra/sweeper": "what makes the points of a search",
    "table": "papers' tables", "tabular": "a study: MID on tables", "leaks": "a study: what updates leak",
}  # fmt: skip
METHODS = ("defense", "attack", "decoder", "knowledge", "tabular", "leaks")
API = {
    "From Python": ["splitpriv.api", "splitpriv.api.runs.Run", "splitpriv.api.listing.Rows"],
    "A defence": ["splitpriv.defenses.base.Defense", "splitpriv.types.Step", "splitpriv.types.Phase",
                  "splitpriv.types.Epoch"],
    "An attack": ["splitpriv.attacks.base.Attack", "splitpriv.attacks.base.Access"],
    "A data set": ["splitpriv.data.base.Dataset", "splitpriv.data.base.Split", "splitpriv.types.Spec"],
    "A network": ["splitpriv.nets.split.Backbone"],
    "A task, knowledge, a tracker": ["splitpriv.tasks.base.Task", "splitpriv.data.knowledge.Knowledge",
                                     "splitpriv.track.base.Tracker"],
    "A metric": ["splitpriv.metrics.Metric"],
}  # fmt: skip


# ---- MkDocs --------------------------------------------------------------------------------------------------------


def on_config(config: Any) -> Any:
    """Put every page in its place."""
    config["nav"] = nav(sorted(p.relative_to(DOCS).as_posix() for p in DOCS.rglob("*.md")))
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add what is made."""
    from mkdocs.structure.files import File

    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Links into the repository lead to the page that is made of a file, or are plain where there is none."""
    home = Path(page.file.src_uri).parent
    return re.sub(r"(?<!!)\[([^\]]*)\]\(((?!https?:|mailto:|#)[^)\s]+)\)", lambda m: _linked(m, home, files), markdown)


def _linked(match: re.Match[str], home: Path, files: Any) -> str:
    words, target = match[1], match[2].partition("#")[0]
    written = ROOT if str(home) == "." and "/" not in target and not (DOCS / target).exists() else DOCS / home
    place = (written / target).resolve()
    made = {ROOT / "README.md": "index.md", ROOT / "ARCHITECTURE.md": "architecture.md",
            ROOT / "CHANGELOG.md": "changelog.md"}.get(place)  # fmt: skip
    if made:
        return f"[{words}]({'../' * len(home.parts)}{made})"
    if place.is_relative_to(DOCS) or files.get_file_from_path((home / target).as_posix()):
        return match[0]  # MkDocs says where there is no such page
    if not place.exists():
        LOG.warning("a link to %s, which is not there", match[2])
    return words


# ---- nav -----------------------------------------------------------------------------------------------------------


def nav(written: list[str]) -> list[Any]:
    """Sections of pages; a page that no section names stands with those that say how to do something."""
    made = list(pages())
    there = {*written, *made}
    named = {f"{name}.md" for name in (*HOW_TO, *READING)} | {"index.md", "tutorial.md", *made}
    how = [*(f"{name}.md" for name in HOW_TO), *sorted(there - named)]
    reference = [page for page in made if page not in ("flags.md", "methods.md", "glossary.md", "changelog.md")]
    sections = [
        "index.md", "tutorial.md", {"How to": how}, {"Reading results": [f"{name}.md" for name in READING]},
        "methods.md", {"Reference": reference}, "glossary.md", "changelog.md",
    ]  # fmt: skip
    return [entry for entry in (_there(section, there) for section in sections) if entry]


def _there(section: Any, there: set[str]) -> Any:
    if isinstance(section, str):
        return section if section in there else None
    ((title, listed),) = section.items()
    kept = [page for page in listed if page in there]
    return {title: kept} if kept else None


# ---- pages ---------------------------------------------------------------------------------------------------------


@cache
def pages() -> dict[str, str]:
    """Every page that is made, by its path, as Markdown."""
    made = {"flags.md": flags(), "methods.md": methods(), "reference/commands.md": commands()}
    made |= {_page(group): group_page(group) for group in GROUPS if any(options(group))}
    made |= {"reference/api.md": api(), "architecture.md": (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")}
    return made | {"glossary.md": glossary(), "changelog.md": (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")}


def flags() -> str:
    """What each flag says and means, and how to clear it."""
    from splitpriv.measure.kinds import KINDS
    from splitpriv.measure.otherwise import OTHERWISE

    lines = [
        "# Flags",
        "A flag is a reason to doubt a row. One that **voids** a row says that its numbers say nothing; the others "
        "make it *doubtful*. The terminal, `rows --format json`, the dashboard and the card show, below each, the "
        "override that clears it in that run, or what would. Words in braces are filled in by the run.",
    ]
    for name, kind in KINDS.items():
        ways = [_told(f"`{kind.remedy}`")] if kind.remedy else []
        ways += [f"where no override does: {OTHERWISE[name]}"] if name in OTHERWISE else []
        voids = " · voids the row" if kind.voids else ""
        lines += [f"## {name}", f"> {_code(kind.says)}{voids}", kind.means, f"To clear it: {'; '.join(ways)}."]
    return "\n\n".join(lines) + "\n"


def _told(remedy: str) -> str:
    named = {"{more}": "more images, by the setting that the run's flag names",
             "{longer}": "a longer training, by the setting that the run's flag names"}  # fmt: skip
    return next((words for mark, words in named.items() if remedy == f"`{mark}`"), remedy)


def _code(text: str) -> str:
    return re.sub(r"(\{[^}]*\})", r"`\1`", text)


def methods() -> str:
    """Defences, attacks and what they are made of: what conf/ and the docstrings say, with their papers."""
    lines = ["# Methods and their papers", "What each option says of itself, and the class that it builds."]
    for group in METHODS:
        lines.append(f"## {group}")
        told: set[str] = set()
        for name, text in options(group):
            lines.append(f"### {group} `{name}` {{ #{group}-{name} }}")
            lines.append(_papers(description(text)))
            target = _target(group, name)
            doc = docstring(target) if target else ""
            if doc and target not in told:
                lines.append(f"`{target}`: {_papers(doc)}")
            elif target:
                lines.append(f"Built by `{target}`.")
            told.add(target)
    return "\n\n".join(lines) + "\n"


def _page(group: str) -> str:
    return f"reference/{group.replace('/', '_')}.md"


def group_page(group: str) -> str:
    """Every option of a group, as its file has it."""
    how = {"setting": "+setting=NAME", "table": "splitpriv table run NAME", "tabular": "splitpriv tabular NAME",
           "leaks": "splitpriv leaks NAME", "decoder": "decoder@attack.decoder.net=NAME"}  # fmt: skip
    listed = group in ("defense", "attack", "track")
    chosen = how.get(group, f"{group}=[NAME]" if listed else f"{group}=NAME")
    what = f"{GROUPS[group][0].upper()}{GROUPS[group][1:]}"
    lines = [f"# {group}", f"{what}; chosen by `{chosen}`. A setting has a dotted key, such as `{_example(group)}`."]
    for name, text in options(group):
        body = "\n".join(line for line in text.splitlines() if not line.startswith("# @package"))
        after = body[len(_comment(body)) :].strip("\n")
        lines += [f"## {name}", _papers(description(text))]
        if after:
            lines.append(f"```yaml\n{after}\n```")
    return "\n\n".join(lines) + "\n"


def _example(group: str) -> str:
    known = {"defense": "defense.noise.sigma=0.05", "attack": "attack.decoder.epochs=50",
             "dataset": "dataset.flip=false", "track": "track.wandb.mode=offline"}  # fmt: skip
    return known.get(group, f"{group}.KEY=VALUE")


def commands() -> str:
    """The help of every command."""
    from splitpriv.commands.cli import parser

    top = parser()
    lines = ["# Commands", "`splitpriv COMMAND --help` says the same.", f"```text\n{_help(top)}\n```"]
    listed = next(a for a in top._actions if isinstance(a, argparse._SubParsersAction))
    for name, command in listed.choices.items():
        lines += [f"## splitpriv {name}", f"```text\n{_help(command)}\n```"]
    return "\n\n".join(lines) + "\n"


def _help(command: argparse.ArgumentParser) -> str:
    form = command.formatter_class
    command.formatter_class = lambda prog: form(prog, width=100)  # type: ignore[assignment]
    return command.format_help().strip()


def api() -> str:
    """What code of one's own meets."""
    lines = ["# From Python, and to be extended"]
    for title, names in API.items():
        lines += [f"## {title}", *(f"::: {name}" for name in names)]
    return "\n\n".join(lines) + "\n"


def glossary() -> str:
    """The words that mean one thing each, which ARCHITECTURE.md lists."""
    section = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").split("## Words", 1)[1].split("\n## ", 1)[0]
    text = " ".join(section.split("\n", 1)[1].split()).rstrip(".")
    lines = ["# Glossary", "One word for each thing, and one thing for each word."]
    for entry in text.split(" · "):
        found = re.match(r"((?:[`*][^`*]+[`*](?: / )?)+)\s*(.*)", entry)
        assert found, entry
        lines.append(f"{found[1]}\n:   {found[2]}")
    return "\n\n".join(lines) + "\n"


# ---- conf/ and docstrings ------------------------------------------------------------------------------------------


def options(group: str) -> Iterator[tuple[str, str]]:
    """Name and text of every option of a group."""
    for path in sorted((CONF / group).glob("*.yaml")):
        yield path.stem, path.read_text(encoding="utf-8")


def _comment(text: str) -> str:
    """The lines of comment that a file begins with."""
    found = re.match(r"(?:#[^\n]*\n)*", text)
    return found[0] if found else ""


def description(text: str) -> str:
    """What an option says of itself at the top of its file, without what Hydra reads there."""
    lines = [line.lstrip("#").strip() for line in _comment(text).splitlines() if not line.startswith("# @package")]
    return " ".join(lines)


def _target(group: str, name: str) -> str:
    from splitpriv.measure.remedies import load

    tree = load(group, name)
    nodes = [tree, *(node for node in tree.values() if isinstance(node, dict))]
    return next((str(node["_target_"]) for node in nodes if "_target_" in node), "")


@cache
def docstring(target: str) -> str:
    """The docstring of a class or function of ours by its dotted name, without importing it."""
    module, _, name = target.rpartition(".")
    path = ROOT / (module.replace(".", "/") + ".py")
    if not path.is_file():
        return ""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return inspect.cleandoc(ast.get_docstring(node) or "")
    return ""


def _papers(text: str) -> str:
    """The same text with arXiv's numbers as links, and what Markdown would read as something else escaped."""
    text = re.sub(r"([<*_])", r"\\\1", text)
    return re.sub(r"arXiv[: ](\d{4}\.\d{4,5})", r"[arXiv \1](https://arxiv.org/abs/\1)", text)


def titles() -> dict[str, str]:
    """The title of every page that somebody wrote."""
    found = {p.name: re.match(r"# (.+)", p.read_text(encoding="utf-8")) for p in DOCS.glob("*.md")}
    return {name: match[1] if match else "" for name, match in found.items()}


def groups() -> dict[str, list[str]]:
    """Every option that the reference lists, by group; yaml says whether each is one."""
    return {group: [name for name, text in options(group) if yaml.safe_load(text) is not None or text.strip()]
            for group in GROUPS}  # fmt: skip


def main() -> None:
    """Write the pages that are made into a folder, to be looked at without building the site."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    for path, text in pages().items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
