"""Which override clears a doubt about the attacks of a run: a longer one, one that adapts, or a second."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import yaml

from splitpriv import options as listed
from splitpriv import plugins
from splitpriv.config import CONF, Config, flatten
from splitpriv.targets import build
from splitpriv.types import UserError

if TYPE_CHECKING:
    from splitpriv.attacks.base import Attack
    from splitpriv.data.knowledge import Knowledge

LENGTHS = ("epochs", "steps")  # settings by which an attack becomes longer
FIRST = ("decoder", "rmle", "probe_clean")  # to be proposed before others of their kind: they are quick
CUT = ("quick", "standard")  # tiers of a suite whose bounds come before their plateau, mostly
WHITE = frozenset({"edge", "clean"})
ADAPTIVE = {  # what attacks must know, by the kind that a defence names: words of two flags
    "draws": "how to average repeated releases (draws > 1)",
    "answers": "how to average repeated answers (draws > 1)",
    "collusion": "all that was divided between servers or paths",
    "mask": "what the chain keeps (mask)",
    "network": "what the network answers",
    "attribute": "what a release says of a private attribute",
}


def longer(name: str, settings: Mapping[str, Any]) -> str:
    """The override that doubles the length of an attack with these (nested or dotted) settings; empty without one."""
    if settings.get("tier") in CUT:
        return f"attack.{name}.tier=plus"
    flat = flatten(settings)
    lengths = [key for key in flat if key.rpartition(".")[2] in LENGTHS and isinstance(flat[key], int) and flat[key]]
    key = min(lengths, key=lambda key: key.count("."), default=None)
    return f"attack.{name}.{key}={2 * flat[key]}" if key else ""


def adapting(listed: Mapping[str, Mapping[str, Any]], kind: str) -> str | None:
    """An attack of conf/ that adapts to `kind`: a variant of one of those listed, or any other."""
    known = sorted(options().items(), key=lambda option: option[1][1].typical)  # what shows a victim, before classes
    adapted = {name: node for name, (node, attack) in known if kind in attack.adapts}
    variants = [name for mine in listed.values() for name, node in adapted.items() if _alike(node, mine)]
    return next((name for name in [*variants, *adapted] if name not in listed), None)


def another(listed: Mapping[str, Mapping[str, Any]]) -> str | None:
    """An attack of conf/ that recovers the same as the first that is listed, of the other box if there is one."""
    mine = _built(*next(iter(listed.items())))
    if mine is None:
        return None
    known = sorted(options().items(), key=lambda option: option[0] not in FIRST)
    others = {
        name: attack for name, (_, attack) in known
        if attack.recovers == mine.recovers and attack.observe == mine.observe and attack.adapts <= mine.adapts
    }  # fmt: skip
    white = bool(mine.requires & WHITE)
    other_box = [name for name, attack in others.items() if bool(attack.requires & WHITE) != white]
    return next((name for name in [*other_box, *others] if name not in listed), None)


def more_aux(protocol: Mapping[str, Any], known: Knowledge | None, shared: Mapping[str, Any], times: int = 2) -> str:
    """The override that gives the adversary `times` the images, where need be of those that the target learns from.

    `known`: what his images are; `shared`: `samples.shared` of the run. Empty where splits are given, or where so many
    would leave the target none, or are victims.
    """
    if known is None or not protocol.get("slices"):  # images that were given as they are
        return ""
    sizes = shared["sizes"]
    wanted, cut = times * sizes["aux"], known.size is not None and known.size == sizes["aux"]
    told = [f"knowledge.size={wanted}"] if known.takes == "elsewhere" or (known.size or wanted) < wanted else []
    if known.takes == "elsewhere":
        return told[0]
    if known.takes == "train":
        return told[0] if told and wanted <= sizes["train"] else ""
    limit, (pool, start, stop) = protocol["limit"].get("aux"), protocol["slices"]["aux"]
    count = _at_least(protocol, shared, pool) or (limit or sizes["aux"]) / (stop - start)
    whole = round(count * (stop - start))
    held = min(limit or whole, whole)
    need = wanted if cut and known.takes == "aux" else times * held
    if need <= held:
        return " ".join(told)
    if limit and limit < need:
        told.append(f"protocol.limit.aux={need}")
    if need > whole:
        wider = _widened(protocol, stop - need / count)
        told = [*told, wider] if wider else []  # a part of it would not do
    return " ".join(told)


def _at_least(protocol: Mapping[str, Any], shared: Mapping[str, Any], pool: str) -> int:
    """How many images a pool holds, by its largest split that nothing cuts; 0 where all are cut."""
    wide = {role: b - a for role, (p, a, b) in protocol["slices"].items()
            if p == pool and role in ("train", "val") and protocol["limit"].get(role) is None}  # fmt: skip
    role = max(wide, key=wide.__getitem__, default=None)
    return round((shared["sizes"][role] - shared.get("moved", 0)) / wide[role]) if role else 0


def _widened(protocol: Mapping[str, Any], lower: float) -> str:
    """The override that lets aux begin at the share `lower` of its pool; empty where others cannot make room for it."""
    slices = protocol["slices"]
    pool, start, stop = slices["aux"]
    lower = math.floor(1000 * lower + 1e-6) / 1000
    yielding = {role: piece[1:] for role, piece in slices.items() if role != "aux" and piece[0] == pool}
    shares = {role: [round(share * lower / start, 3) for share in piece] for role, piece in yielding.items() if start}
    if protocol["overlap"] or "victims" in yielding or any(b > start for _, b in yielding.values()):
        return ""
    if lower < 0 or any(a >= b for a, b in shares.values()):
        return ""
    shares["aux"] = [lower, stop]
    return " ".join(f"protocol.slices.{role}=[{pool},{a:g},{b:g}]" for role, (a, b) in shares.items())


def _alike(node: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two attacks are of one class and observe the same."""
    return all(node.get(key) == other.get(key) for key in ("_target_", "observe"))


def options() -> Mapping[str, tuple[Config, Attack]]:
    """Every attack of conf/ as it ships, and of plug-ins, by name."""
    return _options(plugins.active())


@cache
def _options(own: tuple[plugins.Plugin, ...]) -> Mapping[str, tuple[Config, Attack]]:
    found: dict[str, tuple[Config, Attack]] = {}
    for name in listed.names(CONF, "attack"):
        try:
            node = load("attack", name)
            made = _built(name, node)
        except Exception:  # nobody lists it in this run: what is wrong with a plug-in's need not be told
            if (CONF / "attack" / f"{name}.yaml").is_file():
                raise
        else:
            found |= {name: (node, made)} if made else {}
    return found


def _built(name: str, node: Mapping[str, Any]) -> Attack | None:
    try:
        return build(node, f"attack.{name}")()
    except UserError:  # a value that the user must give
        return None


def load(group: str, option: str) -> Config:
    """An option of conf/ with what it inherits, without an override."""
    path = listed.file(CONF, group, option)
    own = yaml.safe_load(path.read_text(encoding="utf-8")) if path else {}
    tree: Config = {}
    own = own or {}
    for default in own.pop("defaults", []):
        if isinstance(default, str):
            tree |= load(group, default.partition("@")[0]) if default != "_self_" else {}
        else:
            ((where, name),) = default.items()
            folder, _, key = where.removeprefix("override ").lstrip("/").partition("@")
            tree[key] = load(folder, name)
    return {k: {**tree[k], **v} if isinstance(v, dict) and isinstance(tree.get(k), dict) else v
            for k, v in {**tree, **own}.items()}  # fmt: skip
