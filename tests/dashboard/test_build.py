"""The page: made of rows alone, escaped, within its size, the same whatever the store lacks."""

from __future__ import annotations

import argparse
import base64
import gzip
import http.client
import io
import json
import re
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import synthetic
from PIL import Image

from splitpriv.board import site
from splitpriv.commands import dashboard
from splitpriv.dashboard import build, serve, thumbs
from splitpriv.measure import pictures
from splitpriv.report.select import Selection
from splitpriv.store import Store
from splitpriv.types import UserError

ROOT = Path(build.__file__).parent


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    made = synthetic.make(tmp_path_factory.mktemp("store"), 12)
    synthetic.trouble(made)
    return made


def unpacked(text: str) -> dict[str, Any]:
    found = re.search(r'<script type="text/plain" id="data">([^<]*)</script>', text)
    assert found
    return json.loads(gzip.decompress(base64.b64decode(found[1])))


class Scripts(HTMLParser):
    """The tags of a page, and the text of its scripts, as a browser would find them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.codes: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.codes.append("")

    def handle_endtag(self, tag: str) -> None:
        self.tags.append(("/" + tag, {}))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] == "script":
            self.codes[-1] += data


def test_every_row_is_in_the_page_with_all_its_entries(store: Store) -> None:
    rows = store.rows()
    data = unpacked(build.page(*build.whole(rows, store)))
    assert [run["row"]["key"] for run in data["runs"]] == [row["key"] for row in rows]
    for row, run in zip(rows, data["runs"], strict=True):
        assert run["row"] == {k: v for k, v in row.items() if k not in run["curves"] and k != "trajectory"}
        assert run["trajectory"]["curves"]["task"]["y"][-1] == pytest.approx(row["trajectory"][-1]["task"], rel=1e-4)
        assert run["curves"]["attack/decoder/held"]["at"][-1] == len(row["attack/decoder/held"])
        assert sum(run["shown"]["decoder"]["scores"]["mse"]["counts"]) == 128
        assert run["attacks"] == ["decoder", "rmle"]


def test_a_page_reaches_for_nothing_outside_itself(store: Store) -> None:
    text = build.page(*build.whole(store.rows(), store))
    tags = Scripts(text).tags
    assert not [attrs for _, attrs in tags if any(k in attrs for k in ("src", "srcset", "action", "background"))]
    assert all(str(attrs["href"]).startswith("data:") for tag, attrs in tags if "href" in attrs)
    assert "default-src 'none'" in text
    assert "connect-src" not in text  # a file asks nobody; the served page asks its own server
    assert "connect-src 'self'" in build.page(None, None)
    assert not re.search(r"url\((?!\"\$)", (ROOT / "assets" / "style.css").read_text())


def test_the_policy_lets_run_the_page_s_own_scripts_and_no_other(store: Store) -> None:
    text = build.page(*build.whole(store.rows(), store))
    allowed = set(re.findall(r"'(sha256-[^']+)'", text))
    found = [code for (_, attrs), code in zip([t for t in Scripts(text).tags if t[0] == "script"],
                                              Scripts(text).codes, strict=True) if "type" not in attrs]  # fmt: skip
    assert {build._hash(code) for code in found} == allowed
    assert len(found) == len(build.VENDOR) + 1
    assert "unsafe-inline" not in re.search(r"script-src[^;]*", text)[0]  # type: ignore[index]


def test_text_of_a_run_cannot_become_part_of_the_page(tmp_path: Path) -> None:
    store = synthetic.make(tmp_path, 1, shown=False)
    synthetic.trouble(store)
    row = store.rows()[0]
    hostile = {"chain": synthetic.NASTY, "flags": ["</script><script>x</script>"], synthetic.NASTY: "<!-- <b>"}
    table = {"name": "<b>", "title": synthetic.NASTY, "columns": ["<i>"], "rows": [["</table>"]], "notes": "<u>"}
    text = build.page(*build.whole([{**row, **hostile}], store, [table]))
    plain = build.page(*build.whole([row], store))
    assert [tag for tag, _ in Scripts(text).tags] == [tag for tag, _ in Scripts(plain).tags]
    assert "alert(1)" not in text
    assert "onerror" not in text.split("<script>")[0]
    data = unpacked(text)
    assert data["runs"][0]["row"]["chain"] == synthetic.NASTY  # shown as it is, by a library that escapes
    assert data["tables"][0]["rows"] == [["</table>"]]
    assert data["status"]["failed"][0]["traceback"] == synthetic.TRACEBACK


def test_scripts_never_write_html() -> None:
    for name in build.SCRIPTS:
        code = (ROOT / "assets" / name).read_text()
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
            assert word not in code, f"{name}: {word}"


@pytest.mark.parametrize("runs", [50, pytest.param(500, marks=pytest.mark.slow)])
def test_five_hundred_runs_stay_below_ten_megabytes(runs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run with two attacks, whose pictures are all different and as rich as photographs; fewer have less room."""
    store = synthetic.make(tmp_path, runs, shown=False)
    random = np.random.default_rng(0)
    x = pictures.tiles(synthetic.images(random, 17, 32))

    def measured(home: Path) -> dict[str, Any]:
        images = np.roll(x, int(home.name[8:], 16) % 1021, axis=(1, 2)) // 2 + random.integers(0, 8, x.shape, np.uint8)
        scores = {m: random.gamma(4, 0.01, 128) for m in ("mse", "psnr", "ssim")}
        part = {"words": [], "victims": [], "scores": {}}
        return {"scores": scores, "fixed": {"x": x[:8], "images": images[:8], "mse": [0.1] * 8},
                "extremes": {"x": x[8:], "images": images[8:], **part}}  # fmt: skip

    monkeypatch.setattr(thumbs, "measured", measured)
    data, strips = build.collect(store.rows(), store)
    assert len(strips.tiles) == 2 + 2 * 2 * runs  # the victims' own pictures are kept once
    bare = len(build.page(None, None).encode())
    text = build.page(data, strips, bare + (build.LIMIT - bare) * runs // 500)
    assert len(text.encode()) < bare + (10_000_000 - bare) * runs / 500
    assert len(json.loads(re.search(r'id="strips">(.*?)</script>', text)[1])) == 2 + 2 * 2 * runs  # type: ignore[index]


def test_pictures_shrink_until_they_fit_and_the_page_says_so(store: Store) -> None:
    data, strips = build.whole(store.rows(), store)
    whole = build.page(data, strips)
    limit = len(whole.encode()) - 60_000
    small = build.page(data, strips, limit)
    assert len(small.encode()) <= limit
    assert 'data-smaller="0"' in whole
    assert re.search(r'data-smaller="[1-9]', small)


def test_a_strip_is_what_the_store_holds(store: Store) -> None:
    row = store.rows()[0]
    data, strips = build.collect([row], store)
    shown = pictures.read((store.root / row["picture/decoder"]).parent)
    assert shown is not None
    fixed = shown.at("fixed")
    found = data["runs"][0]["shown"]["decoder"]
    assert np.array_equal(strips.tiles[found["fixed"]["x"]], pictures.tiles(fixed.x))
    webp = np.asarray(Image.open(io.BytesIO(strips.encode()[0][found["fixed"]["images"]])))
    wide = np.concatenate(list(pictures.tiles(fixed.images)), axis=1)
    assert webp.shape == wide.shape
    assert np.abs(webp.astype(int) - wide).mean() < 12
    assert found["fixed"]["mse"] == pytest.approx(fixed.scores["mse"].tolist())
    extremes = shown.at("best", "median", "worst")
    assert np.array_equal(strips.tiles[found["extremes"]["images"]], pictures.tiles(extremes.images))
    assert found["extremes"]["victims"] == extremes.index and found["extremes"]["words"] == extremes.place


def test_rows_without_their_stages_and_with_odd_entries_are_shown(tmp_path: Path) -> None:
    store = synthetic.make(tmp_path, 2, shown=False)
    odd = {**store.rows()[0], "utility/accuracy": float("nan"), "bound/x": float("inf"), "trajectory": None,
           "privacy/probe/advantage": 0.3, "privacy/probe/auc": 0.7, "picture/decoder": "../../grid.png"}  # fmt: skip
    data, strips = build.collect([odd], store)
    found = unpacked(build.page(data, strips))["runs"][0]
    assert found["row"]["utility/accuracy"] is None and found["row"]["bound/x"] is None
    assert found["row"]["not_finite"] == {"utility/accuracy": "nan", "bound/x": "inf"}
    assert found["attacks"] == ["decoder", "rmle", "probe"]
    assert found["shown"] == {}
    assert unpacked(build.page(*build.whole([], store)))["runs"] == []


def test_pictures_outside_the_store_are_not_read(store: Store, tmp_path: Path) -> None:
    inside = Store(tmp_path / "other")
    row = store.rows()[0]
    path = Path(row["picture/decoder"])
    stolen = {**row, "picture/decoder": f"../../{store.root.name}/{path}", "picture/rmle": str(store.root / path)}
    assert build.collect([stolen], inside)[0]["runs"][0]["shown"] == {}


def test_runs_that_differ_in_seeds_alone_share_a_group(store: Store) -> None:
    row = store.rows()[0]
    assert build.group_of(row) == build.group_of(
        {**row, "seed": 9, "attack_seed": 4, "utility/accuracy": 0.1, "key": "f"}
    )
    assert build.group_of(row) != build.group_of({**row, "optim.epochs": 99})
    assert build.group_of(row) != build.group_of({**row, "dataset": "mnist"})
    rows = [{**row, "key": f"{i}", "stages": [f"measure/{images}"], "seed": seed}
            for i, (images, seed) in enumerate([("a", 0), ("a", 1), ("b", 0), ("a", 0)])]  # fmt: skip
    first, seeds, other, again = (run["group"] for run in build.collect(rows, store)[0]["runs"])
    assert first == seeds != other and again == f"{first}-2"


def test_runs_of_other_settings_stand_on_a_front_of_their_own(store: Store) -> None:
    first = store.rows()[0]
    others = [
        {"dataset.path": "/faces/images"},
        {"dataset.path": "/xray/images", "privacy/more/mse": 0.1},
        {"backbone": "tiny"},
    ]
    rows = [{**first, "dataset.path": "/faces/images"}, *({**first, "key": f"{i}", **o} for i, o in enumerate(others))]
    worlds = [run["world"] for run in build.collect(rows, store)[0]["runs"]]
    told = ["1: dataset.path=…/images", "1: dataset.path=…/images", "2: dataset.path=…/images", ""]
    assert [world["settings"] for world in worlds] == told and worlds[0] == worlds[1]
    versions = [{**first, "key": f"{i}", "chain": "x", "defense.x.a": 1, "makes": f"x {i}"} for i in (1, 2)]
    worlds = [run["world"] for run in build.collect([first, *versions], store)[0]["runs"]]
    assert [world["older"] for world in worlds] == ["", "x 1, not 2", ""]


def test_long_curves_are_thinned_and_keep_their_ends() -> None:
    found = build._thin(list(range(1, 1001)), [1 / i for i in range(1, 1001)])
    assert len(found["at"]) == build.POINTS
    assert (found["at"][0], found["at"][-1], found["of"]) == (1, 1000, 1000)
    assert found["y"][-1] == 0.001


def test_flags_carry_what_clears_them_and_their_kinds_are_explained(store: Store) -> None:
    flag = {
        "kind": "short",
        "subject": "decoder",
        "text": "decoder: not converged",
        "remedy": "attack.decoder.epochs=8",
    }
    data, _ = build.collect([{**store.rows()[0], "flags": [flag, "a line of before"]}], store)
    first, second = data["runs"][0]["row"]["flags"]
    assert first == flag and (second["kind"], second["text"]) == ("old", "a line of before")
    assert data["runs"][0]["row"]["verdict"] == "doubtful"
    few, _ = build.collect([{**store.rows()[0], "victims": 16}], store)
    assert few["runs"][0]["row"]["verdict"] == "void" and few["runs"][0]["row"]["flags"][0]["kind"] == "few"
    assert {"short", "old"} <= data["facts"]["flags"].keys() and all(data["facts"]["flags"].values())
    assert {"unlike", "old"} <= data["facts"]["otherwise"].keys() <= data["facts"]["flags"].keys()


# ---- command and server --------------------------------------------------------------------------------------------


def asked(*words: str) -> argparse.Namespace:
    top = argparse.ArgumentParser()
    dashboard.add(top.add_subparsers())
    return top.parse_args(["dashboard", *words])


def test_the_command_writes_one_file(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "page.html"
    here = f"paths.outputs={store.root}"
    assert dashboard.run(asked(here, "--out", str(out))) == 0
    assert "12 runs" in capsys.readouterr().out
    assert len(unpacked(out.read_text())["runs"]) == 12
    with pytest.raises(UserError, match="no finished run matches"):
        dashboard.run(asked(here, "--out", str(out), "--where", "seed=99"))
    with pytest.raises(UserError, match="--serve writes no file"):
        dashboard.run(asked(here, "--out", str(out), "--serve"))
    with pytest.raises(UserError, match="no port"):
        dashboard.run(asked(here, "--serve", "--port", "99999"))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Store, serve.Server]]:
    store = synthetic.make(tmp_path, 2)
    server = serve.serve(Selection(store), 0)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield store, server
    server.shutdown()
    server.server_close()


def get(server: serve.Server, path: str, **headers: str) -> tuple[int, bytes, Any]:
    request = urllib.request.Request(f"http://127.0.0.1:{server.server_address[1]}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers


def test_the_server_is_local_and_sends_what_changed(
    served: tuple[Store, serve.Server], capsys: pytest.CaptureFixture[str]
) -> None:
    store, server = served
    assert server.server_address[0] == "127.0.0.1"
    assert get(server, "/")[1].startswith(b"<!doctype html>")
    code, body, headers = get(server, "/data.json")
    data = json.loads(gzip.decompress(body))
    assert (code, len(data["runs"])) == (200, 2) and "status" not in data
    assert get(server, "/data.json", **{"If-None-Match": headers["ETag"]})[0] == 304
    strip = data["runs"][0]["shown"]["decoder"]["fixed"]["images"]
    assert Image.open(io.BytesIO(get(server, f"/strip/{strip}.webp")[1])).size == (8 * 32, 32)
    code, body, told = get(server, "/status.json")
    assert json.loads(gzip.decompress(body))["status"]["stages"]["measure"]["done"] == 4
    store.home("fit", "beefbeef").mkdir(parents=True)
    assert get(server, "/data.json", **{"If-None-Match": headers["ETag"]})[0] == 304  # its runs are the same
    assert get(server, "/status.json", **{"If-None-Match": told["ETag"]})[0] == 200
    store.add_row({**store.rows()[0], "key": "0123456789abcdef"})
    (store.root / "rows" / "bad.json").write_text("{")
    code, body, _ = get(server, "/data.json", **{"If-None-Match": headers["ETag"]})
    data = json.loads(gzip.decompress(body))
    assert (code, len(data["runs"])) == (200, 3) and data["left_out"][0][0] == "bad.json"
    assert "left out 1 of 4 rows" in capsys.readouterr().err
    for path in ("/strip/../../etc/passwd", "/rows/0123456789abcdef.json", "/data.json/.."):
        assert get(server, path)[0] == 404


def test_the_server_answers_to_its_own_name_alone(served: tuple[Store, serve.Server]) -> None:
    """Another name is another site's that points here."""
    _, server = served
    port = server.server_address[1]
    for host in ("evil.example", "localhost", "127.0.0.1:1", f"127.0.0.1:{port}.evil.example", ""):
        assert get(server, "/data.json", Host=host)[0] == 403, host
    assert get(server, "/data.json", Host=f"localhost:{port}")[0] == 200


def test_the_server_hangs_up_on_who_is_idle_and_on_too_many(
    served: tuple[Store, serve.Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, server = served
    monkeypatch.setattr(serve, "LONGEST", 0.4)
    idle = [socket.create_connection(server.server_address[:2], timeout=9) for _ in range(serve.CONNECTIONS)]
    one_more = socket.create_connection(server.server_address[:2], timeout=9)
    with suppress(ConnectionResetError):
        assert one_more.recv(9) == b""  # at once
    for connection in idle:
        with suppress(ConnectionResetError):
            assert connection.recv(9) == b""
        connection.close()
    end = time.monotonic() + 9
    while not _answers(server):
        assert time.monotonic() < end
    assert server.RequestHandlerClass.timeout == serve.IDLE


def _answers(server: serve.Server) -> bool:
    try:
        return get(server, "/")[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def test_an_unchanged_store_is_served_from_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = synthetic.make(tmp_path, 2)
    live, made = serve.Live(Selection(store)), []
    real = build.collect
    monkeypatch.setattr(build, "collect", lambda *told: (made.append(told), real(*told))[1])
    first = live.data()
    assert live.data() is first and len(made) == 1
    for change in (lambda: store.add_row({**store.rows()[0], "key": "f" * 8}),
                   lambda: (tmp_path / "measure" / "dddddddd0").mkdir(),
                   lambda: (tmp_path / "rows" / ("f" * 8 + ".json")).unlink()):  # fmt: skip
        before = len(made)
        change()
        live.data()
        live.data()
        assert len(made) == before + 1


def test_the_page_holds_no_absolute_path(tmp_path: Path) -> None:
    store = synthetic.make(tmp_path, 1, shown=False)
    synthetic.trouble(store)
    failed = store.home("attack", "badbadbadbadbad0") / "failed"
    failed.write_text(
        '  File "/opt/lib/site-packages/torch/nn.py", line 1\nOSError: paths.data=~me/data, C:\\me\\x, /a'
    )
    row = {**store.rows()[0], "dataset.root": "/home/me/my images", "dataset.pattern": "https://a.b/c"}
    data, _ = build.whole([row], store)
    text = json.dumps(data)
    assert not [part for part in ("/opt", "/home", "~me", "C:", str(tmp_path)) if part in text]
    assert data["runs"][0]["row"]["dataset.root"] == "…/my images"
    assert data["runs"][0]["row"]["dataset.pattern"] == "https://a.b/c"
    assert data["status"]["failed"][0]["traceback"].startswith('  File "…/nn.py", line 1\n')


def test_every_asset_is_in_the_package_with_its_licence() -> None:
    vendor = {p.name for p in (ROOT / "assets" / "vendor").iterdir()}
    assert set(build.VENDOR) | {"README.md", "LICENSE.plotly", "LICENSE.htm", "LICENSE.preact"} == vendor
    assert {p.name for p in (ROOT / "assets").glob("*.js")} == {*build.SCRIPTS, *site.SCRIPTS}
    assert (ROOT / "page.html.j2").exists()
