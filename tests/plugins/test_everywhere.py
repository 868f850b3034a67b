"""A plug-in in other processes: workers of a sweep, trackers, a later command, a later session of Python."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small import SMALL

from splitpriv import config, options, plugins
from splitpriv.store import Store

LANTERN = Path(__file__).parents[2] / "examples" / "plugin" / "lantern"


def test_launchers_compose_with_its_options() -> None:
    config.with_plugins([f"plugins=[{LANTERN}]"])
    assert str(LANTERN / "conf") in [element.path for element in options.search_path(config.CONF).get_path()]
    plugins.use([])
    assert len([e for e in options.search_path(config.CONF).get_path() if e.provider == "plugin"]) == 0


@pytest.mark.slow
def test_a_sweep_its_trackers_and_those_who_read_it_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPLITPRIV_OUTPUTS", str(tmp_path / "outputs"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    (tmp_path / "lantern").symlink_to(LANTERN)
    base = [w for w in SMALL if not w.startswith(("dataset", "backbone", "attack="))]
    words = [*base, "plugins=[lantern]", "dataset=lanterns", "backbone=patches", "defense=[none],[shuffle]",
             "attack=[nearest]", "task=margin"]  # fmt: skip

    def told(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, "-P", *command], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def splitpriv(*command: str) -> str:
        return told("-m", "splitpriv", *command)

    splitpriv("run", "-m", *words, "hydra/launcher=joblib", "track=[diary]")
    rows = Store(tmp_path / "outputs").rows()
    assert {row["chain"] for row in rows} == {"none", "shuffle"} and not any("plugins" in row for row in rows)
    assert "missing" not in splitpriv("check", "-m", *words)
    key = next(row["key"] for row in rows if row["chain"] == "shuffle")
    assert key in splitpriv("rows") and key in splitpriv("rows", "plugins=[lantern]")
    splitpriv("track", "plugins=[lantern]", "track=[diary]")
    assert key in (tmp_path / "outputs" / "track" / "diary" / "diary.md").read_text()
    monkeypatch.setenv("SPLITPRIV_PLUGINS", str(tmp_path / "lantern"))
    shape = told("-c", f"import splitpriv; print(tuple(splitpriv.load('{key}').model.release.__self__.shape))")
    assert shape.strip() == "(16, 4, 4)"
    monkeypatch.delenv("SPLITPRIV_PLUGINS")
    lost = subprocess.run([sys.executable, "-P", "-c", f"import splitpriv; splitpriv.load('{key}').model"],
                          cwd=tmp_path, capture_output=True, text=True, check=False)  # fmt: skip
    assert "plugins=[lantern], SPLITPRIV_PLUGINS=lantern" in lost.stderr


SEARCH = ("hydra/sweeper=optuna", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweeper.n_jobs=2",
          "hydra.sweeper.n_trials=2", "defense=[shuffle]", "defense.shuffle.share=interval(0.2,1)",
          "objective=[utility/accuracy,privacy/worst/mse]")  # fmt: skip
ENGINES = {
    "ray": ("hydra/launcher=ray", "hydra.launcher.workers=1", "defense=[shuffle]", "seed=0,1"),
    "slurm": ("hydra/launcher=slurm", "hydra.launcher.memory=1", "defense=[shuffle]", "seed=0,1"),
    "optuna": SEARCH,
}


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_finds_it_from_the_folder_of_the_command(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip({"slurm": "submitit"}.get(engine, engine))
    if engine == "slurm" and (shutil.which("squeue") is None or subprocess.run(["squeue"], check=False).returncode):
        pytest.skip("needs a Slurm that answers: sbatch, SLURM_CONF")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    (tmp_path / "lantern").symlink_to(LANTERN)
    base = [w for w in SMALL if not w.startswith(("dataset", "backbone", "attack="))]
    words = [*base, "plugins=[lantern]", "dataset=lanterns", "backbone=patches", "attack=[nearest]", "task=margin"]
    told = [sys.executable, "-P", "-m", "splitpriv", "run", "-m", *words, *ENGINES[engine], "paths.outputs=outputs"]
    done = subprocess.run(told, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = Store(tmp_path / "outputs").rows()
    assert [row["chain"] for row in rows] == ["shuffle", "shuffle"]
