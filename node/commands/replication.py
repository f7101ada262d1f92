"""Replication as commands: REPLICAOF, PSYNC, SYNC, REPLCONF, WAIT."""

from node.engine import Engine, Handler
from node.errors import NOT_AN_INTEGER, CommandError
from node.numbers import is_int, to_int
from node.session import KIND_REPLICA, Session


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
        raise CommandError(
            b"ERR WAIT cannot be used with replica instances. Please also note that writes to replicas are just local "
            b"and are not propagated."
        )
    if not is_int(args[1]):
        raise CommandError(NOT_AN_INTEGER)
    if not is_int(args[2]):
        raise CommandError(b"ERR timeout is not an integer or out of range")
    if to_int(args[2]) < 0:
        raise CommandError(b"ERR timeout is negative")
    e.replication.wait(s, args, to_int(args[1]), to_int(args[2]))


HANDLERS: dict[bytes, Handler] = {
    b"replicaof": replicaof,
    b"slaveof": replicaof,
    b"psync": psync,
    b"sync": psync,
    b"replconf": replconf,
    b"wait": wait,
}
