"""Keys: fingerprints of all that a stage depends on. Imports no torch."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from splitpriv import plugins
from splitpriv.store.proof import sha256
from splitpriv.targets import locate
from splitpriv.types import UserError

OURS = ("splitpriv.", "torch.")  # a change of theirs is told by a class's `version`, or by the row


def fingerprint(**parts: Any) -> str:
    """SHA-256 over canonical JSON of `parts`, 16 hex digits; 1 and 1.0 are one number, and keys have no order."""
    text = json.dumps(_canonical(parts), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        plain = {str(k): _canonical(v) for k, v in value.items()}
        if "_target_" in value:
            target = locate(value["_target_"], "key")
            plain["_target_"] = vars(target).get("key_name", value["_target_"])  # where it lived when keys began
            told = getattr(target, "version_of", None)  # where numbers change for some of its settings alone
            plain["_version_"] = told(value) if told else getattr(target, "version", 1)
            if not target.__module__.startswith(OURS):
                plain["_source_"] = source(target)
            plain = {k: v for k, v in plain.items() if k not in getattr(target, "unkeyed", ())}
            before = getattr(target, "added", {})  # settings that came later, at the value that changes nothing
            plain = {k: v for k, v in plain.items() if k not in before or v != _canonical(before[k])}
        return plain
    if isinstance(value, list | tuple):
        return [_canonical(v) for v in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def source(target: Callable[..., Any]) -> str:
    """SHA-256 of the code of a class or function of a user's own, which has no `version` that we could bump.

    It covers the file of the module, or every Python file of the package, that the target lies in, and those of the
    classes it inherits from; of a plug-in, as it was when it was imported. Raises UserError for code
    that lies in no file.
    """
    digest = hashlib.sha256()
    for name in dict.fromkeys(c.__module__ for c in getattr(target, "__mro__", [target])):
        top = name.partition(".")[0]
        if f"{top}.".startswith(OURS) or top in sys.stdlib_module_names:
            continue
        if told := plugins.digest(name):
            digest.update(told.encode())
            continue
        file = getattr(sys.modules[top], "__file__", None) or getattr(sys.modules[name], "__file__", None)
        if file is None or not Path(file).is_file():
            raise UserError(f"{name}.{target.__name__}: its code lies in no file, so no key can tell it; save it")
        whole = hasattr(sys.modules[top], "__path__")
        for path in sorted(Path(file).parent.rglob("*.py")) if whole else [Path(file)]:
            digest.update(f"{path.relative_to(Path(file).parent)} {sha256(path)}\n".encode())
    return digest.hexdigest()


def listed(chain: Mapping[str, Any] | None) -> list[list[Any]]:
    """A chain or a set of attacks as a list of [name, node]: in a key the order counts."""
    return [[name, node] for name, node in (chain or {}).items()]
