"""The tables that ship say what the papers print, and a broken one names its mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from splitpriv.config import CONF
from splitpriv.run.prepare import from_overrides
from splitpriv.tables import cells, shipped
from splitpriv.types import UserError

NAMES = shipped.names()
PUBLISHED = {
    "cem_table1", "cem_table2", "cem_table3", "cem_fig3", "cem_fig4", "he2019_table3", "he2019_table4", "he2019_table6",
    "cloak_table1", "cloak_fig2a", "cloak_fig2b", "cloak_fig2c", "cloak_fig2d", "cloak_fig2e", "cloak_fig3",
    "cloak_fig4", "mid_fig2", "mid_gmi",
    "patrol_ablation", "ressfl",
}  # fmt: skip
CEM = ("cem_table1", "cem_table2", "cem_table3")
# Of each in turn: acc, decoder train, infer, GAN train, infer; copied a second time from the published tables.
CEM_PRINTED = """\
No_defense       | 91.86 .0013 .0014 .0014 .0016 | 53.73 .0025 .0022 .0020 .0021 | 86.69 .0012 .0011 .0012 .0014
Bottleneck       | 90.87 .0036 .0041 .0039 .0045 | 52.77 .0107 .0103 .0091 .0092 | 85.12 .0025 .0025 .0026 .0027
Bottleneck+CEM   | 90.69 .0054 .0058 .0076 .0080 | 52.25 .0140 .0136 .0123 .0125 | 85.00 .0036 .0035 .0038 .0037
DistCorr         | 89.52 .0074 .0082 .0079 .0088 | 51.79 .0148 .0145 .0126 .0136 | 83.42 .0038 .0038 .0041 .0041
DistCorr+CEM     | 89.80 .0090 .0093 .0094 .0096 | 51.78 .0195 .0190 .0167 .0168 | 83.78 .0048 .0047 .0069 .0074
Dropout          | 87.75 .0098 .0104 .0099 .0111 | 50.72 .0165 .0163 .0148 .0151 | 79.30 .0052 .0052 .0054 .0057
Dropout+CEM      | 87.53 .0129 .0134 .0132 .0142 | 50.75 .0188 .0186 .0167 .0172 | 79.19 .0074 .0074 .0076 .0081
PATROL           | 89.58 .0245 .0293 .0257 .0307 | 51.75 .0187 .0187 .0168 .0176 | 79.18 .0099 .0118 .0114 .0137
PATROL+CEM       | 89.67 .0304 .0335 .0313 .0347 | 51.64 .0211 .0209 .0185 .0189 | 79.88 .0166 .0185 .0184 .0192
ResSFL           | 89.68 .0146 .0240 .0158 .0243 | 51.99 .0173 .0172 .0157 .0161 | 79.60 .0094 .0112 .0111 .0142
ResSFL+CEM       | 90.11 .0201 .0251 .0229 .0273 | 52.07 .0197 .0194 .0180 .0173 | 79.54 .0128 .0148 .0143 .0161
Noise_Nopeek     | 87.19 .0152 .0159 .0156 .0165 | 51.63 .0161 .0157 .0147 .0152 | 82.06 .0052 .0052 .0053 .0056
Noise_Nopeek+CEM | 87.08 .0174 .0174 .0173 .0178 | 52.01 .0183 .0180 .0166 .0167 | 81.96 .0076 .0075 .0078 .0090
Noise_ARL        | 87.78 .0290 .0336 .0304 .0342 | 51.03 .0229 .0224 .0204 .0205 | 80.14 .0122 .0155 .0132 .0158
Noise_ARL+CEM    | 87.62 .0330 .0355 .0341 .0363 | 50.85 .0281 .0271 .0251 .0253 | 80.33 .0182 .0211 .0212 .0231
Average_wo_CEM   | 88.91 .0148 .0179 .0156 .0185 | 51.66 .0167 .0164 .0148 .0153 | 81.26 .0069 .0079 .0076 .088
Average_w_CEM    | 88.92 .0183 .0200 .0194 .0211 | 51.62 .0199 .0195 .0177 .0178 | 81.38 .0101 .0111 .0114 .0123"""
HE = {
    "he2019_table3": {"mnist conv1": [39.69, 0.9969], "mnist relu2": [15.10, 0.5998], "cifar10 conv11": [37.59, 0.9960],
                      "cifar10 relu22": [19.47, 0.6940], "cifar10 relu32": [13.38, 0.1625]},
    "he2019_table4": {"mnist conv1": [39.64, 0.9887, 40.72, 0.9950, 14.76, 0.7188],
                      "mnist relu2": [20.35, 0.7334, 20.81, 0.8046, 7.72, 0.4310],
                      "cifar10 conv11": [49.88, 0.9993, 49.02, 0.9992, 48.59, 0.9996],
                      "cifar10 relu22": [19.81, 0.6939, 19.36, 0.6802, 12.79, 0.2930],
                      "cifar10 relu32": [15.42, 0.3124, 13.95, 0.2196, 12.37, 0.0440]},
    "he2019_table6": {"mnist conv1": [17.60, 0.7423, 17.86, 0.6952], "mnist relu2": [9.61, 0.4981, 8.03, 0.3226],
                      "cifar10 conv11": [21.16, 0.9104, 13.06, 0.1553],
                      "cifar10 relu22": [12.74, 0.1752, 11.30, 0.0467],
                      "cifar10 relu32": [11.09, 0.0419, 11.47, 0.0793]},
}  # fmt: skip


def test_the_papers_tables_ship() -> None:
    assert set(NAMES) >= PUBLISHED


@pytest.mark.parametrize("name", NAMES)
def test_every_table_loads_whole(name: str) -> None:
    table = shipped.load(name)
    assert table.source and table.claims and {"smoke", "lite", "full"} <= set(table.scales)
    assert all(len(table.scales[scale].seeds) > 1 for scale in table.scales if scale != "smoke")
    first = (CONF / "table" / f"{name}.yaml").read_text().splitlines()[0]
    assert first.startswith("# ") and len(first) > 30


@pytest.mark.parametrize("name", CEM)
def test_cem_tables_print_what_was_printed(name: str) -> None:
    table = shipped.load(name)
    lines = (line.split("|") for line in CEM_PRINTED.splitlines())
    wanted = {row.strip(): [float(v) for v in tables[CEM.index(name)].split()] for row, *tables in lines}
    assert table.printed.columns == ["acc", "dec_train", "dec_infer", "gan_train", "gan_infer"]
    assert table.printed.rows == wanted
    assert list(wanted)[:15] == [row for row in table.rows if row in wanted]
    for average, members in table.averages.items():  # the printed averages are those of the printed rows, but for one
        for column in table.printed.columns:
            mean = sum(table.value(row, column) or 0.0 for row in members) / len(members)
            known = any((e.row, e.column) == (average, column) and "in error" in e.says for e in table.errata)
            digits = 0.01 if column == "acc" else 0.0001  # some are cut, not rounded
            assert known or table.value(average, column) == pytest.approx(mean, abs=digits)


@pytest.mark.parametrize("name", HE)
def test_he_tables_print_what_was_printed(name: str) -> None:
    assert shipped.load(name).printed.rows == HE[name]


def test_what_names_in_a_figure_is_asked_for() -> None:
    """A column that only a judge fills, at every scale; the schedules that Cloak's tables print, at full scale."""
    mid, points = shipped.load("mid_fig2"), shipped.load("cloak_fig4")
    assert mid.columns["attack_c"].key == "privacy/label_inversion/told"
    assert all("measure=judged" in size.base for size in mid.scales.values())
    last = {c.row: c.overrides for c in cells.expand(points, "full", cells.Extra())}["CIFAR-100 Cloak 5"]
    noise = "defense.cloak.noise."
    schedule = {f"{noise}increase.epochs=140", f"{noise}increase.lambda=0.2", f"{noise}tune.lambda=10"}
    assert schedule | {"backbone=alexnet_cloak", "dataset.task=superclass"} <= set(last)
    assert "defense.cloak.max_scale=0.3" in last  # 1.5 of pixels over their deviation


@pytest.mark.parametrize(("name", "increase"), [("cloak_fig2d", {"epochs=0.5", "lambda=1"}),
                                                ("cloak_fig2b", {"epochs=1", "lambda=10"}),
                                                ("cloak_fig3", {"epochs=1", "lambda=10"})])  # fmt: skip
def test_cloak_on_celeba_has_the_printed_schedule_and_substitute(name: str, increase: set[str]) -> None:
    listed = cells.expand(shipped.load(name), "full", cells.Extra())
    net = "backbone@defense.cloak.substitute.net=vgg16"
    for words in (set(cell.overrides) for cell in listed if cell.row != "base"):
        assert {f"defense.cloak.noise.increase.{word}" for word in increase | {"lr=0.01"}} <= words
        assert {f"defense.cloak.noise.tune.{word}" for word in ("epochs=0.5", "lr=0.001", "lambda=1")} <= words
        assert (net in words) == ("defense=[cloak_blackbox]" in words)
        assert not any("vgg11" in word for word in words)


def test_strict_is_told_of_one_release_and_of_sixteen() -> None:
    """An adversary who receives an image often averages: what one release leaves is only half of what protects."""
    told = {c.play: c.overrides for c in cells.expand(shipped.load("cem_table1"), "fast", cells.Extra())}
    assert set(told["strict_16"]) ^ set(told["strict"]) == {"protocol.queries=16"}
    full = cells.expand(shipped.load("cem_table3"), "full", cells.Extra(), ["Dropout"])
    assert all("attack=[autoinvert]" in c.overrides for c in full if c.play.startswith("strict"))


@pytest.mark.slow
def test_the_ablation_without_pruning_trains_as_long_as_patrol() -> None:
    listed = {c.row: c.overrides for c in cells.expand(shipped.load("patrol_ablation"), "smoke", cells.Extra())}
    whole, control = (from_overrides(listed[row]).plan.phases for row in ("PATROL", "without pruning"))
    assert len(whole) > 1 and [(p.name, p.epochs) for p in whole] == [(p.name, p.epochs) for p in control]


def test_errata_of_the_cem_tables() -> None:
    says = {(e.row, e.column): e.says for e in shipped.load("cem_table3").errata}
    assert ".0088" in says["Average_wo_CEM", "gan_infer"]
    assert "+48.2 %" in says["Average_w_CEM", "dec_train"]


@pytest.mark.parametrize("name", NAMES)
def test_rows_name_options_that_exist_or_say_that_they_do_not(name: str) -> None:
    table = shipped.load(name)
    for scale in table.scales:
        listed = cells.expand(table, scale, cells.Extra())
        assert listed and all(cell.state == "missing" or cell.problems for cell in listed)
        assert any(cell.state == "missing" for cell in listed)
        for cell in listed:
            keys = [o.partition("=")[0] for o in cell.overrides]
            assert len(keys) == len(set(keys)), f"{cell.row}: one key given twice"


def test_cem_table_one_has_all_rows_both_attacks_and_strict() -> None:
    table = shipped.load("cem_table1")
    listed = cells.expand(table, "full", cells.Extra())
    rows = {cell.row for cell in listed if cell.play == "train"}
    assert len(rows) == 15 and {cell.seed for cell in listed} == {0, 1, 2}
    by_play = {cell.play: cell.overrides for cell in listed if cell.row == "Noise_ARL+CEM"}
    assert "protocol=cem_official" in by_play["train"] and "protocol=cem_official_infer" in by_play["infer"]
    assert "attack=[decoder_cem,gan_decoder_cem]" in by_play["infer"] and "protocol=strict" in by_play["strict"]
    assert "defense=[ressfl,cem,noise]" in by_play["train"]


# ---- broken tables -------------------------------------------------------------------------------------------------

GOOD = """
title: T
source: S
rows: {A: ["defense=[none]"], B: {overrides: ["defense.noise.sigma={s}"], each: {s: [1, 2]}}}
columns: {mse: {label: MSE, key: privacy/decoder/mse}}
scales: {smoke: {seeds: [0]}}
"""


def write(tmp_path: Path, text: str) -> Path:
    (tmp_path / "t.yaml").write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("title: T", "titel: T", "titel"),
        ("seeds: [0]", "seeds: []", "scales.smoke.seeds"),
        ("seeds: [0]", "seeds: [-1]", "scales.smoke.seeds"),
        ("seeds: [0]", "seeds: [0], rows: [C]", "'C' matches no row"),
        ("seeds: [0]", "seeds: [0], by_play: {other: []}", "no play 'other'"),
        ("seeds: [0]", "seeds: [0], by_row: {C: []}", "'C' matches no row"),
        ("label: MSE,", "label: MSE, play: other,", "no play 'other'"),
        ("smoke:", "huge:", "scales"),
        ("columns:", "printed: {columns: [mse], rows: {A: [1, 2]}}\ncolumns:", "2 values for 1 columns"),
        ("columns:", "printed: {columns: [mse], rows: {Z: [1]}}\ncolumns:", "no row 'Z'"),
        ("columns:", "averages: {M: [A, Z]}\ncolumns:", "no row 'Z'"),
        ("columns:", "errata: [{row: A, column: mse, says: x}]\ncolumns:", "nothing is printed"),
        ("columns:", "claims: [{text: x, more: A, than: Z}]\ncolumns:", "no row 'Z'"),
        ("columns:", "claims: [{text: x, more: A@psnr, than: 'B'}]\ncolumns:", "no column 'psnr'"),
        ("title: T", "title: [", "is not YAML"),
    ],
)
def test_a_broken_table_names_its_mistake(tmp_path: Path, old: str, new: str, says: str) -> None:
    with pytest.raises(UserError, match="table t: ") as caught:
        shipped.load("t", write(tmp_path, GOOD.replace(old, new, 1)))
    assert says in str(caught.value)


def test_each_makes_one_row_of_every_value(tmp_path: Path) -> None:
    text = GOOD.replace("B: {", "'B {s} {k}': {").replace("{s: [1, 2]}", "{s: [1, 2], k: [3]}")
    table = shipped.load("t", write(tmp_path, text))
    assert list(table.rows) == ["A", "B 1 3", "B 2 3"]
    assert table.rows["B 2 3"].overrides == ["defense.noise.sigma=2"]


def test_no_such_table_or_scale(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean cem_table1"):
        shipped.load("cem_table11")
    with pytest.raises(UserError, match="no such scale; there are smoke"):
        shipped.load("t", write(tmp_path, GOOD)).sized("lite")
