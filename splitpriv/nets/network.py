"""Anyone's network as a backbone: cut behind any module where one tensor alone crosses."""

from __future__ import annotations

import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from splitpriv.nets import graph, logits, tracing
from splitpriv.nets.cuts import Cut, cuts, on_way
from splitpriv.nets.graph import Graph, UntraceableError
from splitpriv.nets.halves import halves
from splitpriv.nets.layers import Normalise, Resized, named
from splitpriv.nets.modes import evaluating, manner
from splitpriv.nets.split import Backbone
from splitpriv.types import Shape, Spec, UserError

SHARES = {"shallow": 0.25, "middle": 0.5, "deep": 0.75}  # of the multiply-accumulates
TOLD = 6  # cuts in a message
_known: dict[str, Look] = {}  # by what the network is and sees


@dataclass(frozen=True)
class Look:
    """What was found of a network: `cuts`; the modules `inside` which torch.fx looked, None where torch.export did;
    those into which it could not, `shut`, each with the reason."""

    cuts: list[Cut]
    inside: set[str] | None
    shut: dict[str, str]


class Network(Backbone):
    """A module that gives logits (N, classes) of normalised images, with the places where it can be cut.

    `called` is what messages call it. Images are resized to `size` (None: as they are) and normalised by `mean` and
    `std` on the edge, before its first layer. `facts` enter the key of whatever is trained. The words shallow, middle
    and deep are the cuts behind a block that come nearest to a quarter, a half and three quarters of all
    multiply-accumulates. Raises UserError for a module that cannot be run on such images, or gives no logits.
    """

    def __init__(
        self, net: nn.Module, spec: Spec, called: str, *, size: tuple[int, int] | None, mean: Sequence[float],
        std: Sequence[float], facts: Mapping[str, Any],
    ) -> None:  # fmt: skip
        if any(isinstance(p, nn.UninitializedParameter) for p in net.parameters()):
            raise UserError(f"backbone: {called} has lazy layers, whose sizes a first image decides; give them in it")
        channels = max(spec.image[0], len(mean))
        before = {} if size is None else {"resize": Resized(*size)}
        super().__init__({"normalise": named(**before, scale=Normalise(mean, std, channels)), "net": net}, {})
        self.called, self.image = called, (channels, *(size or spec.image[1:]))
        self.facts = {**facts, "modules": digest(net), "input": [size, list(mean), list(std)], **manner(net)}
        self.classes, self.channels = spec.classes, spec.image[0]
        self.cuts = words(self.places)

    @property
    def model(self) -> nn.Module:
        """The module itself."""
        return self._modules["net"]

    @cached_property
    def _bones(self) -> nn.Module:
        return graph.skeleton(self.model)

    @cached_property
    def look(self) -> Look:
        """Every cut, and how it was found."""
        settings = [
            {k: v for k, v in vars(m).items() if isinstance(v, int | float | str)} for m in self.model.modules()
        ]
        key = f"{self.facts['modules']} {self.image} {self.classes} {settings}"  # by which a forward may decide
        if key not in _known:
            _known[key] = self._look()
        return _known[key]

    def _look(self) -> Look:
        try:
            inside, shut = tracing.trunk(self._bones, on_way)
            traced = tracing.by_fx(self._bones, inside, self.image)
        except UntraceableError as first:
            logits.require(logits.answer(self._bones, self.image, self.called), self.classes, self.called)
            try:
                traced = tracing.by_export(self._bones, self.image)
            except UntraceableError as second:
                raise UserError(
                    f"backbone: {self.called} cannot be cut: torch.fx cannot follow its forward ({first}), nor can "
                    f"torch.export ({second}); decide nothing in it by the values of a tensor"
                ) from second
            inside, shut = None, {}
        logits.require(traced.values.get(traced.result), self.classes, self.called)
        logits.require_of_one(self._bones, self.image, self.classes, self.called)
        return Look(list(cuts(traced, self._bones).values()), inside, shut)

    @property
    def places(self) -> list[Cut]:
        """Every cut, from the image to the logits."""
        return self.look.cuts

    @property
    def stages(self) -> list[str]:
        return [*(cut.name for cut in self.places), "head"]

    def kept(self, at: int | str) -> int:
        if isinstance(at, str) and at not in self.cuts:
            for i, cut in enumerate(self.places, 1):
                if at in (cut.name, *cut.others):
                    return i
            raise self._refused(at)
        try:
            return super().kept(at)
        except UserError as error:
            raise UserError(f"split.at: {at} is outside 0..{len(self.places)}; {self._told()}") from error

    def halves(self, kept: int) -> tuple[OrderedDict[str, nn.Module], OrderedDict[str, nn.Module]]:
        before, net = self.get_submodule("normalise"), self.model
        if kept == 0:
            return OrderedDict(), OrderedDict(normalise=before, net=net)
        name = self.places[kept - 1].name
        parts = name.split(".")
        around = {".".join(parts[:i]) for i in range(1, len(parts))}  # modules beside it stay whole
        tracing.require_sight(self._bones, self.image)
        for inside in (around, self.look.inside or around):
            try:
                edge, cloud = halves(net, name, {mode: self._graph(inside, mode) for mode in (False, True)})
                break
            except (LookupError, UntraceableError) as error:
                lost = error
        else:
            raise UserError(f"split.at: {name} is no cut while {self.called} is trained ({lost}); choose another")
        self._require_equal(nn.Sequential(before, edge), cloud, name)
        return OrderedDict(normalise=before, net=edge), OrderedDict(net=cloud)

    def _graph(self, inside: set[str], training: bool) -> Graph:
        if self.look.inside is None:
            return tracing.by_export(self._bones, self.image, training)
        return tracing.by_fx(self._bones, inside, self.image, training, counts=False)

    @torch.no_grad()
    def _require_equal(self, edge: nn.Module, cloud: nn.Module, name: str) -> None:
        """Raise UserError where the halves give other logits than the whole, in evaluation and on a real device."""
        like = next(self.model.parameters(), torch.empty(0))
        if type(like) not in (Tensor, nn.Parameter) or like.is_meta:
            return
        pixels = torch.linspace(0, 1, 2 * prod(self.image), device=like.device)
        x = pixels.view(2, *self.image)[:, : self.channels]
        with (
            evaluating(nn.ModuleList([self, edge, cloud])),
            torch.random.fork_rng([like.device] if like.is_cuda else []),
        ):
            whole, z = self(x), edge(x)
            edge(x * x)  # other images in between, which must not matter
            halved, again = cloud(z), self(x)
        off = (whole - halved).abs().max()
        if not torch.equal(whole, again) or off <= 1e-4 * whole.abs().max().clamp(min=1):
            return
        raise UserError(
            f"split.at: cut behind {name}, {self.called} gives other logits than whole (by {off:.2g}): something else "
            "passes from before the cut to behind it, as a change in place; choose another cut"
        )

    def parameters_kept(self) -> list[int]:
        return [cut.parameters for cut in self.places]

    def shape_at(self, kept: int, spec: Spec) -> Shape:
        return self.places[kept - 1].shape

    def _refused(self, at: str) -> UserError:
        """Why there is no cut at a name, and the cuts that there are."""
        modules = [name for name, _ in self._bones.named_modules() if name]
        shut = next((name for name in self.look.shut if at.startswith(f"{name}.")), None)
        if at not in modules:
            near = get_close_matches(at, [*self.stages[:-1], *modules, *self.cuts], n=1)
            why = f"{self.called} has no module {at!r}" + (f" (did you mean {near[0]!r}?)" if near else "")
            at = near[0] if near else at
        elif shut:
            why = f"{at} lies in {shut}, whose forward torch.fx cannot follow ({self.look.shut[shut]})"
        else:
            why = f"behind {at} more than one tensor crosses, or none"
        return UserError(f"split.at: {why}; {self._told(at)}")

    def _told(self, near: str = "") -> str:
        """The cuts that there are: if there are many, those around the module `near`, or some all along."""
        places = self.places
        if not places:
            return f"{self.called} has no cut but the raw image, split.at=0"
        order = {name: i for i, (name, _) in enumerate(self._bones.named_modules())}
        if near in order:
            middle = min(range(len(places)), key=lambda i: abs(order[places[i].name] - order[near]))
            first = max(0, min(middle - TOLD // 2, len(places) - TOLD))
            shown = places[first : first + TOLD]
        else:
            shown = [places[i * len(places) // TOLD] for i in range(TOLD)] if len(places) > TOLD else places
        more = f"; `splitpriv cuts` with the same words lists all {len(places)}" if len(places) > TOLD else ""
        return f"cuts are {', '.join(map(str, shown))}{more}"


def digest(net: nn.Module) -> str:
    """What a key holds of a network: its modules with their settings, and the shapes of its weights.

    The version of the library that it came from is not in it: most releases change nothing that a number depends on,
    and each would make every network anew. The row says it.
    """
    said = re.sub(r"0x[0-9a-f]+", "", repr(net))
    shapes = [(name, list(tensor.shape)) for name, tensor in net.state_dict().items()]
    return hashlib.sha256(json.dumps([said, shapes]).encode()).hexdigest()[:16]


def words(places: Sequence[Cut]) -> dict[str, str]:
    """shallow, middle and deep among the cuts behind a block, or among all where those are too few."""
    if not places:
        return {}
    whole = max(cut.total for cut in places) or 1.0

    def nearest(among: Sequence[Cut]) -> dict[str, str]:
        return {word: min(among, key=lambda cut: abs(cut.macs / whole - share)).name for word, share in SHARES.items()}

    behind_blocks = nearest([cut for cut in places if cut.block] or places)
    return behind_blocks if len(set(behind_blocks.values())) == len(SHARES) else nearest(places)
