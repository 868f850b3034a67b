"""What the images, once they are read and counted, must leave to attacks, the task and measures."""

from __future__ import annotations

from collections.abc import Mapping

from splitpriv.data.base import Split
from splitpriv.measure import traits
from splitpriv.run.parts import Parts
from splitpriv.types import UserError, blame


def require(parts: Parts, splits: Mapping[str, Split], aux: Split, victims: Split) -> None:
    """Raise UserError where an attack finds too few images of the adversary's own, `aux`; where a measure, or the task,
    finds none to judge by. `victims`: those that are attacked."""
    key = "knowledge.size" if parts.knowledge.size == len(aux) else "protocol.slices.aux"
    for name, attack in parts.attacks.items():
        if "aux" in attack.requires and len(aux) < attack.least_aux:
            raise UserError(f"{key}: {len(aux)} images are too few for {name}; give it at least {attack.least_aux}, or "
                            "list another attack, as in attack=[decoder]")  # fmt: skip
    judge, audit = parts.measure.judging, parts.measure.auditor
    if judge and len(aux) < 2:
        raise UserError(f"{key}: one image is too few for measure.judge, which holds one out; give it more")
    seek = any(attack.recovers == "identity" for attack in parts.attacks.values())
    if seek or (judge and judge.is_open(aux, victims)):
        traits.require_matches(victims)
    if audit:
        with blame("measure.audit"):
            audit.require(len(splits["victims"]))
    parts.task.require(splits)
