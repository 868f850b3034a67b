"""Utility and attack against λ, over random splits of one small table: `splitpriv tabular`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Interval

from splitpriv import config, progress
from splitpriv.config import Config
from splitpriv.store import Row, Store
from splitpriv.store.keys import fingerprint
from splitpriv.studies import base
from splitpriv.studies.base import Study
from splitpriv.studies.tabular import attack
from splitpriv.studies.tabular.data import Name, Table, load
from splitpriv.studies.tabular.tree import Tree
from splitpriv.types import Count, NonNegative, UserError, Whole


class Experiment(Study):
    """A model at each λ of `lambdas`, and the attacks on its `sensitive` column, over `splits` random halvings.

    The attacker knows the marginal of the training part; victims are the `test_share` that is held out. One row per λ:
    means over the splits, `values/<entry>` with one value each, `interval/<entry>` with half the 95 % interval.
    """

    columns: ClassVar[dict[str, str]] = {
        "lambda": "λ", "information/answer_nats": "I(X;Ŷ) nats", "utility/mse": "MSE ↓",
        "utility/mse_released": "of the answer", "utility/r2": "R² ↑", "utility/f1": "F1 ↑",
        "utility/f1_released": "of the answer", "privacy/from_truth/accuracy": "MAP from y ↓",
        "privacy/from_counts/accuracy": "path counts, y ↓", "privacy/from_answer/accuracy": "MAP from Ŷ ↓",
        "floor/prior/accuracy": "commonest value",
    }  # fmt: skip

    key_name: ClassVar[str] = "splitpriv.tabular.run.Experiment"

    version = 1

    def __init__(self, *, model: Callable[..., attack.Model], data: Name, sensitive: str, bins: Count | None,
                 lambdas: list[NonNegative],
                 splits: Annotated[int, Interval(ge=2)], test_share: Annotated[float, Interval(gt=0, lt=1)],
                 seed: Whole, answers: Count) -> None:  # fmt: skip
        if not lambdas:
            raise UserError(".lambdas: is empty; give at least one, 0 for no defence")
        self.model, self.lambdas, self.splits, self.seed, self.answers = model, lambdas, splits, seed, answers
        self.test_share, self.data, self.sensitive = test_share, data, sensitive
        self.kind = type(model(0.0))
        self.table = load(data, sensitive, self.kind.classify, bins)

    def rows(self, node: Config, cfg: Config, store: Store) -> Iterator[Row]:
        with progress.bar(self.title({}), len(self.lambdas), unit="λ") as bar:
            for weight in self.lambdas:
                key = _key(node, weight)
                if (row := store.row(key)) is None:
                    row = self.row(node, weight)
                    store.add_row(row)
                yield row
                bar.update()

    def title(self, row: Row) -> str:
        return f"{self.kind.label}: {self.data}, sensitive {self.sensitive}, {self.splits} splits"

    def row(self, node: Config, weight: float) -> Row:
        """The flat record of one λ."""
        metrics = self.at(weight)
        settings = {k: v for k, v in config.flatten({"tabular": node}).items() if k != "tabular.lambdas"}
        told = {
            "chain": "mid" if weight else "none", "way": f"λ {weight:g}", "lambda": weight, "dataset": self.data,
            "backbone": self.kind.__name__.lower(), "method": self.kind.label, "seed": self.seed,
            "headline": self.kind.headline, "victims": round(self.test_share * len(self.table.y)),
        }  # fmt: skip
        return base.row(
            "tabular", _key(node, weight), ceiling=_key(node, 0.0), **told, **settings,
            **{name: float(np.mean(values)) for name, values in metrics.items()},
            **{f"interval/{name}": interval(values, self.test_share) for name, values in metrics.items()},
            **{f"values/{name}": values for name, values in metrics.items()},
        )  # fmt: skip

    def at(self, weight: float) -> dict[str, list[float]]:
        """Every metric at one λ, one value per split; the splits are the same at every λ."""
        metrics: dict[str, list[float]] = {}
        for i in range(self.splits):
            rng = np.random.default_rng((self.seed, i))
            order = rng.permutation(len(self.table.y))
            held = round(self.test_share * len(order))
            train, victims = self.table.take(order[held:]), self.table.take(order[:held])
            for name, value in self._once(weight, train, victims, rng).items():
                metrics.setdefault(name, []).append(value)
        return metrics

    def _once(self, weight: float, train: Table, victims: Table, rng: np.random.Generator) -> dict[str, float]:
        model, prior = self.model(weight).fit(train), attack.marginal(train)
        scores = {"truth": [attack.from_truth(model, victims, prior)]}
        if isinstance(model, Tree):
            scores["counts"] = [attack.from_counts(model, victims, prior)]
        scores["answer"] = [
            attack.from_answer(model, victims, prior, model.answer(victims.x, rng)) for _ in range(self.answers)
        ]
        metrics = {f"utility/{k}": v for k, v in model.utility(victims, rng).items()}
        metrics["information/answer_nats"] = model.information
        for name, tried in scores.items():
            grades = [attack.grade(victims, attack.guess(s, prior)) for s in tried]
            metrics |= {f"privacy/from_{name}/{k}": float(np.mean([g[k] for g in grades])) for k in grades[0]}
        common = np.full(len(victims.y), int(prior.argmax()))
        return metrics | {f"floor/prior/{k}": v for k, v in attack.grade(victims, common).items()}


def _key(node: Config, weight: float) -> str:
    return fingerprint(tabular={**node, "lambdas": [weight]})


def interval(values: Sequence[float], test_share: float) -> float:
    """Half the 95 % interval of the mean over random splits of one data set, whose training parts overlap.

    Student's t with the variance of Nadeau & Bengio (2003): (1/J + n_test/n_train)·s².
    """
    from scipy.special import stdtrit  # the quantile of Student's t

    splits = len(values)
    spread = math.sqrt(1 / splits + test_share / (1 - test_share)) * float(np.std(values, ddof=1))
    return float(stdtrit(splits - 1, 0.975)) * spread
