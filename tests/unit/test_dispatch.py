"""The one path of a command, run in process: parsing ahead changes nothing that a client can see."""

from __future__ import annotations

import random

import pytest

from cluster.resp.encode import encode_request
from node.engine import Engine
from node.lifecycle import build_engine
from node.session import Session
from node.settings import new_settings
from node.waiting import unblock

NOW_MS = 1_790_000_000_000


def engine(ahead: bool) -> Engine:
    """An engine without sockets."""
    made = build_engine(new_settings(), NOW_MS, random.Random(1))
    made.executor.ahead = ahead  # type: ignore[attr-defined]
    return made


def session(e: Engine, number: int = 1) -> Session:
    """A client without a connection."""
    return Session(number, e.executor, e.stores[0], e.acl.default_user, 1 << 20, NOW_MS)


def send(s: Session, data: bytes) -> bytes:
    """Feed bytes and take the replies."""
    s.decoder.feed(data)
    s.executor.run(s)
    replies = s.reply.out.getvalue()
    s.reply.out.truncate(0)
    return replies


def pipeline(rng: random.Random, count: int) -> bytes:
    """Requests of several kinds, transactions, inline ones and errors among them."""
    requests: list[bytes] = []
    for _ in range(count):
        key = b"k%d" % rng.randrange(5)
        requests.append(
            rng.choice(
                [
                    encode_request([b"SET", key, b"%d" % rng.randrange(100)]),
                    encode_request([b"INCR", key]),
                    encode_request([b"GET", key]),
                    encode_request([b"LPUSH", b"l" + key, b"x" * rng.randrange(50)]),
                    encode_request([b"MULTI"]),
                    encode_request([b"EXEC"]),
                    encode_request([b"WATCH", key]),
                    encode_request([b"NOPE", key]),
                    encode_request([b"GET"]),
                    encode_request([b"SELECT", b"%d" % rng.randrange(3)]),
                    b"PING inline\r\n",
                    b"\r\n*0\r\n",
                ]
            )
        )
    return b"".join(requests)


@pytest.mark.parametrize("seed", range(20))
def test_parsing_ahead_changes_no_reply(seed: int) -> None:
    """However the bytes are cut, both ways of parsing give the same replies."""
    rng = random.Random(seed)
    data = pipeline(rng, 400)
    cuts = sorted(rng.sample(range(len(data)), 12))
    pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    one, other = session(engine(False)), session(engine(True))
    expected = [send(one, piece) for piece in pieces]
    actual = [send(other, piece) for piece in pieces]
    assert b"".join(actual) == b"".join(expected)


@pytest.mark.parametrize("ahead", [False, True])
def test_requests_behind_a_blocked_one_wait(ahead: bool) -> None:
    """What was sent behind BLPOP is executed after it, once it was served."""
    e = engine(ahead)
    waiting, pushing = session(e), session(e, 2)
    assert send(waiting, b"SET a 1\r\nBLPOP q 0\r\nINCR a\r\n") == b"+OK\r\n"
    assert send(pushing, b"GET a\r\nRPUSH q x\r\n") == b"$1\r\n1\r\n:1\r\n"
    assert send(waiting, b"") == b"*2\r\n$1\r\nq\r\n$1\r\nx\r\n:2\r\n"


@pytest.mark.parametrize("ahead", [False, True])
def test_a_protocol_error_comes_after_what_was_before_it(ahead: bool) -> None:
    """Requests in front of a malformed one are answered, then the error."""
    s = session(engine(ahead))
    replies = send(s, b"PING\r\nSET a 1\r\n*1\r\n#4\r\n")
    assert replies == b"+PONG\r\n+OK\r\n-ERR Protocol error: expected '$', got '#'\r\n"


def test_bounds_before_authentication_hold_with_parsing_ahead() -> None:
    """A large argument behind AUTH is judged after AUTH, not before."""
    e = engine(True)
    e.acl.require(b"secret")
    s = session(e)
    s.authenticated = False
    s.decoder.trusted = False
    s.refresh()
    big = b"x" * 20_000
    assert send(s, encode_request([b"AUTH", b"secret"]) + encode_request([b"SET", b"a", big])) == b"+OK\r\n+OK\r\n"


def test_unblocking_by_hand() -> None:
    """CLIENT UNBLOCK's way: the session answers as if its time was up and goes on."""
    e = engine(True)
    s = session(e)
    assert send(s, b"BLPOP q 0\r\nPING\r\n") == b""
    assert unblock(e, s)
    assert send(s, b"") == b"*-1\r\n+PONG\r\n"
