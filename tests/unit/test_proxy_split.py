"""Cutting commands by slot, merging replies by the policies of the catalog, SCAN cursors and INFO of all shards."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.resp.encode import encode_request
from cluster.slots import key_slot
from proxy import split
from proxy.info import InfoMerge, human_size, merge_sections, parse_info
from proxy.skipper import bulk_text, elements

KEYS = st.lists(st.binary(max_size=6), min_size=1, max_size=20)


def bulk(value: bytes | None) -> bytes:
    """A bulk string, or null."""
    return b"$-1\r\n" if value is None else b"$%d\r\n%b\r\n" % (len(value), value)


def words(request: bytes) -> list[bytes]:
    """The words of an encoded request."""
    return [bulk_text(element) for element in elements(request)]


@given(KEYS, st.dictionaries(st.binary(max_size=6), st.binary(max_size=8)))
def test_mget_over_slots_is_mget(keys: list[bytes], stored: dict[bytes, bytes]) -> None:
    """The parts of an MGET, answered each by its slot and merged, give what one server would answer."""
    args = [b"MGET", *keys]
    parts = split.split_keys(args, 1)
    replies = []
    for slot, places in parts:
        asked = words(split.part_request(args, places, 1))[1:]
        assert {key_slot(key) for key in asked} == {slot}
        replies.append(b"*%d\r\n" % len(asked) + b"".join(bulk(stored.get(key)) for key in asked))

    merged = split.InOrder([places for _, places in parts])(replies)

    assert merged == b"*%d\r\n" % len(keys) + b"".join(bulk(stored.get(key)) for key in keys)


@given(st.lists(st.tuples(st.binary(max_size=6), st.binary(max_size=6)), min_size=1, max_size=20))
def test_mset_keeps_pairs_and_the_order_of_equal_keys(pairs: list[tuple[bytes, bytes]]) -> None:
    """Applied one after the other, the parts of an MSET leave what the whole would have left."""
    args = [b"MSET", *[word for pair in pairs for word in pair]]
    stored: dict[bytes, bytes] = {}
    for _, places in split.split_keys(args, 2):
        part = words(split.part_request(args, places, 2))[1:]
        stored.update(zip(part[::2], part[1::2], strict=True))

    assert stored == dict(pairs)


def test_mget_fails_as_a_whole() -> None:
    """One shard's error is the reply; nothing is made up for its keys."""
    assert split.InOrder([[1], [2]])([b"*1\r\n:1\r\n", b"-LOADING x\r\n"]) == b"-LOADING x\r\n"


@pytest.mark.parametrize(
    ("policy", "replies", "expected"),
    [
        ("agg_sum", [b":1\r\n", b":0\r\n", b":5\r\n"], b":6\r\n"),
        ("agg_sum", [b":1\r\n", b"-ERR x\r\n"], b"-ERR x\r\n"),
        ("agg_min", [b":3\r\n", b":2\r\n"], b":2\r\n"),
        ("agg_min", [b"*2\r\n:3\r\n:1\r\n", b"*2\r\n:2\r\n:9\r\n"], b"*2\r\n:2\r\n:1\r\n"),
        ("agg_max", [b":3\r\n", b":2\r\n"], b":3\r\n"),
        ("agg_logical_and", [b"*2\r\n:1\r\n:1\r\n", b"*2\r\n:1\r\n:0\r\n"], b"*2\r\n:1\r\n:0\r\n"),
        ("agg_logical_or", [b":0\r\n", b":1\r\n"], b":1\r\n"),
        ("all_succeeded", [b"+OK\r\n", b"+OK\r\n"], b"+OK\r\n"),
        ("all_succeeded", [b"+OK\r\n", b"-OOM x\r\n"], b"-OOM x\r\n"),
        ("one_succeeded", [b"-NOTBUSY x\r\n", b"+OK\r\n"], b"+OK\r\n"),
        ("one_succeeded", [b"-NOTBUSY x\r\n", b"-NOTBUSY y\r\n"], b"-NOTBUSY x\r\n"),
        ("", [b"*1\r\n+a\r\n", b"*0\r\n", b"*2\r\n+b\r\n+c\r\n"], b"*3\r\n+a\r\n+b\r\n+c\r\n"),
        ("", [b"~1\r\n+a\r\n", b"~1\r\n+b\r\n"], b"~2\r\n+a\r\n+b\r\n"),
        ("", [b"+x\r\n", b"+y\r\n"], b"+x\r\n"),
    ],
)
def test_response_policies(policy: str, replies: list[bytes], expected: bytes) -> None:
    """Each response policy merges as Valkey's command tips define it."""
    assert split.merge_for(policy)(replies) == expected


def test_pubsub_merges() -> None:
    """Channels are named once, and subscribers of one channel are added over shards."""
    assert split.united([b"*1\r\n+a\r\n", b"*2\r\n+a\r\n+b\r\n"]) == b"*2\r\n+a\r\n+b\r\n"
    assert split.summed_pairs([b"*2\r\n+a\r\n:1\r\n", b"*2\r\n+a\r\n:2\r\n"]) == b"*2\r\n+a\r\n:3\r\n"


def test_random_pick_passes_over_empty_shards() -> None:
    """RANDOMKEY is null only when all shards are empty."""
    assert split.RandomPick(7)([b"$-1\r\n", b"$1\r\na\r\n"]) == b"$1\r\na\r\n"
    assert split.RandomPick(7)([b"_\r\n", b"_\r\n"]) == b"_\r\n"


@given(st.lists(st.lists(st.integers(1, 2**50), max_size=4), min_size=1, max_size=6))
def test_scan_visits_every_shard_to_its_end(cursors: list[list[int]]) -> None:
    """Following the cursors, a client passes through each shard's own cursors in order and ends once."""
    seen: list[tuple[int, int]] = []
    cursor = b"0"
    for _ in range(100):
        where = split.read_cursor(cursor, len(cursors))
        assert where is not None
        shard, inner = where
        seen.append(where)
        path = [0, *cursors[shard], 0]
        following = path[path.index(inner) + 1] if inner else path[1]
        reply = b"*2\r\n" + bulk(b"%d" % following) + b"*1\r\n" + bulk(b"k")
        text = elements(split.NextCursor(shard, len(cursors))([reply]))[0]
        cursor = bulk_text(text)
        if cursor == b"0":
            break
        if path.count(inner) > 1 and inner:
            return  # the drawn cursors repeat themselves: no true node's do

    assert cursor == b"0"
    assert [shard for shard, inner in seen if inner == 0] == list(range(len(cursors)))


@pytest.mark.parametrize("cursor", [b"x", b"-1", b"", b"3", b"99999999999999999999999", b"1.5"])
def test_cursors_of_others_are_refused(cursor: bytes) -> None:
    """What is no number, too large, or names a shard that is not there is no cursor."""
    assert split.read_cursor(cursor, 3) is None


A = b"""# Server\r\nredis_version:7.2.4\r\nprocess_id:11\r\n\r\n# Memory\r\nused_memory:1048576\r
used_memory_human:1.00M\r\nmaxmemory_policy:allkeys-lru\r\n\r\n# CPU\r\nused_cpu_sys:1.50\r\n\r
# Commandstats\r\ncmdstat_get:calls=3,usec=30,usec_per_call=10.00\r\n\r
# Keyspace\r\ndb0:keys=3,expires=1,avg_ttl=100\r\n"""
B = b"""# Server\r\nredis_version:7.2.4\r\nprocess_id:12\r\n\r\n# Memory\r\nused_memory:1048576\r
used_memory_human:1.00M\r\nmaxmemory_policy:allkeys-lru\r\n\r\n# CPU\r\nused_cpu_sys:0.25\r\n\r
# Commandstats\r\ncmdstat_get:calls=1,usec=50,usec_per_call=50.00\r\ncmdstat_set:calls=1,usec=5,usec_per_call=5.00\r\n\r
# Keyspace\r\ndb0:keys=4,expires=3,avg_ttl=200\r\ndb1:keys=1,expires=0,avg_ttl=0\r\n"""


def test_info_adds_counters_and_leaves_out_what_is_not_true_of_all() -> None:
    """Sums, sums of lists, weighted averages, equal fields and the proxy's own; fields that differ are not shown."""
    merged = merge_sections([parse_info(A), parse_info(B)], {"redis_mode": "standalone"})

    assert merged == {
        "Server": {"redis_version": "7.2.4"},
        "Memory": {"used_memory": "2097152", "used_memory_human": "2.00M", "maxmemory_policy": "allkeys-lru"},
        "CPU": {"used_cpu_sys": "1.75"},
        "Commandstats": {
            "cmdstat_get": "calls=4,usec=80,usec_per_call=20.00",
            "cmdstat_set": "calls=1,usec=5,usec_per_call=5.00",
        },
        "Keyspace": {"db0": "keys=7,expires=4,avg_ttl=175", "db1": "keys=1,expires=0,avg_ttl=0"},
    }


def test_info_reply_in_both_protocols() -> None:
    """The merged text is a bulk string in RESP2 and a verbatim string in RESP3, and an error stays one."""
    replies = [bulk(A), bulk(B)]
    two, three = InfoMerge({}, False)(replies), InfoMerge({}, True)(replies)

    assert two.startswith(b"$")
    assert three.startswith(b"=")
    assert bulk_text(two) == bulk_text(three)
    assert InfoMerge({}, False)([bulk(A), b"-LOADING x\r\n"]) == b"-LOADING x\r\n"


@pytest.mark.parametrize(
    ("size", "shown"), [(0, "0B"), (1023, "1023B"), (1024, "1.00K"), (1536 << 10, "1.50M"), (5 << 40, "5.00T")]
)
def test_human_size(size: int, shown: str) -> None:
    """Sizes look as in Valkey's INFO."""
    assert human_size(size) == shown


def test_part_request_is_plain_resp() -> None:
    """A part has the command's name and the keys of its places."""
    assert split.part_request([b"DEL", b"a", b"b", b"c"], [1, 3], 1) == encode_request([b"DEL", b"a", b"c"])
