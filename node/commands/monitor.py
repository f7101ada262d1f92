"""MONITOR: see every command that this node executes."""

from node.engine import Engine, Handler
from node.errors import CommandError
from node.session import KIND_REPLICA, Session


def monitor(e: Engine, s: Session, args: list[bytes]) -> None:
    """MONITOR; a second time it is not even answered, as in Valkey."""
    if s.executing or s.conn is None:
        raise CommandError(b"ERR MONITOR isn't allowed for DENY BLOCKING client")
    if s.monitor or s.kind == KIND_REPLICA:
        return
    e.monitors.add(s)
    e.guard()
    s.reply.ok()


HANDLERS: dict[bytes, Handler] = {b"monitor": monitor}
