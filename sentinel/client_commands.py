"""What any client may ask about its connection and the process, and pub/sub; the texts of errors are the genuine
ones.
"""

from __future__ import annotations

import hmac
import os
import time
from collections.abc import Callable, Iterable
from typing import Final

import psutil

from cluster.catalog.model import Command
from cluster.catalog.render import render_docs, render_info
from cluster.version import KVORUM_VERSION, REDIS_VERSION, VALKEY_VERSION
from sentinel import answers
from sentinel.hello import CHANNEL
from sentinel.rows import COMMANDS
from sentinel.session import CommandError, Handler, Server, Session, text


# --- the connection
def _ping(server: Server, session: Session, args: list[bytes]) -> None:
    writer = session.writer
    if len(args) > 2:
        raise CommandError("ERR wrong number of arguments for 'ping' command")
    message = args[1] if len(args) == 2 else None
    if session.subscriptions and not writer.resp3:
        writer.bulks([b"pong", message or b""])
    elif message is None:
        writer.simple(b"PONG")
    else:
        writer.bulk(message)


def _check_login(server: Server, user: bytes, password: bytes) -> bool:
    wanted = server.engine.settings.requirepass.encode()
    return user == b"default" and (not wanted or hmac.compare_digest(password, wanted))


def _auth(server: Server, session: Session, args: list[bytes]) -> None:
    if len(args) > 3:
        raise CommandError("ERR syntax error")
    if len(args) == 2 and not server.engine.settings.requirepass:
        raise CommandError(
            "ERR AUTH <password> called without any password configured for the default user. "
            "Are you sure your configuration is correct?"
        )
    user, password = (args[1], args[2]) if len(args) == 3 else (b"default", args[1])
    _log_in(server, session, user, password)
    session.writer.ok()


def _log_in(server: Server, session: Session, user: bytes, password: bytes) -> None:
    if not _check_login(server, user, password):
        raise CommandError("WRONGPASS invalid username-password pair or user is disabled.")
    session.trusted = True


def _hello(server: Server, session: Session, args: list[bytes]) -> None:
    protocol = 3 if session.writer.resp3 else 2
    name: bytes | None = None
    if len(args) > 1:
        if args[1] not in (b"2", b"3"):
            if not args[1].isdigit():
                raise CommandError("ERR Protocol version is not an integer or out of range")
            raise CommandError("NOPROTO unsupported protocol version")
        protocol = int(args[1])
        i = 2
        while i < len(args):
            word = args[i].lower()
            if word == b"auth" and i + 2 < len(args):
                _log_in(server, session, args[i + 1], args[i + 2])
                i += 3
            elif word == b"setname" and i + 1 < len(args):
                name = _checked_name(args[i + 1])
                i += 2
            else:
                raise CommandError(f"ERR Syntax error in HELLO option '{text(args[i])}'")
    if not session.trusted:
        raise CommandError(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH "
            "<user> <pass> option can be used to authenticate the client and select the RESP protocol version at the "
            "same time"
        )
    session.name = session.name if name is None else name
    _write_hello(session, protocol)


def _write_hello(session: Session, protocol: int) -> None:
    writer = session.writer
    writer.resp3 = protocol == 3
    writer.map(6)
    for key, value in (("server", "valkey"), ("version", VALKEY_VERSION)):
        writer.bulk(key.encode())
        writer.bulk(value.encode())
    for key, count in (("proto", protocol), ("id", session.id)):
        writer.bulk(key.encode())
        writer.integer(count)
    writer.bulk(b"mode")
    writer.bulk(b"sentinel")
    writer.bulk(b"modules")
    writer.array(0)


def _checked_name(name: bytes) -> bytes:
    if any(c < 33 or c > 126 for c in name):
        raise CommandError("ERR Client names cannot contain spaces, newlines or special characters.")
    return name


def _client_setname(server: Server, session: Session, args: list[bytes]) -> None:
    session.name = _checked_name(args[2])
    session.writer.ok()


def _client_setinfo(server: Server, session: Session, args: list[bytes]) -> None:
    key = args[2].lower()
    if key not in session.library:
        raise CommandError(f"ERR Unrecognized option '{text(args[2])}'")
    if any(c < 33 or c > 126 for c in args[3]):
        raise CommandError(f"ERR {text(key)} cannot contain spaces, newlines or special characters.")
    session.library[key] = args[3]
    session.writer.ok()


def _client_getname(server: Server, session: Session, args: list[bytes]) -> None:
    session.writer.bulk_or_null(session.name or None)


def _client_id(server: Server, session: Session, args: list[bytes]) -> None:
    session.writer.integer(session.id)


def _client_info(server: Server, session: Session, args: list[bytes]) -> None:
    session.writer.verbatim(session.describe(server.engine.now()).encode() + b"\n")


def _client_list(server: Server, session: Session, args: list[bytes]) -> None:
    if len(args) > 2:
        raise CommandError("ERR syntax error")
    now = server.engine.now()
    lines = [s.describe(now) for s in server.sessions.values()]
    session.writer.verbatim("".join(f"{line}\n" for line in lines).encode())


def _command(server: Server, session: Session, args: list[bytes]) -> None:
    _write_rows(session, list(COMMANDS.values()))


def _write_rows(session: Session, rows: list[Command | None]) -> None:
    session.writer.array(len(rows))
    for row in rows:
        if row is None:
            session.writer.null()
        else:
            session.writer.raw(render_info(row, session.writer.resp3))


def _rows(names: Iterable[bytes]) -> list[Command | None]:
    found: list[Command | None] = []
    for name in names:
        container, _, sub = name.lower().partition(b"|")
        row = COMMANDS.get(container)
        found.append(row.subcommands.get(sub) if row is not None and sub else row)
    return found


def _command_count(server: Server, session: Session, args: list[bytes]) -> None:
    session.writer.integer(len(COMMANDS))


def _command_info(server: Server, session: Session, args: list[bytes]) -> None:
    _write_rows(session, _rows(args[2:]) if len(args) > 2 else list(COMMANDS.values()))


def _command_docs(server: Server, session: Session, args: list[bytes]) -> None:
    rows = [r for r in (_rows(args[2:]) if len(args) > 2 else COMMANDS.values()) if r is not None]
    session.writer.map(len(rows))
    for row in rows:
        session.writer.raw(render_docs(row, session.writer.resp3))


def _command_list(server: Server, session: Session, args: list[bytes]) -> None:
    if len(args) > 2:
        raise CommandError("ERR syntax error")
    session.writer.bulks([n.name for row in COMMANDS.values() for n in (row, *row.subcommands.values())])


# --- the process
def _info(server: Server, session: Session, args: list[bytes]) -> None:
    wanted = {text(a).lower() for a in args[1:]} or {"default"}
    everything = bool(wanted & {"default", "all", "everything"})
    sections = [
        f"# {title}\r\n{write(server)}" for title, write in _INFO_SECTIONS if everything or title.lower() in wanted
    ]
    session.writer.verbatim("\r\n".join(sections).encode())


def _lines(**fields: object) -> str:
    return "".join(f"{k}:{v}\r\n" for k, v in fields.items())


def _info_server(server: Server) -> str:
    uptime = int(server.engine.now() - server.started)
    return _lines(
        redis_version=REDIS_VERSION,
        server_name="valkey",
        valkey_version=VALKEY_VERSION,
        kvorum_version=KVORUM_VERSION,
        server_mode="sentinel",
        os=f"{os.uname().sysname} {os.uname().release} {os.uname().machine}",
        process_id=os.getpid(),
        run_id=server.engine.me,
        tcp_port=server.engine.port,
        server_time_usec=time.time_ns() // 1000,
        uptime_in_seconds=uptime,
        uptime_in_days=uptime // 86400,
    )


def _info_clients(server: Server) -> str:
    listening = sum(1 for s in server.sessions.values() if s.subscriptions)
    return _lines(
        connected_clients=len(server.sessions),
        maxclients=server.engine.settings.maxclients,
        pubsub_clients=listening,
    )


def _info_stats(server: Server) -> str:
    return _lines(
        total_connections_received=server.connections_received,
        total_commands_processed=server.commands_processed,
        pubsub_channels=len({c for s in server.sessions.values() for c in s.channels}),
        pubsub_patterns=len({p for s in server.sessions.values() for p in s.patterns}),
    )


def _info_cpu(server: Server) -> str:
    times = psutil.Process().cpu_times()
    return _lines(used_cpu_sys=f"{times.system:.6f}", used_cpu_user=f"{times.user:.6f}")


_INFO_SECTIONS: Final[tuple[tuple[str, Callable[[Server], str]], ...]] = (
    ("Server", _info_server),
    ("Clients", _info_clients),
    ("Stats", _info_stats),
    ("CPU", _info_cpu),
    ("Sentinel", lambda server: answers.info_section(server.engine.shards.values())),
)


def _role(server: Server, session: Session, args: list[bytes]) -> None:
    session.writer.array(2)
    session.writer.bulk(b"sentinel")
    session.writer.bulks([name.encode() for name in server.engine.shards])


def _shutdown(server: Server, session: Session, args: list[bytes]) -> None:
    if any(a.lower() not in (b"save", b"nosave", b"now", b"force") for a in args[1:]):
        raise CommandError("ERR syntax error")
    session.closing = True
    server.stop()


# --- pub/sub
def _publish(server: Server, session: Session, args: list[bytes]) -> None:
    if args[1] != CHANNEL.encode():
        raise CommandError("ERR Only HELLO messages are accepted by Sentinel instances.")
    server.engine.heard(args[2])
    session.writer.integer(1)


def _subscribe(server: Server, session: Session, args: list[bytes]) -> None:
    for channel in args[1:]:
        session.subscribe(channel)
        session.confirm(b"subscribe", channel)


def _psubscribe(server: Server, session: Session, args: list[bytes]) -> None:
    for pattern in args[1:]:
        session.psubscribe(pattern)
        session.confirm(b"psubscribe", pattern)


def _unsubscribe(server: Server, session: Session, args: list[bytes]) -> None:
    channels: list[bytes | None] = [*(args[1:] or session.channels)]
    for channel in channels or [None]:
        if channel is not None:
            session.channels.pop(channel, None)
        session.confirm(b"unsubscribe", channel)


def _punsubscribe(server: Server, session: Session, args: list[bytes]) -> None:
    patterns: list[bytes | None] = [*(args[1:] or session.patterns)]
    for pattern in patterns or [None]:
        if pattern is not None:
            session.patterns.pop(pattern, None)
        session.confirm(b"punsubscribe", pattern)


HANDLERS: Final[dict[bytes, Handler]] = {
    b"auth": _auth,
    b"hello": _hello,
    b"ping": _ping,
    b"client|id": _client_id,
    b"client|info": _client_info,
    b"client|list": _client_list,
    b"client|getname": _client_getname,
    b"client|setname": _client_setname,
    b"client|setinfo": _client_setinfo,
    b"command": _command,
    b"command|count": _command_count,
    b"command|docs": _command_docs,
    b"command|info": _command_info,
    b"command|list": _command_list,
    b"info": _info,
    b"role": _role,
    b"shutdown": _shutdown,
    b"publish": _publish,
    b"subscribe": _subscribe,
    b"psubscribe": _psubscribe,
    b"unsubscribe": _unsubscribe,
    b"punsubscribe": _punsubscribe,
}
