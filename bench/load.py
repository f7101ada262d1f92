"""Load: redis-benchmark or valkey-benchmark, which are faster than what they measure, and rounds that alternate."""

import csv
import io
import shutil
import statistics
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.servers import Server

KEYS = 100_000


@dataclass(frozen=True)
class Load:
    """One kind of load: what redis-benchmark calls `test`, or the words of a command; pipeline depth, and clients."""

    test: str
    depth: int
    clients: int
    requests: int
    words: tuple[str, ...] = ()  # of a command that is no test of redis-benchmark's own; `test` is then its name alone
    keys: int = KEYS  # that random ones are of

    @property
    def title(self) -> str:
        """As shown in tables."""
        return f"{self.test.upper()} depth {self.depth}, {self.clients} client{'s' if self.clients > 1 else ''}"


@dataclass(frozen=True)
class Figure:
    """Medians over the rounds: requests a second, and server CPU microseconds an operation."""

    rps: float
    cpu_us: float


def loads(scale: float) -> list[Load]:
    """All loads of the table; `scale` multiplies the number of requests."""
    shapes = [(1, 1, 15_000), (1, 50, 60_000), (16, 50, 400_000), (64, 50, 800_000)]
    return [
        Load(test, depth, clients, int(requests * scale))
        for depth, clients, requests in shapes
        for test in ("get", "set", "incr", "lpush", "hset", "zadd")
    ]


def loads_of_many(scale: float, keys: int) -> list[Load]:
    """Those of a keyspace that no cache holds."""
    return [
        Load(test, depth, 50, int(requests * scale), keys=keys)
        for depth, requests in ((16, 800_000), (64, 1_600_000))
        for test in ("get", "set", "incr")
    ]


def generator() -> str:
    """The load generator's path."""
    for name in ("valkey-benchmark", "redis-benchmark"):
        found = shutil.which(name)
        if found:
            return found
    raise SystemExit("a load generator is needed: install redis-tools (redis-benchmark) or valkey-tools")


def run(load: Load, server: Server) -> Figure:
    """One round against one server."""
    what = list(load.words) or ["-t", load.test]
    command = [
        generator(), "-p", str(server.port), "-n", str(load.requests), "-c", str(load.clients),
        "-P", str(load.depth), "-r", str(load.keys), "--csv", *what,
    ]  # fmt: skip
    before = server.cpu_seconds()
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    used = server.cpu_seconds() - before
    rows = list(csv.reader(io.StringIO(done.stdout)))
    return Figure(float(rows[-1][1]), used * 1e6 / load.requests)


def compare(
    load: Load, servers: Sequence[Server], rounds: int, before: Callable[[Server], None] | None = None
) -> list[Figure]:
    """Alternate between servers, each round beginning with another, and take medians."""
    figures: list[list[Figure]] = [[] for _ in servers]
    for number in range(rounds):
        order = list(range(len(servers)))
        order = order[number % len(order) :] + order[: number % len(order)]
        for i in order:
            if before is not None:
                before(servers[i])
            figures[i].append(run(load, servers[i]))
    return [
        Figure(statistics.median(f.rps for f in each), statistics.median(f.cpu_us for f in each)) for each in figures
    ]
