"""The idx format of MNIST and its relatives (Y. LeCun's page, "the IDX file format")."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray


def parse(raw: bytes) -> NDArray[np.uint8]:
    """The array in an idx file of unsigned bytes; ValueError if its header and its length disagree."""
    if len(raw) < 4 or raw[:3] != b"\0\0\x08":
        raise ValueError("not an idx file of unsigned bytes")
    head = 4 + 4 * raw[3]
    if len(raw) < head:
        raise ValueError("its header is cut off")
    shape = struct.unpack(f">{raw[3]}I", raw[4:head])
    if len(raw) - head != np.prod(shape, dtype=np.int64):
        raise ValueError(f"{len(raw) - head:,} bytes follow a header that announces {shape}")
    return np.frombuffer(raw, np.uint8, offset=head).reshape(shape)
