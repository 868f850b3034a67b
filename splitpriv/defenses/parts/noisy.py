"""What losses on a noisy z ask of the chain: without noise, a small z would do instead of one that tells little."""

from __future__ import annotations

from collections.abc import Mapping

from splitpriv.defenses.base import Defense
from splitpriv.types import UserError


def require_noise(chain: Mapping[str, Defense], name: str, what: str, where: str) -> None:
    """Raise UserError, in the name of `what` of the defence `name`, where no link adds noise of fixed size."""
    if not any(link.noise_std for link in chain.values()):
        raise UserError(f"{where}: {what} needs noise of fixed size in the chain, and there is none; list noise "
                        f"beside it: defense=[{name},noise]")  # fmt: skip
