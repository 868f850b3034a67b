"""One finished run: its row at once, what the store keeps of it when first asked for."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from splitpriv.api.listing import number, table
from splitpriv.measure import pictures
from splitpriv.metrics import PRIVACY
from splitpriv.report import words
from splitpriv.report.terminal import attacks_of, images_of, judged
from splitpriv.store import Row, Store
from splitpriv.types import UserError

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from splitpriv.defenses.base import Defended
    from splitpriv.run.context import Run as Context


class Run:
    """A finished run. Shown with its numbers and its picture in a notebook.

    `row`: all results, with the ceiling of its undefended twin where the store has it; `key` names it in the store.
    """

    def __init__(self, row: Row, store: Store, context: Context | None = None) -> None:
        self.store = store
        self._opened = context
        self.row: Row = judged([row], store)[0]
        self.key: str = row["key"]

    @cached_property
    def model(self) -> Defended:
        """The trained network with its chain, in evaluation mode.

        `model.release(x)` is what leaves the device for images x (N, C, H, W) in [0, 1], `model.classify(release)` the
        cloud's logits of it.

        Raises UserError where the store lacks its weights, or a later version would train another one; an audit has no
        model of ours.
        """
        if self.row.get("study"):
            raise UserError(f"{self.key}: is a study, {self.row['study']}, which has no model of ours")
        return self._context.model

    @cached_property
    def victims(self) -> Tensor:
        """The images that were attacked, (victims, C, H, W) in [0, 1].

        Raises UserError as `model` does; of an audit only the call that made it has them.
        """
        return self._context.victims.x(slice(None)).cpu()

    @cached_property
    def reconstructions(self) -> Mapping[str, Tensor]:
        """What each attack on images rebuilt of every victim, by its name, (victims, C, H, W) in [0, 1].

        Of a suite there is also what each member rebuilt, as `autoinvert/refine` or, for short, `refine`; of an audit
        what was rebuilt of recorded releases whose images are not known, as `autoinvert/sent`.
        """
        return Reconstructions(self.row, self.store)

    @cached_property
    def scores(self) -> Mapping[str, Mapping[str, Tensor]]:
        """Per attack and metric, one number per victim."""
        from splitpriv.store.state import load_tensors

        paths = {key[7:]: path for key, path in self.row.items() if key.startswith("scores/")}
        return {name: load_tensors(_there(self.store, path)) for name, path in paths.items()}

    def grid(self, attack: str | None = None) -> Image:
        """Victims above what an attack rebuilt of them: some drawn beforehand, then its best, median and worst.

        `attack`: by default the strongest on images. Raises UserError where the run has no such picture.
        """
        known = images_of(self.row)
        name = attack or self.row.get("binds/image") or next(iter(known), "")
        if name not in known:
            raise UserError(
                f"grid: no attack {name!r} on images in run {self.key}; there are {', '.join(known) or 'none'}"
            )
        home = _there(self.store, self.row[f"picture/{name}"]).parent
        shown = pictures.read(home)
        if shown is None:
            raise UserError(f"grid: {home} has no picture; the command that made the run makes it again")
        return pictures.grid(shown, f"{self.row['chain']} attacked by {name}")

    def summary(self) -> str:
        """What the run says, in words."""
        return "\n".join(words.summary(self.row))

    @cached_property
    def _context(self) -> Context:
        if self._opened is not None:
            return self._opened
        from splitpriv.run.context import Run as Context
        from splitpriv.run.reopen import reopened

        prepared = reopened(self.row, self.store)
        return Context(prepared, self.store, prepared.parts.runtime.start())

    def __repr__(self) -> str:
        return f"<splitpriv.Run {self.key}: {self.row['chain']}, {self.row['verdict']}>"

    def _repr_html_(self) -> str:
        metrics = [m for m in PRIVACY if f"privacy/worst/{m}" in self.row]
        lines = [[name, *(number(self.row, f"privacy/{name}/{m}") for m in metrics)] for name in images_of(self.row)]
        lines += [["floor: mean image", *(number(self.row, f"floor/mean_image/{m}") for m in metrics)]]
        told = "".join(f"<p>{escape(line)}</p>" for line in words.summary(self.row))
        numbers = table(["", *(PRIVACY[m].heading for m in metrics)], lines) if metrics else ""
        return told + numbers + (_inline(self.grid()) if images_of(self.row) else "")


def _there(store: Store, path: str) -> Path:
    """A file that a row names; raise UserError where the store travelled without it."""
    file = store.root / path
    if not file.parent.is_dir():
        raise UserError(f"{path}: is not in {store.root}; the command that made the run makes it again")
    return file


def _inline(image: Image) -> str:
    """A picture as HTML."""
    held = io.BytesIO()
    image.save(held, "PNG", optimize=True)
    return f'<img src="data:image/png;base64,{base64.b64encode(held.getvalue()).decode()}"/>'


FILE = "reconstructions.safetensors"  # in the folder of an attack


class Reconstructions(Mapping[str, "Tensor"]):
    """Of the attacks on images of a row, read from the store when asked for."""

    def __init__(self, row: Row, store: Store) -> None:
        stages = [stage for stage in row.get("stages", []) if stage.startswith("attack/")]
        homes = dict(zip(attacks_of(row), stages, strict=False))  # those on clean x come after them
        self.homes = {name: store.root / homes[name] for name in images_of(row) if name in homes}
        self.suite = next((name for name in self.homes if row.get(f"attack/{name}/answer")), "")
        self.members = {key.split("/")[1] for key in row if key.startswith("suite/")}

    def __getitem__(self, name: str) -> Tensor:
        from safetensors import safe_open

        if name not in self.homes and name in self.members:
            name = f"{self.suite}/{name}"
        attack = name.partition("/")[0]
        if attack not in self.homes or name not in self._of(attack):
            known = self if attack in self.homes else self.homes
            raise UserError(f"reconstructions: there is no {name!r}; there are {', '.join(known) or 'none'}")
        with safe_open(self.homes[attack] / FILE, framework="pt") as file:
            return file.get_tensor(self._of(attack)[name])

    def __iter__(self) -> Iterator[str]:
        return (name for attack in self.homes for name in self._of(attack))

    def _of(self, attack: str) -> dict[str, str]:
        """What is called how in the file of an attack; UserError where that is gone."""
        from safetensors import safe_open

        if not (self.homes[attack] / FILE).is_file():
            lost = f"attack/{self.homes[attack].name}/{FILE}"
            raise UserError(f"reconstructions: {lost} is not there; the command that made the run makes it again")
        with safe_open(self.homes[attack] / FILE, framework="pt") as file:
            keys = list(file.keys())
        return {"/".join(filter(None, (attack, key.removeprefix("image").strip("/")))): key for key in keys}

    def __contains__(self, name: object) -> bool:
        return name in list(self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"<reconstructions by {', '.join(self.homes) or 'none'}>"
