"""Replication with real processes: genuine Valkey follows our node, our node follows Valkey, links are cut, roles
change.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import redis

from tests.conftest import Server
from tests.system.link import Relay

PATIENCE = 60.0
DUMP_TRAILER = 10  # RDB version and checksum: Valkey 9 writes a newer version number


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until a condition holds, which it does not while a node that it asks loads its data; the test fails when
    it does not in a minute.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with contextlib.suppress(redis.BusyLoadingError):
            if condition():
                return
        time.sleep(0.02)  # the state of another process: nothing to wait on
    raise AssertionError(f"never came: {what}")


def in_sync(primary: redis.Redis, replica: redis.Redis) -> bool:
    """Whether the replica's link is up and it has applied all that the primary has written."""
    theirs = replica.info("replication")
    return theirs["master_link_status"] == "up" and (
        theirs["slave_repl_offset"] == primary.info("replication")["master_repl_offset"]
    )


def contents(client: redis.Redis) -> dict[bytes, bytes]:
    """The DUMP of each key, without its trailer; of a key that went between SCAN and DUMP, nothing."""
    keys = sorted(client.scan_iter(count=1000))
    pipe = client.pipeline(transaction=False)
    for key in keys:
        pipe.dump(key)
    dumps = zip(keys, pipe.execute(), strict=True)
    return {key: dump[:-DUMP_TRAILER] for key, dump in dumps if dump is not None}


def write(client: redis.Redis, count: int, seed: int) -> None:
    """Random writes of every type, some of them in transactions, some with a time to live far away."""
    rng = random.Random(seed)
    pipe = client.pipeline(transaction=False)
    for i in range(count):
        kind, name = rng.randrange(8), rng.randrange(300)
        if kind == 0:
            pipe.set(f"s:{name}", "v" * rng.randrange(200), ex=100_000 if rng.random() < 0.2 else None)
        elif kind == 1:
            pipe.incrby(f"n:{name}", rng.randrange(-50, 50))
        elif kind == 2:
            pipe.rpush(f"l:{name}", rng.randrange(1000), "x" * rng.randrange(100))
        elif kind == 3:
            pipe.hset(f"h:{name}", f"f{rng.randrange(200)}", rng.randrange(10**6))
        elif kind == 4:
            pipe.sadd(f"i:{name}", rng.randrange(700))
        elif kind == 5:
            pipe.zadd(f"z:{name}", {f"m{rng.randrange(200)}": rng.randrange(1000) / 4})
        elif kind == 6:
            pipe.spop(f"i:{rng.randrange(300)}")
        else:
            pipe.delete(f"{rng.choice('snlhz')}:{name}")
        if i % 500 == 499:
            pipe.execute()
    pipe.execute()


@pytest.fixture
def relay() -> Iterator[Callable[[int], Relay]]:
    """A function that makes relays to a port."""
    made: list[Relay] = []

    def make(target: int) -> Relay:
        made.append(Relay(target))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.mark.slow
def test_genuine_valkey_follows(
    node_process: Callable[..., Server], oracle_process: Callable[..., Server], relay: Callable[[int], Relay]
) -> None:
    """Full sync, 100,000 writes with the link cut in between, a partial resync, equal contents by DUMP of each key."""
    ours, theirs = node_process(), oracle_process()
    primary, replica = ours.client(), theirs.client()
    between = relay(ours.port)
    write(primary, 5_000, 1)
    replica.replicaof("127.0.0.1", between.port)
    until(lambda: in_sync(primary, replica), "the full sync")
    write(primary, 50_000, 2)
    between.cut()
    write(primary, 10_000, 3)
    between.mend()
    write(primary, 40_000, 4)
    until(lambda: in_sync(primary, replica), "the partial resync")
    assert primary.info("stats")["sync_full"] == 1
    assert primary.info("stats")["sync_partial_ok"] == 1
    expected = contents(primary)
    assert len(expected) > 1000
    assert contents(replica) == expected


def test_we_follow_genuine_valkey(
    node_process: Callable[..., Server], oracle_process: Callable[..., Server], relay: Callable[[int], Relay]
) -> None:
    """Our node takes Valkey's snapshot and stream, and continues after the link was cut."""
    theirs, ours = oracle_process(), node_process()
    primary, replica = theirs.client(), ours.client()
    between = relay(theirs.port)
    write(primary, 3_000, 5)
    replica.replicaof("127.0.0.1", between.port)
    until(lambda: in_sync(primary, replica), "the full sync")
    between.cut()
    write(primary, 3_000, 6)
    between.mend()
    until(lambda: in_sync(primary, replica), "the partial resync")
    assert primary.info("stats")["sync_full"] == 1
    assert contents(replica) == contents(primary)


def test_write_during_full_sync(node_process: Callable[..., Server], oracle_process: Callable[..., Server]) -> None:
    """What is written while the snapshot walks reaches the replica once, whether its slot was written out or not."""
    ours, theirs = node_process(), oracle_process()
    primary, replica = ours.client(), theirs.client()
    write(primary, 20_000, 7)
    primary.set("counter", 0)
    replica.replicaof("127.0.0.1", ours.port)
    for number in range(40):
        write(primary, 100, 100 + number)
        primary.incr("counter")
    until(lambda: in_sync(primary, replica), "the full sync")
    assert replica.get("counter") == b"40"
    assert contents(replica) == contents(primary)


def test_nothing_follows_a_snapshot_before_its_acknowledgement(node_process: Callable[..., Server]) -> None:
    """A replica looks for the mark at the end of what it reads: what was written meanwhile waits until it has answered.

    Genuine Valkey never ended its synchronisation when bytes of the stream came with the mark.
    """
    server = node_process()
    primary = server.client()
    with server.connect() as link:
        link.sendall(b"REPLCONF capa eof capa psync2\r\n")
        assert link.recv(100) == b"+OK\r\n"
        link.sendall(b"PSYNC ? -1\r\n")
        received = b""
        while b"\r\n" not in received.partition(b"$EOF:")[2]:
            received += link.recv(4096)
        primary.set("meanwhile", 1)
        mark = received.partition(b"$EOF:")[2][:40]
        while received.count(mark) < 2:
            received += link.recv(65536)
        assert received.endswith(mark)
        primary.set("later", 1)
        assert primary.info("replication")["slave0"]["state"] == "send_bulk"
        link.setblocking(False)
        with pytest.raises(BlockingIOError):
            link.recv(1)
        link.setblocking(True)
        link.sendall(b"REPLCONF ACK 1\r\n")
        stream = b""
        while b"later" not in stream:
            stream += link.recv(4096)
        assert 0 < stream.index(b"meanwhile") < stream.index(b"later")
        assert primary.info("replication")["slave0"]["state"] == "online"


def test_promotion_keeps_the_history(node_process: Callable[..., Server]) -> None:
    """After a promotion the other replica and the old primary continue with the new one without a full sync."""
    first, second, third = node_process(), node_process(), node_process()
    one, two, three = first.client(), second.client(), third.client()
    write(one, 1_000, 8)
    for client in (two, three):
        client.replicaof("127.0.0.1", first.port)
    until(lambda: in_sync(one, two) and in_sync(one, three), "both full syncs")
    assert one.wait(2, 5000) == 2
    two.replicaof("NO", "ONE")
    two.set("after", "promotion")
    three.replicaof("127.0.0.1", second.port)
    one.replicaof("127.0.0.1", second.port)
    until(lambda: in_sync(two, three) and in_sync(two, one), "the new order")
    stats = two.info("stats")
    assert (stats["sync_full"], stats["sync_partial_ok"]) == (0, 2)
    assert contents(one) == contents(two) == contents(three)


def test_replica_of_a_replica(node_process: Callable[..., Server]) -> None:
    """A chain passes the stream on byte for byte: offsets and history are the first primary's everywhere."""
    first, second, third = node_process(), node_process(), node_process()
    one, two, three = first.client(), second.client(), third.client()
    write(one, 500, 9)
    two.replicaof("127.0.0.1", first.port)
    until(lambda: in_sync(one, two), "the first link")
    three.replicaof("127.0.0.1", second.port)
    until(lambda: in_sync(one, three), "the second link")
    write(one, 500, 10)
    until(lambda: in_sync(one, three), "the stream through the chain")
    assert three.info("replication")["master_replid"] == one.info("replication")["master_replid"]
    assert contents(three) == contents(one)


def test_replica_refuses_writes(node_process: Callable[..., Server]) -> None:
    """A replica is read-only for clients, and expired keys are hidden though only the primary removes them."""
    first, second = node_process(), node_process()
    one, two = first.client(), second.client()
    one.set("short", "1", px=50)
    one.set("long", "1")
    two.replicaof("127.0.0.1", first.port)
    until(lambda: in_sync(one, two), "the full sync")
    with pytest.raises(redis.ReadOnlyError, match="You can't write against a read only replica"):
        two.set("long", "2")
    until(lambda: two.get("short") is None, "the key is hidden")
    assert two.get("long") == b"1"


def test_wait_counts_replicas(node_process: Callable[..., Server]) -> None:
    """WAIT answers with the replicas that have the write, and with fewer when its time is up."""
    first, second = node_process(), node_process()
    one, two = first.client(), second.client()
    two.replicaof("127.0.0.1", first.port)
    until(lambda: in_sync(one, two), "the full sync")
    one.set("a", "1")
    assert one.wait(1, 5000) == 1
    assert one.wait(2, 100) == 1
    second.kill()
    until(lambda: one.info("replication")["connected_slaves"] == 0, "the replica is gone")
    one.set("a", "2")
    assert one.wait(1, 50) == 0


def test_min_replicas_to_write(node_process: Callable[..., Server]) -> None:
    """With min-replicas-to-write a primary without good replicas refuses writes by NOREPLICAS and serves reads."""
    one = node_process("--min-replicas-to-write", "1").client()
    with pytest.raises(redis.ResponseError, match="NOREPLICAS Not enough good replicas to write"):
        one.set("a", "1")
    assert one.get("a") is None


@pytest.mark.parametrize("clients", [1, 8])
def test_acknowledged_writes_survive_a_kill(node_process: Callable[..., Server], clients: int) -> None:
    """A reply leaves after the write was handed to the replicas: the SIGKILL of the primary's process loses nothing."""
    first, second = node_process(), node_process()
    one, two = first.client(), second.client()
    two.replicaof("127.0.0.1", first.port)
    until(lambda: in_sync(one, two), "the full sync")
    acknowledged = [0] * clients
    begun = threading.Semaphore(0)

    def run(number: int) -> None:
        with redis.Redis(port=first.port, retry=None) as client, contextlib.suppress(redis.RedisError, OSError):
            while True:
                client.set(f"w:{number}:{acknowledged[number]}", 1)
                acknowledged[number] += 1
                if acknowledged[number] == 200:
                    begun.release()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for _ in threads:
        begun.acquire(timeout=PATIENCE)
    first.kill()
    for thread in threads:
        thread.join(PATIENCE)
    until(lambda: two.info("replication")["master_link_status"] == "down", "the loss is noticed")
    two.replicaof("NO", "ONE")
    missing = [
        (number, i)
        for number in range(clients)
        for i in range(acknowledged[number])
        if not two.exists(f"w:{number}:{i}")
    ]
    assert sum(acknowledged) >= 200 * clients
    assert missing == []


def test_a_synchronisation_behind_unsent_replies_is_refused(node_process: Callable[..., Server]) -> None:
    """SYNC in one packet with a command before it is refused, since the reply would lie in the stream; as Valkey."""
    with node_process().connect() as link, link.makefile("rb") as replies:
        link.sendall(b"PING\r\nSYNC\r\n")
        assert replies.readline() == b"+PONG\r\n"
        assert replies.readline() == b"-ERR SYNC and PSYNC are invalid with pending output\r\n"
