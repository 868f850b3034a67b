"""Curves: seeds are one point, the numbers behind the picture are right, every format is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from splitpriv.board import lines
from splitpriv.commands import cli
from splitpriv.report import curves, frontier, groups, worlds
from splitpriv.store import Row, Store
from splitpriv.types import UserError


def row(chain: str, seed: int, accuracy: float, mse: float, **settings: Any) -> Row:
    key = f"{chain}-{seed}-{settings}"
    return {
        "key": key, "ceiling": f"none-{seed}-{{}}", "chain": chain, "seed": seed, "attack_seed": 0, "dataset": "d",
        "backbone": "b", "cut": 1, "headline": "accuracy", "utility/accuracy": accuracy, "privacy/worst/mse": mse,
        "privacy/a/mse": mse, "floor/mean_image/mse": 0.1, "flags": [], "fit": ["f"], "trajectory": [],
        "cost/edge_latency_ms": float(mse * seed), **settings,
    }  # fmt: skip


ROWS = [row("none", s, 0.90 + s / 1000, 0.01) for s in range(3)]
ROWS += [row("noise", s, 0.89 + s / 1000, 0.02 + s / 100, **{"defense.noise.sigma": 0.1}) for s in range(3)]
ROWS += [row("noise", s, 0.87 + s / 1000, 0.04 + s / 100, **{"defense.noise.sigma": 0.2}) for s in range(3)]


def test_rows_that_differ_in_their_seed_alone_are_one_point() -> None:
    found = frontier.points(ROWS, "utility/accuracy", "privacy/worst/mse", "chain")
    assert [(p.group, p.y.n) for p in found] == [("noise", 3), ("noise", 3), ("none", 3)]
    assert found[1].y.mean == pytest.approx(0.03) and found[1].y.low is not None


def test_attack_seeds_are_nested_in_target_seeds() -> None:
    rows = [{**ROWS[3], "attack_seed": a, "privacy/worst/mse": v} for a, v in enumerate((0.1, 0.3))]
    (point,) = frontier.points(rows, "utility/accuracy", "privacy/worst/mse", "chain")
    assert point.y.n == 1 and point.y.mean == pytest.approx(0.2) and point.y.low is None


def test_rows_of_one_setting_are_of_one_make() -> None:
    first = [{**row, "stages": [f"measure/{row['chain']}", f"fit/{row['seed']}"]} for row in ROWS[:3]]
    edited = {**first[0], "key": "edited"}  # the same seeds: a plug-in, or weights
    moved = {**first[0], "key": "moved", "seed": 7, "stages": ["measure/other", "fit/0"]}  # other images
    for rows, others in ((first, ""), ([*first, edited], "key!=none-0-{}"), ([moved, *first], "key!=moved")):
        for read in (lambda rows: frontier.points(rows, "utility/accuracy", "privacy/a/mse", "chain"),
                     lambda rows: groups.groups(rows, ["dataset"]), lambda rows: lines.lines(rows, {})):  # fmt: skip
            if not others:
                read(rows)
                continue
            with pytest.raises(UserError, match="4 runs of none share their settings") as error:
                read(rows)
            assert error.value.problems[0].endswith(f"--where {others}")
    studies = [{**edited, "way": way, "key": way} for way in "ab"]
    assert groups.groups(studies, ["chain"])[0].differ == ["way"]


def test_what_a_loss_buys_lies_where_the_number_can() -> None:
    rows = [row("none", s, 0.9, 0.001) for s in range(2)] + [row("noise", s, 0.89, 0.03 + s / 20) for s in range(2)]
    wide = 12.706205 * 0.025  # Student's t of two values that are 0.05 apart
    for metric, sign, ends in (("mse", 1, (0.0, 0.055 + wide)), ("ssim", -1, (-0.055 - wide, -0.055 + wide))):
        named = [{**r, f"privacy/a/{metric}": sign * r["privacy/a/mse"]} for r in rows]
        told = frontier.compare(named, metric=metric, y=f"privacy/a/{metric}")[2]["groups"]["noise"]
        found = told["privacy_at_loss"]["0.02"]
        assert (found["low"], found["high"]) == pytest.approx(ends, abs=1e-6)
    shares = [{**r, "privacy/a/accuracy": 1 - r["privacy/a/mse"]} for r in rows]
    told = frontier.compare(shares, metric="mse", y="privacy/a/accuracy")[2]["groups"]["noise"]
    assert told["privacy_at_loss"]["0.02"]["high"] == 1


def test_the_numbers_behind_the_picture() -> None:
    found = frontier.points(ROWS, "utility/accuracy", "privacy/worst/mse", "chain")
    numbers = frontier.summarise(found, "utility/accuracy", "privacy/worst/mse", rises=True, reference=(0.85, 0.0))
    at = numbers["groups"]["noise"]["privacy_at_loss"]
    assert at["0.01"]["mean"] == pytest.approx(0.03) and at["0.02"]["mean"] == pytest.approx(0.04)
    undefended = numbers["groups"]["none"]["privacy_at_loss"]["0.01"]
    assert undefended["mean"] == pytest.approx(0.01) and undefended["at_least"] and not at["0.01"]["at_least"]
    assert numbers["groups"]["none"]["hypervolume"]["mean"] == pytest.approx(0.051 * 0.01)
    assert numbers["groups"]["none"]["hypervolume"]["n"] == 3
    falling = frontier.summarise(found, "utility/accuracy", "privacy/worst/mse", rises=False, reference=(0.85, 0.1))
    assert falling["groups"]["none"]["hypervolume"]["mean"] == pytest.approx(0.051 * 0.09)
    assert [found[i].group for i in falling["pareto"]] == ["none"]


@pytest.mark.parametrize("form", ["png", "svg", "json"])
def test_every_format_is_written(form: str, tmp_path: Path) -> None:
    out = tmp_path / "deep" / f"curve.{form}"
    curves.draw(ROWS, Store(tmp_path), out, metric="mse")
    if form == "png":
        assert Image.open(out).width > 500
    elif form == "svg":
        assert "<svg" in out.read_text()
    else:
        assert json.loads(out.read_text())["reference"]


def test_mistakes_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="no matching run has both"):
        curves.draw(ROWS, Store(tmp_path), tmp_path / "a.png", metric="mse", y="privacy/nobody/mse")
    store = Store(tmp_path / "outputs")
    for r in ROWS:
        store.add_row({**r, "key": r["key"].replace(" ", "").replace("'", "")[:40]})
    assert cli.main(["curve", "--out", str(tmp_path / "x.doc"), f"paths.outputs={store.root}"]) == 2
    assert "change its ending" in capsys.readouterr().err
    assert cli.main(["curve", "--out", str(tmp_path / "x.json"), f"paths.outputs={store.root}"]) == 0
    assert "hypervolume" in capsys.readouterr().out


def test_settings_that_differ_in_a_list_are_two_points() -> None:
    rows = [{**ROWS[3], "key": str(i), "attack.rmle.tv": [0.1 * i], "privacy/worst/mse": 0.1 * i} for i in (1, 2)]
    found = frontier.points(rows, "utility/accuracy", "privacy/worst/mse", "chain")
    assert [p.y.n for p in found] == [1, 1] and {p.y.mean for p in found} == {0.1, 0.2}


def test_queries_and_suites_are_worlds_of_their_own() -> None:
    before = {"chain": "none", "seed": 0, "utility/accuracy": 0.9, "privacy/suite/mse": 0.01, "suite": "autoinvert-1"}
    assert worlds.world_of(before) == worlds.world_of({**before, "protocol.queries": 1})
    for other in ({"protocol.queries": 16}, {"suite": "autoinvert-1 quick"}):
        with pytest.raises(UserError, match=f"their {next(iter(other))} differ"):
            frontier.compare([before, {**before, **other}], metric="mse")
    named = [{**before, "privacy/a/mse": 0.01, "attack/a/answer": "blend", "suite": f"autoinvert-{i}"} for i in (1, 2)]
    with pytest.raises(UserError, match="their suite differ"):  # under its own name, too
        frontier.compare(named, metric="mse", y="privacy/a/mse")


def test_what_cannot_share_a_front_is_refused(tmp_path: Path) -> None:
    mixed = [ROWS[0], {**ROWS[1], "dataset": "other"}]
    with pytest.raises(UserError, match="cannot share one front"):
        curves.draw(mixed, Store(tmp_path), tmp_path / "a.json", metric="mse")
    for other in ({"cut": 2}, {"protocol": "official"}, {"knowledge": "none"}, {"privacy/b/mse": 0.3}):
        with pytest.raises(UserError, match=f"their {'attacks' if 'privacy/b/mse' in other else next(iter(other))} di"):
            curves.draw([ROWS[0], {**ROWS[1], **other}], Store(tmp_path), tmp_path / "a.json", metric="mse")
    for key in ("dataset.path", "dataset.size", "knowledge.size", "measure.ssim_padding", "optim.epochs"):
        with pytest.raises(UserError, match=rf"their {key} differ \(/faces; /xray\); choose with --where {key}=…"):
            curves.draw([{**ROWS[0], key: "/faces"}, {**ROWS[3], key: "/xray"}], Store(tmp_path), tmp_path / "a.json",
                        metric="mse")  # fmt: skip
    for point in ((float("nan"), 0.0), (0.0, float("inf"))):
        with pytest.raises(UserError, match=r"--reference .* give two finite numbers"):
            curves.draw(ROWS, Store(tmp_path), tmp_path / "a.json", metric="mse", reference=point)
    with pytest.raises(UserError, match="--y cost/release_bytes: is no measure of privacy"):
        curves.draw(ROWS, Store(tmp_path), tmp_path / "a.json", metric="mse", y="cost/release_bytes")
    with pytest.raises(UserError, match="--by chian: no matching run"):
        curves.draw(ROWS, Store(tmp_path), tmp_path / "a.json", metric="mse", by="chian")
    with pytest.raises(UserError, match="no utility of which more is better"):
        curves.draw(ROWS, Store(tmp_path), tmp_path / "a.json", metric="mse", x="cost/edge_latency_ms")


def test_one_link_in_two_versions_shares_no_front(tmp_path: Path) -> None:
    of = {"defense.noise._target_": "splitpriv.defenses.dropout.Dropout"}
    old, new = {**ROWS[3], **of}, {**ROWS[6], **of, "makes": "noise 2"}
    for before in (old, {**old, "makes": "noise 1"}):
        with pytest.raises(UserError, match=r"older versions of a link \(noise 1, not 2\); .*key!=noise-0-") as error:
            frontier.compare([ROWS[0], before, new], metric="mse")
        assert new["key"] not in error.value.problems[0]
    for rows in ([ROWS[0], old], [ROWS[0], new], [new, {**old, "makes": "noise 2"}]):
        assert worlds.older(rows) == [""] * 2
    pruned = {"defense.prune._target_": "splitpriv.defenses.prune.Prune"}  # rows of before are of its second version
    assert worlds.older([pruned, {**pruned, "makes": "prune 2"}]) == ["", ""]
    assert worlds.older([pruned, {**pruned, "makes": "prune 3"}]) == ["prune 2, not 3", ""]


def test_a_cost_is_an_axis_of_which_less_is_better(tmp_path: Path) -> None:
    rows = [{**row, "cost/bits_per_image": 1000.0 * i} for i, row in enumerate(ROWS, 1)]
    key = "cost/bits_per_image"
    numbers = curves.draw(rows, Store(tmp_path), tmp_path / "a.json", metric="mse", x=key, reference=(1e5, 0.0))
    points = [numbers["points"][i] for i in numbers["pareto"]]
    assert numbers["x"] == key and points
    costs, privacy = [p["x"]["mean"] for p in points], [p["y"]["mean"] for p in points]
    assert costs == sorted(costs, reverse=True) and privacy == sorted(privacy, reverse=True)
    assert min(p["x"]["mean"] for p in numbers["points"]) == costs[-1]
    assert all(group["hypervolume"]["mean"] > 0 for group in numbers["groups"].values())


def test_every_attack_has_its_floor_and_its_ceiling() -> None:
    probed = [
        {**r, "privacy/probe/accuracy": 0.6 + r["seed"] / 10, "privacy/probe/majority": 0.3,
         "clean/probe/accuracy": 0.9, "privacy/reid/map": 0.5, "privacy/reid/chance_map": 0.1,
         "privacy/probe/balanced_accuracy": 0.6, "privacy/probe/label_balanced_accuracy": 0.4} for r in ROWS
    ]  # fmt: skip
    assert frontier.levels(probed, "privacy/worst/mse") == {
        "mean image: nothing learnt from z": pytest.approx(0.1), "undefended": pytest.approx(0.01)
    }  # fmt: skip
    assert frontier.levels(probed, "privacy/a/mse")["mean image: nothing learnt from z"] == pytest.approx(0.1)
    told = frontier.levels(probed, "privacy/probe/accuracy")
    assert told == {"guess of the majority": pytest.approx(0.3), "undefended": pytest.approx(0.7),
                    "clean x": pytest.approx(0.9)}  # fmt: skip
    assert frontier.levels(probed, "privacy/probe/balanced_accuracy")["guess from the label"] == pytest.approx(0.4)
    assert frontier.levels(probed, "privacy/reid/map")["order that says nothing"] == pytest.approx(0.1)
    joined = [{**r, "ceiling/a/mse": 0.007} for r in probed if r["chain"] != "none"]
    assert frontier.levels(joined, "privacy/a/mse")["undefended"] == pytest.approx(0.007)
    assert frontier.levels(probed, "cost/release_bytes") == {}


def test_a_curve_without_an_undefended_run_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    defended = [r for r in ROWS if r["chain"] != "none"]
    for rows, said in ((defended, True), (ROWS, False)):
        numbers = curves.draw(rows, Store(tmp_path), tmp_path / "a.json", metric="mse")
        assert json.loads((tmp_path / "a.json").read_text())["levels"] == numbers["levels"]
        frontier.print_frontier(numbers)
        told = capsys.readouterr().out
        assert ("needs an undefended run (chain none) of" in told) is said and ("points of loss" in told) is not said


def test_the_declared_reference_is_the_undefended_network(tmp_path: Path) -> None:
    numbers = curves.draw(ROWS, Store(tmp_path), tmp_path / "a.json", metric="mse")
    assert numbers["reference"] == [0.0, pytest.approx(0.01)]
    assert numbers["groups"]["none"]["hypervolume"]["mean"] == pytest.approx(0)
    assert numbers["groups"]["noise"]["hypervolume"]["mean"] > 0
    defended = curves.draw(
        [r for r in ROWS if r["chain"] != "none"], Store(tmp_path), tmp_path / "a.json", metric="mse"
    )
    assert defended["reference"] is None and defended["groups"]["noise"]["hypervolume"] == {}
    twice = [*ROWS, row("none", 0, 0.9, 0.01, **{"attack.a.steps": 7})]
    assert curves.draw(twice, Store(tmp_path), tmp_path / "a.json", metric="mse")["ambiguous"]


def test_runs_without_a_finite_number_are_counted(tmp_path: Path) -> None:
    broken = [*ROWS, {**ROWS[0], "key": "k", "seed": 9, "privacy/worst/mse": float("nan")}, {**ROWS[0], "seed": 8}]
    broken[-1]["utility/accuracy"] = 1  # a whole number is a number
    numbers = curves.draw(broken, Store(tmp_path), tmp_path / "a.json", metric="mse")
    assert numbers["left_out"] == 1 and sum(p["x"]["n"] for p in numbers["points"]) == 10


def test_many_groups_are_told_apart(tmp_path: Path) -> None:
    import matplotlib.pyplot as plt
    from matplotlib.collections import PathCollection

    rows = [row(f"d{i}", s, 0.8 + i / 100 + s / 500, 0.02 + i / 200) for i in range(12) for s in range(2)]
    figure, axes = plt.subplots()
    found = frontier.points(rows, "utility/accuracy", "privacy/worst/mse", "chain")
    numbers = frontier.summarise(found, "utility/accuracy", "privacy/worst/mse", rises=True, reference=(0, 0))
    curves._scatter(axes, found, {**numbers, "levels": {}}, rows)
    shown = [c for c in axes.collections if isinstance(c, PathCollection)]
    looks = {(tuple(c.get_facecolor()[0]), c.get_paths()[0].vertices.tobytes()) for c in shown}
    assert len({colour for colour, _ in looks}) == 8 and len(looks) == 12
    assert axes.get_xlim()[0] > 0.7 and axes.get_ylim()[1] < 0.3  # intervals of two seeds do not flatten the means
    assert all(container.has_xerr and container.has_yerr for container in axes.containers)
    plt.close(figure)


def test_void_runs_are_left_out_and_doubtful_ones_are_hollow(tmp_path: Path) -> None:
    import matplotlib.pyplot as plt

    few, doubted = {**ROWS[3], "victims": 16}, {**ROWS[4], "flags": ["not converged"]}
    rows = [*ROWS[:3], few, doubted, ROWS[5]]
    kept, drawn, numbers = frontier.compare(rows, metric="mse")
    assert few not in kept and numbers["void"] == 1 and numbers["left_out"] == 0
    assert {p["group"]: p["sound"] for p in numbers["points"]} == {"none": True, "noise": False}
    figure, axes = plt.subplots()
    curves._scatter(axes, drawn, numbers, kept)
    faces = [tuple(c.get_facecolor()[0]) for c in axes.collections if c.get_offsets().size and c.get_zorder() == 3]
    assert faces.count((1.0, 1.0, 1.0, 1.0)) == 1 and len(faces) == 2
    plt.close(figure)
    with pytest.raises(UserError, match=r"every matching run is void, .*only 16 victims.*protocol.attacked=100"):
        frontier.compare([few], metric="mse")
