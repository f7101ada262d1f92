"""SORT through the proxy, which goes where its key is, and MIGRATE, which no client may send."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.proxy_rig import Rig, Wire, sharded_rig, single_rig

REFUSED = b"-NOPERM User default has no permissions to run the 'migrate' command\r\n"
ORDERED = [b"1", b"2", b"3"]
SAME = [
    ("SORT {x}l", ORDERED), ("SORT_RO {x}l DESC LIMIT 0 2", [b"3", b"2"]), ("sort {x}l BY {x}w*", [b"3", b"2", b"1"]),
    ("SORT {x}l BY {x}w* GET {x}w* GET #", [b"7", b"3", b"8", b"2", b"9", b"1"]), ("SORT nokey", []),
    ("SORT {x}l BY nosort", [b"3", b"1", b"2"]), ("COMMAND GETKEYS SORT {x}l BY w STORE d", [b"{x}l", b"d"]),
]  # fmt: skip


def bulks(items: list[bytes]) -> bytes:
    """An array as it is sent."""
    return b"*%d\r\n" % len(items) + b"".join(b"$%d\r\n%b\r\n" % (len(item), item) for item in items)


@pytest.fixture(scope="module", params=["one shard", "three shards"])
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A service and its proxy."""
    start = single_rig if request.param == "one shard" else sharded_rig
    yield from start(_folder(tmp_path_factory))


def _folder(factory: pytest.TempPathFactory) -> Path:
    return factory.mktemp("sorting")


@pytest.fixture
def wire(rig: Rig) -> Iterator[Wire]:
    """A client of a service that holds a list and weights of its elements."""
    with rig.wire() as found:
        found.ask("FLUSHALL")
        found.ask("RPUSH", "{x}l", "3", "1", "2")
        found.ask("MSET", "{x}w1", "9", "{x}w2", "8", "{x}w3", "7")
        yield found


def test_sort_is_served_by_the_shard_of_its_key(wire: Wire) -> None:
    """Patterns within the slot of the key work in any service, as does STORE there, and SORT in a transaction."""
    for line, expected in SAME:
        assert wire.ask(*line.split()) == bulks(expected), line
    assert wire.ask("SORT", "{x}l", "STORE", "{x}d") == b":3\r\n"
    assert wire.ask("LRANGE", "{x}d", 0, -1) == bulks(ORDERED)
    assert wire.ask("MULTI") == b"+OK\r\n"
    assert wire.ask("SORT", "{x}l", "STORE", "{x}e") == b"+QUEUED\r\n"
    assert wire.ask("EXEC") == b"*1\r\n:3\r\n"
    assert wire.ask("SORT", "{x}l", "STORE").startswith(b"-ERR syntax error")


def test_sort_crosses_slots_where_there_is_one_shard_alone(rig: Rig, wire: Wire) -> None:
    """STORE and patterns that lead to other slots work in a service of one shard, and are refused in others."""
    stored = wire.ask("SORT", "{x}l", "STORE", "other")
    sorted_by = wire.ask("SORT", "{x}l", "BY", "w*")
    if len(rig.nodes) == 1:
        assert (stored, sorted_by) == (b":3\r\n", bulks(ORDERED))
    else:
        assert stored.startswith(b"-CROSSSLOT ")
        assert sorted_by.startswith(b"-ERR BY option of SORT denied in Cluster mode")


def test_migrate_is_refused(wire: Wire) -> None:
    """No client can have a node send its keys away."""
    assert wire.ask("MIGRATE", "127.0.0.1", 1, "{x}l", 0, 100) == REFUSED
    assert wire.ask("migrate", "127.0.0.1", 1, "", 0, 100, "KEYS", "{x}l", "other") == REFUSED
    assert wire.ask("EXISTS", "{x}l") == b":1\r\n"
