"""What attacks other than on images recovered: a private attribute, or who it is."""

from __future__ import annotations

import torch
from torch import Tensor

from splitpriv.data.base import Split
from splitpriv.stats import classification
from splitpriv.stats.ranking import chance, ranking, verification
from splitpriv.types import UserError

Scores = dict[str, Tensor]  # metric -> (N,), one number per victim
FAR = 1e-3  # false accepts at which TAR is told
NAMES = {"ap": "map"}


def attribute(logits: Tensor, victims: Split, aux: Split, name: str) -> tuple[Scores, dict[str, float]]:
    """Per victim, whether `logits` (N, values) are right about its attribute, and the probability that they give to the
    truth; accuracy, balanced accuracy and AUC.

    Beside them stand the floors of whoever never looks at a release: the majority of aux, and the best guess from the
    task's label alone, by counts of aux. `advantage` is balanced accuracy less that of a blind guess, `over_label` less
    that of the guess from the label.
    """
    truth, known = (split.y if name == "y" else split.attributes[name] for split in (victims, aux))
    truth, logits, values = truth.cpu(), logits.cpu().float(), logits.shape[1]
    guess = logits.argmax(1)
    balanced = classification.balanced_accuracy(guess, truth, values)
    means = {
        "accuracy": float((guess == truth).double().mean()),
        "balanced_accuracy": balanced,
        "auc": classification.auc(logits, truth),
        "majority": classification.majority(truth, known.cpu(), values),
        "advantage": classification.advantage(guess, truth, values),
    }
    if name != "y":
        blind = classification.from_label(known.cpu(), aux.y.cpu(), victims.y.cpu(), values)
        means["label_balanced_accuracy"] = classification.balanced_accuracy(blind, truth, values)
        means["over_label"] = balanced - means["label_balanced_accuracy"]
    likely = logits.softmax(1).gather(1, truth[:, None]).squeeze(1)
    return {"correct": (guess == truth).float(), "truth": likely}, means


def identity(queries: Tensor, gallery: Tensor | None, victims: Split) -> tuple[Scores, dict[str, float]]:
    """Per victim, average precision, rank-1, rank-5 and TAR@FAR=1e-3 of finding the others of its identity.

    The gallery holds the other victims, clean (`gallery` (N, E)) or as releases (None); never the same image, nor the
    same identity on the same camera where cameras are known. Victims without a match are left out. Beside them stands
    what an order that says nothing gives.
    """
    require_matches(victims)
    who, camera = _who(victims)
    sought = queries if gallery is None else gallery
    ranked = ranking(queries, sought, who, who, camera, camera, same=True)
    valid = ranked.pop("valid")
    blind = chance(who, who, camera, camera, same=True)
    ranked["tar"] = verification(queries, sought, who, who, camera, camera, same=True, far=FAR)["tar"]
    means = {NAMES.get(name, name): float(values[valid].double().mean()) for name, values in ranked.items()}
    means |= {
        f"chance_{name}": float(blind[key][valid].double().mean()) for key, name in (("ap", "map"), ("rank1", "rank1"))
    }
    return {"valid": valid.float(), **{k: torch.where(valid, v.float(), 0) for k, v in ranked.items()}}, means


def require_matches(victims: Split) -> None:
    """Raise UserError where no victim has another image of its identity to be found; before anything is trained."""
    who, camera = _who(victims)
    if not chance(who, who, camera, camera, same=True)["valid"].any():
        raise UserError("protocol.attacked: no victim has another image of its identity to be found; attack more of "
                        "them, or take more with protocol.limit.victims")  # fmt: skip


def _who(victims: Split) -> tuple[Tensor, Tensor | None]:
    """Identity and camera of each, None where cameras are not known."""
    camera = victims.attributes.get("camera")
    return victims.attributes.get("identity", victims.y).cpu(), camera.cpu() if camera is not None else None
