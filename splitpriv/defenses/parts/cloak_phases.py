"""The phases of Cloak: the network's own, those of the noise map in their order, and that of the constants."""

from __future__ import annotations

from collections.abc import Mapping

from typing_extensions import TypedDict  # pydantic refuses typing's before Python 3.12

from splitpriv.types import NonNegative, Phase, Positive, UserError

Stretch = TypedDict("Stretch", {"epochs": NonNegative, "lr": Positive, "gamma": NonNegative, "lambda": Positive | None})
Stretch.__pydantic_config__ = {"extra": "forbid"}  # type: ignore[attr-defined]
TAKEN = {"fit", "substitute", "suppress"}


def weight(stretch: Stretch) -> float:
    """gamma, the weight of the noise term; the paper's lambda is its inverse and takes its place where it is given."""
    return 1 / stretch["lambda"] if stretch["lambda"] else stretch["gamma"]


def check(noise: Mapping[str, Stretch]) -> None:
    """Raise UserError unless the phases of the noise map have names of their own."""
    if not noise or TAKEN & set(noise):
        raise UserError(f".noise: name at least one phase, none of them {', '.join(sorted(TAKEN))}")


def schedule(alone: bool, stretches: Mapping[str, Stretch]) -> tuple[Phase, ...]:
    """The network's own phase, idle where no other defence acts in it, then those in which only the chain learns."""
    return Phase("fit", idle=alone), *(_phase(name, stretch) for name, stretch in stretches.items())


def _phase(name: str, stretch: Stretch) -> Phase:
    adam = {"_target_": "torch.optim.Adam", "lr": stretch["lr"]}
    return Phase(name, stretch["epochs"], ("defense",), optim={"optimizer": adam, "schedule": None})
