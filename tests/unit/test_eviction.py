"""Which key goes: policies over real stores with chance from a seed, the pool, and the two access clocks."""

import random

import pytest

from cluster.slots import key_slot
from node.eviction import (
    LFU,
    POLICIES,
    POOL_SIZE,
    Pool,
    Victim,
    choose_victim,
    idle_seconds,
    lfu_decayed,
    lfu_hit,
)  # fmt: skip
from node.keyspace import Store
from node.store import PlainStore

NOW = 50_000_000


def filled(count: int, policy: bytes, volatile: int = 0) -> Store:
    """A store of `count` keys, key i used at second i (or i times for LFU); the first `volatile` of them expire."""
    store = PlainStore(5)
    store.track_clock(POLICIES[policy].clock)
    for i in range(count):
        store.tick(10_000_000 + i * 1000, 10_000 + i)
        key = b"%d" % i
        store.set(key_slot(key), key, b"v")
        if i < volatile:
            store.set_expire(key_slot(key), key, 60_000_000 + i * 1000)
        if POLICIES[policy].clock == LFU:
            store.tick(NOW, NOW // 1000)
            store.set_clock(key_slot(key), key, (NOW // 60000 & 0xFFFF) << 8 | min(i // 4, 255))
    store.tick(NOW, NOW // 1000)
    return store


def evicted(stores: list[Store | None], policy: bytes, count: int) -> list[tuple[int, bytes]]:
    """The keys that go, one after the other."""
    pool = Pool()
    gone = []
    for _ in range(count):
        victim = choose_victim(stores, POLICIES[policy], 5, NOW, 1, pool)
        if victim is None:
            break
        store = stores[victim.dbid]
        assert store is not None
        assert store.delete(victim.slot, victim.key)
        gone.append((victim.dbid, victim.key))
    return gone


@pytest.mark.parametrize("policy", [b"allkeys-lru", b"allkeys-lfu"])
def test_the_least_used_go_first(policy: bytes) -> None:
    """Of 1000 keys evicting half takes mostly the half used longest ago (or least): at least 85 of 100."""
    gone = evicted([filled(1000, policy)], policy, 500)
    assert len(gone) == 500
    assert sum(1 for _, key in gone if int(key) < 500) > 425


def test_volatile_ttl_takes_the_soonest() -> None:
    """Keys whose time is nearest go first, and keys without one never."""
    gone = evicted([filled(1000, b"volatile-ttl", 400)], b"volatile-ttl", 200)
    assert sum(1 for _, key in gone if int(key) < 200) > 170
    assert all(int(key) < 400 for _, key in gone)


@pytest.mark.parametrize("policy", [b"volatile-lru", b"volatile-lfu", b"volatile-random", b"volatile-ttl"])
def test_volatile_policies_stop_at_the_last_volatile_key(policy: bytes) -> None:
    """Exactly the keys with an expiry go; then there is nothing to evict."""
    gone = evicted([filled(300, policy, 60)], policy, 300)
    assert sorted(int(key) for _, key in gone) == list(range(60))


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_every_policy_takes_all_that_it_may(policy: bytes) -> None:
    """Over three databases, one of them never used: all keys go (noeviction: none), none twice."""
    stores: list[Store | None] = [filled(50, policy, 50), None, filled(50, policy, 50)]
    gone = evicted(stores, policy, 200)
    assert len(gone) == len(set(gone)) == (0 if policy == b"noeviction" else 100)


def test_random_takes_databases_in_turn() -> None:
    """allkeys-random does not empty one database before it looks at the next."""
    gone = evicted([filled(50, b"allkeys-random"), filled(50, b"allkeys-random")], b"allkeys-random", 20)
    assert [dbid for dbid, _ in gone] == [0, 1] * 10


def test_a_key_written_again_is_not_evicted_as_a_stale_candidate() -> None:
    """A candidate that was deleted meanwhile is passed over."""
    store = filled(100, b"allkeys-lru")
    pool = Pool()
    assert choose_victim([store], POLICIES[b"allkeys-lru"], 5, NOW, 1, pool) is not None
    candidates = [victim.key for victim in pool.victims]
    for key in candidates:
        store.delete(key_slot(key), key)
    victim = choose_victim([store], POLICIES[b"allkeys-lru"], 5, NOW, 1, pool)
    assert victim is not None
    assert victim.key not in candidates


def test_the_pool_keeps_the_best_sixteen() -> None:
    """Whatever is offered in whatever order, the worst leave; the last is the best."""
    rng = random.Random(1)
    scores = [rng.randrange(1000) for _ in range(300)]
    pool = Pool()
    for i, score in enumerate(scores):
        pool.offer(Victim(0, 0, b"%d" % i, score))
        pool.offer(Victim(0, 0, b"%d" % i, score))
    assert [victim.score for victim in pool.victims] == sorted(scores)[-POOL_SIZE:]


def test_the_idle_clock_wraps() -> None:
    """24 bits of seconds come round after 194 days."""
    assert idle_seconds(10, 25) == 15
    assert idle_seconds(0xFFFFFE, 3) == 5


def test_lfu_decays_by_minutes() -> None:
    """A point for each lfu-decay-time minutes, not below zero, across the wrap; 0 means never."""
    assert lfu_decayed(100 << 8 | 50, 107, 1) == 43
    assert lfu_decayed(100 << 8 | 50, 107, 3) == 48
    assert lfu_decayed(100 << 8 | 5, 200, 1) == 0
    assert lfu_decayed(65530 << 8 | 50, 4, 1) == 40
    assert lfu_decayed(100 << 8 | 50, 900, 0) == 50


def test_lfu_grows_ever_more_slowly() -> None:
    """Certain up to 5, then with probability 1 / (10 * excess + 1), never beyond 255."""
    assert lfu_hit(0, 10, 0.999) == 1
    assert lfu_hit(5, 10, 0.999) == 6
    assert [lfu_hit(15, 10, chance) for chance in (0.0098, 0.01)] == [16, 15]
    assert lfu_hit(255, 0, 0.0) == 255
    rng = random.Random(2)
    counter = 5
    for _ in range(100_000):
        counter = lfu_hit(counter, 10, rng.random())
    assert 120 < counter < 165
