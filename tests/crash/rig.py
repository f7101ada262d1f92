"""Nodes that are killed, clients that know what was acknowledged to them, and the comparison of the two.

A writer sends numbered operations, each of which is one command or transaction; what the node holds of them must be
what a beginning of that sequence leaves behind: at least all that was acknowledged, at most all that was sent.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import hiredis

from cluster.resp.encode import encode_request
from node import check
from tests.conftest import ROOT, child_environment, find_free_port

PATIENCE = 30.0
RING = 8
PLACED = 200
SCRIPT = b"redis.call('SET', KEYS[1], ARGV[1]) return redis.call('ZADD', KEYS[2], ARGV[1], ARGV[2])"


class Lost(Exception):
    """The node is gone, or refuses."""


class Breeder:
    """The process that forks nodes, see `breeder.py`."""

    def __init__(self, *within: str) -> None:
        """`within`: the words of a command that runs another one in its surroundings."""
        command = [*within, sys.executable, "-m", "tests.crash.breeder"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, env=child_environment(), text=True
        )
        self.living: set[int] = set()

    def ask(self, **request: object) -> dict[str, int | None]:
        """One request and its answer."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer: dict[str, int | None] = json.loads(self.process.stdout.readline())
        return answer

    def close(self) -> None:
        """End it, and all nodes that live."""
        for pid in list(self.living):
            self.ask(pid=pid, signal=int(signal.SIGKILL))
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(PATIENCE)
        self.process.stdout.close()


class Link:
    """A connection that can have many commands under way."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.reader = hiredis.Reader(notEnoughData=Ellipsis)

    def send(self, *commands: tuple[bytes, ...]) -> None:
        """Send commands. Raises Lost."""
        try:
            self.sock.sendall(b"".join(map(encode_request, commands)))
        except OSError as error:
            raise Lost(str(error)) from None

    def reply(self) -> object:
        """The next reply, errors as values. Raises Lost."""
        while (found := self.reader.gets()) is Ellipsis:
            try:
                data = self.sock.recv(65536)
            except OSError as error:
                raise Lost(str(error)) from None
            if not data:
                raise Lost("closed")
            self.reader.feed(data)
        return found

    def ask(self, *words: bytes) -> object:
        """One command and its reply. Raises Lost, also for an error."""
        self.send(words)
        found = self.reply()
        if isinstance(found, Exception):
            raise Lost(str(found))
        return found

    def close(self) -> None:
        """End the connection."""
        self.sock.close()


class Victim:
    """A node with its folder, which outlives it."""

    def __init__(self, breeder: Breeder, folder: Path, inside: Path | None = None) -> None:
        """`inside`: what the folder is called for the node."""
        folder.mkdir(exist_ok=True)
        self.breeder = breeder
        self.folder = folder
        self.inside = inside or folder
        self.port = find_free_port()
        self.pid = 0

    def start(self, *directives: str, kill_at: int = 0, faults: str = "", record: str = "") -> None:
        """Fork; see `Steps` for the rest."""
        folder = str(self.inside)
        argv = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", folder, "--enable-debug-command", "yes"]
        argv += [*([] if "--save" in directives else ["--save", ""]), *directives]
        pid = self.breeder.ask(argv=argv, folder=folder, kill_at=kill_at, faults=faults, record=record)["pid"]
        assert pid is not None
        self.pid = pid
        self.breeder.living.add(pid)

    def kill(self, sign: signal.Signals = signal.SIGKILL) -> int | None:
        """End it and wait until it is gone; its exit status, minus the number of the signal."""
        self.breeder.living.discard(self.pid)
        return self.breeder.ask(pid=self.pid, signal=int(sign))["status"]

    def gone(self) -> bool:
        """Whether it has ended by itself."""
        if self.pid in self.breeder.living and self.breeder.ask(pid=self.pid)["status"] is not None:
            self.breeder.living.discard(self.pid)
        return self.pid not in self.breeder.living

    def end(self) -> None:
        """Have it gone, however."""
        if not self.gone():
            self.kill()

    def log(self) -> str:
        """The end of what it said."""
        return (self.folder / "log").read_text(errors="replace")[-3000:]

    def ready(self) -> Link:
        """A connection, once it serves; raises Lost when it ends before."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                link = Link(self.port)
                with contextlib.suppress(Lost):
                    if link.ask(b"PING") == b"PONG":
                        return link
                link.close()
            if self.gone():
                raise Lost(f"ended: {self.log()}")
            time.sleep(0.005)
        raise AssertionError(f"not ready: {self.log()}")

    def leftovers(self) -> list[str]:
        """Unfinished files."""
        return [
            str(path.relative_to(self.folder))
            for path in self.folder.rglob("*")
            if path.name.startswith(("temp-", "sync-")) or path.name.endswith(".new")
        ]

    def files(self) -> list[Path]:
        """The files that must be sound: RDB files, and the manifest with what it names."""
        found = sorted(self.folder.rglob("*.rdb")) + sorted(self.folder.rglob("*.manifest"))
        return [path for path in found if not path.name.startswith(("temp-", "sync-", "."))]

    def check(self, torn: bool) -> None:
        """Every file is sound; `torn`: but for the end of what was appended to last."""
        for path in self.files():
            said = io.StringIO()
            with contextlib.redirect_stdout(said):
                code = check.main([str(path), "--json"])
            report = json.loads(said.getvalue())
            if code and torn and path.suffix == ".manifest":
                broken = [file for file in report["files"] if not file["ok"]]
                assert broken and all(file["torn"] for file in broken), report
            else:
                assert code == 0, report


def operation(writer: int, number: int) -> tuple[list[tuple[bytes, ...]], int]:
    """The commands of one operation, and how many replies come."""
    n, w = b"%d" % number, b"%d" % writer
    if number % 3 == 0:
        return [(b"HSET", b"h:" + w, b"n", n, b"r%d" % (number // 3 % RING), n)], 1
    if number % 3 == 1:
        inside = ((b"SET", b"s:" + w, n), (b"RPUSH", b"l:" + w, n), (b"LTRIM", b"l:" + w, b"-%d" % RING, b"-1"))
        return [(b"MULTI",), *inside, (b"EXEC",)], 5
    return [(b"EVAL", SCRIPT, b"2", b"e:" + w, b"z:" + w, n, b"r%d" % (number // 3 % RING))], 1


def held(link: Link, writer: int) -> int:
    """How many operations of a writer a node holds; AssertionError when it is no beginning of their sequence."""
    w = b"%d" % writer
    link.send((b"HGETALL", b"h:" + w), (b"GET", b"s:" + w), (b"LRANGE", b"l:" + w, b"0", b"-1"), (b"GET", b"e:" + w),
              (b"ZRANGE", b"z:" + w, b"0", b"-1", b"WITHSCORES"))  # fmt: skip
    found = [link.reply() for _ in range(5)]
    assert not any(isinstance(reply, Exception) for reply in found), found
    hash_, string, elements, by_script, ranked = found
    flat = list(map(bytes, hash_))  # type: ignore[call-overload]
    fields = dict(zip(flat[::2], map(int, flat[1::2]), strict=True))
    scores = {m: int(s) for m, s in zip(ranked[::2], ranked[1::2], strict=True)}  # type: ignore[index]
    last = [fields.pop(b"n", -1), -1 if string is None else int(string), -1 if by_script is None else int(by_script)]  # type: ignore[call-overload]
    done = max(last) + 1
    for kind in range(3):
        numbers = range(kind, done, 3)
        assert last[kind] == (numbers[-1] if numbers else -1), (writer, last)
    ring = {b"r%d" % (n // 3 % RING): n for n in range(0, done, 3)[-RING:]}
    assert fields == ring, (writer, done, fields)
    assert [int(n) for n in elements] == list(range(1, done, 3)[-RING:]), (writer, done, elements)  # type: ignore[attr-defined]
    assert scores == {b"r%d" % (n // 3 % RING): n for n in range(2, done, 3)[-RING:]}, (writer, done, scores)
    return done


class Writer:
    """Sends operations until the node is gone or it is told to stop."""

    def __init__(self, number: int, rng: random.Random) -> None:
        self.number = number
        self.rng = random.Random(rng.getrandbits(64))
        self.sent = 0
        self.acknowledged = 0
        self.times: list[float] = []  # when each was, from the start of this round
        self.first = 0  # of the round
        self.refused = ""
        self.link: Link | None = None
        self.thread: threading.Thread | None = None

    def begin(self, port: int) -> None:
        """Write, in a thread."""
        self.first, self.times, self.refused = self.acknowledged, [], ""
        self.link = Link(port)
        self.thread = threading.Thread(target=self._write, args=(self.link,))
        self.thread.start()

    def _write(self, link: Link) -> None:
        with contextlib.suppress(Lost):
            while True:
                expected: list[int] = []
                commands: list[tuple[bytes, ...]] = []
                for _ in range(self.rng.choice((1, 1, 2, 8))):
                    more, replies = operation(self.number, self.sent + len(expected))
                    commands += more
                    expected.append(replies)
                self.sent += len(expected)
                link.send(*commands)
                for replies in expected:
                    found = [link.reply() for _ in range(replies)]
                    errors = [str(reply) for reply in found if isinstance(reply, Exception)]
                    if errors:
                        self.refused = errors[0]
                        return
                    self.acknowledged += 1
                    self.times.append(time.monotonic())

    def finish(self) -> None:
        """Wait for the end: the node is gone, or the connection is cut."""
        if self.thread is not None and self.link is not None:
            self.thread.join(PATIENCE)
            assert not self.thread.is_alive()
            self.link.close()
            self.thread = None

    def halt(self) -> None:
        """Cut the connection; what is under way may count or not."""
        assert self.link is not None
        with contextlib.suppress(OSError):
            self.link.sock.shutdown(socket.SHUT_RDWR)
        self.finish()

    def acknowledged_before(self, moment: float) -> int:
        """How many were acknowledged before a moment."""
        return self.first + sum(at < moment for at in self.times)

    def compare(self, link: Link, least: int, about: object) -> None:
        """The node holds a beginning of what was sent, of at least this length; go on from there."""
        found = held(link, self.number)
        assert least <= found <= self.sent, (about, self.number, least, found, self.sent)
        self.sent = self.acknowledged = found


def place(link: Link) -> None:
    """Keys that nobody changes."""
    words = [b"MSET"]
    for i in range(PLACED):
        words += [b"p:%d" % i, b"%d" % i * (i % 40)]
    link.ask(*words)
    link.ask(b"RPUSH", b"big", *[b"%d" % i for i in range(3000)])


def compare_placed(link: Link) -> None:
    """They are there."""
    assert link.ask(b"MGET", *[b"p:%d" % i for i in range(PLACED)]) == [b"%d" % i * (i % 40) for i in range(PLACED)]
    assert link.ask(b"LLEN", b"big") == 3000


def info(link: Link, section: str) -> dict[str, str]:
    """A section of INFO. Raises Lost."""
    text = link.ask(b"INFO", section.encode())
    assert isinstance(text, bytes)
    return dict(line.split(":", 1) for line in text.decode().splitlines() if ":" in line)


def seeds() -> Iterator[int]:
    """The seed of the run, from KVORUM_CRASH_SEED, or a new one."""
    named = os.environ.get("KVORUM_CRASH_SEED")
    base = int(named) if named else random.SystemRandom().getrandbits(32)
    while True:
        yield base
