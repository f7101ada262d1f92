"""Which store a node runs on, and what it says when it can't have the one that was asked for."""

import os
import subprocess
import sys

import pytest

from node import stores
from node.stores import COMPACT, PLAIN, StoreError, choose, new_store

BUILT = not stores.missing


@pytest.fixture(autouse=True)
def nothing_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if nobody had set KVORUM_STORE."""
    monkeypatch.delenv("KVORUM_STORE", raising=False)


def test_the_compact_store_is_used_where_it_is_built() -> None:
    """Without a word in the environment the key table is taken when there is one."""
    assert choose() == (COMPACT if BUILT else PLAIN)
    assert new_store(1).kind == choose()


def test_the_plain_store_can_be_had_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """KVORUM_STORE=plain goes without the key table."""
    monkeypatch.setenv("KVORUM_STORE", "plain")
    assert new_store(1).kind == PLAIN


def test_an_unknown_store_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The text names what may be asked for."""
    monkeypatch.setenv("KVORUM_STORE", "large")
    with pytest.raises(StoreError, match="plain or compact"):
        choose()


def test_a_store_that_is_not_built_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The text says why it is not there."""
    monkeypatch.setenv("KVORUM_STORE", "compact")
    monkeypatch.setattr(stores, "_makers", {PLAIN: stores.PlainStore})
    monkeypatch.setattr(stores, "missing", "No module named 'node.keytable.table'")
    with pytest.raises(StoreError, match=r"not built here: No module named 'node\.keytable\.table'"):
        choose()


@pytest.mark.skipif(not BUILT, reason="the key table is not built")
@pytest.mark.parametrize("store", ["compact", "plain"])
def test_predictable_hashes_are_refused(store: str) -> None:
    """With PYTHONHASHSEED=0 the key table is not used, neither by name nor by itself."""
    code = "from node.stores import *\ntry: print(new_store(1).kind)\nexcept StoreError as e: print(e)"
    environment = {**os.environ, "PYTHONHASHSEED": "0", "KVORUM_STORE": store, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("PYTHONHASHSEED=0 lets clients" if store == "compact" else "plain")
