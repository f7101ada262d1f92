"""The request decoder: what it takes, what it refuses and with which words, whatever way the bytes are cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.resp.encode import encode_request
from cluster.resp.errors import ProtocolError
from cluster.resp.requests import INLINE_MAX, RequestDecoder
from tests.conftest import Server

MAX_BULK = 1 << 20

# (bytes, requests, error or None): the requests that come out, then the error that ends the connection.
CASES: list[tuple[bytes, list[list[bytes]], bytes | None]] = [
    (b"", [], None),
    (b"\r\n", [], None),
    (b"\n\n  \r\nPING\r\n", [[b"PING"]], None),
    (b"PING\n", [[b"PING"]], None),
    (b"  SET  a\tb \r\n", [[b"SET", b"a", b"b"]], None),
    (b"SET \"a b\" 'c d'\r\n", [[b"SET", b"a b", b"c d"]], None),
    (b'ECHO "\\x41\\n\\r\\t\\b\\a\\"\\q"\r\n', [[b"ECHO", b'A\n\r\t\b\a"q']], None),
    (b"ECHO 'it\\'s'\r\n", [[b"ECHO", b"it's"]], None),
    (b'ECHO ""\r\n', [[b"ECHO", b""]], None),
    (b'ECHO "open\r\n', [], b"Protocol error: unbalanced quotes in request"),
    (b"ECHO a\"b c\"d'e'\r\n", [[b"ECHO", b"ab cde"]], None),
    (b'ECHO "abc\\\r\n', [], b"Protocol error: unbalanced quotes in request"),
    (b"*1\r\n$4\r\nPING\r\n", [[b"PING"]], None),
    (b"*0\r\n*1\r\n$4\r\nPING\r\n", [[b"PING"]], None),
    (b"*-1\r\n*-5\r\nPING\r\n", [[b"PING"]], None),
    (b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n", [[b"GET", b""]], None),
    (b"*2\r\n$3\r\nGET\r\n$4\r\n\r\n\x00$\r\n", [[b"GET", b"\r\n\x00$"]], None),
    (b"*1\r\n$4\r\nPING\r\nPING\r\n*1\r\n$4\r\nPING\r\n", [[b"PING"]] * 3, None),
    (b"*x\r\n", [], b"Protocol error: invalid multibulk length"),
    (b"*\r\n", [], b"Protocol error: invalid multibulk length"),
    (b"* 1\r\n", [], b"Protocol error: invalid multibulk length"),
    (b"*+1\r\n", [], b"Protocol error: invalid multibulk length"),
    (b"*01\r\n", [], b"Protocol error: invalid multibulk length"),
    (b"*1.0\r\n", [], b"Protocol error: invalid multibulk length"),
    (b"*2147483648\r\n", [], b"Protocol error: invalid multibulk length"),
    (b"*9223372036854775808\r\n", [], b"Protocol error: invalid multibulk length"),
    (b"*1\r\n:4\r\n", [], b"Protocol error: expected '$', got ':'"),
    (b"*1\r\nPING\r\n", [], b"Protocol error: expected '$', got 'P'"),
    (b"*1\r\n$-1\r\n", [], b"Protocol error: invalid bulk length"),
    (b"*1\r\n$x\r\n", [], b"Protocol error: invalid bulk length"),
    (b"*1\r\n$\r\n", [], b"Protocol error: invalid bulk length"),
    (b"*1\r\n$04\r\n", [], b"Protocol error: invalid bulk length"),
    (b"*1\r\n$1048577\r\n", [], b"Protocol error: invalid bulk length"),
    (b"*1\r\n$99999999999999999999\r\n", [], b"Protocol error: invalid bulk length"),
    (b"PING\r\n*1\r\n$-2\r\n", [[b"PING"]], b"Protocol error: invalid bulk length"),
    (b"*1\rX$4\r\nPING\r\n", [], b"Protocol error: invalid CRLF in request"),
    (b"*abc\rX", [], b"Protocol error: invalid CRLF in request"),
    (b"*-1\rXPING\r\n", [], b"Protocol error: invalid CRLF in request"),
    (b"*1\r\n$4\rXPING\r\n", [], b"Protocol error: invalid CRLF in request"),
    (b"*1\r\n$99999999999999\rX", [], b"Protocol error: invalid CRLF in request"),
    (b"*1\r\n\xff4\r\n", [], b"Protocol error: expected '$', got '\xff'"),
    (b"*1\r\n\n4\r\n", [], b"Protocol error: expected '$', got ' '"),
    (b"*-9223372036854775808\r\nPING\r\n", [[b"PING"]], None),
    (b"*-9223372036854775809\r\n", [], b"Protocol error: invalid multibulk length"),
    (b"*-922337203685477580x\r\n", [], b"Protocol error: invalid multibulk length"),
    (b"*1\r\nX4\rX", [], b"Protocol error: expected '$', got 'X'"),
    (b"PING\r\n*1\r\n$4\r\nPING\rX", [[b"PING"]], b"Protocol error: invalid CRLF in request"),
    (b"*1\r\n$4\r\nPINGX\n", [], b"Protocol error: invalid CRLF in request"),
    (b"*2\r\n$4\r\nECHO\r\n$40000\r\n" + b"x" * 40000 + b"ab", [], b"Protocol error: invalid CRLF in request"),
    (b"*" + b"1" * (INLINE_MAX + 1), [], b"Protocol error: too big mbulk count string"),
    (b"*1\r\n$" + b"1" * (INLINE_MAX + 1), [], b"Protocol error: too big bulk count string"),
    (b"x" * (INLINE_MAX + 2), [], b"Protocol error: too big inline request"),
]
UNTRUSTED: list[tuple[bytes, list[list[bytes]], bytes | None]] = [
    (b"*10\r\n" + b"$1\r\na\r\n" * 10, [[b"a"] * 10], None),
    (b"*11\r\n", [], b"Protocol error: unauthenticated multibulk length"),
    (b"*2147483647\r\n", [], b"Protocol error: unauthenticated multibulk length"),
    (b"*1\r\n$16384\r\n" + b"a" * 16384 + b"\r\n", [[b"a" * 16384]], None),
    (b"*1\r\n$16385\r\n", [], b"Protocol error: unauthenticated bulk length"),
    (b"*1\r\n$1048577\r\n", [], b"Protocol error: invalid bulk length"),
]
IDS = [repr(data[:24]) for data, _, _ in CASES]


def decode(pieces: list[bytes], trusted: bool = True) -> tuple[list[list[bytes]], bytes | None, int]:
    """The requests in pieces of input, the error after them, and the most bytes that were held at any time."""
    decoder = RequestDecoder(trusted, MAX_BULK)
    requests: list[list[bytes]] = []
    held = 0
    try:
        for piece in pieces:
            decoder.feed(piece)
            while decoder.next():
                requests.append(decoder.args)
            held = max(held, decoder.held())
    except ProtocolError as error:
        return requests, error.text, held
    return requests, None, held


@pytest.mark.parametrize(("data", "requests", "error"), CASES, ids=IDS)
def test_whole(data: bytes, requests: list[list[bytes]], error: bytes | None) -> None:
    """Input that comes in one piece gives these requests and this error."""
    assert decode([data])[:2] == (requests, error)


@pytest.mark.parametrize(("data", "requests", "error"), CASES, ids=IDS)
def test_byte_by_byte(data: bytes, requests: list[list[bytes]], error: bytes | None) -> None:
    """Input that comes a byte at a time gives the same."""
    size = 1 if len(data) < 1000 else 997
    assert decode([data[i : i + size] for i in range(0, len(data), size)])[:2] == (requests, error)


@pytest.mark.parametrize(
    ("data", "requests"),
    [(d, r) for d, r, e in CASES if e is None],
    ids=[i for i, c in zip(IDS, CASES, strict=True) if c[2] is None],
)
def test_what_follows_is_the_next_request(data: bytes, requests: list[list[bytes]]) -> None:
    """A request leaves what comes after it alone."""
    assert decode([data + b"*1\r\n$4\r\nLAST\r\n"])[:2] == ([*requests, [b"LAST"]], None)


@pytest.mark.parametrize(("data", "requests", "error"), UNTRUSTED)
def test_before_authentication(data: bytes, requests: list[list[bytes]], error: bytes | None) -> None:
    """Before AUTH a request has at most 10 arguments of at most 16 KB."""
    assert decode([data], trusted=False)[:2] == (requests, error)


@pytest.mark.parametrize(
    "data", [d for d, _, e in CASES if e is not None], ids=[i for i, c in zip(IDS, CASES, strict=True) if c[2]]
)
def test_refusals_are_valkeys(oracle: Server, data: bytes) -> None:
    """Genuine Valkey refuses what the decoder refuses, with the same words."""
    if b"1048577" in data:
        pytest.skip("the oracle's proto-max-bulk-len is larger")
    expected = decode([data])[1]
    with oracle.connect() as link:
        link.sendall(data)
        answer = b""
        while b"-ERR" not in answer or not answer.endswith(b"\r\n"):
            piece = link.recv(4096)
            assert piece, answer
            answer += piece
    assert answer.removeprefix(b"+PONG\r\n") == b"-ERR " + (expected or b"") + b"\r\n"


def test_a_large_argument_is_collected() -> None:
    """An argument of many reads arrives whole, with the request after it; the decoder says how much it wants."""
    value = bytes(range(256)) * 2048
    data = encode_request([b"SET", b"k", value]) + b"PING\r\n"
    decoder = RequestDecoder(True, MAX_BULK)
    decoder.feed(data[:100])
    assert not decoder.next()
    assert decoder.wanted() == len(value) + 2 - (100 - data.index(b"\x00\x01"))
    decoder.feed(data[100:])
    assert decoder.next()
    assert decoder.args == [b"SET", b"k", value]
    assert decoder.next()
    assert decoder.args == [b"PING"]


def test_raw_is_the_request_as_it_came() -> None:
    """`buf[start:end]` is the multibulk form when `raw` is true; an inline request has none."""
    one, two = encode_request([b"GET", b"a"]), encode_request([b"DEL", b"b", b"c"])
    decoder = RequestDecoder(True, MAX_BULK)
    decoder.feed(one + b"PING\r\n" + two)
    for expected in (one, None, two):
        assert decoder.next()
        assert (decoder.buf[decoder.start : decoder.end] if decoder.raw else None) == expected


words = st.one_of(st.binary(max_size=40), st.sampled_from([b"$", b"*", b"\r\n", b"*1\r\n", b"-1"]))
good = st.lists(words, min_size=1, max_size=6).map(encode_request)
noise = st.one_of(
    good, good, st.binary(max_size=30), st.sampled_from([c for c, _, _ in CASES if len(c) < 100]),
    st.integers(-3, 200).map(lambda n: b"*%d\r\n" % n), st.integers(-3, 200).map(lambda n: b"$%d\r\n" % n),
)  # fmt: skip


@settings(deadline=None, max_examples=400)
@given(st.lists(noise, max_size=6).map(b"".join), st.lists(st.integers(0, 400), max_size=8))
def test_cuts_change_nothing(data: bytes, cuts: list[int]) -> None:
    """Any bytes, cut anywhere, give the same requests and the same error, and no more is held than has come."""
    places = sorted({0, len(data), *[cut for cut in cuts if cut < len(data)]})
    pieces = [data[a:b] for a, b in itertools.pairwise(places)]
    for trusted in (True, False):
        requests, error, held = decode([data], trusted)
        cut_requests, cut_error, cut_held = decode(pieces, trusted)
        assert (cut_requests, cut_error) == (requests, error)
        assert max(held, cut_held) <= len(data)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.lists(words, min_size=1, max_size=5), max_size=5))
def test_encoded_requests_come_back(requests: list[list[bytes]]) -> None:
    """What encode_request writes the decoder reads."""
    assert decode([b"".join(map(encode_request, requests))])[:2] == (requests, None)


def test_announced_sizes_allocate_nothing() -> None:
    """A count of two billion and a length of a megabyte hold only the bytes that came."""
    requests, error, held = decode([b"*2147483647\r\n$1048576\r\nabc"])
    assert (requests, error) == ([], None)
    assert held <= 30
