"""What the proxy's tests stand on: genuine Valkey nodes, a stand-in for a sentinel, and the proxy as a process."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import hiredis
import redis

from cluster.resp.encode import encode_request
from cluster.topology import Node, Shard, Topology, even_slots, to_json
from tests.conftest import Server, child_environment, find_free_port, oracle_command, start_server

SERVICE = "s"
SECONDS = 20.0
CLUSTER_PORT_MOST = 55535


def start_oracle(folder: Path, *directives: str) -> Server:
    """A genuine node, at a port that leaves room for its cluster bus 10000 above."""
    port = find_free_port()
    while port > CLUSTER_PORT_MOST:
        port = find_free_port()
    home = folder / f"oracle-{port}"
    home.mkdir()
    return start_server(oracle_command(home, port, *directives), home, port)


def topology_of(primaries: list[Server], replicas: list[Server | None], epoch: int) -> Topology:
    """The topology of these nodes: one shard each, slots divided evenly."""
    nodes: list[Node] = []
    shards: list[Shard] = []
    slots = even_slots(len(primaries))
    for number, (primary, replica) in enumerate(zip(primaries, replicas, strict=True)):
        members = [server for server in (primary, replica) if server is not None]
        made = [Node(f"{server.port:040x}", server.host, server.port, f"s-{number}") for server in members]
        nodes += made
        shards.append(Shard(f"s-{number}", epoch, made[0].id, tuple(n.id for n in made[1:]), (slots[number],)))
    return Topology(SERVICE, tuple(shards), tuple(nodes))


class Sentinel:
    """Answers KVORUM TOPOLOGY GET and publishes on +topology, as a sentinel does."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self.subscribers: list[socket.socket] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                link, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(link,), daemon=True).start()

    def _serve(self, link: socket.socket) -> None:
        reader = hiredis.Reader()
        with link, contextlib.suppress(OSError):
            while data := link.recv(4096):
                reader.feed(data)
                while (words := reader.gets()) is not False:
                    link.sendall(self._answer(link, words))

    def _answer(self, link: socket.socket, words: list[bytes]) -> bytes:
        if words[0].upper() == b"SUBSCRIBE":
            self.subscribers.append(link)
            return b"*3\r\n$9\r\nsubscribe\r\n$%d\r\n%b\r\n:1\r\n" % (len(words[1]), words[1])
        if words[0].upper() == b"KVORUM":
            text = to_json(self.topology)
            return b"$%d\r\n%b\r\n" % (len(text), text)
        return b"+OK\r\n"

    def publish(self, topology: Topology) -> None:
        """Tell a new topology to everybody."""
        self.topology = topology
        text = to_json(topology)
        for link in list(self.subscribers):
            with contextlib.suppress(OSError):
                link.sendall(b"*3\r\n$7\r\nmessage\r\n$9\r\n+topology\r\n$%d\r\n%b\r\n" % (len(text), text))

    def close(self) -> None:
        """Stop."""
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for link in self.subscribers:
            link.close()


class Wire:
    """A client at the level of bytes."""

    def __init__(self, port: int, seconds: float = SECONDS) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=seconds)
        self.buffer = b""

    def send(self, *words: str | bytes | int) -> None:
        """Send one command."""
        self.sock.sendall(command(*words))

    def raw(self, data: bytes) -> None:
        """Send bytes."""
        self.sock.sendall(data)

    def line(self) -> bytes:
        """Read up to a line break, without it."""
        while b"\r\n" not in self.buffer:
            self._more()
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line

    def reply(self) -> bytes:
        """Read one RESP2 or RESP3 reply, as bytes."""
        line = self.line()
        mark, rest = line[:1], line[1:]
        whole = line + b"\r\n"
        if mark in b"$=!" and rest != b"-1":
            while len(self.buffer) < int(rest) + 2:
                self._more()
            whole += self.buffer[: int(rest) + 2]
            self.buffer = self.buffer[int(rest) + 2 :]
        elif mark in b"*~>%":
            whole += b"".join(self.reply() for _ in range(max(int(rest), 0) * (2 if mark == b"%" else 1)))
        return whole

    def ask(self, *words: str | bytes | int) -> bytes:
        """Send one command and read its reply."""
        self.send(*words)
        return self.reply()

    def closed(self) -> bool:
        """Whether the other side closes, waiting for it."""
        try:
            return self.sock.recv(1) == b""
        except ConnectionError:
            return True

    def _more(self) -> None:
        data = self.sock.recv(1 << 16)
        if not data:
            raise ConnectionResetError("closed by the proxy")
        self.buffer += data

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()


def command(*words: str | bytes | int) -> bytes:
    """One encoded request."""
    return encode_request([word if isinstance(word, bytes) else str(word).encode() for word in words])


@dataclass
class Rig:
    """Nodes, a sentinel and a proxy."""

    folder: Path
    nodes: list[Server]
    replicas: list[Server | None]
    sentinel: Sentinel
    port: int = 0
    tls_port: int = 0
    process: subprocess.Popen[bytes] | None = None
    _clients: list[redis.Redis] = field(default_factory=list)

    @property
    def log(self) -> str:
        """What the proxy has logged."""
        return (self.folder / "proxy.log").read_text(errors="replace")

    @property
    def pid(self) -> int:
        """The process id of the proxy."""
        assert self.process is not None
        return self.process.pid

    def start(self, *directives: str, conf: Path | None = None) -> None:
        """Start the proxy, with a file for what must not be seen, and wait until it answers."""
        self.port = self.port or find_free_port()
        fixed = ["--service", SERVICE, "--bind", "127.0.0.1", "--port", str(self.port)]
        fixed += ["--sentinel", "127.0.0.1", str(self.sentinel.port)]
        with (self.folder / "proxy.log").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "proxy", *([str(conf)] if conf else []), *fixed, *directives],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=child_environment(), cwd=self.folder,
            )  # fmt: skip
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(OSError), Wire(self.port) as wire:
                if wire.ask("PING")[:1] in (b"+", b"-"):
                    return
            time.sleep(0.02)  # a process that starts offers no event to wait for
        raise AssertionError(f"the proxy is not ready:\n{self.log}")

    def wire(self) -> Wire:
        """A connection to the internal endpoint."""
        return Wire(self.port)

    def client(self, **options: object) -> redis.Redis:
        """A redis-py client of the internal endpoint."""
        client = redis.Redis(port=self.port, **options)
        self._clients.append(client)
        return client

    def promote(self, shard: int, epoch: int) -> None:
        """Make the replica of a shard its primary, and have the sentinel say so."""
        replica = self.replicas[shard]
        assert replica is not None
        replica.client().replicaof("NO", "ONE")
        self.nodes[shard], self.replicas[shard] = replica, None
        self.sentinel.publish(topology_of(self.nodes, self.replicas, epoch))

    def run_proxy(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a proxy that is expected to end by itself."""
        return subprocess.run(
            [sys.executable, "-m", "proxy", *arguments],
            capture_output=True, text=True, timeout=SECONDS, env=child_environment(), cwd=self.folder, check=False,
        )  # fmt: skip

    def end_proxy(self) -> None:
        """End the proxy alone."""
        for client in self._clients:
            client.close()
        self._clients.clear()
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)

    def stop(self) -> None:
        """End everything."""
        self.end_proxy()
        self.sentinel.close()
        for server in [*self.nodes, *self.replicas]:
            if server is not None:
                server.stop(signal.SIGKILL)


def sharded_rig(folder: Path, *directives: str) -> Iterator[Rig]:
    """Three genuine nodes in cluster mode behind a proxy."""
    nodes = [start_oracle(folder, "--cluster-enabled", "yes", "--notify-keyspace-events", "KEA") for _ in range(3)]
    for node, (first, last) in zip(nodes, even_slots(3), strict=True):
        node.client().execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
    for node in nodes[1:]:
        node.client().execute_command("CLUSTER", "MEET", "127.0.0.1", nodes[0].port)
    rig = Rig(folder, nodes, [None] * 3, Sentinel(topology_of(nodes, [None] * 3, 1)))
    try:
        for node in nodes:
            wait_for(lambda node=node: "cluster_state:ok" in str(node.client().execute_command("CLUSTER", "INFO")))
        rig.start(*directives)
        yield rig
    finally:
        rig.stop()


def single_rig(folder: Path, *directives: str) -> Iterator[Rig]:
    """One genuine primary with a replica behind a proxy."""
    primary = start_oracle(folder, "--repl-diskless-sync-delay", "0")
    replica = start_oracle(folder, "--replicaof", f"127.0.0.1 {primary.port}")
    rig = Rig(folder, [primary], [replica], Sentinel(topology_of([primary], [replica], 1)))
    try:
        wait_for(lambda: replica.client().info("replication")["master_link_status"] == "up")
        rig.start(*directives)
        yield rig
    finally:
        rig.stop()


def wait_for(condition: object, seconds: float = SECONDS) -> None:
    """Wait until a condition of another process holds; there is no event to wait for."""
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "in vain"
        time.sleep(0.02)
