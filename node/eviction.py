"""Which key goes when memory is short: Valkey's approximated LRU, LFU and TTL policies, and the clocks that they read.

`choose_victim` decides and changes nothing but its pool. The access clock is 24 bits: seconds for LRU; for LFU 16 bits
of minutes (when the counter last lost a point) and 8 bits of a logarithmic hit counter that starts at 5.
"""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from node.keyspace import Store

NO_CLOCK: Final = 0
LRU: Final = 1
LFU: Final = 2

POOL_SIZE: Final = 16
LFU_START: Final = 5
_ROUNDS: Final = 16  # samples drawn until one gives a key that is still there (keys met may turn out to be expired)
CLOCK_MASK: Final = 0xFFFFFF

BY_IDLE: Final = 1
BY_FREQUENCY: Final = 2
BY_CHANCE: Final = 3
BY_TTL: Final = 4


@final
@mypyc_attr(acyclic=True)
class Policy:
    """One maxmemory policy: what is compared, over which keys, and the access clock that it needs."""

    name: bytes
    by: i64  # 0: nothing is evicted
    volatile: bool
    clock: i64

    def __init__(self, name: bytes, by: i64, volatile: bool, clock: i64) -> None:
        self.name = name
        self.by = by
        self.volatile = volatile
        self.clock = clock


POLICIES: Final[dict[bytes, Policy]] = {
    policy.name: policy
    for policy in (
        Policy(b"noeviction", 0, False, NO_CLOCK),
        Policy(b"allkeys-lru", BY_IDLE, False, LRU),
        Policy(b"allkeys-lfu", BY_FREQUENCY, False, LFU),
        Policy(b"allkeys-random", BY_CHANCE, False, NO_CLOCK),
        Policy(b"volatile-lru", BY_IDLE, True, LRU),
        Policy(b"volatile-lfu", BY_FREQUENCY, True, LFU),
        Policy(b"volatile-random", BY_CHANCE, True, NO_CLOCK),
        Policy(b"volatile-ttl", BY_TTL, True, NO_CLOCK),
    )
}


@final
@mypyc_attr(acyclic=True)
class Victim:
    """A key that should go; a higher score goes earlier."""

    dbid: i64
    slot: i64
    key: bytes
    score: i64

    def __init__(self, dbid: i64, slot: i64, key: bytes, score: i64) -> None:
        self.dbid = dbid
        self.slot = slot
        self.key = key
        self.score = score


@final
@mypyc_attr(acyclic=True)
class Pool:
    """The best candidates met so far, at most 16, the worst first; kept from one eviction to the next."""

    victims: list[Victim]
    next_db: i64  # where the random policies go on, so that each database gives a key in turn

    def __init__(self) -> None:
        self.victims = []
        self.next_db = 0

    def offer(self, victim: Victim) -> None:
        """Take a candidate in at its place, or leave it when the pool is full of better ones."""
        victims = self.victims
        place: i64 = 0
        for other in victims:
            if other.dbid == victim.dbid and other.key == victim.key:
                return
        while place < len(victims) and victims[place].score < victim.score:
            place += 1
        if len(victims) >= POOL_SIZE:
            if place == 0:
                return
            del victims[0]
            place -= 1
        victims.insert(place, victim)


# --- clocks
def idle_seconds(clock: i64, now: i64) -> i64:
    """Seconds since the access at LRU clock `clock`; both are 24 bits and may have wrapped once."""
    return (now - clock) & CLOCK_MASK


def lfu_decayed(clock: i64, minutes: i64, decay_minutes: i64) -> i64:
    """The counter of an LFU clock after it lost a point for each `decay_minutes` passed (0: it never loses any)."""
    counter = clock & 255
    if decay_minutes:
        lost = ((minutes - (clock >> 8)) & 0xFFFF) // decay_minutes
        counter = counter - lost if counter > lost else 0
    return counter


def lfu_hit(counter: i64, factor: i64, chance: float) -> i64:
    """The counter after one more access: it grows with probability 1 / (excess over 5, times factor, plus 1)."""
    if counter >= 255:
        return 255
    excess = counter - LFU_START if counter > LFU_START else 0
    if chance * float(excess * factor + 1) < 1.0:
        return counter + 1
    return counter


# --- the decision
def _score(policy: Policy, clock: i64, expire_at: i64, now_s: i64, minutes: i64, decay: i64) -> i64:
    if policy.by == BY_IDLE:
        return idle_seconds(clock, now_s) if clock >= 0 else CLOCK_MASK
    if policy.by == BY_FREQUENCY:
        return 255 - lfu_decayed(clock, minutes, decay) if clock >= 0 else 255
    return -expire_at


def _refill(stores: list[Store | None], policy: Policy, samples: i64, now_s: i64, minutes: i64, decay: i64,
            pool: Pool) -> bool:
    """Offer a sample of each database to the pool; False when no database has a key that may go."""
    any_keys = False
    for dbid, store in enumerate(stores):
        if store is not None and (store.volatile_count() if policy.volatile else store.count()) > 0:
            any_keys = True
            for slot, key, clock, expire_at in store.sample(samples, policy.volatile):
                pool.offer(Victim(dbid, slot, key, _score(policy, clock, expire_at, now_s, minutes, decay)))
    return any_keys


def _still_there(stores: list[Store | None], victim: Victim, volatile: bool) -> bool:
    store = stores[victim.dbid]
    if store is None:
        return False
    at = store.expire_at(victim.slot, victim.key)
    return at > 0 if volatile else at >= 0


def _by_chance(stores: list[Store | None], volatile: bool, pool: Pool) -> Victim | None:
    tries: i64 = 0
    while tries < len(stores):
        dbid = pool.next_db % len(stores)
        pool.next_db = dbid + 1
        store = stores[dbid]
        if store is not None and (store.volatile_count() if volatile else store.count()) > 0:
            for slot, key, _clock, _expire_at in store.sample(1, volatile):
                return Victim(dbid, slot, key, 0)
        tries += 1
    return None


def choose_victim(stores: list[Store | None], policy: Policy, samples: i64, now_ms: i64, decay_minutes: i64,
                  pool: Pool) -> Victim | None:
    """The key to remove next under `policy`, None when there is none that may go.

    `stores` are the databases in order (None: never used), `samples` is maxmemory-samples, `decay_minutes` is
    lfu-decay-time. The caller deletes the key, propagates that, and asks again while memory is short. Chance comes
    from the stores' own.
    """
    if policy.by == 0:
        return None
    if policy.by == BY_CHANCE:
        return _by_chance(stores, policy.volatile, pool)
    now_s: i64 = (now_ms // 1000) & CLOCK_MASK
    minutes: i64 = (now_ms // 60000) & 0xFFFF
    for _ in range(_ROUNDS):
        if not _refill(stores, policy, samples, now_s, minutes, decay_minutes, pool):
            return None
        while pool.victims:
            victim = pool.victims.pop()
            if _still_there(stores, victim, policy.volatile):
                return victim
    return None
