"""Key commands against genuine Valkey: replies, errors, keyspace events; SCAN and eviction on a running node."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import Server
from tests.differential.keyspace_lines import GENERIC, Command, compare, stream
from tests.differential.twins import Twins, read_reply, start_twins


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """One pair with the keyspace events of these families on (written out: Valkey shows no n beside A)."""
    with start_twins(tmp_path_factory.mktemp("generic"), "--notify-keyspace-events", "KEg$lshzxenm") as twins:
        yield twins
        twins.hang_up()


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_long_streams(servers: Twins, seed: int, protocol: int) -> None:
    """Four thousand key commands in a row, each with any good or bad arguments, answer as Valkey does."""
    compare(servers.client(protocol), stream(seed * 10 + protocol, GENERIC, 4000))


lines = st.integers(min_value=0, max_value=1 << 30).map(lambda seed: stream(seed, GENERIC, 2)[1])


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(st.lists(lines, min_size=3, max_size=40))
def test_sequences(servers: Twins, sequence: list[Command]) -> None:
    """Any short sequence answers as Valkey does."""
    twin = servers.client()
    compare(twin, [[b"FLUSHALL"], [b"SELECT", b"0"], *sequence])
    twin.close()


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(st.lists(lines, min_size=3, max_size=30))
def test_keyspace_events(servers: Twins, sequence: list[Command]) -> None:
    """A subscriber to all events hears the same from both, in the same order."""
    sequence = [command for command in sequence if command[0] not in (b"SCAN", b"KEYS", b"RANDOMKEY")]
    worker, listener = servers.client(), servers.client()
    listener.both(b"psubscribe", b"__key*__:*")
    heard: list[list[bytes]] = []
    for line, ear in ((worker.oracle, listener.oracle), (worker.node, listener.node)):
        events: list[bytes] = []
        for command in [[b"FLUSHALL"], *sequence, [b"publish", b"__key*__:", b"end"]]:
            line.ask(command)
        while not (message := read_reply(ear.file)).endswith(b"\r\nend\r\n"):
            events.append(message)
        heard.append(events)
    worker.close()
    listener.close()
    assert heard[0] == heard[1]


CASES = [
    "set a 1|rename a b|rename a b|renamenx b b|rename b b|set c 2|renamenx b c|renamenx b d|get d",
    "set a 1 ex 1000|rename a b|ttl b|copy b c|ttl c|persist c|ttl c|move b 1|select 1|ttl b|get b|flushdb|select 0",
    "set a 1|expire a 100 xx|expire a 100 gt|expire a 100 lt|expire a 100 nx|expire a 1000 gt|expire a 50 lt|ttl a",
    "set a 1|expire a 100 nx xx|expire a 100 gt lt|expire a 100 nx gt|expire a 100 foo|expire a x foo|expire a x",
    "set a 1|expire a -1|exists a|set a 1|pexpireat a 1|exists a|expire a 10|expire a 9223372036854775807",
    "set a 1|expireat a 9999999999|expiretime a|pexpiretime a|pexpireat a 9999999999999|pexpiretime a|expiretime b",
    "rpush l 1 2|copy l m|rpush m 3|llen l|llen m|copy l m|copy l m replace|llen m|copy l l|type l|object encoding l",
    "object help|object encoding none|object freq none|object refcount a b|object|object foo",
    "exists a a|set a 1|exists a a b|touch a a b|del a a|unlink a|type a",
    "scan 0 count x|scan 0 count 0|scan x|scan 0 type nothing|scan 0 match|scan 0 novalues|scan 18446744073709551616",
]


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("case", CASES)
def test_cases(servers: Twins, case: str, protocol: int) -> None:
    """What each option is for, one short story each."""
    twin = servers.client(protocol)
    twin.both("FLUSHALL")
    for line in case.split("|"):
        twin.same(line)


def test_scan_walks_everything(node_process: Callable[..., Server]) -> None:
    """SCAN with MATCH, COUNT and TYPE returns each of 3000 keys, among many slots and under one hash tag."""
    client = node_process().client()
    names = {b"key:%d" % i for i in range(1500)} | {b"{tag}%d" % i for i in range(1500)}
    client.mset(dict.fromkeys(names, 1))
    client.rpush("list", 1)
    assert set(client.scan_iter(count=50)) == names | {b"list"}
    assert set(client.scan_iter("key:*")) == {name for name in names if name.startswith(b"key:")}
    assert list(client.scan_iter(_type="list")) == [b"list"]


def test_keys_expire_on_their_own(node_process: Callable[..., Server]) -> None:
    """Without being looked at, expired keys go within moments, with their events."""
    server = node_process("--notify-keyspace-events", "Ex")
    client = server.client()
    ear = client.pubsub()
    ear.subscribe("__keyevent@0__:expired")
    assert ear.get_message(timeout=5)["type"] == "subscribe"
    for i in range(20):
        client.set(f"k{i}", 1, px=1)
    client.set("stays", 1)
    gone = {ear.get_message(timeout=5)["data"] for _ in range(20)}
    assert gone == {b"k%d" % i for i in range(20)}
    assert client.dbsize() == 1
    assert client.info("stats")["expired_keys"] == 20


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-ttl",
                                    "volatile-lfu", "volatile-random", "noeviction"])  # fmt: skip
def test_maxmemory(node_process: Callable[..., Server], policy: str) -> None:
    """At maxmemory each policy evicts what it may, and noeviction refuses writes with Valkey's text."""
    client = node_process("--maxmemory", "2mb", "--maxmemory-policy", policy).client()
    volatile = policy.startswith("volatile")
    with client.pipeline(transaction=False) as pipe:
        for i in range(4000):
            pipe.set(f"key:{i}", "x" * 900, ex=1000 + i if volatile else None)
        replies = pipe.execute(raise_on_error=False)
    refused = [reply for reply in replies if reply is not True]
    with client.pipeline() as pipe:  # a transaction: a key may be evicted before any command
        info, left = pipe.info().dbsize().execute()
    assert info["used_memory"] <= 2 * 1024 * 1024 + 4096
    if policy == "noeviction":
        assert str(refused[0]) == "command not allowed when used memory > 'maxmemory'."
        assert info["evicted_keys"] == 0
    else:
        assert refused == []
        assert info["evicted_keys"] == 4000 - left > 1000


def test_a_replica_is_told_times_and_not_durations(node_process: Callable[..., Server]) -> None:
    """What EXPIRE, SET EX, GETEX, INCRBYFLOAT and past times become in the replication stream."""
    server = node_process()
    follower = server.connect()
    follower.sendall(b"PSYNC ? -1\r\n")
    stream_file = follower.makefile("rb")
    assert stream_file.readline().startswith(b"+FULLRESYNC")
    head = stream_file.readline()
    while head == b"\n":
        head = stream_file.readline()
    if head.startswith(b"$EOF:"):
        end, body = head[5:-2], b""
        while not body.endswith(end):
            body += stream_file.read(1)
    else:
        stream_file.read(int(head[1:]))
    client = server.client()
    before = int(time.time() * 1000)
    for line in ("set a 1 ex 100", "expire a 200 gt", "getex a persist", "getex a px 5000", "incrbyfloat a 1.5",
                 "expire a -1", "set b 1", "set b 1 pxat 1", "getset c 1", "getdel c", "set end 1"):  # fmt: skip
        client.execute_command(*line.split())
    told: list[list[bytes]] = []
    while not told or told[-1][:2] != [b"set", b"end"]:
        reply = read_reply(stream_file).split(b"\r\n")
        words = reply[2::2]
        if words[0].upper() not in (b"PING", b"SELECT", b"REPLCONF"):
            told.append(words)
    follower.close()
    times = [int(word) for words in told for word in words if len(word) == 13]
    assert [time - before >= 4000 for time in times] == [True] * 3
    assert [[word for word in words if len(word) != 13] for words in told] == [
        [b"SET", b"a", b"1", b"PXAT"], [b"PEXPIREAT", b"a", b"gt"], [b"PERSIST", b"a"], [b"PEXPIREAT", b"a"],
        [b"SET", b"a", b"2.5", b"KEEPTTL"], [b"UNLINK", b"a"], [b"set", b"b", b"1"], [b"UNLINK", b"b"],
        [b"SET", b"c", b"1"], [b"DEL", b"c"], [b"set", b"end", b"1"],
    ]  # fmt: skip

def test_no_touch_leaves_the_access_clock(node_process: Callable[..., Server]) -> None:
    """CLIENT NO-TOUCH reads without counting as use, but for TOUCH; the LFU counter tells."""
    server = node_process("--maxmemory-policy", "allkeys-lfu", "--lfu-log-factor", "0")
    client, quiet = server.client(), server.client()
    client.set("k", 1)
    start = client.object("freq", "k")
    quiet.execute_command("CLIENT", "NO-TOUCH", "ON")
    for _ in range(5):
        quiet.get("k")
    assert client.object("freq", "k") == start
    quiet.execute_command("TOUCH", "k")
    client.get("k")
    assert client.object("freq", "k") == start + 2
