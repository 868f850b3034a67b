"""Keys: fingerprints of all that a stage depends on. Imports no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from splitpriv.targets import locate


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
            plain["_version_"] = getattr(target, "version", 1)
        return plain
    if isinstance(value, list | tuple):
        return [_canonical(v) for v in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def listed(chain: Mapping[str, Any] | None) -> list[list[Any]]:
    """A chain or a set of attacks as a list of [name, node]: in a key the order counts."""
    return [[name, node] for name, node in (chain or {}).items()]
