"""Every command that can be generated, to a primary: its replicas, ours and genuine, hold the same afterwards.

What a replica gets are effects (SPOP as SREM, relative times as absolute ones, the writes of scripts, the expiry of
keys and fields), so this compares what was propagated with what was done.
`KVORUM_DIFF_SEED=<seed>` runs that seed alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from random import Random

import pytest
import redis

from node.rdb.decode import restore
from node.rdb.encode import dump
from node.types.stream import Stream
from tests.conftest import Server
from tests.differential.generate import FORGET, SETUP, SMALL, STOCK, Generator, Words
from tests.differential.harness import STREAM_DUMP, UNORDERED_DUMPS, report, seeds, shown
from tests.differential.stream_rules import timeless
from tests.differential.twins import Line
from tests.system.test_replication import DUMP_TRAILER, in_sync, until

FIXED_SEED = 20261121
ROUNDS = 6
LENGTH = 210  # commands of a round: 1250 and more with each kind of encodings
MIXES = [(0.0, 0.0), (0.1, 0.0), (0.0, 0.9), (0.06, 0.3)]  # chances of a transaction, and of a call from a script
DATABASES = (0, 1)


def working(payload: bytes) -> bytes:
    """The payload of a stream without times and without consumers that have nothing pending: a replica is not told of
    consumers that came to be by a claim of nothing, as in Valkey.
    """
    value = restore(payload)
    assert isinstance(value, Stream)
    for group in value.groups.values():
        for name in [name for name, consumer in group.consumers.items() if consumer.pending.count == 0]:
            del group.consumers[name]
    return timeless(dump(value))


# First bytes of DUMPs: a sorted set that is a table on the primary, and the packed form that a replica may still have.
UNTOLD_TABLE = (b"\x05", b"\x11")


def agree(primary: redis.Redis, replica: redis.Redis, key: bytes) -> bool:
    """Whether a key holds the same: the same bytes; the order within tables and a consumer's last visit may differ.

    A write that changes nothing, as ZADD XX of a long name, makes a table of a packed value and is not propagated, as
    in Valkey.
    """
    left, right = primary.dump(key), replica.dump(key)
    if left is None or right is None:
        return left is right
    if left[:-DUMP_TRAILER] == right[:-DUMP_TRAILER]:
        return True
    if left[:1] == right[:1] == STREAM_DUMP:
        return working(left) == working(right)
    digests = [client.execute_command("DEBUG", "DIGEST-VALUE", key) for client in (primary, replica)]
    alike = left[:1] == right[:1] and left[:1] in UNORDERED_DUMPS
    return (alike or (left[:1], right[:1]) == UNTOLD_TABLE) and digests[0] == digests[1]


def differences(primary: Server, replica: Server) -> list[bytes]:
    """The keys that two servers do not hold alike, or whose times to live differ."""
    found = []
    for database in DATABASES:
        clients = [redis.Redis(port=server.port, db=database) for server in (primary, replica)]
        keys = sorted({key for client in clients for key in client.keys("*")})
        for key in keys:
            if not agree(clients[0], clients[1], key) or clients[0].pexpiretime(key) != clients[1].pexpiretime(key):
                found.append(key)
        for client in clients:
            client.close()
    return found


def about(commands: list[Words], keys: list[bytes]) -> str:
    """The commands that name one of the keys."""
    return "\n".join(shown(words)[:300] for words in commands if set(words) & set(keys))


@pytest.mark.parametrize("seed", seeds(FIXED_SEED), ids=["fixed", "new"][: len(seeds(FIXED_SEED))])
@pytest.mark.parametrize("sizes", [STOCK, SMALL], ids=["packed", "tables"])
def test_generated_commands_reach_replicas(
    node_process: Callable[..., Server], oracle_process: Callable[..., Server], sizes: Words, seed: int
) -> None:
    """Commands of all groups, plain, in transactions and from scripts: equal DUMPs and times after each round."""
    report(f"KVORUM_DIFF_SEED={seed}")
    ours = node_process("--enable-debug-command", "yes")
    replicas = [node_process("--enable-debug-command", "yes"), oracle_process("--enable-debug-command", "yes")]
    primary, link = ours.client(), Line(ours)
    for replica in replicas:
        replica.client().execute_command(*sizes)
        replica.client().replicaof("127.0.0.1", ours.port)
    generator = Generator(Random(f"{seed} {sizes is STOCK}"))
    for number in range(ROUNDS):
        commands = [[b"select", b"0"], [b"flushall"], sizes, *SETUP]
        for words in commands:
            link.ask(words)
        time.sleep(0.003)  # the keys of SETUP that live for a millisecond expire: the servers' clock has to go on
        sequence = generator.sequence(LENGTH, *MIXES[number % len(MIXES)])
        for words in [*sequence, FORGET]:
            link.ask(words)
        for replica in replicas:
            until(partial(in_sync, primary, replica.client()), "the stream")
            wrong = differences(ours, replica)
            assert wrong == [], f"round {number}, replica {replicas.index(replica)}:\n{about(sequence, wrong)}"
    link.close()
