"""Files are told apart by what they hold, and read again only where they changed."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from splitpriv.data import contents
from splitpriv.types import UserError

WORDS = {"key": "dataset.path", "remedy": "replace it"}


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    found = [tmp_path / f"{name}.bin" for name in "abc"]
    for path in found:
        path.write_bytes(path.name.encode() * 1000)
    return found


def test_hashes_are_taken_once_and_again_where_the_content_changed_in_place(
    paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    real = contents._sha256
    monkeypatch.setattr(contents, "_sha256", lambda name: read.append(name) or real(name))
    first = contents.hashes([*paths, paths[0]], tmp_path, **WORDS)
    assert first == [hashlib.sha256(path.read_bytes()).hexdigest() for path in [*paths, paths[0]]]
    assert contents.hashes([*paths, paths[0]], tmp_path, **WORDS) == first and len(read) == 3
    before = paths[1].stat()
    paths[1].write_bytes(b"x" * before.st_size)
    os.utime(paths[1], ns=(before.st_atime_ns, before.st_mtime_ns))  # as some copying tools do
    after = contents.hashes([*paths, paths[0]], tmp_path, **WORDS)
    assert after[1] != first[1] and after[0] == first[0] and len(read) == 4


def test_without_a_place_to_remember_files_are_read_again(paths: list[Path], tmp_path: Path) -> None:
    wanted = contents.hashes(paths, tmp_path, **WORDS)
    for place in (tmp_path / ".cache").glob("contents-*.json"):
        place.write_text(json.dumps({str(paths[0]): "damaged"}))
    assert contents.hashes(paths, tmp_path, **WORDS) == wanted == contents.hashes(paths, paths[0] / "no", **WORDS)
    paths[2].unlink()
    with pytest.raises(UserError, match=r"dataset\.path: cannot read .*c\.bin; replace it"):
        contents.hashes(paths, tmp_path, **WORDS)
