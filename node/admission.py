"""What a command must pass before it runs, in Valkey's order (processCommand)."""

from typing import Final

from mypy_extensions import i64

from cluster.catalog.keys import KeysError, key_positions
from cluster.catalog.model import MAY_REPLICATE
from cluster.slots import key_slot
from node.commands.denials import refusal as not_permitted
from node.engine import Engine
from node.errors import CROSS_SLOT, LOADING, NO_AUTH, NO_REPLICAS, OUT_OF_MEMORY, PRIMARY_DOWN, READ_ONLY
from node.memory import make_room
from node.session import KIND_REPLICA, Session
from node.table import Entry

_IN_PUBSUB: Final = frozenset(
    b"ping subscribe ssubscribe psubscribe unsubscribe sunsubscribe punsubscribe quit reset".split()
)


def refused(e: Engine, s: Session, entry: Entry, args: list[bytes]) -> bytes | None:
    """The first reason why this command may not run now; None when there is none."""
    if not s.authenticated and not entry.no_auth and not e.acl.open():
        return NO_AUTH
    if s.multi and entry.no_multi:
        return b"ERR Command '" + entry.name + b"' not allowed inside a transaction"
    if s.user.restricted:
        refusal = not_permitted(e, s, entry.command, args)
        if refusal is not None:
            return refusal
    return refused_now(e, s, entry, args)


def refused_now(e: Engine, s: Session, entry: Entry, args: list[bytes]) -> bytes | None:
    """As `refused`, of those reasons alone that do not lie in the client but in the node."""
    replication = e.replication
    if entry.keyed and e.gate.active:
        refusal = refused_by_gate(e, s, entry, args)
        if refusal is not None:
            return refusal
    redirects = s.redirects and not e.gate.active and not replication.primary
    if redirects and (entry.write or (entry.readonly and not s.readonly)):
        return b"REDIRECT %b:%d" % (replication.primary_host.encode(), replication.primary_port)
    if entry.denyoom and e.settings.maxmemory > 0 and not make_room(e):
        return OUT_OF_MEMORY
    if replication.primary and len(e.disk_refusal) > 0 and (entry.write or entry.name == b"ping"):
        return e.disk_refusal
    if entry.write and replication.primary:
        wanted = e.settings.min_replicas_to_write
        if wanted > 0 and replication.good_replicas < wanted:
            return NO_REPLICAS
    if entry.write and not replication.primary and replication.read_only:
        return READ_ONLY
    if not s.reply.resp3 and s.subscriptions() > 0 and entry.name not in _IN_PUBSUB:
        return (
            b"ERR Can't execute '" + entry.name + b"': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / "
            b"RESET are allowed in this context"
        )
    if replication.stale_refused and not entry.stale:
        return PRIMARY_DOWN
    if replication.loading and not entry.loading:
        return LOADING
    if e.scripts.busy and not entry.allow_busy:
        return e.scripts.busy_text
    keyspace = entry.write or entry.readonly or entry.command.flags & MAY_REPLICATE != 0
    if keyspace and (s.monitor or s.kind == KIND_REPLICA):
        return b"ERR Replica can't interact with the keyspace"
    return None


def refused_by_gate(e: Engine, s: Session, entry: Entry, args: list[bytes]) -> bytes | None:
    """MOVED, CROSSSLOT or CLUSTERDOWN for commands with keys, else None."""
    slot: i64 = -1
    if entry.name == b"exec":
        return None
    if entry.first_key > 0 and entry.last_key == entry.first_key and not entry.movable:
        slot = key_slot(args[entry.first_key])
    else:
        try:
            positions = key_positions(entry.command, args)
        except KeysError:
            return None  # the handler will say what is wrong
        for position in positions:
            other = key_slot(args[position])
            if slot < 0:
                slot = other
            elif slot != other:
                return CROSS_SLOT
        if slot < 0:
            return None
    conn = s.conn
    return e.gate.refusal(slot, entry.write, s.readonly, conn is not None and conn.tls)


def pauses(e: Engine, entry: Entry) -> bool:
    """Whether CLIENT PAUSE, which is in force, holds this command back."""
    if not e.paused_writes_only:
        return not entry.name.startswith(b"client|")
    return entry.write or entry.name == b"exec" or entry.name == b"publish"
