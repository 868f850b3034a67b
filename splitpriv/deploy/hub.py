"""To and from a model hub, and what a pulled model must still give."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from splitpriv import metrics, plain
from splitpriv.deploy import pack
from splitpriv.run import stages
from splitpriv.run.context import Run
from splitpriv.run.reopen import planned
from splitpriv.run.row import read_json
from splitpriv.store import Row, Store
from splitpriv.types import UserError, typed

PLACE = re.compile(r"hf://([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@([\w./-]+))?")
NEAR, CLOSE = 0.02, 1e-3  # relative, or absolute: what another processor's rounding may make of a number
AGAIN = ("utility/", "chance/", "floor/", "cost/", "bound/")  # what is made again from the weights and the data


@dataclass(frozen=True)
class Place:
    """Where a model goes or comes from: a folder, or a repository of the hub with perhaps a revision."""

    folder: Path | None
    repository: str = ""
    revision: str | None = None


def place(word: str, command: str) -> Place:
    """What a word names; raise UserError for a repository that cannot be one, or without the hub's library."""
    if "://" not in word:
        return Place(typed(word, command).absolute())
    match = PLACE.fullmatch(word)
    if match is None:
        raise UserError(f"{command} {word}: is neither a folder nor hf://owner/name, perhaps with @revision")
    if find_spec("huggingface_hub") is None:
        raise UserError(f"{command} {word}: needs huggingface_hub, not installed here; pip install 'splitpriv[hub]'")
    return Place(None, match[1], match[2])


def upload(folder: Path, to: Place) -> str:
    """Send a packed folder to a private repository, made if need be; where it is then."""
    from huggingface_hub import HfApi

    def send() -> str:
        api = HfApi()
        api.create_repo(to.repository, private=True, exist_ok=True)
        return str(api.upload_folder(folder_path=folder, repo_id=to.repository, revision=to.revision))

    return _asked(send, f"push hf://{to.repository}")


def download(source: Place, into: Path) -> Path:
    """Fetch what a push made, and nothing else, into a folder."""
    from huggingface_hub import snapshot_download

    kinds = ["*.safetensors", "*.json", "card.html", "*.md", "*.png"]

    def fetch() -> str:
        return str(snapshot_download(source.repository, revision=source.revision, local_dir=into, allow_patterns=kinds))

    return Path(_asked(fetch, f"pull hf://{source.repository}"))


def _asked(call: Callable[[], str], what: str) -> str:
    try:
        return call()
    except Exception as error:  # of the network, of the hub, of a missing login
        told = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UserError(
            f"{what}: the hub did not answer as hoped ({plain.line(told)[:200]}); is there a network, does the "
            "repository exist, and are you logged in (`hf auth login`)?"
        ) from error


def pulled(folder: Path, out: Path, overrides: list[str]) -> tuple[Row, dict[str, tuple[float, float]], int]:
    """Make a pushed folder a store at `out`, evaluate its model there, and add its row if that gives its numbers.

    The row, what of it differs as name -> (said, found), and how many numbers were made again. `out` is left empty
    where anything differs. Raises UserError for what is damaged, and for data that are not there.
    """
    about = pack.manifest(folder)
    row = pack.row_of(folder, about)
    store = Store(out)
    try:
        prepared = planned(row, store, overrides)
        pack.unpack(folder, about, prepared.plan.fits, store)
        run = Run(prepared, store, prepared.parts.runtime.start())
        try:
            _ = run.model
        except (RuntimeError, KeyError) as error:  # torch's, of names and shapes
            told = str(error).splitlines()[0]
            raise UserError(
                f"pull {folder}: its weights are not those of its config ({told}); push it again"
            ) from error
        home = run.kept("measure", run.plan.utility, lambda home: stages.utility(run, home))
        differing, count = compare(row, read_json(home / "facts.json"))
        if not differing:
            store.add_row(row)
        return row, differing, count
    finally:
        if store.row(row["key"]) is None:
            shutil.rmtree(out, ignore_errors=True)


def compare(row: Mapping[str, Any], facts: Mapping[str, Any]) -> tuple[dict[str, tuple[float, float]], int]:
    """What differs between a row and what was made again, name -> (said, found), and how many numbers were compared.

    Numbers of the machine are left out; others may differ by 2 % or by 0.001.
    """
    both = [key for key, value in row.items() if key.startswith(AGAIN) and key in facts
            and isinstance(value, int | float) and not ((m := metrics.find(key)) and m.machine)]  # fmt: skip
    apart = {key: (float(row[key]), float(facts[key])) for key in both
             if not math.isclose(row[key], facts[key], rel_tol=NEAR, abs_tol=CLOSE)}  # fmt: skip
    return apart, len(both)
