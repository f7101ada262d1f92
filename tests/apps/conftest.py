"""What the tests of real applications stand on: one service of one shard, reached through its proxy and directly.

Every application is the one of its registry, unmodified, and is told nothing but an address. `KVORUM_APPS_ON=oracle`
runs the same tests on genuine Valkey, to see that a test asks for what Valkey gives.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.conftest import ROOT, Server, find_free_port
from tests.system.test_up import start

APPS = Path(__file__).parent
PATIENCE = 120.0

BLUEPRINT = """\
services:
- type: keyvalue
  name: apps
  plan: starter
  maxmemoryPolicy: noeviction
  shards: 1
  ipAllowList: [{source: 127.0.0.1, description: tests}]
"""


@dataclass(frozen=True)
class Service:
    """The two ways to the data."""

    through_proxy: str
    direct: str


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Service]:
    """One shard with a replica, three sentinels and a proxy, for all applications."""
    if os.environ.get("KVORUM_APPS_ON") == "oracle":
        oracle: Server = request.getfixturevalue("oracle")
        url = f"redis://127.0.0.1:{oracle.port}"
        yield Service(url, url)
        return
    folder = tmp_path_factory.mktemp("apps")
    blueprint = folder / "kvorum.yaml"
    blueprint.write_text(BLUEPRINT)
    ports = ("--port", str(find_free_port()), "--external-port", str(find_free_port()))
    house = start(folder / "home", str(blueprint), *ports)
    try:
        house.until(lambda now: now["state"] == "available")
        yield Service(house.service["internal_url"], f"redis://{house.shard(0)['nodes'][0]['address']}")
    finally:
        house.stop(signal.SIGTERM)
        assert house.process.stdout is not None
        house.process.stdout.close()


@pytest.fixture(scope="module", params=["through_proxy", "direct"])
def url(service: Service, request: pytest.FixtureRequest) -> str:
    """The address of the empty service, one way and then the other."""
    found: str = getattr(service, request.param)
    with redis.Redis.from_url(found) as client:
        client.flushall()
    return found


def install_javascript() -> Path:
    """The folder of the JavaScript applications, with their packages installed; skips when they cannot be."""
    folder = APPS / "js"
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    wanted = json.loads((folder / "package.json").read_text())["dependencies"]
    if not all((folder / "node_modules" / name / "package.json").exists() for name in wanted):
        # As locked; `npm ci` would refuse where a registry lacks a native part of another platform.
        command = ["npm", "install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            pytest.skip(f"npm could not install the applications: {done.stderr.strip()[-300:]}")
    return folder


@pytest.fixture(scope="session")
def javascript() -> Path:
    """The same, once."""
    return install_javascript()


def run(command: list[str], cwd: Path = ROOT, **environment: str) -> str:
    """Run a program to its end; what it printed. It fails the test when the program does."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    ends = f"{done.stdout[-4000:]}\n{done.stderr[-8000:]}"
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{ends}"
    return done.stdout


def outcomes(command: list[str], cwd: Path = ROOT, **environment: str) -> dict[str, Any]:
    """What became of each scenario of a program whose last line says it in JSON."""
    found: dict[str, Any] = json.loads(run(command, cwd, **environment).splitlines()[-1])
    return found


@contextmanager
def running(
    command: list[str], log: Path, cwd: Path = ROOT, tells: bool = False, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A program that is running until the end of the block; its log is shown when the test fails.

    The standard output of one that `tells` something is to be read by the test; otherwise it goes to the log.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if tells else output,
            stderr=output,
        )
    try:
        yield process
    except BaseException:
        print(log.read_text(errors="replace")[-8000:])
        raise
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


def told(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """The next line of a program that tells something, which is JSON."""
    assert process.stdout is not None
    found: dict[str, Any] = json.loads(process.stdout.readline())
    return found
