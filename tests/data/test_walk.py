"""Links, pipes, devices and folders without an end: refused or left out at once, never a hang."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from own import SETTINGS, own, put, refusal, write

from splitpriv.data.images import Images
from splitpriv.types import UserError

PETS = ("cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png")


def test_links_are_followed_once(tmp_path: Path) -> None:
    put(tmp_path / "store", *PETS, "cow.png")
    root = tmp_path / "mine"
    root.mkdir()
    (root / "cat").symlink_to(tmp_path / "store/cat")
    (root / "dog").symlink_to("../store/dog")
    (root / "cow").mkdir()
    (root / "cow/0.png").symlink_to(tmp_path / "store/cow.png")
    (root / "cow/again").symlink_to(tmp_path / "store/cat")
    data = own(root, test_share=0.0)
    assert data.reading.counts["train"] == {"cat": 2, "cow": 1, "dog": 2}
    assert data.reading.skipped == {"folders that are read already, through a link": 1}


@pytest.mark.parametrize(
    ("kind", "said"),
    [("loop", "is a link to a folder that holds it"), ("itself", "is a link that leads nowhere"),
     ("nothing", "is a link that leads nowhere"), ("pipe", "is a pipe"), ("link to a pipe", "is a pipe"),
     ("device", "is a device"), ("socket", "is a socket"), ("system", "/proc, a folder of the system")],
)  # fmt: skip
def test_what_is_no_file_is_refused(tmp_path: Path, kind: str, said: str) -> None:
    root = put(tmp_path / "mine", *PETS)
    place = root / "cat" / "9.png"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            os.chdir(place.parent)  # its name must be short
            made.bind(place.name)
    else:
        os.mkfifo(tmp_path / "pipe.png")
        target = {"loop": root, "itself": place, "nothing": "absent.png", "link to a pipe": tmp_path / "pipe.png",
                  "device": "/dev/zero", "system": "/proc"}  # fmt: skip
        place.symlink_to(target[kind])
    assert said in refusal(root)


def test_what_is_no_image_is_named_for_what_it_is(tmp_path: Path) -> None:
    root = put(tmp_path / "mine", *PETS)
    os.mkfifo(root / "cat/notes.txt")
    (root / "cat/more.txt").symlink_to("absent")
    skipped = own(root).reading.skipped
    assert skipped == {"entries that are a pipe": 1, "entries that are a link that leads nowhere": 1}
    (root / "cow").symlink_to("absent")
    assert "cow is a link that leads nowhere; take it out" in refusal(root)


@pytest.mark.parametrize("place", ["/", "/proc", "/proc/self/root", "/sys", "/dev", "/proc/kmsg", "/proc/self/environ"])
def test_what_belongs_to_the_system_is_refused(place: str) -> None:
    assert " of the system" in refusal(Path(place))


@pytest.mark.parametrize(
    ("place", "said"),
    [("~nobody-of-that-name/x", "cannot be read"), ("a" * 300, "File name too long"), ("a\0b", "embedded null"),
     (" ", "is empty"), ("itself", "cannot be read"), ("data.zip", "neither a folder nor a table")],
)  # fmt: skip
def test_paths_that_lead_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "itself").symlink_to("itself")
    (tmp_path / "data.zip").write_bytes(b"PK")
    with pytest.raises(UserError, match=f"dataset.path: .*{said}"):
        Images(path=place, **SETTINGS)


def test_more_entries_than_the_limit_are_refused(tmp_path: Path) -> None:
    root = put(tmp_path / "mine", *PETS)
    assert "dataset.max_entries: " in refusal(root, max_entries=5)
    assert len(own(root, max_entries=6).found.files) == 4
    path = write(root, ["file,label", *(f"{name},{name[:3]}" for name in PETS)], "list.csv")
    assert "dataset.max_entries: " in refusal(path, max_entries=3)


def test_tables_and_their_files_are_files(tmp_path: Path) -> None:
    root = put(tmp_path, *PETS)
    os.mkfifo(root / "list.csv")
    assert "list.csv is no regular file" in refusal(root / "list.csv")
    path = write(
        root, ["file,label", "/dev/zero,cat", "list.csv,dog", "/proc/kmsg,cat", "cat/0.png,cat", "cat,dog"], "other.csv"
    )
    said = refusal(path)
    assert "are no regular file, but a folder, a device, a pipe or a file of the system" in said
    assert "/proc/kmsg" in said
