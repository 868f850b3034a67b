"""Records that every layer shares. Imports no torch, so that the command line can answer quickly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Interval

if TYPE_CHECKING:
    from torch import Tensor, nn

# Ranges a YAML value may take. Signatures use them; `prepare` reports every violation at once.
NonNegative = Annotated[float, Interval(ge=0, lt=inf)]
Positive = Annotated[float, Interval(gt=0, lt=inf)]
Fraction = Annotated[float, Interval(ge=0, le=1)]
Rate = Annotated[float, Interval(ge=0, lt=1)]  # a share that must leave something over
Count = Annotated[int, Ge(1)]
Whole = Annotated[int, Ge(0)]

Part = Literal["edge", "cloud", "defense"]
Shape = tuple[int, ...]
LABEL = "y"  # what the task's label is called among attributes


class UserError(Exception):
    """A user's mistake: each problem names the config key and the remedy. The command line exits with 2."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)

    def _render_traceback_(self) -> list[str]:
        """A notebook's cell shows the problems alone, as the command line does."""
        return [f"splitpriv: {problem}" for problem in self.problems]


@contextmanager
def blame(where: str) -> Iterator[None]:
    """Complete problems that begin with a dot, or a colon, by the key of whoever raised them: the same class may have
    two names."""
    try:
        yield
    except UserError as error:
        raise UserError(*(where + p if p.startswith((".", ":")) else p for p in error.problems)) from error


def typed(path: Path | str, where: str) -> Path:
    """A path as somebody typed it, there or not; UserError that names `where` for one that nothing can be called."""
    try:
        place = Path(path).expanduser()
        place.stat()
    except (FileNotFoundError, NotADirectoryError):
        return place
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: ~ of a user who is not there
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{where}: {path} cannot be read ({reason}); correct it") from error
    return place


@dataclass(frozen=True)
class Spec:
    """All that is known about a data set before it is read.

    `image` is (C, H, W); `classes` the number of task labels; `attributes` maps each private attribute to its number of
    values, and none is called "y"; `mean` and `std` are per channel, of pixels in [0, 1]; `entropy` is H(x) in nats and
    `fisher` the trace of the Fisher information of p(x) under translation, where they are known.
    """

    image: tuple[int, int, int]
    classes: int
    attributes: Mapping[str, int] = field(default_factory=dict)
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.25,)
    entropy: float | None = None
    fisher: float | None = None

    def __post_init__(self) -> None:
        for what, right, so in self._asked():
            if not so:
                raise UserError(f".spec.{what}: is {getattr(self, what)!r:.80}; make it {right}")
        if LABEL in self.attributes:
            raise UserError(f".attributes: {LABEL} is what the task's label is called wherever attributes are named; "
                            "rename that attribute, or list others")  # fmt: skip

    def _asked(self) -> Iterator[tuple[str, str, bool]]:
        """Each field, what it must be, and whether it is."""
        sized = isinstance(self.image, tuple | list) and len(self.image) == 3 and all(map(_is_count, self.image))
        yield "image", "(channels, height, width)", sized
        yield "classes", "a whole number of at least 1", _is_count(self.classes)
        named = isinstance(self.attributes, Mapping) and all(map(_is_count, self.attributes.values()))
        yield "attributes", "a dict from each name to how many values it has", named
        fits = "1 number, or one for each channel,"
        yield "mean", f"{fits} of pixels in [0, 1]", _is_per_channel(self.mean, self.image, lambda m: 0 <= m <= 1)
        yield "std", f"{fits} above 0", _is_per_channel(self.std, self.image, lambda s: 0 < s < inf)


def _is_count(value: Any) -> bool:
    return hasattr(value, "__index__") and value >= 1  # a whole number of any library's


def _is_per_channel(values: Any, image: tuple[int, int, int], right: Callable[[float], bool]) -> bool:
    return isinstance(values, tuple | list) and len(values) in (1, image[0]) and all(map(right, values))


@dataclass(frozen=True)
class Phase:
    """A stretch of training: how long, and which parts learn from the main loss."""

    name: str
    epochs: float = 0  # 0: as long as `optim.epochs`; of a fraction, the last epoch has that share of the steps
    train: tuple[Part, ...] = ("edge", "cloud", "defense")
    idle: bool = False  # the chain is not attached yet: plain training, shared by every defence
    optim: Mapping[str, Any] = field(default_factory=dict)  # what replaces keys of the `optim` group in this phase
    frozen: tuple[str, ...] = ()  # modules of the network that learn nothing, whatever their part does


@dataclass
class Step:
    """One training step as a defence sees it.

    `x`: (N, C, H, W) augmented images in [0, 1]; `y`: (N,) labels; `attributes`: name -> (N,); `edge`: the device's
    half of the network; `progress` runs from 0 to 1 over the phase, of `length` epochs; `lr` is the main optimiser's
    current rate.
    """

    x: Tensor
    y: Tensor
    attributes: Mapping[str, Tensor]
    edge: nn.Module
    phase: str
    epoch: int
    progress: float
    lr: float
    length: float = 1.0


@dataclass
class Epoch:
    """The end of an epoch as a defence sees it.

    `features()` makes one more pass over the augmented training batches with the model in evaluation mode and without
    gradients, and yields (z, y) with z as this defence receives it at its place in the chain.
    """

    phase: str
    index: int
    lr: float
    features: Callable[[], Iterator[tuple[Tensor, Tensor]]]


@dataclass(frozen=True)
class Pull:
    """How hard a penalty pulled: numbers for the row, and where they are not those of its source, the words of a flag:
    `what`, and the setting that gives theirs, `remedy`, below the defence's name."""

    facts: Mapping[str, float] = field(default_factory=dict)
    doubt: Mapping[str, str] = field(default_factory=dict)
