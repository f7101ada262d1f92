"""Power loss can't be had in a test; what stands in for it is the order of steps, on which every promise rests.

A file is named by something durable only when its own bytes are: write, fsync, rename, fsync of the folder. What a
rewrite replaces goes only when the manifest that does not need it is durable.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.crash.rig import PATIENCE, Breeder, Link, Victim, info, place

BASE = "appendonlydir/appendonly.aof"


@pytest.fixture(scope="module")
def breeder() -> Iterator[Breeder]:
    """One process to fork from."""
    process = Breeder()
    yield process
    process.close()


class Recorded:
    """A node whose steps are written down."""

    def __init__(self, breeder: Breeder, folder: Path) -> None:
        self.victim = Victim(breeder, folder / "data")
        self.record = folder / "record"
        self.seen = 0

    def start(self, *directives: str) -> Link:
        """Start it and connect."""
        self.victim.start(*directives, record=str(self.record))
        return self.victim.ready()

    def steps(self) -> list[str]:
        """The steps since the last call."""
        lines = self.record.read_text().splitlines() if self.record.exists() else []
        found, self.seen = lines[self.seen :], len(lines)
        return found


@pytest.fixture
def recorded(breeder: Breeder, tmp_path: Path) -> Iterator[Recorded]:
    """A node to come."""
    made = Recorded(breeder, tmp_path)
    yield made
    made.victim.end()


def in_order(steps: list[str], *patterns: str) -> None:
    """Steps that match these patterns come one after the other, whatever comes between."""
    at = 0
    for pattern in patterns:
        while at < len(steps) and not fnmatch(steps[at], pattern):
            at += 1
        assert at < len(steps), f"no {pattern!r} in its place:\n" + "\n".join(steps)
        at += 1


def nothing_between(steps: list[str], first: str, last: str, pattern: str) -> None:
    """No step of this pattern between the last one that matches `first` and the first `last` after it."""
    begin = next(i for i, step in enumerate(steps) if fnmatch(step, first))
    end = next(i for i, step in enumerate(steps) if i > begin and fnmatch(step, last))
    assert not [step for step in steps[begin:end] if fnmatch(step, pattern)], steps[begin:end]


def idle(link: Link) -> None:
    """Wait until nothing is written beside the work."""
    end = time.monotonic() + PATIENCE
    while True:
        found = info(link, "persistence")
        if found["aof_rewrite_in_progress"] == found["rdb_bgsave_in_progress"] == "0":
            return
        assert time.monotonic() < end
        time.sleep(0.01)


MANIFEST = ("fsync appendonlydir/.*.new", f"rename appendonlydir/.*.new {BASE}.manifest", "fsync appendonlydir")


def base(form: str) -> tuple[str, ...]:
    """The steps of writing base number 2 in this form."""
    name = f"{BASE}.2.base.{form}"
    temporary = "appendonlydir/temp-*"
    return (f"write {temporary}", f"fsync {temporary}", f"rename {temporary} {name}", "fsync appendonlydir")


@pytest.mark.parametrize("preamble", ["yes", "no"])
def test_a_rewrite(preamble: str, recorded: Recorded) -> None:
    """The file to append to is named before anything is appended; the base and its name come before the removals."""
    form = "rdb" if preamble == "yes" else "aof"
    with contextlib.closing(recorded.start("--appendonly", "yes", "--aof-use-rdb-preamble", preamble)) as link:
        place(link)
        recorded.steps()
        link.ask(b"BGREWRITEAOF")
        idle(link)
        link.ask(b"SET", b"a", b"1")
        steps = recorded.steps()
    in_order(steps, f"open {BASE}.2.incr.aof", *MANIFEST, f"write {BASE}.2.incr.aof")
    old = f"unlink {BASE}.1.*"
    in_order(steps, f"open {BASE}.2.incr.aof", *MANIFEST, *base(form), *MANIFEST, old, old, *MANIFEST)
    assert not [step for step in steps[: steps.index(f"rename {_temporary(steps, form)}")] if step.startswith("unlink")
                and ".1." in step]  # fmt: skip
    assert sum(fnmatch(step, old) for step in steps) == 2
    in_order(steps, f"fdatasync {BASE}.1.incr.aof", *base(form))


def _temporary(steps: list[str], form: str) -> str:
    """The two names of the rename of the base."""
    return next(step for step in steps if fnmatch(step, f"rename *.2.base.{form}")).removeprefix("rename ")


def test_the_first_set(recorded: Recorded) -> None:
    """Switched on live: what is appended meanwhile has a name of its own until all is there."""
    with contextlib.closing(recorded.start()) as link:
        place(link)
        recorded.steps()
        link.ask(b"CONFIG", b"SET", b"appendonly", b"yes")
        link.ask(b"SET", b"a", b"1")
        idle(link)
        steps = recorded.steps()
    unfinished = "appendonlydir/temp-appendonly.aof.incr"
    in_order(steps, "fsync appendonlydir/temp-*.rdb", f"rename *.rdb {BASE}.1.base.rdb", "fsync appendonlydir",
             f"rename {unfinished} {BASE}.1.incr.aof", *MANIFEST)  # fmt: skip
    assert sum(step.startswith("rename") and step.endswith(".manifest") for step in steps) == 1


@pytest.mark.parametrize("command", [b"SAVE", b"BGSAVE"])
def test_an_rdb_file(command: bytes, recorded: Recorded) -> None:
    """Written and fsynced under another name, renamed, and the name made durable."""
    with contextlib.closing(recorded.start()) as link:
        place(link)
        recorded.steps()
        link.ask(command)
        idle(link)
        steps = recorded.steps()
    in_order(steps, "open temp-*", "write temp-*", "fsync temp-*", "rename temp-* dump.rdb", "fsync .")
    nothing_between(steps, "fsync temp-*", "rename*", "write*")


def test_always_syncs_before_it_answers(recorded: Recorded) -> None:
    """A write and a sync for each batch, done when the reply is there; everysec syncs within about a second."""
    with contextlib.closing(recorded.start("--appendonly", "yes", "--appendfsync", "always")) as link:
        place(link)
        for number in range(5):
            recorded.steps()
            link.ask(b"SET", b"a", b"%d" % number)
            assert recorded.steps() == [f"write {BASE}.1.incr.aof", f"fdatasync {BASE}.1.incr.aof"]
        link.ask(b"CONFIG", b"SET", b"appendfsync", b"everysec")
        recorded.steps()
        link.ask(b"SET", b"a", b"x")
        assert recorded.steps() == [f"write {BASE}.1.incr.aof"]
        link.ask(b"WAITAOF", b"1", b"0", b"0")
        assert recorded.steps() == [f"fdatasync {BASE}.1.incr.aof"]
