"""Ray and Slurm: what can be said without them, and, marked slow, the engines themselves."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from splitpriv.launch import folder, on_ray, on_slurm, task
from splitpriv.types import UserError

RAY = {"cpus": 1.0, "gpus": 0.0, "workers": None, "retries": 3, "patience": 2.0}
SLURM = {"minutes": 2, "warning": 30, "requeues": 1, "cpus": 1, "gpus": 0, "memory": 1.0, "at_once": 2,
         "partition": None, "account": None, "parameters": {}}  # fmt: skip


@pytest.mark.parametrize(
    ("address", "said"),
    [("nowhere", "nowhere is no address"), ("ray://a:1", "is no address"), ("127.0.0.1:9", "nobody answers at 127"),
     ("no.such.host.invalid:6379", "nobody answers"), ("127.0.0.1:99999", "nobody answers")],
)  # fmt: skip
def test_a_cluster_that_is_not_there(address: str, said: str) -> None:
    with pytest.raises(UserError, match=f"^hydra.launcher.address: .*{said}"):
        on_ray.Ray(address=address, **RAY)._require_answer(address)


def test_what_answers_but_is_no_cluster_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.setattr(on_ray, "LOOK", "import time; time.sleep(60)")
    engine = on_ray.Ray(address="", **{**RAY, "patience": 0.3})
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(UserError, match=r"within 0\.3 s"):
        engine._require_answer(f"127.0.0.1:{server.getsockname()[1]}")


def test_more_than_a_cluster_has() -> None:
    with pytest.raises(UserError, match=r"hydra\.launcher\.gpus: a run asks for 0\.5, and the cluster has 0"):
        on_ray.Ray(address=None, **{**RAY, "gpus": 0.5})._require_room({"CPU": 2.0})
    on_ray.Ray(address=None, **{**RAY, "cpus": 0.5})._require_room({"CPU": 2.0})


def test_what_is_wrong_with_a_node(tmp_path: Path) -> None:
    (tmp_path / "token").touch()
    ours = task.Task(tmp_path / "sweep", tmp_path, task.code())
    assert on_ray.fit(ours, tmp_path / "token") == ""
    assert "does not see" in on_ray.fit(ours, tmp_path / "elsewhere" / "token")
    assert "another version" in on_ray.fit(task.Task(tmp_path, tmp_path, "old"), tmp_path / "token")


def test_no_slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    work = task.Task(tmp_path, tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="there is no sbatch here"), on_slurm.Slurm(**SLURM).ready(work):
        pass
    for name in ("sbatch", "srun", "squeue"):
        (tmp_path / name).write_text(
            "#!/bin/sh\necho 'slurm_load_jobs error: Unable to contact controller' >&2; exit 1\n"
        )
        (tmp_path / name).chmod(0o755)
    with pytest.raises(UserError, match=r"squeue fails: .*Unable to contact"), on_slurm.Slurm(**SLURM).ready(work):
        pass
    with (
        pytest.raises(UserError, match=r"hydra\.launcher\.warning: "),
        on_slurm.Slurm(**{**SLURM, "warning": 120}).ready(work),
    ):
        pass


def test_a_task_that_left_the_queue_without_a_word_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(on_slurm, "EVERY", 0.0)
    monkeypatch.setattr(
        on_slurm.subprocess,
        "run",
        lambda *_, **__: SimpleNamespace(returncode=0, stdout="7_1 PartitionTimeLimit\n", stderr=""),
    )
    with folder.planned(tmp_path, [{"overrides": ["seed=0"]}, {"overrides": []}], [{}, {}]):
        folder.leave(tmp_path, 1, {"key": "k"})
        on_slurm._await(task.Task(tmp_path, tmp_path), "7", {"7_0": 0, "7_1": 1})
    assert "task 7_0 left the queue without a result" in folder.failure(tmp_path, 0)[0]
    assert capsys.readouterr().err.count("Slurm holds tasks of job 7 back: PartitionTimeLimit") == 1


def test_a_checkpoint_is_the_point_again(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    point = on_slurm.Point(task.Task(tmp_path, tmp_path))
    again = point.checkpoint(3)
    assert again.function == point and again.args == (3,)


def _engines(tmp_path: Path, *stages: str) -> str:
    script = Path(__file__).parents[2] / "scripts" / "engines.sh"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(script.parents[1])}
    words = [str(script), str(tmp_path), *stages]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=900, check=False, env=env)
    return ran.stdout + ran.stderr


@pytest.mark.slow
def test_ray_with_a_node_killed_gives_the_rows_of_a_serial_sweep(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-n", "true"], check=False).returncode:
        pytest.skip("needs a network of its own: unshare as root")
    assert "ray: 20 rows, equal to the serial ones" in _engines(tmp_path, "serial", "ray", "compare")


@pytest.fixture
def slurm() -> None:
    pytest.importorskip("submitit")
    if shutil.which("sbatch") is None or subprocess.run(["squeue"], capture_output=True, check=False).returncode:
        pytest.skip("needs a Slurm that answers: sbatch, SLURM_CONF")


@pytest.mark.slow
@pytest.mark.usefixtures("slurm")
def test_slurm_with_a_task_requeued_gives_the_rows_of_a_serial_sweep(tmp_path: Path) -> None:
    assert "slurm: 20 rows, equal to the serial ones" in _engines(tmp_path, "serial", "slurm", "compare")


@pytest.mark.slow
@pytest.mark.usefixtures("slurm")
def test_a_run_that_slurm_cuts_short_is_requeued_and_ends_in_the_numbers_it_would_have_had(tmp_path: Path) -> None:
    said = _engines(tmp_path, "short")
    cut = re.search(r"cut after (\d+) of 1000 epochs", said)
    assert cut and 0 < int(cut[1]) < 1000, said
    assert "Caught signal SIGUSR1" in said and "Requeued job" in said and "begun 2 times" in said, said
    assert "short: 1 rows, equal to the whole ones" in said, said
