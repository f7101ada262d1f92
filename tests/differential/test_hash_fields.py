"""Hash fields with a time to live against genuine Valkey: replies, errors, encodings, events, payloads, replicas."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

import pytest
import redis

from tests.conftest import Server
from tests.differential.harness import Session, check, parse, report, seeds
from tests.differential.sequences import heard
from tests.differential.twins import Twins, start_twins

Words = list[bytes]

KEYS = [b"h", b"h", b"h", b"g", b"str", b"none"]
FIELDS = [b"a", b"b", b"c", b"d", b"12", b"", b"longer-than-8"]
FAR = [b"1900000000", b"1900000100", b"2000000000"]
TIMES: dict[bytes, Words] = {
    b"hexpire": [b"100000", b"200000", b"0", b"-1", b"x", b"9223372036854775807", b"9223372036854775"],
    b"hpexpire": [b"100000000", b"200000000", b"0", b"-5", b"1.5", b"9223372036854775807"],
    b"hexpireat": [*FAR, b"1", b"0", b"-1", b"", b"9223372036854775807"],
    b"hpexpireat": [*[at + b"123" for at in FAR], b"1", b"0", b"-1", b"9223372036854775807"],
}
UNITS: dict[bytes, Words] = {
    b"ex": TIMES[b"hexpire"], b"px": TIMES[b"hpexpire"], b"exat": TIMES[b"hexpireat"], b"pxat": TIMES[b"hpexpireat"],
}  # fmt: skip
CONDITIONS = [b"nx", b"XX", b"gt", b"Lt"]


def _some(rng: random.Random, values: Words, most: int) -> Words:
    return [rng.choice(values) for _ in range(rng.randint(1, most))]


def _time(rng: random.Random, choices: Words) -> bytes:
    """A time of those, or in place of a far one another, so that clocks do not decide which of two is later."""
    time = rng.choice(choices)
    if len(time) >= 6 and time.isdigit() and len(time) < 15:
        return b"%d" % (int(time) + rng.randrange(10 ** (len(time) - 1)))
    return time


def _fields(rng: random.Random, values: bool = False) -> Words:
    """FIELDS, a number, and fields; now and then something is wrong with them."""
    fields = _some(rng, FIELDS, 4)
    number = b"%d" % len(fields)
    if rng.random() < 0.06:
        number = rng.choice([b"0", b"-1", b"5", b"x", b"9223372036854775807", b""])
    word = rng.choices([b"FIELDS", b"fields", b"field"], [10, 10, 1])[0]
    if values:
        fields = [word for field in fields for word in (field, rng.choice([b"1", b"v", b"10", b"2.5", b"x" * 9]))]
    return [word, number, *fields]


def _expiry(rng: random.Random, others: Words) -> Words:
    """None, one, or now and then two of the options of HGETEX and HSETEX."""
    options: Words = []
    for _ in range(rng.choices([0, 1, 2, 3], [3, 6, 1, 1])[0]):
        if others and rng.random() < 0.4:
            options.append(rng.choice(others))
        else:
            unit = rng.choice(list(UNITS))
            options += [unit.upper() if rng.random() < 0.3 else unit, _time(rng, UNITS[unit])]
    return options


def _command(rng: random.Random) -> Words:
    key = rng.choice(KEYS)
    kind = rng.randrange(16)
    if kind < 4:
        name = rng.choice(list(TIMES))
        conditions = _some(rng, [*CONDITIONS, b"bogus"], 2) if rng.random() < 0.4 else []
        return [name, key, _time(rng, TIMES[name]), *conditions, *_fields(rng)]
    if kind == 4:
        return [rng.choice([b"httl", b"hpttl", b"hexpiretime", b"hpexpiretime"]), key, *_fields(rng)]
    if kind == 5:
        return [b"hpersist", key, *_fields(rng)]
    if kind == 6:
        return [b"hgetdel", key, *_fields(rng)]
    if kind == 7:
        return [b"hgetex", key, *_expiry(rng, [b"persist"]), *_fields(rng)]
    if kind < 10:
        options = [b"keepttl", b"nx", b"XX", b"fnx", b"FXX", b"persist"]
        return [b"hsetex", key, *_expiry(rng, options), *_fields(rng, values=True)]
    return _plain(rng, key)


def _plain(rng: random.Random, key: bytes) -> Words:
    """A command that knows nothing of times to live."""
    pairs = [word for _ in range(rng.randint(1, 3)) for word in (rng.choice(FIELDS), rng.choice([b"1", b"2", b"x"]))]
    return rng.choice([
        [b"hset", key, *pairs], [b"hset", key, *pairs], [b"hmset", key, *pairs],
        [b"hsetnx", key, *pairs[:2]], [b"hincrby", key, pairs[0], b"1"], [b"hincrbyfloat", key, pairs[0], b"0.5"],
        [b"hdel", key, *pairs[::2]], [b"hlen", key], [b"hgetall", key], [b"hmget", key, *FIELDS],
        [b"object", b"encoding", key], [b"rename", key, b"h"],
        [b"hscan", key, b"0", b"count", b"1000"], [b"hstrlen", key, pairs[0]], [b"hexists", key, pairs[0]],
        [b"debug", b"digest-value", key], [b"dump", key],
    ])  # fmt: skip


# A hash with three expired fields that nobody has removed yet, and one that lives.
EXPIRED: list[Words] = [line.split() for line in (
    b"debug set-active-expire 0", b"hset h a 1 b 2 c 3 12 4", b"hpexpire h 1 fields 3 a b 12", b"set str x",
    b"hset gone a 1 b 2", b"hpexpire gone 1 fields 2 a b", b"debug sleep 0.01",
)]  # fmt: skip


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """One pair with a small threshold and keyspace events."""
    limits = ["--hash-max-listpack-entries", "6", "--hash-max-listpack-value", "8"]
    with start_twins(tmp_path_factory.mktemp("fields"), *limits, "--notify-keyspace-events", "KEA") as twins:
        yield twins
        twins.hang_up()


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("expired", [False, True])
def test_generated(servers: Twins, protocol: int, expired: bool) -> None:
    """Random commands over hashes whose fields expire agree, with fields already expired and without."""
    count = 0
    for seed in seeds(11):
        rng = random.Random(seed)
        for _ in range(15):
            steps = [_command(rng) for _ in range(100)]
            setup = EXPIRED if expired else [[b"set", b"str", b"x"]]
            count += check(lambda: Session(servers, protocol, packed=False), setup, steps, seed)
    report(f"hash fields: {count} commands agree")


def test_inside_a_transaction(servers: Twins) -> None:
    """The same between MULTI and EXEC."""
    for seed in seeds(12):
        rng = random.Random(seed)
        steps: list[Words] = []
        for _ in range(20):
            steps += [[b"multi"], *[_command(rng) for _ in range(8)], [b"exec"]]
        check(lambda: Session(servers, 2, packed=False), EXPIRED, steps, seed)


def test_events(servers: Twins) -> None:
    """Each command sends the events that Valkey sends, in its order."""
    for seed in seeds(13):
        rng = random.Random(seed)
        for _ in range(40):
            sequence = [*EXPIRED, *[_command(rng) for _ in range(8)]]
            theirs, ours = heard(servers, sequence)
            assert theirs == ours, f"KVORUM_DIFF_SEED={seed}: {sequence}"


LINES = """hexpire k
hexpire k 1 fields 1
hexpire k 10 nx a b c
hexpire k abc bogus fields 1 a
hexpire k abc fields 0 a
hexpire k 10 fields fields 1 a
hexpire str 10 fields 1 a
hexpire none 10 fields 2 a b
hexpire k 10 nx gt fields 1 a
hexpire k 10 gt lt fields 1 a
httl k fields 0 a
httl k field 1 a
httl str fields 1 a
httl none fields 2 a b
hpersist k fields 2 a
hpersist k fiel 1 a
hgetex k fields
hgetex k ex fields 1 a
hgetex k ex 10 px 10 fields 1 a
hgetex k persist ex 10 fields 1 a
hgetex k persist persist fields 1 a
hgetex k keepttl fields 1 a
hgetex k a b c
hsetex k fields 1 a
hsetex k fields 2 a 1
hsetex k nx xx fields 1 a 1
hsetex k fnx fxx fields 1 a 1
hsetex k ex 10 keepttl fields 1 a 1
hsetex k a 1 b 2 c
hsetex none xx fields 1 a 1
hgetdel k fields 0 a
hgetdel k bogus 1 a
hgetdel none fields 2 a b
hgetdel k fields 2 a a""".splitlines()


@pytest.mark.parametrize("line", LINES)
def test_errors_and_edges(servers: Twins, line: str) -> None:
    """Wrong arguments, wrong types and missing keys are answered alike."""
    twin = servers.client()
    twin.both(b"flushall")
    twin.both(b"set", b"str", b"x")
    twin.both(b"hset", b"k", b"a", b"1")
    twin.same(line)
    twin.close()


def test_copies_leave_expired_fields(servers: Twins) -> None:
    """COPY takes the fields that live, with their times to live."""
    twin = servers.client()
    twin.both(b"flushall")
    for words in EXPIRED:
        twin.both(*words)
    twin.both(b"hpexpireat", b"h", b"1900000000123", b"fields", b"1", b"c")
    twin.same("copy h copied")
    for line in ("hlen copied", "hgetall copied", "hpexpiretime copied fields 2 a c", "hlen h", "copy h copied"):
        twin.same(line)
    twin.close()


def test_payloads_pass_both_ways(servers: Twins) -> None:
    """DUMP of each restores at the other, times to live, expired fields and encoding included."""
    twin = servers.client()
    twin.both(b"flushall")
    twin.both(b"hset", b"h", *[b"f%d" % (i // 2) for i in range(40)])
    twin.both(b"hpexpireat", b"h", b"1900000000123", b"fields", b"2", b"f3", b"f4")
    one, other = (parse(raw)[1] for raw in twin.both(b"dump", b"h"))
    assert isinstance(one, bytes)
    assert isinstance(other, bytes)
    assert (len(one), one[-10:-8]) == (len(other), other[-10:-8])
    for payload in (one, other):
        twin.same("del r")
        assert twin.both(b"restore", b"r", b"0", payload) == (b"+OK\r\n", b"+OK\r\n")
        twin.same("hpexpiretime r fields 4 f1 f3 f4 zz")
        twin.same("hlen r")
        twin.same("object encoding r")
        twin.same("debug digest-value r")


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until a condition of another process holds."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.02)  # the state of another process: nothing to wait on
    raise AssertionError(f"never came: {what}")


def test_expiry_in_the_background(node_process: Callable[..., Server]) -> None:
    """Fields go when their time is over, thousands at once, with events; the last takes the key along."""
    client = node_process("--notify-keyspace-events", "KEA").client()
    listener = client.pubsub(ignore_subscribe_messages=True)
    listener.psubscribe("__keyevent@0__:*")
    client.hset("h", mapping={f"f{i}": i for i in range(5000)})
    client.execute_command("hpexpire", "h", 50, "fields", 4999, *[f"f{i}" for i in range(4999)])
    until(lambda: client.hlen("h") == 1, "expiry of the fields")
    assert client.info("stats")["expired_fields"] == 4999
    assert client.info("keyspace")["db0"]["keys_with_volatile_items"] == 0
    client.execute_command("hpexpire", "h", 1, "fields", 1, "f4999")
    seen: set[bytes] = set()

    def gone() -> bool:
        while message := listener.get_message():
            seen.add(message["channel"].split(b":")[1])
        return b"del" in seen

    until(gone, "the event of the key")
    assert client.exists("h") == 0
    assert {b"hset", b"hexpire", b"hexpired", b"del"} <= seen
    listener.close()


@pytest.mark.parametrize("oracle", [False, True])
def test_replica_equals_primary(
    node_process: Callable[..., Server], oracle_process: Callable[..., Server], oracle: bool
) -> None:
    """A replica, ours or genuine, ends with the same payloads, by the full sync and by the stream."""
    primary = node_process("--enable-debug-command", "yes").client()
    second = oracle_process() if oracle else node_process()
    replica = second.client()
    rng = random.Random(21)

    def write(count: int) -> None:
        for _ in range(count):
            words = _command(rng)
            if words[0] != b"dump":
                try:
                    primary.execute_command(*words)
                except redis.ResponseError:
                    pass

    for words in EXPIRED:
        primary.execute_command(*words)
    write(300)
    replica.replicaof("127.0.0.1", primary.connection_pool.connection_kwargs["port"])

    def in_sync() -> bool:
        link = replica.info("replication")
        offset = primary.info("replication")["master_repl_offset"]
        return bool(link["master_link_status"] == "up" and link["slave_repl_offset"] == offset)

    until(in_sync, "the full sync")
    write(1500)
    until(in_sync, "the stream")
    keys = sorted(primary.keys("*"))
    assert keys == sorted(replica.keys("*"))
    for key in keys:
        if primary.type(key) == b"hash":
            every = primary.hkeys(key)
            assert primary.hgetall(key) == replica.hgetall(key), key
            if every:
                ask = ["hpexpiretime", key, "fields", len(every), *every]
                assert primary.execute_command(*ask) == replica.execute_command(*ask), key
            assert primary.hlen(key) == replica.hlen(key)


def test_a_replica_expires_nothing(node_process: Callable[..., Server]) -> None:
    """Expired fields are hidden on a replica, and stay until the primary says so."""
    primary, replica = node_process("--enable-debug-command", "yes").client(), node_process().client()
    replica.replicaof("127.0.0.1", primary.connection_pool.connection_kwargs["port"])
    until(lambda: replica.info("replication")["master_link_status"] == "up", "the link")
    primary.execute_command("debug", "set-active-expire", "0")
    primary.hset("h", mapping={"a": 1, "b": 2})
    primary.execute_command("hpexpire", "h", 30, "fields", 1, "a")
    until(lambda: replica.hget("h", "a") is None and replica.hget("h", "b") == b"2", "the field is hidden")
    assert replica.hlen("h") == 2
    primary.execute_command("debug", "set-active-expire", "1")
    until(lambda: replica.hlen("h") == 1, "the primary's word")
