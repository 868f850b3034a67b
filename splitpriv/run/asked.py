"""What attacks ask of a data set, of the adversary's knowledge and of the protocol, and do not get."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from splitpriv.attacks.base import Attack
from splitpriv.data.protocol import Protocol
from splitpriv.types import Spec


def problems(
    attacks: Mapping[str, Attack | None], spec: Spec, labelled: bool, protocol: Protocol | None
) -> Iterator[str]:
    """Each names the key and the remedy; `labelled`: the adversary's labels mean something. None could not be built."""
    built = {name: attack for name, attack in attacks.items() if attack}
    for name, attack in built.items():
        yield from _of_labels(name, attack, spec, labelled)
    if protocol is None:
        return
    for name, attack in built.items():
        yield from _of_protocol(name, attack, protocol)
    suites = any(attack.suite is not None for attack in built.values())
    if protocol.queries > 1 and len(built) == len(attacks) and not suites:
        yield ("protocol.queries: is heeded by suites alone; list one, as in attack=[autoinvert], or use an attack "
               "that averages, as in attack=[decoder_avg], with protocol.queries=1")  # fmt: skip


def _of_labels(name: str, attack: Attack, spec: Spec, labelled: bool) -> Iterator[str]:
    """An attribute, or identities, that the data set does not have, or of which the adversary knows nothing."""
    names = ["y", *spec.attributes]
    if attack.recovers == "identity" and "identity" not in spec.attributes:
        yield f"attack.{name}: the data set has no identities; choose one that has, dataset=identities"
    if attack.attribute not in names:
        yield (f"attack.{name}.{attack.attribute_key}: the data set has no {attack.attribute!r}; choose one of "
               f"{', '.join(names)}")  # fmt: skip
    if attack.recovers != "image" and not labelled:
        yield (f"attack.{name}: learns from labels of the adversary's images, which mean nothing here; leave it out, "
               "or choose another knowledge")  # fmt: skip


def _of_protocol(name: str, attack: Attack, protocol: Protocol) -> Iterator[str]:
    """More images of aux, or another number of releases of an image."""
    aux = protocol.limit.get("aux")
    if aux is not None and aux < attack.least_aux:
        yield f"protocol.limit.aux: {aux} images are too few for {name}; give at least {attack.least_aux}"
    if attack.suite is not None and attack.draws != protocol.queries:
        yield (f"attack.{name}.queries: is {attack.draws}, but the protocol releases an image {protocol.queries} "
               "times; set protocol.queries instead")  # fmt: skip
