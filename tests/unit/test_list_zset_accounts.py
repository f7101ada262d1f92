"""The store's account of memory after every list and sorted set command equals what its values say of themselves."""

import random
from collections.abc import Iterator

import pytest

from cluster.slots import key_slot
from node.engine import Engine
from node.lifecycle import build_engine
from node.session import Session
from node.settings import new_settings
from node.store import bytes_cost
from node.types.quicklist import List
from node.types.zset import ZSet
from node.waiting import unblock

# What the key "a" with a container costs when it is alone in its slot: the key, its share of the dict and the slot's
# dict as in node.store; or the entry of 4 + 2 + 1 + 8 bytes and one bucket.
OVERHEAD = {"plain": bytes_cost(1) + 38 + 184, "compact": 16 + 64}
KEYS = [b"a", b"b", b"c", b"d"]


@pytest.fixture
def engine() -> Iterator[Engine]:
    """An engine without sockets."""
    made = build_engine(new_settings(), 1_700_000_000_000, random.Random(1))
    yield made
    made.loop.close()


def _value(chance: random.Random) -> bytes:
    return b"v" * chance.choice([1, 2, 3, 70, 1000, 9000])


def _list_command(chance: random.Random) -> list[bytes]:
    key, other, value = chance.choice(KEYS), chance.choice(KEYS), _value(chance)
    return chance.choice([
        [b"rpush", key, value, _value(chance)], [b"lpush", key, value], [b"rpush", key, *[value] * 40],
        [b"lpop", key], [b"rpop", key, b"20"], [b"lmpop", b"2", key, other, b"left", b"count", b"3"],
        [b"lmove", key, other, b"left", b"right"], [b"lmove", key, key, b"left", b"right"],
        [b"ltrim", key, b"1", b"-2"], [b"lset", key, b"-1", value], [b"linsert", key, b"before", value, b"x"],
        [b"lrem", key, b"1", value], [b"lrem", key, b"0", value], [b"brpoplpush", key, other, b"1"],
    ])  # fmt: skip


def _zset_command(chance: random.Random) -> list[bytes]:
    key, other = chance.choice(KEYS), chance.choice(KEYS)
    member, score = b"m%d" % chance.randrange(400), b"%d" % chance.randrange(50)
    many = [word for n in range(60) for word in (score, b"n%d" % (chance.randrange(300) + n))]
    return chance.choice([
        [b"zadd", key, score, member], [b"zadd", key, score, _value(chance)], [b"zadd", key, *many],
        [b"zrem", key, member, b"n7", b"n8"], [b"zpopmin", key, b"5"], [b"zpopmax", key],
        [b"zincrby", key, score, member],
        [b"zremrangebyrank", key, b"0", b"9"], [b"zremrangebyscore", key, b"0", score], [b"zmpop", b"1", key, b"max"],
        [b"zunionstore", key, b"2", other, key], [b"zinterstore", key, b"2", other, key],
        [b"zdiffstore", key, b"2", other, key], [b"zrangestore", key, other, b"0", b"9"],
    ])  # fmt: skip


@pytest.mark.parametrize("maker", [_list_command, _zset_command])
def test_accounts(engine: Engine, maker: object) -> None:
    """Nothing is forgotten and nothing counted twice, on growing, shrinking, replacing and deleting."""
    assert callable(maker)
    chance = random.Random(5)
    store = engine.stores[0]
    session = Session(1, engine.executor, store, engine.acl.default_user, 1 << 20, 0)
    engine.executor.call(session, [b"set", b"stays", b"x"])
    fixed = store.used_bytes()
    for _ in range(1500):
        engine.executor.call(session, maker(chance))
        if session.blocked:
            unblock(engine, session)
        expected = fixed
        for key in KEYS:
            value = store.peek(key_slot(key), key)
            if isinstance(value, List | ZSet):
                engine.executor.call(session, [b"copy", key, b"twin", b"replace"])
                twin = store.peek(key_slot(b"twin"), b"twin")
                assert isinstance(twin, List | ZSet)
                assert twin.used_bytes() == value.used_bytes()
                engine.executor.call(session, [b"del", b"twin"])
                expected += value.used_bytes() + OVERHEAD[store.kind]
        assert store.used_bytes() == expected

