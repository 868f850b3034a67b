"""Every number of a row is in the one table of metrics, and whoever shows it agrees on which way is better."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from splitpriv import metrics
from splitpriv.tables import shipped

RESULTS = sorted((Path(__file__).parents[1] / "results").glob("*/rows/*.json"))


def test_every_number_of_a_row_is_in_the_table() -> None:
    keys = {k for path in RESULTS for k, v in json.loads(path.read_text()).items() if isinstance(v, int | float)}
    told = {key for key in keys if key.partition("/")[0] in metrics.GROUPS}
    assert len(told) > 30 and not [key for key in told if metrics.find(key) is None]
    assert metrics.find("privacy/mse") and metrics.find("accuracy") is None and metrics.find("attack/a/mse") is None


@pytest.mark.parametrize("name", shipped.names())
def test_tables_and_metrics_agree_on_what_is_better(name: str) -> None:
    for label, column in shipped.load(name).columns.items():
        metric = metrics.find(column.key or "")
        if metric and column.better:
            assert (column.better == metric.better) is (column.times > 0), label


def test_the_page_on_metrics_has_those_of_images() -> None:
    page = (Path(__file__).parents[1] / "docs" / "metrics.md").read_text()
    for name in ("mse", "psnr", "ssim", "ms_ssim", "lpips", "told", "feature_distance", "frechet"):
        line = next(line for line in page.splitlines() if line.startswith((f"| `{name}`", f"| `{name}@N`")))
        assert f"| {metrics.PRIVACY[name].better} |" in line


def test_a_metric_in_words() -> None:
    assert metrics.PRIVACY["psnr"].heading == "PSNR dB ↓" and metrics.COST["edge_stages"].heading == "edge stages"
    assert metrics.PRIVACY["mse"].text(0.01234) == "0.0123" and metrics.PRIVACY["map"].text(0.5) == "50.00%"
    assert metrics.COST["edge_macs"].text(405504.0) == "405,504"
