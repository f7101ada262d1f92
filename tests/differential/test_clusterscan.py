"""CLUSTERSCAN, CLUSTER SLOT-STATS and FLUSHSLOT: errors, cursors and counts agree with genuine Valkey's."""

from __future__ import annotations

import re
import signal
import sys
import time
from collections.abc import Iterator

import pytest

from cluster.slots import SLOTS
from cluster.topology import Node, Shard, Topology, to_json
from tests.conftest import Server, find_free_port, oracle_command, start_server
from tests.differential.harness import Session
from tests.differential.play import play
from tests.differential.twins import Line, Twins

NODE_ID = "ab" * 20
SCAN_ERRORS = (
    "clusterscan;clusterscan abc;clusterscan 5-0;clusterscan 1;clusterscan -1;clusterscan {06S}-0;clusterscan 0-{06S};"
    "clusterscan 0-{06S}-x;clusterscan 0 slot abc;clusterscan 0 slot 16384;clusterscan 0 slot -1;clusterscan 0 count 0;"
    "clusterscan 0 count x;clusterscan 0 foo;clusterscan 0 match;clusterscan 0 type;clusterscan 0 type nosuch;"
    "clusterscan 0-{06S}-0 slot 7"
)
STARTS = "clusterscan 0;clusterscan 0 slot 5;clusterscan 0 slot 12706;clusterscan 0 count 100 match k* type hash"
STATS_ERRORS = (
    "cluster slot-stats;cluster slot-stats foo 1;cluster slot-stats slotsrange 1;cluster slot-stats slotsrange 1 2 3;"
    "cluster slot-stats slotsrange 5 1;cluster slot-stats slotsrange a 1;cluster slot-stats slotsrange 0 16384;"
    "cluster slot-stats orderby foo;cluster slot-stats orderby memory-bytes;"
    "cluster slot-stats orderby key-count limit 0;"
    "cluster slot-stats orderby key-count limit 99999;cluster slot-stats orderby key-count limit x;"
    "cluster slot-stats orderby key-count desc asc;cluster slot-stats orderby key-count limit 1 limit 2;"
    "cluster slot-stats orderby key-count foo;config get cluster-slot-stats-enabled;"
    "cluster flushslot;cluster flushslot x;cluster flushslot 99999;cluster flushslot 5 foo;"
    "cluster flushslot 5 sync async"
)


def assign_slots(oracle: Server, node: Server) -> None:
    """Give all slots to both servers: to Valkey by itself, to the node by a topology."""
    client = oracle.client()
    client.execute_command("CLUSTER ADDSLOTSRANGE", 0, SLOTS - 1)
    deadline = time.monotonic() + 20
    while client.cluster("info")["cluster_state"] != "ok":
        assert time.monotonic() < deadline
        time.sleep(0.05)  # Valkey waits two seconds before it trusts itself, and offers no event
    shard = Shard("s-0", 1, NODE_ID, (), ((0, SLOTS - 1),))
    topology = Topology("s", (shard,), (Node(NODE_ID, "127.0.0.1", node.port, "s-0"),))
    node.client().execute_command("KVORUM", "TOPOLOGY", "SET", to_json(topology))


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """A pair in cluster mode, each serving all slots alone."""
    servers: list[Server] = []
    cluster = ["--cluster-enabled", "yes", "--cluster-slot-stats-enabled", "yes"]
    try:
        for name in ("oracle", "node"):
            home = tmp_path_factory.mktemp(name)
            port = find_free_port()
            if name == "oracle":
                command = oracle_command(home, port, *cluster, "--cluster-port", str(find_free_port()))
            else:
                command = [sys.executable, "-m", "node", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(home),
                           "--node-id", NODE_ID, *cluster]  # fmt: skip
            servers.append(start_server(command, home, port))
        assign_slots(*servers)
        yield Twins(*servers)
    finally:
        for server in servers:
            server.stop(signal.SIGKILL)


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def session(request: pytest.FixtureRequest, twins: Twins) -> Iterator[Session]:
    """Clients of an empty pair."""
    session = Session(twins, request.param)
    session.run([[b"flushall"], [b"config", b"resetstat"]])
    yield session
    session.close()


def test_errors(session: Session) -> None:
    """Wrong cursors, slots, words and numbers are answered the same."""
    play(session, SCAN_ERRORS)
    play(session, STATS_ERRORS)


def test_starts(session: Session) -> None:
    """A walk begins at the tag of its slot, the same as Valkey's; a walk over nothing ends at once."""
    play(session, STARTS)
    play(session, "clusterscan 0-{06S}-0 slot 0;clusterscan 0-{460}-0 slot 5;multi;clusterscan 0;exec")


def walk(link: Line, *options: bytes) -> list[bytes]:
    """All keys of a walk."""
    keys: list[bytes] = []
    cursor = b"0"
    for _ in range(20_000):
        reply = link.ask([b"clusterscan", cursor, *options])
        words = re.findall(rb"\$\d+\r\n([^\r]*)\r\n", reply)
        cursor, found = words[0], words[1:]
        keys += found
        if cursor == b"0":
            return keys
    raise AssertionError("the walk does not end")


def test_a_walk_finds_every_key(session: Session) -> None:
    """Whatever the count, every key is met, once on a keyspace that does not change; options choose among them."""
    names = [b"k%d" % i for i in range(500)]
    for link in session.pair(0).both:
        for name in names:
            link.ask([b"set", name, b"v"])
        link.ask([b"lpush", b"list", b"a"])
        assert sorted(walk(link, b"count", b"7")) == sorted([*names, b"list"])
        assert sorted(walk(link, b"count", b"1000")) == sorted([*names, b"list"])
        assert walk(link, b"type", b"list", b"count", b"50") == [b"list"]
        assert sorted(walk(link, b"match", b"k1?", b"count", b"50")) == [b"k1%d" % i for i in range(10)]
        assert walk(link, b"slot", b"12706") == [b"k1"]


def test_slot_stats(session: Session) -> None:
    """Keys and bytes of the commands on a slot are counted; processor time is, too."""
    seen = []
    for link in session.pair(0).both:
        for command in ([b"set", b"k1", b"vvvvv"], [b"get", b"k1"], [b"get", b"nosuch"], [b"set", b"{k1}x", b"w"]):
            link.ask(command)
        replies = [
            link.ask([b"cluster", b"slot-stats", b"slotsrange", b"12706", b"12707"]),
            link.ask([b"cluster", b"slot-stats", b"orderby", b"key-count", b"limit", b"2"]),
            link.ask([b"cluster", b"slot-stats", b"orderby", b"network-bytes-in", b"limit", b"3"]),
            link.ask([b"cluster", b"slot-stats", b"orderby", b"network-bytes-out", b"limit", b"1", b"desc"]),
            link.ask([b"cluster", b"slot-stats", b"orderby", b"key-count", b"limit", b"2", b"asc"]),
            link.ask([b"cluster", b"slot-stats", b"orderby", b"cpu-usec", b"limit", b"0"]),
        ]
        seen.append([re.sub(rb"(cpu-usec\r\n:)\d+", rb"\1N", reply) for reply in replies])
    assert seen[1] == seen[0]


def test_slot_stats_without_costs(session: Session) -> None:
    """Switched off, keys alone are told."""
    play(session, "set k1 v;config set cluster-slot-stats-enabled no;cluster slot-stats slotsrange 12706 12706;"
         "cluster slot-stats orderby cpu-usec;cluster slot-stats orderby key-count limit 1;"
         "config set cluster-slot-stats-enabled yes")


def test_flush_slot(session: Session) -> None:
    """The keys of one slot go, others stay."""
    play(session, "set k1 v;set {k1}x w;set other v;cluster flushslot 12706;dbsize;get k1;get other;"
         "cluster flushslot 12706 async;cluster flushslot 12706 SYNC;cluster saveconfig")
