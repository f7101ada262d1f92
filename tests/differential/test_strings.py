"""String commands against genuine Valkey: replies, errors, encodings, keyspace events, and what replicas are told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.differential.keyspace_lines import STRINGS, Command, compare, stream
from tests.differential.twins import Twins, read_reply, start_twins


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """One pair with the keyspace events of these families on (written out: Valkey shows no n beside A)."""
    with start_twins(tmp_path_factory.mktemp("strings"), "--notify-keyspace-events", "KEg$lshzxenm") as twins:
        yield twins
        twins.hang_up()


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_long_streams(servers: Twins, seed: int, protocol: int) -> None:
    """Four thousand string commands in a row, each with any good or bad arguments, answer as Valkey does."""
    compare(servers.client(protocol), stream(seed * 10 + protocol, STRINGS, 4000))


lines = st.integers(min_value=0, max_value=1 << 30).map(lambda seed: stream(seed, STRINGS, 2)[1])


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
    "set a 1 get|set a 2 get|set a 3 nx get|set b 3 xx get|set a 4 ifeq 3|set a 4 ifeq 2|get a",
    "set a 1 ex 1000|ttl a|set a 2 keepttl|ttl a|set a 3|ttl a",
    "set a 1|set a 1 pxat 1|exists a|set a 1 exat 1|exists a",
    "setrange a 3 x|get a|append a yz|strlen a|object encoding a|getrange a -3 -2",
    "set a 1|append a 2|object encoding a|incr a|object encoding a|incrbyfloat a 0.5|incrbyfloat a 0.5",
    "set a 1|incrbyfloat a 1|object encoding a|copy a b|object encoding b|incr a|object encoding a",
    "set a 9223372036854775807|incr a|decr a|decrby a -1|decrby a -9223372036854775808|incrby a 1",
    "rpush l 1|get l|set l 1 get|set l 1 ifeq 1|getex l|getdel l|mget l a|append l 1|incr l|strlen l|setnx l 1|set l 1",
    "mset a 1 b 2 a 3|mget a b c|msetnx c 1 a 2|exists c|msetnx c 1 d 2|mset a",
    "getex a|set a 1|getex a ex 1000|ttl a|getex a persist|ttl a|getex a pxat 1|exists a",
]


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("case", CASES)
def test_cases(servers: Twins, case: str, protocol: int) -> None:
    """What each option is for, one short story each."""
    twin = servers.client(protocol)
    twin.both("FLUSHALL")
    for line in case.split("|"):
        twin.same(line)
