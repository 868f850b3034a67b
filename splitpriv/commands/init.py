"""`splitpriv init`: a small project of one's own that runs."""

from __future__ import annotations

import argparse
from typing import Any

from splitpriv.types import UserError, typed

README = """\
# A project with splitpriv

`mine/` is a plug-in: its classes and the options in `mine/conf/` are there wherever a command names it.

| file | what it is |
|---|---|
| `mine/clip.py` | a defence: what it does to the feature that leaves the device |
| `mine/conf/defense/clip.yaml` | its settings, which make it the option `defense=[clip]` |
| `mine/conf/setting/first.yaml` | a run: data, network, defence, attack, and how long |

From this folder:

```
splitpriv run plugins=[mine] +setting=first                              # one run, well under a minute
splitpriv run -m plugins=[mine] +setting=first 'defense=[none],[clip]'   # against no defence
splitpriv run -m plugins=[mine] +setting=first defense.clip.bound=0.1,0.5
splitpriv rows                                                           # every finished run
splitpriv dashboard                                                      # the same as a page, with pictures
splitpriv plugin test mine                                               # does it keep what every option must?
```

Results lie in `outputs/`; a command that is repeated finds them there, and a change of `mine/` makes new ones. The
numbers of `+setting=first` are for a look: it trains for seconds on a few images. A defence is believed after more:
`dataset=...` of your own or published, `attack=[autoinvert]`, several seeds. `splitpriv --help` shows how to go on.
"""
CLIP = '''\
"""A defence of my own."""

from __future__ import annotations

from torch import Tensor

from splitpriv.defenses.base import Defense
from splitpriv.types import Positive


class Clip(Defense):
    """Every entry of z is cut to [-bound, bound], in training and on the device."""

    def __init__(self, *, bound: Positive) -> None:
        super().__init__()
        self.bound = bound

    def after_edge(self, z: Tensor) -> Tensor:
        return z.clamp(-self.bound, self.bound)
'''
OPTION = """\
# Every entry of the feature is cut to [-bound, bound].
clip:
  _target_: mine.clip.Clip
  bound: 0.25
"""
SETTING = """\
# @package _global_
# A first run: the shipped images, a tiny network, my defence and one attack, cut short.
defaults:
  - override /dataset: fashion_tint
  - override /backbone: tiny
  - override /defense: [clip]
  - override /attack: [decoder]
  - override /decoder@attack.decoder.net: conv

split: {at: shallow}
optim: {epochs: 3}
attack:
  decoder: {epochs: 12, batch: 64, lr: 0.005}
protocol:
  limit: {train: 2000, val: 200, aux: 1000, victims: 200}
  attacked: 128
"""
FILES = {
    "README.md": README,
    "mine/__init__.py": '"""What is mine."""\n',
    "mine/clip.py": CLIP,
    "mine/conf/defense/clip.yaml": OPTION,
    "mine/conf/setting/first.yaml": SETTING,
}


def add(commands: Any) -> None:
    """Add the command to the subparsers of `splitpriv`."""
    init = commands.add_parser("init", help="write a small project of your own, with a defence, that runs")
    init.add_argument("folder", metavar="DIR", help="a new folder, or an empty one")
    init.set_defaults(overrides=[])


def run(args: argparse.Namespace) -> int:
    """Write the project, unless something is there already."""
    folder = typed(args.folder, "init")
    if args.overrides:
        raise UserError(f"init: takes one folder, and no {args.overrides[0]}; what a run is told lies in mine/conf/")
    try:
        if folder.is_dir() and any(folder.iterdir()):
            raise UserError(f"init: {folder} is not empty; name a new folder, or an empty one")
        for name, text in FILES.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(f"init: {folder} cannot be written ({why}); name another folder") from error
    print(f"{folder}: {', '.join(FILES)}")
    print(f"next: cd {folder} && splitpriv run plugins=[mine] +setting=first")
    return 0
