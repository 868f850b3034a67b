"""The notebooks: their code compiles and asks the package for public names alone; run, they end without an error."""

from __future__ import annotations

import ast
import json
import os
from pathlib import Path

import pytest

import splitpriv

NOTEBOOKS = sorted((Path(__file__).parents[1] / "examples").glob("*.ipynb"))


def cells(path: Path) -> list[str]:
    read = json.loads(path.read_text())["cells"]
    assert not any(cell.get("outputs") for cell in read), "notebooks are committed without outputs"
    return ["".join(cell["source"]) for cell in read if cell["cell_type"] == "code"]


def test_there_are_three():
    assert [path.stem for path in NOTEBOOKS] == ["first_run", "own_network", "reading_results"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_their_code_compiles_and_uses_public_names(path):
    tree = ast.parse("\n".join(cells(path)))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "splitpriv":
            assert node.attr in splitpriv.__all__
        if isinstance(node, ast.Attribute):
            assert node.attr == "__init__" or not node.attr.startswith("_")
        if isinstance(node, ast.ImportFrom):
            assert not str(node.module).startswith("splitpriv")


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_they_run(path, tmp_path, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    monkeypatch.setenv("SPLITPRIV_OUTPUTS", str(tmp_path / "outputs"))
    monkeypatch.delenv("SPLITPRIV_PROGRESS", raising=False)  # bars are part of what is shown
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(splitpriv.__file__).parents[1]), *_paths()]))
    book = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(book, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [kind for cell in book.cells for out in cell.get("outputs", []) for kind in out.get("data", {})]
    assert "image/png" in shown, "a picture stands in the notebook"
    assert not any(out.output_type == "error" for cell in book.cells for out in cell.get("outputs", []))


def _paths() -> list[str]:
    return [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
