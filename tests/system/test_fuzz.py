"""Mutated protocol bytes to genuine Valkey and to a node: both answer the same until they hang up, and the node stays.

Each piece of the stream has a connection of its own, whose sending side is closed behind it: what comes back until the
end is compared whole. Found inputs become cases in tests/unit/test_requests.py or in the family's differential test.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.conftest import Server
from tests.differential.generate import SETUP, Generator
from tests.differential.harness import COLLECTED, RANDOM, SCANS, UNORDERED, encoded, report, seeds
from tests.differential.twins import Twin, start_twins

FIXED_SEED = 20261121
LARGE = 60_000  # bytes of an answer that sockets may not take at once
PIECE = 1500  # bytes, about: a few dozen commands
GROWTH = 64 << 20  # resident bytes that a node may gain over a run; the data of both databases is a few kilobytes
BULK_LIMIT = "1mb"  # lest a mutated offset makes a string of half a gigabyte on both servers, as it may
# What may differ by docs/differences.md, or by the clock, and what a spoiled stream must not ask for.
LEFT_OUT = (
    {name.decode() for name in (*RANDOM, *SCANS, *UNORDERED, *COLLECTED)}
    | {"time", "lastsave", "dump", "command|getkeys", "dbsize", "flushall", "copy", "sort"}
    | {"object|idletime", "object|freq", "object|refcount", "memory|usage"}
)  # fmt: skip
CLOCKS = ("ttl", "expire", "restore", "ex", "stream", "x")  # parts of names: what the clock decides; LEX has "ex" too
# Inline requests with these bytes differ as docs/differences.md says, and HELLO tells another version.
SPARED = [(b"\0", b"\2"), (b"\xff", b"\xfe"), (b"hello", b"jelly")]
PIECES = [b"\r\n", b"*", b"$", b"-", b'"', b" ", b"*0\r\n", b"*-1\r\n"]
NUMBERS = [b"0", b"-1", b"1", b"9", b"1000000", b"2147483648", b"9223372036854775808", b"-9223372036854775808"]


def stream(rng: Random, generator: Generator) -> bytes:
    """A piece of valid requests, about PIECE bytes."""
    piece = b""
    while len(piece) < PIECE:
        row = rng.choice(generator.rows)
        words = generator.command(row.text, row.arguments)
        if not any(word.lower() == b"bylex" for word in words):  # undefined on sets with several scores
            piece += encoded(words)
    return piece


def mutate(rng: Random, piece: bytes) -> bytes:
    """The piece with one to four wounds: bytes flipped, lost, doubled, put in, or a number exchanged."""
    for _ in range(rng.randint(1, 4)):
        at, size = rng.randrange(len(piece)), rng.choice([1, 1, 2, 5, 40])
        match rng.randint(0, 5):
            case 0:
                piece = piece[:at] + bytes([piece[at] ^ (1 << rng.randrange(8))]) + piece[at + 1 :]
            case 1:
                piece = piece[:at] + piece[at + size :]
            case 2:
                piece = piece[: at + size] + piece[at : at + size] + piece[at + size :]
            case 3:
                piece = piece[:at] + rng.choice(PIECES) + piece[at:]
            case 4:
                piece = piece[:at] + rng.randbytes(size).replace(b"\0", b"\1") + piece[at:]
            case _:
                start = piece.find(rng.choice([b"$", b"*"]), at) + 1
                end = piece.find(b"\r", start)
                if 0 < start < end:
                    piece = piece[:start] + rng.choice(NUMBERS) + piece[end:]
        if not piece:
            break
    for byte, other in SPARED:
        piece = piece.replace(byte, other)
    return piece


def answer(server: Server, piece: bytes) -> bytes:
    """Everything that the server answers to a piece, until it hangs up."""
    with server.connect() as link:
        got = b""
        try:
            link.sendall(piece)
            link.shutdown(socket.SHUT_WR)
            while data := link.recv(65536):
                got += data
        except ConnectionError:  # hung up on while sending, or with bytes unread
            pass
        return got


def alike(theirs: bytes, ours: bytes) -> bool:
    """Whether the answers are equal; a server that has seen the end may close before all of a large one is sent."""
    shorter, longer = sorted((theirs, ours), key=len)
    return theirs == ours or (len(longer) > LARGE and longer.startswith(shorter))


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    """Genuine Valkey and a node, both with the same small keyspace."""
    with start_twins(tmp_path, "--proto-max-bulk-len", BULK_LIMIT) as twins:
        twin = Twin(*twins.servers)
        for words in SETUP:
            twin.both(*words)
        yield twins.servers
        twin.close()


def _fuzz(pair: tuple[Server, Server], seed: int, total: int) -> None:
    rng = Random(f"fuzz {seed}")
    generator = Generator(rng)
    generator.rows = [
        row for row in generator.rows
        if row.text not in LEFT_OUT and not any(part in row.text for part in CLOCKS) and not row.text.startswith("b")
    ]  # fmt: skip
    oracle, node = pair
    before = 0
    sent = 0
    while sent < total:
        piece = mutate(rng, stream(rng, generator))
        theirs, ours = answer(oracle, piece), answer(node, piece)
        if not alike(theirs, ours):
            pairs = enumerate(zip(theirs, ours, strict=False))
            same = next((i for i, (a, b) in pairs if a != b), min(len(theirs), len(ours)))
            start = max(theirs.rfind(b"\r\n", 0, same) - 100, 0)
            pytest.fail(
                f"KVORUM_DIFF_SEED={seed}: after {sent} bytes, to {piece!r}\n"
                f"  Valkey: ...{theirs[start : same + 300]!r}\n  Kvorum: ...{ours[start : same + 300]!r}"
            )
        sent += len(piece)
        before = before or node.resident()
    assert node.client().ping()
    assert node.resident() - before < GROWTH
    assert "internal error" not in node.log.read_text()


@pytest.mark.parametrize("seed", seeds(FIXED_SEED), ids=["fixed", "new"][: len(seeds(FIXED_SEED))])
def test_mutated_bytes_are_answered_as_valkey_answers(pair: tuple[Server, Server], seed: int) -> None:
    """Half a million mutated bytes: the same replies and errors, the node up and no larger."""
    report(f"KVORUM_DIFF_SEED={seed}")
    _fuzz(pair, seed, 500_000)


@pytest.mark.slow
def test_ten_million_mutated_bytes_are_answered_as_valkey_answers(pair: tuple[Server, Server]) -> None:
    """The same with ten million bytes of a new seed."""
    seed = seeds(FIXED_SEED)[-1]
    report(f"KVORUM_DIFF_SEED={seed}")
    _fuzz(pair, seed, 10_000_000)
