"""A store at an address (s3://bucket/runs, or any that fsspec knows), with a copy of what is used on this machine.

Stages and rows come from there when they are first asked for, and go there when they are finished, `done` last. Objects
have no locks: two machines that need one stage at the same time may both build it, and come to the same numbers.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from splitpriv.types import UserError

S3 = {"config_kwargs": {"connect_timeout": 10, "read_timeout": 30, "retries": {"max_attempts": 2}}}


def is_address(root: Path | str) -> bool:
    """Whether a store's root is an address, and no folder."""
    return "://" in str(root)


class Remote:
    """The files at `url`, below the folder `cache` on this machine."""

    def __init__(self, url: str) -> None:
        try:
            import fsspec  # type: ignore[import-untyped]
        except ImportError as error:
            raise UserError(f"paths.outputs: {url} needs fsspec; pip install 'splitpriv[remote]'") from error
        self.url = url.rstrip("/")
        home = Path(os.environ.get("SPLITPRIV_CACHE") or "~/.cache/splitpriv").expanduser()
        self.cache = (home / "stores" / hashlib.sha256(self.url.encode()).hexdigest()[:16]).absolute()
        with self._told():
            self.fs, self.root = fsspec.core.url_to_fs(self.url, **(S3 if self.url.startswith("s3") else {}))
            self.fs.exists(self.root)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What goes wrong on the way, as one line."""
        try:
            yield
        except Exception as error:  # of many kinds, by what is behind the address
            first = next(iter(str(error).splitlines()), "") or type(error).__name__
            raise UserError(f"paths.outputs: {self.url}: {first}; is the address right, and may you use it?") from error

    def pull(self, name: str) -> None:
        """Bring a finished stage, unless it is here."""
        here = self.cache / name
        if (here / "done").exists():
            return
        with self._told():
            there = f"{self.root}/{name}"
            if not self.fs.exists(f"{there}/done"):
                return
            paths = sorted(self.fs.find(there), key=lambda path: path.endswith("/done"))
            for path in paths:
                self._get(path, here / path[len(there) + 1 :] if path.startswith(there) else here / Path(path).name)

    def push(self, name: str) -> None:
        """Leave a finished stage, or a row, for others."""
        here = self.cache / name
        paths = sorted(p for p in here.rglob("*") if p.is_file() and p.name[0] != ".") if here.is_dir() else [here]
        with self._told():
            for path in sorted(paths, key=lambda path: path.name == "done"):
                self.fs.pipe_file(f"{self.root}/{path.relative_to(self.cache).as_posix()}", path.read_bytes())

    def pull_rows(self, key: str | None = None) -> None:
        """Bring the row with this key, or all that are not here."""
        here = self.cache / "rows"
        with self._told():
            self.fs.invalidate_cache()
            found: list[Any] = []
            if key is None:
                found = [path for path in self.fs.find(f"{self.root}/rows") if path.endswith(".json")]
            elif self.fs.exists(f"{self.root}/rows/{key}.json"):
                found = [f"{self.root}/rows/{key}.json"]
            for path in found:
                if not (here / Path(path).name).exists():
                    self._get(path, here / Path(path).name)

    def _get(self, there: str, here: Path) -> None:
        here.parent.mkdir(parents=True, exist_ok=True)
        scratch = here.with_name(f".{here.name}.{os.getpid()}")
        scratch.write_bytes(self.fs.cat_file(there))
        scratch.replace(here)
