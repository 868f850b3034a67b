"""The page in headless Chromium: it loads, filters, brushes, compares, opens runs, and reports no error."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import synthetic
from chromium import opened

from splitpriv.dashboard import build, serve, thumbs
from splitpriv.measure import pictures
from splitpriv.measure.verdict import verdict
from splitpriv.report.select import Selection
from splitpriv.report.worlds import world_of
from splitpriv.stats.frontier import pareto
from splitpriv.store import Store, notes

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    made = synthetic.make(tmp_path_factory.mktemp("browser"), 24)
    row = made.rows()[0]
    nasty = {"chain": f"{synthetic.NASTY}<img src=x onerror=window.hit=1>", "flags": ["<b>bold</b> not converged"],
             "privacy/probe/advantage": 0.31, "privacy/probe/auc": 0.71}  # fmt: skip
    made.add_row(synthetic.inferred(made, {**row, **nasty, "key": "ffff0000ffff0000", "seed": 77}))
    synthetic.trouble(made)
    notes.write(made, made.rows()[3]["key"], "<b>look</b>")
    notes.tag(made, made.rows()[3]["key"], ["paper"])
    return made


@pytest.fixture(scope="module")
def address(store: Store, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "dashboard.html"
    table = {"name": "t1", "title": "Table <1>", "columns": ["method", "MSE"], "rows": [["<b>cem</b>", "0.02"]],
             "notes": ["a note"]}  # fmt: skip
    path.write_text(build.page(*build.whole(Selection(store).rows(), store, [table])))
    return path.as_uri()


def badge(tab: Any) -> int:
    return int(tab.locator("nav a", has_text="Runs").locator(".badge").inner_text())


def test_filters_and_search_narrow_every_page(tab: Any, address: str) -> None:
    opened(tab, address)
    tab.wait_for_selector(".plot .scatterlayer .point")
    assert badge(tab) == 25
    tab.locator("input[data-facet=defense][value=noise]").check()
    assert badge(tab) == 8
    tab.locator("input[data-facet=dataset][value=cifar10]").check()
    narrowed = badge(tab)
    assert 0 < narrowed < 8
    assert tab.locator(".plot .scatterlayer .point").count() == narrowed
    tab.locator("nav a", has_text="Runs").click()
    assert tab.locator("table.runs tbody tr").count() == narrowed
    tab.get_by_role("button", name="clear (2)").click()
    tab.fill("#search", "cem noise -flags:converged seed<2")
    assert tab.locator("table.runs tbody tr").count() == 1
    tab.fill("#search", "sigma=0.05")
    assert badge(tab) > 0
    assert "q=sigma" in tab.url


def test_fronts_never_mix_worlds(tab: Any, address: str, store: Store) -> None:
    expected = set()
    rows = [row for row in store.rows() if verdict(row) != "void"]
    for world in {json.dumps(world_of(row, "worst")) for row in rows}:
        same = [row for row in rows if json.dumps(world_of(row, "worst")) == world]
        points = [(row["utility/accuracy"], row["privacy/worst/mse"]) for row in same]
        expected |= {(f"{same[i]['dataset']} · {same[i]['backbone']}", same[i]["key"]) for i in pareto(points)}
    assert len({world for world, _ in expected}) == 4
    opened(tab, address)
    tab.wait_for_selector(".plot .scatterlayer .point")
    table = tab.locator("table.data").last
    told = [line.locator("td").all_inner_texts() for line in table.locator("tbody tr").all()]
    assert {(cells[2].split(" · decoder")[0], cells[-1]) for cells in told} == expected


def suites(root: Path) -> Store:
    """Three runs: 1 and 16 queries of the undefended one, and two versions of a defence; floors hang on the queries."""
    made, store = synthetic.make(root / "made", 1, shown=False).rows()[0], Store(root / "suites")
    made = {**made, "suite": "autoinvert-9 quick", "privacy/suite/mse": 0.03, "ceiling/suite/mse": 0.02}
    defended = {**made, "chain": "noise", "defense.noise.sigma": 0.1}
    bare, often = {**made, "chain": "none"}, {"protocol.queries": 16, "floor/mean_image/mse": 0.05}
    rows = [bare, {**defended, "utility/accuracy": 0.5}, {**defended, "makes": "noise 2"}, {**bare, **often}]
    for i, row in enumerate(rows):
        store.add_row({**row, "key": f"{i:016x}"})
    return store


def test_the_suite_comes_first_and_what_cannot_be_compared_is_said(tab: Any, tmp_path: Path) -> None:
    store, path = suites(tmp_path), tmp_path / "page.html"
    path.write_text(build.page(*build.whole(store.rows(), store)))
    opened(tab, path.as_uri(), "/runs")
    heads = [button.get_attribute("title") for button in tab.locator("th button.sort").all()]
    assert [key for key in heads if key.startswith("privacy")] == ["privacy/suite/mse", "privacy/worst/mse"]
    assert "protocol.queries" in heads
    said = tab.locator("main").inner_text()
    assert "unlike often (1; 16 queries)" in said and "older versions of a link (noise 1, not 2)" in said
    opened(tab, path.as_uri(), "/compare")
    picker = tab.locator("thead th").all_inner_texts()
    assert [i for i, text in enumerate(picker) if "suite" in text] == [6, 7] and "oracle" in picker[8]
    opened(tab, path.as_uri(), f"/run/{store.rows()[3]['key']}")
    assert "16 queries · suite autoinvert-9 quick" in tab.locator("main").inner_text()
    assert [text.split(" · ")[1] for text in tab.locator("dl.stats dt").all_inner_texts() if "MSE" in text] == [
        "suite", "worst case (oracle)"]  # fmt: skip
    names = tab.locator("table.data").first.locator("tbody th").all_inner_texts()
    assert names[0] == "autoinvert-9 quick, its answer" and "worst case per image (an oracle)" in names


def test_floor_and_ceiling_are_drawn_where_the_worlds_agree(tab: Any, tmp_path: Path) -> None:
    store, path = suites(tmp_path), tmp_path / "page.html"
    path.write_text(build.page(*build.whole(store.rows(), store)))
    lines = {}
    for query in ("", "?q=-queries=16"):
        opened(tab, path.as_uri(), f"/overview{query}")
        tab.wait_for_selector(".plot .annotation")
        lines[query] = " ".join(tab.locator(".plot .annotation").all_text_contents())
        assert "noise 1, not 2" in tab.locator("table.data").last.inner_text()
    assert "mean image" not in lines[""] and "random image" in lines[""] and "ceiling" in lines[""]
    assert "mean image, no release) 0.0600" in lines["?q=-queries=16"]


def test_a_brush_selects_runs_for_the_other_pages(tab: Any, address: str) -> None:
    opened(tab, address)
    area = tab.locator(".plot .nsewdrag").first.bounding_box()
    tab.mouse.move(area["x"] + 3, area["y"] + 3)
    tab.mouse.down()
    tab.mouse.move(area["x"] + area["width"] * 0.6, area["y"] + area["height"] - 3, steps=6)
    tab.mouse.up()
    tab.wait_for_selector(".chip:has-text('Brushed')")
    brushed = badge(tab)
    assert 0 < brushed < 25
    assert tab.locator(".plot .scatterlayer .point").count() == 25  # the others fade, they do not go
    tab.keyboard.press("2")
    assert tab.locator("table.runs tbody tr").count() == brushed
    link = tab.url
    opened(tab, link.split("#")[0], link.split("#")[1])  # the address alone brings the same view back
    assert tab.locator("table.runs tbody tr").count() == brushed
    tab.keyboard.press("Escape")
    assert tab.locator("table.runs tbody tr").count() == 25


def test_sort_columns_and_export(tab: Any, address: str, tmp_path: Path) -> None:
    opened(tab, address, "/runs")
    tab.locator("th button[title='privacy/worst/mse']").click()
    cells = tab.locator("table.runs tbody tr").all_inner_texts()
    column = tab.locator("th button.sort").all_inner_texts()
    at = next(i for i, text in enumerate(column) if text.startswith("MSE"))
    values = [float(text.split("\t")[at + 1]) for text in cells]
    assert values == sorted(values, reverse=True)  # most private first
    assert tab.locator("th[aria-sort=descending]").count() == 1
    tab.get_by_role("button", name="Columns (").click()
    tab.get_by_label("Find a column").fill("edge_macs")
    tab.locator("input[data-column='cost/edge_macs']").check()
    tab.get_by_role("button", name="Done").click()
    assert tab.locator("th button[title='cost/edge_macs']").count() == 1
    with tab.expect_download() as waiting:
        tab.get_by_role("button", name="Export CSV").click()
    waiting.value.save_as(tmp_path / "runs.csv")
    lines = (tmp_path / "runs.csv").read_text().splitlines()
    assert lines[0].split(",")[0] == "chain"
    assert "cost/edge_macs" in lines[0]
    assert len(lines) == 26


def test_compare_shows_differences_and_the_same_victims(tab: Any, address: str) -> None:
    opened(tab, address, "/runs?q=seed=0")
    for i in range(3):
        tab.locator("table.runs .traybox").nth(i).click()
    tab.locator(".strip .button").click()
    tab.wait_for_selector("h1:has-text('3 runs compared')")
    settings = tab.locator("table.compare").first.locator("tbody th").all_inner_texts()
    assert "chain" in settings
    assert "optim.epochs" not in settings  # the same in all
    assert tab.locator(".delta").count() > 5
    victims = tab.locator(".victims").first
    assert victims.locator("tr").count() == 4  # the victims once, then each run
    assert victims.locator(".tile").count() == 32
    tab.wait_for_selector(".chart .scatterlayer .trace")
    tab.locator("input[name=base]").nth(1).check()
    assert "v.base=1" in tab.url


def test_a_run_shows_its_row_pictures_scores_and_curves(tab: Any, address: str, store: Store) -> None:
    key = store.rows()[10]["key"]
    opened(tab, address, f"/run/{key}")
    assert tab.locator(".victims").count() == 2
    assert tab.locator(".victims").first.locator(".tile").count() == 2 * 8 + 2 * 9
    tab.wait_for_selector(".chart .scatterlayer .trace")
    assert tab.locator("figcaption", has_text="per victim").count() == 3
    assert tab.locator("dt", has_text="optim.optimizer.lr").count() == 1
    size = tab.evaluate("""async () => {
        const url = getComputedStyle(document.querySelector(".tile")).backgroundImage.slice(5, -2);
        const image = new Image(); image.src = url; await image.decode();
        return [image.naturalWidth, image.naturalHeight]; }""")
    assert size == [8 * 32, 32]
    tab.keyboard.press("j")
    assert key not in tab.url


def test_attacks_without_pictures_show_their_scores(tab: Any, address: str, store: Store) -> None:
    opened(tab, address, "/run/ffff0000")
    titles = tab.locator("figcaption", has_text="per victim").all_inner_texts()
    assert [text.split(" ↓")[0] for text in titles[-2:]] == ["probability of the truth", "right about the attribute"]
    chart = tab.locator("figure.chart", has_text="probability of the truth")
    assert [text.split(" median")[0].strip() for text in chart.locator("li").all_inner_texts()] == [
        "probe", "probe of clean x"]  # fmt: skip
    chart.locator(".scatterlayer .trace").nth(1).wait_for(state="attached")
    answers = tab.locator("figure.chart", has_text="right about the attribute")
    assert "yes " in answers.locator("li").first.inner_text()
    answers.locator(".barlayer .trace").nth(1).wait_for(state="attached")
    assert "most exposed #" in tab.locator("p", has_text="probability of the truth ↓:").first.inner_text()
    opened(tab, address, f"/compare?tray=ffff0000.{store.rows()[0]['key']}")
    assert tab.locator("figcaption", has_text="probability of the truth").count() == 1
    assert tab.locator("figcaption", has_text="MSE").count() == 2  # of the two image attacks


def test_text_of_a_run_stays_text(tab: Any, address: str) -> None:
    """The fixture `tab` fails when any of it ran."""
    for place in ("/overview", "/runs", "/run/ffff0000", "/compare?tray=ffff0000.{}", "/tables", "/status"):
        opened(tab, address, place.format("f4dbdf21"))
        assert tab.locator("main img, main script, main b:has-text('bold')").count() == 0
        tab.wait_for_timeout(100)
    opened(tab, address, "/run/ffff0000")
    assert synthetic.NASTY in tab.locator("h1").inner_text()
    assert tab.locator("text=advantage over guessing").count() > 0
    opened(tab, address)
    tab.wait_for_selector(".plot .scatterlayer .point")
    for i in range(0, 25, 6):
        tab.locator(".plot .scatterlayer .point").nth(i).hover(force=True)


def test_status_tables_and_themes(tab: Any, address: str) -> None:
    opened(tab, address, "/status")
    assert "ValueError: </script>" in tab.locator(".failure pre").inner_text()
    assert tab.locator("text=after 1 epoch").count() == 1
    newest, table = tab.locator(".sweep").all()
    assert newest.locator(".points li").all_inner_texts()[2].split() == ["·", "not", "started", "seed=2"]
    assert newest.locator(".search .plot .point").count() == 2 and table.locator(".search").count() == 0
    assert f"{synthetic.NASTY}=1" in newest.locator(".search tbody").inner_text()
    assert "some_table · lite" in table.locator("summary").inner_text()
    table.locator("summary").click()
    told = table.locator(".points li").first.inner_text()
    assert " ".join(told.split()) == f"✓ done row {synthetic.NASTY} strict, seed 0"
    newest.get_by_role("button", name="Show 2 runs on the overview").click()
    assert badge(tab) == 2
    tab.keyboard.press("5")
    assert tab.locator("h1").inner_text() == "Table <1>"
    assert tab.locator("table.paper th[scope=row]").inner_text() == "<b>cem</b>"
    papers = set()
    for _ in range(2):
        tab.keyboard.press("t")
        papers.add(tab.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(papers) == 2


def test_the_keyboard_reaches_everything(tab: Any, address: str) -> None:
    opened(tab, address, "/runs")
    for key in ("j", "x", "j", "x", "c"):
        tab.keyboard.press(key)
    tab.wait_for_selector("h1:has-text('2 runs compared')")
    tab.keyboard.press("/")
    tab.wait_for_selector("#search:focus")
    tab.keyboard.type("nopeek")
    assert "q=nopeek" in tab.url
    tab.keyboard.press("Escape")
    tab.keyboard.press("?")
    tab.wait_for_selector("dialog[open]")
    unnamed = """[...document.querySelectorAll("button,a,input,select")]
        .filter(e => !(e.innerText || e.ariaLabel || e.title || e.labels?.length)).length"""
    assert tab.evaluate(unnamed) == 0


def test_a_telephone_folds_filters_shows_the_plot_first_and_two_columns(tab: Any, address: str, store: Store) -> None:
    tab.set_viewport_size({"width": 390, "height": 640})
    opened(tab, address, "/overview")
    assert not tab.evaluate("document.querySelector('.filters details.fold').open")
    assert tab.evaluate("""document.querySelector('.plot').getBoundingClientRect().bottom
        <= document.querySelector('.overview .controls').getBoundingClientRect().top + 1""")
    tab.keyboard.press("/")
    assert tab.locator("#search").is_visible()
    three = [row["key"] for row in store.rows()[3:6]]
    opened(tab, address, f"/compare?tray={'.'.join(three)}")
    assert tab.locator("table.compare").last.locator("thead th.runhead").count() == 2
    tab.locator("select[data-choice=other]").select_option("2")
    assert tab.locator(f"table.compare a[data-key='{three[2]}']").count()
    wide = "[...document.querySelectorAll('table.compare')].map(t => t.scrollWidth - t.parentElement.clientWidth)"
    assert max(tab.evaluate(wide)) <= 0


def test_a_printed_page_is_unfolded_light_and_without_controls(tab: Any, address: str, store: Store) -> None:
    opened(tab, address, f"/run/{store.rows()[3]['key']}")
    tab.keyboard.press("t")
    tab.emulate_media(media="print")
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert tab.evaluate("document.documentElement.dataset.theme") == "light"
    assert tab.evaluate("document.querySelectorAll('main details:not([open])').length") == 0
    assert not tab.locator("header").is_visible() and not tab.locator("button:visible").count()
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    assert tab.evaluate("document.querySelectorAll('main details:not([open])').length") > 0


def test_notes_and_tags_are_shown_and_filtered_by(tab: Any, address: str, store: Store) -> None:
    noted = store.rows()[3]["key"]
    opened(tab, address, "/runs")
    tab.locator("input[data-facet=tag][value=paper]").check()
    assert badge(tab) == 1
    opened(tab, address, f"/run/{noted}")
    assert "paper" in tab.locator(".note").inner_text() and "<b>look</b>" in tab.locator(".note").inner_text()


@pytest.mark.parametrize("width", [pytest.param(1024, marks=pytest.mark.slow), 390])
def test_a_laptop_and_a_telephone_need_no_sideways_scrolling(width: int, tab: Any, address: str, store: Store) -> None:
    tab.set_viewport_size({"width": width, "height": 640})
    one, two = (row["key"] for row in store.rows()[3:5])
    for place in ("/overview", "/runs", f"/run/{one}", f"/compare?tray={one}.{two}", "/tables", "/status"):
        opened(tab, address, place)
        tab.wait_for_timeout(150)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width, place


def test_the_served_page_shows_new_runs_as_they_finish(tab: Any, tmp_path: Path) -> None:
    store = synthetic.make(tmp_path, 3)
    server = serve.serve(Selection(store), 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        opened(tab, f"http://127.0.0.1:{server.server_address[1]}/", "/runs")
        assert badge(tab) == 3
        store.add_row({**store.rows()[0], "key": "0123456789abcdef", "seed": 5})
        tab.wait_for_selector("table.runs tbody tr:nth-child(4)", timeout=30000)
        tab.keyboard.press("1")
        tab.wait_for_selector(".card .tile")
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.slow
def test_five_hundred_runs_open_quickly(tab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = synthetic.make(tmp_path / "store", 500, shown=False)
    x = pictures.tiles(synthetic.images(np.random.default_rng(0), 8, 32))

    def measured(home: Path) -> dict[str, Any]:
        images = np.roll(x, int(home.name[8:], 16) % 1021, axis=(1, 2)) // 2
        return {"scores": {"mse": np.linspace(0.01, 0.1, 128)}, "fixed": {"x": x, "images": images, "mse": [0.1] * 8}}

    monkeypatch.setattr(thumbs, "measured", measured)
    path = tmp_path / "page.html"
    path.write_text(build.page(*build.whole(store.rows(), store)))
    opened(tab, path.as_uri())
    took = int(tab.evaluate("document.body.dataset.took"))
    tab.wait_for_selector(".plot .scatterlayer .point")
    print(f"\n500 runs, {path.stat().st_size / 1e6:.1f} MB: ready after {took} ms")
    assert took < 15_000  # about one second on a quiet machine
    tab.keyboard.press("2")
    assert tab.locator("table.runs tbody tr").count() == 500
