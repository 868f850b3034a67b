"""A listing from a tree of folders: classes, pools of classes, or names that say all."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from splitpriv.data.labels import missing
from splitpriv.data.layouts import nested_pools, numbered, pool_words, pools_among
from splitpriv.data.reading import Reading, shown, some
from splitpriv.data.source import Listing, Source
from splitpriv.data.walk import Found, Parts, walk
from splitpriv.types import UserError

PATTERNS = {
    "utkface": r"(?:^|/)(?P<age>[0-9]+)_(?P<label>[01])_(?P<race>[0-4])_[0-9]+[^/]*$",
    "folder": r"(?P<label>[^/]+)/[^/]+$",  # the folder that the file lies in, however deep
}
_CAMERA = re.compile(r"_c([0-9]+)")


def listing(source: Source, reading: Reading) -> Listing:
    """The files below a folder and what their folders or names say; UserError where that could mean two things."""
    tree, where = walk(source.path, "dataset", source.max_entries, reading), source.path
    if not tree.images:
        raise UserError(f"dataset.path: {shown(source.path)} holds no images{_endings(tree)}; give class folders")
    if ("val", "val_annotations.txt") in tree.others and any(p[:2] == ("val", "images") for p in tree.images):
        raise UserError(
            f"dataset.path: {shown(source.path)} is Tiny ImageNet as published; use dataset=tiny_imagenet "
            f"paths.data={shown(source.path.parent)}"
        )
    if source.pattern:
        return _named(source, tree, reading)
    tree, where = _unwrapped(tree, where, source, reading)
    tops, loose = _tops(tree), [parts for parts in tree.images if len(parts) == 1]
    if not tops:
        raise UserError(_flat(loose, where, tree))
    for parts in loose:
        reading.skip("images beside the folders, without a class", parts[0])
    if source.layout == "auto":
        numbered(tops, shown(where))
    pools = pools_among(tops, shown(where), source.identities) if source.layout == "auto" else {}
    if pools:
        return _pooled(source, tree, where, pools, reading)
    _refuse_empty(tree, tops, where)
    inside = [parts for parts in tree.images if len(parts) > 1]
    if source.layout == "auto" and nested_pools((parts[:-1] for parts in inside), shown(where)):
        reading.layout = "pools within class folders"
        said = [str(pool_words(parts[1])[0]) for parts in inside]
        return _listed(source, reading, where, inside, [p[0] for p in inside], [p[2:-1] for p in inside], said)
    reading.layout = f"class folders in {shown(where.name)}/"
    return _listed(source, reading, where, inside, [p[0] for p in inside], [p[1:-1] for p in inside])


def _pooled(source: Source, tree: Found, where: Path, pools: Mapping[str, str], reading: Reading) -> Listing:
    """Pools of class folders; one without class folders is left out where another one can be the test."""
    for name in sorted({f[0] for f in tree.folders} - set(_tops(tree))):
        if pool_words(name, source.identities)[0]:
            raise UserError(f"dataset.path: {shown(where / name)} holds no image{_endings(tree.below(name))}; "
                            "fill it, or take it out")  # fmt: skip
        reading.skip("folders without an image", name)
    inside: list[Parts] = []
    labels: list[str] = []
    rest: list[Parts] = []
    said: list[str] = []
    flat: list[tuple[str, int]] = []
    for name in _tops(tree):
        part = tree.below(name)
        if name not in pools:
            reading.skip("images in folders beside the pools", name, len(part.images))
            continue
        part, home = _unwrapped(part, where / name, source, reading, pooled=True)
        prefix = home.relative_to(where).parts
        classes = _tops(part)
        if not classes:
            flat.append((name, len(part.images)))
            continue
        if pools[name] == "train":
            _refuse_empty(part, classes, home)
        for parts in part.images:
            if len(parts) == 1:
                reading.skip("images beside the folders, without a class", f"{name}/{parts[0]}")
                continue
            inside.append((*prefix, *parts))
            labels.append(parts[0])
            rest.append(parts[1:-1])
            said.append(pools[name])
    for name, count in flat:
        if pools[name] == "train" or not set(said) - {"train"}:
            raise UserError(
                f"dataset.path: {shown(where / name)} holds {count:,} images and no class folder; put them into "
                f"class folders, or take {name}/ out and let dataset.test_share make a test pool{_tables(tree)}"
            )
        reading.skip("images of a pool without class folders, hence without labels", name, count)
    reading.layout = f"class folders below {', '.join(f'{shown(n)}/ ({p})' for n, p in sorted(pools.items()))}"
    return _listed(source, reading, where, inside, labels, rest, said)


def _listed(source: Source, reading: Reading, where: Path, inside: list[Parts], labels: list[str], rest: list[Parts],
            pools: list[str] | None = None) -> Listing:  # fmt: skip
    """The listing of files `inside` a folder; `rest` are the folders between class and file."""
    columns = {source.who: labels}
    deeper = ["/".join((label, *parts)) for label, parts in zip(labels, rest, strict=True) if parts]
    if deeper and not source.identities:
        said = some(sorted(set(deeper)), 3)
        reading.note(f"{len(deeper):,} images in folders within class folders count as of that class ({said})")
    if pools is not None:
        columns["split"] = pools
    cameras = [_CAMERA.search(parts[-1]) for parts in inside]
    if source.identities and all(len(parts) == 1 for parts in rest):
        columns["camera"] = [parts[0] for parts in rest]
    elif source.identities and all(cameras):
        columns["camera"] = [match[1] for match in cameras if match]
    return Listing([where.joinpath(*parts) for parts in inside], columns)


def _named(source: Source, tree: Found, reading: Reading) -> Listing:
    """Labels from names: the groups of `pattern` are the columns."""
    try:
        pattern = re.compile(PATTERNS.get(str(source.pattern), str(source.pattern)))
    except re.error as error:
        raise UserError(f"dataset.pattern: is no regular expression ({error}); correct it") from error
    if not {"label", "identity"} & set(pattern.groupindex):
        raise UserError(f"dataset.pattern: has no group {source.who}; write (?P<{source.who}>...) where names say it")
    who = source.who if source.who in pattern.groupindex else min({"label", "identity"} & set(pattern.groupindex))
    tops = _tops(tree)
    pools = pools_among(tops, shown(source.path), source.identities) if source.layout == "auto" else {}
    for folder in sorted(tree.folders - {parts[:n] for parts in tree.images for n in range(len(parts))}):
        reading.skip("folders without an image", "/".join(folder))
    files, said, columns = list[Path](), list[str](), {name: list[str]() for name in pattern.groupindex}
    for parts in tree.images:
        match = pattern.search("/".join(parts))
        if not match or (pools and parts[0] not in pools):
            reading.skip("images whose names do not match dataset.pattern", "/".join(parts))
            continue
        if missing(match[who] or ""):
            reading.skip(f"images whose names give no {who}", "/".join(parts))
            continue
        files.append(source.path.joinpath(*parts))
        for name, column in columns.items():
            column.append(match[name] or "")
        said += [pools[parts[0]]] if pools else []
    if not files:
        raise UserError(f"dataset.pattern: matches none of {len(tree.images):,} names, such as "
                        f"{shown('/'.join(tree.images[0]))}; correct it")  # fmt: skip
    if pools:
        columns["split"] = said
    if source.identities and "identity" not in columns:
        columns["identity"] = columns.pop("label")
    if "split" in columns:
        columns["split"] = source.pools(columns["split"], list(range(1, len(files) + 1)))
    reading.layout = f"labels from names, by dataset.pattern: {some(list(pattern.groupindex))}"
    return Listing(files, columns)


def _tops(tree: Found) -> list[str]:
    return sorted({parts[0] for parts in tree.images if len(parts) > 1})


def _unwrapped(tree: Found, where: Path, source: Source, reading: Reading, pooled: bool = False) -> tuple[Found, Path]:
    """What lies below folders that hold nothing but one folder of folders, as archives make them.

    Where the folder is `pooled`, the one within is passed if it says no more than images, data or train do.
    """
    while source.layout == "auto" and len(tree.folders) and all(len(parts) > 2 for parts in tree.images):
        tops = {parts[0] for parts in (*tree.images, *tree.folders)}
        [top, *more] = sorted(tops)
        pool, rest = pool_words(top, source.identities)
        if more or (rest and top.casefold() != where.name.casefold() if pooled else pool):
            break
        below = tree.below(top)
        if source.identities and not any(len(parts) > 2 for parts in below.images):
            break  # one person, seen by several cameras
        tree, where = below, where / top
        reading.note(f"read below {shown(where)}, the only folder there")
    return tree, where


def _refuse_empty(tree: Found, classes: list[str], where: Path) -> None:
    """No class folder is dropped: one without an image is named, with what it holds instead."""
    empty = sorted({folder[0] for folder in tree.folders} - set(classes))
    if empty:
        named = [f"{name}/{_endings(tree.below(name)) or ' (empty)'}" for name in empty]
        raise UserError(f"dataset.path: {shown(where)} has class folders without a readable image: "
                        f"{some(named)}; convert what they hold, or take them out")  # fmt: skip


def _endings(tree: Found) -> str:
    counts: dict[str, int] = {}
    for parts in tree.others:
        ending = Path(parts[-1]).suffix.lower() or "no ending"
        counts[ending] = counts.get(ending, 0) + 1
    listed = [f"{n:,} x {ending}" for ending, n in sorted(counts.items(), key=lambda item: -item[1])]
    return f" ({some(listed, 5)})" if listed else ""


def _flat(loose: Sequence[Parts], where: Path, tree: Found) -> str:
    names = [parts[0] for parts in loose]
    remedy = f"give class folders or a CSV, or have dataset.pattern read labels from names such as {shown(names[0])}"
    if sum(bool(re.search(PATTERNS["utkface"], name)) for name in names) > len(names) / 2:
        remedy = "their names are UTKFace's: use dataset=utkface with the same dataset.path"
    return (
        f"dataset.path: {len(names):,} images lie in {shown(where)} itself and have no class; {remedy}{_tables(tree)}"
    )


def _tables(tree: Found) -> str:
    """A hint at tables that lie beside the images."""
    there = sorted(parts[0] for parts in tree.others if len(parts) == 1 and Path(parts[0]).suffix.lower() == ".csv")
    return f"; if {some(there, 3)} lists the files with their labels, give that as dataset.path" if there else ""
