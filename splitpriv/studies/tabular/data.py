"""Tables that ship with scikit-learn, with one binary column called sensitive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from splitpriv.config import nearest
from splitpriv.types import UserError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Name = Literal["diabetes", "breast_cancer", "wine"]


@dataclass(frozen=True)
class Table:
    """`x` (N, d), its column `column` sensitive and in {0, 1}; `y` (N,), real, or class labels 0 .. classes - 1."""

    x: Floats
    y: Floats
    column: int
    classes: int

    def take(self, index: Ints) -> Table:
        """The rows at `index`."""
        return Table(self.x[index], self.y[index], self.column, self.classes)

    @property
    def sensitive(self) -> Ints:
        """The sensitive column, (N,)."""
        return self.x[:, self.column].astype(np.int64)

    def supposing(self, value: int) -> Floats:
        """x with the sensitive column set to `value` in every row: what an attacker who guesses tries."""
        x = self.x.copy()
        x[:, self.column] = value
        return x


def load(name: Name, sensitive: str, classify: bool, bins: int | None) -> Table:
    """A data set. A sensitive column of more than two values is cut at its median, and so is a real y to be classified.

    `bins`: the other columns become so many quantile levels, as in tables of categories; None: they stay as they are.
    """
    try:
        from sklearn import datasets
    except ImportError as error:
        raise UserError("tabular.data: scikit-learn is not installed; pip install 'splitpriv[tabular]'") from error

    bunch: Any = getattr(datasets, f"load_{name}")()
    names = [str(n).replace(" ", "_") for n in bunch.feature_names]
    if sensitive not in names:
        raise UserError(f"tabular.sensitive: {name} has no column {sensitive!r}; {nearest(sensitive, names)}")
    x, y = np.array(bunch.data, dtype=np.float64), np.asarray(bunch.target, dtype=np.float64)
    column = names.index(sensitive)
    if bins is not None:
        edges = np.quantile(x, np.linspace(0, 1, bins + 1)[1:-1], axis=0)
        others = (x[None] > edges[:, None]).sum(0).astype(np.float64)
        others[:, column] = x[:, column]
        x = others
    x[:, column] = _halves(x[:, column])
    real = name == "diabetes"
    if not classify and not real:
        raise UserError(f"tabular.data: {name} has class labels, and a linear regression wants a number; use diabetes")
    y = _halves(y) if classify and real else y
    return Table(x, y, column, len(np.unique(y)) if classify else 0)


def _halves(values: Floats) -> Floats:
    different = np.unique(values)
    return (values > (different[0] if len(different) == 2 else np.median(values))).astype(np.float64)
