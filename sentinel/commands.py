"""What clients and peers may ask of a sentinel; the texts of errors are the genuine ones.

Handlers are plain functions `(server, session, args)` that write the reply and return. Whatever they decide is durable
when they write, because `Engine.apply` has recorded it by then.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import time
from collections.abc import Callable, Iterable
from typing import Final, Protocol

import psutil

from cluster.catalog.model import Command
from cluster.catalog.render import render_docs, render_info
from cluster.options import OptionError, glob
from cluster.topology import TopologyError, from_json, to_json
from cluster.version import KVORUM_VERSION, REDIS_VERSION, VALKEY_VERSION
from sentinel import answers, events
from sentinel.choose import choose
from sentinel.engine import Engine
from sentinel.hello import CHANNEL
from sentinel.quorum import usable, voters, votes_needed
from sentinel.rows import COMMANDS, HELP
from sentinel.session import Session
from sentinel.settings import number, quorum_of, with_option
from sentinel.state import Address, Rules, Shard, Stage, describe

_UNKNOWN_NAME: Final = "ERR No such master with that name"


class Server(Protocol):
    """What commands need of the server."""

    engine: Engine
    sessions: dict[int, Session]
    started: float
    connections_received: int
    commands_processed: int

    def stop(self) -> None:
        """End the process in an orderly way."""


class CommandError(Exception):
    """The command is refused; the text, code included, is the reply."""


Handler = Callable[[Server, Session, list[bytes]], None]


def execute(server: Server, session: Session, args: list[bytes]) -> None:
    """Run one request and write its reply."""
    try:
        row, handler = _find(args)
        session.last_command = row.text
        if not session.trusted and row.name not in (b"auth", b"hello"):
            raise CommandError("NOAUTH Authentication required.")
        if session.subscriptions and not session.writer.resp3 and row.name not in _IN_SUBSCRIPTION:
            raise CommandError(
                f"ERR Can't execute '{row.text}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET "
                "are allowed in this context"
            )
        handler(server, session, args)
    except CommandError as error:
        session.writer.error(str(error).encode())


def _find(args: list[bytes]) -> tuple[Command, Handler]:
    row = COMMANDS.get(args[0].lower())
    if row is None:
        rest = ""
        for arg in args[1:]:
            if len(rest) >= 128:
                break
            rest += f"'{_text(arg[: 128 - len(rest)])}' "
        raise CommandError(f"ERR unknown command '{_text(args[0][:128])}', with args beginning with: {rest}")
    if row.subcommands and len(args) > 1:
        sub = row.subcommands.get(args[1].lower())
        if sub is None:
            shown = _text(args[1][:128])
            raise CommandError(f"ERR unknown subcommand '{shown}'. Try {row.text.upper()} HELP.")
        row = sub
    if (len(args) != row.arity) if row.arity > 0 else (len(args) < -row.arity):
        raise CommandError(f"ERR wrong number of arguments for '{row.text}' command")
    return row, HANDLERS[row.name]


def _text(word: bytes) -> str:
    return word.decode("utf-8", "replace")


def _integer(word: bytes) -> int:
    try:
        return number(_text(word), -(2**62), 2**62)
    except OptionError:
        raise CommandError("ERR value is not an integer or out of range") from None


def _shard(server: Server, name: bytes) -> Shard:
    shard = server.engine.shards.get(_text(name))
    if shard is None:
        raise CommandError(_UNKNOWN_NAME)
    return shard


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
                raise CommandError(f"ERR Syntax error in HELLO option '{_text(args[i])}'")
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
        raise CommandError(f"ERR Unrecognized option '{_text(args[2])}'")
    if any(c < 33 or c > 126 for c in args[3]):
        raise CommandError(f"ERR {_text(key)} cannot contain spaces, newlines or special characters.")
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
            session.writer.null_array()
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
    wanted = {_text(a).lower() for a in args[1:]} or {"default"}
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


# --- SENTINEL
def _write_fields(session: Session, fields: answers.Fields) -> None:
    session.writer.map(len(fields))
    for key, value in fields:
        session.writer.bulk(key.encode())
        session.writer.bulk(value.encode())


def _masters(server: Server, session: Session, args: list[bytes]) -> None:
    now = server.engine.now()
    session.writer.array(len(server.engine.shards))
    for shard in server.engine.shards.values():
        _write_fields(session, answers.primary_fields(shard, now))


def _master(server: Server, session: Session, args: list[bytes]) -> None:
    _write_fields(session, answers.primary_fields(_shard(server, args[2]), server.engine.now()))


def _replicas(server: Server, session: Session, args: list[bytes]) -> None:
    shard = _shard(server, args[2])
    announced = [n for n in shard.replicas if n.info is None or n.info.announced]
    session.writer.array(len(announced))
    for node in announced:
        _write_fields(session, answers.replica_fields(shard, node, server.engine.now()))


def _sentinels(server: Server, session: Session, args: list[bytes]) -> None:
    shard = _shard(server, args[2])
    session.writer.array(len(shard.peers))
    for peer in shard.peers.values():
        _write_fields(session, answers.peer_fields(shard, peer, server.engine.now()))


def _get_address(server: Server, session: Session, args: list[bytes]) -> None:
    shard = server.engine.shards.get(_text(args[2]))
    if shard is None:
        session.writer.null_array()
    else:
        session.writer.bulks([shard.primary.host.encode(), str(shard.primary.port).encode()])


def _is_down(server: Server, session: Session, args: list[bytes]) -> None:
    port, epoch = _integer(args[3]), _integer(args[4])
    address = Address(_text(args[2]), port)
    shard = next((s for s in server.engine.shards.values() if s.primary == address), None)
    down, leader, leader_epoch = 0, "*", 0
    if shard is not None:
        candidate = _text(args[5])
        down = int(shard.primary_node.down_since is not None)
        if candidate != "*":
            server.engine.apply(shard.name, events.VoteRequested(candidate[:40], epoch))
            shard = server.engine.shards[shard.name]
            leader, leader_epoch = shard.leader, shard.leader_epoch
    session.writer.array(3)
    session.writer.integer(down)
    session.writer.bulk(leader.encode())
    session.writer.integer(leader_epoch)


def _ckquorum(server: Server, session: Session, args: list[bytes]) -> None:
    shard = _shard(server, args[2])
    here = usable(shard)
    if here >= votes_needed(shard):
        reached = f"OK {here} usable Sentinels. Quorum and failover authorization can be reached"
        session.writer.simple(reached.encode())
        return
    text = f"NOQUORUM {here} usable Sentinels. "
    if here < shard.rules.quorum:
        text += "Not enough available Sentinels to reach the specified quorum for this master"
    if here < voters(shard) // 2 + 1:
        text += ". " if here < shard.rules.quorum else ""
        text += "Not enough available Sentinels to reach the majority and authorize a failover"
    raise CommandError(text)


def _failover(server: Server, session: Session, args: list[bytes]) -> None:
    shard = _shard(server, args[2])
    if shard.stage not in (Stage.NONE, Stage.RECONF):
        raise CommandError("INPROG Failover already in progress")
    if choose(shard, server.engine.now()) is None:
        raise CommandError("NOGOODSLAVE No suitable replica to promote")
    server.engine.apply(shard.name, events.FailoverOrdered())
    session.writer.ok()


def _myid(server: Server, session: Session, args: list[bytes]) -> None:
    session.writer.bulk(server.engine.me.encode())


def _monitor(server: Server, session: Session, args: list[bytes]) -> None:
    name, host = _text(args[2]), _text(args[3])
    try:
        port = number(_text(args[4]), 1, 65535)
    except OptionError:
        raise CommandError("ERR Invalid port") from None
    try:
        quorum = quorum_of(_text(args[5]))
    except OptionError as error:
        raise CommandError(f"ERR {error.reason}") from None
    if name in server.engine.shards:
        raise CommandError("ERR Duplicate master name.")
    if not _is_ip(host):
        raise CommandError("ERR Invalid IP address or hostname specified")
    if not name or len(name) > 128 or any(c in name for c in " ,\r\n"):
        raise CommandError("ERR Invalid master name")
    server.engine.monitor(name, Address(host, port), Rules(quorum=quorum))
    session.writer.ok()


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _remove(server: Server, session: Session, args: list[bytes]) -> None:
    server.engine.remove(_shard(server, args[2]).name)
    session.writer.ok()


def _reset(server: Server, session: Session, args: list[bytes]) -> None:
    wanted = glob(args[2])
    names = [name for name in server.engine.shards if wanted.fullmatch(name.encode())]
    for name in names:
        server.engine.apply(name, events.ResetOrdered())
    session.writer.integer(len(names))


def _set(server: Server, session: Session, args: list[bytes]) -> None:
    shard = _shard(server, args[2])
    if len(args) % 2 == 0:
        raise CommandError(f"ERR Unknown option or number of arguments for SENTINEL SET '{_text(args[-1])}'")
    rules, changes = shard.rules, []
    for option, value in zip(args[3::2], args[4::2], strict=True):
        name = _text(option)
        try:
            changed = with_option(rules, name, _text(value))
        except OptionError:
            raise CommandError(f"ERR Invalid argument '{_text(value)}' for SENTINEL SET '{name}'") from None
        if changed is None:
            raise CommandError(f"ERR Unknown option or number of arguments for SENTINEL SET '{name}'")
        rules = changed
        changes.append((name.lower(), "******" if name.lower() == "auth-pass" else _text(value)))
    server.engine.apply(shard.name, events.RulesSet(rules))
    for name, shown in changes:
        server.engine.emit("+set", f"{describe(shard, shard.primary)} {name} {shown}")
    session.writer.ok()


def _flushconfig(server: Server, session: Session, args: list[bytes]) -> None:
    server.engine.flush()
    session.writer.ok()


def _help(server: Server, session: Session, args: list[bytes]) -> None:
    session.writer.array(len(HELP))
    for line in HELP:
        session.writer.simple(line.encode())


# --- KVORUM
def _topology(server: Server, session: Session, args: list[bytes]) -> None:
    word = args[2].lower()
    if word == b"get" and len(args) == 3:
        session.writer.bulks([to_json(t) for t in server.engine.topologies.values()])
    elif word == b"get" and len(args) == 4:
        topology = server.engine.topologies.get(_text(args[3]))
        session.writer.bulk_or_null(to_json(topology) if topology is not None else None)
    elif word == b"set" and len(args) == 4:
        try:
            newer = server.engine.set_topology(from_json(args[3]))
        except TopologyError as error:
            raise CommandError(f"ERR {error}") from None
        if not newer:
            raise CommandError("STALE nothing in this topology is newer than what is known here")
        session.writer.ok()
    else:
        raise CommandError("ERR syntax error")


def _process_dead(server: Server, session: Session, args: list[bytes]) -> None:
    if not server.engine.process_dead(_text(args[2])):
        raise CommandError("ERR unknown node id")
    session.writer.ok()


_IN_SUBSCRIPTION: Final = frozenset((b"ping", b"subscribe", b"psubscribe", b"unsubscribe", b"punsubscribe"))

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
    b"sentinel|ckquorum": _ckquorum,
    b"sentinel|failover": _failover,
    b"sentinel|flushconfig": _flushconfig,
    b"sentinel|get-master-addr-by-name": _get_address,
    b"sentinel|get-primary-addr-by-name": _get_address,
    b"sentinel|help": _help,
    b"sentinel|is-master-down-by-addr": _is_down,
    b"sentinel|is-primary-down-by-addr": _is_down,
    b"sentinel|master": _master,
    b"sentinel|primary": _master,
    b"sentinel|masters": _masters,
    b"sentinel|primaries": _masters,
    b"sentinel|monitor": _monitor,
    b"sentinel|myid": _myid,
    b"sentinel|remove": _remove,
    b"sentinel|replicas": _replicas,
    b"sentinel|slaves": _replicas,
    b"sentinel|reset": _reset,
    b"sentinel|sentinels": _sentinels,
    b"sentinel|set": _set,
    b"kvorum|topology": _topology,
    b"kvorum|process-dead": _process_dead,
}
