"""Hostile clients against a real node: refused in Valkey's words before memory is spent, while others are served."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from cluster.resp.encode import encode_request
from tests.conftest import Server

MEGABYTE = 1 << 20
PATIENCE = 30.0

ILL_FORMED = [
    pytest.param(b"*100\r\n", id="count-before-auth"),
    pytest.param(b"*1\r\n$100000\r\n", id="length-before-auth"),
    pytest.param(b"*2147483648\r\n", id="count-beyond-bounds"),
    pytest.param(b"*x\r\n", id="count-no-number"),
    pytest.param(b"*1\r\n$-5\r\n", id="length-negative"),
    pytest.param(b"*1\r\n$x\r\n", id="length-no-number"),
    pytest.param(b"*1\r\n+PING\r\n", id="no-bulk"),
    pytest.param(b'SET a "b\r\n', id="quotes"),
    pytest.param(b"A" * 70_000, id="inline-without-end"),
    pytest.param(b"*" + b"1" * 70_000, id="count-line-without-end"),
    pytest.param(b"*1\r\n$" + b"1" * 70_000, id="length-line-without-end"),
]
TRUSTED = [
    pytest.param(b"*1\r\n$536870913\r\n", id="length-beyond-proto-max-bulk-len"),
    pytest.param(b"*3000000000\r\n", id="count-beyond-bounds"),
    pytest.param(b"*2\r\n$3\r\nGET\r\n#1\r\na\r\n", id="no-bulk-later"),
]


def last_words(server: Server, data: bytes) -> bytes:
    """What is answered before the server closes the connection."""
    with server.connect() as link:
        link.settimeout(PATIENCE)
        link.sendall(data)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := link.recv(65536):
                answer += piece
        return answer


def resident(server: Server) -> int:
    """Resident bytes of the server's process."""
    return int(Path(f"/proc/{server.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("data", ILL_FORMED)
def test_before_authentication(
    node_process: Callable[..., Server], oracle_process: Callable[..., Server], data: bytes
) -> None:
    """Without a password given, small bounds hold; the words are a genuine server's."""
    ours, theirs = node_process("--requirepass", "secret"), oracle_process("--requirepass", "secret")
    answer = last_words(ours, data)
    assert answer.startswith(b"-ERR Protocol error")
    assert answer == last_words(theirs, data)


@pytest.mark.parametrize("data", TRUSTED)
def test_after_authentication(node_process: Callable[..., Server], oracle: Server, data: bytes) -> None:
    """The larger bounds are refused in the same words, from the length line alone."""
    ours = node_process()
    before = resident(ours)
    answer = last_words(ours, data)
    assert answer.startswith(b"-ERR Protocol error")
    assert answer == last_words(oracle, data)
    assert resident(ours) - before < 32 * MEGABYTE


def test_promised_bytes_cost_nothing_before_they_come(node_process: Callable[..., Server]) -> None:
    """Fifty clients that announce 500 MB and a million arguments, and send little, leave the memory as it was."""
    server = node_process()
    before = resident(server)
    with contextlib.ExitStack() as stack:
        for i in range(50):
            link = stack.enter_context(server.connect())
            link.sendall(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$500000000\r\nabc" if i % 2 else b"*1000000\r\n$1\r\na\r\n")
        assert server.client().ping()
        assert resident(server) - before < 32 * MEGABYTE


def test_memory_before_authentication_is_bounded(node_process: Callable[..., Server]) -> None:
    """A stranger can send as much as it likes: every complete request is answered, nothing is kept."""
    server = node_process("--requirepass", "secret")
    before = resident(server)
    with server.connect() as link:
        for _ in range(200):
            link.sendall(encode_request([b"SET", b"k", b"x" * 16_000]) * 4)
            got = 0
            while got < 4 * len(b"-NOAUTH Authentication required.\r\n"):
                got += len(link.recv(65536))
    assert resident(server) - before < 32 * MEGABYTE


def read_nothing(server: Server, requests: bytes) -> socket.socket:
    """A client with a small receive buffer that sends requests and never reads."""
    link = socket.socket()
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    link.settimeout(PATIENCE)
    link.connect((server.host, server.port))
    link.sendall(requests)
    return link


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until a condition of another process holds."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError(f"never came: {what}")


def test_a_client_that_never_reads_is_disconnected_at_its_limit(node_process: Callable[..., Server]) -> None:
    """Its class's hard limit ends it, and is counted; the others never notice."""
    server = node_process("--client-output-buffer-limit", "normal", "8mb", "0", "0")
    client = server.client()
    client.set("big", b"x" * MEGABYTE)
    before = resident(server)
    with read_nothing(server, encode_request([b"MGET", *[b"big"] * 64])):
        until(lambda: client.info("clients")["connected_clients"] == 1, "the disconnection")
        assert client.info("stats")["client_output_buffer_limit_disconnections"] == 1
    assert client.get("big") == b"x" * MEGABYTE
    assert resident(server) - before < 160 * MEGABYTE


def test_without_a_limit_a_client_that_never_reads_is_not_served_on(node_process: Callable[..., Server]) -> None:
    """A pipeline of large reads stops where its output waits: the memory is bounded though no limit is set."""
    server = node_process()
    client = server.client()
    client.set("big", b"x" * 100_000)
    before = resident(server)
    with read_nothing(server, encode_request([b"GET", b"big"]) * 2000):  # 200 MB if it were all answered
        until(lambda: client.info("clients")["connected_clients"] == 2, "the other client is there")
        for _ in range(50):
            assert client.ping()
        assert resident(server) - before < 32 * MEGABYTE


def test_a_slow_reader_gets_everything_in_order(node_process: Callable[..., Server]) -> None:
    """What stopped at the output bound goes on when the client reads."""
    server = node_process()
    server.client().set("big", b"x" * 50_000)
    requests = b"".join(encode_request([b"GET", b"big"]) + encode_request([b"ECHO", b"%06d" % i]) for i in range(300))
    expected = 300 * (len(b"$50000\r\n") + 50_002 + len(b"$6\r\n000000\r\n"))
    with read_nothing(server, requests) as link:
        data = bytearray()
        while len(data) < expected:
            data += link.recv(65536)
    assert [data.count(b"$6\r\n%06d\r\n" % i) for i in range(300)] == [1] * 300
    assert data.endswith(b"$6\r\n000299\r\n")


def test_subscribers_that_do_not_read(node_process: Callable[..., Server]) -> None:
    """A subscriber beyond the pubsub limit is disconnected while publishers go on."""
    server = node_process("--client-output-buffer-limit", "pubsub", "4mb", "0", "0")
    client = server.client()
    with read_nothing(server, encode_request([b"SUBSCRIBE", b"c"])):
        until(lambda: client.pubsub_numsub("c") == [(b"c", 1)], "the subscription")
        for _ in range(64):
            client.publish("c", b"x" * 500_000)
        until(lambda: client.pubsub_numsub("c") == [(b"c", 0)], "the disconnection")


@pytest.mark.slow
def test_five_thousand_connections(node_process: Callable[..., Server]) -> None:
    """All are served at the same time."""
    wanted = 5_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < wanted + 200:
        pytest.skip(f"this machine allows {hard} descriptors a process, {wanted + 200} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted + 200), hard))
    server = node_process("--maxclients", str(wanted + 50))
    with contextlib.ExitStack() as stack:
        links = [stack.enter_context(server.connect()) for _ in range(wanted)]
        for i, link in enumerate(links):
            link.sendall(encode_request([b"SET", b"k%d" % i, b"%d" % i]) + encode_request([b"GET", b"k%d" % i]))
        for i, link in enumerate(links):
            reply = b"+OK\r\n$%d\r\n%d\r\n" % (len(b"%d" % i), i)
            data = b""
            while len(data) < len(reply):
                data += link.recv(len(reply) - len(data))
            assert data == reply
        assert server.client().info("clients")["connected_clients"] == wanted + 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_maxclients(node_process: Callable[..., Server]) -> None:
    """One connection too many is told and closed."""
    server = node_process("--maxclients", "3")
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            link = stack.enter_context(server.connect())
            link.sendall(b"PING\r\n")
            assert link.recv(64) == b"+PONG\r\n"
        assert last_words(server, b"") == b"-ERR max number of clients reached\r\n"


def test_idle_clients_are_closed(node_process: Callable[..., Server]) -> None:
    """After `timeout` seconds; subscribers and blocked clients stay."""
    server = node_process("--timeout", "1")
    with server.connect() as idle, server.connect() as listener, server.connect() as blocked:
        listener.sendall(b"SUBSCRIBE c\r\n")
        assert listener.recv(4096).startswith(b"*3")
        blocked.sendall(b"BLPOP q 0\r\n")
        idle.settimeout(PATIENCE)
        assert idle.recv(64) == b""
        client = server.client()
        client.rpush("q", "x")
        assert blocked.recv(4096) == b"*2\r\n$1\r\nq\r\n$1\r\nx\r\n"
        client.publish("c", "m")
        assert listener.recv(4096).endswith(b"$1\r\nm\r\n")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """A server certificate with its key in one file, and the authority's certificate."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    server = authority.issue_cert("localhost", "127.0.0.1")
    server.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    yield folder / "server.pem", folder / "ca.pem"


def test_unfinished_handshakes_hold_up_nobody(
    node_process: Callable[..., Server], free_port: Callable[[], int], certificates: tuple[Path, Path]
) -> None:
    """Clients that stop in the middle of a TLS handshake, or send nonsense, leave the port open for others."""
    server_file, authority = certificates
    port = free_port()
    node_process(
        "--tls-port", str(port), "--tls-cert-file", str(server_file), "--tls-key-file", str(server_file),
        "--tls-auth-clients", "no",
    )  # fmt: skip
    context = ssl.create_default_context(cafile=str(authority))
    with contextlib.ExitStack() as stack:
        for i in range(40):
            link = stack.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE))
            link.sendall(b"\x16\x03\x01\x02\x00" if i % 2 else b"PING\r\n")
        plain = socket.create_connection(("127.0.0.1", port), PATIENCE)
        secure = stack.enter_context(context.wrap_socket(plain, server_hostname="localhost"))
        secure.sendall(encode_request([b"SET", b"a", b"x" * 100_000]) + b"PING\r\n")
        data = b""
        while not data.endswith(b"+PONG\r\n"):
            data += secure.recv(4096)
        assert data == b"+OK\r\n+PONG\r\n"
