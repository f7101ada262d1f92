"""maxmemory-clients: the clients whose buffers take most are disconnected, those under NO-EVICT stay."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Server, find_free_port, start_server

LIMIT = 4 * 1024 * 1024


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Server]:
    """A node that allows its clients four megabytes together."""
    port = find_free_port()
    command = [sys.executable, "-m", "node", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(tmp_path),
               "--maxmemory-clients", str(LIMIT)]  # fmt: skip
    server = start_server(command, tmp_path, port)
    yield server
    server.kill()


Hold = Callable[..., socket.socket]


@pytest.fixture
def hold(node: Server) -> Iterator[Hold]:
    """A function that connects a client which has sent `size` bytes of a request that does not end; further
    arguments are lines sent before. The links are closed at the end.
    """
    links: list[socket.socket] = []

    def connect(size: int, *first: bytes) -> socket.socket:
        link = node.connect()
        links.append(link)
        for line in first:
            link.sendall(line + b"\r\n")
            assert link.recv(64) == b"+OK\r\n"
        with contextlib.suppress(ConnectionError):  # it may be disconnected before all is sent
            link.sendall(b"*3\r\n$3\r\nset\r\n$1\r\nk\r\n$%d\r\n" % (64 * 1024 * 1024) + b"x" * size)
        return link

    yield connect
    for link in links:
        link.close()


def closed(link: socket.socket) -> bool:
    """Whether the node has hung up: waits for it."""
    try:
        return link.recv(1) == b""
    except ConnectionResetError:
        return True


def test_the_largest_client_goes(node: Server, hold: Hold) -> None:
    """One client of many is above the bound: it goes, the small ones stay and are served."""
    small = [hold(100_000) for _ in range(5)]
    large = hold(LIMIT)
    assert closed(large)
    client = node.client()
    assert client.ping()
    assert client.info("stats")["evicted_clients"] == 1
    assert client.info("clients")["connected_clients"] == len(small) + 1


def test_no_evict_is_honoured(node: Server, hold: Hold) -> None:
    """A client that asked to stay does, and others go in its place, the largest first."""
    hold(LIMIT - 1_000_000, b"client no-evict on")
    hold(600_000)
    first = hold(900_000)
    assert closed(first)
    client = node.client()
    assert client.info("stats")["evicted_clients"] == 1
    sizes = sorted(int(line["qbuf"]) for line in client.client_list())
    assert sizes[-1] >= LIMIT - 1_000_000
    assert 600_000 <= sizes[-2] < 700_000


def test_replies_count_too(node: Server) -> None:
    """A client that doesn't read the large reply that it asked for goes."""
    client = node.client()
    client.setrange("big", 4 * LIMIT, "x")
    with node.connect() as link:
        link.sendall(b"get big\r\n")
        while not client.info("stats")["evicted_clients"]:
            pass
    assert client.ping()


def test_percentages(node: Server, hold: Hold) -> None:
    """A share of maxmemory is taken and shown as such; nonsense is refused."""
    client = node.client()
    client.config_set("maxmemory", 100 * 1024 * 1024)
    client.config_set("maxmemory-clients", "5%")
    assert client.config_get("maxmemory-clients") == {"maxmemory-clients": "5%"}
    large = hold(6 * 1024 * 1024)
    assert closed(large)
    client.config_set("maxmemory-clients", "0")
    assert client.info("stats")["evicted_clients"] == 1
