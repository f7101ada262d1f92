"""What the tests of `kvorum fork` and `kvorum import` share: a house with services to fill, genuine sources, and what a
server holds, whatever its encodings.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from tests.conftest import ROOT, Server, find_free_port, oracle_binary, start_server
from tests.system.test_up import House, start

PATIENCE = 240.0  # a machine may be busy; nothing waits for the clock where all goes well
FAR = 4_000_000_000_000

BLUEPRINT = """\
services:
- {{type: keyvalue, name: many, plan: starter, shards: 3, replicas: 0, port: {0}, externalPort: {1}, ipAllowList: []}}
- {{type: keyvalue, name: one, plan: starter, shards: 1, replicas: {4}, port: {2}, externalPort: {3}, ipAllowList: []}}
sentinels: 1
"""


def open_house(folder: Path, replicas: int = 0) -> Iterator[House]:
    """A house with the services 'many' (three shards) and 'one'."""
    blueprint = folder / "kvorum.yaml"
    blueprint.write_text(BLUEPRINT.format(*(find_free_port() for _ in range(4)), replicas))
    house = start(folder / "home", str(blueprint))
    yield house
    house.stop(signal.SIGTERM)
    assert house.process.stdout is not None
    house.process.stdout.close()


def service(house: House, name: str) -> dict[str, Any]:
    """A service of the report."""
    return next(one for one in house.report["services"] if one["name"] == name)


def client_of(house: House, name: str) -> redis.Redis:
    """A client of a service's internal endpoint."""
    return redis.Redis.from_url(service(house, name)["internal_url"])


def cut_over(house: House, name: str) -> subprocess.CompletedProcess[str]:
    """`kvorum fork --cut-over NAME --json` to its end."""
    words = ["fork", "--cut-over", name, "--json", "--home", str(house.home)]
    command = [sys.executable, "-m", "sentinel.cli.main", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)


def empty(house: House) -> None:
    """Remove what the last test left."""
    for name in ("many", "one"):
        with client_of(house, name) as client:
            client.flushall()
            client.function_flush()


def source_process(kind: str, folder: Path, *directives: str, port: int | None = None) -> Server:
    """A genuine server: `valkey` 9.1 or `redis` 7.0."""
    binary = str(oracle_binary()) if kind == "valkey" else shutil.which("redis-server")
    if binary is None:
        pytest.skip("no genuine Redis on this machine")
    port = find_free_port() if port is None else port
    folder = folder / f"source-{port}"
    folder.mkdir()
    fixed = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    return start_server([binary, *fixed, "--repl-diskless-sync-delay", "0", *directives], folder, port)


class Mover:
    """A running `kvorum fork … --json` or `kvorum import … --json`; `events` has what it said so far."""

    def __init__(self, house: House, *arguments: str, url: str = "") -> None:
        self.events: list[dict[str, Any]] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sentinel.cli.main", *arguments, "--json", "--home", str(house.home)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdin is not None
        self.process.stdin.write(f"{url}\n")
        self.process.stdin.close()
        self._timer = threading.Timer(PATIENCE, self.process.kill)
        self._timer.start()

    def until(self, event: str, **values: object) -> dict[str, Any]:
        """Read on to an event with these values; a test fails when the mover ends without it."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            found = json.loads(line)
            self.events.append(found)
            if found["event"] == event and values.items() <= found.items():
                return found
        raise AssertionError(f"no {event} {values}: {self.events} {self.errors()}")

    def errors(self) -> str:
        """What was written to standard error."""
        assert self.process.stderr is not None
        return self.process.stderr.read()

    def end(self) -> int:
        """Read all that is left; the exit status."""
        assert self.process.stdout is not None
        self.events += [json.loads(line) for line in self.process.stdout]
        status = self.process.wait(PATIENCE)
        self.close()
        return status

    def texts(self, event: str) -> list[str]:
        """The texts of all events of a kind."""
        return [one.get("text", "") for one in self.events if one["event"] == event]

    def command_lines(self) -> str:
        """The arguments and environments of the command and of all that it started."""
        us = psutil.Process(self.process.pid)
        return repr([(one.cmdline(), one.environ()) for one in [us, *us.children(recursive=True)]])

    def close(self) -> None:
        """End it, if it has not ended."""
        self._timer.cancel()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(PATIENCE)
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            if not pipe.closed:
                pipe.close()


def commands(rng: random.Random) -> list[tuple[object, ...]]:
    """One random write of each kind; those over several keys find them in all slots."""
    a, b, c = (rng.randrange(60) for _ in range(3))
    return [
        ("SET", f"s:{a}", rng.randbytes(c)),
        ("SET", f"s:{a}", b, "PXAT", FAR + c),
        ("INCRBY", f"n:{a}", b - 30),
        ("APPEND", f"s:{a}", "tail"),
        ("SETRANGE", f"s:{a}", b, "y"),
        ("PERSIST", f"s:{a}"),
        ("RPUSH", f"l:{a}", *range(b), "x" * c),
        ("LPOP", f"l:{a}"),
        ("HSET", f"h:{a}", f"f{b}", c, "g" * b, b),
        ("HINCRBY", f"h:{a}", "count", b),
        ("PEXPIREAT", f"h:{a}", FAR + b),
        ("SADD", f"i:{a}", *range(b), 1),
        ("SADD", f"t:{a}", f"m{b}", f"m{c}"),
        ("SPOP", f"t:{a}"),
        ("ZADD", f"z:{a}", c / 4, f"m{b}", b, f"m{c}"),
        ("ZINCRBY", f"z:{a}", 1.5, f"m{b}"),
        ("XADD", f"x:{a}", "MAXLEN", "~", 20, "LIMIT", 3, "*", "f", b),
        ("XGROUP", "CREATE", f"x:{a}", f"g{b}", 0),
        ("XREADGROUP", "GROUP", f"g{b}", "me", "COUNT", 2, "STREAMS", f"x:{a}", ">"),
        ("PFADD", f"p:{a}", b, c),
        ("DEL", f"s:{a}", f"l:{b}", f"h:{c}"),
        ("UNLINK", f"z:{a}", f"i:{b}"),
        ("MSET", f"s:{a}", b, f"s:{b}", c, f"s:{c}", a),
        ("RENAME", f"n:{a}", f"n:{b}"),
        ("SMOVE", f"t:{a}", f"t:{b}", f"m{c}"),
        ("LMOVE", f"l:{a}", f"l:{b}", "LEFT", "RIGHT"),
        ("SUNIONSTORE", f"u:{a}", f"i:{b}", f"t:{c}"),
        ("COPY", f"h:{a}", f"h:{b}", "REPLACE"),
        ("ZUNIONSTORE", f"z:{a}", 2, f"z:{b}", f"z:{c}"),
        ("PFMERGE", f"p:{a}", f"p:{b}", f"p:{c}"),
    ]


def write(client: redis.Redis, rng: random.Random, count: int) -> None:
    """So many random writes of every type, some of which are refused, and two transactions."""
    pipe = client.pipeline(transaction=False)
    for _ in range(count):
        pipe.execute_command(*rng.choice(commands(rng)))
    pipe.execute(raise_on_error=False)
    with client.pipeline(transaction=True) as together:
        a = rng.randrange(60)
        together.incr(f"tx:{a}").rpush(f"tx:list:{a}", a).execute()
        together.incr(f"{{tx}}:{a}").set("{tx}:last", a).execute()


class Writer:
    """Writes to a source from a thread of its own, until it is stopped or the source is paused."""

    def __init__(self, server: Server, seed: int, **options: object) -> None:
        self._client = redis.Redis(port=server.port, **options)
        self._rng = random.Random(seed)
        self._stopped = False
        self.rounds = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped:
            try:
                write(self._client, self._rng, 20)
            except redis.ConnectionError:
                return
            self.rounds += 1
            time.sleep(0.1)  # a source has other things to do too: to apply takes longer than to write

    def some(self, rounds: int = 3) -> None:
        """Wait until it has written that much more."""
        goal, deadline = self.rounds + rounds, time.monotonic() + PATIENCE
        while self.rounds < goal:
            assert time.monotonic() < deadline
            time.sleep(0.01)  # progress of another thread

    def stop(self) -> None:
        """Stop; a source that is paused is resumed for that."""
        self._stopped = True
        self._thread.join(PATIENCE)
        self._client.close()


_READS = {
    b"string": ("GET", ()),
    b"list": ("LRANGE", (0, -1)),
    b"hash": ("HGETALL", ()),
    b"set": ("SMEMBERS", ()),
    b"zset": ("ZRANGE", (0, -1, "WITHSCORES")),
    b"stream": ("XINFO", ()),
}


def holds(client: redis.Redis, db: int = 0) -> dict[bytes, tuple[object, ...]]:
    """What a database holds by key: type, expiry, value, in the order that makes equal values equal."""
    known = client.connection_pool.connection_kwargs
    with redis.Redis(port=known["port"], password=known.get("password"), db=db) as own:
        names = sorted(set(own.scan_iter(count=1000)))
        pipe = own.pipeline(transaction=False)
        for name in names:
            pipe.type(name).pexpiretime(name)
        answers = pipe.execute()
        kinds, expiries = answers[::2], answers[1::2]
        for name, kind in zip(names, kinds, strict=True):
            if kind == b"stream":
                pipe.execute_command("XRANGE", name, "-", "+")
            else:
                word, rest = _READS[kind]
                pipe.execute_command(word, name, *rest)
        values = pipe.execute()
        found = {}
        for name, kind, until, value in zip(names, kinds, expiries, values, strict=True):
            if kind == b"stream":
                value = (value, _stream(own, name))
            found[name] = (kind, until, value)
        return found


def _stream(client: redis.Redis, name: bytes) -> object:
    """The accounts and groups of a stream, without what is told by shape and by the clock."""
    told = _pairs(client.execute_command("XINFO", "STREAM", name, "FULL", "COUNT", 0))
    groups = [_pairs(group) for group in told[b"groups"]]
    kept = [[group[field] for field in (b"name", b"last-delivered-id", b"pel-count", b"pending")] for group in groups]
    return told[b"length"], told[b"last-generated-id"], told[b"entries-added"], kept


def _pairs(flat: Any) -> dict[bytes, Any]:
    pairs = flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)
    return {name.encode() if isinstance(name, str) else name: value for name, value in pairs}


def import_modes(house: House) -> set[bytes]:
    """The import modes of all nodes."""
    found = set()
    for process in house.report["processes"]:
        if process["kind"] == "node":
            with redis.Redis(port=process["port"]) as node:
                found.add(node.config_get("import-mode")["import-mode"])
    return found
