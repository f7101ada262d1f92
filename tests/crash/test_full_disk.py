"""A disk that fills: a tmpfs of some megabytes, in a mount namespace of its own. The log of the node is on it too."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.rig import PATIENCE, Breeder, Link, Lost, Victim, Writer, compare_placed, info, place, seeds

SIZE = 3 << 20
SEED = next(seeds())


class SmallDisk:
    """The disk as the test sees it, and what forks nodes that have it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        script = f'mount -t tmpfs -o size={SIZE} kvorum "$0" && echo mounted && exec sleep 1000'
        self.holder = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", script, str(folder)],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert self.holder.stdout is not None
        self.mounted = self.holder.stdout.readline() == "mounted\n"
        self.inside = folder
        self.view = Path(f"/proc/{self.holder.pid}/root{folder}")
        self.filler = self.view / "filler"

    def fill(self) -> None:
        """Leave no byte."""
        with contextlib.suppress(OSError), self.filler.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def free(self) -> None:
        """There is room again."""
        self.filler.unlink(missing_ok=True)

    def close(self) -> None:
        """Unmount."""
        self.holder.kill()
        self.holder.wait()
        assert self.holder.stdout is not None
        self.holder.stdout.close()


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallDisk]:
    """A small disk; where none can be mounted, errors are injected (test_disk_errors.py)."""
    if not shutil.which("unshare") or not shutil.which("nsenter") or os.geteuid() != 0:
        pytest.skip("needs root, unshare and nsenter")
    made = SmallDisk(tmp_path_factory.mktemp("small") / "disk")
    if not made.mounted:
        made.close()
        pytest.skip("no tmpfs can be mounted here")
    yield made
    made.close()


@pytest.fixture(scope="module")
def breeder(disk: SmallDisk) -> Iterator[Breeder]:
    """What forks nodes that see the disk."""
    process = Breeder("nsenter", "--mount", f"--target={disk.holder.pid}")
    yield process
    process.close()


@pytest.fixture
def victim(disk: SmallDisk, breeder: Breeder) -> Iterator[Victim]:
    """A node to come, alone on the disk."""
    made = Victim(breeder, disk.view / "data", disk.inside / "data")
    yield made
    made.end()
    disk.free()
    shutil.rmtree(made.folder)


def until(link: Link, **fields: str) -> dict[str, str]:
    """Wait until INFO persistence has these values."""
    end = time.monotonic() + PATIENCE
    while not fields.items() <= (found := info(link, "persistence")).items():
        assert time.monotonic() < end, found
        time.sleep(0.01)
    return found


def finish(writers: list[Writer]) -> None:
    """Wait until all were refused."""
    for writer in writers:
        writer.finish()
        assert writer.refused.startswith("MISCONF"), writer.refused


def test_the_appended_file_fills_the_disk(disk: SmallDisk, victim: Victim) -> None:
    """Over and over: writes are refused, rewrites and saves fail, all goes on when there is room, nothing is lost."""
    print(f"KVORUM_CRASH_SEED={SEED}")
    rng = random.Random(f"{SEED}/full")
    directives = ("--appendonly", "yes", "--appendfsync", "everysec")
    victim.start(*directives)
    with contextlib.closing(victim.ready()) as link:
        place(link)
    writers = [Writer(number, rng) for number in range(3)]
    for round in range(5):
        with contextlib.closing(victim.ready()) as link:
            for writer in writers:
                writer.begin(victim.port)
            for _ in range(rng.randrange(3)):
                with contextlib.suppress(Lost):
                    link.ask(rng.choice((b"BGREWRITEAOF", b"BGSAVE")))
                time.sleep(rng.uniform(0, 0.05))
            disk.fill()
            finish(writers)
            until(link, aof_last_write_status="err")
            for command in (b"BGREWRITEAOF", b"BGSAVE"):
                with contextlib.suppress(Lost):
                    link.ask(command)
            until(link, aof_rewrite_in_progress="0", rdb_bgsave_in_progress="0", aof_last_bgrewrite_status="err")
            compare_placed(link)
            assert info(link, "persistence")["aof_last_write_status"] == "err"
            disk.free()
            until(link, aof_last_write_status="ok")
            for writer in writers:
                writer.compare(link, writer.acknowledged, round)
        if round % 2:
            with contextlib.closing(victim.ready()) as link:
                link.ask(b"BGREWRITEAOF")
                until(link, aof_rewrite_in_progress="0", aof_last_bgrewrite_status="ok")
        victim.end()
        victim.check(torn=True)
        victim.start(*directives)
        with contextlib.closing(victim.ready()) as link:
            compare_placed(link)
            for writer in writers:
                writer.compare(link, writer.acknowledged, round)
        assert victim.leftovers() == []


def test_with_always_a_full_disk_ends_the_node(disk: SmallDisk, victim: Victim) -> None:
    """It starts on the full disk, answers reads, and has all that it ever acknowledged."""
    rng = random.Random(f"{SEED}/always")
    directives = ("--appendonly", "yes", "--appendfsync", "always")
    victim.start(*directives)
    with contextlib.closing(victim.ready()) as link:
        place(link)
    writers = [Writer(number, rng) for number in range(3)]
    for round in range(4):
        for writer in writers:
            writer.begin(victim.port)
        time.sleep(rng.uniform(0.01, 0.1))
        disk.fill()
        for writer in writers:
            writer.finish()
        end = time.monotonic() + PATIENCE
        while not victim.gone() and time.monotonic() < end:
            time.sleep(0.01)
        assert victim.gone()
        if round % 2:
            disk.free()
        victim.start(*directives)
        with contextlib.closing(victim.ready()) as link:
            compare_placed(link)
            for writer in writers:
                writer.compare(link, writer.acknowledged, round)
        disk.free()


def test_a_save_that_finds_no_room(disk: SmallDisk, victim: Victim) -> None:
    """The file before stays whole, nothing unfinished stays, and writes are taken again after the next save."""
    victim.start("--save", "3600", "100000")
    with contextlib.closing(victim.ready()) as link:
        place(link)
        link.ask(b"SAVE")
        for round in range(3):
            link.ask(b"SET", b"round", b"%d" % round)
            disk.fill()
            link.ask(b"BGSAVE")
            until(link, rdb_bgsave_in_progress="0", rdb_last_bgsave_status="err")
            with pytest.raises(Lost, match="MISCONF Valkey is configured to save RDB snapshots"):
                link.ask(b"SET", b"a", b"1")
            victim.check(torn=False)
            assert victim.leftovers() == []
            disk.free()
            link.ask(b"BGSAVE")
            until(link, rdb_bgsave_in_progress="0", rdb_last_bgsave_status="ok")
            link.ask(b"SET", b"a", b"1")
    victim.end()
    victim.start()
    with contextlib.closing(victim.ready()) as link:
        compare_placed(link)
        assert link.ask(b"GET", b"round") == b"2"


def test_a_full_sync_that_finds_no_room(disk: SmallDisk, victim: Victim, breeder: Breeder, tmp_path: Path) -> None:
    """The replica keeps and serves what it had, leaves nothing unfinished, and is in sync once there is room."""
    primary = Victim(breeder, tmp_path / "primary")
    primary.start("--repl-diskless-sync-delay", "0")
    try:
        with contextlib.closing(primary.ready()) as link:
            place(link)
            link.ask(b"SET", b"random", random.Random(1).randbytes(SIZE // 2))
        victim.start()
        with contextlib.closing(victim.ready()) as link:
            link.ask(b"SET", b"before", b"1")
            disk.fill()
            link.ask(b"REPLICAOF", b"127.0.0.1", b"%d" % primary.port)
            end = time.monotonic() + PATIENCE
            with contextlib.closing(primary.ready()) as above:
                while int(info(above, "stats")["sync_full"]) < 2:
                    assert time.monotonic() < end
                    time.sleep(0.02)
            assert link.ask(b"GET", b"before") == b"1"
            assert info(link, "replication")["master_link_status"] == "down"
            disk.free()
            while info(link, "replication")["master_link_status"] == "down":
                assert time.monotonic() < end
                time.sleep(0.02)
            compare_placed(link)
            assert link.ask(b"EXISTS", b"before") == 0
            assert victim.leftovers() == []
    finally:
        primary.end()
