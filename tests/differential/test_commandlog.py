"""SLOWLOG and COMMANDLOG: what is kept, how it is cut and what is hidden agree with genuine Valkey's."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.differential.harness import Session
from tests.differential.play import play
from tests.differential.twins import Twins, start_twins

ERRORS = (
    "slowlog;slowlog foo;slowlog get abc;slowlog get -2;slowlog get 1 2;slowlog len x;slowlog reset x;commandlog;"
    "commandlog foo;commandlog get;commandlog get 1;commandlog get 1 foo;commandlog get x slow;commandlog get -2 slow;"
    "commandlog get x foo;commandlog len;commandlog len foo;commandlog reset foo;commandlog len SLOW;"
    "config set slowlog-log-slower-than -2;config set commandlog-reply-larger-than -2;config set slowlog-max-len -1;"
    "config get slowlog*;config get commandlog*"
)
COMMANDS = [
    "get x", "set a " + "v" * 200, "mset " + " ".join(f"k{i} v" for i in range(30)), "set b " + "v" * 128,
    "mset " + " ".join(f"k{i} v" for i in range(15)) + " last", "auth a b", "hello 2 auth default x",
    "config set requirepass \"\"", "config set maxmemory 0 requirepass \"\"", "multi", "get m", "exec",
    "client setname bar",
    "nosuch", "get", "lpush a b", "incr n", "GET x", "mget a b", "object encoding a", "blpop l 0.01", "ping",
    "eval \"return server.call('get',KEYS[1])\" 1 n", "multi", "set q 1", "nosuch", "exec", "type a", "expire n 100",
]  # fmt: skip


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """One pair for all tests."""
    with start_twins(tmp_path_factory.mktemp("commandlog")) as found:
        yield found


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def session(request: pytest.FixtureRequest, twins: Twins) -> Iterator[Session]:
    """Clients of an empty pair with an empty log."""
    session = Session(twins, request.param)
    session.run([[b"flushall"], [b"slowlog", b"reset"]])
    yield session
    for link in session.pair(9).both:
        link.ask([b"config", b"set", b"slowlog-log-slower-than", b"10000", b"slowlog-max-len", b"128",
                  b"commandlog-request-larger-than", b"1048576",
                  b"commandlog-reply-larger-than", b"1048576"])  # fmt: skip
    session.close()


def kept(reply: bytes, values: bool = False) -> list[bytes]:
    """The entries of a log without ids, times and ports; the values stay where they are bytes."""
    found = []
    for entry in reply.split(b"*6\r\n")[1:]:
        _, _, value, rest = entry.split(b"\r\n", 3)
        found.append((value if values else b"") + re.sub(rb"\$\d+\r\n127\.0\.0\.1:\d+", b"ADDRESS", rest))
    return found


def test_errors_and_options(session: Session) -> None:
    """Wrong words and numbers are answered the same."""
    play(session, ERRORS)


def test_what_is_kept(session: Session) -> None:
    """The same commands are kept, with long arguments cut, many left out, secrets hidden, and the client's name."""
    logs = []
    for link in session.pair(0).both:
        link.ask([b"config", b"set", b"slowlog-log-slower-than", b"0"])
        link.ask([b"slowlog", b"reset"])
        for line in COMMANDS:
            link.socket.sendall(line.encode() + b"\r\n")
            link.read(1)
        logs.append(kept(link.ask([b"slowlog", b"get", b"-1"])))
    assert logs[1] == logs[0]
    assert len(logs[0]) > 20


def test_counts_and_bounds(session: Session) -> None:
    """The newest are told first, ten unless asked for more, and no more are kept than slowlog-max-len says."""
    play(
        session,
        "config set slowlog-log-slower-than 0;slowlog reset;slowlog len;ping;ping;slowlog len;slowlog reset;"
        "slowlog len;"
        "config set slowlog-max-len 2;ping;ping;ping;slowlog len;config set slowlog-max-len 0;ping;slowlog len;"
        "config set slowlog-max-len 128;slowlog len;config set slowlog-log-slower-than -1;slowlog len;ping;slowlog len",
    )
    for link in session.pair(0).both:
        link.ask([b"config", b"set", b"slowlog-log-slower-than", b"0"])
        for _ in range(20):
            link.ask([b"ping"])
        assert len(kept(link.ask([b"slowlog", b"get"]))) == 10
        ids = [int(n) for n in re.findall(rb"\*6\r\n:(\d+)", link.ask([b"slowlog", b"get", b"5"]))]
        assert ids == list(range(ids[0], ids[0] - 5, -1))


def test_large_requests_and_replies(session: Session) -> None:
    """Sizes are those on the wire; inside a transaction those of the reply so far."""
    logs = []
    for link in session.pair(0).both:
        link.ask([b"config", b"set", b"commandlog-request-larger-than", b"30", b"commandlog-reply-larger-than", b"20"])
        for kind in (b"large-request", b"large-reply"):
            link.ask([b"commandlog", b"reset", kind])
        for command in (
            [b"echo", b"hello" * 5], [b"echo", b"hi"], [b"set", b"a", b"b" * 100], [b"get", b"a"], [b"multi"],
            [b"get", b"a"], [b"ping"], [b"set", b"c", b"d" * 50], [b"exec"], [b"mget", b"a", b"c", b"nosuch"],
            [b"set", b"big", b"x" * 100_000], [b"get", b"big"],
            [b"eval", b"return server.call('get',KEYS[1])", b"1", b"a"],
        ):  # fmt: skip
            link.ask(command)
        link.socket.sendall(b"echo " + b"inline" * 8 + b"\r\n")
        link.read(1)
        link.ask([b"config", b"set", b"commandlog-request-larger-than", b"-1", b"commandlog-reply-larger-than", b"-1"])
        logs.append([kept(link.ask([b"commandlog", b"get", b"-1", kind]), values=True)
                     for kind in (b"large-request", b"large-reply")])  # fmt: skip
    assert logs[1] == logs[0]
