"""Write docs/timm_models.md: which of 30 timm models, of every family, can be cut, and where the release is smallest.

All are drawn at random; nothing is downloaded. Run: python scripts/timm_cuts.py [MODEL ...]
"""

from __future__ import annotations

import argparse
import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import torch

from splitpriv.nets.libraries import Timm
from splitpriv.types import Spec, UserError

MODELS = (
    "resnet50", "resnext50_32x4d", "seresnet50", "densenet121", "vgg16_bn", "inception_v3", "xception41", "dla34",
    "res2net50_26w_4s", "regnety_008", "nfnet_f0", "hrnet_w18", "cspdarknet53", "repvgg_a2", "vovnet39a",
    "efficientnet_b0", "mobilenetv2_100", "mobilenetv3_small_100", "mobilenetv4_conv_small", "ghostnet_100",
    "convnext_tiny", "mixer_b16_224", "vit_tiny_patch16_224", "deit3_small_patch16_224", "swin_tiny_patch4_window7_224",
    "maxvit_tiny_tf_224", "levit_128s", "mobilevit_s", "fastvit_t8", "coat_tiny",
)  # fmt: skip
OUT = Path(__file__).parents[1] / "docs" / "timm_models.md"
HEAD = """# Which models of timm can be cut

Thirty models, one of every family, drawn at random, and every module behind which one tensor alone crosses, as
`splitpriv cuts backbone=timm backbone.name=NAME backbone.resolution=model` lists them. Images are those that the model
was made for, of 1000 classes. The smallest release is that of the cut with the fewest bytes, at 32 bits a value, whose
edge does at most half of all multiply-accumulates. Within a residual block, a dense block or a pyramid nothing but its
end is a cut, since a shortcut crosses beside every module; a module that is `whole` cannot be followed by torch.fx, so
cuts within it do not show. Made by `scripts/timm_cuts.py`, with timm {timm} and torch {torch}.

| model | image | cuts | smallest release in the first half | the words shallow, middle, deep | followed by |
|---|---|---:|---|---|---|
"""


def line(name: str) -> str:
    """One row of the table."""
    settings: dict[str, Any] = {"weights": None, "head": "keep", "mean": None, "std": None, "arguments": {}}
    try:
        with torch.device("meta"):
            net = Timm(Spec((3, 224, 224), 1000), name=name, resolution="model", **settings)
    except UserError as error:
        return f"| {name} | | 0 | not cuttable: {error} | | |"
    size = "x".join(map(str, net.image))
    if not net.places:
        return f"| {name} | {size} | 0 | none: shortcuts lead past every module | | |"
    half = [cut for cut in net.places if cut.macs <= cut.total / 2] or net.places[:1]
    least = min(half, key=lambda cut: cut.release_bytes)
    shut = f"; whole: {', '.join(sorted(net.look.shut)[:2])}" if net.look.shut else ""
    way = "torch.export" if net.look.inside is None else "torch.fx"
    release = f"{least.release_bytes:,} bytes ({'x'.join(map(str, least.shape))}) behind `{least.name}`"
    words = ", ".join(f"`{name}`" for name in net.cuts.values())
    return f"| {name} | {size} | {len(net.places)} | {release} | {words} | {way}{shut} |"


def lines(names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        yield line(name)
        gc.collect()


def main() -> None:
    """Print the lines of the models named, or write the page of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="print these alone, and write nothing")
    if named := tuple(parser.parse_args().models):
        for told in lines(named):
            print(told, flush=True)
        return
    import timm

    rows = []
    for told in lines(MODELS):
        print(told, flush=True)
        rows.append(told)
    OUT.write_text(
        HEAD.format(timm=timm.__version__, torch=torch.__version__.partition("+")[0]) + "\n".join(rows) + "\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
