"""The running agent, with stand-ins for the processes: start, death, failover, stop, and what it leaves behind."""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import trio
from msgspec.structs import replace

from cluster.agent import report, supervise
from cluster.agent import up as up_module
from cluster.agent.children import Child, environment
from cluster.agent.down import down
from cluster.agent.home import Home, HomeError, HomeLock
from cluster.agent.layout import Process
from cluster.agent.ports import PortError
from cluster.agent.prepare import prepare
from cluster.agent.up import Agent, StartError
from cluster.blueprint import Blueprint, parse, with_ports
from cluster.persistence import OFF
from cluster.topology import Topology, from_json, to_json, with_primary

FAKE = Path(__file__).with_name("fake_process.py")
FIRST = random.randrange(10_000, 30_000, 20)  # away from the ports that a house on this machine has
BLUEPRINT = b"services:\n- {type: keyvalue, name: cache, ipAllowList: []}\n"


class Watcher:
    """An observer that remembers, and lets a test wait for what it wants to see."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.details: list[str] = []
        self.running: report.Running | None = None
        self._changed = trio.Event()

    def _add(self, text: str) -> None:
        self.seen.append(text)
        self._changed.set()
        self._changed = trio.Event()

    def planned(self, processes: tuple[Process, ...]) -> None:
        self._add("planned")

    def state(self, name: str, state: str, detail: str = "") -> None:
        self._add(f"{name} {state}")
        self.details.append(detail)

    def message(self, text: str) -> None:
        self._add(text)

    def ready(self, running: report.Running) -> None:
        self.running = running
        self._add("all ready")

    async def until(self, text: str, since: int = 0) -> None:
        """Wait until something that begins with `text` was seen, at most 20 s."""
        with trio.fail_after(20):
            while not any(one.startswith(text) for one in self.seen[since:]):
                await self._changed.wait()


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start stand-ins instead of our own rooms."""

    def command(process: Process, directives: list[str]) -> list[str]:
        return [sys.executable, str(FAKE), process.kind, str(process.config), *directives]

    monkeypatch.setattr(up_module, "command", command)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A data directory."""
    made = Home(tmp_path / "home")
    made.create()
    return made


@pytest.fixture
def blueprint(free_port: Callable[[], int]) -> Blueprint:
    """One shard with one replica, on a free port."""
    return with_ports(parse(BLUEPRINT, "b"), free_port(), None)


def pid_of(home: Home, name: str) -> int:
    """The process id that the agent reports for a process."""
    running = report.load(home)
    assert running is not None
    return next(process.pid for process in running.processes if process.name == name)


async def test_it_starts_everything_and_stops_everything(fakes: None, home: Home, blueprint: Blueprint) -> None:
    """Nodes before sentinels and proxy; on SIGTERM all end in order, and nothing is left but the data."""
    watcher = Watcher()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(up_module.up, blueprint, home, watcher, FIRST)
        await watcher.until("all ready")
        assert watcher.running == report.load(home)
        assert home.holder() == os.getpid()
        pids = [process.pid for process in watcher.running.processes]
        os.kill(os.getpid(), signal.SIGTERM)

    order = [one for one in watcher.seen if one.endswith((" ready", " stopped"))]
    assert set(order[:2]) == {"cache-0-1 ready", "cache-0-2 ready"}
    assert set(order[2:6]) == {"sentinel-1 ready", "sentinel-2 ready", "sentinel-3 ready", "cache-proxy ready"}
    assert order[-3:] == ["cache-proxy stopped", "cache-0-1 stopped", "cache-0-2 stopped"]
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert home.holder() is None
    assert not home.running.exists()


async def test_nothing_is_readable_by_others(fakes: None, home: Home, blueprint: Blueprint) -> None:
    """Folders are 0700, files 0600, but for certificates, which are no secret."""
    watcher = Watcher()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(up_module.up, blueprint, home, watcher, FIRST)
        await watcher.until("all ready")
        found = {path: stat.S_IMODE(path.stat().st_mode) for path in home.folder.rglob("*")}
        os.kill(os.getpid(), signal.SIGINT)

    assert stat.S_IMODE(home.folder.stat().st_mode) == 0o700
    assert {path.name for path, mode in found.items() if mode & 0o077} == {"ca.crt", "server.crt"}


async def test_a_dead_replica_is_started_again(fakes: None, home: Home, blueprint: Blueprint) -> None:
    """It is a replica again, with another process id, and each sentinel was told."""
    watcher = Watcher()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(up_module.up, blueprint, home, watcher, FIRST)
        await watcher.until("all ready")
        old, since = pid_of(home, "cache-0-2"), len(watcher.seen)
        os.kill(old, signal.SIGKILL)
        await watcher.until("cache-0-2 started again as a replica of cache-0-1", since)
        await watcher.until("cache-0-2 ready", since)
        assert pid_of(home, "cache-0-2") != old
        os.kill(os.getpid(), signal.SIGTERM)

    assert "cache-0-2 was ended by SIGKILL" in watcher.seen
    node = from_json(home.topology("cache").read_bytes()).shards[0].replicas[0]
    for number in (1, 2, 3):
        assert (home.process("sentinel", f"sentinel-{number}") / "told").read_text() == f"{node}\n"


async def test_a_dead_primary_waits_for_its_successor(fakes: None, home: Home, blueprint: Blueprint) -> None:
    """It comes back as a replica once the sentinels' topology has another primary, which is kept for the next run."""
    watcher = Watcher()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(up_module.up, blueprint, home, watcher, FIRST)
        await watcher.until("all ready")
        os.kill(pid_of(home, "cache-0-1"), signal.SIGKILL)
        await watcher.until("cache-0-1 dead")
        topology = from_json(home.topology("cache").read_bytes())
        promoted = with_primary(topology, "cache-0", topology.shards[0].replicas[0], 9)
        (home.folder / "new").write_bytes(to_json(promoted))
        (home.folder / "new").rename(home.folder / "promoted.json")
        await watcher.until("cache-0-2 is now the primary of cache-0 (epoch 9)")
        await watcher.until("cache-0-1 started again as a replica of cache-0-2")
        os.kill(os.getpid(), signal.SIGTERM)

    assert from_json(home.topology("cache").read_bytes()) == promoted
    assert prepare(blueprint, home, FIRST).deployment.topologies["cache"] == promoted


async def test_a_node_that_loads_is_waited_for(
    fakes: None, home: Home, blueprint: Blueprint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than a start may take, as long as it advances; how far it is is told."""
    monkeypatch.setattr(up_module, "START_SECONDS", 3.0)
    (home.folder / "loading").write_text("25")  # questions, one each 0.15 s
    watcher = Watcher()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(up_module.up, blueprint, home, watcher, FIRST)
        await watcher.until("all ready")
        os.kill(os.getpid(), signal.SIGTERM)

    assert {"loading its data: 40 %, 1 s left", "loading its data: 100 %, 1 s left"} <= set(watcher.details)


async def test_a_primary_that_may_be_empty_is_not_started_before_replicas_with_keys(
    fakes: None, home: Home, blueprint: Blueprint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When no failover comes and nothing is kept on disk: the message says why; it is started once they are empty."""
    monkeypatch.setattr(supervise, "FAILOVER_SECONDS_WITHOUT_JOURNAL", 0.3)
    (service,) = blueprint.services
    off = dataclasses.replace(blueprint, services=(dataclasses.replace(service, persistence=OFF),))
    (home.folder / "keys").write_text("7")
    watcher = Watcher()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(up_module.up, off, home, watcher, FIRST)
        await watcher.until("all ready")
        os.kill(pid_of(home, "cache-0-1"), signal.SIGKILL)
        await watcher.until("cache-0-1 is not started: it could come back without the 7 keys that cache-0-2 has")
        assert not any(one.startswith("cache-0-1 started again") for one in watcher.seen)
        (home.folder / "keys").unlink()
        await watcher.until("cache-0-1 started again (pid ")
        os.kill(os.getpid(), signal.SIGTERM)


async def test_addresses_of_an_earlier_run_are_corrected(fakes: None, home: Home, blueprint: Blueprint) -> None:
    """The sentinels' record is newer but has a node where it no longer is: they get one that is newer still."""
    watcher = Watcher()
    topology = prepare(blueprint, home, FIRST).deployment.topologies["cache"]
    (shard,) = topology.shards
    moved = tuple(replace(node, port=node.port + 1000) for node in topology.nodes)
    (home.folder / "promoted.json").write_bytes(to_json(Topology("cache", (replace(shard, epoch=9),), moved)))
    told = home.process("sentinel", "sentinel-1") / "announced.json"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(up_module.up, blueprint, home, watcher, FIRST)
        await watcher.until("all ready")
        with trio.fail_after(20):
            while not told.exists():  # noqa: ASYNC110 - a file tells nobody
                await trio.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    right = Topology("cache", (replace(shard, epoch=10),), topology.nodes)
    assert from_json(told.read_bytes()) == right
    assert from_json(home.topology("cache").read_bytes()).nodes == topology.nodes


async def test_a_process_that_does_not_start(fakes: None, home: Home, blueprint: Blueprint) -> None:
    """The error names it and shows its log; the others are stopped."""
    (home.folder / "broken-sentinel").touch()
    watcher = Watcher()
    refused = pytest.raises(StartError, match=r"(?s)sentinel-. ended with status 1.*this one does not start")
    with refused, HomeLock(home):
        await Agent(blueprint, prepare(blueprint, home, FIRST), home, watcher).run()

    assert "cache-0-1 stopped" in watcher.seen
    assert "all ready" not in watcher.seen


async def test_a_taken_port_is_named(fakes: None, home: Home, blueprint: Blueprint) -> None:
    """Port, use, holder and remedy are told, and nothing is started."""
    with socket.create_server(("127.0.0.1", blueprint.services[0].port)), pytest.raises(PortError) as caught:
        await up_module.up(blueprint, home, Watcher())

    text = str(caught.value)
    assert text.startswith(
        f"port {blueprint.services[0].port}, wanted for the internal endpoint of service 'cache', is"
    )
    assert f"(pid {os.getpid()})" in text
    assert "'kvorum up --port PORT'" in text
    assert home.holder() is None


async def test_two_agents_cannot_share_a_data_directory(home: Home, blueprint: Blueprint) -> None:
    """The second one is told who runs, and what to do."""
    with HomeLock(home), pytest.raises(HomeError, match=rf"already running on .* \(pid {os.getpid()}\).*'kvorum down'"):
        await up_module.up(blueprint, home, Watcher())


async def test_down_ends_the_agent_of_the_directory(home: Home, tmp_path: Path) -> None:
    """It signals whoever holds the lock and returns when the lock is free."""
    code = (
        "import sys, signal, pathlib; from cluster.agent.home import *\n"
        "with HomeLock(Home(pathlib.Path(sys.argv[1]))): print('held', flush=True); signal.sigwait([signal.SIGTERM])"
    )
    root = str(FAKE.parents[2])
    process = subprocess.Popen(  # noqa: ASYNC220 - starting is quick, and nothing else is to run meanwhile
        [sys.executable, "-c", "import signal; signal.pthread_sigmask(0, [15])\n" + code, str(home.folder)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"held\n"
        with trio.fail_after(20):
            assert await down(home) == process.pid
    assert process.wait(20) == 0

    assert await down(home) is None


def test_children_die_with_the_agent(tmp_path: Path) -> None:
    """Even when it is killed, and with no chance to tell them."""
    code = (
        "import os, sys, pathlib; from cluster.agent.children import Child\n"
        "log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)\n"
        "print(Child('c', ['sleep', '600'], pathlib.Path('/'), log).pid, flush=True); sys.stdin.read()"
    )
    agent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "log")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(FAKE.parents[2])},
    )
    assert agent.stdin is not None
    assert agent.stdout is not None
    with agent.stdin, agent.stdout:
        child = psutil.Process(int(agent.stdout.readline()))
        assert child.is_running()
        agent.kill()
        agent.wait(20)

    _, alive = psutil.wait_procs([child], timeout=20)
    assert not [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]


async def test_a_child_that_does_not_obey_is_killed(tmp_path: Path) -> None:
    """SIGTERM first; SIGKILL after the bound, and the name is told."""
    code = "import signal, sys; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    log = tmp_path / "log"
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT, 0o600)
    child = Child("deaf", [sys.executable, "-c", code], tmp_path, descriptor)
    with trio.fail_after(20):
        while log.stat().st_size == 0:  # noqa: ASYNC110 - a file tells nobody
            await trio.sleep(0.01)
        sizes = iter([0, 5, 9, 9, 12])  # a file that grows is worth waiting for, until it grows no more
        stubborn = await up_module.stop_all([child], 0.1, lambda _: next(sizes))
    child.close()

    assert stubborn == ["deaf"]
    assert next(sizes) == 12
    assert child.exit_status == -signal.SIGKILL


def test_the_allocator_is_the_users_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in the environment of the agent is what children get, and nothing else is chosen for them."""
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
    monkeypatch.delenv("PYTHONMALLOC", raising=False)

    given = environment()
    assert given["GLIBC_TUNABLES"] == "glibc.malloc.hugetlb=1"
    assert "PYTHONMALLOC" not in given
