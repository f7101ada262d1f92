"""SIGKILL of a primary or of its replica while the replica is being brought into sync: both come back and agree."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.rig import PATIENCE, Breeder, Lost, Victim, Writer, compare_placed, held, info, place, seeds

AOF = ("--appendonly", "yes", "--appendfsync", "always")
KILLS = 6
SEED = next(seeds())
CHAINS = [0, *(pytest.param(chain, marks=pytest.mark.slow) for chain in range(1, 16))]


@pytest.fixture(scope="module")
def breeder() -> Iterator[Breeder]:
    """One process to fork from."""
    process = Breeder()
    yield process
    process.close()


def await_sync(primary: Victim, replica: Victim, writers: list[Writer], about: object) -> None:
    """Both live: the replica gets in sync, and has what the primary has; neither has unfinished files."""
    with contextlib.closing(primary.ready()) as above, contextlib.closing(replica.ready()) as below:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            there = info(above, "replication")
            here = info(below, "replication")
            same = here["slave_repl_offset"] == there["master_repl_offset"]
            if here["master_link_status"] == "up" and same and here["master_replid"] == there["master_replid"]:
                break
            time.sleep(0.02)
        else:
            raise AssertionError((about, there, here, replica.log()))
        for link in (above, below):
            compare_placed(link)
        assert [held(below, writer.number) for writer in writers] == [held(above, writer.number) for writer in writers]
        while info(below, "persistence")["aof_rewrite_in_progress"] == "1" and time.monotonic() < until:
            time.sleep(0.01)
        assert primary.leftovers() == replica.leftovers() == [], about


@pytest.mark.parametrize("chain", CHAINS)
def test_a_full_sync_is_cut_at_any_instant(chain: int, breeder: Breeder, tmp_path: Path) -> None:
    """The primary has all that was acknowledged; the replica's files are sound whatever it was doing."""
    seed = f"{SEED}/resync/{chain}"
    print(f"KVORUM_CRASH_SEED={SEED}")
    rng = random.Random(seed)
    primary, replica = Victim(breeder, tmp_path / "primary"), Victim(breeder, tmp_path / "replica")
    base = (*AOF, "--repl-diskless-sync-delay", "0")
    follow = (*AOF, "--replicaof", f"127.0.0.1 {primary.port}")
    primary.start(*base, "--repl-diskless-sync", rng.choice(("yes", "no")))
    with contextlib.closing(primary.ready()) as link:
        place(link)
    writers = [Writer(number, rng) for number in range(2)]
    for round in range(KILLS):
        about = (seed, round)
        with contextlib.closing(primary.ready()) as link:
            for writer in writers:
                writer.compare(link, writer.acknowledged, about)
                writer.begin(primary.port)
        last_step = rng.choice((0, rng.randint(1, 40)))
        replica.start(*follow, kill_at=last_step)
        time.sleep(rng.uniform(0.05, 0.5))
        killed = rng.choice((primary, replica))
        killed.end()
        if last_step:
            replica.end()  # it may not have come to that step yet, and would later
        if killed is replica:
            for writer in writers:
                writer.halt()
        for writer in writers:
            writer.finish()
        killed.check(torn=True)
        if killed is primary:
            primary.start(*base, "--repl-diskless-sync", rng.choice(("yes", "no")))
        if replica.gone():
            replica.check(torn=True)
            alone(replica, writers, about)
            replica.start(*follow)
        with contextlib.closing(primary.ready()) as link:
            for writer in writers:
                writer.compare(link, writer.acknowledged, about)
        await_sync(primary, replica, writers, about)
        replica.end()
        if rng.random() < 0.5:
            forget(replica)
    primary.end()
    primary.check(torn=False)


def alone(replica: Victim, writers: list[Writer], about: object) -> None:
    """Without its primary it starts with what it has: nothing yet, or what the primary once had."""
    replica.start(*AOF)
    with contextlib.suppress(Lost), contextlib.closing(replica.ready()) as link:
        size = link.ask(b"DBSIZE")
        if size:
            compare_placed(link)
            assert all(held(link, writer.number) <= writer.sent for writer in writers), about
        assert replica.leftovers() == [], about
    assert not replica.gone(), (about, replica.log())
    replica.end()


def forget(replica: Victim) -> None:
    """Have a full sync next time."""
    for path in sorted(replica.folder.rglob("*"), reverse=True):
        if path.is_file():
            path.unlink()
        else:
            path.rmdir()
