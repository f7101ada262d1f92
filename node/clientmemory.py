"""What a client's buffers take, and which clients go when all together take more than `maxmemory-clients`."""

from typing import Final

from mypy_extensions import i64

from node.engine import Engine
from node.session import KIND_NORMAL, KIND_PUBSUB, Session

_BASE: Final = 1600  # bytes of a session and its connection with empty buffers (measured: sys.getsizeof of its parts)
_NAME_COST: Final = 100  # of an entry in a dict of the session and in that of the node
_QUEUED: Final = 64  # of a queued command beside its bytes


def client_bytes(s: Session) -> i64:
    """Bytes that a client takes: its record, unread requests, unsent replies, its queue and subscriptions."""
    total: i64 = _BASE + s.decoder.held() + len(s.reply.out) + multi_bytes(s)
    conn = s.conn
    if conn is not None:
        total += conn.unsent_bytes
    names = s.subscriptions() + len(s.prefixes)
    if names > 0:
        total += names * _NAME_COST
    return total


def multi_bytes(s: Session) -> i64:
    """Bytes of the transaction that the client has queued."""
    return s.queue_bytes + len(s.queue) * _QUEUED


def limit_of(e: Engine) -> i64:
    """The bound in bytes: `maxmemory-clients` is a size, or a share of maxmemory; 0 for none."""
    wanted = e.settings.maxmemory_clients
    if wanted >= 0:
        return wanted
    return -wanted * e.settings.maxmemory // 100


def counts(s: Session) -> bool:
    """Whether the client's memory counts: replicas and primaries have their own bounds."""
    return s.kind == KIND_NORMAL or s.kind == KIND_PUBSUB


def account(e: Engine, s: Session) -> None:
    """Bring the sum up to date with what this client takes now."""
    if counts(s):
        size = client_bytes(s)
        e.client_memory += size - s.evict_bytes
        s.evict_bytes = size


def recount(e: Engine) -> None:
    """Make the sum anew from all clients."""
    e.client_memory = 0
    for s in e.sessions.values():
        s.evict_bytes = 0
        account(e, s)


def release(e: Engine, s: Session) -> None:
    """The client is gone."""
    e.client_memory -= s.evict_bytes
    s.evict_bytes = 0


def evict(e: Engine) -> list[Session]:
    """The clients to disconnect, the largest first, so that the rest is within the bound. Those that asked not to be
    evicted stay, whatever they take.
    """
    limit = limit_of(e)
    if limit == 0 or e.client_memory <= limit:
        return []
    recount(e)
    if e.client_memory <= limit:
        return []
    found: list[Session] = []
    rest: i64 = e.client_memory
    for s in sorted(e.sessions.values(), key=_size, reverse=True):
        if rest <= limit:
            break
        conn = s.conn
        if counts(s) and not s.no_evict and conn is not None and not conn.closed:
            rest -= s.evict_bytes
            found.append(s)
    return found


def _size(s: Session) -> i64:
    return s.evict_bytes
