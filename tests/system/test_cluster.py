"""A cluster node by itself: redirections, refusals and CLUSTER replies, beside a genuine one where they compare."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.resp.encode import encode_request
from cluster.slots import key_slot
from cluster.topology import Node, Shard, Topology, to_json
from tests.conftest import Server

ME, REPLICA, OTHER = "a" * 40, "b" * 40, "c" * 40


def topology(port: int, epoch: int = 1, last: int = 8191, rest: bool = True) -> Topology:
    """Two shards: this node owns 0 to `last`, another node that does not exist the rest."""
    shards = [Shard("s-0", epoch, ME, (REPLICA,), ((0, last),))]
    if rest:
        shards.append(Shard("s-1", 1, OTHER, (), ((8192, 16383),)))
    nodes = (
        Node(ME, "127.0.0.1", port, "s-0"),
        Node(REPLICA, "127.0.0.1", 7001, "s-0"),
        Node(OTHER, "127.0.0.9", 7002, "s-1"),
    )
    return Topology("s", tuple(shards), nodes if rest else nodes[:2])


@pytest.fixture
def member(node_process: Callable[..., Server]) -> Server:
    """A node in cluster mode that has been told the topology."""
    server = node_process("--cluster-enabled", "yes", "--node-id", ME, "--service-name", "s")
    assert server.client().execute_command("KVORUM", "TOPOLOGY", "SET", to_json(topology(server.port))) == b"OK"
    return server


def key_in(first: int, last: int, prefix: str = "k") -> str:
    """A key whose slot is in the range."""
    return next(f"{prefix}{i}" for i in range(100_000) if first <= key_slot(f"{prefix}{i}".encode()) <= last)


def error_of(server: Server, *args: bytes) -> str:
    """The error that a command is answered with, as it is on the wire."""
    reply = exchange(server, encode_request(args))
    assert reply.startswith(b"-"), reply
    return reply[1:-2].decode()


def wire(server: Server, *lines: bytes) -> bytes:
    """What inline requests are answered with, up to the reply of a last PING."""
    return exchange(server, b"".join(line + b"\r\n" for line in lines))


def exchange(server: Server, requests: bytes) -> bytes:
    """What these requests are answered with, up to the reply of a last PING."""
    with server.connect() as link:
        link.sendall(requests + b"PING end\r\n")
        data = b""
        while not data.endswith(b"$3\r\nend\r\n"):
            data += link.recv(65536)
        return data.removesuffix(b"$3\r\nend\r\n")


def test_redirection(member: Server) -> None:
    """Own slots are served, others are MOVED to their primary, keys of different slots are refused."""
    mine, theirs = key_in(0, 8191), key_in(8192, 16383)
    assert wire(member, f"SET {mine} 1".encode()) == b"+OK\r\n"
    moved = f"-MOVED {key_slot(theirs.encode())} 127.0.0.9:7002\r\n".encode()
    assert wire(member, f"GET {theirs}".encode()) == moved
    cross = b"-CROSSSLOT Keys in request don't hash to the same slot\r\n"
    assert wire(member, f"MGET {mine} {theirs}".encode()) == cross
    assert wire(member, f"ZUNIONSTORE {mine} 1 {theirs}".encode()).startswith(b"-CROSSSLOT")
    assert wire(member, b"SPUBLISH " + theirs.encode() + b" x") == moved
    assert wire(member, b"PUBLISH " + theirs.encode() + b" x") == b":0\r\n"
    assert wire(member, b"SELECT 1") == b"-ERR DB index is out of range\r\n"


def test_redirection_inside_a_transaction(member: Server) -> None:
    """A redirected command spoils the transaction."""
    theirs = key_in(8192, 16383)
    replies = wire(member, b"MULTI", f"SET {theirs} 1".encode(), b"EXEC").split(b"\r\n")
    assert replies[0] == b"+OK"
    assert replies[1].startswith(b"-MOVED")
    assert replies[2] == b"-EXECABORT Transaction discarded because of previous errors."


def test_a_replica_serves_readers_that_ask_for_it(
    member: Server, node_process: Callable[..., Server]
) -> None:
    """Without READONLY a replica redirects to its primary, with it reads are served and writes still redirected."""
    replica = node_process("--cluster-enabled", "yes", "--node-id", REPLICA, "--service-name", "s")
    replica.client().execute_command("KVORUM", "TOPOLOGY", "SET", to_json(topology(member.port)))
    replica.client().replicaof("127.0.0.1", member.port)
    mine = key_in(0, 8191)
    moved = f"-MOVED {key_slot(mine.encode())} 127.0.0.1:{member.port}\r\n".encode()
    assert wire(replica, f"GET {mine}".encode()) == moved
    assert wire(replica, b"READONLY", f"GET {mine}".encode()) == b"+OK\r\n$-1\r\n"
    assert wire(replica, b"READONLY", f"SET {mine} 1".encode()) == b"+OK\r\n" + moved
    assert wire(replica, b"READONLY", b"READWRITE", f"GET {mine}".encode()) == b"+OK\r\n+OK\r\n" + moved


def test_down_without_full_coverage(node_process: Callable[..., Server]) -> None:
    """A slot that nobody owns stops the service, unless cluster-require-full-coverage is off."""
    server = node_process("--cluster-enabled", "yes", "--node-id", ME, "--service-name", "s")
    client = server.client()
    mine, nobodys = key_in(0, 8191), key_in(8192, 16383)
    assert error_of(server, b"GET", mine.encode()) == "CLUSTERDOWN Hash slot not served"
    client.execute_command("KVORUM", "TOPOLOGY", "SET", to_json(topology(server.port, rest=False)))
    assert error_of(server, b"GET", mine.encode()) == "CLUSTERDOWN The cluster is down"
    assert client.execute_command("CLUSTER INFO")["cluster_state"] == "fail"
    client.config_set("cluster-require-full-coverage", "no")
    assert client.get(mine) is None
    assert error_of(server, b"GET", nobodys.encode()) == "CLUSTERDOWN Hash slot not served"


def test_topology_pushes(member: Server) -> None:
    """Only what is newer is taken, nonsense is refused, and what was taken is on disk before OK."""
    client = member.client()
    newer = to_json(topology(member.port, epoch=5))
    assert client.execute_command("KVORUM", "TOPOLOGY", "SET", newer) == b"OK"
    assert error_of(member, b"KVORUM", b"TOPOLOGY", b"SET", to_json(topology(member.port, epoch=4))).startswith("STALE")
    assert error_of(member, b"KVORUM", b"TOPOLOGY", b"SET", b'{"service":"s"}').startswith("ERR no topology")
    overlapping = json.loads(newer)
    overlapping["shards"][0].update(epoch=9, slots=[[0, 9000]])
    refused = error_of(member, b"KVORUM", b"TOPOLOGY", b"SET", json.dumps(overlapping).encode())
    assert refused == "ERR slot 8192 belongs to both 's-0' and 's-1'"
    saved = Path(member.log.parent / "nodes.conf").read_bytes()
    assert json.loads(saved) == json.loads(newer) == json.loads(client.execute_command("KVORUM", "TOPOLOGY", "GET"))


def test_topology_survives_a_restart(member: Server, node_process: Callable[..., Server]) -> None:
    """A node that is started again knows its slots without being told."""
    member.kill()
    again = node_process(
        "--cluster-enabled", "yes", "--node-id", ME, "--service-name", "s", port=member.port, folder=member.log.parent
    )
    assert wire(again, f"SET {key_in(0, 8191)} 1".encode()) == b"+OK\r\n"


def test_cluster_replies(member: Server) -> None:
    """SLOTS, SHARDS, NODES, INFO and the counters tell one and the same topology."""
    client = member.client(decode_responses=True)
    assert client.execute_command("CLUSTER MYID") == ME
    info = client.execute_command("CLUSTER INFO")
    assert (info["cluster_state"], info["cluster_slots_assigned"], info["cluster_size"]) == ("ok", "16384", "2")
    lines = wire(member, b"CLUSTER NODES").split(b"\r\n", 1)[1].decode().splitlines()
    assert lines[0] == f"{ME} 127.0.0.1:{member.port}@{member.port + 10000} myself,master - 0 0 1 connected 0-8191"
    assert lines[1] == f"{REPLICA} 127.0.0.1:7001@17001 slave {ME} 0 0 1 connected"
    slots = wire(member, b"CLUSTER SLOTS")
    assert slots.startswith(b"*2\r\n*4\r\n:0\r\n:8191\r\n*4\r\n$9\r\n127.0.0.1\r\n")
    assert wire(member, b"CLUSTER KEYSLOT foo") == b":12182\r\n"
    mine = key_in(0, 8191)
    client.set(mine, "1")
    slot = key_slot(mine.encode())
    assert wire(member, f"CLUSTER COUNTKEYSINSLOT {slot}".encode()) == b":1\r\n"
    assert wire(member, f"CLUSTER GETKEYSINSLOT {slot} 10".encode()) == f"*1\r\n${len(mine)}\r\n{mine}\r\n".encode()


REFUSED = [
    b"CLUSTER KEYSLOT", b"CLUSTER COUNTKEYSINSLOT x", b"CLUSTER COUNTKEYSINSLOT 16384", b"CLUSTER GETKEYSINSLOT 1",
    b"CLUSTER GETKEYSINSLOT 1 -1", b"CLUSTER GETKEYSINSLOT 1 x", b"CLUSTER REPLICAS " + b"f" * 40, b"CLUSTER NOPE",
    b"CLUSTER COUNT-FAILURE-REPORTS " + b"f" * 40, b"CLUSTER", b"READONLY x", b"ASKING x",
]  # fmt: skip


@pytest.mark.parametrize("request_line", REFUSED, ids=lambda line: line.decode()[:40])
def test_errors_are_valkeys(
    member: Server, oracle_process: Callable[..., Server], free_port: Callable[[], int], request_line: bytes
) -> None:
    """Malformed cluster commands are refused in a genuine cluster node's words."""
    theirs = oracle_process("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    assert wire(member, request_line) == wire(theirs, request_line)


@pytest.mark.parametrize("line", [b"CLUSTER INFO", b"CLUSTER SLOTS", b"READONLY", b"ASKING", b"CLUSTER NOPE"])
def test_cluster_commands_of_a_plain_node(node_process: Callable[..., Server], oracle: Server, line: bytes) -> None:
    """Without cluster-enabled they are refused as Valkey does."""
    assert wire(node_process(), line) == wire(oracle, line)
