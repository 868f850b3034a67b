"""What the folders of a tree mean: classes, pools, or something that is refused by name rather than guessed at."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal

from splitpriv.data.reading import some
from splitpriv.types import UserError

Pool = Literal["train", "val", "test", "query", "gallery"]
Layout = Literal["auto", "classes"]
WORDS: dict[str, Pool] = {
    **dict.fromkeys(("train", "training", "trn", "trainval"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "validating", "vali", "eval", "evaluation", "evaluate",
                     "dev", "development"), "val"),
    **dict.fromkeys(("test", "testing", "tests", "tst", "holdout", "heldout"), "test"),
}  # fmt: skip
SOUGHT: dict[str, Pool] = {"query": "query", "queries": "query", "probe": "query", "gallery": "gallery"}
FILLERS = {"set", "sets", "data", "dataset", "images", "image", "imgs", "img", "pictures", "photos", "frames",
           "samples", "split", "pool", "folder", "files", "part", "subset", "the", "my", "hold", "held", "out",
           "bounding", "box", "dir", "directory"}  # fmt: skip
_POOLS, _FILLERS = "|".join([*WORDS, *SOUGHT]), "|".join(FILLERS)
_GLUED = re.compile(rf"(?P<first>{_POOLS})(?:{_FILLERS})|(?:{_FILLERS})(?P<last>{_POOLS})")
_NUMBERED = re.compile(
    r"(fold|part|(?:data_)?batch|split|chunk|shard|cv|partition|(?:data|sub)?set|volume|vol)[\W_]*\d+", re.IGNORECASE
)
_GLUED_TO = re.compile(rf"(?P<first>{_POOLS})(?P<after>.*)|(?P<before>.*?)(?P<last>{_POOLS})")
_SHORT = {"tr", "te", "ts", "va", "vl"}
AS_CLASSES = "set dataset.layout=classes if all of them are classes"


def pool_words(name: str, sought: bool = False) -> tuple[Pool | None, str]:
    """The pool that a folder's name, or a value of the column split, speaks of, and what else it says.

    `sought`: query and gallery are pools, too.
    """
    words = re.findall(r"[^\W\d_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).casefold())
    if {"hold", "held"} & set(words) and "out" in words:
        words.append("holdout")
    words = [match["first"] or match["last"] if (match := _GLUED.fullmatch(word)) else word for word in words]
    known = {**WORDS, **SOUGHT} if sought else WORDS
    pools = {known[word] for word in words if word in known}
    rest = " ".join(word for word in words if word not in known and word not in FILLERS)
    return (pools.pop(), rest) if len(pools) == 1 else (None, rest)


def pools_among(names: Sequence[str], where: str, sought: bool = False) -> dict[str, Pool]:
    """Which of the folders `names`, all of them with images, is which pool; {} where all are classes.

    UserError for names that could be both, as `where` has them.
    """
    said = {name: pool_words(name, sought) for name in names}
    marked = {name: pool for name, (pool, rest) in said.items() if pool and not rest}
    if not marked:  # seg_train beside seg_test, and the like
        prefixed = {name: (pool, rest) for name, (pool, rest) in said.items() if pool}
        if len({pool for pool, _ in prefixed.values()}) > 1:
            if len({rest for _, rest in prefixed.values()}) > 1:
                raise _both(where, list(prefixed), [])
            marked = {name: pool for name, (pool, _) in prefixed.items()}
    if not marked:
        if alike := _named_like_pools(names):
            raise _both(where, alike, [name for name in names if name not in alike], "")
        return {}
    others = [name for name in names if name not in marked]
    if "train" not in marked.values() or (others and len(set(marked.values())) < 2):
        raise _both(where, list(marked), others)
    return beside_queries(marked)


def _named_like_pools(names: Sequence[str]) -> list[str]:
    """Folders such as trainfaces beside testfaces, or tr beside te: may be pools, but no usual spelling."""
    matches = {name: match for name in names if (match := _GLUED_TO.fullmatch(name.casefold()))}
    pools = {match["first"] or match["last"] for match in matches.values()}
    rest = {match["after"] or match["before"] or "" for match in matches.values()}
    if len(pools) > 1 and len(rest) == 1:
        return list(matches)
    return list(names) if len(names) > 1 and {name.casefold() for name in names} <= _SHORT else []


def numbered(names: Sequence[str], where: str) -> None:
    """UserError for folders that are named like numbered parts of one set."""
    if len(names) > 1 and all(map(_NUMBERED.fullmatch, names)):
        raise UserError(
            f"dataset.path: {where} holds {some(names)}, which are named like parts of one set, not like classes; "
            f"join them, put them below train/ and test/, or {AS_CLASSES}"
        )


def beside_queries(pools: dict[str, Pool]) -> dict[str, Pool]:
    """Where there are queries, what is called test is the gallery."""
    if "query" not in pools.values():
        return pools
    return {name: "gallery" if pool == "test" else pool for name, pool in pools.items()}


def _both(
    where: str, marked: Sequence[str], others: Sequence[str], alone: str = " and no training images"
) -> UserError:
    beside = f" beside {some(others, 5)}" if others else alone
    return UserError(
        f"dataset.path: {where} holds {some(marked, 5)}{beside}: pools or classes? "
        f"Put class folders below train/ and test/, or {AS_CLASSES}"
    )


def nested_pools(classes: Iterable[tuple[str, ...]], where: str) -> bool:
    """Do pools lie within class folders, as in cat/train? `classes` are the folders of each image.

    UserError where some images lie in pools below their class and others do not.
    """
    paths = set(classes)
    inner = {path: pool_words(path[1]) if len(path) > 1 else (None, "") for path in paths}
    pools = {pool for pool, rest in inner.values() if pool and not rest}
    if "train" in pools and len(pools) > 1:
        apart = sorted("/".join(path) for path, (pool, rest) in inner.items() if not pool or rest)
        if apart:
            raise UserError(
                f"dataset.path: {where} holds pools within class folders, but {some(apart, 5)} lies in none; "
                f"give every class train/ and test/, or {AS_CLASSES}"
            )
        return True
    deep = {pool: "/".join(path) for path in paths for name in path[1:] for pool, rest in [pool_words(name)]
            if pool and not rest}  # fmt: skip
    if len(deep) > 1:
        raise UserError(
            f"dataset.path: {where} holds pools deep within class folders ({some(sorted(deep.values()), 4)}); "
            f"put class folders below train/ and test/, or {AS_CLASSES}"
        )
    return False
