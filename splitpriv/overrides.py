"""Overrides as people type them: each is read once, by Hydra's grammar; what is wrong with one is said in one line."""

from __future__ import annotations

import functools
import itertools
import re
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

CALLED_NONE = ("activation", "fill", "normalise", "weights")  # settings of which one choice is called none
MOST = 100_000  # values of one key: no sweep is that long, and a range without an end would be counted for ever
OPTUNA = "hydra/sweeper=optuna searches an interval (pip install 'splitpriv[optuna]')"


def key_of(word: str) -> str:
    """The key of an override as typed, without the sign that adds or removes it."""
    return word.lstrip("+~").partition("=")[0]


def place_of(word: str) -> str:
    """Where in the config an override acts: the package of an option, else its key."""
    return key_of(word).rpartition("@")[2]


def is_hydra(word: str) -> bool:
    """Whether an override is for Hydra itself, its launchers and sweepers."""
    return key_of(word).startswith(("hydra/", "hydra."))


def value_of(word: str) -> str:
    """What stands behind the key, as typed."""
    return word.partition("=")[2]


def quoted(key: str, value: str) -> str:
    """An override with its value quoted for Hydra."""
    from hydra.core.override_parser.types import Quote, QuotedString

    return f"{key}={QuotedString(value, Quote.single).with_quotes()}"


def spelled(key: str, value: str) -> str:
    """The same, quoted for the shell, too."""
    word = quoted(key, value)
    return shlex.quote(word) if any(c in word for c in '"$`!\\') else f'"{word}"'


def last_of(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words without those whose key a later one gives again, and a line on each such key."""
    kept: dict[str, str] = {}
    twice: dict[str, str] = {}
    for i, word in enumerate(words):
        removes = word.startswith("~") or "=" not in word
        key = f"{i}" if removes else key_of(word)
        if key in kept:
            word = ("+" if kept.pop(key).startswith("+") else "") + word.lstrip("+")
            twice[key] = f"{key}: is given more than once; the last counts, {word.lstrip('+')}"
        kept[key] = word
    return list(kept.values()), list(twice.values())


@functools.lru_cache(maxsize=4096)  # the points of a sweep share nearly all words
def parse(word: str, sweep: bool = False) -> tuple[Override | None, str]:
    """One override, or None and why it cannot be meant; several values are for a `sweep` alone."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import ValueType
    from hydra.errors import HydraException

    if "\0" in word or "\n" in word:
        return None, f"{key_of(word)[:80]!r}: an override is one line of text, without control characters"
    if word.startswith("-"):
        name = word.lstrip("-")
        return None, f"{word}: a setting has no dashes; write {name} (a sweep of W&B: ${{args_no_hyphens}})"
    try:
        parsed = OverridesParser.create().parse_overrides([word])[0]
    except (HydraException, RecursionError):
        return None, _unreadable(word)
    key = key_of(word)
    if not parsed.key_or_group or not key:
        return None, f"{word}: has no key; an override reads key=value"
    if parsed.value_type is ValueType.GLOB_CHOICE_SWEEP:
        return None, f"{key}: {value_of(word)} is a pattern; name the options instead, as in {key}=a,b with -m"
    try:
        several = parsed.sweep_iterator() if parsed.is_discrete_sweep() else [parsed.value()]
        values = list(itertools.islice(several, MOST + 1))
    except (HydraException, ArithmeticError, ValueError):  # a step of 0, an end that is no number
        return None, f"{key}: {value_of(word)} is no range; its steps lead from start to stop, as in {key}=range(0,5,1)"
    if not 0 < len(values) <= MOST:
        held = f"more than {MOST:,} values" if values else "no value"
        return None, f"{key}: {value_of(word)} holds {held}; correct where it starts and stops, as in {key}=range(0,5)"
    words = {"None", "nil", "NULL"} | (set() if key.rpartition(".")[2] in CALLED_NONE else {"none"})
    if any(type(value) is str and value in words for value in values) and "." in key:
        return None, f"{key}: nothing is written null, not {value_of(word)}; write {key}=null"
    if parsed.value() == {}:
        return None, f"{key}: {{}} changes nothing; give the values of its keys, or remove it with ~{key}"
    if parsed.is_sweep_override() and not sweep:
        return None, _several(word)
    return parsed, ""


def _unreadable(word: str) -> str:
    """Why Hydra's grammar refuses a word, and how to write it."""
    key, sign, value = word.lstrip("+~").partition("=")
    if not sign:
        return f"{word}: an override reads key=value"
    if key != key.strip() or not re.fullmatch(r"[\w./@$:-]+", key):
        return f"{word}: an override reads key=value, without a space before the ="
    if not word.isprintable():
        return f"{key}: its value holds a control character; leave it out"
    if len(word) > 1000:
        return f"{key}: Hydra cannot read its {len(value):,} characters; quote them, '{key}=\\'...\\''"
    if value.startswith("="):
        return f"{key}: one = is enough; write {key}{value}"
    if value.endswith(",") and not value.startswith("'"):
        return f"{key}: {value} ends with a comma; write several values without spaces, {key}=a,b"
    if value[:1] in ("[", "{") and (value.count("[") != value.count("]") or value.count("{") != value.count("}")):
        return f"{key}: the brackets of {value} are not closed; a list reads '{key}=[a,b]', quoted for the shell"
    return f"{key}: Hydra cannot read {value!r}; quote it for Hydra and for the shell: {spelled(key, value)}"


def _several(word: str) -> str:
    """What to write where somebody gave several values to a single run."""
    key, value = key_of(word), value_of(word)
    if value.startswith(("interval(", "tag(")):
        return f"{key}: {value} is for a sweep with -m; {OPTUNA}"
    told = f"{key}: {value} are several values; add -m to sweep over them: splitpriv run -m {shlex.quote(word)}"
    if "(" in value or value.startswith(("[", "{")):
        return told
    if "/" in value or " " in value:
        return f"{told}; if it is one value: {spelled(key, value)}"
    return f"{told}; if it is one list: {shlex.quote(f'{key}=[{value}]')}" if "seed" not in key else told
