"""The board in headless Chromium: it sorts, filters, lists what is void, opens a defence, and fits a telephone."""

from __future__ import annotations

from typing import Any

import invented
import pytest
from chromium import opened

from splitpriv.board import entries, site
from splitpriv.store import Store

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("board")
    rows = invented.rows()
    longer = [{**row, "optim.epochs": 20, "key": row["key"][::-1]} for row in rows[:3]]
    theirs = {"kind": "attack", "name": "theirs", "by": "<b>somebody</b>", "source": "https://example.org/a",
              "row": rows[0]["key"], "fit": rows[0]["fit"], "frozen": entries.frozen(rows[0]), "victims": "0" * 64,
              "file": "0" * 64, "queries": 1, "count": 200, "mse": 1e-4, "ssim": 0.9}  # fmt: skip
    found = entries.Entries(attacks={"theirs": theirs})
    site.make([*rows, *longer], Store(root / "store"), None, root / "site", found)
    return (root / "site" / "index.html").as_uri()


def board(tab: Any, address: str) -> Any:
    """The first board, the one with the most chains."""
    opened(tab, address, "/worlds")
    tab.locator("a.world").first.click()
    tab.wait_for_selector("table.board tbody tr")
    return tab


def chains(tab: Any) -> list[str]:
    return [tr.get_attribute("data-chain") for tr in tab.locator("table.board tbody tr").all()]


def test_boards_are_told_apart_and_entries_listed_as_text(tab: Any, address: str) -> None:
    opened(tab, address, "/worlds")
    names = tab.locator("a.world b").all_inner_texts()
    assert len({*names}) == 2 and any("optim.epochs 20" in name for name in names)
    assert len({*tab.locator("nav a").all_inner_texts()}) == 2
    assert "<b>somebody</b>" in tab.locator("main").inner_text() and "not kept" in tab.locator("main").inner_text()
    tab.locator("a.world", has_text="optim.epochs 20").click()
    tab.locator("summary", has_text="sets this board apart").click()
    assert "optim.epochs: 20" in tab.locator("details[open] pre").inner_text()


def test_a_board_sorts_and_filters_and_says_what_is_beyond(tab: Any, address: str) -> None:
    board(tab, address)
    assert {*chains(tab)} == {"none", "noise", "nopeek", "dropout"}
    beyond = tab.locator("tr.beyond")
    assert beyond.count() == 1 and "none at ≤ 1 point" in beyond.inner_text()
    assert beyond.get_attribute("data-chain") == "dropout"
    tab.get_by_label("show").select_option("0.02")
    assert tab.locator("tr.beyond").count() == 0
    tab.get_by_label("show").select_option("all")
    assert len(chains(tab)) == 8
    tab.get_by_role("button", name="utility").click()
    up = chains(tab)
    tab.get_by_role("button", name="utility").click()
    assert chains(tab) != up and tab.locator("th[aria-sort=descending]").inner_text().startswith("utility")
    tab.fill("#search", "noise sigma 0.4")
    assert chains(tab) == ["noise"]
    tab.fill("#search", "")
    tab.get_by_label("verdict").select_option("doubtful")
    assert len(chains(tab)) == 1


def test_best_known_stands_beside_each_count_of_queries(tab: Any, address: str) -> None:
    board(tab, address)
    heads = [text.split(" ▴")[0] for text in tab.locator("table.board th").all_inner_texts()]
    assert {"best known 1 q.", "best known 16 q."} <= {*heads}
    cell = tab.locator("tr[data-chain=none] td[data-label='best known 1 q.']").inner_text()
    assert "theirs" in cell
    assert tab.locator("tr[data-chain=none] td[data-label='best known 16 q.']").inner_text().strip() == "–"


def test_void_rows_are_listed_apart_and_the_front_is_drawn(tab: Any, address: str) -> None:
    board(tab, address)
    assert tab.locator("h2", has_text="Left out").count() == 1
    assert "protocol=smoke" in tab.locator("h2:has-text('Left out') + ul").inner_text()
    tab.wait_for_selector(".chart .scatterlayer .trace, .plot .scatterlayer .trace")
    assert tab.locator(".word", has_text="front").count() > 0


def test_a_defence_has_its_page(tab: Any, address: str) -> None:
    board(tab, address)
    tab.locator("tr[data-chain=noise] a", has_text="noise").first.click()
    tab.wait_for_selector("h1:has-text('noise')")
    assert "Gaussian noise" in tab.locator(".note").first.inner_text()
    assert tab.locator("table.data tbody tr").count() == 3
    tab.wait_for_selector(".scatterlayer .trace")
    plot = "document.querySelector('.js-plotly-plot')"
    across, losses = tab.evaluate(f"[{plot}.layout.xaxis.range, {plot}.data.flatMap((t) => t.x)]")
    wide = max(1, max(losses) - min(losses))
    assert across == pytest.approx([min(losses) - 0.08 * wide, max(losses) + 0.08 * wide])
    opened(tab, address, "/defence/nobody")
    assert "No row has the chain nobody" in tab.locator("h1").inner_text()


@pytest.mark.parametrize("width", [1280, 390])
def test_the_pages_need_no_sideways_scrolling(width: int, tab: Any, address: str) -> None:
    tab.set_viewport_size({"width": width, "height": 700})
    for place in ("/worlds", "/defence/noise"):
        opened(tab, address, place)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width, place
    board(tab, address)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_dark_and_light_differ_and_what_is_pale_stays_legible(tab: Any, address: str) -> None:
    board(tab, address)
    papers = set()
    for _ in range(2):
        tab.get_by_label("dark or light").click()
        paper, ink = tab.evaluate("""[getComputedStyle(document.body).backgroundColor,
            getComputedStyle(document.querySelector("tr.beyond td")).color]""")
        papers.add(paper)
        assert paper != ink
    assert len(papers) == 2
