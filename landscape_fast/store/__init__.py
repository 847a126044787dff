"""Results on disk: one result one file, whole or absent, checked whenever it is read."""

from landscape_fast.store.files import StoreWriteError, locked, write_atomically
from landscape_fast.store.store import Store, StoreProblem

__all__ = ["Store", "StoreProblem", "StoreWriteError", "locked", "write_atomically"]
