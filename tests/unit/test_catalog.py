"""The catalog on its own: how rows are found, what is derived, and which arguments are keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.catalog import ALL, COMMANDS, find, resolve
from cluster.catalog.build import command, keys_after, keys_at, keys_counted_at, keys_unknown
from cluster.catalog.keys import KeysError, checked_keys, key_positions, keys_with_flags
from cluster.catalog.model import (
    ACCESS,
    ACL_SLOW,
    ACL_STRING,
    ACL_WRITE,
    MOVABLEKEYS,
    NO_MANDATORY_KEYS,
    OW,
    READONLY,
    RO,
    RW,
    UPDATE,
    WRITE,
    Command,
)


def positions(text: bytes) -> list[int]:
    """Key positions of a request written with spaces."""
    request = text.split(b" ")
    row = resolve(request)
    assert row is not None
    return key_positions(row, request)


def test_rows_are_numbered_densely_and_named_once() -> None:
    """`index` is the place in ALL, containers before their subcommands, and no name is given twice."""
    assert [row.index for row in ALL] == list(range(len(ALL)))
    assert len({row.name for row in ALL}) == len(ALL)
    assert len(ALL) == sum(1 + len(row.subcommands) for row in COMMANDS.values())


@pytest.mark.parametrize("row", ALL, ids=lambda row: row.text)
def test_a_row_is_complete(row: Command) -> None:
    """Every row has a lowercase name, a sentence, a group, a version and an arity; a subcommand names its container."""
    assert row.name == row.name.lower() == row.text.encode()
    assert row.summary.endswith(".")
    assert row.group
    assert row.since.count(".") == 2
    assert row.arity != 0
    for word, sub in row.subcommands.items():
        assert sub.name == row.name + b"|" + word


@pytest.mark.parametrize("row", ALL, ids=lambda row: row.text)
def test_a_key_argument_names_a_key_specification(row: Command) -> None:
    """Documented keys refer to specifications that exist."""
    pending = list(row.arguments)
    while pending:
        argument = pending.pop()
        assert argument.key_spec_index < len(row.key_specs)
        pending += argument.arguments


def test_names_are_found_in_any_case() -> None:
    """`find` takes full names, `resolve` requests; both ignore case and know what is not there."""
    assert find(b"GeT") is COMMANDS[b"get"]
    assert find(b"CLIENT|List") is COMMANDS[b"client"].subcommands[b"list"]
    assert find(b"client|") is find(b"get|x") is find(b"nosuch") is find(b"") is None
    assert resolve([b"GET", b"k"]) is resolve([b"gEt"]) is COMMANDS[b"get"]
    assert resolve([b"Client", b"LIST", b"x"]) is find(b"client|list")
    assert resolve([b"client"]) is COMMANDS[b"client"]
    assert resolve([b"client", b"nosuch"]) is resolve([b"nosuch"]) is None


def test_policies_are_read_from_the_tips() -> None:
    """Request and response policies are at hand as words, empty when the row has none."""
    policies = {name: (COMMANDS[name].request_policy, COMMANDS[name].response_policy) for name in
                (b"get", b"mget", b"mset", b"del", b"dbsize", b"flushall", b"scan", b"wait")}  # fmt: skip
    assert policies == {
        b"get": ("", ""),
        b"mget": ("multi_shard", ""),
        b"mset": ("multi_shard", "all_succeeded"),
        b"del": ("multi_shard", "agg_sum"),
        b"dbsize": ("all_shards", "agg_sum"),
        b"flushall": ("all_shards", "all_succeeded"),
        b"scan": ("special", "special"),
        b"wait": ("all_shards", "agg_min"),
    }


def test_categories_follow_from_flags() -> None:
    """A row names only the categories that its flags do not imply."""
    row = command("x", 2, WRITE, "string", "1.0.0", "O(1)", "X.", acl=ACL_STRING)
    assert row.acl_categories == ACL_STRING | ACL_WRITE | ACL_SLOW
    assert row.category_names() == ["write", "string", "slow"]


def test_the_legacy_triple_follows_from_key_specifications() -> None:
    """Neighbouring ranges make one triple; a count of keys is not sayable and makes the keys movable."""
    two = command("x", 3, WRITE, "string", "1.0.0", "", "X.", keys=[keys_at(1, RW), keys_at(2, RW)])
    assert (two.first_key, two.last_key, two.key_step, two.flags) == (1, 2, 1, WRITE)
    counted = command("x", 3, WRITE, "string", "1.0.0", "", "X.", keys=[keys_at(1, OW), keys_counted_at(2, RO)])
    assert (counted.first_key, counted.last_key, counted.key_step) == (1, 1, 1)
    assert counted.flags == WRITE | MOVABLEKEYS
    pairs = command("x", -3, WRITE, "string", "1.0.0", "", "X.", keys=[keys_at(1, OW, last=-1, step=2)])
    assert (pairs.first_key, pairs.last_key, pairs.key_step, pairs.flags) == (1, -1, 2, WRITE)


@pytest.mark.parametrize(
    ("request_text", "places"),
    [
        (b"get k", [1]),
        (b"mset a 1 b 2", [1, 3]),
        (b"mset a 1 b", [1, 3]),
        (b"del a b a", [1, 2, 3]),
        (b"rename a b", [1, 2]),
        (b"blpop a b 0", [1, 2]),
        (b"object encoding k", [2]),
        (b"zunionstore d 2 a b weights 1 2", [1, 3, 4]),
        (b"blmpop 0 2 a b left", [3, 4]),
        (b"lmpop 1x a left", [2]),
        (b"zunionstore d 1x a", [3, 1]),
        (b"ssubscribe a b", [1, 2]),
        (b"spublish a b", [1]),
        (b"subscribe a", []),
        (b"ping", []),
        (b"client list", []),
        (b"get", []),
        (b"blpop 0", []),
    ],
)
def test_key_positions(request_text: bytes, places: list[int]) -> None:
    """Keys are found by place, range, pair or count; shard channels are routed as keys."""
    assert positions(request_text) == places


@pytest.mark.parametrize(
    "request_text",
    [b"lmpop 0 a left", b"lmpop 4 a left", b"lmpop -1 a", b"zunionstore d x a", b"lmpop 9999999999999999999 a"],
)
def test_malformed_counts_are_errors(request_text: bytes) -> None:
    """A count that is no count, or more than there are arguments, raises with Valkey's text."""
    with pytest.raises(KeysError, match=r"^Invalid arguments specified for command$"):
        positions(request_text)


def test_checked_keys_refuses_what_has_no_keys() -> None:
    """The three refusals of COMMAND GETKEYS come in Valkey's order: unknown, without keys, wrong arity."""
    for request, text in [
        ([b"nosuch"], "Invalid command specified"),
        ([b"ping", b"a", b"b"], "The command has no key arguments"),
        ([b"ssubscribe", b"a"], "The command has no key arguments"),
        ([b"get"], "Invalid number of arguments specified for command"),
    ]:
        with pytest.raises(KeysError) as caught:
            checked_keys(resolve(request), request)
        assert caught.value.text.decode() == text


def test_keys_after_a_word() -> None:
    """A keyword is searched forwards or backwards, without regard to case; without it there are no such keys."""
    streams = keys_after("STREAMS", 1, RO, last=-1, limit=2)
    row = command("x", -2, READONLY, "stream", "1.0.0", "", "X.", keys=[streams])
    assert key_positions(row, b"x count 2 Streams a b 0 0".split()) == [4, 5]
    assert key_positions(row, b"x count 2".split()) == []
    assert key_positions(row, b"x count streams".split()) == []
    last = command("x", -2, WRITE, "generic", "1.0.0", "", "X.", keys=[keys_after("KEYS", -2, RW, last=-1)])
    assert key_positions(last, b"x h p k 0 keys a b".split()) == [6, 7]


def test_a_count_of_zero_needs_leave() -> None:
    """No keys at all are fine only where the row says so, as for scripts; unknown places are never told."""
    row = command("x", -3, NO_MANDATORY_KEYS, "scripting", "1.0.0", "", "X.", keys=[keys_counted_at(2, RW)])
    assert key_positions(row, b"x body 0 a".split()) == []
    unknown = command("x", -2, WRITE, "generic", "1.0.0", "", "X.", keys=[keys_unknown(RW)])
    with pytest.raises(KeysError):
        key_positions(unknown, [b"x", b"a"])


@pytest.mark.parametrize("words", ["msetex +1 a b", "sort", "migrate host 1"])
def test_requests_without_the_keys_that_they_should_have(words: str) -> None:
    """Some are too short to have any, and MSETEX has no second, lenient reading of its count."""
    request = words.encode().split()
    with pytest.raises(KeysError):
        key_positions(COMMANDS[request[0]], request)


def test_merging_nothing_is_routed_by_its_target() -> None:
    """PFMERGE of a target alone has a key, although COMMAND GETKEYS refuses it."""
    request = [b"pfmerge", b"target"]
    assert key_positions(COMMANDS[b"pfmerge"], request) == [1]
    with pytest.raises(KeysError):
        checked_keys(COMMANDS[b"pfmerge"], request)


def test_set_overwrites_unless_it_reads_too() -> None:
    """The variable flags of SET come from its options, not from its key and value."""
    row = COMMANDS[b"set"]
    assert [(u.position, u.flags) for u in keys_with_flags(row, b"set get get".split())] == [(1, OW | UPDATE)]
    assert [u.flags for u in keys_with_flags(row, b"set k v px 1 GeT".split())] == [RW | ACCESS | UPDATE]


@given(
    row=st.sampled_from([row for row in ALL if row.key_specs]),
    rest=st.lists(st.one_of(st.sampled_from([b"1", b"2", b"k"]), st.binary(max_size=3)), max_size=8),
)
def test_positions_and_uses_agree_and_lie_within_the_request(row: Command, rest: list[bytes]) -> None:
    """Both searches find the same places or both refuse, and a place is never outside the request or a name's word."""
    words = row.name.split(b"|")
    request = words + rest
    try:
        places = key_positions(row, request)
    except KeysError:
        with pytest.raises(KeysError):
            keys_with_flags(row, request)
        return
    assert all(len(words) <= place < len(request) for place in places)
    if row.has_keys:
        assert [use.position for use in keys_with_flags(row, request)] == places
