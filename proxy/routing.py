"""Where a command goes: decided from its catalog row alone, once at start, as a `Plan`; and what an error reply means
for it.

Pure. The words: a command is KEYED (one key at a fixed place: the hot path), KEYS (any number of keys, one slot), SPLIT
(cut by slot and merged), EVERY (asked of all shards and merged), ANY (no key, any shard will do), BLOCK (may wait: gets
a connection of its own), LOCAL (answered by the proxy for its own client) or REFUSED (would reach the insides of the
service).
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from cluster.catalog.model import ADMIN, BLOCKING, NO_MULTI, READONLY, WRITE, Command

KEYED: Final = 1
KEYS: Final = 2
SPLIT: Final = 3
EVERY: Final = 4
ANY: Final = 5
BLOCK: Final = 6
LOCAL: Final = 7
REFUSED: Final = 8
NO_CLUSTER: Final = 9

SPLITTABLE: Final = frozenset([b"mget", b"mset", b"del", b"unlink", b"exists", b"touch"])

# Answered for the client that asks, by proxy.client; in a service of one shard, those in PASSED go to the node instead.
LOCALS: Final = frozenset(
    [
        b"auth", b"hello", b"quit", b"reset", b"client", b"select", b"ping", b"echo", b"multi", b"exec", b"discard",
        b"watch", b"unwatch", b"subscribe", b"unsubscribe", b"psubscribe", b"punsubscribe", b"ssubscribe",
        b"sunsubscribe", b"monitor", b"scan", b"randomkey", b"info", b"pubsub", b"wait", b"waitaof", b"readonly",
        b"readwrite", b"config", b"script|debug",
    ]
)  # fmt: skip
PASSED: Final = frozenset([b"scan", b"randomkey", b"info", b"pubsub"])

# What managed services keep from their users (the list of the Render page), and our own door to the nodes.
RESTRICTED: Final = frozenset(
    [
        b"failover", b"replicaof", b"save", b"slaveof", b"acl", b"shutdown", b"sync", b"module", b"pfselftest",
        b"bgsave", b"debug", b"replconf", b"psync", b"bgrewriteaof", b"pfdebug", b"kvorum", b"asking",
        b"restore-asking", b"migrate",
    ]
)  # fmt: skip
CLUSTER_ONLY: Final = frozenset([b"cluster"])

# A key that is none in the catalog, and yet decides the shard: a channel has its home where a key of that name would
# be.
_HOMED: Final = frozenset([b"publish"])

# --- what a reply means
FINAL: Final = 0  # the answer
MOVED: Final = 1  # not executed: the slot is at another node
ASK: Final = 2  # not executed: the key is at another node for the time being
WAIT: Final = 3  # not executed: the node cannot at the moment


@final
class Plan:
    """How the proxy treats one command; `subs` has those of a container's subcommands."""

    name: bytes
    kind: i64
    arity: i64
    first: i64  # place of the key when KEYED
    step: i64  # from one key to the next when SPLIT
    safe: bool  # may be repeated though it may have been executed
    reads_only: bool
    no_multi: bool
    policy: str  # how the replies of all shards are merged when EVERY
    subs: dict[bytes, Plan]
    row: Command | None
    passed: bool  # in a service of one shard it goes to the node whatever its kind
    direct: bool  # and has no subcommands, so that nothing else has to be looked at

    def __init__(self, name: bytes, kind: i64, arity: i64) -> None:
        self.name = name
        self.kind = kind
        self.arity = arity
        self.first = 0
        self.step = 1
        self.safe = False
        self.reads_only = False
        self.no_multi = False
        self.policy = ""
        self.subs = {}
        self.row = None
        self.passed = False
        self.direct = False

    def fits(self, count: i64) -> bool:
        """Whether this many arguments, the name's words included, are right."""
        return count == self.arity if self.arity >= 0 else count >= -self.arity


def plan_for_strangers() -> Plan:
    """The plan of a command that the catalog lacks, in a service of one shard: the node knows it, or refuses it.

    It gets a connection of its own, because nobody here knows whether it blocks or changes the connection.
    """
    plan = Plan(b"unknown", BLOCK, -1)
    plan.passed = True
    return plan


def build_plans(rows: dict[bytes, Command]) -> dict[bytes, Plan]:
    """The plan of every command, under its lowercase and its uppercase name."""
    plans: dict[bytes, Plan] = {}
    for name in sorted(RESTRICTED | CLUSTER_ONLY):
        plans[name] = Plan(name, NO_CLUSTER if name in CLUSTER_ONLY else REFUSED, -1)
    for name, row in rows.items():
        if name not in plans:
            plans[name] = _plan(row)
    for name in list(plans):
        plans[name.upper()] = plans[name]
    return plans


def _plan(row: Command) -> Plan:
    plan = Plan(row.name, _kind(row), row.arity)
    plan.row = row
    plan.first = row.first_key
    plan.step = max(row.key_step, 1)
    plan.reads_only = row.flags & WRITE == 0 and row.flags & READONLY != 0
    plan.safe = plan.reads_only or (plan.kind in (EVERY, ANY, LOCAL) and row.flags & WRITE == 0)
    plan.no_multi = row.flags & NO_MULTI != 0
    plan.policy = row.response_policy
    plan.passed = plan.kind in (KEYED, KEYS, SPLIT, EVERY, ANY) or row.name.partition(b"|")[0] in PASSED
    plan.direct = plan.passed and not row.subcommands
    if row.name in _HOMED:
        plan.kind, plan.first, plan.safe = KEYED, 1, False
    for word, sub in row.subcommands.items():
        plan.subs[word] = _plan(sub)
    return plan


def _kind(row: Command) -> int:
    name = row.name
    if name in LOCALS or name.partition(b"|")[0] in LOCALS:
        return LOCAL
    if name in SPLITTABLE:
        return SPLIT
    if row.flags & BLOCKING:
        return BLOCK
    if row.first_key > 0 and row.first_key == row.last_key and len(row.key_specs) == 1:
        return KEYED
    if row.key_specs:
        return KEYS
    if row.request_policy in ("all_shards", "all_nodes"):
        return EVERY
    if row.flags & WRITE and not row.flags & ADMIN:
        return EVERY
    return ANY


def verdict(reply: bytes) -> i64:
    """What an error reply says about the command: answered, or surely not executed and to be tried again, and where."""
    code = reply[1 : reply.find(b" ")]
    if code == b"MOVED":
        return MOVED
    if code == b"ASK":
        return ASK
    if code in (b"CLUSTERDOWN", b"LOADING", b"READONLY", b"MASTERDOWN", b"TRYAGAIN", b"UNBLOCKED"):
        return WAIT
    return FINAL


def redirection(reply: bytes) -> tuple[int, str, int] | None:
    """Slot, host and port of `-MOVED 42 host:port`; an empty host means the node that said so. None when malformed."""
    words = reply[1:-2].split(b" ")
    if len(words) != 3:
        return None
    host, colon, port = words[2].rpartition(b":")
    if not colon or not words[1].isdigit() or not port.isdigit() or int(words[1]) > 16383 or int(port) > 65535:
        return None
    return int(words[1]), host.decode("ascii", "replace"), int(port)
