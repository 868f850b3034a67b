"""Every kind of doubt that a run can raise. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One kind of doubt. `says`: its line, with the words of the check that raises it; `means`: what a reader should
    think; `remedy`: the override that clears it, empty where none does; `voids`: a row with it says nothing at all.
    """

    says: str
    means: str
    remedy: str = ""
    voids: bool = False


OLD = "old"  # a row of before, whose flags are lines and nothing else
KINDS: Mapping[str, Kind] = {
    "number": Kind("{subject}: {metric} is {value}", "A number of this run is not finite: something diverged."),
    "smoke": Kind(
        "protocol smoke: a few images, which prove nothing",
        "The protocol is for seeing that everything works; its networks and attacks have learnt next to nothing.",
        "protocol=strict",
        voids=True,
    ),
    "few": Kind("only {count} victims were attacked",
                "So few images say little about those that were not attacked.", "{more}", voids=True),
    "chance": Kind(
        "{subject} {value:.1%} is no better than {blind} ({chance:.1%})",
        "The service is worth nothing, so there is nothing to weigh privacy against.",
        "{longer}",
        voids=True,
    ),
    "far": Kind(
        "{subject} {value:.1%} is far below an undefended network's {wanted:.1%}",
        "The network has not learnt its task: what it gives away is not what a network in use would.",
        "{longer}",
        voids=True,
    ),
    "unlearnt": Kind(
        "{subject} has no image of {count} of the classes ({named})",
        "The network cannot answer what it has never seen: its accuracy is that of another task.",
        "{more}",
    ),
    "unasked": Kind(
        "{subject} have no image of {count} of the classes ({named})",
        "The service and the attacks were tried on some of the classes only, perhaps the easy ones.",
        "{more}",
    ),
    "blind": Kind(
        "no attack is better than the mean image of aux",
        "No attack learnt anything from the release, so the row cannot tell a good defence from weak attacks.",
        "{more}",
        voids=True,
    ),
    "unsettled": Kind(
        "{subject}: not run to its plateau, nor near it",
        "The suite promises an adversary's best, and twice the effort would lower its error by more than a tenth, so "
        "its number is none. One that is cut short on purpose (quick) says so by name and has merely not converged.",
        "{longer}",
        voids=True,
    ),
    "overlap": Kind(
        "splits overlap: {subject} ({count} images)",
        "Target, attacker and victims share images: a part may be memory; no published protocol asks for it.",
        "protocol=strict protocol.overlap=false",
        voids=True,
    ),
    "allowed": Kind(
        "splits may overlap: the protocol allows it",
        "Target, attacker and victims may share images, so a part may be memory; no published protocol asks for it.",
        "protocol=strict protocol.overlap=false",
        voids=True,
    ),
    "declared": Kind(
        "splits overlap: {subject} ({count} images)",
        "The target, the attacker and the victims share images, as a published protocol or the adversary's knowledge "
        "has it. Part of the attack may be memory: do not compare such rows with rows of disjoint splits.",
        "protocol=strict knowledge=same",
    ),
    "copied": Kind(
        "splits overlap: {subject} ({count} images, pixel for pixel)",
        "The same pictures are in both under other names, and they are more than one in a hundred: part of the attack, "
        "or of the accuracy, is memory.",
        "{more}",
        voids=True,
    ),
    "copies": Kind(
        "splits overlap: {subject} ({count} images, pixel for pixel)",
        "A few pictures are in both under other names. They move means by little, but must not be shown as recovered.",
        "{more}",
    ),
    "near": Kind(
        "splits look alike: {subject} ({count} images)",
        "These pictures are nearly the same as one of the other split: cut, scaled or saved anew, or taken in one "
        "burst. Part of what is measured on them is memory.",
        "{more}",
    ),
    "constant": Kind(
        "release is constant: two draws show no sign of the image (repeated ones may)",
        "Two draws show no sign of the image in the release: there is none, or only averaging finds it. Look at the "
        "chain, and at attacks that average, before the numbers.",
    ),
    "random": Kind(
        "{subject}: worse than a random image of aux",
        "The attack loses to showing any image of the attacker's own data: it did not work. Its error says nothing "
        "about privacy; give it more steps, or look for a bug.",
        "{longer}",
    ),
    "mean": Kind(
        "{subject}: no better than the mean image of aux",
        "The attack learnt nothing beyond the average image. Either the defence holds, or the attack is too weak; a "
        "stronger attack decides.",
        "{longer}",
    ),
    "guess": Kind(
        "{subject}: {metric} is no better than {blind}",
        "The attack does no better than a guess without the release. Either the defence holds, or the attack is too "
        "weak; a stronger attack decides.",
        "{longer}",
    ),
    "short": Kind(
        "{subject}: not converged",
        "The attack was still improving when it stopped: a longer one would rebuild more, and this is an upper limit.",
        "{longer}",
    ),
    "thin": Kind("{subject}: chose its answer on {count} images of aux",
                 "So few do not tell its members apart: with more another might be chosen, and do better.", "{more}"),
    "unlike": Kind(
        "{subject}: {share:.0%} of the victims are unlike aux, from which it learned",
        "Their releases contradict what the suite learned, so that a search without aux answered where it could. "
        "Whether it has converged, and what more aux would bring, is known of images like aux alone.",
    ),
    "adaptive": Kind(
        "non-adaptive: {subject} needs an attack that knows {what}",
        "The chain has randomness or a mask that an adversary who knows it would attack differently; no such attack is "
        "in this run, so its privacy is overstated.",
        "{attacks}",
    ),
    "collusion": Kind(
        "{subject}: believed only as far as nobody holds {what}",
        "That servers do not collude, or that one path is trusted, is an assumption of this row, not what a defence "
        "does; an attack by all of them together says what is left without it.",
        "{attacks}",
    ),
    "attribute": Kind(
        "{subject}: hides a private attribute, and no attack here asks for it",
        "Attacks on images do not say whether a classifier of an adversary's own reads it off releases.",
    ),
    "network": Kind(
        "{subject}: protects what the network answers, and no attack here sees that",
        "It hides what answers tell of images and of what the network learned, and nothing of a release. Attacks on "
        "releases pass it by, so that their numbers say neither what it does nor that it does nothing.",
        "{attacks}",
    ),
    "pull": Kind(
        "{subject}: another operating point than its authors' ({what})",
        "How hard this penalty pulls depends on the number of images and the batch, and here it stands elsewhere than "
        "in its authors' runs: neither is the better one, but the row speaks of this one alone.",
        "defense.{subject}.{remedy}",
    ),
    "gradient": Kind(
        "gradient is zero through {share:.0%} of the release",
        "No gradient passes this part of the chain, so that a search through it learns nothing of it, whatever it "
        "gives away. Trust black-box attacks, or give the defence a straight-through gradient.",
    ),
    "misstated": Kind(
        "release is on average not what its chain says: off by {share:.0%} of what varies",
        "A search compares images with what the chain says that it sends on average (`expected`). Where it sends "
        "something else, or draws what it does not declare, the search finds another image; trust black-box attacks.",
    ),
    "scattered": Kind(
        "release is in an order that tells nothing of where its entries look",
        "Nets expect beside one another what looks at one place. An order that is the same for all hides nothing: a "
        "suite `… readout` undoes it by a regression, other attacks did not, and their numbers are too kind.",
    ),
    "still": Kind(
        "release hardly varies: by {share:.1g} of its size",
        "What differs between images is tiny beside what all share. Attacks that look at the release as it is see "
        "nothing; its information is all there for those who centre and scale it.",
    ),
    "scale": Kind(
        "release has an unusual scale: values of about {size:.1g}",
        "Losses and step sizes of attacks are made for values of about one; at this scale they may fail, while the "
        "information is all there. Attacks that centre and scale the release do not.",
    ),
    "state": Kind(
        "release of an image depends on {what}",
        "A release may depend on its image and on random numbers of its own. Otherwise what an attacker learns from "
        "his own queries need not hold for the victim's, and numbers do not repeat.",
    ),
    "starved": Kind(
        "{subject}: twice the aux would lower its error by {gain:.0%}",
        "The attack learned from too few images: an adversary with more of them does better, so the privacy shown is "
        "an upper limit.",
        "{more}",
    ),
    "bound": Kind(
        "{subject}: beats the bound {bound} ({value:.4g})",
        "The attack does better than a proven lower bound on its error allows: an assumption of the bound does not "
        "hold here, or a number is wrong.",
    ),
    "twin": Kind(
        "{subject}: weaker than {other}, which averages fewer {what}",
        "This attack has all that its twin has, and more: its optimisation fails, its number is not the worst case.",
        "{longer}",
    ),
    "box": Kind(
        "white box ({subject}) weaker than black box ({other})",
        "Whoever holds the edge can do all that a black-box attacker can: the optimisation failed, often by masked "
        "gradients; trust the black box.",
        "{longer}",
    ),
    "alone": Kind(
        "only one attack was run", "Privacy is the worst case over attacks; one is a weak worst case.", "{attacks}"
    ),
    "clean": Kind(
        "{subject}: reads more off the release than off clean x",
        "Whoever holds x can do all that can be done with its release, so that the ceiling shown is too low: the "
        "attack on x was too weak. What the release gives away stands; what it hides cannot be told.",
        "{longer}",
    ),
    "ceiling": Kind(
        "{subject}: better than on the undefended network",
        "The attack does better against the chain than against no defence at all. That is noise between runs, or the "
        "undefended attack was too weak.",
        "{longer}",
    ),
    "expected": Kind(
        "{subject} releases are of pictures that are not known: measured on {measured} of the adversary's own",
        "Nobody here can compare what was rebuilt of these releases with the truth. The numbers are those on images "
        "that the adversary holds and set apart; they hold for the device's users as far as their pictures are alike.",
    ),
    "mixed": Kind(
        "stages were computed with different {subject}: {places}",
        "Sums are rounded in an order that depends on the device and the threads, so the stages do not fit to the last "
        "digit; a long search may carry that to the third one.",
        "{more}",
    ),
    "elsewhere": Kind(
        "the undefended run has another {subject}: {theirs}, not {ours}",
        "Device and threads change late digits, of a long search the third one: a difference that small between the "
        "run and its ceiling means nothing.",
    ),
    OLD: Kind("{subject}", "A reason to look again at this run; it was made before flags were explained one by one."),
}  # fmt: skip
