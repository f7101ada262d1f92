"""Connections: very many, idle ones, foreign ones, and TLS handshakes that are never finished."""

from __future__ import annotations

import resource
import selectors
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from tests.conftest import Server, find_free_port

Start = Callable[..., Server]
MANY = 5000


@pytest.fixture
def many_files() -> Iterator[None]:
    """Room for both ends of MANY connections, as far as the hard limit allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MANY + 500
    if hard not in (-1, resource.RLIM_INFINITY) and hard < wanted:
        pytest.skip(f"the hard limit of open files is {hard}, {wanted} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow
def test_five_thousand_connections(node_process: Start, many_files: None) -> None:
    """Five thousand clients at once are all answered, several times."""
    server = node_process("--tcp-backlog", "4096")
    links = [server.connect() for _ in range(MANY)]
    try:
        for turn in range(3):
            for number, link in enumerate(links):
                link.sendall(b"SET key:%d %d\r\nGET key:%d\r\n" % (number, turn, number))
            waiting = selectors.DefaultSelector()
            for link in links:
                waiting.register(link, selectors.EVENT_READ)
            got = dict.fromkeys(links, b"")
            left = set(links)
            deadline = time.monotonic() + 60
            while left:
                assert time.monotonic() < deadline
                for key, _ in waiting.select(1):
                    link = key.fileobj
                    assert isinstance(link, socket.socket)
                    got[link] += link.recv(100)
                    if got[link] == b"+OK\r\n$1\r\n%d\r\n" % turn:
                        left.discard(link)
            waiting.close()
        assert server.client().dbsize() == MANY
    finally:
        for link in links:
            link.close()


def test_idle_clients_are_dropped(node_process: Start) -> None:
    """`timeout` closes a client that says nothing, but not a subscriber or one that waits for a key."""
    server = node_process("--timeout", "1")
    idle, subscriber, blocked = server.connect(), server.connect(), server.connect()
    subscriber.sendall(b"SUBSCRIBE news\r\n")
    assert subscriber.recv(100).startswith(b"*3")
    blocked.sendall(b"BLPOP list 0\r\n")
    assert idle.recv(1) == b""
    client = server.client()
    assert client.publish("news", "still there") == 1
    client.rpush("list", "x")
    assert blocked.recv(100).startswith(b"*2")
    for link in (idle, subscriber, blocked):
        link.close()


def certificate(folder: Path) -> tuple[list[str], ssl.SSLContext]:
    """Directives of a TLS port, and the context of its clients."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.private_key_pem.write_to_path(str(folder / "key.pem"))
    issued.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    files = ["--tls-cert-file", str(folder / "cert.pem"), "--tls-key-file", str(folder / "key.pem")]
    return [*files, "--tls-auth-clients", "no"], context


def test_unfinished_handshakes_hold_nobody_up(node_process: Start, tmp_path: Path) -> None:
    """Clients that stop in the middle of a TLS handshake, or talk no TLS at all, do not keep others from theirs."""
    directives, context = certificate(tmp_path)
    port = find_free_port()
    server = node_process("--tls-port", str(port), *directives)
    silent = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(50)]
    for number, link in enumerate(silent):
        link.sendall([b"", b"\x16\x03\x01\x02\x00\x01", b"PING\r\n", b"\x16"][number % 4])
    for _ in range(5):
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as link,
        ):
            link.sendall(b"PING\r\n")
            assert link.recv(100) == b"+PONG\r\n"
    with server.connect() as link:
        link.sendall(b"PING\r\n")
        assert link.recv(100) == b"+PONG\r\n"
    for link in silent:
        link.close()


def test_protected_mode(node_process: Start, oracle_process: Start) -> None:
    """Without a password and on every address, clients from elsewhere are turned away with Valkey's code."""
    address = own_address()
    answers = []
    for start in (oracle_process, node_process):
        server = start("--bind", "0.0.0.0", "--protected-mode", "yes")
        with server.connect() as link:
            link.sendall(b"PING\r\n")
            assert link.recv(100) == b"+PONG\r\n"
        with socket.create_connection((address, server.port), timeout=10) as link:
            link.settimeout(10)
            answer = b""
            while piece := link.recv(4096):
                answer += piece
            answers.append(answer)
    assert [answer.split()[0] for answer in answers] == [b"-DENIED"] * 2


def own_address() -> str:
    """An address of this machine that is not the loopback's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address beside the loopback's")
        address = str(probe.getsockname()[0])
    if address.startswith("127."):
        pytest.skip("this machine has no address beside the loopback's")
    return address
