"""Which implementation of Store a node runs on: the compact one where its extension was built, else the plain one.

`KVORUM_STORE=plain` (or `compact`) in the environment decides it by hand.
"""

import os
import sys
from collections.abc import Callable
from typing import Final

from node.keyspace import Store
from node.store import PlainStore

PLAIN: Final = "plain"
COMPACT: Final = "compact"

_makers: dict[str, Callable[[int], Store]] = {PLAIN: PlainStore}
missing = ""  # why there is no compact store
try:
    from node.compact import CompactStore

    _makers[COMPACT] = CompactStore
except ImportError as error:
    missing = str(error)


class StoreError(Exception):
    """The store that was asked for can't be had; the text says why and what to do."""


def choose() -> str:
    """The name of the store to use. Raises StoreError."""
    wanted = os.environ.get("KVORUM_STORE") or (COMPACT if COMPACT in _makers else PLAIN)
    if wanted not in (PLAIN, COMPACT):
        raise StoreError(f"KVORUM_STORE is {wanted!r}; it may be plain or compact")
    if wanted not in _makers:
        raise StoreError(f"KVORUM_STORE is compact, but the key table is not built here: {missing}")
    if wanted == COMPACT and not sys.flags.hash_randomization:
        raise StoreError(
            "PYTHONHASHSEED=0 lets clients choose keys that collide, and slow down every command; unset it, "
            "or set KVORUM_STORE=plain"
        )
    return wanted


def new_store(seed: int) -> Store:
    """An empty store. Raises StoreError."""
    return _makers[choose()](seed)
