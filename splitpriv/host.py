"""The one door through which numbers leave the device.

Training and attack steps accumulate in tensors; only epoch ends call `to_host`. Tests replace it to run whole fits and
attacks under FakeTensorMode, where any other host read raises.
"""

from torch import Tensor


def to_host(values: Tensor) -> list[float]:
    """Return the entries of `values` (any shape, flattened) as Python floats."""
    return values.detach().flatten().tolist()
