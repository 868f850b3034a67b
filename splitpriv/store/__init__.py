"""Where results live: stages built once under a lock, rows, keys, and state that survives a kill."""

from splitpriv.store.folder import State, Store, read_json, say, write_atomic
from splitpriv.store.rows import Row

__all__ = ["Row", "State", "Store", "read_json", "say", "write_atomic"]
