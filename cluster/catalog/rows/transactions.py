"""Rows: transactions."""

from cluster.catalog.build import command, key, keys_at, many
from cluster.catalog.model import (
    ACL_TRANSACTION,
    ALLOW_BUSY,
    FAST,
    LOADING,
    NO_MULTI,
    NOSCRIPT,
    RO,
    SKIP_COMMANDLOG,
    STALE,
    Command,
)

ROWS: list[Command] = [
    command("discard", 1, NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY, "transactions", "2.0.0",
        "O(N), when N is the number of queued commands",
        "Drop the queued commands.",
        acl=ACL_TRANSACTION),
    command("exec", 1, NOSCRIPT | LOADING | STALE | SKIP_COMMANDLOG, "transactions", "1.2.0",
        "Depends on commands in the transaction",
        "Execute the queued commands as one.",
        acl=ACL_TRANSACTION),
    command("multi", 1, NOSCRIPT | LOADING | STALE | FAST | NO_MULTI | ALLOW_BUSY, "transactions", "1.2.0", "O(1)",
        "Begin a transaction: the commands that follow are queued.",
        acl=ACL_TRANSACTION),
    command("unwatch", 1, NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY, "transactions", "2.2.0", "O(1)",
        "Forget all watched keys.",
        acl=ACL_TRANSACTION),
    command("watch", -2, NOSCRIPT | LOADING | STALE | FAST | NO_MULTI | ALLOW_BUSY, "transactions", "2.2.0",
        "O(1) for every key.",
        "Let the next EXEC fail if one of the keys changes before it.",
        acl=ACL_TRANSACTION, keys=[keys_at(1, RO, last=-1)], args=[many(key())]),
]
