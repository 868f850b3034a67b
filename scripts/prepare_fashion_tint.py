"""Make splitpriv/data/assets again from the publisher's files.

    python scripts/prepare_fashion_tint.py FOLDER

FOLDER holds t10k-images-idx3-ubyte[.gz] and t10k-labels-idx1-ubyte[.gz] of Fashion-MNIST, from
https://github.com/zalandoresearch/fashion-mnist or from Debian's package dataset-fashion-mnist.
What is inside is checked by SHA-256 and stored unchanged, compressed so that equal input gives equal bytes.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import sys
from pathlib import Path

ASSETS = Path(__file__).resolve().parents[1] / "splitpriv" / "data" / "assets"
SHA256 = {
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
LICENSE = """\
t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz are the test images and labels of Fashion-MNIST,
https://github.com/zalandoresearch/fashion-mnist, distributed under the following licence.

The MIT License (MIT)

Copyright (c) 2017 Zalando SE, https://tech.zalando.com

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without
limitation the rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the
Software, and to permit persons to whom the Software is furnished to do so, subject to the following
conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions
of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED
TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL
THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF
CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER
DEALINGS IN THE SOFTWARE.
"""


def main(folder: Path, assets: Path = ASSETS) -> None:
    assets.mkdir(parents=True, exist_ok=True)
    for name, digest in SHA256.items():
        plain, packed = folder / name, folder / f"{name}.gz"
        if not plain.exists() and not packed.exists():
            sys.exit(f"{plain}[.gz] is missing")
        raw = plain.read_bytes() if plain.exists() else gzip.decompress(packed.read_bytes())
        if hashlib.sha256(raw).hexdigest() != digest:
            sys.exit(f"{plain}[.gz] is not the published file (SHA-256 differs)")
        (assets / f"{name}.gz").write_bytes(gzip.compress(raw, 9, mtime=0))
    (assets / "LICENSE").write_text(LICENSE, encoding="utf-8")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path)
    main(arguments.parse_args().folder)
