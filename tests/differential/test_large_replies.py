"""Strings that are sent by reference: every byte of the replies around them is genuine Valkey's."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Server
from tests.differential.harness import Session, encoded
from tests.differential.play import play
from tests.differential.test_commandlog import kept
from tests.differential.twins import Twins, start_twins
from tests.system.test_connections import certificate

SIZES = (16, 65535, 65536, 65537, 400_000, 3_000_000)


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """One pair for all tests."""
    with start_twins(tmp_path_factory.mktemp("large")) as found:
        yield found


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def session(request: pytest.FixtureRequest, twins: Twins) -> Iterator[Session]:
    """Clients of a pair that holds a string of each size, a list and nothing else."""
    session = Session(twins, request.param)
    fill = [[b"set", b"k%d" % size, text(size)] for size in SIZES]
    session.run([[b"flushall"], [b"commandlog", b"reset", b"large-reply"], *fill, [b"rpush", b"list", b"a"]])
    yield session
    session.close()


def text(size: int) -> bytes:
    """So many bytes, no two places alike."""
    return (b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(size // 32 + 1)))[:size]


def test_among_other_commands(session: Session) -> None:
    """In pipelines, in MGET, in a transaction and from a script."""
    session.run([[b"get", b"k%d" % size] for size in SIZES])
    session.run([[b"mget", b"k65536", b"none", b"list", b"k16", b"k400000", b"k3000000"], [b"ping"]])
    play(
        session, "get k16;get k65536;get none;get k65537;get list;incr n;get k400000;get k400000;get n;append k65536 x;"
        "get k65536;setrange k65536 1 zz;get k65536;multi;get k400000;get list;mget k65536 k16;exec;"
        "eval \"return server.call('get',KEYS[1])\" 1 k400000;get k65535",
    )  # fmt: skip


def test_without_a_reply(session: Session) -> None:
    """CLIENT REPLY SKIP and OFF hold for them too."""
    for link in session.pair(0).both:
        link.send([b"client", b"reply", b"skip"])
        link.send([b"get", b"k400000"])
        link.send([b"client", b"reply", b"off"])
        link.send([b"get", b"k400000"])
        link.send([b"client", b"reply", b"on"])
        assert link.read(1) == b"+OK\r\n"


def test_their_size_is_logged(session: Session) -> None:
    """COMMANDLOG notes the replies that are too large, with all of their bytes."""
    session.run([[b"get", b"k400000"], [b"get", b"k3000000"], [b"mget", b"k400000", b"k3000000"]])
    ask = [b"commandlog", b"get", b"-1", b"large-reply"]
    ours, theirs = (kept(link.ask(ask), True) for link in session.pair(0).both)
    assert ours == theirs
    assert len(ours) == 2


def test_a_slow_reader(session: Session) -> None:
    """Who reads late gets every byte in its order."""
    for link in session.pair(1).both:
        link.socket.sendall(b"".join(encoded(args) for args in [[b"get", b"k3000000"], [b"incr", b"n"]] * 8))
        for turn in range(1, 9):
            assert link.read(1) == b"$3000000\r\n%b\r\n" % text(3_000_000)
            assert link.read(1) == b":%d\r\n" % turn


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_value_that_changes_while_it_is_sent(
    node_process: Callable[..., Server], tmp_path: Path, free_port: Callable[[], int], tls: bool
) -> None:
    """What was answered stays as it was, whatever becomes of the value before the client reads it."""
    directives, context = certificate(tmp_path)
    port = free_port()
    server = node_process("--tls-port", str(port), *directives)
    client, value = server.client(), text(8_000_000)
    client.set("k", value)
    plain = socket.create_connection(("127.0.0.1", port if tls else server.port), timeout=30)
    with context.wrap_socket(plain, server_hostname="localhost") if tls else plain as link:
        link.sendall(encoded([b"get", b"k"]))
        assert link.recv(1) == b"$"
        client.append("k", "tail")
        client.setrange("k", 0, "HEAD")
        received = b""
        while len(received) < 8_000_011:
            received += link.recv(1 << 20)
    assert received == b"8000000\r\n%b\r\n" % value
    assert client.get("k") == b"HEAD" + value[4:] + b"tail"
