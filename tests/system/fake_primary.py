"""A primary that a test plays by hand: what a node that follows it sends and does is seen byte by byte."""

from __future__ import annotations

import socket

from cluster.resp.encode import encode_request
from node.rdb.encode import crc64, header, trailer

ID = b"c" * 40


def empty_snapshot(fields: dict[bytes, bytes]) -> bytes:
    """An RDB file without keys."""
    head = header(fields, False, False)
    return head + trailer(crc64(head))


def command(*words: bytes) -> bytes:
    """A command of the stream."""
    return encode_request(words)


class FakePrimary:
    """Accepts one replica after the other; the test says what to answer to PSYNC."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(20)
        self.port = int(self._listener.getsockname()[1])
        self._open: list[socket.socket] = []

    def meet(self) -> list[bytes]:
        """Accept a replica and answer its handshake; returns its PSYNC, which waits for an answer."""
        self.hang_up()
        self._link, _ = self._listener.accept()
        self._link.settimeout(20)
        self._input = self._link.makefile("rb")
        self._open = [self._link]
        while True:
            words = self.read()
            if words[0].lower() in (b"psync", b"sync"):
                return words
            self.send(b"+PONG\r\n" if words[0].lower() == b"ping" else b"+OK\r\n")

    def read(self) -> list[bytes]:
        """The next command of the replica."""
        count = int(self._input.readline()[1:])
        words = []
        for _ in range(count):
            size = int(self._input.readline()[1:])
            words.append(self._input.read(size + 2)[:-2])
        return words

    def acknowledged(self, offset: int) -> None:
        """Wait until the replica has acknowledged so much."""
        while True:
            words = self.read()
            if words[1].lower() == b"ack" and int(words[2]) >= offset:
                assert int(words[2]) == offset
                return

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._link.sendall(data)

    def full_sync(self, offset: int, fields: dict[bytes, bytes] | None = None) -> None:
        """Answer PSYNC by a snapshot without keys."""
        snapshot = empty_snapshot(fields or {})
        self.send(b"+FULLRESYNC %b %d\r\n$%d\r\n" % (ID, offset, len(snapshot)) + snapshot)

    def hang_up(self) -> None:
        """Break the link, if there is one."""
        if self._open:
            self._input.close()
            self._open.pop().close()

    def close(self) -> None:
        """The end of the test."""
        self.hang_up()
        self._listener.close()
