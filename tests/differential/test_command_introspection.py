"""The catalog and COMMAND against genuine Valkey: rows, documentation and key extraction must be what it answers."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.catalog import ALL, COMMANDS, resolve
from cluster.catalog.keys import KeysError, checked_keys
from cluster.catalog.model import FIND_KEYNUM, KEY_FLAG_NAMES, Command, names_of
from cluster.catalog.render import render_docs, render_info

OURS = [b"kvorum"]  # containers that genuine Valkey does not have
ROWS = [row for row in ALL if row.name.partition(b"|")[0] not in OURS]
PLAIN = [row for row in ROWS if not row.subcommands]
CONTAINERS = [row for row in ROWS if row.subcommands]


class Wire:
    """A connection that returns replies as they came, and decoded with the kind of every aggregate and string kept."""

    def __init__(self, link: socket.socket, protocol: int) -> None:
        self.link = link
        self.file = link.makefile("rb")
        self.raw = b""
        self.ask(b"HELLO", b"%d" % protocol)

    def ask(self, *args: bytes) -> Any:
        """Send one command; the decoded reply is returned, its bytes are kept in `raw`."""
        self.link.sendall(b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%b\r\n" % (len(a), a) for a in args))
        self.raw = b""
        return self._read()

    def _take(self, data: bytes) -> bytes:
        self.raw += data
        return data

    def _read(self) -> Any:
        line = self._take(self.file.readline())
        kind, rest = line[:1], line[1:-2]
        if kind in b"$*~%" and rest != b"-1":
            if kind == b"$":
                return self._take(self.file.read(int(rest) + 2))[:-2]
            if kind == b"%":
                return ("%", {self._read(): self._read() for _ in range(int(rest))})
            return (kind.decode(), [self._read() for _ in range(int(rest))])
        return line


def decode(raw: bytes) -> Any:
    """Decode one encoded reply as `Wire` does."""
    near, far = socket.socketpair()
    with near, far:
        near.settimeout(10)
        wire = Wire.__new__(Wire)
        wire.link, wire.file, wire.raw = near, near.makefile("rb"), b""
        far.sendall(raw)
        with wire.file:
            return wire._read()


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def wire(request: pytest.FixtureRequest, oracle: Any) -> Iterator[Wire]:
    """A connection to the oracle in each protocol."""
    with oracle.connect() as link:
        found = Wire(link, request.param)
        found.protocol = request.param  # type: ignore[attr-defined]
        yield found
        found.file.close()


def pairs(value: Any) -> dict[bytes, Any]:
    """A map, or what RESP2 makes of it, as a dict."""
    kind, body = value
    return body if kind == "%" else dict(zip(body[::2], body[1::2], strict=True))


def without_summaries(docs: Any, known: set[bytes]) -> dict[bytes, Any]:
    """A documentation map with what we say in our own words, and subcommands that we do not have, left out."""
    fields = pairs(docs)
    fields.pop(b"summary")
    if b"arguments" in fields:
        fields[b"arguments"] = [unsummed(a) for a in fields[b"arguments"][1]]
    if b"subcommands" in fields:
        subs = pairs(fields[b"subcommands"])
        fields[b"subcommands"] = {n: without_summaries(d, known) for n, d in sorted(subs.items()) if n in known}
    return fields


def unsummed(argument: Any) -> list[Any]:
    """An argument as ordered fields without its summary, nested ones included."""
    fields = pairs(argument)
    fields.pop(b"summary", None)
    if b"arguments" in fields:
        fields[b"arguments"] = [unsummed(a) for a in fields[b"arguments"][1]]
    return list(fields.items())


def test_every_plain_row_is_what_the_oracle_answers_to_info(wire: Any) -> None:
    """COMMAND INFO of every row without subcommands agrees byte for byte."""
    for row in PLAIN:
        wire.ask(b"COMMAND", b"INFO", row.name)
        assert b"*1\r\n" + render_info(row, wire.protocol == 3) == wire.raw, row


def test_every_container_is_what_the_oracle_answers_to_info(wire: Any) -> None:
    """COMMAND INFO of containers agrees in all fields, and in those subcommands that we have."""
    for row in CONTAINERS:
        _, [(_, theirs)] = wire.ask(b"COMMAND", b"INFO", row.name)
        _, ours = decode(render_info(row, wire.protocol == 3))
        known = {sub.name for sub in row.subcommands.values()}
        listed = [sub for sub in theirs.pop()[1] if sub[1][0] in known]
        mine = ours.pop()[1]
        assert theirs == ours, row
        assert sorted(listed, key=lambda s: s[1][0]) == sorted(mine, key=lambda s: s[1][0]), row


def test_every_row_is_what_the_oracle_answers_to_docs(wire: Any) -> None:
    """COMMAND DOCS of every row agrees in everything but the summaries, order of fields included."""
    known = {row.name for row in ROWS}
    for row in ROWS:
        theirs = pairs(wire.ask(b"COMMAND", b"DOCS", row.name))
        resp3 = wire.protocol == 3
        ours = pairs(decode((b"%1\r\n" if resp3 else b"*2\r\n") + render_docs(row, resp3)))
        assert list(theirs) == list(ours) == [row.name]
        expected, got = (without_summaries(side[row.name], known) for side in (theirs, ours))
        assert list(expected.items()) == list(got.items()), row


def test_summaries_are_our_own_words(oracle: Any) -> None:
    """No row repeats the sentence of genuine Valkey."""
    with oracle.connect() as link:
        wire = Wire(link, 3)
        for row in ROWS:
            theirs = pairs(wire.ask(b"COMMAND", b"DOCS", row.name))[row.name]
            assert pairs(theirs)[b"summary"].lower() != row.summary.encode().lower()
        wire.file.close()


def expected_keys(wire: Wire, request: list[bytes]) -> Any:
    """What the oracle says about a request's keys: `(key, flags)` pairs, or the error line."""
    reply = wire.ask(b"COMMAND", b"GETKEYSANDFLAGS", *request)
    if isinstance(reply, bytes):
        return reply
    return [(key, [flag[1:-2].decode() for flag in flags[1]]) for _, [key, flags] in reply[1]]


def our_keys(request: list[bytes]) -> Any:
    """The same from the catalog."""
    try:
        uses = checked_keys(resolve(request), request)
    except KeysError as error:
        return b"-ERR " + error.text + b"\r\n"
    return [(request[use.position], names_of(use.flags, KEY_FLAG_NAMES)) for use in uses]


EXAMPLES = """\
set k v | set k v get | set k v ex 10 GET | set k GET | set k v ifeq x | set k v IFEQ GET | set k v ex get | set k
get k | GET k k | get | gEtEx k persist | mset a 1 b 2 | mset a 1 b | mset a | msetnx a 1 b 2 | mget a b a | del a b
rename a b | copy a b db 1 | smove a b c | lmove a b left right | blmove a b left right 0 | rpoplpush a b
brpoplpush a b 0 | blpop a 0 | blpop a b c 0 | blpop a | bzpopmin a b 0 | brpop a b 0 | bzpopmax a 0
lmpop 1 a left | lmpop 2 a b right count 3 | lmpop 3 a left | lmpop 0 a left | lmpop -1 a left | lmpop x a left
lmpop +1 a left | lmpop 01 a left | lmpop 1.0 a left | lmpop 4294967297 a left | lmpop 4294967296 a left
lmpop 18446744073709551617 a left | lmpop 9223372036854775807 a left | lmpop 1000000000000000001 a left
lmpop -18446744073709551617 a left | blmpop 0 2 a b left | blmpop 0 2 a | blmpop 0 1x a left | bzmpop 0 1 a min
zmpop 1 a min | zmpop 2147483648 a min | sintercard 1 a limit 1 | sintercard 2 a | zintercard 1 a | zdiff 1a b
zunionstore d 2 a b weights 1 2 | zunionstore d 0 a | zunionstore d 3 a b | zunionstore d +1 a b | zunionstore d 2 d d
zinterstore d 1z a | zdiffstore d 2 a b | zrangestore d s 0 -1 | zinter 1 a weights | zunion 2 a b withscores
sdiffstore d a b | sinterstore d a | sunionstore d a b c | sdiff a b | sinter a | sunion a a
object encoding k | object freq k | object | object help | object encoding | object nosuch k | memory usage k samples 1
memory usage | ssubscribe a b | subscribe a | spublish a b | publish a b | psubscribe a | watch a b | exists a b
touch a | unlink a b | ping | ping a b c | nosuch a | client list | client nosuch | config get a | keys * | scan 0
hset h a 1 | hget h a | zadd z 1 a | restore k 0 v | dump k | move k 1 | expire k 1 | type k | wait 1 0
eval s 0 | eval 0 1 | eval s 2 a | eval s 1 a b | eval_ro s -1 a | evalsha s x a | fcall f 0 1 | fcall_ro f 1 k | eval s
xread streams a 1 | xread streams a b 1 2 | xread streams a b 1 | xread count 1 block 0 streams a $ | xread streams a
xread streams | xread a b c | xreadgroup group g c streams a > | xreadgroup group g c count 1 streams a b > >
sort k | sort k store d | sort k by x store d store e | sort k get store limit store 1 | sort_ro k by store
migrate h 1 k 0 1 | migrate h 1 k 0 1 keys a b | migrate h 1 k 0 1 auth keys keys a | hexpire h 1 fields 1 a
multi | exec | asking | debug object k | cluster keyslot k | cluster getkeysinslot 1 2 | command getkeys get k
"""


def requests() -> list[list[bytes]]:
    """The examples as argument lists."""
    texts = EXAMPLES.replace("\n", "|").split("|")
    return [[word.encode() for word in text.split()] for text in texts if text.strip()]


def test_keys_of_examples_are_those_of_the_oracle(wire: Any) -> None:
    """COMMAND GETKEYSANDFLAGS agrees, errors included, over a table of telling requests."""
    for request in [*requests(), [b"zdiff", b" 1", b"a"], [b"zdiff", b"\t-1", b"a"], [b"zdiff", b"", b"a"], [b""]]:
        assert expected_keys(wire, request) == our_keys(request), request


WORDS = st.one_of(
    st.sampled_from(
        [b"0", b"1", b"2", b"3", b"-1", b"+2", b" 1", b"1x", b"007", b"", b"a", b"b", b"GET", b"get", b"LEFT"]
    ),
    st.binary(max_size=4),
    st.integers(-(2**70), 2**70).map(lambda n: b"%d" % n),
)


def spelled(row: Command) -> list[bytes]:
    """The row's name as a request begins."""
    return row.name.split(b"|")


@settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None)
@given(row=st.sampled_from([row for row in ROWS if row.has_keys]), rest=st.lists(WORDS, max_size=9))
def test_keys_of_any_request_are_those_of_the_oracle(wire: Any, row: Command, rest: list[bytes]) -> None:
    """Whatever follows the name of a command with keys, the catalog finds the keys that the oracle finds."""
    request = spelled(row) + rest
    assert expected_keys(wire, request) == our_keys(request)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None)
@given(
    row=st.sampled_from([row for row in ROWS if any(spec.find == FIND_KEYNUM for spec in row.key_specs)]),
    count=st.one_of(st.integers(-1, 5).map(lambda n: b"%d" % n), WORDS),
    keys=st.lists(st.binary(max_size=3), min_size=1, max_size=6),
)
def test_counted_keys_are_those_of_the_oracle(wire: Any, row: Command, count: bytes, keys: list[bytes]) -> None:
    """With the count where the row has it, near its bounds and malformed, the same keys or the same error come out."""
    place = next(spec.position for spec in row.key_specs if spec.find == FIND_KEYNUM)
    request = [*spelled(row), *[b"d"] * (place - 1), count, *keys]
    assert expected_keys(wire, request) == our_keys(request)


@pytest.fixture(params=[2, 3], ids=["node-resp2", "node-resp3"])
def both(
    request: pytest.FixtureRequest, oracle: Any, node_process: Callable[..., Any]
) -> Iterator[tuple[Wire, Wire]]:
    """A connection to our node and one to the oracle."""
    with node_process().connect() as node, oracle.connect() as genuine:
        wires = Wire(node, request.param), Wire(genuine, request.param)
        yield wires
        for found in wires:
            found.file.close()


def test_a_node_answers_command_as_the_oracle_does(both: tuple[Wire, Wire]) -> None:
    """INFO, GETKEYS, GETKEYSANDFLAGS, HELP, LIST filters that are the same in both, and all errors, byte for byte."""
    node, genuine = both
    same = b"""info nosuch ping CLIENT|id client| client|list|x get|x | ping|;docs nosuch client|;help;help x;count x
list filterby module x;list filterby pattern CLIENT|L*;list filterby aclcat nosuch;list filterby aclcat @hash
list filterby;list pattern x;list filterby x y;list filterby pattern;list filterby pattern a b;getkeys;getkeysandflags
nosuch""".replace(b"\n", b";").split(b";")
    same += [b"getkeys " + b" ".join(request) for request in requests()]
    same += [b"getkeysandflags " + b" ".join(request) for request in requests()]
    for line in same:
        for wire in both:
            wire.ask(b"COMMAND", *line.split(b" "))
        assert node.raw == genuine.raw, line


def test_a_node_counts_and_lists_its_rows(both: tuple[Wire, Wire]) -> None:
    """COUNT counts top-level rows, LIST names all, COMMAND and COMMAND INFO show them, DOCS documents them."""
    node, _ = both
    assert node.ask(b"COMMAND", b"COUNT") == b":%d\r\n" % len(COMMANDS)
    assert sorted(node.ask(b"COMMAND", b"LIST")[1]) == sorted(row.name for row in ALL)
    bare = node.ask(b"COMMAND")[1]
    assert [row[1][0] for row in bare] == list(COMMANDS)
    assert node.ask(b"COMMAND", b"INFO")[1] == bare
    assert list(pairs(node.ask(b"COMMAND", b"DOCS"))) == list(COMMANDS)
