"""SIGKILL at random instants and at random steps of the file system: what was acknowledged is there after the restart.

Each test is a chain: a node is killed and started again on the same folder, over and over, by another kind of work each
time. The seed is in every failure; KVORUM_CRASH_SEED=… repeats its choices.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.rig import Breeder, Link, Lost, Victim, Writer, compare_placed, info, place, seeds

POLICIES = ("always", "everysec", "no")
WORK = ("appends", "bgsave", "rewrite", "switch", "loading")
KILLS = 9
SEED = next(seeds())
CHAINS = [0, *(pytest.param(chain, marks=pytest.mark.slow) for chain in range(1, 26))]


@pytest.fixture(scope="module")
def breeder() -> Iterator[Breeder]:
    """One process to fork from."""
    process = Breeder()
    yield process
    process.close()


class Watch:
    """What must be found after the restart: of each writer the least number of operations."""

    def __init__(self, writers: list[Writer]) -> None:
        self.writers = writers
        self.least: list[int] | None = None  # None: all that is acknowledged

    def now(self) -> list[int]:
        """What is acknowledged at this moment."""
        return [writer.acknowledged for writer in self.writers]


def work(kind: str, link: Link, watch: Watch, rng: random.Random, until: float) -> None:
    """Disturb the node until a moment. Raises Lost when it is gone."""
    while time.monotonic() < until:
        if kind in ("bgsave", "rewrite"):
            with contextlib.suppress(Lost):
                link.ask(b"BGSAVE" if kind == "bgsave" else b"BGREWRITEAOF")
            link.ask(b"PING")
        elif kind == "switch":
            switch(link, watch)
        time.sleep(rng.uniform(0, 0.02))


def switch(link: Link, watch: Watch) -> None:
    """Off and on again; until the first base is there, what was there at the instant of off is what counts."""
    if watch.least is None:
        watch.least = watch.now()
        link.ask(b"CONFIG", b"SET", b"appendonly", b"no")
        return
    link.ask(b"CONFIG", b"SET", b"appendonly", b"yes")
    found = info(link, "persistence")
    if found["aof_enabled"] == "1" and found["aof_rewrite_in_progress"] == found["aof_pending_rewrite"] == "0":
        watch.least = None


def find(victim: Victim, link: Link, writers: list[Writer], least: list[int], about: object) -> None:
    """Compare what was loaded."""
    compare_placed(link)
    for writer, number in zip(writers, least, strict=True):
        writer.compare(link, number, about)
    assert victim.leftovers() == [], about


def one_kill(
    victim: Victim, kind: str, writers: list[Writer], least: list[int], rng: random.Random, about: object, *more: str
) -> list[int]:
    """Start, compare, write, disturb, kill; returns what must be found next."""
    by_step = rng.random() < 0.5
    reach = 12 if kind == "loading" else 400
    victim.check(torn=True)
    victim.start(*more, kill_at=rng.randint(1, rng.randint(1, reach)) if by_step else 0)
    watch = Watch(writers)
    watch.least = least
    if kind == "loading":
        time.sleep(rng.uniform(0, 0.25))
    else:
        with contextlib.suppress(Lost, OSError), contextlib.closing(victim.ready()) as link:
            find(victim, link, writers, least, about)
            watch.least = None
            for writer in writers:
                writer.begin(victim.port)
            work(kind, link, watch, rng, time.monotonic() + (1.3 if rng.random() < 0.05 else rng.uniform(0.01, 0.2)))
    victim.end()
    killed = time.monotonic()
    for writer in writers:
        writer.finish()
    if watch.least is None and "everysec" in more:
        return [writer.acknowledged_before(killed - 1) for writer in writers]
    return watch.least or watch.now()


def last_look(victim: Victim, writers: list[Writer], least: list[int], about: object, *more: str) -> None:
    """The end of a chain: all that is there is sound."""
    victim.start(*more)
    try:
        with contextlib.closing(victim.ready()) as link:
            find(victim, link, writers, least, about)
    finally:
        victim.end()
    victim.check(torn=False)


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("policy", POLICIES)
def test_nothing_acknowledged_is_lost(policy: str, chain: int, breeder: Breeder, tmp_path: Path) -> None:
    """With always, and with no against the end of the process: nothing; with everysec at most the last second."""
    seed = f"{SEED}/{policy}/{chain}"
    print(f"KVORUM_CRASH_SEED={SEED}")
    rng = random.Random(seed)
    victim = Victim(breeder, tmp_path / "data")
    directives = ("--appendonly", "yes", "--appendfsync", policy)
    victim.start(*directives)
    with contextlib.closing(victim.ready()) as link:
        place(link)
        link.ask(b"WAITAOF", b"0" if policy == "no" else b"1", b"0", b"0")
    victim.end()
    writers = [Writer(number, rng) for number in range(3)]
    least = [0, 0, 0]
    for round in range(KILLS):
        kind = rng.choice(WORK)
        form = ("--aof-use-rdb-preamble", rng.choice(("yes", "no")))
        least = one_kill(victim, kind, writers, least, rng, (seed, round, kind), *directives, *form)
    last_look(victim, writers, least, seed, *directives)


@pytest.mark.parametrize("chain", CHAINS)
def test_an_rdb_file_is_the_last_whole_one(chain: int, breeder: Breeder, tmp_path: Path) -> None:
    """Of saves that were reported done nothing is lost, whenever the next one is killed."""
    seed = f"{SEED}/rdb/{chain}"
    print(f"KVORUM_CRASH_SEED={SEED}")
    rng = random.Random(seed)
    victim = Victim(breeder, tmp_path / "data")
    victim.start()
    with contextlib.closing(victim.ready()) as link:
        place(link)
        link.ask(b"SAVE")
    victim.end()
    writers = [Writer(number, rng) for number in range(2)]
    least = [0, 0]
    for round in range(KILLS):
        victim.start(kill_at=rng.choice((0, rng.randint(1, 30))))
        with contextlib.suppress(Lost, OSError), contextlib.closing(victim.ready()) as link:
            find(victim, link, writers, least, (seed, round))
            least = [writer.acknowledged for writer in writers]
            for writer in writers:
                writer.begin(victim.port)
            until = time.monotonic() + rng.uniform(0.02, 0.3)
            while time.monotonic() < until:
                before = [writer.acknowledged for writer in writers]
                link.ask(rng.choice((b"SAVE", b"BGSAVE")))
                while (found := info(link, "persistence"))["rdb_bgsave_in_progress"] == "1":
                    time.sleep(0.001)
                assert found["rdb_last_bgsave_status"] == "ok"
                least = before
        victim.end()
        for writer in writers:
            writer.finish()
        victim.check(torn=False)
    last_look(victim, writers, least, seed)
