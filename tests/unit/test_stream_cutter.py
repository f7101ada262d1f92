"""What of a primary's stream may be applied: whole commands, whole transactions, however the bytes come in."""

import random

import pytest

from cluster.resp.encode import encode_request
from node.replication.cutter import Cutter, StreamError


def command(*words: bytes) -> bytes:
    """A command as primaries send it."""
    return encode_request(words)


UNITS = [
    command(b"SELECT", b"0"),
    command(b"SET", b"a", b"x" * 10),
    command(b"MULTI") + command(b"SET", b"b", b"1") + command(b"INCR", b"b") + command(b"EXEC"),
    command(b"PING"),
    b"\n",
    command(b"RPUSH", b"l", *[b"%d" % i for i in range(3000)]),
    command(b"SET", b"big", b"\r\n$5\r\n*3\r\n" * 30_000),
    b"PING\r\n",
    command(b"multi") + command(b"SET", b"big", b"y" * 200_000) + command(b"LPUSH", b"l", b"") + command(b"exec"),
    command(b"SET", b"exec", b"multi"),
    command(b"REPLCONF", b"GETACK", b"*"),
    b"*0\r\n",
]


def cut(pieces: list[bytes], limit: int) -> list[bytes]:
    """What a cutter gives for these pieces."""
    cutter = Cutter()
    given = []
    for piece in pieces:
        cutter.feed(piece)
        while data := cutter.take(limit):
            given.append(data)
    assert cutter.pending() == sum(map(len, pieces)) - sum(map(len, given))
    return given


def edges(parts: list[bytes]) -> set[int]:
    """The offsets at which parts end."""
    found, offset = set(), 0
    for part in parts:
        offset += len(part)
        found.add(offset)
    return found


@pytest.mark.parametrize("limit", [1, 1000, 10**9])
@pytest.mark.parametrize("most", [1, 7, 3000, 70_000, 10**9])
def test_pieces_end_behind_whole_units(most: int, limit: int) -> None:
    """Nothing is lost or changed, and every piece ends where a command or transaction does."""
    stream = b"".join(UNITS)
    rng = random.Random(most)
    pieces, offset = [], 0
    if most == 1:
        stream = b"".join(unit for unit in UNITS if len(unit) < 1000)
    while offset < len(stream):
        size = rng.randint(1, most)
        pieces.append(stream[offset : offset + size])
        offset += size
    given = cut(pieces, limit)
    assert b"".join(given) == stream
    assert edges(given) <= edges(UNITS if most > 1 else [unit for unit in UNITS if len(unit) < 1000])


@pytest.mark.parametrize("most", [7, 500, 100_000])
def test_what_is_whole_is_given_at_once(most: int) -> None:
    """Wherever the bytes are divided, no whole unit waits for bytes of later ones."""
    rng = random.Random(most)
    cutter = Cutter()
    units = UNITS * 3
    stream = b"".join(units)
    ends = sorted(edges(units))
    fed = given = 0
    while fed < len(stream):
        # Short pieces about the ends of units, where the state of one must not remain for the next.
        near = min(abs(end - fed) for end in ends) < 20
        piece = stream[fed : fed + (rng.randint(1, 3) if near else rng.randint(1, most) * 10)]
        begins = next((end for end in ends if end > fed), len(stream))
        piece = piece[: begins - fed + rng.randint(0, 4)]
        cutter.feed(piece)
        fed += len(piece)
        while data := cutter.take(1 << 30):
            given += len(data)
        assert given == max((end for end in ends if end <= fed), default=0), stream[given:fed][:50]


@pytest.mark.parametrize("split", [1, 2, 3, 4, 5])
def test_the_size_of_a_big_command_is_no_measure_for_the_next(split: int) -> None:
    """A command behind a big one whose head comes in two pieces is given as soon as it is whole."""
    big, small = command(b"SET", b"big", b"x" * 200_000), UNITS[1]
    cutter = Cutter()
    cutter.feed(big[:1000])
    assert cutter.take(1 << 30) == b""
    cutter.feed(big[1000:] + small[:split])
    assert cutter.take(1 << 30) == big
    assert cutter.take(1 << 30) == b""
    cutter.feed(small[split:])
    assert cutter.take(1 << 30) == small


@pytest.mark.parametrize("index", range(len(UNITS)))
def test_half_a_unit_is_held_back(index: int) -> None:
    """Of a unit without its last byte nothing is given; with it all of it."""
    unit = UNITS[index]
    cutter = Cutter()
    cutter.feed(unit[:-1])
    assert cutter.take(1 << 30) == b""
    cutter.feed(unit[-1:])
    assert cutter.take(1 << 30) == unit
    assert cutter.pending() == 0


def test_transactions_come_whole_whatever_the_limit() -> None:
    """The limit ends pieces only outside of transactions."""
    transaction = UNITS[2]
    assert cut([transaction + UNITS[1] + UNITS[3]], 1) == [transaction, UNITS[1], UNITS[3]]


def test_what_comes_before_a_transaction_does_not_wait_for_it() -> None:
    """Whole commands are given although the transaction behind them has not ended."""
    cutter = Cutter()
    cutter.feed(UNITS[1] + UNITS[2][:-3])
    assert cutter.take(1 << 30) == UNITS[1]
    assert cutter.take(1 << 30) == b""
    cutter.feed(UNITS[2][-3:] + UNITS[3])
    assert cutter.take(1 << 30) == UNITS[2] + UNITS[3]


def test_fed_before_all_is_taken() -> None:
    """More may come while there is still something to take."""
    cutter = Cutter()
    cutter.feed(UNITS[1] + UNITS[3] + UNITS[2][:30])
    assert cutter.take(1) == UNITS[1]
    cutter.feed(UNITS[2][30:])
    assert cutter.take(1) == UNITS[3]
    assert cutter.take(1) == UNITS[2]
    assert cutter.pending() == 0


@pytest.mark.parametrize(
    "data", [b"*1\r\n+5\r\n", b"*x\r\n", b"*1\r\n$-1\r\n", b"*1\n", b"*9999999999999999\r\n", b"*\r\n", b"x" * 70_000]
)
def test_nonsense_is_refused(data: bytes) -> None:
    """What is no stream of commands ends the link."""
    cutter = Cutter()
    cutter.feed(data)
    with pytest.raises(StreamError):
        cutter.take(1 << 20)
