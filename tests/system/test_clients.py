"""Cluster-aware clients that we did not write: they fill the shards, a primary is killed, and they go on by
themselves.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import ConstantBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.retry import Retry

from cluster.slots import key_slot
from tests.system.test_up import BLUEPRINT, House, start

JS = Path(__file__).parent / "js"
KEYS = 10_000
PATIENCE = 60.0

pytestmark = pytest.mark.slow


@pytest.fixture
def house(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[House]:
    """Three shards with a replica each, three sentinels, a proxy."""
    blueprint = tmp_path / "kvorum.yaml"
    blueprint.write_text(BLUEPRINT)
    found = start(
        tmp_path / "home", str(blueprint), "--port", str(free_port()), "--external-port", str(free_port())
    )
    found.until(lambda now: now["state"] == "available")
    yield found
    found.stop(signal.SIGTERM)
    assert found.process.stdout is not None
    found.process.stdout.close()


def addresses(house: House) -> list[str]:
    """host:port of every node."""
    shards = house.status()["services"][0]["shards"]
    return [node["address"] for shard in shards for node in shard["nodes"]]


def tag_of(shard: dict[str, Any]) -> str:
    """A hash tag whose slot the shard owns."""
    first, last = (int(slot) for slot in shard["slots"].split("-"))
    return next(str(i) for i in range(100_000) if first <= key_slot(str(i).encode()) <= last)


def kill_primary(house: House, index: int) -> None:
    """SIGKILL to a shard's primary."""
    os.kill(house.shard(index)["nodes"][0]["pid"], signal.SIGKILL)


def report(name: str, figures: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """Print what was measured, past pytest's capture."""
    with capsys.disabled():
        print(f"\n{name}: no accepted write for {figures['gap_ms']} ms after SIGKILL of a primary ({figures})")


def node_modules() -> None:
    """Install the JavaScript clients when they are not there; skip with the reason when they can't be."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    if (JS / "node_modules" / "ioredis").is_dir() and (JS / "node_modules" / "redis").is_dir():
        return
    command = ["npm", "ci", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=JS, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        pytest.skip(f"npm could not install the clients: {done.stderr.strip()[-300:]}")


@pytest.mark.parametrize("script", ["ioredis_cluster.mjs", "node_redis_cluster.mjs"])
def test_javascript_cluster_clients(house: House, script: str, capsys: pytest.CaptureFixture[str]) -> None:
    """ioredis and node-redis write and read 10,000 keys, and write on after the SIGKILL of a primary."""
    node_modules()
    process = subprocess.Popen(
        ["node", script, ",".join(addresses(house)), str(KEYS), tag_of(house.shard(1))],
        cwd=JS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    killer = threading.Timer(3 * PATIENCE, process.kill)
    killer.start()
    try:
        assert process.stdout is not None
        filled = json.loads(process.stdout.readline())
        assert filled == {"filled": KEYS}
        old = house.shard(1)["nodes"][0]["name"]
        kill_primary(house, 1)
        house.until(lambda now: now["services"][0]["shards"][1]["nodes"][0]["name"] != old)
        house.until(lambda now: now["state"] == "available")
        out, err = process.communicate("stop\n", timeout=PATIENCE)
    finally:
        killer.cancel()
        process.kill()
    assert process.returncode == 0, err
    figures = json.loads(out)
    report(script, figures, capsys)
    assert figures["accepted"] > 100
    assert figures["gap_ms"] > 0


class Endurance:
    """The same for Python clients: `set` and `get` are called from a thread until `stop`."""

    def __init__(self, put: Callable[[str, str], object], get: Callable[[str], bytes | None], tag: str) -> None:
        self._put, self._get, self._tag = put, get, tag
        self.accepted = 0
        self.failed = 0
        self.gap = 0.0
        self._going = True
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        last = time.monotonic()
        while self._going:
            try:
                self._put(f"{{{self._tag}}}:{self.accepted}", str(self.accepted))
            except Exception:  # whatever the client's own error is: it counts, and the next write is tried
                self.failed += 1
                time.sleep(0.005)
                continue
            self.accepted += 1
            now = time.monotonic()
            self.gap = max(self.gap, now - last)
            last = now

    def stop(self) -> dict[str, Any]:
        """End the writing and count what was accepted and is not there."""
        self._going = False
        self._thread.join(PATIENCE)
        lost = sum(self._get(f"{{{self._tag}}}:{i}") != str(i).encode() for i in range(self.accepted))
        return {"accepted": self.accepted, "failed": self.failed, "gap_ms": round(self.gap * 1000), "lost": lost}


def endure(house: House, put: Callable[[str, str], object], get: Callable[[str], bytes | None]) -> dict[str, Any]:
    """Write with a Python client while the primary of shard 1 is killed and replaced."""
    writer = Endurance(put, get, tag_of(house.shard(1)))
    try:
        old = house.shard(1)["nodes"][0]["name"]
        kill_primary(house, 1)
        house.until(lambda now: now["services"][0]["shards"][1]["nodes"][0]["name"] != old)
        house.until(lambda now: now["state"] == "available")
    finally:
        figures = writer.stop()
    assert figures["accepted"] > 100
    return figures


def test_redis_py_cluster(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    """redis-py's RedisCluster writes and reads 10,000 keys, and writes on after the SIGKILL of a primary."""
    nodes = [ClusterNode(host, int(port)) for host, port in (at.rsplit(":", 1) for at in addresses(house))]
    with RedisCluster(startup_nodes=nodes, retry=Retry(ConstantBackoff(0.05), 3)) as client:
        for first in range(0, KEYS, 1000):
            pipe = client.pipeline()
            for i in range(first, first + 1000):
                pipe.set(f"key:{i}", i)
            assert all(pipe.execute())
        for first in range(0, KEYS, 1000):
            pipe = client.pipeline()
            for i in range(first, first + 1000):
                pipe.get(f"key:{i}")
            assert pipe.execute() == [b"%d" % i for i in range(first, first + 1000)]
        report("redis-py", endure(house, client.set, client.get), capsys)


def test_valkey_glide_cluster(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    """valkey-glide writes and reads 10,000 keys, and writes on after the SIGKILL of a primary."""
    glide = pytest.importorskip("glide", reason="valkey-glide is not installed")

    async def connect() -> Any:
        nodes = [glide.NodeAddress(host, int(port)) for host, port in (at.rsplit(":", 1) for at in addresses(house))]
        return await glide.GlideClusterClient.create(
            glide.GlideClusterClientConfiguration(nodes, request_timeout=500)
        )

    loop = asyncio.new_event_loop()
    runner = threading.Thread(target=loop.run_forever)
    runner.start()

    def wait(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(PATIENCE)

    try:
        client = wait(connect())

        async def fill() -> None:
            for first in range(0, KEYS, 200):
                await asyncio.gather(*(client.set(f"key:{i}", str(i)) for i in range(first, first + 200)))

        async def read() -> int:
            right = 0
            for first in range(0, KEYS, 200):
                values = await asyncio.gather(*(client.get(f"key:{i}") for i in range(first, first + 200)))
                right += sum(value == b"%d" % i for i, value in enumerate(values, first))
            return right

        wait(fill())
        assert wait(read()) == KEYS
        figures = endure(house, lambda key, value: wait(client.set(key, value)), lambda key: wait(client.get(key)))
        report("valkey-glide", figures, capsys)
        wait(client.close())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        runner.join(PATIENCE)
        loop.close()


def test_external_endpoint(house: House) -> None:
    """TLS with the CA verified: redis-cli, redis-py and ioredis get through with the password, and not without."""
    url, authority = house.service["external_url"], house.report["ca_file"]
    with redis.Redis.from_url(url, ssl_ca_certs=authority, ssl_cert_reqs="required") as client:
        assert client.set("a", "1")
    if shutil.which("redis-cli"):
        command = ["redis-cli", "--no-auth-warning", "--tls", "--cacert", authority, "-u", url]
        done = subprocess.run([*command, "get", "a"], capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert (done.stdout, done.stderr) == ("1\n", "")
    host, port = url.rsplit("@", 1)[1].split(":")
    stranger = redis.Redis(host, int(port), ssl=True, ssl_ca_certs=authority, protocol=2)
    with stranger, pytest.raises(redis.AuthenticationError, match="Authentication required"):
        stranger.get("a")
    node_modules()
    command = ["node", "ioredis_tls.mjs", url, authority]
    done = subprocess.run(command, cwd=JS, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert json.loads(done.stdout) == {"value": "over TLS", "authorized": True}


def test_address_that_is_not_allowed(tmp_path: Path, free_port: Callable[[], int]) -> None:
    """From an address that is not on the list the refusal comes at AUTH, in exactly these words."""
    blueprint = tmp_path / "kvorum.yaml"
    blueprint.write_text(BLUEPRINT.replace("shards: 3", "shards: 1").replace("127.0.0.1,", "203.0.113.5,"))
    house = start(tmp_path / "home", str(blueprint), "--port", str(free_port()), "--external-port", str(free_port()))
    try:
        url = house.service["external_url"]
        client = redis.Redis.from_url(url, ssl_ca_certs=house.report["ca_file"])
        with client, pytest.raises(redis.RedisError) as told:
            client.ping()
        assert str(told.value) == "Client IP address is not in the allowlist."
    finally:
        house.stop(signal.SIGTERM)
        assert house.process.stdout is not None
        house.process.stdout.close()
