"""Replication as commands: REPLICAOF, PSYNC, SYNC, REPLCONF, WAIT, WAITAOF."""

from typing import Final

from mypy_extensions import i64

from node.commands.reading import integer
from node.engine import Engine, Handler
from node.errors import CommandError
from node.numbers import is_int, to_int
from node.session import KIND_REPLICA, Session

_NO_PRIMARY: Final = (
    b"ERR %b cannot be used with replica instances. Please also note that writes to replicas are just local and are "
    b"not propagated."
)


def replicaof(e: Engine, s: Session, args: list[bytes]) -> None:
    """REPLICAOF host port | NO ONE. Sentinels use it in cluster mode too."""
    host, port = args[1], args[2]
    if host.lower() == b"no" and port.lower() == b"one":
        e.replication.stop_following()
        s.reply.ok()
        return
    if not is_int(port) or not 0 <= to_int(port) <= 65535:
        raise CommandError(b"ERR Invalid master port")
    number = to_int(port)
    replication = e.replication
    if not replication.primary and replication.primary_port == number and replication.primary_host == host.decode():
        s.reply.simple(b"OK Already connected to specified master")
        return
    e.replication.follow(host.decode("utf-8", "replace"), number)
    s.reply.ok()


def psync(e: Engine, s: Session, args: list[bytes]) -> None:
    """PSYNC replicationid offset, and SYNC."""
    conn = s.conn
    if s.kind != KIND_REPLICA and (len(s.reply.out) > 0 or (conn is not None and conn.unsent_bytes > 0)):
        raise CommandError(b"ERR SYNC and PSYNC are invalid with pending output")
    e.replication.synchronize(s, args)


def replconf(e: Engine, s: Session, args: list[bytes]) -> None:
    """REPLCONF option value [option value ...]."""
    e.replication.configure(s, args)


def wait(e: Engine, s: Session, args: list[bytes]) -> None:
    """WAIT numreplicas timeout."""
    if not e.replication.primary:
        raise CommandError(_NO_PRIMARY % b"WAIT")
    wanted = integer(args[1])
    e.replication.wait(s, args, wanted, _milliseconds(args[2]))


def _milliseconds(timeout: bytes) -> i64:
    """A timeout argument. Raises CommandError."""
    if not is_int(timeout):
        raise CommandError(b"ERR timeout is not an integer or out of range")
    value = to_int(timeout)
    if value < 0:
        raise CommandError(b"ERR timeout is negative")
    return value


def waitaof(e: Engine, s: Session, args: list[bytes]) -> None:
    """WAITAOF numlocal numreplicas timeout."""
    local = integer(args[1])
    if not 0 <= local <= 1:
        raise CommandError(b"ERR value is out of range, value must between 0 and 1")
    replicas = to_int(args[2]) if is_int(args[2]) else -1
    if replicas < 0:
        raise CommandError(b"ERR value is out of range, must be positive")
    timeout = _milliseconds(args[3])
    if not e.replication.primary:
        raise CommandError(_NO_PRIMARY % b"WAITAOF")
    if local > 0 and not e.aof.enabled:
        raise CommandError(b"ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.")
    e.aof.wait(s, args, local, replicas, timeout)


HANDLERS: dict[bytes, Handler] = {
    b"waitaof": waitaof,
    b"replicaof": replicaof,
    b"slaveof": replicaof,
    b"psync": psync,
    b"sync": psync,
    b"replconf": replconf,
    b"wait": wait,
}
