"""`splitpriv cuts`: where a network can be cut."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splitpriv.types import UserError, blame

if TYPE_CHECKING:
    from splitpriv.config import Config
    from splitpriv.nets.cuts import Cut

PICTURES = (".png", ".svg", ".pdf")


def add(commands: Any) -> None:
    """Add the command to the subparsers of `splitpriv`."""
    parser = commands.add_parser("cuts", help="where a network can be cut: shapes, parameters, MACs and bytes")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="backbone=… dataset=…")
    parser.add_argument("--out", type=Path, help="also a picture: a PNG, SVG or PDF file")


def run(args: argparse.Namespace) -> int:
    """Print every cut of a backbone on the images of a data set, and draw them on demand."""
    from splitpriv import config

    if args.out and args.out.suffix not in PICTURES:
        raise UserError(f"--out {args.out}: pictures are {', '.join(PICTURES)}; change its ending")
    cfg = config.compose(args.overrides)
    places, words, image, title = found(cfg)
    from splitpriv.report import cuts

    cuts.print_cuts(places, words, image, title)
    if args.out:
        cuts.draw(places, words, image, title, args.out)
        print(f"picture: {args.out}")
    return 0


def found(cfg: Config) -> tuple[list[Cut], dict[str, str], tuple[int, int, int], str]:
    """The cuts of a config's backbone, which of them shallow, middle and deep are, the image, and a title."""
    import torch

    from splitpriv.nets.cuts import stages
    from splitpriv.nets.network import Network
    from splitpriv.run import limits
    from splitpriv.targets import build

    with blame("dataset"):
        spec = build(cfg["dataset"], "dataset")().spec
    with torch.device("meta"), limits.buildable(cfg["backbone"], "backbone"):
        backbone = build(cfg["backbone"], "backbone")(spec)
        places = backbone.places if isinstance(backbone, Network) else stages(backbone, spec.image)
    option, name = cfg["choices"]["backbone"], cfg["backbone"].get("name")
    of = "x".join(map(str, spec.image))
    return places, dict(backbone.cuts), spec.image, f"{option}{f' {name}' if name else ''} on {of} images"
