"""A service of one shard behind the proxy: all commands pass, and its primary may die."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Server
from tests.system.proxy_rig import Rig, Wire, command, single_rig, topology_of, wait_for


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A primary with a replica, for tests that kill nothing."""
    yield from single_rig(tmp_path_factory.mktemp("single"))


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A primary with a replica, for a test that kills the primary."""
    yield from single_rig(tmp_path, "--park-timeout-ms", "4000")


# --- all commands pass
def test_commands_over_any_keys(shared: Rig) -> None:
    """Nothing is refused for its slots: RENAME, MSETNX, transactions, SCAN and SWAPDB work as on one server."""
    r = shared.client(decode_responses=True)
    r.flushall()
    assert r.msetnx({"a": 1, "b": 2}) is True
    assert r.rename("a", "c") is True
    assert r.blpop(["x", "y"], timeout=0.01) is None
    pipe = r.pipeline()
    pipe.set("x", 1).set("y", 2).dbsize().scan(0)
    done = pipe.execute()
    assert done[:3] == [True, True, 4]
    assert sorted(done[3][1]) == ["b", "c", "x", "y"]
    assert sorted(r.scan_iter()) == ["b", "c", "x", "y"]


def test_commands_that_the_catalog_lacks(shared: Rig) -> None:
    """What only the node knows reaches it, alone and in a transaction; what nobody knows gets the node's refusal."""
    with shared.wire() as wire:
        wire.ask("DEL", "stream")
        assert wire.ask("XADD", "stream", "1-1", "f", "v") == b"$3\r\n1-1\r\n"
        assert wire.ask("EVAL", "return redis.call('XLEN', KEYS[1])", 1, "stream") == b":1\r\n"
        assert wire.ask("NOSUCH", "a") == b"-ERR unknown command 'NOSUCH', with args beginning with: 'a' \r\n"
        wire.raw(command("MULTI") + command("XADD", "stream", "2-1", "f", "v") + command("EXEC"))
        assert [wire.reply() for _ in range(3)] == [b"+OK\r\n", b"+QUEUED\r\n", b"*1\r\n$3\r\n2-1\r\n"]
        wire.raw(command("MULTI") + command("NOSUCH") + command("EXEC"))
        assert [wire.reply() for _ in range(3)][2].startswith(
            b"-EXECABORT Transaction discarded because of: ERR unknown"
        )


def test_databases_are_the_clients_own(shared: Rig) -> None:
    """SELECT n holds for the client that said so, pipelined or not, and for its blocking and watched commands."""
    r = shared.client(decode_responses=True)
    r.flushall()
    with shared.wire() as one, shared.wire() as two:
        one.raw(
            command("SET", "k", 0)
            + command("SELECT", 3)
            + command("SET", "k", 3)
            + command("SELECT", 0)
            + command("GET", "k")
        )
        assert [one.reply() for _ in range(5)] == [b"+OK\r\n"] * 4 + [b"$1\r\n0\r\n"]
        assert two.ask("SELECT", 3) == b"+OK\r\n"
        assert two.ask("GET", "k") == b"$1\r\n3\r\n"
        assert two.ask("SELECT", 99) == b"-ERR DB index is out of range\r\n"
        assert two.ask("SELECT", "x") == b"-ERR value is not an integer or out of range\r\n"
        assert two.ask("DBSIZE") == b":1\r\n"
        two.send("BLPOP", "q", 0)
        wait_for(lambda: r.info("clients")["blocked_clients"] == 1)
        assert one.ask("RPUSH", "q", "wrong") == b":1\r\n"
        assert one.ask("SELECT", 3) == b"+OK\r\n"
        assert one.ask("RPUSH", "q", "right") == b":1\r\n"
        assert two.reply() == b"*2\r\n$1\r\nq\r\n$5\r\nright\r\n"
        assert two.ask("WATCH", "k") == b"+OK\r\n"
        assert one.ask("INCR", "k") == b":4\r\n"
        two.raw(command("MULTI") + command("GET", "k") + command("EXEC"))
        assert [two.reply() for _ in range(3)] == [b"+OK\r\n", b"+QUEUED\r\n", b"*-1\r\n"]


def test_protocols_do_not_mix(shared: Rig) -> None:
    """Clients of both protocols at once each get their own form, also of errors inside MULTI."""
    with shared.wire() as two, shared.wire() as three:
        three.ask("HELLO", 3)
        two.raw(command("DEL", "h") + command("HSET", "h", "f", "v") + command("HGETALL", "h") + command("GET", "no"))
        three.raw(command("ECHO", "x") + command("PING") + command("GET", "no") + command("HGETALL", "no"))
        assert [two.reply() for _ in range(4)][2:] == [b"*2\r\n$1\r\nf\r\n$1\r\nv\r\n", b"$-1\r\n"]
        assert [three.reply() for _ in range(4)][2:] == [b"_\r\n", b"%0\r\n"]
        assert three.ask("HGETALL", "h") == b"%1\r\n$1\r\nf\r\n$1\r\nv\r\n"
        three.raw(command("GET", "no") + command("HELLO", 2) + command("GET", "no"))
        assert three.reply() == b"_\r\n"
        assert three.reply().startswith(b"*14\r\n")
        assert three.reply() == b"$-1\r\n"


def test_wait_holds_up_nobody_else(shared: Rig) -> None:
    """WAIT answers once the replica has the client's write; one that cannot be met ends at its timeout, alone."""
    with shared.wire() as wire, shared.wire() as other:
        wire.raw(command("SET", "w", 1) + command("WAIT", 1, 10000) + command("PING"))
        assert [wire.reply() for _ in range(3)] == [b"+OK\r\n", b":1\r\n", b"+PONG\r\n"]
        wire.send("WAIT", 9, 1500)
        for n in range(100):
            assert other.ask("SET", "x", n) == b"+OK\r\n"
        assert wire.reply() == b":1\r\n"
        assert wire.ask("WAIT", "x", 1) == b"-ERR value is not an integer or out of range\r\n"
        assert wire.ask("WAIT", 1, -1) == b"-ERR timeout is negative\r\n"


def test_a_transaction_that_a_node_refuses_says_why(shared: Rig) -> None:
    """What a node refuses while queueing comes as EXECABORT with the reason."""
    with shared.wire() as wire:
        wire.raw(command("MULTI") + command("HSET", "h", "f") + command("SET", "a") + command("EXEC"))
        replies = [wire.reply() for _ in range(4)]
    assert replies[0] == b"+OK\r\n"
    assert replies[2] == b"-ERR wrong number of arguments for 'set' command\r\n"
    assert replies[3].startswith(b"-EXECABORT")


def test_a_subscription_takes_effect_before_what_another_client_asks_then(shared: Rig) -> None:
    """A client leaves many channels and joins one, another asks, and what is published then is not missed: so task
    queues wait for results.
    """
    with shared.wire() as sub, shared.wire() as other, Wire(shared.nodes[0].port) as node:
        for i in range(30):
            left, joined = [f"left:{i}:{n}" for n in range(50)], f"joined:{i}"
            sub.send("SUBSCRIBE", *left)
            assert {sub.reply()[:17] for _ in left} == {b"*3\r\n$9\r\nsubscribe"}
            sub.raw(b"".join(command("UNSUBSCRIBE", name) for name in left) + command("SUBSCRIBE", joined))
            other.ask("GET", joined)
            assert node.ask("PUBLISH", joined, "done") == b":1\r\n", i
            replies = [sub.reply() for _ in range(52)]
            assert [reply.rpartition(b":")[2] for reply in replies[:50]] == [b"%d\r\n" % n for n in range(49, -1, -1)]
            assert replies[50].endswith(b":1\r\n")
            assert replies[51].endswith(b"$4\r\ndone\r\n")
            sub.ask("UNSUBSCRIBE")


def test_replies_come_behind_the_confirmations_before_them(shared: Rig) -> None:
    """Commands among changes of subscriptions are answered in their order, known or not."""
    with shared.wire() as sub:
        sub.ask("HELLO", 3)
        sub.raw(
            command("SUBSCRIBE", "a", "b") + command("UNSUBSCRIBE", "a") + command("ECHO", "x")
            + command("PSUBSCRIBE", "*") + command("NOSUCH")
            + command("PUNSUBSCRIBE") + command("UNSUBSCRIBE") + command("GET", "none")
        )  # fmt: skip
        replies = [sub.reply() for _ in range(9)]
        assert [reply[-4:] for reply in replies[:3]] == [b":1\r\n", b":2\r\n", b":1\r\n"]
        assert replies[3] == b"$1\r\nx\r\n"
        assert replies[4].endswith(b":2\r\n")
        assert replies[5].startswith(b"-ERR unknown command")
        assert [reply[-4:] for reply in replies[6:8]] == [b":1\r\n", b":0\r\n"]
        assert replies[8] == b"_\r\n"


# --- failover
def test_commands_wait_for_the_next_primary(rig: Rig) -> None:
    """After the primary was killed, commands of all kinds wait, and are answered by the promoted replica."""
    r = rig.client(decode_responses=True, socket_timeout=20)
    assert r.set("before", 1) is True
    wait_for(lambda: rig.replicas[0] is not None and rig.replicas[0].client().get("before") == b"1")
    with rig.wire() as pops, rig.wire() as sub, rig.wire() as tx:
        pops.send("BLPOP", "queue", 0)
        wait_for(lambda: r.info("clients")["blocked_clients"] == 1)
        sub.ask("SUBSCRIBE", "news")
        assert tx.ask("MULTI") == b"+OK\r\n"
        rig.nodes[0].kill()
        with rig.wire() as wire:
            wire.raw(command("GET", "before") + command("INCR", "n") + command("PING") + command("INCR", "n"))
            tx.raw(command("INCR", "t") + command("INCR", "t") + command("EXEC"))
            rig.promote(0, 2)
            assert [wire.reply() for _ in range(4)] == [b"$1\r\n1\r\n", b":1\r\n", b"+PONG\r\n", b":2\r\n"]
            assert [tx.reply() for _ in range(3)] == [b"+QUEUED\r\n"] * 2 + [b"*2\r\n:1\r\n:2\r\n"]
            wait_for(lambda: r.info("clients")["blocked_clients"] == 1)
            assert wire.ask("RPUSH", "queue", "job") == b":1\r\n"
            assert pops.reply() == b"*2\r\n$5\r\nqueue\r\n$3\r\njob\r\n"
            wait_for(lambda: r.pubsub_numsub("news")[0][1] == 1)
            assert wire.ask("PUBLISH", "news", "again") == b":1\r\n"
            assert sub.reply() == b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nagain\r\n"


def test_a_demoted_primary_is_left_in_order(rig: Rig) -> None:
    """A planned change: writes that the old primary refuses as READONLY go to the new one, none lost or swapped."""
    replies: list[bytes] = []
    total = 3000

    def push() -> None:
        with rig.wire() as wire:
            for start in range(0, total, 10):
                wire.raw(b"".join(command("RPUSH", "list", n) for n in range(start, start + 10)))
                replies.extend(wire.reply() for _ in range(10))

    thread = threading.Thread(target=push)
    thread.start()
    wait_for(lambda: len(replies) > 300)
    old, new = rig.nodes[0].client(), rig.replicas[0]
    assert new is not None
    old.execute_command("CLIENT", "PAUSE", 10000, "WRITE")
    wait_for(lambda: old.info("replication")["slave0"]["offset"] == old.info("replication")["master_repl_offset"])
    new.client().replicaof("NO", "ONE")
    old.replicaof("127.0.0.1", new.port)
    old.execute_command("CLIENT", "UNPAUSE")
    rig.sentinel.publish(topology_of([new], [rig.nodes[0]], 2))
    thread.join(30)

    assert len(replies) == total
    assert [int(value) for value in new.client().lrange("list", 0, -1)] == list(range(total))
    assert replies == [b":%d\r\n" % (n + 1) for n in range(total)]


@pytest.mark.parametrize("told", ["close", "error"])
def test_a_write_under_way_has_an_unknown_outcome(rig: Rig, told: str) -> None:
    """A write that had reached the primary when it died is not repeated and not called done; a read is repeated."""
    rig.end_proxy()
    rig.start("--unknown-outcome", told)
    r = rig.client(socket_timeout=20)
    r.set("n", 5)
    replica = rig.replicas[0]
    assert replica is not None
    wait_for(lambda: replica.client().get("n") == b"5")
    with rig.wire() as wire:
        assert wire.ask("GET", "n") == b"$1\r\n5\r\n"
        os.kill(rig.nodes[0].pid, signal.SIGSTOP)
        wire.raw(command("GET", "n") + command("INCR", "n"))
        wait_for(lambda: unread(rig.nodes[0]) > 0)
        rig.nodes[0].kill()
        rig.promote(0, 2)
        assert wire.reply() == b"$1\r\n5\r\n"
        if told == "close":
            assert wire.closed()
        else:
            assert wire.reply() == (
                b"-ERR the outcome of this command is unknown: the connection to the shard was lost while it ran\r\n"
            )
            assert wire.ask("GET", "n") == b"$1\r\n5\r\n"
    assert r.get("n") == b"5"


def unread(server: Server) -> int:
    """Bytes that wait in the kernel for a stopped server."""
    waiting = 0
    with open("/proc/net/tcp") as table:
        for line in table.readlines()[1:]:
            fields = line.split()
            if int(fields[1].partition(":")[2], 16) == server.port:
                waiting += int(fields[4].partition(":")[2], 16)
    return waiting


def test_watched_keys_do_not_survive_a_failover(rig: Rig) -> None:
    """EXEC after the loss of the connection that watched is answered as if the keys had changed."""
    r = rig.client(socket_timeout=20)
    r.set("n", 5)
    with rig.wire() as wire:
        assert wire.ask("WATCH", "n") == b"+OK\r\n"
        rig.nodes[0].kill()
        rig.promote(0, 2)
        wire.raw(command("MULTI") + command("INCR", "n") + command("EXEC"))
        assert [wire.reply() for _ in range(3)] == [b"+OK\r\n", b"+QUEUED\r\n", b"*-1\r\n"]
        wire.raw(command("MULTI") + command("SET", "n", 7) + command("EXEC"))
        assert [wire.reply() for _ in range(3)] == [b"+OK\r\n", b"+QUEUED\r\n", b"*1\r\n+OK\r\n"]


def test_waiting_has_an_end(tmp_path: Path) -> None:
    """Without a new primary a command is refused after park-timeout-ms, and above park-bytes at once."""
    for rig in single_rig(tmp_path, "--park-timeout-ms", "700", "--park-bytes", "1000"):
        rig.client().set("a", 1)
        rig.nodes[0].kill()
        with rig.wire() as wire, Wire(rig.port) as other:
            wire.send("SET", "a", 2)
            other.raw(command("SET", "b", "x" * 900) + command("SET", "c", "x" * 900))
            assert other.reply().startswith(b"-CLUSTERDOWN The cluster is down: ")
            assert b"too many commands are waiting" in other.reply()
            assert wire.reply().startswith(b"-CLUSTERDOWN The cluster is down: no primary of this shard")
            assert wire.ask("PING") == b"+PONG\r\n"
