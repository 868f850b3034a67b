"""splitpriv from Python: make a run, open a finished one, read all rows, audit any edge.

Imports no torch until something computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from splitpriv import config
from splitpriv.api.listing import Rows, filtered
from splitpriv.api.runs import Run
from splitpriv.overrides import quoted
from splitpriv.store import Store, say

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    Images = Path | str | Tensor | NDArray[Any]

__all__ = ["Rows", "Run", "audit", "load", "rows", "run"]


def run(overrides: Sequence[str] = (), *, outputs: Path | str | None = None) -> Run:
    """Train, defend, attack and measure one run, or open it at once where the store has it.

    `overrides` are those of `splitpriv run`, as in `["defense=[cem,noise]", "seed=1"]`; `outputs` is the store, by
    default that of the command line. Listed trackers follow the run. Raises UserError with every problem, before
    anything is trained.
    """
    from splitpriv import track
    from splitpriv.run import pipeline
    from splitpriv.run.prepare import from_overrides

    words = [overrides] if isinstance(overrides, str) else list(overrides)
    prepared = from_overrides([*words, *_places(outputs)])
    store = Store(prepared.cfg["paths"]["outputs"])
    with track.follow(prepared, store, wait=True) as said:
        row = pipeline.execute(prepared, store)
    for problem in said:
        say(problem)
    return Run(row, store)


def load(key: str, *, outputs: Path | str | None = None) -> Run:
    """A finished run by its key, or by as many of its first letters as tell it from others.

    Raises UserError where the store `outputs` has no such run, or several.
    """
    store = _store(outputs)
    return Run(store.find(key), store)


def rows(*where: str, outputs: Path | str | None = None, **equal: Any) -> Rows:
    """Finished runs, oldest first, with floors, ceilings and verdicts.

    `where` are words as after `--where`, as in `"defense.noise.sigma>=0.05"`; a keyword asks for equality, as in
    `dataset="cifar10"`. Raises UserError for a key that no row has.
    """
    return filtered(_store(outputs), where, equal)


def audit(
    edge: nn.Module | Path | str | None,
    aux: Images | None,
    victims: Images | None = None,
    *,
    releases: Path | str | None = None,
    size: int | tuple[int, int] | None = None,
    channels: Literal[1, 3] | None = None,
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    tier: Literal["quick", "standard", "plus"] = "quick",
    paired: bool = False,
    overrides: Sequence[str] = (),
    outputs: Path | str | None = None,
) -> Run:
    """Attack an edge that was trained elsewhere: how much of its users' pictures do its releases give away?

    `edge` maps images (N, C, H, W) in [0, 1], less `mean` and divided by `std` per channel, to what leaves the device:
    any module, a file of torch.export (.pt2) or ONNX, "package:function", or None where `releases`, a .npz, recorded
    what it sent. `aux` are images like the users', which the adversary holds, `victims` the users' own: folders, or
    arrays of bytes or of floats in [0, 1]; without victims a share of aux is attacked in their place. `size`,
    `channels`: what files are brought to. `tier` is that of the suite, `overrides` those of `splitpriv audit`, and
    `paired` says that recorded releases surely are in the order of the images.

    The adversary knows the edge where gradients pass it, else he asks it, or holds the recorded pairs. The module is
    copied. Raises UserError with what does not fit, before anything is learned.
    """
    from splitpriv.given.audit import Question
    from splitpriv.given.audit import audit as answered

    words = [overrides] if isinstance(overrides, str) else list(overrides)
    row, given = answered(Question(
        edge=edge, data=aux, victims=victims, releases=releases, size=size, channels=channels, mean=mean, std=std,
        tier=tier, paired=paired, words=[*words, *_places(outputs)],
    ))  # fmt: skip
    return Run(row, given.store, given)


def _store(outputs: Path | str | None) -> Store:
    return Store(config.compose(_places(outputs))["paths"]["outputs"])


def _places(outputs: Path | str | None) -> list[str]:
    return [] if outputs is None else [quoted("paths.outputs", str(outputs))]
