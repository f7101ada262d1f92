"""A TCP relay that a test can cut: what stands between a replica and its primary when the network fails."""

from __future__ import annotations

import random
import socket
import threading


class Relay:
    """Forwards connections from `port` to `target` until it is cut; after `mend` new ones pass again."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open = True
        self._pairs: list[socket.socket] = []
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                if not self._open:
                    client.close()
                    continue
                try:
                    server = socket.create_connection(("127.0.0.1", self._target))
                except OSError:
                    client.close()
                    continue
                self._pairs += [client, server]
            threading.Thread(target=self._copy, args=(client, server), daemon=True).start()
            threading.Thread(target=self._copy, args=(server, client), daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        for sock in (source, sink):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self) -> None:
        """Break every connection and refuse new ones."""
        with self._lock:
            self._open = False
            for sock in self._pairs:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
                sock.close()
            self._pairs.clear()

    def mend(self) -> None:
        """Let connections pass again."""
        with self._lock:
            self._open = True

    def close(self) -> None:
        """The end of the test."""
        self.cut()
        self._listener.close()


class HostileRelay(Relay):
    """A relay that halves writes, stalls, and breaks connections where a seed says so, until it is told to be calm.

    Each connection draws from a source of its own, so that a seed does the same to the same bytes.
    """

    def __init__(self, target: int, seed: int, broken_after: int = 300_000) -> None:
        self._seed = seed
        self._made = 0
        self._broken_after = broken_after  # bytes that the first connections live, at most
        self._calm = threading.Event()
        self.broken = 0
        super().__init__(target)

    def calm(self) -> None:
        """From now on bytes pass as they come."""
        self._calm.set()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with self._lock:
            self._made += 1
            rng = random.Random(f"{self._seed} {self._made}")
            longer = min(self._made // 4, 6)  # a full sync has to get through some time
        life = rng.randrange(1, self._broken_after << longer)
        try:
            sink.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while data := source.recv(rng.choice((7, 500, 65536))):
                if self._calm.is_set():
                    sink.sendall(data)
                    continue
                life -= len(data)
                if life < 0:
                    data = data[: rng.randrange(len(data))]
                self._send_in_pieces(sink, data, rng)
                if life < 0:
                    self.broken += 1
                    break
        except OSError:
            pass
        for sock in (source, sink):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _send_in_pieces(self, sink: socket.socket, data: bytes, rng: random.Random) -> None:
        if rng.random() < 0.5:
            half = rng.randrange(len(data) + 1)
            sink.sendall(data[:half])
            data = data[half:]
            self._calm.wait(rng.choice((0, 0, 0.001, 0.03)))  # the stall that is wanted
        sink.sendall(data)
