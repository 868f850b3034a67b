"""The image files below a folder: links are followed once, and what is no file is refused before it can hang."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from splitpriv.data.pixels import ENDINGS
from splitpriv.data.reading import Reading, shown, some
from splitpriv.types import UserError

HIDDEN = {"__macosx", "@eadir", "__pycache__", "$recycle.bin", "system volume information", "lost+found", "thumbs.db",
          "desktop.ini"}  # fmt: skip
SYSTEM = ("/proc", "/sys", "/dev")  # folders of devices and processes, which have no end
SHARED_MEMORY = "/dev/shm"
NOWHERE = "a link that leads nowhere"
Parts = tuple[str, ...]


@dataclass
class Found:
    """Names below the folder: of image files with all folders before them, of folders, and of all other files."""

    images: list[Parts] = field(default_factory=list)
    folders: set[Parts] = field(default_factory=set)
    others: list[Parts] = field(default_factory=list)

    def below(self, *parts: str) -> Found:
        """The same as seen from a folder within."""
        n = len(parts)
        return Found(
            [p[n:] for p in self.images if p[:n] == parts and len(p) > n],
            {p[n:] for p in self.folders if p[:n] == parts and len(p) > n},
            [p[n:] for p in self.others if p[:n] == parts and len(p) > n],
        )


def walk(root: Path, key: str, limit: int, reading: Reading) -> Found:
    """All that lies below `root`, in the order of names; what is left out is counted in `reading`.

    UserError for a folder of the system, for more than `limit` entries (`key`.max_entries), for links that lead in a
    circle, and for images that are pipes, devices, sockets or links to nothing.
    """
    tree, problems = Found(), list[str]()
    no_system(root, key)
    visited: set[tuple[int, int]] = set()
    open_folders: list[tuple[Path, Parts, tuple[Path, ...]]] = [(root, (), ())]
    entries = 0
    while open_folders:
        folder, parts, above = open_folders.pop()
        real = Path(os.path.realpath(folder))
        try:
            status = real.stat()
            with os.scandir(folder) as entering:  # no more than the limit is listed, let alone sorted
                listed = sorted(islice(entering, limit - entries + 1), key=lambda entry: entry.name)
        except OSError as error:
            raise UserError(f"{key}.path: {shown(folder)} cannot be read ({error.strerror}); mend it") from error
        if real in above:
            problems.append(f"{shown(folder)} is a link to a folder that holds it")
            continue
        if (status.st_dev, status.st_ino) in visited:
            reading.skip("folders that are read already, through a link", "/".join(parts))
            continue
        visited.add((status.st_dev, status.st_ino))
        entries += len(listed)
        if entries > limit:
            raise UserError(
                f"{key}.max_entries: {shown(root)} holds more than {limit:,} entries; give a folder of images, "
                "or raise it"
            )
        within = []
        for entry in listed:
            here = (*parts, entry.name)
            if entry.name.startswith(".") or entry.name.lower() in HIDDEN:
                reading.skip("hidden files and folders", "/".join(here))
                continue
            kind = _kind(entry)
            if kind == "a folder":
                if entry.is_symlink():
                    no_system(Path(entry.path), key)
                tree.folders.add(here)
                within.append((Path(entry.path), here, (*above, real)))
            elif (ending := Path(entry.name).suffix.lower()) in ENDINGS:
                tree.images.append(here)
                problems += [f"{shown(entry.path)} is {kind}"] if kind != "a file" else []
            elif kind != "a file" and (kind != NOWHERE or ending):
                reading.skip(f"entries that are {kind}", "/".join(here))
            elif kind == NOWHERE:  # a class, perhaps
                problems.append(f"{shown(entry.path)} is {kind}")
            else:
                tree.others.append(here)
                what = f"files that end in {shown(ending)}" if ending else "files without an ending"
                reading.skip(f"{what}, which the decoder does not read", "/".join(here))
        open_folders += reversed(within)
    if problems:
        raise UserError(f"{key}.path: {some(problems)}; take {'it' if len(problems) == 1 else 'them'} out")
    tree.images.sort()
    return tree


def _kind(entry: os.DirEntry[str]) -> str:
    """What an entry is; a link is what it leads to."""
    if not entry.is_symlink():
        if entry.is_dir(follow_symlinks=False):
            return "a folder"
        if entry.is_file(follow_symlinks=False):
            return "a file"
    try:
        mode = stat.S_IFMT(entry.stat().st_mode)
    except OSError:
        return NOWHERE
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFREG: "a file", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(mode, "a device")


def no_system(folder: Path, key: str) -> None:
    """UserError for what lies where devices and processes are, and may have no end."""
    real = os.path.realpath(folder)
    inside = [top for top in SYSTEM if real == top or real.startswith(f"{top}/")]
    if real == "/" or (inside and real != SHARED_MEMORY and not real.startswith(f"{SHARED_MEMORY}/")):
        what = "a folder" if Path(real).is_dir() else "a file"
        raise UserError(f"{key}.path: {shown(folder)} is {real}, {what} of the system; give a folder of images")
