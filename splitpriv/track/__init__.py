"""Trackers (W&B, TensorBoard, CSV) read the store, in processes of their own that neither fail nor slow a run."""

from splitpriv.track.base import Tracker
from splitpriv.track.process import follow, record

__all__ = ["Tracker", "follow", "record"]
