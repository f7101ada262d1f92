"""Set commands against genuine Valkey: replies, errors, encodings, keyspace events and contents."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.differential.sequences import Command, assert_alike, heard, line, parse, stream
from tests.differential.twins import Twin, Twins, start_twins

INTEGERS = [b"0", b"1", b"2", b"3", b"-1", b"40000", b"-70000", b"5000000000", b"9223372036854775807"]
WORDS = [b"a", b"b", b"c", b"01", b"-0", b"", b"longer-than-8", b"9223372036854775808", b"\xff\r\n"]
COUNTS = [b"0", b"1", b"-1", b"3", b"100", b"9223372036854775807", b"-9223372036854775808", b"x", b"1.0"]
UNORDERED = {b"smembers", b"sinter", b"sunion", b"sdiff"}
RANDOM = {b"srandmember"}

key = st.sampled_from([b"s", b"s", b"t", b"t", b"u", b"str", b"none"])
member = st.one_of(st.sampled_from(INTEGERS), st.sampled_from(INTEGERS + WORDS))
members = st.one_of(
    st.lists(st.sampled_from(INTEGERS), min_size=1, max_size=9),
    st.lists(member, min_size=1, max_size=9),
    st.lists(st.integers(0, 30).map(lambda n: b"%d" % n), min_size=1, max_size=12),
)
keys = st.lists(key, min_size=1, max_size=4)

plain = [
    line(b"sadd", key, members),
    line(b"sadd", key, members),
    line(b"srem", key, members),
    line(b"smove", key, key, member),
    line(b"sismember", key, member),
    line(b"smismember", key, members),
    line(st.sampled_from([b"scard", b"smembers", b"type", b"exists", b"del"]), key),
    line(b"object", b"encoding", key),
    line(st.sampled_from([b"sinter", b"sunion", b"sdiff"]), keys),
    line(st.sampled_from([b"sinterstore", b"sunionstore", b"sdiffstore"]), key, keys),
    line(b"sintercard", st.sampled_from([b"1", b"2", b"3", b"0", b"-1", b"x"]), keys,
         st.lists(st.sampled_from([b"limit", b"LIMIT", b"0", b"1", b"2", b"-1", b"x"]), max_size=3)),
    line(b"sscan", key, st.sampled_from([b"0", b"00", b" 0", b"-1", b"x"]), st.lists(
        st.sampled_from([b"match", b"COUNT", b"novalues", b"1", b"100", b"0", b"*", b"[a-c]", b"1*", b"noscores"]),
        max_size=4)),
    line(b"srandmember", key, st.lists(st.sampled_from(COUNTS), max_size=2)),
    line(b"spop", st.sampled_from([b"txt", b"never"]), st.lists(st.sampled_from(COUNTS), max_size=2)),
    line(b"spop", key, st.sampled_from([b"0", b"100", b"9223372036854775807", b"x"])),
    line(b"copy", key, key),
]  # fmt: skip
commands = st.one_of(*plain)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """One pair with small thresholds and keyspace events."""
    limits = ["--set-max-listpack-entries", "6", "--set-max-listpack-value", "12", "--set-max-intset-entries", "8"]
    with start_twins(tmp_path_factory.mktemp("sets"), *limits, "--notify-keyspace-events", "KEg$sn") as twins:
        yield twins
        twins.hang_up()


@pytest.fixture(scope="module")
def twin2(servers: Twins) -> Twin:
    """A RESP2 client."""
    return servers.client()


@pytest.fixture(scope="module")
def twin3(servers: Twins) -> Twin:
    """A RESP3 client."""
    return servers.client(3)


def _sorted_reply(raw: bytes) -> object:
    reply = parse(raw)
    assert isinstance(reply, list)
    return (reply[0], sorted(reply[1:])) if reply[0] in (b"*", b"~") else reply


def _random_shape(raw: bytes) -> object:
    """Of a random reply: its form and number of elements; what is in it is checked elsewhere."""
    reply = parse(raw)
    assert isinstance(reply, list)
    if reply[0] == b"$":
        return reply[0]
    return (reply[0], len(reply)) if reply[0] in (b"*", b"~") else reply


def normal(command: Command, raw: bytes, ordered: bool) -> object:
    """What of a reply has to agree."""
    if command[0] in RANDOM:
        return _random_shape(raw)
    if command[0] == b"sscan" and not ordered and raw[:1] == b"*":
        return b"*"  # which step of a walk holds what is each server's own affair
    if command[0] == b"spop" or (command[0] in UNORDERED and not ordered):
        return _sorted_reply(raw)
    return raw


def compare(twin: Twin, sequence: list[Command], ordered: bool) -> None:
    """Assert that both servers answer alike, and hold alike at the end."""
    names = (b"s", b"t", b"u")
    ends = [[b"object", b"encoding", name] for name in names] + [[b"smembers", name] for name in names]
    assert_alike(twin, [*sequence, *ends], lambda command, raw: normal(command, raw, ordered))


relaxed = settings(deadline=None, max_examples=120, suppress_health_check=list(HealthCheck))


@relaxed
@given(st.lists(commands, min_size=5, max_size=40))
def test_sequences_resp2(twin2: Twin, sequence: list[Command]) -> None:
    """Any sequence of set commands answers as Valkey does in RESP2."""
    compare(twin2, sequence, False)


@relaxed
@given(st.lists(commands, min_size=5, max_size=40))
def test_sequences_resp3(twin3: Twin, sequence: list[Command]) -> None:
    """Any sequence of set commands answers as Valkey does in RESP3."""
    compare(twin3, sequence, False)


@relaxed
@given(st.lists(commands, min_size=5, max_size=40))
def test_packed_sets_keep_their_order(twin2: Twin, sequence: list[Command]) -> None:
    """While sets are intsets or listpacks, even the order of their members is Valkey's."""
    names = [b"set-max-listpack-entries", b"set-max-intset-entries", b"set-max-listpack-value"]
    large = [x for name in names for x in (name, b"500")]
    small = [x for pair in zip(names, (b"6", b"8", b"12"), strict=True) for x in pair]
    ordered = [c for c in sequence if c[0] != b"sunion" and c[0] != b"sdiff"]  # these are built in a hashtable
    compare(twin2, [[b"config", b"set", *large], *ordered, [b"config", b"set", *small]], True)


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(st.lists(commands, min_size=5, max_size=30))
def test_keyspace_events(servers: Twins, sequence: list[Command]) -> None:
    """Subscribers to all events hear the same, in the same order."""
    oracle, node = heard(servers, sequence)
    assert oracle == node


@pytest.mark.parametrize("content", [
    [b"%d" % i for i in range(7)], [b"m%d" % i for i in range(5)], [b"member:%d" % i for i in range(700)],
], ids=["intset", "listpack", "hashtable"])  # fmt: skip
def test_random_members_are_members(servers: Twins, content: list[bytes]) -> None:
    """SRANDMEMBER gives distinct members for a positive count, any for a negative; SPOP takes out what it returns."""
    node = servers.client().node
    node.ask([b"del", b"r"])
    node.ask([b"sadd", b"r", *content])
    size = len(content)
    for count in (1, 2, size // 2, size - 1, size, size + 5, -1, -size * 3):
        found = [item[1] for item in parse(node.ask([b"srandmember", b"r", b"%d" % count]))[1:]]
        assert set(found) <= set(content)
        assert len(found) == (min(count, size) if count > 0 else -count)
        assert count < 0 or len(set(found)) == len(found)
    popped = [parse(node.ask([b"spop", b"r"]))[1]]
    for count in (0, 1, size // 3, size * 2):
        popped += [item[1] for item in parse(node.ask([b"spop", b"r", b"%d" % count]))[1:]]
        left = parse(node.ask([b"scard", b"r"]))[1]
        assert int(left) == size - len(popped)
    assert sorted(popped) == sorted(content)
    assert node.ask([b"exists", b"r"]) == b":0\r\n"


@pytest.mark.parametrize("count", [1, 5, 59, 60, 94, 95, 96, 99])
@pytest.mark.parametrize("word", [b"", b"m"], ids=["integers", "strings"])
def test_encoding_after_popping_many(servers: Twins, count: int, word: bytes) -> None:
    """What SPOP leaves of a big set is encoded as Valkey encodes it, and has as many members."""
    twin = servers.client()
    twin.both(b"del", b"p")
    twin.both(b"sadd", b"p", *[b"%b%d" % (word, i) for i in range(100)])
    twin.both(b"spop", b"p", count)
    for command in ([b"object", b"encoding", b"p"], [b"scard", b"p"]):
        theirs, ours = twin.both(*command)
        assert theirs == ours


@pytest.mark.parametrize("taken", [(50, 40), (100, 99), (100, 100), (100, 101), (180, 10), (60, 0), (0, 0)])
@pytest.mark.parametrize("size", [200, 600])
@pytest.mark.parametrize("word", [b"", b"m"], ids=["integers", "strings"])
def test_encoding_of_differences_and_unions(servers: Twins, size: int, taken: tuple[int, int], word: bytes) -> None:
    """SDIFFSTORE goes one of two ways by the sizes of the sets, and the way shows in the encoding of its result; a
    union with a large set is encoded as if made member by member.
    """
    twin = servers.client()
    twin.both(b"del", b"d1", b"d2", b"d3", b"result")
    twin.both(b"sadd", b"d1", *[b"%b%d" % (word, i) for i in range(size)])
    for name, number, first in ((b"d2", taken[0], 0), (b"d3", taken[1], taken[0])):
        if number:
            twin.both(b"sadd", name, *[b"%b%d" % (word, i) for i in range(first, first + number)])
    for sources in ([b"d1", b"d2"], [b"d1", b"d2", b"d3"], [b"d1", b"d2", b"d3", b"d3", b"nothing"]):
        for name in (b"sdiffstore", b"sunionstore"):
            for command in ([name, b"result", *sources], [b"object", b"encoding", b"result"]):
                theirs, ours = twin.both(*command)
                assert theirs == ours, (name, sources)


def test_a_walk_over_a_big_set_is_complete(servers: Twins) -> None:
    """SSCAN returns every member that stays, while others come and go."""
    node = servers.client().node
    content = {b"member:%d" % i for i in range(3000)}
    for count in (1, 9, 100, 10000):
        node.ask([b"del", b"big"])
        node.ask([b"sadd", b"big", *content, *[b"gone:%d" % i for i in range(4000)]])
        cursor, seen, steps = b"0", [], 0
        while True:
            reply = parse(node.ask([b"sscan", b"big", cursor, b"count", b"%d" % count]))
            cursor = reply[1][1]
            seen += [item[1] for item in reply[2][1:]]
            steps += 1
            if steps % 10 == 0:
                node.ask([b"sadd", b"big", b"new:%d" % steps])
                node.ask([b"srem", b"big", *[b"gone:%d" % i for i in range(steps, steps + 400)]])
            if cursor == b"0":
                break
        assert content <= set(seen)
        assert len(set(seen)) == len(seen)


def test_propagation(servers: Twins) -> None:
    """A replica is told what chance chose, and nothing when nothing changed; of long removals in batches."""
    numbers = [b"%d" % i for i in range(3000)]
    lines = """sadd s 1|spop s|spop none|sadd s 1 2 3|spop s 3|spop s 2|spop s 0|sadd u x|spop u 1|multi|sadd w 1 2
        |spop w|spop none|sadd w 3|exec|multi|spop none|exec|srem w zz|sadd w 3|smove w v 3|smove w w 3
        |smove w v none
        |sinterstore v none|sinterstore v none|sunionstore x none w|sdiffstore x w w|srandmember w 2|set str x|spop str
        |sadd str x|sadd w 3 4|hincrbyfloat h a 1.5|hincrby h b 2|hincrbyfloat h a x|hsetnx h a 1|hdel h a b c|hdel h a
        |hset h f v|hmset h f v|hmget h f"""
    sequence = [command.split() for command in lines.encode().split(b"|")]
    sequence += [[b"sadd", b"t", *numbers], [b"spop", b"t", b"2999"], [b"spop", b"t"]]
    oracle, node = (stream(server, sequence) for server in servers.servers)

    def shape(effect: Command) -> object:
        return (effect[:2], len(effect)) if effect[0] == b"SREM" else effect

    assert [shape(effect) for effect in node] == [shape(effect) for effect in oracle]
    removed = [member for effect in node if effect[:2] == [b"SREM", b"t"] for member in effect[2:]]
    assert sorted(removed) == sorted(numbers)
