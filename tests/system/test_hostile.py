"""Clients that mean harm, or are careless: a node refuses, bounds or drops them, and goes on serving the others."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

import psutil
import pytest

from cluster.catalog import COMMANDS
from cluster.resp.encode import encode_request
from tests.conftest import Server

Start = Callable[..., Server]
MEGABYTE = 1 << 20
GARBAGE = [
    bytes(range(256)), b"\x16\x03\x01\x02\x00" + b"\0" * 200, b"GET / HTTP/1.1\r\n\r\n", b"*3\r\n$3\r\n", b"\0" * 70000,
    b"$5\r\nhello\r\n", b"*1\r\n*1\r\n", b"SUNSUBSCRIBE\r\n", encode_request([b"\xff" * 1000] * 50),
]  # fmt: skip


def memory(server: Server) -> int:
    """Resident bytes of the process."""
    return int(psutil.Process(server.pid).memory_info().rss)


def read_all(link: socket.socket) -> bytes:
    """Everything until the other side closes."""
    found: list[bytes] = []
    with contextlib.suppress(ConnectionError):
        while piece := link.recv(65536):
            found.append(piece)
    return b"".join(found)


def push(link: socket.socket, data: bytes, times: int) -> int:
    """Send until the other side has closed or does not read any more; returns the bytes that went out."""
    link.settimeout(2)
    sent = 0
    with contextlib.suppress(ConnectionError, TimeoutError):
        for _ in range(times):
            link.sendall(data)
            sent += len(data)
    return sent


def assert_serves(server: Server, *greeting: bytes) -> None:
    """A new client is answered."""
    with server.connect() as link:
        for command in greeting:
            link.sendall(command)
            link.recv(100)
        link.sendall(b"PING\r\n")
        assert link.recv(100) == b"+PONG\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "answer"),
    [
        (b"*11\r\n", b"-ERR Protocol error: unauthenticated multibulk length\r\n"),
        (b"*1000000000\r\n", b"-ERR Protocol error: unauthenticated multibulk length\r\n"),
        (b"*2\r\n$4\r\nAUTH\r\n$16385\r\n", b"-ERR Protocol error: unauthenticated bulk length\r\n"),
        (b"*2\r\n$4\r\nAUTH\r\n$500000000\r\n", b"-ERR Protocol error: unauthenticated bulk length\r\n"),
        (b"*-", None),
        (b"*x\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
        (b"x" * 66000, b"-ERR Protocol error: too big inline request\r\n"),
    ],
)
def test_before_authentication(
    node_process: Start, oracle_process: Start, request_bytes: bytes, answer: bytes | None
) -> None:
    """Before AUTH large counts and lengths are refused as Valkey refuses them, the client is dropped, memory stays."""
    for start in (node_process, oracle_process):
        server = start("--requirepass", "secret")
        before = memory(server)
        with server.connect() as link:
            link.sendall(request_bytes)
            if answer is not None:
                assert read_all(link) == answer
            push(link, b"y" * 65536, 200 if answer is not None else 0)
        assert memory(server) - before < 8 * MEGABYTE
        assert_serves(server, b"AUTH secret\r\n")


def test_before_authentication_nothing_is_executed(node_process: Start) -> None:
    """Commands before AUTH get NOAUTH, whatever they are, and change nothing."""
    server = node_process("--requirepass", "secret")
    with server.connect() as link:
        link.sendall(
            b"SET a 1\r\nFLUSHALL\r\nCONFIG GET requirepass\r\nKVORUM TOPOLOGY GET\r\nSUBSCRIBE a\r\nMULTI\r\nQUIT\r\n"
        )
        answers = read_all(link).split(b"\r\n")
    assert all(line.startswith(b"-NOAUTH") for line in answers[:6])
    assert server.client(password="secret").get("a") is None


def test_announced_megabytes_are_not_allocated(node_process: Start) -> None:
    """A client that announces a large argument and sends nothing of it costs nothing."""
    server = node_process()
    before = memory(server)
    links = [server.connect() for _ in range(20)]
    for link in links:
        link.sendall(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\nabc")
    assert_serves(server)
    assert memory(server) - before < 16 * MEGABYTE
    for link in links:
        link.close()


def test_query_buffer_limit(node_process: Start) -> None:
    """A client whose unfinished request outgrows client-query-buffer-limit is dropped."""
    server = node_process("--client-query-buffer-limit", "1mb")
    with server.connect() as link:
        push(link, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000000\r\n" + b"x" * 65536, 1)
        push(link, b"x" * 65536, 200)
        assert read_all(link) == b""
    assert server.client().exists("k") == 0


def test_client_that_never_reads_is_dropped(node_process: Start) -> None:
    """A reply beyond the limit of the normal class that nobody reads ends the connection."""
    server = node_process("--client-output-buffer-limit", "normal", "8mb", "0", "0")
    server.client().set("big", b"x" * MEGABYTE)
    with server.connect() as link:
        link.sendall(encode_request([b"MGET", *[b"big"] * 24]))
        assert_serves(server)
        assert len(read_all(link)) < 24 * MEGABYTE
    assert_serves(server)


def test_requests_wait_while_nobody_reads_the_replies(node_process: Start) -> None:
    """A client that sends requests and reads nothing is not read any more either: memory stays bounded."""
    server = node_process()
    server.client().set("big", b"x" * MEGABYTE)
    before = memory(server)
    with server.connect() as link:
        push(link, b"GET big\r\n" * 1000, 1)
        assert_serves(server)
        assert memory(server) - before < 40 * MEGABYTE


def test_subscriber_that_never_reads_is_dropped(node_process: Start) -> None:
    """A subscriber that does not read is dropped at the limit of the pubsub class; the publisher goes on."""
    server = node_process("--client-output-buffer-limit", "pubsub", "4mb", "2mb", "60")
    publisher = server.client()
    with server.connect() as link:
        link.sendall(b"SUBSCRIBE news\r\n")
        assert link.recv(100).startswith(b"*3")
        before = memory(server)
        receivers = [publisher.publish("news", b"x" * MEGABYTE) for _ in range(64)]
        assert receivers[0] == 1
        assert receivers[-1] == 0
        assert memory(server) - before < 40 * MEGABYTE


def test_slow_reader_gets_everything(node_process: Start) -> None:
    """A client that reads late, within its limits, loses nothing, and its requests wait meanwhile."""
    server = node_process()
    server.client().set("value", b"v" * 100_000)
    with server.connect() as link:
        link.settimeout(30)
        link.sendall(b"GET value\r\n" * 200 + b"QUIT\r\n")
        assert_serves(server)
        one = b"$100000\r\n" + b"v" * 100_000 + b"\r\n"
        assert read_all(link) == one * 200 + b"+OK\r\n"


def test_maxclients(node_process: Start, oracle_process: Start) -> None:
    """The client that is one too many hears why, with Valkey's words; the place of one that leaves is given away."""
    for start in (oracle_process, node_process):
        server = start("--maxclients", "3")
        links = [server.connect() for _ in range(3)]
        for link in links:
            link.sendall(b"PING\r\n")
            assert link.recv(100) == b"+PONG\r\n"
        with server.connect() as late:
            assert read_all(late) == b"-ERR max number of clients reached\r\n"
        for link in links:
            link.close()
        assert_serves_soon(server)


def assert_serves_soon(server: Server) -> None:
    """A client is served once the server has noticed that others are gone."""
    for _ in range(1000):
        with contextlib.suppress(ConnectionError), server.connect() as link:
            link.sendall(b"PING\r\n")
            if link.recv(100) == b"+PONG\r\n":
                return
    raise AssertionError("no place was given away")


def test_garbage(node_process: Start) -> None:
    """Bytes that are no request end in an error or in silence, never in the end of the node."""
    server = node_process()
    for garbage in GARBAGE:
        with server.connect() as link:
            push(link, garbage, 1)
    assert server.process.poll() is None
    assert_serves(server)


def test_every_command_without_arguments(node_process: Start) -> None:
    """Each command named alone is answered or refused, and the node stays."""
    server = node_process()
    for name in COMMANDS:
        if name in (b"shutdown", b"sync", b"quit"):
            continue
        with server.connect() as link:
            link.sendall(encode_request([name]))
            assert link.recv(10), name
    assert "Traceback" not in server.log.read_text()
    assert_serves(server)
