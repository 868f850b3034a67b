"""The store: built once, under a lock, done written last, failures kept and retried."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from splitpriv.store import Store, write_atomic


def test_memo_builds_once(tmp_path: Path) -> None:
    store, built = Store(tmp_path), []
    for _ in range(3):
        home = store.memo("fit", "k", lambda home: built.append(home))
    assert built == [home] == [tmp_path / "fit" / "k"]
    assert store.state("fit", "k") == "cached"
    assert store.state("fit", "other") == "missing"


def test_done_is_written_last(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def build(home: Path) -> None:
        assert not (home / "done").exists()
        (home / "part").write_text("x")
        assert store.state("fit", "k") == "partial"

    home = store.memo("fit", "k", build)
    assert (home / "done").stat().st_mtime_ns >= (home / "part").stat().st_mtime_ns


def test_a_failure_keeps_its_traceback_and_is_tried_again(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def build(home: Path) -> None:
        (home / "kept").write_text("x")
        raise RuntimeError("the reason")

    with pytest.raises(RuntimeError, match="the reason"):
        store.memo("fit", "k", build)
    home = store.home("fit", "k")
    assert store.state("fit", "k") == "failed"
    assert "RuntimeError: the reason" in (home / "failed").read_text()
    assert "in build" in (home / "failed").read_text()

    def again(home: Path) -> None:
        assert (home / "kept").exists()

    store.memo("fit", "k", again)
    assert store.state("fit", "k") == "cached"
    assert not (home / "failed").exists()


def test_an_interrupt_is_no_failure(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def build(home: Path) -> None:
        (home / "last.pt").write_text("x")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.memo("fit", "k", build)
    assert store.state("fit", "k") == "partial"


def _slow(root: Path, log: Path) -> None:
    def build(home: Path) -> None:
        with log.open("a") as file:
            file.write(f"begin {os.getpid()}\n")
        time.sleep(0.5)
        (home / "part").write_text("x")

    home = Store(root).memo("fit", "k", build)
    assert (home / "part").exists()
    assert (home / "done").exists()


def test_two_processes_that_need_one_stage_build_it_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log"
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=_slow, args=(tmp_path, log)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(20)
    assert [p.exitcode for p in both] == [0, 0]
    assert len(log.read_text().splitlines()) == 1
    assert "waiting for another process that builds fit/k" in capfd.readouterr().err


def _killed(root: Path) -> None:
    Store(root).memo("fit", "k", lambda home: os.kill(os.getpid(), 9))


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=_killed, args=(tmp_path,))
    process.start()
    process.join(20)
    assert process.exitcode == -9
    started = time.perf_counter()
    Store(tmp_path).memo("fit", "k", lambda home: None)
    assert time.perf_counter() - started < 1


def test_write_atomic_leaves_the_old_file_when_the_disk_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "row.json"
    write_atomic(path, "old")
    real = Path.write_bytes

    def half(self: Path, data: bytes) -> int:
        real(self, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, "newer")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["row.json"]


def test_rows_are_filtered_by_their_values(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for i, chain in enumerate(["none", "noise", "noise"]):
        store.add_row({"key": f"k{i}", "chain": chain, "seed": i, "defense.noise.sigma": 0.025 * i})
        os.utime(tmp_path / "rows" / f"k{i}.json", (i, i))
    assert [r["key"] for r in store.rows()] == ["k0", "k1", "k2"]
    assert [r["key"] for r in store.rows({"chain": "noise"})] == ["k1", "k2"]
    assert [r["key"] for r in store.rows({"chain": "noise", "seed": "2"})] == ["k2"]
    assert [r["key"] for r in store.rows({"defense.noise.sigma": "0.025"})] == ["k1"]
    assert store.rows({"chain": "nois"}) == []
    assert store.row("k1") == store.rows()[1]
    assert store.row("k9") is None
    assert Store(tmp_path / "empty").rows() == []
