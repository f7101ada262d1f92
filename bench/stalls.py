"""What another client waits for while very many keys go at once, beside Valkey.

The other client sends PING and waits, over and over, from the moment before the keys go until they are gone. The same
on the full server while nothing happens tells what the machine itself makes of it.
"""

import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from bench.memory import encoded, exchange
from bench.persistence import ask, head, row, stop
from bench.servers import Server, start_node, start_valkey
from cluster.slots import key_slot
from cluster.topology import Node, Shard, Topology, to_json

NODE_ID = "b" * 40
TAG = b"{slot}"
BATCH = 1000
IDLE = 3.0  # seconds of the measurement in which nothing happens
AFTER = 3.0  # seconds that the measurement goes on when no key is seen any more: memory may be freed then
PATIENCE = 120.0
Start = Callable[[Path], Server]


class Watch:
    """PINGs from a thread of their own until it is told to end."""

    def __init__(self, port: int) -> None:
        self.times: list[float] = []
        self._ended = threading.Event()
        self._port = port
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with socket.create_connection(("127.0.0.1", self._port), PATIENCE) as link:
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while not self._ended.is_set():
                sent = time.perf_counter()
                link.sendall(b"PING\r\n")
                link.recv(64)
                self.times.append(time.perf_counter() - sent)

    def end(self) -> tuple[float, float]:
        """Milliseconds that the slowest of a thousand took, and the slowest of all."""
        self._ended.set()
        self._thread.join()
        self.times.sort()
        return self.times[len(self.times) * 999 // 1000] * 1e3, self.times[-1] * 1e3


def fill(server: Server, keys: int, prefix: bytes, *expiry: bytes) -> None:
    """So many small strings."""
    for start in range(0, keys, BATCH):
        batch = range(start, min(start + BATCH, keys))
        commands = [encoded([b"SET", b"%b:%d" % (prefix, i), b"value:%d" % i, *expiry]) for i in batch]
        exchange(server.port, b"".join(commands), len(batch))


def populate(server: Server, keys: int) -> None:
    """Very many of them, by the server itself."""
    ask(server.port, b"DEBUG", b"POPULATE", b"%d" % keys)


def await_empty(server: Server) -> None:
    """Until no key is there."""
    until = time.monotonic() + PATIENCE
    while b"db0:" in exchange(server.port, b"INFO keyspace\r\n", 1) and time.monotonic() < until:
        time.sleep(0.02)


def watched(server: Server, act: Callable[[], None]) -> tuple[tuple[float, float], tuple[float, float], float]:
    """p99.9 and worst while nothing happens and while keys go, and the seconds that this takes."""
    watch = Watch(server.port)
    time.sleep(IDLE)
    idle = watch.end()
    watch = Watch(server.port)
    began = time.perf_counter()
    act()
    await_empty(server)
    took = time.perf_counter() - began
    time.sleep(AFTER)
    return idle, watch.end(), took


def expiring(server: Server, keys: int) -> Callable[[], None]:
    """All keys expire at one instant, which is so far away that they are all there by then."""
    at = int(time.time()) + 20 + keys // 40_000
    fill(server, keys, b"key", b"EXAT", b"%d" % at)

    def act() -> None:
        time.sleep(max(0.0, at - 0.2 - time.time()))

    return act


def flushed(server: Server, keys: int) -> Callable[[], None]:
    """FLUSHALL, as it comes."""
    populate(server, keys)
    return lambda: ask(server.port, b"FLUSHALL")


def slot_flushed(server: Server, keys: int) -> Callable[[], None]:
    """One slot has all keys, and goes."""
    fill(server, keys, TAG)
    words = [b"CLUSTER", b"FLUSHSLOT", b"%d" % key_slot(TAG)]
    return lambda: ask(server.port, *words)


def cluster_valkey(folder: Path) -> Server:
    """Genuine Valkey with all slots."""
    server = start_valkey(folder, "--cluster-enabled", "yes")
    ask(server.port, b"CLUSTER", b"ADDSLOTSRANGE", b"0", b"16383")
    until = time.monotonic() + 20
    while b"cluster_state:ok" not in exchange(server.port, b"CLUSTER INFO\r\n", 1):
        if time.monotonic() > until:
            raise SystemExit("valkey does not take its slots")
        time.sleep(0.05)
    return server


def cluster_node(folder: Path) -> Server:
    """Our node with all slots."""
    server = start_node(folder, "--cluster-enabled", "yes", "--node-id", NODE_ID)
    shard = Shard("bench-0", 1, NODE_ID, (), ((0, 16383),))
    topology = Topology("bench", (shard,), (Node(NODE_ID, "127.0.0.1", server.port, "bench-0"),))
    ask(server.port, b"KVORUM", b"TOPOLOGY", b"SET", to_json(topology))
    return server


def debugged_valkey(folder: Path) -> Server:
    """Genuine Valkey that obeys DEBUG."""
    return start_valkey(folder, "--enable-debug-command", "yes")


def debugged_node(folder: Path) -> Server:
    """Our node, obeying DEBUG."""
    return start_node(folder, "--enable-debug-command", "yes")


def stalls_table(folder: Path, keys: int) -> list[dict[str, object]]:
    """Keys that expire, FLUSHALL of ten times as many, and the end of a slot."""
    rows: list[dict[str, object]] = []
    head("while many keys go")
    cases: list[tuple[str, tuple[Start, Start], Callable[[Server, int], Callable[[], None]], int]] = [
        (f"{keys:,} keys expire at once", (start_valkey, start_node), expiring, keys),
        (f"FLUSHALL of {keys * 10:,} keys", (debugged_valkey, debugged_node), flushed, keys * 10),
        (f"FLUSHSLOT of {keys:,} keys", (cluster_valkey, cluster_node), slot_flushed, keys),
    ]
    for number, (title, starts, prepare, count) in enumerate(cases):
        found = []
        for i, begin in enumerate(starts):
            server = begin(folder / f"stalls-{number}-{i}")
            try:
                found.append(watched(server, prepare(server, count)))
            finally:
                stop([server])
        theirs, ours = found
        for place, name in ((0, "p99.9"), (1, "worst")):
            rows.append(row(f"PING {name} before, {title}", "ms", theirs[0][place], ours[0][place]))
            rows.append(row(f"PING {name}, {title}", "ms", theirs[1][place], ours[1][place]))
        rows.append(row(f"until they are gone, {title}", "s", theirs[2], ours[2]))
    return rows
