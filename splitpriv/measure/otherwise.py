"""What would clear a doubt where no override does, by kind. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping

from splitpriv.measure.kinds import OLD

IMAGES = "more images of your own would, or a larger data set"
LONGER = (
    "no setting makes this attack longer, so its number is an upper limit of privacy; another attack may go further"
)
DIVERGED = "what diverged has to be found: mostly the network (a lower optim.optimizer.lr) or an attack (a lower rate)"
COPIED = "the protocol shares images on purpose, or the images are given as they are: take the copies out of your data"
ATTACKS = "no shipped attack that is not listed here would; a plug-in's may (plugins=)"
LEARN = "the network was trained elsewhere, and has to learn its task there"
CODE = "the code of the chain, or of the device, has to be changed"

OTHERWISE: Mapping[str, str] = {
    "number": DIVERGED,
    "few": "more victims have to be there: " + IMAGES,
    "chance": LEARN,
    "far": LEARN,
    "unlearnt": "images of these classes have to be there: " + IMAGES,
    "unasked": "images of these classes have to be there: " + IMAGES,
    "blind": "a suite was tried, so that only a weaker defence tells strong attacks from weak ones: lower its strength",
    "unsettled": LONGER,
    "copied": COPIED,
    "copies": COPIED,
    "near": COPIED,
    "constant": "only a weaker chain shows a sign of the image in two draws; many may find one (protocol.queries)",
    "random": LONGER,
    "mean": LONGER,
    "guess": LONGER,
    "short": LONGER,
    "thin": "all the images that the adversary can be given are his: " + IMAGES,
    "unlike": "the adversary needs images that are like the victims', of the same camera and law",
    "adaptive": ATTACKS,
    "collusion": ATTACKS,
    "network": ATTACKS,
    "attribute": "a probe of it would: probe beside what attack= lists, and attack.probe.attribute=NAME",
    "gradient": CODE + ": give it a straight-through gradient",
    "misstated": CODE + ": `expected` must be the mean of `after_edge`, or `gap` say more of what it sends",
    "scattered": CODE + ": `reading` must put the entries of a release in their order",
    "still": CODE + ": a normalisation, or another cut (split.at), lets releases vary",
    "scale": CODE + ": a normalisation, or another cut (split.at), gives values of about one",
    "state": CODE + ": a release must depend on its image and on random numbers, and on nothing else",
    "starved": "all the images that the adversary can be given are his: " + IMAGES,
    "bound": "an assumption of the bound does not hold, or a number is wrong: see where the bound is explained",
    "twin": LONGER,
    "box": LONGER,
    "alone": ATTACKS,
    "clean": LONGER,
    "ceiling": LONGER,
    "expected": "only the pictures that were sent would: give pairs, releases with their images",
    "mixed": "the stages have to be made again in one place, in a store of their own (paths.outputs=)",
    "elsewhere": "make both runs in one place, in a store of their own (paths.outputs=)",
    OLD: "the run made again, in a store of its own (paths.outputs=), says what clears its flags",
}  # fmt: skip
