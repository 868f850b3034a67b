"""What the oddities of a release (`oddities.py`) mean: flags for the row. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from splitpriv.measure.flags import Flag, raised

STILL = 1e-3  # share of its size by which a release varies over images, below which it hardly does
SCALES = (1e-3, 1e3)  # sizes of a release within which attacks find their way
SAME = 1e-4  # relative difference of two releases that is rounding
WHIM = 0.05  # and that of two which other arithmetic may round otherwise, so that a digit turns over now and then
COMMON = 0.75  # share of its randomness which a batch has in common that is no chance
OFF = 0.25  # share of what varies, by squares, from which on a search looks for another image
SCATTERED = 0.6  # of the distance at which any two entries look, from which on neighbours are none
MEMORY, WHIMS = "what was released before it", "its last digits, or on whether it was asked for before"
DEPENDS = (  # of a release on what it must not, by how much at most, and how a flag of that kind is told apart
    ("memory", SAME, "", MEMORY),
    ("company", SAME, "", "the images released with it"),
    ("whim", WHIM, "whim", WHIMS),
    ("recorded", WHIM, "recorded", "whether gradients are recorded"),
    ("place", WHIM, "place", "its place in a batch, or the size of that"),
    ("shared", COMMON, "shared", "random numbers that all images of a batch have in common"),
    ("reseeds", 0.5, "reseeds", "a seed that it gives torch itself, and so does all that is drawn after it"),
)


def flags(release: Mapping[str, float], silent: bool) -> Iterator[Flag]:
    """What in a release misleads attacks; of one without a sign of the image, only what it depends on besides."""
    depends = [(subject, what) for name, most, subject, what in DEPENDS if release.get(name, 0.0) > most]
    yield from (raised("state", subject, what=what) for subject, what in depends)
    if silent or not release:
        return
    if release["zero_gradient"] > 0.5:
        yield raised("gradient", share=release["zero_gradient"])
    if release.get("bias", 0.0) > OFF and not depends:  # which would explain it
        yield raised("misstated", share=release["bias"])
    if release.get("scattered", 0.0) > SCATTERED:
        yield raised("scattered")
    if release["variation"] < STILL:
        yield raised("still", share=release["variation"])
    if not SCALES[0] <= release["size"] <= SCALES[1]:
        yield raised("scale", size=release["size"])
