"""The documentation site: nothing that conf/, the flags or docs/ hold is missing from it."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from splitpriv.config import CONF
from splitpriv.measure.kinds import KINDS
from splitpriv.measure.otherwise import OTHERWISE

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site() -> Any:
    spec = importlib.util.spec_from_file_location("splitpriv_site", ROOT / "scripts" / "site.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_option_of_conf_is_in_the_reference(site: Any) -> None:
    files = [path for path in CONF.rglob("*.yaml") if path.parent != CONF]
    for path in files:
        page = site.pages()[site._page(path.parent.relative_to(CONF).as_posix())]
        assert f"\n## {path.stem}\n" in page
        settings = [line for line in path.read_text().splitlines() if line and not line.startswith(("#", " "))]
        assert all(line in page for line in settings)


def test_every_method_stands_with_what_it_says_and_its_class(site: Any) -> None:
    page = site.pages()["methods.md"]
    for group in site.METHODS:
        for path in (CONF / group).glob("*.yaml"):
            assert f"{{ #{group}-{path.stem} }}" in page
    assert "[arXiv 2503.00383](https://arxiv.org/abs/2503.00383)" in page
    assert "`splitpriv.defenses.noise.Noise`: Gaussian noise: z + σε" in page


def test_every_flag_says_what_it_means_and_how_to_clear_it(site: Any) -> None:
    page = site.pages()["flags.md"]
    for name, kind in KINDS.items():
        section = page.split(f"\n## {name}\n")[1].split("\n## ")[0]
        assert kind.means in section and "To clear it: " in section and ("voids" in section) == kind.voids
        assert OTHERWISE.get(name, "") in section


def test_every_written_page_is_in_the_nav_and_has_a_title(site: Any) -> None:
    written = sorted(path.name for path in (ROOT / "docs").glob("*.md"))
    placed = re.findall(r"'([^']+\.md)'", str(site.nav(written)))
    assert {*written, *site.pages()} == set(placed) and len(placed) == len(set(placed))
    assert [name for name, title in site.titles().items() if not title] == []
    assert "someone-new.md" in str(site.nav([*written, "someone-new.md"]))


def test_the_glossary_has_the_words_of_the_architecture(site: Any) -> None:
    page = site.pages()["glossary.md"]
    assert "`x`\n:   image in [0, 1]" in page and "*release*\n:   what leaves the" in page and "*play*" in page


def test_nothing_is_fetched_from_elsewhere() -> None:
    import yaml

    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    assert config["theme"]["font"] is False and "offline" not in config["plugins"]  # which loads a script from a CDN
    assert not {"extra_css", "extra_javascript"} & set(config)
