"""The best strength of a chain of defences at a bounded loss of utility: a search, beside the undefended twin."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from splitpriv import config, overrides, targets
from splitpriv.launch import folder as place
from splitpriv.launch import points, running, search
from splitpriv.measure.verdict import verdict
from splitpriv.store import Row, Store, say
from splitpriv.types import UserError


@dataclass(frozen=True)
class Tuned:
    """What a search found: its rows, the undefended twin, the columns compared, and the strongest row within the loss.

    Strongest: the largest `privacy`, an error of attacks; `best` is None where every strength costs more utility.
    """

    rows: list[Row]
    twin: Row
    utility: str
    privacy: str
    loss: float  # of utility, a share
    best: Row | None
    searched: list[str]  # keys
    folder: Path

    def lost(self, row: Row) -> float:
        """How much less useful a row is than the twin."""
        return float(self.twin[self.utility] - row[self.utility])


def strengths(words: Sequence[str]) -> list[str]:
    """Overrides that leave the strength of every defence of a chain open, unless `words` fix it or open others.

    Raise UserError where there is no chain, nothing of it that could be searched, or something else is searched.
    """
    swept = [o.get_key_element() for o in points.read(words) if o.is_sweep_override()]
    if others := [key for key in swept if not overrides.place_of(key).startswith("defense.")]:
        raise UserError(*(f"tune: searches settings of defences alone, as in 'defense.noise.sigma=0.1,0.2'; give {key} "
                          "one value, and tune once for each" for key in others))  # fmt: skip
    if swept:
        return []
    chain = config.compose(words)["defense"]
    if not chain:
        raise UserError("tune: there is no defence whose strength could be searched; name one, as in 'defense=[noise]'")
    given = {overrides.key_of(word) for word in words}
    told: dict[str, Mapping[str, str]] = {
        name: targets.strength(node, f"defense.{name}") for name, node in chain.items()
    }
    opened = [f"defense.{name}.{key}={interval}" for name, found in told.items() for key, interval in found.items()
              if f"defense.{name}.{key}" not in given]  # fmt: skip
    if not opened:
        lacking = next((name for name, found in told.items() if not found), None)
        if lacking is None:
            raise UserError("tune: every strength of the chain is given; leave one out, or give it an interval, as in "
                            "'defense.noise.sigma=interval(0.01,0.5)'")  # fmt: skip
        settings = [key for key in chain[lacking] if key != "_target_"]
        raise UserError(f"tune: {lacking} does not say which of its settings is its strength; give one an interval, as "
                        f"in 'defense.{lacking}.{settings[0] if settings else 'weight'}=interval(0.1,10)'; it has "
                        f"{', '.join(settings) or 'none'}")  # fmt: skip
    return opened


def tune(words: Sequence[str], *, loss: float, trials: int, metric: str, home: Callable[[Any], Path]) -> Tuned:
    """Search the strength of the chain that `words` name, for the most privacy at a `loss` of utility in [0, 1].

    `metric`: mse or ssim of the reconstructions. Raise UserError with all problems, before anything is trained.
    """
    from splitpriv.run.prepare import whole

    if any(overrides.key_of(word) in ("objective", "hydra/sweeper") for word in words):
        raise UserError(
            "tune: chooses objective and sweeper itself; `splitpriv run -m hydra/sweeper=optuna` takes yours"
        )
    opened = [*words, *strengths(words)]
    first = points.prepare([points.ends(opened)[0]])[0].prepared
    utility = f"utility/{_headline(first.cfg)}"
    suite = any(attack.suite for attack in whole(first).parts.attacks.values())
    privacy = f"privacy/{'suite' if suite else 'worst'}/{metric}"
    direction = "maximize" if metric == "mse" else "minimize"
    told = [*opened, "hydra/sweeper=optuna", f"objective=[{utility},{privacy}]", f"hydra.sweeper.n_trials={trials}",
            f"hydra.sweeper.direction=[maximize,{direction}]"]  # fmt: skip
    search.checked(told)
    bare = [
        word for word in words if not overrides.is_hydra(word) and not overrides.place_of(word).startswith("defense")
    ]
    twin = running.point(points.prepare([[*bare, "defense=[none]"]])[0].prepared, wait=False)
    made: list[Path] = []

    def here(prepared: Any) -> Path:
        made.append(home(prepared))
        return made[0]

    for problem in search.run(told, here):
        say(problem)
    store = Store(first.cfg["paths"]["outputs"])
    keys = [point["key"] for point in place.front(made[0]) if point.get("key")] + place.keys(made[0])
    rows = [row for key in dict.fromkeys(keys) if (row := store.row(key))]
    if not rows:
        raise UserError("tune: no trial came to a row; what went wrong is said above")
    sign = 1 if direction == "maximize" else -1
    fit = [row for row in rows if twin[utility] - row[utility] <= loss + 1e-9 and verdict(row) != "void"]
    best = max(fit, key=lambda row: (sign * row[privacy], row[utility]), default=None)
    searched = [o.get_key_element() for o in points.read(opened) if o.is_sweep_override()]
    return Tuned(rows, twin, utility, privacy, loss, best, searched, made[0])


def _headline(cfg: Mapping[str, Any]) -> str:
    return str(getattr(targets.locate(cfg["task"]["_target_"], "task"), "headline", "accuracy"))
