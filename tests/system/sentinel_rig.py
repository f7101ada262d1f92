"""Real processes for the sentinels' system tests: nodes (genuine or ours) and sentinels (ours or genuine)."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cluster.topology import Node, Shard, Topology, to_json
from tests.conftest import Server, find_free_port, oracle_binary, oracle_command, start_server

NAME = "cache-0"
PATIENCE = 60.0  # an upper bound for a loaded machine, not an expectation


def wait_for(condition: Callable[[], bool], what: str, seconds: float = PATIENCE) -> float:
    """Poll until a condition holds, connection errors counting as false; gives the seconds that it took."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        try:
            if condition():
                return time.monotonic() - began
        except (redis.RedisError, OSError):
            pass
        time.sleep(0.01)  # other processes offer no event to wait for
    raise AssertionError(f"not within {seconds} s: {what}")


@dataclass
class Rig:
    """One shard of three nodes, the first being primary, and its sentinels."""

    folder: Path
    nodes: list[Server] = field(default_factory=list)
    sentinels: list[Server] = field(default_factory=list)
    genuine: int = 0
    topology: Topology | None = None
    password: str | None = None

    def node_client(self, node: Server) -> redis.Redis:
        """A client that gives up soon, for nodes that may be stopped."""
        once = Retry(NoBackoff(), 0)
        return node.client(
            socket_timeout=0.5, socket_connect_timeout=0.5, retry=once, password=self.password, decode_responses=True
        )

    def sentinel_client(self, number: int) -> redis.Redis:
        """A client of a sentinel."""
        return self.sentinels[number].client(socket_timeout=5.0, decode_responses=True)

    def master(self, number: int) -> dict[str, str]:
        """SENTINEL MASTER as that sentinel tells it, by field."""
        client = self.sentinel_client(number)
        flat = client.execute_command("SENTINEL", "MASTER", NAME)
        client.close()
        if isinstance(flat, dict):
            return flat
        return dict(zip(flat[::2], flat[1::2], strict=True))

    def primary_port(self, number: int) -> int:
        """Where that sentinel says that the primary is."""
        client = self.sentinel_client(number)
        _host, port = client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)
        client.close()
        return int(port)

    def is_settled(self) -> bool:
        """Every sentinel knows all others and all replicas, all nodes are in touch and in sync."""
        others = len(self.sentinels) - 1
        for number in range(len(self.sentinels)):
            master = self.master(number)
            if (int(master["num-slaves"]), int(master["num-other-sentinels"])) != (len(self.nodes) - 1, others):
                return False
            client = self.sentinel_client(number)
            replicas = client.sentinel_slaves(NAME)
            peers = client.sentinel_sentinels(NAME)
            client.close()
            if any(r["is_disconnected"] or r["master-link-status"] != "ok" for r in replicas):
                return False
            if any(p["is_disconnected"] for p in peers):
                return False
        return True

    def promoted(self) -> Server | None:
        """The node on which all running sentinels agree, when it takes writes."""
        running = [n for n, s in enumerate(self.sentinels) if s.process.poll() is None]
        ports = {self.primary_port(number) for number in running}
        if len(ports) != 1:
            return None
        node = next(n for n in self.nodes if n.port in ports)
        client = self.node_client(node)
        try:
            return node if client.set("written-by", "test") else None
        except redis.RedisError:
            return None
        finally:
            client.close()

    def wait_for_failover(self, old: Server) -> Server:
        """Wait until another node than `old` is primary for everybody and takes writes."""
        found: list[Server] = []

        def done() -> bool:
            node = self.promoted()
            if node is None or node is old:
                return False
            found.append(node)
            return True

        wait_for(done, "a new primary that all sentinels know and that takes writes")
        return found[-1]

    def role(self, node: Server) -> tuple[str, int]:
        """A node's role and the port of the primary that it follows, 0 for none."""
        client = self.node_client(node)
        info = client.info("replication")
        client.close()
        return str(info["role"]), int(info.get("master_port", 0))

    def restart_sentinel(self, number: int, stop: signal.Signals = signal.SIGKILL) -> None:
        """End a sentinel and start it again on its files."""
        old = self.sentinels[number]
        old.stop(stop)
        self.sentinels[number] = self._start_sentinel(old.port, genuine=False)

    def start_sentinels(self, ours: int, genuine: int, down_after_ms: int) -> None:
        """Start sentinels, ours first."""
        starts: list[tuple[int, bool]] = []
        for number in range(ours + genuine):
            port = find_free_port()
            folder = self.folder / f"sentinel-{port}"
            folder.mkdir()
            primary = self.nodes[0]
            lines = [
                f"port {port}",
                "bind 127.0.0.1",
                f"dir {folder}",
                f"sentinel monitor {NAME} 127.0.0.1 {primary.port} {(ours + genuine) // 2 + 1}",
                f"sentinel down-after-milliseconds {NAME} {down_after_ms}",
            ]
            if self.password is not None:
                lines.append(f"sentinel auth-pass {NAME} {self.password}")
            if self.topology is not None and number < ours:
                (folder / "topology.json").write_bytes(to_json(self.topology))
                lines.append(f"topology-file {folder / 'topology.json'}")
            (folder / "sentinel.conf").write_text("\n".join(lines) + "\n")
            starts.append((port, number >= ours))
        with ThreadPoolExecutor() as pool:
            self.sentinels += pool.map(lambda start: self._start_sentinel(*start), starts)

    def _start_sentinel(self, port: int, genuine: bool) -> Server:
        folder = self.folder / f"sentinel-{port}"
        file = str(folder / "sentinel.conf")
        command = [str(oracle_binary()), file, "--sentinel"] if genuine else [sys.executable, "-m", "sentinel", file]
        return start_server(command, folder, port)

    def make_topology(self) -> None:
        """A topology of one shard with the nodes as they stand."""
        ids = [f"{number + 1:040x}" for number in range(len(self.nodes))]
        nodes = tuple(Node(i, "127.0.0.1", n.port, NAME) for i, n in zip(ids, self.nodes, strict=True))
        shard = Shard(NAME, 1, ids[0], tuple(ids[1:]), ((0, 16383),))
        self.topology = Topology("cache", (shard,), nodes)

    def stop(self) -> None:
        """End everything."""
        for server in (*self.sentinels, *self.nodes):
            if server.process.poll() is None:
                server.process.send_signal(signal.SIGCONT)
            server.stop(signal.SIGKILL)

    def logs(self) -> str:
        """The ends of the sentinels' logs, for the report of a failure."""
        return "\n".join(f"--- {s.port}\n{s.log.read_text(errors='replace')[-3000:]}" for s in self.sentinels)


def start_genuine_node(folder: Path, *directives: str) -> Server:
    """A genuine node that syncs without delay."""
    port = find_free_port()
    place = folder / f"node-{port}"
    place.mkdir()
    command = oracle_command(place, port, "--repl-diskless-sync-delay", "0", *directives)
    return start_server(command, place, port)


def start_our_node(folder: Path, *directives: str) -> Server:
    """A node of ours."""
    port = find_free_port()
    place = folder / f"node-{port}"
    place.mkdir()
    command = [
        sys.executable,
        "-m",
        "node",
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--dir",
        str(place),
        "--save",
        "",
        *directives,
    ]
    return start_server(command, place, port)


@contextmanager
def rig(
    folder: Path,
    *,
    ours: int = 3,
    genuine: int = 0,
    down_after_ms: int = 5000,
    topology: bool = False,
    password: str | None = None,
    start_node: Callable[..., Server] = start_genuine_node,
) -> Iterator[Rig]:
    """A primary, two replicas and their sentinels, settled; everything ends with the block."""
    made = Rig(folder, password=password)
    login = ["--requirepass", password, "--primaryauth", password] if password is not None else []
    try:
        made.nodes.append(start_node(folder, *login))
        for _ in range(2):
            made.nodes.append(start_node(folder, *login, "--replicaof", "127.0.0.1", str(made.nodes[0].port)))
        if topology:
            made.make_topology()
        made.start_sentinels(ours, genuine, down_after_ms)
        wait_for(made.is_settled, "sentinels, replicas and links to be settled")
        client = made.nodes[0].client(password=password)
        client.set("before", "failover")
        assert client.wait(2, 10000) == 2
        client.close()
        yield made
    except BaseException:
        print(made.logs())
        raise
    finally:
        made.stop()
