"""What a service keeps on disk, from outside: over restarts and kills, and when its mode changes under clients."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import psutil
import pytest
import redis

from tests.conftest import Server
from tests.system.test_up import PATIENCE, House, kvorum, start

Begin = Callable[..., House]

BLUEPRINT = """\
sentinels: 1
services:
- type: keyvalue
  name: cache
  plan: {plan}
  shards: {shards}
  replicas: {replicas}
  ipAllowList: []
{more}
"""


@pytest.fixture
def begin(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Begin]:
    """Run a blueprint on the one home of this test: `begin("persistenceMode: off", shards=2)`; ended with the test."""
    houses: list[House] = []
    port = free_port()

    def run(*lines: str, plan: str = "starter", shards: int = 1, replicas: int = 1) -> House:
        file = tmp_path / "kvorum.yaml"
        more = "".join(f"  {line}\n" for line in lines)
        file.write_text(BLUEPRINT.format(plan=plan, shards=shards, replicas=replicas, more=more))
        houses.append(start(tmp_path / "home", str(file), "--port", str(port)))
        return houses[-1]

    yield run
    for house in houses:
        end(house)


def end(house: House) -> None:
    """Stop it in order, and wait."""
    house.stop(signal.SIGTERM)
    assert house.process.stdout is not None
    house.process.stdout.close()


def kill_all(house: House) -> None:
    """SIGKILL to the agent and to everything that it runs, at once."""
    children = house.processes()
    for process in (psutil.Process(house.process.pid), *children):
        process.kill()
    house.process.wait(PATIENCE)
    psutil.wait_procs(children, timeout=PATIENCE)


def client(house: House) -> redis.Redis:
    """A client at the internal endpoint."""
    return redis.Redis.from_url(house.service["internal_url"])


def fill(house: House, count: int, name: str = "key") -> None:
    """Set so many keys."""
    with client(house) as found, found.pipeline(transaction=False) as pipe:
        for number in range(count):
            pipe.set(f"{name}:{number}", number)
        pipe.execute()


def holds(house: House, count: int, name: str = "key") -> bool:
    """Are so many keys there, each with its value?"""
    with client(house) as found, found.pipeline(transaction=False) as pipe:
        for number in range(count):
            pipe.get(f"{name}:{number}")
        return pipe.execute() == [b"%d" % number for number in range(count)]


def settled(house: House, mode: str) -> dict[str, object]:
    """The first status in which all is available and every node is in the mode; its service."""

    def right(status: dict[str, object]) -> bool:
        service = status["services"][0]
        nodes = [node for shard in service["shards"] for node in shard["nodes"]]
        kept = {node["disk"]["mode"] for node in nodes if node["disk"]}
        return status["state"] == "available" and service["persistence"] == mode and kept == {mode}

    return house.until(right)["services"][0]


def files(house: House, node: str = "cache-0-1") -> set[str]:
    """Which of the files that hold data are in a node's folder."""
    return {"dump.rdb", "appendonlydir"} & set(os.listdir(house.home / "nodes" / node))


def shard_nodes(status: dict[str, object]) -> list[dict[str, object]]:
    """The nodes of the first shard in a status."""
    return status["services"][0]["shards"][0]["nodes"]


def test_the_plans_mode_survives_the_kill_of_everything(begin: Begin) -> None:
    """Two shards with replicas on the default mode: SIGKILL of all processes, and the data, roles and ids are back."""
    house = begin(shards=2)
    fill(house, 300)
    done = kvorum(house.home, "failover", "cache", "1")
    assert done.returncode == 0
    before = settled(house, "journal_snapshot")
    kill_all(house)

    again = begin(shards=2)
    after = settled(again, "journal_snapshot")
    assert holds(again, 300)
    leaders = [[(node["name"], node["role"]) for node in shard["nodes"]] for shard in before["shards"]]
    assert [[(node["name"], node["role"]) for node in shard["nodes"]] for shard in after["shards"]] == leaders
    assert leaders[1][0] == ("cache-1-2", "primary")
    assert [s["epoch"] for s in after["shards"]] == [s["epoch"] for s in before["shards"]]
    disk = after["shards"][0]["nodes"][0]["disk"]
    assert disk["aof_size"] > 0
    assert (disk["saved"], disk["appended"]) == (True, True)


def refused_when_torn(begin: Begin, path: Path) -> None:
    """The start with a half of this file fails with all that helps, and the file is as it was."""
    sound = path.read_bytes()
    torn = sound[: len(sound) // 2]
    path.write_bytes(torn)
    with pytest.raises(AssertionError) as caught:
        begin("persistenceMode: snapshot", replicas=0)
    assert f"{path} can't be loaded" in str(caught.value)
    assert f"kvorum check {path}" in str(caught.value)
    assert path.read_bytes() == torn
    path.write_bytes(sound)


def test_each_mode_over_an_orderly_end(begin: Begin) -> None:
    """Changed in the blueprint between runs: what one mode wrote, the next one starts with; `off` forgets.

    Where a file can't be read the start is refused with file, reason and recipe, and nothing is changed.
    """
    count = 0
    for mode, expected in (("snapshot", {"dump.rdb"}), ("journal", {"appendonlydir"}), ("off", set())):
        house = begin(f"persistenceMode: {mode}", replicas=0)
        settled(house, mode)
        assert holds(house, count)
        count += 100
        fill(house, count)
        end(house)
        assert files(house) == expected
        if mode == "snapshot":
            refused_when_torn(begin, house.home / "nodes" / "cache-0-1" / "dump.rdb")
    empty = begin("persistenceMode: off", replicas=0)
    with client(empty) as found:
        assert found.dbsize() == 0
    folder = empty.home / "nodes" / "cache-0-1"
    assert {"dump.rdb.old", "appendonlydir.old"} <= set(os.listdir(folder))


def test_modes_of_a_live_service(begin: Begin) -> None:
    """`kvorum persistence` under writes, on a service that kept nothing: after the kill of everything all is there."""
    house = begin(plan="free")
    fill(house, 200)
    nodes = settled(house, "off")["shards"][0]["nodes"]
    os.kill(nodes[0]["pid"], signal.SIGKILL)  # while nothing is on disk it must not come back as the primary
    expected = [(node["name"], "online", 200) for node in reversed(nodes)]
    house.until(lambda now: expected == [(n["name"], n["state"], n["keys"]) for n in shard_nodes(now)])
    stop = threading.Event()
    written = [0]

    def write() -> None:
        with client(house) as found:
            while not stop.is_set():
                found.set(f"live:{written[0]}", written[0])
                written[0] += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for mode in ("snapshot", "journal"):
            done = kvorum(house.home, "persistence", "cache", mode)
            assert (done.returncode, done.stderr) == (0, "")
            assert f"service cache keeps '{mode}': " in done.stdout
            settled(house, mode)
        assert kvorum(house.home, "persistence", "cache").stdout.startswith(f"{mode}: ")
    finally:
        stop.set()
        writer.join(PATIENCE)
    assert "The plan 'free' has no disk" in done.stdout
    kill_all(house)  # what a journal was given is written before the reply, and synced to survive the machine as well

    again = begin(plan="starter")
    settled(again, "journal")  # what the command line set, since neither blueprint says anything
    assert holds(again, 200)
    assert holds(again, written[0], "live")
    assert kvorum(again.home, "persistence", "cache", "off").returncode == 0
    settled(again, "off")
    assert holds(again, 200)
    assert files(again) == set()
    wrong = kvorum(again.home, "persistence", "jobs", "off")
    assert (wrong.returncode, wrong.stderr) == (1, "error: no service 'jobs'; there are: cache\n")


def test_an_empty_primary_does_not_wipe_its_replica(begin: Begin) -> None:
    """A primary whose folder was lost while all was down does not lead: the replica with the data does."""
    house = begin()
    fill(house, 100)
    before = settled(house, "journal_snapshot")["shards"][0]
    house.until(lambda now: all(node["keys"] == 100 for node in shard_nodes(now)))
    end(house)
    shutil.rmtree(house.home / "nodes" / before["nodes"][0]["name"])

    again = begin()
    after = settled(again, "journal_snapshot")["shards"][0]
    assert [node["name"] for node in after["nodes"]] == [node["name"] for node in before["nodes"]][::-1]
    assert after["epoch"] > before["epoch"]
    assert holds(again, 100)


def request(lines: BinaryIO) -> list[bytes]:
    """The words of the next request; a test fails when there is none."""
    count = int(lines.readline()[1:])
    return [lines.read(int(lines.readline()[1:]) + 2)[:-2] for _ in range(count)]


def test_how_far_a_full_sync_is(node_process: Callable[..., Server]) -> None:
    """INFO of a replica tells what has come of the snapshot, with and without its length."""
    with socket.create_server(("127.0.0.1", 0)) as primary:
        primary.settimeout(PATIENCE)
        node = node_process("--replicaof", "127.0.0.1", str(primary.getsockname()[1]))
        for head, total, left in ((b"$1000", 1000, 600), (b"$EOF:" + b"x" * 40, 0, -361)):
            link, _ = primary.accept()
            with link, link.makefile("rb") as lines:
                link.settimeout(PATIENCE)
                while (words := request(lines))[0].upper() != b"PSYNC":
                    link.sendall(b"+PONG\r\n" if words[0].upper() == b"PING" else b"+OK\r\n")
                link.sendall(b"+FULLRESYNC " + b"a" * 40 + b" 0\r\n" + head + b"\r\n" + b"R" * 400)
                read = total - left
                deadline = time.monotonic() + PATIENCE
                while (info := node.client().info("replication")).get("master_sync_read_bytes") != read:
                    assert time.monotonic() < deadline, info
                assert info["master_sync_in_progress"] == 1
                assert (info["master_sync_total_bytes"], info["master_sync_left_bytes"]) == (total, left)
                assert info["master_sync_perc"] == (40.0 if total else 0.0)
