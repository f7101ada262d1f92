"""What is noted of a command once it is over and was slow or large: its histogram, the latency monitor, the command
log. The dispatcher compares first, so that nothing here costs a usual command anything.
"""

from typing import Final

from mypy_extensions import i64

from cluster.catalog.model import SKIP_COMMANDLOG
from node.commandlog import LARGE_REPLY, LARGE_REQUEST, SLOW, request_bytes
from node.engine import NOTHING_SO_LARGE, Engine
from node.latency import Times
from node.redaction import redacted
from node.session import Session
from node.table import Entry

INLINE_MAX: Final = 64 * 1024  # bytes, as the decoder bounds a line


def count_time(entry: Entry, took: float) -> None:
    """Count a call that took more than a microsecond in the command's histogram."""
    times = entry.times
    if times is None:
        times = Times()
        entry.times = times
    times.add(i64(took * 1e9))


def inferred_size(args: list[bytes]) -> i64:
    """Bytes of a request that did not come in one piece: one line, or what is too long for that."""
    size = request_bytes(args, True)
    return size if size <= INLINE_MAX else request_bytes(args, False)


def log_command(e: Engine, s: Session, entry: Entry, args: list[bytes], took: float, start: i64, end: i64,
                reply: i64) -> None:
    """Keep a command of `took` seconds, of a request `end - start` and a reply `reply` long, in the lists that want
    it. A reply inside EXEC is `log_reply`'s; a script's session counts as executing too.
    """
    if s.blocked:
        return
    micros = i64(took * 1e6)
    e.latency.add(b"fast-command" if entry.fast else b"command", e.now_ms // 1000, micros // 1000)
    if entry.command.flags & SKIP_COMMANDLOG:
        return
    size: i64 = end - start
    if start < 0:
        size = inferred_size(args) if end == NOTHING_SO_LARGE else 0
    shown = redacted(entry.name, args)
    _keep(e, SLOW, s, micros, shown)
    _keep(e, LARGE_REQUEST, s, size, shown)
    if not s.executing or s.conn is None:
        _keep(e, LARGE_REPLY, s, reply, shown)


def log_unblocked(e: Engine, s: Session, args: list[bytes], reply: i64) -> None:
    """Note a blocking command whose wait ended without a value; waiting is not time that it took."""
    entry = e.table.get(args[0].lower())
    if entry is not None:
        log_command(e, s, entry, args, 0.0, 0, 0, reply)


def log_reply(e: Engine, s: Session, entry: Entry, args: list[bytes], reply: i64) -> None:
    """Keep a command inside EXEC after which the reply is as long as that."""
    if entry.command.flags & SKIP_COMMANDLOG == 0:
        _keep(e, LARGE_REPLY, s, reply, redacted(entry.name, args))


def _keep(e: Engine, kind: i64, s: Session, value: i64, shown: list[bytes]) -> None:
    commands = e.command_lists[kind]
    if commands.wants(value):
        caller = e.scripts.caller
        client = s if caller is None or s.conn is not None else caller
        commands.add(e.now_ms // 1000, value, shown, client.address, client.name)
