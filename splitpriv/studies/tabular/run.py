"""Utility and attack against λ, over random splits: `splitpriv tabular`, or `python -m splitpriv.studies.tabular`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Interval
from rich.table import Table as Grid

from splitpriv import config, progress
from splitpriv.report.terminal import console
from splitpriv.store import Row, Store, write_atomic
from splitpriv.store.keys import fingerprint
from splitpriv.studies import compose
from splitpriv.studies.tabular import attack
from splitpriv.studies.tabular.data import Name, Table, load
from splitpriv.studies.tabular.tree import Tree
from splitpriv.types import Count, NonNegative, UserError, Whole

SHOWN = {"information": "I(X;Ŷ) nats", "mse": "MSE ↓", "mse_released": "of the answer", "r2": "R² ↑", "f1": "F1 ↑",
         "f1_released": "of the answer", "attack/truth": "MAP from y", "attack/counts": "path counts, y",
         "attack/answer": "MAP from Ŷ", "floor/prior": "commonest value"}  # fmt: skip


class Experiment:
    """A model at each λ of `lambdas`, and the attacks on its `sensitive` column, over `splits` random halvings.

    The attacker knows the marginal of the training part; victims are the `test_share` that is held out.
    """

    key_name: ClassVar[str] = "splitpriv.tabular.run.Experiment"

    version = 1

    def __init__(self, *, model: Callable[..., attack.Model], data: Name, sensitive: str, bins: Count | None,
                 lambdas: list[NonNegative],
                 splits: Annotated[int, Interval(ge=2)], test_share: Annotated[float, Interval(gt=0, lt=1)],
                 seed: Whole, answers: Count) -> None:  # fmt: skip
        if not lambdas:
            raise UserError(".lambdas: is empty; give at least one, 0 for no defence")
        self.model, self.lambdas, self.splits, self.seed, self.answers = model, lambdas, splits, seed, answers
        self.test_share = test_share
        self.label = model(0.0).label
        self.table = load(data, sensitive, model(0.0).classify, bins)

    def at(self, weight: float) -> dict[str, list[float]]:
        """Every metric at one λ, one value per split; the splits are the same at every λ."""
        found: dict[str, list[float]] = {}
        for i in range(self.splits):
            rng = np.random.default_rng((self.seed, i))
            order = rng.permutation(len(self.table.y))
            held = round(self.test_share * len(order))
            train, victims = self.table.take(order[held:]), self.table.take(order[:held])
            for name, value in self._once(weight, train, victims, rng).items():
                found.setdefault(name, []).append(value)
        return found

    def _once(self, weight: float, train: Table, victims: Table, rng: np.random.Generator) -> dict[str, float]:
        model, prior = self.model(weight).fit(train), attack.marginal(train)
        scores = {"truth": [attack.from_truth(model, victims, prior)]}
        if isinstance(model, Tree):
            scores["counts"] = [attack.from_counts(model, victims, prior)]
        scores["answer"] = [
            attack.from_answer(model, victims, prior, model.answer(victims.x, rng)) for _ in range(self.answers)
        ]
        found = {"information": model.information, **model.utility(victims, rng)}
        for name, tried in scores.items():
            grades = [attack.grade(victims, attack.guess(s, prior)) for s in tried]
            found[f"attack/{name}"] = float(np.mean([g["accuracy"] for g in grades]))
            found[f"attack/{name}/f1"] = float(np.mean([g["f1"] for g in grades]))
        common = np.full(len(victims.y), int(prior.argmax()))
        grade = attack.grade(victims, common)
        return found | {"floor/prior": grade["accuracy"], "floor/prior/f1": grade["f1"]}


def interval(values: Sequence[float], test_share: float) -> float:
    """Half the 95 % interval of the mean over random splits of one data set, whose training parts overlap.

    Student's t with the variance of Nadeau & Bengio (2003): (1/J + n_test/n_train)·s².
    """
    from scipy.special import stdtrit  # the quantile of Student's t

    splits = len(values)
    spread = math.sqrt(1 / splits + test_share / (1 - test_share)) * float(np.std(values, ddof=1))
    return float(stdtrit(splits - 1, 0.975)) * spread


def row_of(node: Mapping[str, Any], experiment: Experiment, weight: float, key: str) -> Row:
    """The flat record of one λ: settings, then of every metric its mean, interval and values."""
    from splitpriv.run.row import provenance  # with all that trains networks

    settings = {k: v for k, v in config.flatten(node).items() if k != "lambdas"}
    row: Row = {"key": key, "method": experiment.label, "lambda": weight, **settings}
    for name, values in experiment.at(weight).items():
        row |= {name: float(np.mean(values)), f"{name}/interval": interval(values, experiment.test_share),
                f"{name}/values": values}  # fmt: skip
    return row | provenance()


def run(option: str, overrides: Sequence[str]) -> list[Row]:
    """The rows of `conf/tabular/<option>.yaml`, one per λ, in `<outputs>/tabular/`; those that are there are read."""
    experiment, node, cfg = compose.compose("tabular", option, overrides)
    root = Store(cfg["paths"]["outputs"]).root / "tabular"
    root.mkdir(parents=True, exist_ok=True)
    rows = []
    with progress.bar(f"tabular {option}", len(experiment.lambdas), unit="λ") as bar:
        for weight in experiment.lambdas:
            key = fingerprint(tabular={**node, "lambdas": [weight]})
            path = root / f"{key}.json"
            if not path.exists():
                row = row_of(node, experiment, weight, key)
                write_atomic(path, json.dumps(row, indent=1) + "\n")
            rows.append(json.loads(path.read_text()))
            bar.update()
    return rows


def show(rows: Sequence[Row]) -> None:
    """λ -> utility and attack accuracy, mean ± 95 % interval."""
    first = rows[0]
    columns = {name: title for name, title in SHOWN.items() if name in first}
    grid = Grid(title=f"{first['method']}: {first['data']}, sensitive {first['sensitive']}, {first['splits']} splits",
                title_justify="left", pad_edge=False)  # fmt: skip
    for title in ("λ", *columns.values()):
        grid.add_column(title, justify="right")
    for row in rows:
        cells = [f"{row[name]:.3f} ± {row[f'{name}/interval']:.3f}" for name in columns]
        grid.add_row(f"{row['lambda']:g}", *cells)
    console().print(grid)
    console().print("[dim]attacks: accuracy on the sensitive column; lower is more private[/]")


def main(words: Sequence[str]) -> list[Row]:
    """Run and print the options named among `words`, all if none is; the other words are overrides."""
    named = [w for w in words if "=" not in w]
    rows = []
    for option in named or sorted(p.stem for p in (config.CONF / "tabular").glob("*.yaml")):
        found = run(option, [w for w in words if "=" in w])
        show(found)
        rows += found
    return rows
