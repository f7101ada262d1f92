"""Hash commands against genuine Valkey: replies, errors, encodings, keyspace events and contents."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.differential.sequences import Command, assert_alike, heard, line, parse
from tests.differential.twins import Twin, Twins, start_twins

FIELDS = [b"a", b"b", b"c", b"d", b"e", b"f", b"12", b"-7", b"", b"longer-than-8", b"\xff\x00\r\n"]
VALUES = [b"0", b"1", b"-5", b"10", b"9223372036854775807", b"-9223372036854775808", b"1.5", b"-0.25", b"3.0e3", b"abc",
          b"", b" 1", b"inf", b"0x10", b"x" * 9, b"1e4000", b"\x00\xff"]  # fmt: skip
NUMBERS = [b"1", b"-1", b"0", b"100", b"9223372036854775807", b"1.1", b"abc", b"", b"-0", b"01", b"nan", b"inf", b"1e5"]
COUNTS = [b"0", b"1", b"-1", b"3", b"100", b"9223372036854775807", b"-9223372036854775808", b"x", b"1.0"]
UNORDERED = {b"hgetall", b"hkeys", b"hvals"}
RANDOM = {b"hrandfield"}

key = st.sampled_from([b"h", b"h", b"h", b"g", b"str", b"none"])
field = st.sampled_from(FIELDS)
value = st.sampled_from(VALUES)
pairs = st.lists(st.tuples(field, value), min_size=1, max_size=6).map(lambda found: [x for pair in found for x in pair])


commands = st.one_of(
    line(st.sampled_from([b"hset", b"hmset"]), key, pairs),
    line(st.sampled_from([b"hset", b"hmset"]), key, pairs, st.lists(field, max_size=1)),
    line(b"hsetnx", key, field, value),
    line(b"hincrby", key, field, st.sampled_from(NUMBERS)),
    line(b"hincrbyfloat", key, field, st.sampled_from(NUMBERS)),
    line(b"hdel", key, st.lists(field, min_size=1, max_size=4)),
    line(st.sampled_from([b"hget", b"hexists", b"hstrlen"]), key, field),
    line(b"hmget", key, st.lists(field, min_size=1, max_size=4)),
    line(st.sampled_from([b"hgetall", b"hkeys", b"hvals", b"hlen", b"type", b"exists", b"del"]), key),
    line(b"object", b"encoding", key),
    line(b"hscan", key, st.sampled_from([b"0", b"00", b" 0", b"-1", b"x"]), st.lists(
        st.sampled_from([b"match", b"COUNT", b"novalues", b"noscores", b"1", b"100", b"0", b"*", b"[a-c]", b"type"]),
        max_size=4)),
    line(b"hrandfield", key, st.lists(st.sampled_from(COUNTS), max_size=1)),
    line(b"hrandfield", key, st.sampled_from(COUNTS), st.sampled_from([b"withvalues", b"WITHVALUES", b"x"])),
    line(b"copy", key, key),
)  # fmt: skip


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """One pair with small thresholds and keyspace events."""
    limits = ["--hash-max-listpack-entries", "6", "--hash-max-listpack-value", "8"]
    with start_twins(tmp_path_factory.mktemp("hashes"), *limits, "--notify-keyspace-events", "KEg$hn") as twins:
        yield twins
        twins.hang_up()


@pytest.fixture(scope="module")
def twin2(servers: Twins) -> Twin:
    """A RESP2 client."""
    return servers.client()


@pytest.fixture(scope="module")
def twin3(servers: Twins) -> Twin:
    """A RESP3 client, which sees the events too."""
    return servers.client(3)


def _sorted_reply(command: Command, raw: bytes) -> object:
    reply = parse(raw)
    assert isinstance(reply, list)
    return _sorted_items(reply, command[0] == b"hgetall") if reply[0] in (b"*", b"~", b"%") else reply


def _sorted_items(reply: list[object], paired: bool) -> object:
    items = reply[1:]
    if paired:
        items = list(zip(items[::2], items[1::2], strict=True))
    return reply[0], sorted(items, key=repr)


def _random_shape(raw: bytes) -> object:
    """Of a random reply: its form and number of elements; what is in it is checked elsewhere."""
    reply = parse(raw)
    assert isinstance(reply, list)
    if reply[0] == b"-" or len(reply) < 2 or not isinstance(reply[1], list):
        return reply[0] if reply[0] == b"$" else reply
    return reply[0], len(reply), [len(item) for item in reply[1:]]


def normal(command: Command, raw: bytes, ordered: bool) -> object:
    """What of a reply has to agree."""
    if command[0] in RANDOM:
        return _random_shape(raw)
    if command[0] == b"hscan" and not ordered and raw[:1] == b"*":
        return b"*"  # which step of a walk holds what is each server's own affair
    if command[0] in UNORDERED and not ordered:
        return _sorted_reply(command, raw)
    return raw


def compare(twin: Twin, sequence: list[Command], ordered: bool) -> None:
    """Assert that both servers answer alike, and hold alike at the end."""
    encodings = [[b"object", b"encoding", name] for name in (b"h", b"g")]
    ends = [*encodings, [b"hgetall", b"h"], [b"hgetall", b"g"]]
    assert_alike(twin, [*sequence, *ends], lambda command, raw: normal(command, raw, ordered))


relaxed = settings(deadline=None, max_examples=120, suppress_health_check=list(HealthCheck))


@relaxed
@given(st.lists(commands, min_size=5, max_size=40))
def test_sequences_resp2(twin2: Twin, sequence: list[Command]) -> None:
    """Any sequence of hash commands answers as Valkey does in RESP2."""
    compare(twin2, sequence, False)


@relaxed
@given(st.lists(commands, min_size=5, max_size=40))
def test_sequences_resp3(twin3: Twin, sequence: list[Command]) -> None:
    """Any sequence of hash commands answers as Valkey does in RESP3."""
    compare(twin3, sequence, False)


@relaxed
@given(st.lists(commands, min_size=5, max_size=40))
def test_small_hashes_keep_their_order(twin2: Twin, sequence: list[Command]) -> None:
    """While a hash is a listpack, even the order of its fields is Valkey's."""
    large = [[b"config", b"set", b"hash-max-listpack-entries", b"500", b"hash-max-listpack-value", b"5000"]]
    small = [[b"config", b"set", b"hash-max-listpack-entries", b"6", b"hash-max-listpack-value", b"8"]]
    compare(twin2, [*large, *sequence, *small], True)


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(st.lists(commands, min_size=5, max_size=30))
def test_keyspace_events(servers: Twins, sequence: list[Command]) -> None:
    """Subscribers to all events hear the same, in the same order."""
    oracle, node = heard(servers, sequence)
    assert oracle == node


@pytest.mark.parametrize("size", [5, 400])
def test_random_fields_are_fields(servers: Twins, size: int) -> None:
    """HRANDFIELD gives fields with their values: distinct ones for a positive count, repeated ones for a negative."""
    node = servers.client().node
    node.ask([b"del", b"r"])
    content = {b"field:%d" % i: b"value:%d" % i for i in range(size)}
    node.ask([b"hset", b"r", *[x for pair in content.items() for x in pair]])
    for count in (1, 2, size // 2, size - 1, size, size + 5, -1, -size * 3):
        reply = parse(node.ask([b"hrandfield", b"r", b"%d" % count, b"withvalues"]))
        flat = [item[1] for item in reply[1:]]
        fields = flat[::2]
        assert [content[f] for f in fields] == flat[1::2]
        assert len(fields) == (min(count, size) if count > 0 else -count)
        assert count < 0 or len(set(fields)) == len(fields)
    assert parse(node.ask([b"hrandfield", b"r"]))[1] in content


def test_a_walk_over_a_big_hash_is_complete(servers: Twins) -> None:
    """HSCAN returns every field with its value once, whatever the count, and follows a hash that grows meanwhile."""
    node = servers.client().node
    content = {b"field:%d" % i: b"value:%d" % i for i in range(3000)}
    node.ask([b"hset", b"big", *[x for pair in content.items() for x in pair]])
    for count in (1, 7, 100, 10000):
        cursor, seen, steps = b"0", [], 0
        while True:
            reply = parse(node.ask([b"hscan", b"big", cursor, b"count", b"%d" % count]))
            cursor = reply[1][1]
            seen += [item[1] for item in reply[2][1:]]
            steps += 1
            if steps % 50 == 0:
                node.ask([b"hset", b"big", b"new:%d:%d" % (count, steps), b"x"])
            if cursor == b"0":
                break
        found = dict(zip(seen[::2], seen[1::2], strict=True))
        assert {f: v for f, v in found.items() if f in content} == content
        assert len(found) * 2 == len(seen)


def test_what_would_flood_is_refused(servers: Twins) -> None:
    """A repetition that no client can want gets an error instead of all our memory."""
    node = servers.client().node
    node.ask([b"hset", b"f", b"a", b"b"])
    assert node.ask([b"hrandfield", b"f", b"-2000000000000000000"]) == b"-ERR value is out of range\r\n"
    node.ask([b"sadd", b"sf", b"a"])
    assert node.ask([b"srandmember", b"sf", b"-2000000000000000000"]) == b"-ERR value is out of range\r\n"
