"""MIGRATE between two of our nodes, and to and from genuine Valkey: keys move whole, errors are Valkey's."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import pytest
import redis

from tests.conftest import Server

Start = Callable[..., Server]


def fill(client: redis.Redis) -> list[str]:
    """One key of each type, some with a time to live; returns their names."""
    client.set("string", "v" * 100, px=10_000_000)
    client.set("number", 17)
    client.rpush("list", *range(300))
    client.sadd("ints", 1, 2, 3)
    client.sadd("set", *[f"m{i}" for i in range(300)])
    client.zadd("zset", {f"m{i}": i / 4 for i in range(300)})
    client.hset("hash", mapping={f"f{i}": i for i in range(20)})
    client.hset("timed", mapping={"a": 1, "b": 2})
    client.execute_command("hpexpireat", "timed", 1900000000123, "fields", 1, "a")
    return ["string", "number", "list", "ints", "set", "zset", "hash", "timed"]


def digests(client: redis.Redis, keys: list[str]) -> list[bytes]:
    """Digests of the values."""
    return list(client.execute_command("debug", "digest-value", *keys))


@pytest.mark.parametrize("pair", ["ours-ours", "ours-oracle", "oracle-ours"])
def test_keys_move(node_process: Start, oracle_process: Start, pair: str) -> None:
    """Single keys and many at once arrive with their times to live, and are gone here; COPY leaves them."""
    kinds = {"ours": lambda: node_process("--enable-debug-command", "yes"), "oracle": oracle_process}
    one, other = (kinds[name]() for name in pair.split("-"))
    source, target = one.client(), other.client()
    keys = fill(source)
    expected = digests(source, keys)
    reply = source.execute_command("migrate", "127.0.0.1", other.port, "string", 0, 5000, "copy")
    assert reply == b"OK"
    assert source.exists("string") == 1
    with pytest.raises(redis.ResponseError, match="Target instance replied with error: BUSYKEY"):
        source.execute_command("migrate", "127.0.0.1", other.port, "string", 0, 5000)
    assert source.exists("string") == 1
    assert source.execute_command(
        "migrate", "127.0.0.1", other.port, "", 0, 5000, "replace", "keys", *keys, "missing"
    ) == b"OK"  # fmt: skip
    assert source.dbsize() == 0
    assert digests(target, keys) == expected
    assert 9_000_000 < target.pttl("string") <= 10_000_000
    assert target.execute_command("hpexpiretime", "timed", "fields", 2, "a", "b") == [1900000000123, -1]
    assert source.execute_command("migrate", "127.0.0.1", other.port, "string", 0, 5000) == b"NOKEY"


def test_to_another_database_with_a_password(node_process: Start) -> None:
    """AUTH and AUTH2 are said first, the database is chosen; a wrong password moves nothing."""
    one, other = node_process(), node_process("--requirepass", "secret")
    source, target = one.client(), other.client(password="secret", db=3)
    for number in range(4):
        source.set(f"k{number}", number)
    move = ["migrate", "127.0.0.1", other.port]
    with pytest.raises(redis.ResponseError, match="NOAUTH"):
        source.execute_command(*move, "k0", 3, 5000)
    with pytest.raises(redis.ResponseError, match="WRONGPASS"):
        source.execute_command(*move, "k0", 3, 5000, "auth", "wrong")
    assert source.exists("k0") == 1
    source.execute_command(*move, "k0", 3, 5000, "auth", "secret")
    source.execute_command(*move, "k1", 3, 5000, "auth2", "default", "secret")
    assert target.keys("*") and source.exists("k0", "k1") == 0
    pipe = source.pipeline(transaction=True)
    pipe.execute_command(*move, "k2", 3, 5000, "auth", "secret")
    pipe.exists("k2")
    assert pipe.execute() == [b"OK", 0]
    assert sorted(target.keys("*")) == [b"k0", b"k1", b"k2"]


@pytest.mark.parametrize("arguments", [
    ["k", 0, 100, "bogus"], ["k", 0, 100, "auth"], ["k", "x", 100], ["k", 0, "x"], ["k", 0, 100, "keys", "a"],
    ["", 0, 100, "auth2", "a"], ["none", 0, 100], ["k", 0, 100], ["k", 0, 100, "copy", "replace"],
    ["", 0, 100, "keys", "k", "none"], ["", 0, 100, "keys", "none"], ["k", 0, -1],
])  # fmt: skip
def test_errors(
    node_process: Start, oracle_process: Start, free_port: Callable[[], int], arguments: list[object]
) -> None:
    """Wrong arguments, missing keys and a target that is not there are answered as by Valkey."""
    answers = []
    nowhere = free_port()
    for server in (node_process(), oracle_process()):
        client = server.client()
        client.set("k", "v")
        try:
            answers.append(client.execute_command("migrate", "127.0.0.1", nowhere, *arguments))
        except redis.ResponseError as error:
            answers.append(str(error))
    assert answers[0] == answers[1]


class Target:
    """A server that reads MIGRATE's request and answers when it is told to."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.asked = threading.Event()
        self.go = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        link, _ = self._listener.accept()
        with link:
            link.recv(65536)
            self.asked.set()
            self.go.wait(20)
            link.sendall(b"+OK\r\n+OK\r\n")
            self.go.clear()
            self.go.wait(5)

    def close(self) -> None:
        """The end."""
        self.go.set()
        self._listener.close()


@pytest.mark.parametrize("change", [False, True])
def test_others_are_served_meanwhile(node_process: Start, change: bool) -> None:
    """Other clients go on while a key is on its way; one that they change is not deleted, and the client is told."""
    one = node_process()
    source, mover, target = one.client(), one.client(socket_timeout=20), Target()
    source.rpush("k", "a")
    outcome: list[object] = []

    def move() -> None:
        try:
            outcome.append(mover.execute_command("migrate", "127.0.0.1", target.port, "k", 0, 10000))
        except redis.ResponseError as error:
            outcome.append(str(error))

    thread = threading.Thread(target=move)
    thread.start()
    assert target.asked.wait(10)
    assert source.lrange("k", 0, -1) == [b"a"]
    if change:
        source.rpush("k", "b")
    target.go.set()
    thread.join(10)
    target.close()
    if change:
        assert "IOERR" in str(outcome[0])
        assert source.lrange("k", 0, -1) == [b"a", b"b"]
    else:
        assert outcome == [b"OK"]
        assert source.exists("k") == 0


def test_a_target_that_says_nothing(node_process: Start) -> None:
    """The timeout counts for each step, and leaves the key where it is."""
    one = node_process()
    source, target = one.client(), Target()
    source.set("k", "v")
    with pytest.raises(redis.ResponseError, match="IOERR error or timeout reading from target instance"):
        source.execute_command("migrate", "127.0.0.1", target.port, "k", 0, 50)
    assert source.get("k") == b"v"
    target.close()


def test_a_replica_hears_of_it(node_process: Start) -> None:
    """The deletion is propagated."""
    one, other, third = node_process(), node_process(), node_process()
    source, replica = one.client(), third.client()
    keys = fill(source)
    replica.replicaof("127.0.0.1", one.port)
    while replica.info("replication")["master_link_status"] != "up":
        pass
    source.execute_command("migrate", "127.0.0.1", other.port, "", 0, 5000, "keys", *keys)
    source.set("after", 1)
    assert source.wait(1, 10000) == 1
    assert replica.keys("*") == [b"after"]
