"""What another client waits for while very many keys go at once, beside Valkey.

The other client sends PING and waits, over and over, from the moment before the keys go until they are gone. The same
on the full server while nothing happens tells what the machine itself makes of it.
"""

import multiprocessing
import socket
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from bench.memory import encoded, exchange
from bench.persistence import ask, head, row, stop
from bench.servers import Server, free_port, start_node, start_valkey
from cluster.slots import key_slot
from cluster.topology import Node, Shard, Topology, to_json

NODE_ID = "b" * 40
TAG = b"{slot}"
BATCH = 1000
IDLE = 3.0  # seconds of the measurement in which nothing happens
AFTER = 3.0  # seconds that the measurement goes on when no key is seen any more: memory may be freed then
PATIENCE = 120.0
LEAD = 0.2  # seconds that the measurement begins before keys go by the clock
Start = Callable[[Path], Server]


class End(NamedTuple):
    """What makes all keys go, or the Unix time at which they do."""

    act: Callable[[], object]
    at: float = 0.0


class Watch:
    """PINGs from a process of their own, which waits for nobody but the server, until it is told to end."""

    def __init__(self, port: int) -> None:
        self._link, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.Process(target=_ping, args=(port, theirs), daemon=True)
        self._process.start()
        theirs.close()  # so that `end` hears of it when the process is dead

    def end(self) -> tuple[float, float]:
        """Milliseconds that the slowest of a thousand took, and the slowest of all."""
        self._link.send(None)
        times: list[float] = sorted(self._link.recv())
        self._process.join()
        return times[len(times) * 999 // 1000] * 1e3, times[-1] * 1e3


def _ping(port: int, starter: Connection) -> None:
    times = []
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while not starter.poll():
            sent = time.perf_counter()
            link.sendall(b"PING\r\n")
            link.recv(64)
            times.append(time.perf_counter() - sent)
    starter.send(times)


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


def watched(server: Server, end: End) -> tuple[float, ...]:
    """p99.9 and worst while nothing happens, both while keys go, and the seconds that this takes."""
    watch = Watch(server.port)
    time.sleep(IDLE)
    idle = watch.end()
    time.sleep(max(0.0, end.at - LEAD - time.time()))
    watch = Watch(server.port)
    began = time.perf_counter()
    end.act()
    await_empty(server)
    took = time.perf_counter() - began
    time.sleep(AFTER)
    return *idle, *watch.end(), took


def expiring(server: Server, keys: int) -> End:
    """All keys expire at one instant, which is so far away that they are all there by then."""
    at = int(time.time()) + 20 + keys // 40_000
    fill(server, keys, b"key", b"EXAT", b"%d" % at)
    return End(lambda: None, at)


def flushed(server: Server, keys: int) -> End:
    """FLUSHALL, as it comes."""
    populate(server, keys)
    return End(lambda: ask(server.port, b"FLUSHALL"))


def slot_flushed(server: Server, keys: int) -> End:
    """One slot has all keys, and goes."""
    fill(server, keys, TAG)
    words = [b"CLUSTER", b"FLUSHSLOT", b"%d" % key_slot(TAG)]
    return End(lambda: ask(server.port, *words))


def cluster_valkey(folder: Path) -> Server:
    """Genuine Valkey with all slots."""
    bus = str(free_port())  # the usual one, 10,000 above the port, may be none
    server = start_valkey(folder, "--cluster-enabled", "yes", "--cluster-port", bus)
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


def stalls_table(folder: Path, rounds: int, keys: int) -> list[dict[str, object]]:
    """Keys that expire, FLUSHALL of ten times as many, and the end of a slot: medians over the rounds."""
    rows: list[dict[str, object]] = []
    head("while many keys go")
    cases: list[tuple[str, tuple[Start, Start], Callable[[Server, int], End], int]] = [
        (f"{keys:,} keys expire at once", (start_valkey, start_node), expiring, keys),
        (f"FLUSHALL of {keys * 10:,} keys", (debugged_valkey, debugged_node), flushed, keys * 10),
        (f"FLUSHSLOT of {keys:,} keys", (cluster_valkey, cluster_node), slot_flushed, keys),
    ]
    for number, (title, starts, prepare, count) in enumerate(cases):
        found: tuple[list[tuple[float, ...]], ...] = ([], [])
        for turn in range(rounds):
            for i, begin in enumerate(starts):
                server = begin(folder / f"stalls-{number}-{turn}-{i}")
                try:
                    found[i].append(watched(server, prepare(server, count)))
                finally:
                    stop([server])
        theirs, ours = ([statistics.median(column) for column in zip(*each, strict=True)] for each in found)
        for place, name in enumerate(("PING p99.9 before", "PING worst before", "PING p99.9", "PING worst")):
            rows.append(row(f"{name}, {title}", "ms", theirs[place], ours[place]))
        rows.append(row(f"until they are gone, {title}", "s", theirs[4], ours[4]))
    return rows
