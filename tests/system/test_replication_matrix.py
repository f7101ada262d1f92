"""Ours, Redis 7.0 and Valkey 9.1 as primary and replica of each other, under writes of every type, over a hostile link.

Full and partial sync, restart of either side, promotion, chains: afterwards all hold the same, type by type, and the
offsets are equal at rest. `KVORUM_REPLICATION_SEED=<seed>` replays a run: the writes, and what the link does to bytes.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import redis

from tests.conftest import Server, find_free_port, oracle_binary, start_server
from tests.system.link import HostileRelay
from tests.system.replication_load import Load, Writer, differences
from tests.system.test_replication import in_sync, until

OURS, REDIS, VALKEY = "ours", "redis", "valkey"
PAIRS = [(OURS, OURS), (OURS, VALKEY), (VALKEY, OURS), (OURS, REDIS), (REDIS, OURS)]
CHAINS = [(OURS, OURS, OURS), (VALKEY, OURS, VALKEY), (OURS, VALKEY, OURS), (REDIS, OURS, REDIS), (OURS, REDIS, OURS)]
FIXED_SEED = 20261121


def seed_of_run() -> int:
    """The seed, told so that a failure can be replayed."""
    seed = int(os.environ.get("KVORUM_REPLICATION_SEED", FIXED_SEED))
    print(f"KVORUM_REPLICATION_SEED={seed}")
    return seed


@dataclass
class Member:
    """A server of the matrix, and how to start it again."""

    kind: str
    server: Server
    directives: tuple[str, ...]

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.server.port

    def client(self) -> redis.Redis:
        """A client, closed when the server is stopped."""
        return self.server.client()


class Rig:
    """Starts servers of all kinds."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._members: list[Member] = []
        self._relays: list[HostileRelay] = []

    def _launch(self, kind: str, port: int, folder: Path, directives: tuple[str, ...]) -> Server:
        fixed = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--enable-debug-command", "yes"]
        fixed += ["--repl-diskless-sync-delay", "0", "--repl-timeout", "20", "--repl-backlog-size", "200mb"]
        fixed += ["--save", ""] if "--save" not in directives else []
        if kind == OURS:
            command = [sys.executable, "-m", "node"]
        elif kind == VALKEY:
            command = [str(oracle_binary())]
        else:
            genuine = shutil.which("redis-server")
            if genuine is None:
                pytest.skip("no redis-server here")
            command = [genuine]
        return start_server([*command, *fixed, *directives], folder, port)

    def start(self, kind: str, *directives: str) -> Member:
        """A new server."""
        port = find_free_port()
        server = self._launch(kind, port, self._folder / f"{kind}-{port}", directives)
        self._members.append(Member(kind, server, directives))
        return self._members[-1]

    def restart(self, member: Member, *directives: str) -> None:
        """Have it save and end, and start it again at the same port, with its files."""
        with member.client() as client:
            client.shutdown(save=True)
        member.server.process.wait(60)
        member.server.stop()  # its clients
        folder = member.server.log.parent
        member.server = self._launch(member.kind, member.port, folder, (*member.directives, *directives))

    def relay(self, target: int, seed: int) -> HostileRelay:
        """A hostile link to a port."""
        self._relays.append(HostileRelay(target, seed))
        return self._relays[-1]

    def close(self) -> None:
        """The end of the test."""
        for relay in self._relays:
            relay.close()
        for member in self._members:
            member.server.stop(signal.SIGKILL)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """Servers of all kinds, gone with the test."""
    made = Rig(tmp_path)
    yield made
    made.close()


def follow(replica: Member, port: int) -> None:
    """REPLICAOF."""
    replica.client().execute_command("REPLICAOF", "127.0.0.1", port)


def same_size(one: redis.Redis, two: redis.Redis) -> bool:
    """Whether both count the same keys in each database: those that expired are gone from the replica too."""
    sizes = [{name: db["keys"] for name, db in client.info("keyspace").items()} for client in (one, two)]
    return sizes[0] == sizes[1]


def agree(primary: Member, replica: Member) -> None:
    """Once the replica has everything: equal contents, equal offsets, an equal ID."""
    one, two = primary.client(), replica.client()
    until(lambda: not any(one.execute_command("EVAL", SHORT_KEYS, 0, db) for db in (0, 1, 2)), "the short keys expire")
    try:
        until(lambda: in_sync(one, two) and same_size(one, two), "the replica has it all")
    except AssertionError as error:
        keys = [set(client.keys()) for client in (one, two)]
        seen = [{**client.info("replication"), **client.info("keyspace")} for client in (one, two)]
        raise AssertionError(f"{error}: {seen}, keys of one alone: {sorted(keys[0] ^ keys[1])}") from None
    wrong = differences(primary.port, replica.port, REDIS not in (primary.kind, replica.kind))
    assert not wrong, wrong

    def at_rest() -> bool:
        """Whether no byte came between the questions."""
        offsets = [client.info("replication")["master_repl_offset"] for client in (one, two, one)]
        return offsets[0] == offsets[1] == offsets[2]

    until(at_rest, "equal offsets")
    ids = [client.info("replication")["master_replid"] for client in (one, two)]
    assert ids[0] == ids[1]


def hush(primary: Member) -> None:
    """Have it write nothing of its own accord from now on: with one PING, or the DEL of a key or field that expires,
    after the promotion of its replica it would be ahead of that, and rightly need a full sync.
    """
    primary.client().config_set("repl-ping-replica-period", 3600)
    primary.client().execute_command("DEBUG", "SET-ACTIVE-EXPIRE", 0)


SHORT_KEYS = "redis.call('SELECT', ARGV[1]) return #redis.call('KEYS', 'short:*')"


def stats(member: Member) -> tuple[int, int]:
    """Full and partial syncs that a primary has granted."""
    found = member.client().info("stats")
    return found["sync_full"], found["sync_partial_ok"]


def name_of(kinds: tuple[str, ...]) -> str:
    """For the test's id."""
    return "-".join(kinds)


def writer(seed: int, *kinds: str) -> Writer:
    """A writer of what all these servers know."""
    return Writer(seed, REDIS not in kinds)


def life_of_a_pair(rig: Rig, kinds: tuple[str, str], seed: int, rounds: int) -> None:
    """Everything that happens to a primary and its replica."""
    print(f"seed {seed}")
    primary, replica = rig.start(kinds[0]), rig.start(kinds[1])
    source = writer(seed, *kinds)
    source.write(primary.client(), 1500)
    link = rig.relay(primary.port, seed)
    load = Load(primary.port, source, 10**9)
    follow(replica, link.port)
    one, two = primary.client(), replica.client()
    until(lambda: two.info("replication")["master_link_status"] == "up", "the full sync")
    link.cut()
    wanted = load.rounds + rounds
    until(lambda: load.rounds >= wanted, "writes while there is no link")
    link.mend()
    wanted = load.rounds + rounds
    until(lambda: load.rounds >= wanted, "writes through a link that breaks")
    load.stop()
    link.calm()
    agree(primary, replica)
    assert stats(primary)[1] >= 1, "no partial resync happened"

    # the replica restarts with its file, while the primary is written to
    full = stats(primary)[0]
    load = Load(primary.port, source, 10 * rounds)
    rig.restart(replica, "--replicaof", f"127.0.0.1 {primary.port}")
    load.stop()
    source.write(primary.client(), 300)
    agree(primary, replica)
    assert stats(primary)[0] == full, "the replica that restarted needed a full sync"

    # the primary restarts; some keys expire while it is away
    one = primary.client()
    for i in range(20):
        one.set(f"short:{i}", 1, px=300)
    one.wait(1, 5000)
    until(partial(in_sync, one, replica.client()), "the replica has it all")
    rig.restart(primary)
    until(lambda: replica.client().info("replication")["master_link_status"] == "up", "the replica comes back")
    source.write(primary.client(), 300)
    hush(primary)
    agree(primary, replica)
    assert stats(primary) == (0, 1), "the primary that restarted sent everything again"

    # the replica is promoted, and the old primary follows it
    replica.client().execute_command("REPLICAOF", "NO", "ONE")
    source.write(replica.client(), 300)
    before = stats(replica)[0]
    follow(primary, replica.port)
    source.write(replica.client(), 300)
    agree(replica, primary)
    assert stats(replica)[0] == before, "the old primary needed a full sync"


@pytest.mark.parametrize("kinds", PAIRS, ids=name_of)
def test_life_of_a_pair(rig: Rig, kinds: tuple[str, str]) -> None:
    """Full sync, a link that breaks, a restart of each, a promotion: all but the first are partial, contents equal."""
    life_of_a_pair(rig, kinds, seed_of_run(), 3)


@pytest.mark.slow
@pytest.mark.parametrize("kinds", PAIRS, ids=name_of)
def test_many_lives_of_a_pair(rig: Rig, kinds: tuple[str, str]) -> None:
    """The same with other seeds and more of everything."""
    rng = random.Random(seed_of_run() + 1)
    for _ in range(2):
        life_of_a_pair(rig, kinds, rng.randrange(10**9), 30)


def chain(rig: Rig, kinds: tuple[str, str, str], seed: int, rounds: int) -> None:
    """A replica of a replica, each behind a hostile link; then the one in the middle is promoted."""
    print(f"seed {seed}")
    first, middle, last = (rig.start(kind) for kind in kinds)
    source = writer(seed, *kinds)
    source.write(first.client(), 500)
    links = [rig.relay(first.port, seed), rig.relay(middle.port, seed + 1)]
    load = Load(first.port, source, 10**9)
    follow(middle, links[0].port)
    follow(last, links[1].port)
    for member in (middle, last):
        until(lambda m=member: m.client().info("replication")["master_link_status"] == "up", "the full sync")
    wanted = load.rounds + rounds
    until(lambda: load.rounds >= wanted, "writes through links that break")
    for link in links:
        link.cut()
        link.mend()
    wanted = load.rounds + rounds
    until(lambda: load.rounds >= wanted, "writes through links that break")
    load.stop()
    for link in links:
        link.calm()
    hush(first)
    agree(first, middle)
    agree(first, last)

    full = stats(middle)[0]
    middle.client().execute_command("REPLICAOF", "NO", "ONE")
    source.write(middle.client(), 300)
    follow(first, middle.port)
    source.write(middle.client(), 300)
    agree(middle, last)
    agree(middle, first)
    assert stats(middle)[0] == full, "after the promotion somebody needed a full sync"


@pytest.mark.parametrize("kinds", CHAINS[:3], ids=name_of)
def test_chain(rig: Rig, kinds: tuple[str, str, str]) -> None:
    """A chain holds the same at every link; after a promotion in its middle both others continue."""
    chain(rig, kinds, seed_of_run(), 2)


@pytest.mark.slow
@pytest.mark.parametrize("kinds", CHAINS, ids=name_of)
def test_long_chain(rig: Rig, kinds: tuple[str, str, str]) -> None:
    """The same with another seed and more writes."""
    chain(rig, kinds, seed_of_run() + 1, 30)


@pytest.mark.parametrize("kinds", PAIRS[:3], ids=name_of)
def test_writes_are_on_both_disks(rig: Rig, kinds: tuple[str, str]) -> None:
    """WAITAOF counts the replica once it has told that its append-only file is synced, whoever is on either side."""
    seed = seed_of_run()
    primary, replica = (rig.start(kind, "--appendonly", "yes") for kind in kinds)
    follow(replica, primary.port)
    until(partial(in_sync, primary.client(), replica.client()), "the full sync")
    with primary.client().pipeline(transaction=False) as pipe:
        for i in range(100):
            pipe.set(f"a:{i}", seed)
        pipe.execute_command("WAITAOF", 1, 1, 20_000)
        assert pipe.execute()[-1] == [1, 1]
    agree(primary, replica)
