"""What people say of runs: a note and tags, one file per run below `notes/`. Part of no key and of no row's file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from splitpriv import plain
from splitpriv.store.folder import Store, say, write_atomic
from splitpriv.store.rows import Row
from splitpriv.types import UserError

TAG = re.compile(r"[^\W_][\w.+-]{0,39}")
LONGEST = 4000  # characters of a note


@dataclass(frozen=True)
class Note:
    """Of one run: free text, and words that many runs may share, in the order of the alphabet."""

    text: str = ""
    tags: tuple[str, ...] = ()


def of(store: Store, key: str) -> Note:
    """What is said of a run; empty where nothing is, or where its file is damaged, which is said."""
    path = _place(store, key)
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        text, tags = said["note"], said["tags"]
        if not isinstance(text, str) or not isinstance(tags, list) or not all(isinstance(t, str) for t in tags):
            raise ValueError("it holds no note and tags")
        return Note(text, tuple(tags))
    except (FileNotFoundError, NotADirectoryError):
        return Note()
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        say(f"left out {path}: {error}")
        return Note()


def noted(rows: Sequence[Row], store: Store) -> list[Row]:
    """Rows with `note` and `tags` added where there are any."""
    if not (store.root / "notes").is_dir():
        return list(rows)
    out = []
    for row in rows:
        said = of(store, row["key"])
        told = {"note": said.text, "tags": list(said.tags)}
        out.append({**row, **{name: value for name, value in told.items() if value}})
    return out


def write(store: Store, key: str, text: str) -> Note:
    """Say `text` of a run in place of what was said; empty text removes it. Raises UserError for a text too long."""
    if len(text) > LONGEST:
        raise UserError(f"note: has {len(text):,} characters; give at most {LONGEST:,}")
    return _change(store, key, lambda said: Note(plain.inert(text).strip(), said.tags))


def tag(store: Store, key: str, words: Sequence[str], remove: bool = False) -> Note:
    """Add tags to a run, or take them away; raise UserError for what is no tag, and for one that is not there."""
    wrong = [word for word in words if not TAG.fullmatch(word)]
    if wrong:
        form = "begins with a letter or digit and has no more than 40 of letters, digits and . _ + -"
        raise UserError(*(f"tag: {word!r} is none; a tag {form}" for word in wrong))

    def change(said: Note) -> Note:
        lacking = [word for word in words if word not in said.tags]
        if remove and lacking:
            there = f"it has {', '.join(said.tags)}" if said.tags else "it has none"
            raise UserError(f"tag: {key} has no tag {', '.join(lacking)}; {there}")
        kept = set(said.tags) - set(words) if remove else {*said.tags, *words}
        return Note(said.text, tuple(sorted(kept)))

    return _change(store, key, change)


def damaged(store: Store) -> list[str]:
    """A line for each file of notes that cannot be read."""
    lines = []
    for path in sorted((store.root / "notes").glob("*.json")):
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            _ = said["note"], said["tags"]
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            lines.append(f"notes/{path.name} is damaged: {error}; write the note again")
    return lines


def _place(store: Store, key: str) -> Path:
    return store.root / "notes" / f"{key}.json"


def _change(store: Store, key: str, change: Callable[[Note], Note]) -> Note:
    place = _place(store, key)
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(place.parent / "lock"):
        said = change(of(store, key))
        if said == Note():
            place.unlink(missing_ok=True)
        else:
            write_atomic(place, json.dumps({"note": said.text, "tags": list(said.tags)}, ensure_ascii=False) + "\n")
    return said
