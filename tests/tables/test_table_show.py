"""What a table shows of finished rows, in every format; what it refuses to show; which claims hold."""

from __future__ import annotations

import csv
import html.parser
import io
from typing import Any

import pytest

from splitpriv.tables import claims, format_claims, shipped
from splitpriv.tables.cells import Cell
from splitpriv.tables.format_sheet import FORMATS
from splitpriv.tables.results import Results, gather
from splitpriv.tables.sheet import Sheet
from splitpriv.tables.spec import Table

EVIL = "<script>alert(1)</script> & 5 % | a_b"


def made(**changes: Any) -> Table:
    plan = {
        "title": "A table", "source": EVIL, "rows": {"plain": [], "cem": [], EVIL: [], "other": [], "other+cem": []},
        "plays": {"run": [], "strict": []},
        "averages": {"without": ["plain", "other"], "with": ["cem", "other+cem"]},
        "columns": {"acc": {"label": "Acc %", "key": "utility/accuracy", "times": 100, "format": ".2f",
                            "better": "higher"},
                    "mse": {"label": "MSE", "key": "privacy/decoder/mse", "better": "higher"},
                    "fair": {"label": "fair", "play": "strict", "key": "fairness/*/odds"},
                    "old": {"label": "only printed", "format": ".1f"}},
        "printed": {"columns": ["mse", "old"], "rows": {"plain": [0.01, 7], "cem": [0.02, None], "with": [0.03, None]},
                    "tolerance": {"mse": 0.001}},
        "errata": [{"row": "with", "column": "mse", "says": "a misprint"}],
        "claims": [{"text": "CEM raises the MSE", "columns": ["mse"], "more": "cem", "than": "plain"}],
        "scales": {"smoke": {"seeds": [0, 1, 2]}},
    }  # fmt: skip
    return Table.model_validate({**plan, **changes})


def results(
    table: Table, values: dict[str, dict[int, float]], method: str = "t", flags: tuple[str, ...] = (),
    always: tuple[str, ...] = ("only one attack was run",), **held: Any,
) -> Results:  # fmt: skip
    """Rows whose MSE is `values[row][seed]`, cached where there is one; two attack seeds, that differ by ±.001."""
    cells, found = [], {}
    for row in table.rows:
        for seed in (0, 1, 2):
            has = seed in values.get(row, {})
            cells.append(Cell(row, "run", seed, 0, [], "cached" if has else "missing"))
            for attack_seed, shift in ((0, -0.001), (1, 0.001)) if has else ():
                said = [*flags, *always] if seed == 0 else [*always]
                found.setdefault((row, "run"), {})[seed, attack_seed] = {
                    "utility/accuracy": 0.9, "privacy/decoder/mse": values[row][seed] + shift, "flags": said, **held,
                }  # fmt: skip
    return gather(table, cells, found, method)  # type: ignore[arg-type]


FULL = {"plain": {0: 0.010, 1: 0.012, 2: 0.011}, "cem": {0: 0.020, 1: 0.023, 2: 0.021}, EVIL: {0: 0.5}}


def test_mean_interval_printed_and_difference() -> None:
    found = results(made(), FULL)
    entry = found.entries["plain", "mse"]
    assert entry.estimate is not None and entry.difference is not None
    assert entry.estimate.n == 3 and entry.estimate.mean == pytest.approx(0.011)
    assert entry.estimate.half == pytest.approx(4.302652729911275 * 0.001 / 3**0.5)  # attack seeds add no freedom
    assert entry.difference == pytest.approx(0.001)
    text = Sheet(found, "smoke").words("plain", "mse", found.table.columns["mse"])
    assert [Sheet(found, scale).record("t")["name"] for scale in ("smoke", "lite")] == ["t · smoke", "t · lite"]
    assert (text.ours, text.printed, text.difference, text.n) == ("0.0110 ±0.0025", "≈0.0100", "+0.0010", "3")
    assert found.entries["plain", "acc"].estimate.mean == 90.0  # type: ignore[union-attr]


def test_plus_minus_is_refused_below_two_seeds() -> None:
    found = results(made(), FULL)
    assert Sheet(found, "smoke").words(EVIL, "mse", found.table.columns["mse"]).ours == "0.5000 (n=1)"
    for write in FORMATS.values():
        text = write(Sheet(results(made(), {"plain": {0: 0.5}}), "smoke"))
        assert "n=1" in text or ",1," in text
        assert not any(mark in text.replace("≈: printed values read by eye from a figure (mse to ±0.001)", "").replace(
            r"(mse to $\pm$0.001)", "") for mark in ("±", r"\pm"))  # fmt: skip


def test_a_bootstrap_shows_both_ends() -> None:
    found = results(made(), FULL, method="percentile")
    assert Sheet(found, "smoke").words("cem", "mse", found.table.columns["mse"]).ours == "0.0213 [0.0175, 0.0251]"


def test_an_interval_that_ends_at_a_limit_shows_both_ends() -> None:
    found = results(made(), {"plain": {0: 0.010, 1: 0.030}})
    assert Sheet(found, "smoke").words("plain", "mse", found.table.columns["mse"]).ours == "0.0200 [0.0000, 0.1471]"


def test_averages_compare_like_with_like() -> None:
    values = {**FULL, "other": {0: 0.03, 1: 0.04}, "other+cem": {1: 0.05, 2: 0.06}}
    found = results(made(), values)
    assert found.seeds("without", "mse") == {1: pytest.approx(0.026)}  # the one seed that all four rows have
    assert found.seeds("with", "mse") == {1: pytest.approx(0.0365)}
    fewer = results(made(), FULL)  # the second pair is missing: neither average takes it
    assert fewer.seeds("without", "mse") == {s: pytest.approx(v) for s, v in FULL["plain"].items()}
    assert fewer.entries["with", "mse"].remark == "1 of 2 rows"


def test_states_and_wildcards() -> None:
    table = made()
    cells = [Cell("plain", "run", 0, 0, [], "failed"),
             Cell("cem", "run", 0, 0, [], "unsupported", "", ["defense x is new"]),
             Cell("other", "run", 0, 0, [], "cached"), Cell("other", "strict", 0, 0, [], "cached")]  # fmt: skip
    found = {("other", "run"): {(0, 0): {"utility/accuracy": True, "flags": []}},
             ("other", "strict"): {(0, 0): {"fairness/race/odds": 0.25, "flags": []}}}  # fmt: skip
    out = gather(table, cells, found)
    assert out.entries["plain", "mse"].state == "failed"
    assert out.entries["cem", "mse"].state == "defense x is new"
    assert out.entries["other", "mse"].state == "not run"
    assert any(note.startswith("not run: the runs of scale lite") for note in Sheet(out, "lite").notes())
    assert out.entries["other", "acc"].estimate is None  # a truth value is no number
    assert out.seeds("other", "fair") == {0: 0.25}
    assert out.entries["plain", "fair"].state == "not part"


def test_an_empty_cell_says_what_is_lacking() -> None:
    columns = {"a": {"label": "a", "key": "privacy/decoder/ssim"}, "b": {"label": "b", "key": "ceiling/worst/mse"}}
    table = made(columns=columns, printed={"columns": [], "rows": {}}, claims=[])
    found = {("plain", "run"): {(0, 0): {"privacy/decoder/mse": 0.1, "flags": []}}}
    out = gather(table, [Cell("plain", "run", 0, 0, [], "cached")], found)
    assert out.entries["plain", "a"].state == "row has no privacy/decoder/ssim"
    assert out.entries["plain", "b"].state == "no undefended run"
    twin = {("plain", "run"): {(0, 0): {"key": "k", "ceiling": "k", "privacy/worst/mse": 0.1, "flags": []}}}
    assert gather(table, [Cell("plain", "run", 0, 0, [], "cached")], twin).seeds("plain", "b") == {0: 0.1}


def test_columns_of_a_play_that_the_scale_leaves_out_are_not_shown() -> None:
    assert "fair" not in dict(Sheet(results(made(), FULL), "smoke").columns)


def test_the_suite_has_a_column_where_it_was_run() -> None:
    table = shipped.load("cem_table1")
    row = {"utility/accuracy": 0.8, "privacy/worst/mse": 0.011, "flags": []}
    for more, shown in (({"privacy/suite/mse": 0.012}, True), ({}, False)):
        cells = [Cell("Bottleneck", "strict", seed, 0, [], "cached") for seed in (0, 1)]
        cells.append(Cell("Dropout", "strict", 0, 0, [], "missing"))
        found = {("Bottleneck", "strict"): {(seed, 0): {**row, **more} for seed in (0, 1)}}
        sheet = Sheet(gather(table, cells, found), "fast")
        assert ("strict_suite" in dict(sheet.columns)) == shown and "strict_worst" in dict(sheet.columns)
        heads = sheet.heads
        assert not shown or heads.index("strict suite ↑") + 1 == heads.index("strict worst ↑")


def test_flags_say_for_which_seeds_they_hold() -> None:
    found = results(made(), FULL, flags=("splits overlap",))
    assert found.flags["plain"] == ["splits overlap (seed 0)", "only one attack was run"]
    assert found.flags["with"] == ["errata: mse: a misprint"]
    sheet = Sheet(found, "smoke")
    assert sheet.marks("plain") == "a,b" and sheet.marks("with") == "d"


@pytest.mark.parametrize("kind", FORMATS)
def test_doubts_that_no_flag_says_are_told_and_each_row_has_its_worst_verdict(kind: str) -> None:
    found = results(made(), FULL, victims=32)
    assert found.verdicts["plain"] == found.verdicts["with"] == "void" and "other" not in found.verdicts
    assert any("only 32 victims were attacked" in flag for flag in found.flags["plain"])
    assert results(made(), FULL).verdicts["plain"] == "doubtful"
    assert results(made(), FULL, always=()).verdicts["plain"] == "sound"
    text = FORMATS[kind](Sheet(found, "smoke"))
    assert "only 32 victims" in text and "verdict" in text and text.count("void") >= 4


class Tags(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.cells: list[int] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag != "meta":  # which has no end
            self.open.append(tag)
        self.seen.append(tag)
        if tag == "tr":
            self.cells.append(0)
        if tag in ("td", "th"):
            self.cells[-1] += int(dict(attrs).get("colspan", 1))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_tells_the_same(kind: str) -> None:
    text = FORMATS[kind](Sheet(results(made(), FULL), "smoke"))
    assert "plain" in text and "a misprint" in text and "only one attack was run" in text
    shown = {"csv": "0.01", "latex": r"$\approx$0.0100"}.get(kind, "≈0.0100")
    assert ("0.011" if kind == "csv" else "0.0110") in text and shown in text


def test_html_is_whole_and_escaped() -> None:
    sheet = Sheet(results(made(), FULL), "smoke")
    text = FORMATS["html"](sheet) + format_claims.FORMATS["html"](EVIL, claims.judge(sheet.results))
    tags = Tags()
    tags.feed(text)
    assert text.startswith("<!doctype html>") and text.count('<meta charset="utf-8">') == 2
    assert not tags.open and "script" not in tags.seen and "&lt;script&gt;" in text
    assert len(set(tags.cells[2 : 2 + len(sheet.lines)])) == 1


def test_latex_is_booktabs_and_escaped() -> None:
    text = FORMATS["latex"](Sheet(results(made(), FULL), "smoke"))
    for word in (r"\toprule", r"\midrule", r"\bottomrule", r"\cmidrule", r"5 \%", r"a\_b", r"\&", r"$\pm$"):
        assert word in text
    body = text[text.index(r"\midrule") : text.index(r"\bottomrule")].splitlines()[1:]
    columns = text.split(r"\begin{tabular}{")[1].split("}")[0]
    assert {line.replace(r"\&", "").count("&") for line in body if line.strip()} == {len(columns) - 1}


def test_markdown_rows_have_as_many_cells_as_their_head() -> None:
    text = FORMATS["markdown"](Sheet(results(made(), FULL), "smoke"))
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len({line.replace(r"\|", "").count("|") for line in rows}) == 1
    assert r"\<script\>" in text and "\\\\" not in text.replace(r"\\|", "")


def test_csv_keeps_all_digits() -> None:
    lines = list(csv.DictReader(io.StringIO(FORMATS["csv"](Sheet(results(made(), FULL), "smoke")))))
    one = next(line for line in lines if (line["row"], line["column"]) == ("plain", "mse"))
    assert (
        float(one["mean"]) == pytest.approx(0.011, abs=1e-15)
        and one["n"] == "3"
        and one["key"] == "privacy/decoder/mse"
    )
    assert next(line for line in lines if line["row"] == EVIL and line["column"] == "mse")["low"] == ""


# ---- claims --------------------------------------------------------------------------------------------------------


def verdict(claim: dict[str, Any], values: dict[str, dict[int, float]], *others: dict[str, Any]) -> claims.Finding:
    table = made(claims=[{"text": "x", "columns": ["mse"], **claim}, *others])
    return claims.judge(results(table, values, always=()))[0]


MORE = {"more": "cem", "than": "plain"}


def test_a_claim_holds_fails_or_stays_open() -> None:
    assert verdict(MORE, FULL).verdict == "holds"
    assert verdict({"more": "plain", "than": "cem"}, FULL).verdict == "fails"
    noisy = {"plain": {0: 0.01, 1: 0.02}, "cem": {0: 0.012, 1: 0.021}}
    found = verdict(MORE, noisy)
    assert found.verdict == "undecided" and "right sign" in found.why and found.weakest is not None
    low = found.weakest[1].difference.low
    assert low is not None and low < 0


def test_one_seed_decides_nothing() -> None:
    found = verdict(MORE, {"plain": {0: 0.01}, "cem": {0: 0.02}})
    assert found.verdict == "undecided" and found.p is None and "right sign at n = 1" in found.why
    assert "wrong sign at n = 1" in verdict(MORE, {"plain": {0: 0.02}, "cem": {0: 0.01}}).why


def test_without_common_seeds_there_is_no_data() -> None:
    assert verdict(MORE, {"plain": {0: 0.01}, "cem": {1: 0.02}}).verdict == "no data"


def test_a_claim_about_several_pairs_needs_them_all() -> None:
    pairs = {"pairs": [["cem", "plain"], ["other+cem", "other"]]}
    good = {"other": {0: 0.01, 1: 0.02, 2: 0.03}, "other+cem": {0: 0.03, 1: 0.041, 2: 0.05}}
    assert verdict(pairs, {**FULL, **good}).verdict == "holds"
    found = verdict(pairs, FULL)
    assert found.verdict == "undecided" and "1 of 2" in found.why
    bad = {"other": good["other+cem"], "other+cem": good["other"]}
    assert verdict(pairs, {**FULL, **bad}).verdict == "fails"


def test_the_p_of_several_parts_is_the_largest_or_bonferronis() -> None:
    pairs = {"pairs": [["cem", "plain"], ["other+cem", "other"]]}
    good = {"other": {0: 0.01, 1: 0.02, 2: 0.03}, "other+cem": {0: 0.03, 1: 0.045, 2: 0.05}}
    found = verdict(pairs, {**FULL, **good})
    ps = [c.p for _, c in found.parts if c is not None]
    assert found.p == max(p for p in ps if p is not None) and len(ps) == 2
    assert found.weakest is not None and found.weakest[1].p == found.p
    assert f"weakest: {found.weakest[0]}" in format_claims.FORMATS["markdown"]("t", [found]).replace("\\", "")
    bad = verdict(pairs, {**FULL, "other": good["other+cem"], "other+cem": good["other"]})
    assert bad.weakest is not None and str(bad.weakest[0]) == "other+cem > other in mse"
    assert bad.p == pytest.approx(2 * (bad.parts[1][1].p or 0))  # type: ignore[union-attr]


def test_order_numbers_margins_ratios_and_every_row() -> None:
    table = made(claims=[
        {"text": "a", "columns": ["mse"], "order": [1.0, "cem", "plain", 0.001]},
        {"text": "b", "columns": ["mse"], "more": "plain", "than": "cem", "by": -0.5},
        {"text": "c", "columns": ["mse"], "more": "cem", "than": "plain", "by": 0.5, "relative": True},
        {"text": "d", "each": "rows", "more": "{row}@acc", "than": 50},
        {"text": "e", "each": ["cem"], "more": "{row}@acc", "than": "{row}@mse"},
    ])  # fmt: skip
    found = {f.claim.text: f for f in claims.judge(results(table, FULL, always=()))}
    assert len(found["a"].parts) == 3 and all(c is not None and c.difference.mean > 0 for _, c in found["a"].parts)
    assert found["b"].verdict == "holds" and found["c"].weakest is not None
    assert found["c"].weakest[1].difference.mean == pytest.approx(0.94, abs=0.03)
    assert len(found["d"].parts) == 5 and str(found["e"].parts[0][0]) == "cem@acc > cem@mse"


def test_doubtful_rows_give_signs_and_void_rows_nothing() -> None:
    for claim, would in ((MORE, "holds"), ({"more": "plain", "than": "cem"}, "fails")):
        table = made(claims=[{"text": "x", "columns": ["mse"], **claim}])
        (sign,) = claims.judge(results(table, FULL))
        assert sign.verdict == "a sign" and f"{would} by its numbers" in sign.why and sign.p is not None
        (void,) = claims.judge(results(table, FULL, victims=16))
        assert void.verdict == "void" and "only 16 victims were attacked" in void.why
    undecided = {"plain": {0: 0.01}, "cem": {0: 0.02}}
    assert claims.judge(results(made(claims=[{"text": "x", "columns": ["mse"], **MORE}]), undecided))[0].verdict == (
        "undecided"
    )


@pytest.mark.parametrize(("other", "wanted"), [("autoinvert-2", "holds"), ("autoinvert-2 quick", "void")])
def test_claims_over_unlike_suites_are_void(other: str, wanted: str) -> None:
    columns = {name: column.model_dump() for name, column in made().columns.items()}
    columns["mse"]["key"] = "privacy/suite/mse"
    table = made(columns=columns, claims=[{"text": "x", "columns": ["mse"], **MORE}])
    suites = {"plain": "autoinvert-2", "cem": other}
    cells = [Cell(row, "run", seed, 0, [], "cached") for row in suites for seed in FULL[row]]
    found = {(row, "run"): {(seed, 0): {"privacy/suite/mse": value, "suite": suite, "flags": []}
                            for seed, value in FULL[row].items()} for row, suite in suites.items()}  # fmt: skip
    (claim,) = claims.judge(gather(table, cells, found))  # type: ignore[arg-type]
    assert claim.verdict == wanted and (wanted == "holds" or other in claim.why)


NEW, OLD = {"defense.d.rate": 0.1, "makes": "d 2"}, {"defense.d.rate": 0.1}


@pytest.mark.parametrize(
    ("key", "more", "than", "told"),
    [
        ("privacy/worst/mse", {"privacy/a/mse": 0.1}, {"privacy/a/mse": 0.1}, ""),
        ("privacy/worst/mse", {"privacy/a/mse": 0.1}, {"privacy/b/mse": 0.1}, "over unlike attacks"),
        ("privacy/worst/mse", {"suite": "s-1"}, {"suite": "s-2"}, "unlike suites (s-1; s-2)"),
        ("privacy/a/mse", {"privacy/b/mse": 0.1}, {}, ""),
        ("privacy/a/mse", NEW, OLD, "older versions of a link (d 1, not 2)"),
        ("utility/accuracy", NEW, OLD, "older versions of a link (d 1, not 2)"),
    ],
)
def test_claims_over_what_cannot_be_compared_are_void(key: str, more: Any, than: Any, told: str) -> None:
    table = made(columns={"mse": {"label": "n", "key": key}}, printed={"columns": [], "rows": {}}, errata=[],
                 claims=[{"text": "x", "columns": ["mse"], **MORE}])  # fmt: skip
    cells = [Cell(row, "run", seed, 0, [], "cached") for row in ("plain", "cem") for seed in FULL[row]]
    found = {(row, "run"): {(seed, 0): {"flags": [], **held, key: value} for seed, value in FULL[row].items()}
             for row, held in (("cem", more), ("plain", than))}  # fmt: skip
    (claim,) = claims.judge(gather(table, cells, found))  # type: ignore[arg-type]
    assert (claim.verdict, told in claim.why) == ("void" if told else "holds", True)


def test_holm_runs_over_the_claims_of_the_table() -> None:
    alone = verdict(MORE, FULL)
    family = verdict(MORE, FULL, *[{"text": str(i), "columns": ["mse"], **MORE} for i in range(99)])
    assert alone.p == family.p and alone.adjusted == alone.p
    assert family.adjusted == pytest.approx(100 * (family.p or 0))
    assert alone.verdict == "holds" and family.verdict == "undecided"


@pytest.mark.parametrize("kind", format_claims.FORMATS)
def test_verdicts_in_every_format(kind: str) -> None:
    text = format_claims.FORMATS[kind]("A title", claims.judge(results(made(), FULL, always=())))
    assert "CEM raises the MSE" in text and "holds" in text
    again = made(claims=[{"text": EVIL, "columns": ["mse"], "pairs": [["cem", "plain"], ["other", "plain"]]}])
    text = format_claims.FORMATS[kind](EVIL, claims.judge(results(again, FULL)))
    assert "undecided" in text and ("<script>" in text) == (kind in ("terminal", "csv"))
