"""Locks between machines that share a folder: another machine is a process with another `HOST`."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock

from splitpriv import stop
from splitpriv.store import locks
from splitpriv.store.locks import Lock, Timeout, holder, is_held

OTHER = {"host": "another", "name": "node7", "pid": 1, "token": "t", "beat": 0}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "BEAT", 0.03)
    monkeypatch.setattr(locks, "DEAD", 0.2)
    monkeypatch.setattr(locks, "LOOK", 0.01)


def note(path: Path, **about: object) -> Path:
    left = path.with_name("lock.beat")
    left.write_text(json.dumps({**OTHER, **about}))
    return left


def test_whoever_holds_a_lock_shows_signs_of_life_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with Lock(path):
        first = holder(path)["beat"]
        time.sleep(0.15)
        assert holder(path)["beat"] > first and holder(path)["pid"] == os.getpid() and is_held(path)
        with pytest.raises(Timeout):
            Lock(path, timeout=0.02).__enter__()
    assert not is_held(path) and [p.name for p in tmp_path.iterdir()] in (["lock"], [])


def test_a_process_of_this_machine_that_was_killed_leaves_its_lock_free_at_once(tmp_path: Path) -> None:
    note(tmp_path / "lock", host=locks.HOST)
    begun = time.monotonic()
    with Lock(tmp_path / "lock"):
        assert time.monotonic() - begun < 0.15


def test_a_note_that_says_nothing_is_that_of_a_dead_one(tmp_path: Path) -> None:
    (tmp_path / "lock.beat").touch()  # whoever was killed before it could write
    with Lock(tmp_path / "lock", timeout=5):
        assert holder(tmp_path / "lock")["pid"] == os.getpid()


def test_whoever_is_cut_short_as_it_takes_a_lock_leaves_no_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "_name", lambda scratch, note: os.link(tmp_path / "nothing", note))
    with pytest.raises(FileNotFoundError):
        Lock(tmp_path / "lock").__enter__()
    assert [p.name for p in tmp_path.iterdir()] in (["lock"], [])


def test_a_folder_without_links_has_locks_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", none)
    with Lock(tmp_path / "lock"):
        assert holder(tmp_path / "lock")["pid"] == os.getpid()
        with pytest.raises(Timeout):
            Lock(tmp_path / "lock", timeout=0.02).__enter__()


def test_a_machine_that_lives_keeps_its_lock_also_where_flock_does_not_reach(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    note(path)
    assert is_held(path)
    end = time.monotonic() + 0.4

    def live() -> None:
        beat = 0
        while time.monotonic() < end:
            note(path, beat=(beat := beat + 1))
            time.sleep(0.01)

    other = threading.Thread(target=live)
    other.start()
    with pytest.raises(Timeout):
        Lock(path, timeout=0.3).__enter__()
    other.join()


def test_a_machine_that_died_loses_its_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    note(path)
    with FileLock(path), Lock(path) as ours:  # the system still keeps it for the dead machine
        assert holder(path)["token"] == ours.token and is_held(path)
        with pytest.raises(Timeout):
            Lock(path, timeout=0.02).__enter__()
    os.utime(note(path), (1, 1))
    assert not is_held(path)


@pytest.mark.parametrize("error", [NotImplementedError(), OSError(errno.ENOLCK, "No locks available")])
def test_folders_without_locks_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def refuse(self: FileLock) -> None:
        raise error

    monkeypatch.setattr(FileLock, "acquire", refuse)
    path = tmp_path / "lock"
    with Lock(path), pytest.raises(Timeout):
        Lock(path, timeout=0.02).__enter__()
    note(path, host=locks.HOST, pid=2**22 + 1)  # a process that is gone
    with Lock(path, timeout=0.02):
        pass


def test_whoever_slept_too_long_ends(tmp_path: Path) -> None:
    def sleep() -> None:
        with Lock(tmp_path / "lock"):
            note(tmp_path / "lock")
            for _ in range(200):
                time.sleep(0.01)

    with pytest.raises(stop.LostLock):
        sleep()
    assert json.loads((tmp_path / "lock.beat").read_text())["host"] == "another"


def test_a_pulse_is_felt_while_the_lock_is_held(tmp_path: Path) -> None:
    felt: list[int] = []
    with Lock(tmp_path / "lock", pulse=lambda: felt.append(1)):
        time.sleep(0.15)
    assert felt
