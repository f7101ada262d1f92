"""One client, two servers: each command goes to genuine Valkey and to a node, and the raw replies are compared."""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from tests.conftest import Server, find_free_port, oracle_command, start_server

Normal = Callable[[bytes], object]


def read_reply(file: BinaryIO) -> bytes:
    """The bytes of one whole reply, an attribute before it included. Raises EOFError when the server has closed."""
    line = file.readline()
    if not line.endswith(b"\r\n"):
        raise EOFError
    kind, rest = line[:1], line[1:-2]
    if rest == b"-1" or kind in (b"+", b"-", b":", b"_", b",", b"#", b"("):
        return line
    if kind in (b"$", b"="):
        return line + file.read(int(rest) + 2)
    parts = int(rest) * (2 if kind in (b"%", b"|") else 1) + (1 if kind == b"|" else 0)
    return line + b"".join([read_reply(file) for _ in range(parts)])


class Line:
    """A connection that gives raw replies."""

    def __init__(self, server: Server) -> None:
        self.socket = server.connect()
        self.file = self.socket.makefile("rb")

    def send(self, args: list[bytes]) -> None:
        """Send one command and read nothing."""
        self.socket.sendall(b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%b\r\n" % (len(a), a) for a in args))

    def ask(self, args: list[bytes], replies: int = 1) -> bytes:
        """Send one command and read so many replies; `(closed)` when there are fewer."""
        self.send(args)
        return self.read(replies)

    def read(self, replies: int) -> bytes:
        """Read replies."""
        try:
            return b"".join([read_reply(self.file) for _ in range(replies)])
        except (EOFError, ConnectionError):
            return b"(closed)"

    def close(self) -> None:
        """Hang up."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.file.close()
        self.socket.close()


class Twin:
    """The same client of both servers."""

    def __init__(self, oracle: Server, node: Server, protocol: int = 2) -> None:
        self.oracle = Line(oracle)
        self.node = Line(node)
        if protocol == 3:
            self.both(b"HELLO", b"3")

    def both(self, *args: bytes | str | int, replies: int = 1) -> tuple[bytes, bytes]:
        """The replies of oracle and node to one command."""
        command = [a if isinstance(a, bytes) else str(a).encode() for a in args]
        return self.oracle.ask(command, replies), self.node.ask(command, replies)

    def same(self, line: str, replies: int = 1, normal: Normal | None = None) -> bytes:
        """Assert equal replies to a line, split at spaces; `""` is an empty word, `_` a space in a word."""
        args = ["" if word == '""' else word.replace("_", " ") for word in line.split(" ")]
        theirs, ours = self.both(*args, replies=replies)
        if normal is None:
            assert theirs == ours, f"{line}: Valkey answered {theirs!r}, we {ours!r}"
        else:
            assert normal(theirs) == normal(ours), f"{line}: Valkey answered {theirs!r}, we {ours!r}"
        return theirs

    def close(self) -> None:
        """Hang up on both."""
        self.oracle.close()
        self.node.close()


class Twins:
    """Both servers, and every client made of them."""

    def __init__(self, oracle: Server, node: Server) -> None:
        self.servers = (oracle, node)
        self._twins: list[Twin] = []

    def client(self, protocol: int = 2) -> Twin:
        """A new client."""
        twin = Twin(*self.servers, protocol)
        self._twins.append(twin)
        return twin

    def hang_up(self) -> None:
        """Close all clients."""
        for twin in self._twins:
            twin.close()
        self._twins.clear()


@contextlib.contextmanager
def start_twins(folder: Path, *directives: str) -> Iterator[Twins]:
    """Start both servers with the same directives; DEBUG and protected settings are allowed on both."""
    servers: list[Server] = []
    allowed = ["--enable-debug-command", "yes", "--enable-protected-configs", "yes", *directives]
    try:
        for name in ("oracle", "node"):
            home = folder / name
            home.mkdir(parents=True)
            port = find_free_port()
            bus = ["--cluster-port", str(find_free_port())] if "--cluster-enabled" in directives else []
            command = oracle_command(home, port, *allowed, *bus)
            if name == "node":
                place = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(home), "--save", ""]
                command = [sys.executable, "-m", "node", *place, *allowed]
            servers.append(start_server(command, home, port))
        yield Twins(servers[0], servers[1])
    finally:
        for server in servers:
            server.stop(signal.SIGKILL)
