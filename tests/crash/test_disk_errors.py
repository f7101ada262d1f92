"""Each step of the file system fails once: what the node answers, what INFO shows, how it recovers, and what is kept.

The errors are injected between the node and its files (`breeder.Steps`); test_full_disk.py has a disk that fills.
"""

from __future__ import annotations

import contextlib
import errno
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.crash.rig import PATIENCE, Breeder, Link, Lost, Victim, compare_placed, info, place

AOF = ("--appendonly", "yes", "--appendfsync")
NAME = "appendonlydir/appendonly.aof"


@pytest.fixture(scope="module")
def breeder() -> Iterator[Breeder]:
    """One process to fork from."""
    process = Breeder()
    yield process
    process.close()


class Disk:
    """A node whose steps on files fail as the test says."""

    def __init__(self, breeder: Breeder, folder: Path) -> None:
        self.victim = Victim(breeder, folder)
        self.faults = folder / "faults"
        self.directives: tuple[str, ...] = ()
        self.link: Link | None = None

    def start(self, *directives: str) -> Link:
        """Start the node and connect."""
        self.directives = directives
        self.victim.start(*directives, faults=str(self.faults))
        self.link = self.victim.ready()
        return self.link

    def fail(self, *lines: str) -> None:
        """From now on such steps fail: `call pattern errno [number of the first one]`."""
        beside = self.faults.with_name("faults.new")
        beside.write_text("\n".join(lines))
        beside.rename(self.faults)

    def well(self) -> None:
        """Nothing fails any more."""
        self.faults.unlink()

    def again(self) -> Link:
        """Kill the node and start it on its files, which are sound."""
        assert self.link is not None
        self.link.close()
        self.victim.end()
        self.victim.check(torn=True)
        return self.start(*self.directives)

    def close(self) -> None:
        """The end."""
        if self.link is not None:
            self.link.close()
        self.victim.end()


@pytest.fixture
def disk(breeder: Breeder, tmp_path: Path) -> Iterator[Disk]:
    """A disk, and a node to come."""
    made = Disk(breeder, tmp_path / "data")
    yield made
    made.close()


def until(link: Link, condition: Callable[[dict[str, str]], bool]) -> dict[str, str]:
    """Wait until INFO persistence is so; returns it."""
    end = time.monotonic() + PATIENCE
    while not condition(found := info(link, "persistence")):
        assert time.monotonic() < end, found
        time.sleep(0.01)
    return found


def refused(link: Link, *words: bytes) -> str:
    """The error of a command; empty when it is done."""
    link.send(words)
    found = link.reply()
    return str(found) if isinstance(found, Exception) else ""


@pytest.mark.parametrize(
    ("step", "code"),
    [(f"write {NAME}.1.incr.aof", errno.ENOSPC), (f"fdatasync {NAME}.1.incr.aof", errno.EIO)],
)
def test_writes_are_refused_while_the_appended_file_fails(step: str, code: int, disk: Disk) -> None:
    """With everysec, in Valkey's words; reads go on, and what was acknowledged meanwhile is written once it can be."""
    link = disk.start(*AOF, "everysec")
    place(link)
    disk.fail(f"{step} {code}")
    kept = 0
    while not (said := refused(link, b"SET", b"n:%d" % kept, b"x")):
        kept += 1
        time.sleep(0.02)
    assert said.startswith("MISCONF Errors writing to the AOF file: "), said
    assert until(link, lambda found: found["aof_last_write_status"] == "err")["aof_last_bgrewrite_status"] == "ok"
    assert link.ask(b"GET", b"n:0") == b"x"
    for command in (b"INCR", b"DEL"):
        assert refused(link, command, b"n:0").startswith("MISCONF")
    disk.well()
    until(link, lambda found: found["aof_last_write_status"] == "ok")
    assert not refused(link, b"SET", b"after", b"1")
    link = disk.again()
    compare_placed(link)
    assert link.ask(b"EXISTS", b"after", *[b"n:%d" % i for i in range(kept)]) == 1 + kept


@pytest.mark.parametrize("call", ["write", "fdatasync"])
def test_with_always_nothing_is_acknowledged_that_is_not_on_disk(call: str, disk: Disk) -> None:
    """The node ends, as Valkey does."""
    link = disk.start(*AOF, "always")
    place(link)
    disk.fail(f"{call} {NAME}.1.incr.aof {errno.ENOSPC}")
    with pytest.raises(Lost):
        link.ask(b"SET", b"a", b"1")
    end = time.monotonic() + PATIENCE
    while not disk.victim.gone() and time.monotonic() < end:
        time.sleep(0.01)
    assert "is not on disk" in disk.victim.log()
    disk.well()
    compare_placed(disk.again())


REWRITE = (
    f"open {NAME}.*.incr.aof", "open appendonlydir/temp-*", "write appendonlydir/temp-*", "fsync appendonlydir/temp-*",
    "rename appendonlydir/temp-*", "fsync appendonlydir/.*.new", "rename appendonlydir/.*.new", "fsync appendonlydir",
)  # fmt: skip


@pytest.mark.parametrize("preamble", ["yes", "no"])
@pytest.mark.parametrize("step", REWRITE)
def test_a_rewrite_may_fail_at_each_step(step: str, preamble: str, disk: Disk) -> None:
    """Its status says so, writes go on and are kept, and the next rewrite is done and leaves three files."""
    link = disk.start(*AOF, "always", "--aof-use-rdb-preamble", preamble)
    place(link)
    disk.fail(f"{step} {errno.ENOSPC}")
    for number in range(2):
        link.ask(b"BGREWRITEAOF")
        found = until(link, lambda found: found["aof_rewrite_in_progress"] == "0")
        assert found["aof_last_bgrewrite_status"] == "err", step
        assert found["aof_last_write_status"] == "ok"
        assert found["aof_rewrites_consecutive_failures"] == str(number + 1)
        link.ask(b"RPUSH", b"kept", b"%d" % number)
    disk.well()
    link = disk.again()
    compare_placed(link)
    assert link.ask(b"LLEN", b"kept") == 2
    link.ask(b"RPUSH", b"kept", b"2")
    link.ask(b"BGREWRITEAOF")
    found = until(link, lambda found: found["aof_rewrite_in_progress"] == "0")
    assert found["aof_last_bgrewrite_status"] == "ok"
    assert len(list((disk.victim.folder / "appendonlydir").iterdir())) == 3
    link = disk.again()
    compare_placed(link)
    assert link.ask(b"LLEN", b"kept") == 3


@pytest.mark.parametrize("step", [f"unlink {NAME}.1.incr.aof", f"unlink {NAME}.1.base.rdb"])
def test_what_can_not_be_removed_is_named_until_it_can(step: str, disk: Disk) -> None:
    """The rewrite itself has succeeded: the set that it has made is the one that the next begins with."""
    link = disk.start(*AOF, "always")
    place(link)
    disk.fail(f"{step} {errno.EIO}")
    for number in range(3):
        link.ask(b"RPUSH", b"kept", b"%d" % number)
        link.ask(b"BGREWRITEAOF")
        found = until(link, lambda found: found["aof_rewrite_in_progress"] == "0")
        assert found["aof_last_bgrewrite_status"] == "ok"
    link = disk.again()
    compare_placed(link)
    assert link.ask(b"LLEN", b"kept") == 3
    disk.well()
    link.ask(b"BGREWRITEAOF")
    until(link, lambda found: found["aof_rewrite_in_progress"] == "0")
    assert len(list((disk.victim.folder / "appendonlydir").iterdir())) == 3
    compare_placed(disk.again())


def test_a_disk_that_is_full_once_history_is_removed(disk: Disk) -> None:
    """The last manifest of a rewrite, without history, can't be written: what is removed is never named again."""
    link = disk.start(*AOF, "always")
    place(link)
    for number in range(3):
        link.ask(b"RPUSH", b"kept", b"%d" % number)
        disk.fail(f"rename appendonlydir/.*.new {errno.ENOSPC} {3 * number + 3}")
        link.ask(b"BGREWRITEAOF")
        found = until(link, lambda found: found["aof_rewrite_in_progress"] == "0")
        assert found["aof_last_bgrewrite_status"] == "ok"
        assert not (disk.victim.folder / f"{NAME}.{number + 1}.base.rdb").exists()
    disk.fail(f"write appendonlydir/temp-* {errno.ENOSPC}")
    link.ask(b"BGREWRITEAOF")
    until(link, lambda found: found["aof_rewrite_in_progress"] == "0")
    link = disk.again()
    compare_placed(link)
    assert link.ask(b"LLEN", b"kept") == 3


@pytest.mark.parametrize("step", ["open temp-*", "write temp-*", "fsync temp-*", "rename temp-*", "fsync ."])
def test_a_save_may_fail_at_each_step(step: str, disk: Disk) -> None:
    """MISCONF until one succeeds; the file before is whole, and nothing unfinished is left."""
    link = disk.start("--save", "3600", "1000")
    place(link)
    link.ask(b"SAVE")
    for code in (errno.ENOSPC, errno.EROFS):
        disk.fail(f"{step} {code}")
        link.ask(b"SET", b"a", b"%d" % code)
        link.ask(b"BGSAVE")
        found = until(link, lambda found: found["rdb_bgsave_in_progress"] == "0")
        assert found["rdb_last_bgsave_status"] == "err"
        assert refused(link, b"SET", b"b", b"1").startswith("MISCONF Valkey is configured to save RDB snapshots")
        assert refused(link, b"SAVE")
        assert link.ask(b"GET", b"a") == b"%d" % code
        assert disk.victim.leftovers() == []
        disk.victim.check(torn=False)
        disk.well()
        link.ask(b"BGSAVE")
        found = until(link, lambda found: found["rdb_bgsave_in_progress"] == "0")
        assert found["rdb_last_bgsave_status"] == "ok"
        assert not refused(link, b"SET", b"b", b"1")
    link = disk.again()
    compare_placed(link)
    assert link.ask(b"GET", b"a") == b"%d" % errno.EROFS


@pytest.mark.parametrize("first", [True, False])
def test_a_folder_that_can_not_be_written_stops_the_start(first: bool, disk: Disk) -> None:
    """With the reason and what to do; nothing is changed."""
    if not first:
        with contextlib.closing(disk.start(*AOF, "always")) as link:
            place(link)
        disk.victim.end()
    disk.fail(f"open {NAME}.* {errno.EROFS}", f"open appendonlydir/temp-* {errno.EROFS}")
    with pytest.raises(Lost, match="Read-only file system; make the folder writable"):
        disk.start(*AOF, "always")
    disk.well()
    if not first:
        compare_placed(disk.start(*AOF, "always"))


def test_a_slow_disk_holds_nobody_up(disk: Disk) -> None:
    """With everysec, while a sync takes three seconds: commands are answered, and after two the delay is counted."""
    link = disk.start(*AOF, "everysec")
    disk.fail(f"fdatasync {NAME}.1.incr.aof sleep:3.2")
    link.ask(b"SET", b"n", b"0")
    until(link, lambda found: found["aof_pending_bio_fsync"] == "1")
    link.ask(b"INCR", b"n")
    assert int(info(link, "persistence")["aof_buffer_length"]) > 0
    answered = 1
    while (found := info(link, "persistence"))["aof_delayed_fsync"] == "0" and found["aof_pending_bio_fsync"] == "1":
        link.ask(b"INCR", b"n")
        answered += 1
        time.sleep(0.01)
    assert (found["aof_delayed_fsync"], found["aof_pending_bio_fsync"]) == ("1", "1")
    assert answered > 20
    disk.well()
    link = disk.again()
    assert int(str(link.ask(b"GET", b"n"), "ascii")) >= answered - 1  # type: ignore[call-overload]
