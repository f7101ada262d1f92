"""What a command that a script calls must pass: Valkey's checks of calls from scripts, in their order.

The script itself was checked before it began (`node.scripting.runner`), and a script that has written is not stopped
half-way by a state of the node that came about meanwhile.
"""

from typing import Final

from mypy_extensions import i64

from cluster.catalog.keys import KeysError, key_positions
from cluster.slots import key_slot
from node.engine import Engine
from node.errors import NO_REPLICAS, OUT_OF_MEMORY, READ_ONLY
from node.session import Session
from node.table import Entry

ALLOW_OOM: Final = 2  # flags as in node.scripting.shebang
ALLOW_CROSS_SLOT: Final = 16
EVERYWHERE: Final = 3  # of server.set_repl: append-only file and replicas

UNKNOWN: Final = b"ERR Unknown command called from script"
WRONG_ARGUMENTS: Final = b"ERR Wrong number of args calling command from script"
_NOT_FROM_SCRIPTS: Final = b"ERR This Valkey command is not allowed from script"
_STALE: Final = b"ERR Can not execute the command on a stale replica"
_NO_WRITES: Final = b"ERR Write commands are not allowed from read-only scripts."
_CROSS_SLOT: Final = b"ERR Script attempted to access keys that do not hash to the same slot"
_DOWN: Final = b"CLUSTERDOWN Script attempted to execute a command while the cluster is down"
_DOWN_READ_ONLY: Final = (
    b"CLUSTERDOWN Script attempted to execute a write command while the cluster is down and readonly"
)
_NOT_LOCAL: Final = b"ERR Attempted to access a non local key in a cluster node"


def refusal(e: Engine, s: Session, entry: Entry, args: list[bytes]) -> bytes | None:
    """The error for a command that the running script may not call; None when it may."""
    scripts = e.scripts
    caller = scripts.caller
    obeyed = caller is not None and caller.primary_link
    if entry.noscript:
        return _NOT_FROM_SCRIPTS
    replication = e.replication
    if replication.stale_refused and not entry.stale and not obeyed:
        return _STALE
    if scripts.oom and entry.denyoom and not scripts.wrote and not scripts.flags & ALLOW_OOM and not obeyed:
        return OUT_OF_MEMORY
    if scripts.read_only and (entry.write or entry.may_replicate):
        return _NO_WRITES
    if entry.write and not scripts.wrote and not obeyed:
        if not replication.primary and replication.read_only:
            return READ_ONLY
        if replication.primary and len(e.disk_refusal) > 0:
            return e.disk_refusal
        wanted = e.settings.min_replicas_to_write
        if replication.primary and wanted > 0 and replication.good_replicas < wanted:
            return NO_REPLICAS
    if entry.write:
        scripts.wrote = True
    if e.gate.active and entry.keyed and not obeyed:
        return _refused_by_gate(e, s, entry, args)
    return None


def _refused_by_gate(e: Engine, s: Session, entry: Entry, args: list[bytes]) -> bytes | None:
    """In cluster mode: keys of one slot, served here, and of the same one in all of the script unless it may cross."""
    scripts = e.scripts
    try:
        positions = key_positions(entry.command, args)
    except KeysError:
        return None
    slot: i64 = -1
    for position in positions:
        other = key_slot(args[position])
        if slot >= 0 and slot != other:
            return _NOT_LOCAL
        slot = other
    if slot < 0:
        return None
    refused = e.gate.refusal(slot, entry.write, s.readonly, False)
    if refused is not None:
        if not refused.startswith(b"CLUSTERDOWN"):
            return _NOT_LOCAL
        return _DOWN_READ_ONLY if b"read-only" in refused else _DOWN
    if not scripts.flags & ALLOW_CROSS_SLOT:
        if scripts.slot >= 0 and scripts.slot != slot:
            return _CROSS_SLOT
        scripts.slot = slot
    return None
