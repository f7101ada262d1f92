"""The whole house, as its users have it: `kvorum up`, clients, the SIGKILL of a primary, and nothing left behind."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0

BLUEPRINT = """\
services:
- type: keyvalue
  name: cache
  plan: starter
  shards: 3
  ipAllowList: [{source: 127.0.0.1, description: tests}]
"""


def kvorum(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the operator's to its end."""
    return subprocess.run(
        [sys.executable, "-m", "sentinel.cli.main", *arguments, "--home", str(home)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@dataclass
class House:
    """A running `kvorum up --json`, and what it reported."""

    process: subprocess.Popen[str]
    home: Path
    report: dict[str, Any]

    @property
    def service(self) -> dict[str, Any]:
        return self.report["services"][0]

    def status(self) -> dict[str, Any]:
        """What `kvorum status --json` says now."""
        return json.loads(kvorum(self.home, "status", "--json").stdout)

    def shard(self, index: int) -> dict[str, Any]:
        """One shard in it."""
        return self.status()["services"][0]["shards"][index]

    def until(self, right: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first status that is right; a test fails when none comes."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            status = self.status()
            if right(status):
                return status
        raise AssertionError(f"never came: {status}\n{self.logs()}")

    def logs(self) -> str:
        """The ends of all logs."""
        return "\n".join(f"--- {path.name}\n{path.read_text()[-2000:]}" for path in (self.home / "logs").iterdir())

    def processes(self) -> list[psutil.Process]:
        """The agent's children."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def stop(self, sign: signal.Signals = signal.SIGINT) -> int:
        """End the agent; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(sign)
        return self.process.wait(PATIENCE)


def write(client: redis.Redis, count: int) -> int:
    """Set so many keys, again where the connection ended without a reply; how often that was."""
    unknown = 0
    for number in range(count):
        try:
            client.set(f"after:{number}", number)
        except redis.ConnectionError:
            unknown += 1
            client.set(f"after:{number}", number)
    return unknown


def start(home: Path, *arguments: str) -> House:
    """Run `kvorum up` until it is ready."""
    home.parent.mkdir(exist_ok=True, parents=True)
    errors = home.parent / "errors"
    with errors.open("w") as stderr:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "sentinel.cli.main", "up", "--json", "--home", str(home)),
                *("--node-ports", str(random.randrange(10_000, 30_000, 20)), *arguments),
            ],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    assert process.stdout is not None
    killer = threading.Timer(2 * PATIENCE, process.kill)
    killer.start()
    line = process.stdout.readline()
    killer.cancel()
    if not line:
        process.wait(PATIENCE)
        process.stdout.close()
        raise AssertionError(f"kvorum up failed:\n{errors.read_text()}")
    return House(process, home, json.loads(line))


@pytest.fixture
def house(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[House]:
    """Three shards with a replica each, three sentinels, a proxy; ended with the test."""
    blueprint = tmp_path / "kvorum.yaml"
    blueprint.write_text(BLUEPRINT)
    ports = ("--port", str(free_port()), "--external-port", str(free_port()))
    found = start(tmp_path / "home", str(blueprint), *ports)
    yield found
    found.stop(signal.SIGTERM)
    assert found.process.stdout is not None
    found.process.stdout.close()


def test_from_up_to_down(house: House) -> None:
    """Clients are served at both endpoints, a killed primary is replaced and comes back as replica, Ctrl-C ends all."""
    internal = redis.Redis.from_url(house.service["internal_url"])
    external = redis.Redis.from_url(house.service["external_url"], ssl_ca_certs=house.report["ca_file"])
    for number in range(300):
        assert internal.set(f"key:{number}", number)
    assert external.get("key:7") == b"7"
    assert internal.dbsize() == 300

    status = house.until(lambda now: now["state"] == "available")
    shards = status["services"][0]["shards"]
    assert [shard["slots"] for shard in shards] == ["0-5460", "5461-10922", "10923-16383"]
    assert [[node["role"] for node in shard["nodes"]] for shard in shards] == [["primary", "replica"]] * 3
    assert sum(shard["nodes"][0]["keys"] for shard in shards) == 300
    assert {sentinel["state"] for sentinel in status["sentinels"]} == {"online"}

    primary, replica = (node["name"] for node in shards[1]["nodes"])
    os.kill(shards[1]["nodes"][0]["pid"], signal.SIGKILL)
    assert write(internal, 300) <= 1
    status = house.until(
        lambda now: (
            now["state"] == "available"
            and [node["name"] for node in now["services"][0]["shards"][1]["nodes"]] == [replica, primary]
        )
    )
    after = status["services"][0]["shards"][1]
    assert [node["role"] for node in after["nodes"]] == ["primary", "replica"]
    assert after["epoch"] > shards[1]["epoch"]
    assert internal.dbsize() == 600
    assert internal.get("key:7") == b"7"

    internal.close()
    external.close()
    children = house.processes()
    assert len(children) == 10
    assert house.stop(signal.SIGINT) == 0
    assert not [child for child in children if child.is_running()]


def test_a_failover_on_request(house: House) -> None:
    """It names both nodes; no accepted write is lost; an unknown shard or service is told."""
    client = redis.Redis.from_url(house.service["internal_url"])
    for number in range(100):
        client.set(f"key:{number}", number)
    old = [node["name"] for node in house.shard(0)["nodes"]]
    done = kvorum(house.home, "failover", "cache", "0")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{old[1]} is the primary now, in the place of {old[0]}; it took ")
    house.until(lambda now: now["state"] == "available")
    assert [node["name"] for node in house.shard(0)["nodes"]] == old[::-1]
    assert [client.get(f"key:{number}") for number in range(100)] == [b"%d" % number for number in range(100)]
    client.close()

    assert kvorum(house.home, "failover", "cache", "9").stderr == (
        "error: no shard '9' in service 'cache'; there are: cache-0, cache-1, cache-2\n"
    )
    assert "no service 'jobs'; there are: cache" in kvorum(house.home, "failover", "jobs", "0").stderr


def test_roles_are_kept_over_a_restart_of_everything(tmp_path: Path, free_port: Callable[[], int]) -> None:
    """Whoever led when the house went down leads when it comes up, under the same ids, ports and password."""
    blueprint = tmp_path / "kvorum.yaml"
    blueprint.write_text(BLUEPRINT.replace("shards: 3", "shards: 1"))
    arguments = (str(blueprint), "--port", str(free_port()), "--external-port", str(free_port()))
    first = start(tmp_path / "home", *arguments)
    try:
        kvorum(first.home, "failover", "cache", "cache-0")
        before = first.until(lambda now: now["state"] == "available")["services"][0]["shards"][0]
        assert [node["name"] for node in before["nodes"]] == ["cache-0-2", "cache-0-1"]
        done = kvorum(first.home, "down")
        assert (done.returncode, done.stdout) == (0, f"stopped (pid {first.process.pid})\n")
        assert first.process.wait(PATIENCE) == 0
    finally:
        first.stop(signal.SIGTERM)
        first.process.stdout.close()
    assert kvorum(tmp_path / "home", "status").returncode == 3
    second = start(tmp_path / "home", *arguments)
    try:
        after = second.until(lambda now: now["state"] == "available")["services"][0]["shards"][0]
        assert [(node["id"], node["address"]) for node in after["nodes"]] == [
            (node["id"], node["address"]) for node in before["nodes"]
        ]
        assert second.service == first.service
    finally:
        second.stop(signal.SIGTERM)
        second.process.stdout.close()


def test_a_killed_agent_leaves_no_process(house: House) -> None:
    """The kernel ends the children of an agent that had no chance to, and the directory can be used again."""
    children = house.processes()
    house.process.kill()
    house.process.wait(PATIENCE)
    _, alive = psutil.wait_procs(children, timeout=PATIENCE)

    assert not [child for child in alive if child.status() != psutil.STATUS_ZOMBIE]
    assert kvorum(house.home, "status").returncode == 3


def test_a_taken_port_is_named(tmp_path: Path, free_port: Callable[[], int]) -> None:
    """Nothing is started, and the message says who has it and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = kvorum(tmp_path / "home", "up", "--port", str(port), "--external-port", str(free_port()))

    assert done.returncode == 1
    assert f"port {port}, wanted for the internal endpoint of service 'cache', is taken by" in done.stderr
    assert f"(pid {os.getpid()})" in done.stderr


def test_a_wrong_blueprint_starts_nothing(tmp_path: Path) -> None:
    """Every mistake is told with file and line, and the exit status is 2."""
    blueprint = tmp_path / "wrong.yaml"
    blueprint.write_text("services:\n- type: keyvalue\n  name: a\n  plan: huge\n")
    done = kvorum(tmp_path / "home", "up", str(blueprint))

    assert done.returncode == 2
    assert done.stderr.splitlines()[1].startswith(f"{blueprint}:4:9: services[0].plan: 'huge' is no plan")
    assert done.stderr.endswith(f"error: 2 mistakes in {blueprint}; nothing was started\n")
    assert not (tmp_path / "home").exists()
