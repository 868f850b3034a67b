"""The board: who stands on it, in which place, beside what; and the site that is made of it."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import invented
import pytest

from splitpriv import config
from splitpriv.board import about, chains, entries, kept, lines, ranks, site, worlds
from splitpriv.store import Store
from splitpriv.types import UserError

E = dict[str, Any]
ROOT = Path(__file__).parents[2]


def estimate(mean: float, half: float | None, n: int = 3, least: bool = False) -> E:
    low, high = (None, None) if half is None else (mean - half, mean + half)
    return {"mean": mean, "n": n, "low": low, "high": high, "at_least": least}


@pytest.fixture(scope="module")
def rows() -> list[Any]:
    return invented.rows()


@pytest.fixture(scope="module")
def board(rows: list[Any]) -> E:
    return worlds.boards(rows, {})[0]


def line(board: E, chain: str, **strength: Any) -> E:
    return next(each for each in board["lines"] if each["chain"] == chain and each["strength"] == strength)


# ---- places --------------------------------------------------------------------------------------------------------


def test_chains_are_in_order_only_where_their_intervals_do_not_touch() -> None:
    found = ranks.places({"a": estimate(3, 0.4), "b": estimate(2.5, 0.2), "c": estimate(1, 0.5)})
    assert {name: (p.first, p.last) for name, p in found.items()} == {"a": (1, 2), "b": (1, 2), "c": (3, 3)}
    assert [found[name].record()["tied"] for name in "abc"] == [True, True, False]


def test_few_seeds_have_no_place_and_unmeasured_ones_neither() -> None:
    found = ranks.places({"a": estimate(3, 0.1, n=2), "b": estimate(1, None, n=1), "c": None, "d": estimate(2, 0.1)})
    assert [found[name].first for name in "abcd"] == [None, None, None, 1]
    assert found["a"].why == "n = 2, needs 3" and found["c"].why == "not measured at this loss"


def test_data_that_ship_need_more_seeds(rows: list[Any], board: E) -> None:
    ours = [{**row, "dataset._target_": "splitpriv.data.fashion_tint.FashionTint"} for row in rows]
    place = worlds.boards(ours, {})[0]["chains"]["noise"]["places"]["0.01"]
    assert place["first"] is None and place["why"] == "n = 3, needs 5" and board["least"] == 3


def spot(loss: tuple[float, float, float], mse: tuple[float, float, float], n: int = 3, means: bool = False) -> E:
    of = [{"low": low, "mean": mean, "high": high, "n": n} for low, mean, high in (loss, mse)]
    return {"chain": "a", "loss": of[0], "attacked": {"1": {"mse": of[1]}}, "means": means}


def test_only_intervals_that_do_not_touch_push_off_the_front() -> None:
    one, touches, beaten = (
        spot((0.01, 0.02, 0.03), (0.5, 0.6, 0.7)),
        spot((0.02, 0.04, 0.06), (0.2, 0.3, 0.4)),
        spot((0.04, 0.05, 0.06), (0.2, 0.3, 0.4)),
    )
    every = [one, touches, beaten]
    assert [ranks.front(each, every, 3) for each in every] == ["front", "front", ""]
    few = [spot((0.04, 0.05, 0.06), (0.2, 0.3, 0.4), 2, means) for means in (True, False)]
    assert [ranks.front(each, [*every, *few], 3) for each in few] == ["front (n = 2)", ""]


def test_a_least_estimate_is_below_nobody() -> None:
    found = ranks.places({"a": estimate(1, 0.1, least=True), "b": estimate(3, 0.1)})
    assert (found["a"].first, found["a"].last, found["b"].first) == (1, 2, 1) or found["b"].last == 2
    assert found["a"].last == 2 and found["b"].first == 1


# ---- lines ---------------------------------------------------------------------------------------------------------


def test_a_line_is_one_setting_over_its_seeds(board: E, rows: list[Any]) -> None:
    told = line(board, "noise", **{"noise.sigma": 0.02})
    same = [row for row in rows if row.get("defense.noise.sigma") == 0.02 and row["protocol.queries"] == 1]
    assert told["seeds"] == [0, 1, 2] and told["utility"]["n"] == 3
    assert told["utility"]["mean"] == pytest.approx(sum(r["utility/accuracy"] for r in same) / 3)
    pairs = [rows[r["seed"]]["utility/accuracy"] - r["utility/accuracy"] for r in same]
    assert told["loss"]["mean"] == pytest.approx(sum(pairs) / 3)
    assert told["attacked"]["16"]["mse"] == {"mean": 0.001, "n": 1, "low": None, "high": None}
    assert told["attacked"]["1"]["mse"]["mean"] != told["attacked"]["16"]["mse"]["mean"]
    assert told["verdict"] == "doubtful" and [flag["kind"] for flag in told["flags"]] == ["near"]


def test_void_rows_are_apart(board: E) -> None:
    assert [row["seed"] for row in board["void"]] == [9] and board["void"][0]["why"] == ["protocol=smoke"]
    assert all(9 not in each["seeds"] for each in board["lines"])


def test_rows_of_an_older_version_of_a_link_are_apart(rows: list[Any]) -> None:
    new = [{**row, "makes": "dropout 2"} for row in rows if row.get("defense.dropout.rate") == 0.5 and row["seed"] < 9]
    old = [row for row in rows if row.get("defense.dropout.rate") == 0.1]
    board = worlds.boards([*rows[:3], *old, *new], {})[0]
    assert {each["key"] for each in board["void"]} == {row["key"] for row in old}
    assert board["void"][0]["why"] == ["made by an older version of a link (dropout 1, not 2)"]
    assert [each["strength"] for each in board["lines"] if each["chain"] == "dropout"] == [{"dropout.rate": 0.5}]


def test_worlds_and_suites_stand_apart(rows: list[Any]) -> None:
    other = [{**row, "knowledge": "disjoint"} for row in rows[:3]]
    longer = [{**row, "optim.epochs": 20} for row in rows[:3]]
    whole = [{**row, "suite": "autoinvert-1"} for row in rows[:3]]
    many = worlds.boards([*rows, *other, *longer, *whole, {**rows[0], "suite": None}], {})
    assert len(many) == 4 and len({board["id"] for board in many}) == 4
    assert len({(*board["name"], board["world"]["suite"]) for board in many}) == 4
    longest = next(board for board in many if board["settings"]["optim.epochs"] == 20)
    assert longest["name"][-1] == "optim.epochs 20" and longest["apart"] == {"optim.epochs": 20}


PRESETS = (
    "bido,cloak",
    "bido_coco,cloak_noise,pan",
    "patrol,cem_paper,noise",
    "patrol_cem,cem,noise",
    "cloak_blackbox",
)


@functools.cache
def composed(options: str) -> E:
    chosen = config.compose([f"defense=[{options}]"])["defense"]
    return {"chain": "+".join(chosen), **config.flatten({"defense": chosen})}


def test_a_chain_is_called_by_its_options() -> None:
    for options in PRESETS:
        assert chains.name(composed(options)) == options.replace(",", "+")
    changed = {**composed("patrol_cem,cem,noise"), "defense.cem.clusters": 3, "defense.cem.weight": 99.0}
    assert chains.name(changed) == "patrol_cem+cem(cem.clusters=3)+noise"
    assert chains.listed(changed) == "patrol_cem+cem+noise"
    assert chains.name({"chain": "mine", "defense.mine._target_": "mine.Mine", "defense.mine.a": 1}) == "mine"


def test_variants_of_a_defence_are_chains_of_their_own(rows: list[Any]) -> None:
    variants = [invented.row("bido", seed, at, **{k: v for k, v in composed(of).items() if "bido" in k})
                for of, at in (("bido,cloak", 0.2), ("bido_coco,cloak_noise,pan", 0.4))
                for seed in range(3)]  # fmt: skip
    board = worlds.boards([*rows[:3], *variants], {})[0]
    assert {*board["chains"]} == {"none", "bido", "bido_coco"}
    assert [{*each["strength"]} for each in board["lines"] if each["chain"] == "bido_coco"] == [{"bido.lambda_x"}]


def test_what_was_sent_in_lowers_the_best_known(rows: list[Any]) -> None:
    row = rows[0]
    assert lines.best_known(row, {}) == (row["privacy/suite/mse"], "")
    assert lines.best_known(row, {"theirs": 1e-4}) == (1e-4, "theirs")
    assert lines.best_known({**row, "suite/search/mse": 1e-3}, {}) == (1e-3, "search")
    told = {"name": "theirs", "fit": row["fit"], "frozen": entries.frozen(row), "queries": 1, "mse": 1e-4}
    sent = entries.Entries(attacks={"theirs": told})
    assert sent.reached([row]) == {row["key"]: {"theirs": 1e-4}}
    assert not sent.reached([{**row, "fit": ["0" * 16]}, {**row, "protocol.queries": 16}, {**row, "dataset.seed": 1}])
    lowered = worlds.boards(rows, {row["key"]: {"theirs": 1e-4}})[0]
    best = line(lowered, "none")["best"]["1"]
    assert "theirs" in best["who"] and best["mean"] < line(lowered, "none")["attacked"]["1"]["mse"]["mean"]


def test_best_known_is_one_for_each_count_of_queries(rows: list[Any], board: E) -> None:
    often = next(row for row in rows if row["protocol.queries"] == 16)
    before = line(board, "noise", **{"noise.sigma": 0.02})["best"]
    after = line(worlds.boards(rows, {often["key"]: {"theirs": 1e-4}})[0], "noise", **{"noise.sigma": 0.02})["best"]
    assert before["16"]["mean"] == 0.001 and after["16"] == {**before["16"], "mean": 1e-4, "who": ["theirs"]}
    assert after["1"] == before["1"] and board["queries"] == [1, 16]


def test_privacy_at_a_loss_has_seeds_and_places(board: E) -> None:
    bought = board["chains"]["noise"]["bought"]
    assert bought["0.005"]["n"] == 3 and bought["0.005"]["mean"] < bought["0.02"]["mean"]
    assert board["chains"]["noise"]["places"]["0.01"]["first"] == 1
    assert any(each["front"] for each in board["lines"])


# ---- what is said of a chain ---------------------------------------------------------------------------------------


def test_a_chain_is_told_in_two_sentences_and_its_paper_beside(rows: list[Any]) -> None:
    noise = next(row for row in rows if row["chain"] == "noise")
    told = about.links(noise)[0]
    assert (
        told["said"].endswith("in units of z.")
        and told["said"].startswith("Gaussian noise")
        and "IoT-J 2020" in told["yaml"]
    )
    printed = about.claimed("cem+noise", {"dataset": "cifar10", "backbone": "vgg11"})
    assert any(about.number(claim, "mse") == 0.0054 for claim in printed)
    assert not about.claimed("cem+noise", {"dataset": "fashion_tint", "backbone": "tiny"})


def test_presets_tell_of_themselves_and_find_their_papers() -> None:
    coco, cloaked, pan = about.links(composed("bido_coco,cloak_noise,pan"))
    assert coco["said"].startswith("BiDO with COCO") and cloaked["said"].startswith("Cloak without suppression")
    assert pan["said"].startswith("Privacy Adversarial Network") and pan["yaml"].startswith("Open:")
    patrol = about.links(composed("patrol,cem_paper,noise"))[0]
    assert patrol["name"] == "patrol" and patrol["said"].count(". ") == 1
    printed = {claim["chain"] for claim in about.claims()}
    assert {chains.listed(composed(options)) for options in ("patrol_cem,cem,noise", "cloak_blackbox")} <= printed


def test_the_command_is_that_of_the_row(rows: list[Any]) -> None:
    assert about.command(rows[0]).startswith(
        "splitpriv run +setting=demo 'defense=[none]' 'protocol.limit={aux: 2000}'"
    )
    bare = {k: v for k, v in rows[3].items() if k != "board/words"}
    told = about.command(bare)
    assert "'defense=[noise]'" in told and "defense.noise.sigma=0.02" in told and "protocol.attacked=200" in told


# ---- files ---------------------------------------------------------------------------------------------------------


def test_rows_go_and_come_and_what_is_none_is_told(rows: list[Any], tmp_path: Path) -> None:
    path = invented.written(tmp_path / "rows.jsonl", rows[:2])
    assert [row["key"] for row in kept.read([path])] == [row["key"] for row in rows[:2]]
    path.write_text(path.read_text().replace("fashion_tint", "cifar10"))
    with pytest.raises(UserError, match=r"line 1 is no row \(its content and its checksum differ\)"):
        kept.read([path])
    path.write_text("{}\n[]\n")
    with pytest.raises(UserError) as error:
        kept.read([path, tmp_path / "absent.jsonl"])
    several, absent = error.value.problems
    assert "line 1 is no row" in several and "line 2 is no row" in several and several.endswith("; remove them")
    assert "absent.jsonl: does not exist" in absent
    with pytest.raises(UserError, match=r"line 1 is no row .*its key .* is none"):
        kept.read([invented.written(tmp_path / "escapes.jsonl", [{**rows[0], "key": "../../x"}])])
    with pytest.raises(UserError, match="is no file of rows"):
        kept.read([tmp_path])


def test_the_site_needs_nothing_else(rows: list[Any], tmp_path: Path) -> None:
    data = site.make(rows[:6], Store(tmp_path / "store"), None, tmp_path / "site", entries.Entries())
    assert json.loads((tmp_path / "site" / "board.json").read_text()) == data
    page = (tmp_path / "site" / "index.html").read_text()
    assert "connect-src" not in page.split("</head>")[0] and 'src="http' not in page
    for each in data["boards"][0]["lines"]:
        assert (tmp_path / "site" / "cards" / f"{each['key']}.html").stat().st_size
        assert each["command"]
    assert {*data["defences"]} == {"none", "noise"}


def test_the_committed_site_is_that_of_the_committed_rows_and_entries(tmp_path: Path) -> None:
    """If not: `splitpriv board build DIR --rows results/board/*.jsonl`, then copy DIR/board.json to site.json."""
    folder, found = ROOT / "results" / "board", entries.read(ROOT / "board")
    rows = {row["key"]: row for row in (*kept.read(sorted(folder.glob("*.jsonl"))), *found.rows())}
    data, _ = site.collect(list(rows.values()), Store(tmp_path), folder, found)
    committed = json.loads((folder / "site.json").read_text())
    for name in ("boards", "defences", "models", "attacks"):
        assert data[name] == committed[name], name
    assert {line["weights"] for board in data["boards"] for line in board["lines"]} == {
        None, *(model["link"] for model in data["models"])}  # fmt: skip
    assert [model["link"] for model in data["models"]] == ["models/noise_005/model.safetensors"]


@pytest.mark.parametrize("name", ["fashion_tint", "fairface", "cifar10"])
def test_every_world_of_the_script_composes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import fill_board

    world = fill_board.WORLDS[name]
    cfg = config.compose([*world.base, "defense=[noise]"])
    assert cfg["choices"]["dataset"] == name
    assert all(config.grid(chain) for chain in world.chains or () if chain != "none")


def test_strengths_come_from_the_middle_and_the_cost_from_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import fill_board

    chains = {"none": ("defense=[none]",), "noise": ("defense=[noise]",), "topk": ("defense=[topk]",)}
    monkeypatch.setattr(fill_board, "chains", lambda world: chains)
    world = fill_board.WORLDS["fashion_tint"]
    points = fill_board.grid(world)
    assert len(points) == 2 * (1 + 5 + 5) and [p.chain for p in points[:3]] == ["none", "none", "noise"]
    assert points[2].words[1] == f"defense.noise.sigma={config.grid('noise')['defense.noise.sigma'][2]}"
    assert [p.chain for p in points].index("topk") == 2 + 2 * 5  # noise is the more telling
    told = [row | {"board/words": " ".join(p.overrides(world)), "board/step": "grid", "board/chain": p.chain,
                   kept.SPENT: 50.0} for p, row in zip(points[:3], invented.rows(2)[:3], strict=True)]  # fmt: skip
    assert fill_board.cost(world, told, points[3:5]) == 100.0
    best, stronger = (f"defense.noise.sigma={config.grid('noise')['defense.noise.sigma'][i]}" for i in (2, 3))
    dearer = told[2] | {"board/words": told[2]["board/words"].replace(best, stronger), "utility/accuracy": 0.5}
    assert len(fill_board.whole(world, told)) == 4 * 5  # whether the next strength is void is not known
    chosen = fill_board.whole(world, [*told, dearer])
    assert {(p.chain, p.queries) for p in chosen} == {("none", 1), ("none", 16), ("noise", 1), ("noise", 16)}
    noise = {(p.words[-1], p.queries) for p in chosen if p.chain == "noise"}
    assert noise == {(best, 1), (best, 16), (stronger, 1)} and len(chosen) == 5 * 5
