"""Where results live: stages built once under a lock, rows, keys, and state that survives a kill."""

from splitpriv.store.folder import BARRED, FULL, State, Store, read_json, say, unwritable, write_atomic
from splitpriv.store.rows import Row

__all__ = ["BARRED", "FULL", "Row", "State", "Store", "read_json", "say", "unwritable", "write_atomic"]
