"""What keeping data costs, beside Valkey: append-only files, saving and loading, full syncs, an attached replica.

Both servers do the same on the same keys, in one run. Stalls are what a client sees who sends PING and waits, over and
over, while the server saves; the same without a save tells what the machine itself makes of it.
"""

import signal
import socket
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.load import KEYS, Load, compare, generator
from bench.memory import encoded, exchange, info_field
from bench.servers import Server, start_node, start_valkey

Start = Callable[..., Server]
STARTS: tuple[Start, Start] = (start_valkey, start_node)
SIZE = 100  # bytes of a value
BATCH = 1000
PATIENCE = 300.0
AOF_LOADS = (
    Load("set", 1, 50, 40_000), Load("set", 16, 50, 300_000), Load("incr", 16, 50, 300_000),
    Load("hset", 16, 50, 300_000),
)  # fmt: skip
ALWAYS_LOADS = (Load("set", 1, 50, 10_000), Load("set", 16, 50, 80_000))
REPLICA_LOADS = (Load("set", 16, 50, 400_000), Load("incr", 16, 50, 400_000), Load("lpush", 16, 50, 400_000))
WRITES = ("-c", "4", "-P", "4", "-n", "100000000", "-r", str(KEYS), "-d", str(SIZE), "-t", "set", "-q")


@dataclass(frozen=True)
class Stall:
    """Milliseconds that a PING took: the slowest of a hundred, and the slowest of all; megabytes added meanwhile."""

    p99: float
    worst: float
    seconds: float = 0.0
    extra: float = 0.0  # percent of the memory resident before


def ask(port: int, *words: bytes) -> None:
    """One command whose reply does not matter."""
    exchange(port, encoded(list(words)), 1)


def await_loaded(server: Server) -> Server:
    """The server, once it serves."""
    while info_field(server.port, "persistence", "loading") == "1":
        time.sleep(0.005)
    return server


def populate(server: Server, keys: int) -> None:
    """Fill an empty server with strings."""
    value = b"v" * SIZE
    for start in range(0, keys, BATCH):
        batch = range(start, min(start + BATCH, keys))
        exchange(server.port, b"".join(encoded([b"SET", b"key:%012d" % i, value]) for i in batch), len(batch))


def saving(server: Server) -> bool:
    """Whether BGSAVE is at work."""
    return info_field(server.port, "persistence", "rdb_bgsave_in_progress") == "1"


class Peak:
    """The most memory that a server had resident since it was reset, with that of its child."""

    def __init__(self, server: Server) -> None:
        self.pid = server.process.pid
        self.before = server.rss()
        self.children = 0
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def look(self) -> None:
        """Note what a child of the server holds for itself now."""
        held = 0
        for child in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split():
            try:
                lines = Path(f"/proc/{child}/smaps_rollup").read_text().splitlines()
            except OSError:
                continue
            held += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_Dirty"))
        self.children = max(self.children, held)

    def percent(self) -> float:
        """What was added, of what was there before."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        peak = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
        return 100 * (peak + self.children - self.before) / self.before


def stall(server: Server, seconds: float, save: bool) -> Stall:
    """PING while the server saves, or for so many seconds while it does not."""
    times: list[float] = []
    peak = Peak(server)
    with socket.create_connection(("127.0.0.1", server.port), 60) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        began = time.perf_counter()
        if save:
            ask(server.port, b"BGSAVE")
        looked = began
        while True:
            sent = time.perf_counter()
            sock.sendall(b"PING\r\n")
            sock.recv(64)
            now = time.perf_counter()
            times.append(now - sent)
            if now - looked > 0.05:
                looked = now
                peak.look()
                if not (saving(server) if save else now - began < seconds):
                    break
        took = time.perf_counter() - began
    times.sort()
    return Stall(times[len(times) * 99 // 100] * 1e3, times[-1] * 1e3, took, peak.percent())


def medians(found: list[Stall]) -> Stall:
    """Of the rounds."""
    return Stall(
        *(statistics.median(getattr(one, name) for one in found) for name in ("p99", "worst", "seconds", "extra"))
    )


def stalls(servers: list[Server], rounds: int, writes: bool, save: bool) -> list[Stall]:
    """Both servers in turn, with a client that writes beside or without."""
    found: list[list[Stall]] = [[] for _ in servers]
    for _ in range(rounds):
        for i, server in enumerate(servers):
            writer = None
            if writes:
                command = [generator(), "-p", str(server.port), *WRITES]
                writer = subprocess.Popen(command, stdout=subprocess.DEVNULL)
                time.sleep(0.5)
            try:
                found[i].append(stall(server, 3.0, save))
            finally:
                if writer is not None:
                    writer.send_signal(signal.SIGTERM)
                    writer.wait()
    return [medians(each) for each in found]


def row(what: str, unit: str, theirs: float, ours: float) -> dict[str, object]:
    """Print a row of figures, and return it."""
    ratio = ours / theirs if theirs else 0.0
    shown = f"{ratio:.2f}" if theirs else "-"
    print(f"{what:58}{unit:>8}{theirs:>12,.2f}{ours:>12,.2f}{shown:>8}", flush=True)
    return {"what": what, "unit": unit, "theirs": theirs, "ours": ours, "ratio": round(ratio, 3)}


def head(title: str) -> None:
    """The head line."""
    print(f"\n{title:58}{'unit':>8}{'valkey':>12}{'kvorum':>12}{'ratio':>8}")


def stop(servers: list[Server]) -> None:
    """End servers at once."""
    for server in servers:
        server.process.kill()
        server.process.wait(10)


def appending(folder: Path, rounds: int, scale: float) -> list[dict[str, object]]:
    """Requests a second and CPU with an append-only file."""
    rows: list[dict[str, object]] = []
    head("append-only file")
    for policy, loads in (("everysec", AOF_LOADS), ("always", ALWAYS_LOADS)):
        options = ("--appendonly", "yes", "--appendfsync", policy, "--auto-aof-rewrite-percentage", "0")
        servers = [await_loaded(start(folder / f"{policy}-{i}", *options)) for i, start in enumerate(STARTS)]
        try:
            for load in loads:
                scaled = Load(load.test, load.depth, load.clients, int(load.requests * scale))
                theirs, ours = compare(scaled, servers, rounds)
                rows.append(row(f"{policy}, {load.title}", "req/s", theirs.rps, ours.rps))
                rows.append(row(f"{policy}, {load.title}", "CPU us", theirs.cpu_us, ours.cpu_us))
        finally:
            stop(servers)
    return rows


def snapshots(folder: Path, rounds: int, keys: int) -> list[dict[str, object]]:
    """Stalls, memory and seconds of saving, and of loading what was saved."""
    rows: list[dict[str, object]] = []
    head(f"{keys:,} keys of {SIZE} bytes")
    servers = [start(folder / f"save-{i}") for i, start in enumerate(STARTS)]
    try:
        for server in servers:
            populate(server, keys)
        for writes in (False, True):
            beside = "while another client writes" if writes else "otherwise idle"
            idle = stalls(servers, rounds, writes, False)
            busy = stalls(servers, rounds, writes, True)
            rows.append(row(f"PING p99 without a save, {beside}", "ms", idle[0].p99, idle[1].p99))
            rows.append(row(f"PING worst without a save, {beside}", "ms", idle[0].worst, idle[1].worst))
            rows.append(row(f"PING p99 during BGSAVE, {beside}", "ms", busy[0].p99, busy[1].p99))
            rows.append(row(f"PING worst during BGSAVE, {beside}", "ms", busy[0].worst, busy[1].worst))
            rows.append(row(f"extra memory during BGSAVE, {beside}", "%", busy[0].extra, busy[1].extra))
            rows.append(row(f"BGSAVE, {beside}", "s", busy[0].seconds, busy[1].seconds))
        took = [timed(server) for server in servers]
        rows.append(row("SAVE", "s", *took))
    finally:
        stop(servers)
    rows.append(
        row("start and load", "s", *(load_seconds(start, folder / f"save-{i}") for i, start in enumerate(STARTS)))
    )
    return rows


def timed(server: Server) -> float:
    """Seconds of SAVE."""
    began = time.perf_counter()
    ask(server.port, b"SAVE")
    return time.perf_counter() - began


def load_seconds(start: Start, folder: Path) -> float:
    """How much longer a start takes with the file in the folder than without."""
    took: list[float] = []
    for place in (folder.with_name(folder.name + "-empty"), folder):
        began = time.perf_counter()
        server = await_loaded(start(place))
        took.append(time.perf_counter() - began)
        stop([server])
    return took[1] - took[0]


def linked(replica: Server) -> bool:
    """Whether a replica follows."""
    return info_field(replica.port, "replication", "master_link_status") == "up"


def attach(start: Start, folder: Path, primary: Server) -> tuple[Server, float]:
    """Start a replica; it is in sync after so many seconds."""
    replica = start(folder)
    began = time.perf_counter()
    ask(replica.port, b"REPLICAOF", b"127.0.0.1", b"%d" % primary.port)
    while not linked(replica) and time.perf_counter() - began < PATIENCE:
        time.sleep(0.01)
    return replica, time.perf_counter() - began


def replication(folder: Path, rounds: int, scale: float, keys: int) -> list[dict[str, object]]:
    """Seconds of a full sync, and throughput with a replica as a part of that without."""
    rows: list[dict[str, object]] = []
    head("replication")
    took: list[float] = []
    shares: list[dict[str, tuple[float, float]]] = []
    for i, start in enumerate(STARTS):
        servers = [start(folder / f"primary-{i}", "--repl-diskless-sync-delay", "0")]
        try:
            populate(servers[0], keys)
            replica, seconds = attach(start, folder / f"replica-{i}", servers[0])
            servers.append(replica)
            took.append(seconds)
            shares.append(attached(servers[0], replica, rounds, scale))
        finally:
            stop(servers)
    rows.append(row(f"full sync of {keys:,} keys", "s", *took))
    for load in REPLICA_LOADS:
        for number, unit in ((0, "req/s"), (1, "CPU us")):
            theirs, ours = (share[load.title][number] for share in shares)
            rows.append(row(f"{load.title}: with a replica / without", unit, theirs, ours))
    return rows


def attached(primary: Server, replica: Server, rounds: int, scale: float) -> dict[str, tuple[float, float]]:
    """For each load the ratios of requests a second and of the primary's CPU, with its replica to without."""
    found: dict[str, tuple[float, float]] = {}

    def turn(on: bool) -> None:
        host, port = (b"127.0.0.1", b"%d" % primary.port) if on else (b"NO", b"ONE")
        ask(replica.port, b"REPLICAOF", host, port)
        until = time.monotonic() + PATIENCE
        while on and not linked(replica) and time.monotonic() < until:
            time.sleep(0.01)

    for load in REPLICA_LOADS:
        scaled = Load(load.test, load.depth, load.clients, int(load.requests * scale))
        ratios: list[tuple[float, float]] = []
        for _ in range(rounds):
            turn(True)
            having = compare(scaled, [primary], 1)[0]
            turn(False)
            without = compare(scaled, [primary], 1)[0]
            ratios.append((having.rps / without.rps, having.cpu_us / without.cpu_us))
        found[load.title] = (statistics.median(r[0] for r in ratios), statistics.median(r[1] for r in ratios))
    return found


def persistence_table(folder: Path, rounds: int, scale: float, keys: int) -> list[dict[str, object]]:
    """All of it."""
    return [
        *appending(folder, rounds, scale), *snapshots(folder, rounds, keys), *replication(folder, rounds, scale, keys)
    ]  # fmt: skip
