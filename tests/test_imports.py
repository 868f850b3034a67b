"""What importing splitpriv changes about the imports of others."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

import splitpriv  # noqa: F401
from splitpriv import _torchmetrics


def test_lightning_gets_torchmetrics_base_classes_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = [name for name in sys.modules if name.partition(".")[0] == "torchmetrics"]
    for name in ours:
        monkeypatch.delitem(sys.modules, name)
    home = tmp_path / "torchmetrics"
    (home / "utilities").mkdir(parents=True)
    (home / "__init__.py").write_text(
        "from torchmetrics.metric import Metric\nMANY = 1\n__all__ = ['MANY', 'Metric']\n"
    )
    (home / "utilities" / "__init__.py").write_text("from torchmetrics import _logger\nfrom ..metric import Metric\n")
    (home / "metric.py").write_text("import torchmetrics.utilities as u\nclass Metric: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    _torchmetrics.import_late()
    try:
        package = importlib.import_module("torchmetrics")
        assert package.__version__ and not hasattr(package, "__wrapped__")
        assert package.Metric.__module__ == "torchmetrics.metric"
        assert "MANY" not in vars(package)
        assert package.MANY == 1 and package.__all__ == ["MANY", "Metric"]
        with pytest.raises(AttributeError):
            package.nothing  # noqa: B018
    finally:
        for name in [n for n in sys.modules if n.partition(".")[0] == "torchmetrics"]:
            del sys.modules[name]


def test_a_run_begins_without_the_rest_of_torchmetrics() -> None:
    importlib.import_module("splitpriv.run.fit")
    spec = sys.modules["torchmetrics"].__spec__
    assert spec is not None and isinstance(spec.loader, _torchmetrics._Late)
