"""What is asked about shards, by clients, operators, other sentinels (SENTINEL …) and our own processes (KVORUM …).

Whatever a handler decides is durable when it writes its reply, because `Engine.apply` has recorded it by then.
"""

from __future__ import annotations

import ipaddress
from typing import Final

from cluster.options import OptionError, glob
from cluster.topology import TopologyError, from_json, to_json
from sentinel import answers, events
from sentinel.choose import choose
from sentinel.hello import MAX_EPOCH
from sentinel.quorum import usable, voters, votes_needed
from sentinel.rows import HELP
from sentinel.session import CommandError, Handler, Server, Session, text
from sentinel.settings import number, quorum_of, with_option
from sentinel.state import Address, Rules, Shard, Stage, describe

_UNKNOWN_NAME: Final = "ERR No such master with that name"


def _integer(word: bytes) -> int:
    try:
        return number(text(word), -(2**62), 2**62)
    except OptionError:
        raise CommandError("ERR value is not an integer or out of range") from None


def _shard(server: Server, name: bytes) -> Shard:
    shard = server.engine.shards.get(text(name))
    if shard is None:
        raise CommandError(_UNKNOWN_NAME)
    return shard


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
    shard = server.engine.shards.get(text(args[2]))
    if shard is None:
        session.writer.null_array()
    else:
        session.writer.bulks([shard.primary.host.encode(), str(shard.primary.port).encode()])


def _is_down(server: Server, session: Session, args: list[bytes]) -> None:
    port, epoch = _integer(args[3]), _integer(args[4])
    address = Address(text(args[2]), port)
    shard = next((s for s in server.engine.shards.values() if s.primary == address), None)
    down, leader, leader_epoch = 0, "*", 0
    if shard is not None:
        candidate = text(args[5])
        down = int(shard.primary_node.down_since is not None)
        if candidate != "*" and epoch <= MAX_EPOCH:
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
    problem = f"NOQUORUM {here} usable Sentinels. "
    if here < shard.rules.quorum:
        problem += "Not enough available Sentinels to reach the specified quorum for this master"
    if here < voters(shard) // 2 + 1:
        problem += ". " if here < shard.rules.quorum else ""
        problem += "Not enough available Sentinels to reach the majority and authorize a failover"
    raise CommandError(problem)


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
    name, host = text(args[2]), text(args[3])
    try:
        port = number(text(args[4]), 1, 65535)
    except OptionError:
        raise CommandError("ERR Invalid port") from None
    try:
        quorum = quorum_of(text(args[5]))
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
        raise CommandError(f"ERR Unknown option or number of arguments for SENTINEL SET '{text(args[-1])}'")
    rules, changes = shard.rules, []
    for option, value in zip(args[3::2], args[4::2], strict=True):
        name = text(option)
        try:
            changed = with_option(rules, name, text(value))
        except OptionError:
            raise CommandError(f"ERR Invalid argument '{text(value)}' for SENTINEL SET '{name}'") from None
        if changed is None:
            raise CommandError(f"ERR Unknown option or number of arguments for SENTINEL SET '{name}'")
        rules = changed
        changes.append((name.lower(), "******" if name.lower() == "auth-pass" else text(value)))
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
        topology = server.engine.topologies.get(text(args[3]))
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
    if not server.engine.process_dead(text(args[2])):
        raise CommandError("ERR unknown node id")
    session.writer.ok()


HANDLERS: Final[dict[bytes, Handler]] = {
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
