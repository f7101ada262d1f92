"""CLUSTER, READONLY, READWRITE, ASKING, and KVORUM TOPOLOGY by which sentinels push the slot map."""

from typing import Final

from mypy_extensions import i64

from cluster.slots import SLOTS, key_slot
from cluster.topology import Node, Shard, Topology, TopologyError, from_json, to_json
from node.engine import Engine, Handler
from node.errors import NOT_AN_INTEGER, CommandError
from node.numbers import is_int, to_int
from node.session import Session
from node.waiting import redirect_moved

DISABLED: Final = b"ERR This instance has cluster support disabled"
BUS_PORT_OFFSET: Final = 10000


def _topology(e: Engine) -> Topology:
    """The topology, empty when none was pushed yet; raises CommandError when this is no cluster node."""
    if not e.gate.active:
        raise CommandError(DISABLED)
    known = e.gate.topology
    return known if known is not None else Topology(e.settings.service_name or "none", (), ())


def _port(s: Session, node: Node) -> int:
    """The port that this client can use: the TLS port for a client that came by TLS."""
    return node.tls_port if s.conn is not None and s.conn.tls and node.tls_port else node.port


def _members(topology: Topology, shard: Shard) -> list[Node]:
    """Nodes of a shard, the primary first."""
    return [node for id in shard.members() if (node := topology.node(id)) is not None]


def info(e: Engine, s: Session, args: list[bytes]) -> None:
    """CLUSTER INFO."""
    topology = _topology(e)
    assigned = sum(last - first + 1 for shard in topology.shards for first, last in shard.slots)
    ok = assigned == SLOTS or (assigned > 0 and not e.gate.require_full_coverage)
    mine = topology.shard_of(e.gate.node_id)
    fields = [
        ("cluster_state", "ok" if ok else "fail"),
        ("cluster_slots_assigned", assigned),
        ("cluster_slots_ok", assigned),
        ("cluster_slots_pfail", 0),
        ("cluster_slots_fail", 0),
        ("cluster_known_nodes", len(topology.nodes)),
        ("cluster_size", sum(1 for shard in topology.shards if shard.slots)),
        ("cluster_current_epoch", topology.epoch),
        ("cluster_my_epoch", mine.epoch if mine else 0),
    ]
    s.reply.verbatim("".join(f"{name}:{value}\r\n" for name, value in fields).encode())


def myid(e: Engine, s: Session, args: list[bytes]) -> None:
    """CLUSTER MYID."""
    _topology(e)
    s.reply.bulk(e.gate.node_id.encode())


def myshardid(e: Engine, s: Session, args: list[bytes]) -> None:
    """CLUSTER MYSHARDID: an id made of the shard's name, the same on all its nodes."""
    shard = _topology(e).shard_of(e.gate.node_id)
    s.reply.bulk(shard_id(shard.name) if shard else e.gate.node_id.encode())


def shard_id(name: str) -> bytes:
    """40 hex digits that stand for a shard: its name in hexadecimal, padded or cut."""
    return name.encode().hex().ljust(40, "0")[:40].encode()


def keyslot(e: Engine, s: Session, args: list[bytes]) -> None:
    """CLUSTER KEYSLOT key."""
    s.reply.integer(key_slot(args[2]))


def _slot(argument: bytes) -> i64:
    if not is_int(argument):
        raise CommandError(NOT_AN_INTEGER)
    if not 0 <= to_int(argument) < SLOTS:
        raise CommandError(b"ERR Invalid slot")
    return to_int(argument)


def countkeysinslot(e: Engine, s: Session, args: list[bytes]) -> None:
    """CLUSTER COUNTKEYSINSLOT slot."""
    _topology(e)
    s.reply.integer(e.stores[0].count(_slot(args[2])))


def getkeysinslot(e: Engine, s: Session, args: list[bytes]) -> None:
    """CLUSTER GETKEYSINSLOT slot count."""
    _topology(e)
    if not is_int(args[2]) or not is_int(args[3]):
        raise CommandError(NOT_AN_INTEGER)
    if not 0 <= to_int(args[2]) < SLOTS or to_int(args[3]) < 0:
        raise CommandError(b"ERR Invalid slot or number of keys")
    s.reply.bulks(e.stores[0].keys_in(to_int(args[2]), to_int(args[3])))


def _flags(e: Engine, node: Node, shard: Shard) -> str:
    role = "master" if node.id == shard.primary else "slave"
    return f"myself,{role}" if node.id == e.gate.node_id else role


def node_line(e: Engine, s: Session, topology: Topology, node: Node) -> str:
    """One line of CLUSTER NODES, without a line break."""
    shard = topology.shard_of(node.id)
    assert shard is not None
    port = _port(s, node)
    primary = "-" if node.id == shard.primary else shard.primary
    slots = ""
    if node.id == shard.primary:
        slots = "".join(f" {first}" if first == last else f" {first}-{last}" for first, last in shard.slots)
    return (
        f"{node.id} {node.host}:{port}@{node.port + BUS_PORT_OFFSET} {_flags(e, node, shard)} {primary} 0 0 "
        f"{shard.epoch} connected{slots}"
    )


def nodes(e: Engine, s: Session, args: list[bytes]) -> None:
    """CLUSTER NODES."""
    topology = _topology(e)
    members = [node for shard in topology.shards for node in _members(topology, shard)]
    s.reply.verbatim("".join(node_line(e, s, topology, node) + "\n" for node in members).encode())


def replicas(e: Engine, s: Session, args: list[bytes]) -> None:
    """CLUSTER REPLICAS node-id (also SLAVES)."""
    topology = _topology(e)
    node = topology.node(args[2].decode("latin-1"))
    if node is None:
        raise CommandError(b"ERR Unknown node " + args[2])
    shard = topology.shard_of(node.id)
    if shard is None or shard.primary != node.id:
        raise CommandError(b"ERR The specified node is not a master")
    s.reply.bulks([node_line(e, s, topology, other).encode() for other in _members(topology, shard)[1:]])


def slots(e: Engine, s: Session, args: list[bytes]) -> None:
    """CLUSTER SLOTS: start, end, then the nodes that serve the range, the primary first."""
    topology = _topology(e)
    ranges = sorted(
        ((first, last, shard) for shard in topology.shards for first, last in shard.slots), key=lambda r: r[0]
    )
    s.reply.array(len(ranges))
    for first, last, shard in ranges:
        members = _members(topology, shard)
        s.reply.array(2 + len(members))
        s.reply.integer(first)
        s.reply.integer(last)
        for node in members:
            s.reply.array(4)
            s.reply.bulk(node.host.encode())
            s.reply.integer(_port(s, node))
            s.reply.bulk(node.id.encode())
            s.reply.array(0)


def shards(e: Engine, s: Session, args: list[bytes]) -> None:
    """CLUSTER SHARDS: a map of slots and nodes for each shard."""
    topology = _topology(e)
    s.reply.array(len(topology.shards))
    for shard in topology.shards:
        s.reply.map(2)
        s.reply.bulk(b"slots")
        s.reply.array(2 * len(shard.slots))
        for first, last in shard.slots:
            s.reply.integer(first)
            s.reply.integer(last)
        s.reply.bulk(b"nodes")
        members = _members(topology, shard)
        s.reply.array(len(members))
        for node in members:
            _shard_node(e, s, node, shard)


def _shard_node(e: Engine, s: Session, node: Node, shard: Shard) -> None:
    fields: list[tuple[bytes, bytes | int]] = [(b"id", node.id.encode()), (b"port", node.port)]
    if node.tls_port:
        fields.append((b"tls-port", node.tls_port))
    own = node.id == e.gate.node_id
    fields += [
        (b"ip", node.host.encode()),
        (b"endpoint", node.host.encode()),
        (b"role", b"master" if node.id == shard.primary else b"replica"),
        (b"replication-offset", int(e.replication.offset()) if own else 0),
        (b"health", b"loading" if own and e.replication.loading else b"online"),
    ]
    s.reply.map(len(fields))
    for name, value in fields:
        s.reply.bulk(name)
        if isinstance(value, bytes):
            s.reply.bulk(value)
        else:
            s.reply.integer(value)


def links(e: Engine, s: Session, args: list[bytes]) -> None:
    """CLUSTER LINKS: none, nodes of Kvorum have no bus between them."""
    _topology(e)
    s.reply.array(0)


def count_failure_reports(e: Engine, s: Session, args: list[bytes]) -> None:
    """CLUSTER COUNT-FAILURE-REPORTS node-id: failures are reported to sentinels, never to nodes."""
    if _topology(e).node(args[2].decode("latin-1")) is None:
        raise CommandError(b"ERR Unknown node " + args[2])
    s.reply.integer(0)


def readonly(e: Engine, s: Session, args: list[bytes]) -> None:
    """READONLY: this client reads from replicas."""
    s.readonly = True
    s.reply.ok()


def readwrite(e: Engine, s: Session, args: list[bytes]) -> None:
    """READWRITE: undo READONLY."""
    s.readonly = False
    s.reply.ok()


def asking(e: Engine, s: Session, args: list[bytes]) -> None:
    """ASKING: the next command may touch a slot that is being imported."""
    _topology(e)
    s.asking = True
    s.refresh()
    s.reply.ok()


def topology_command(e: Engine, s: Session, args: list[bytes]) -> None:
    """KVORUM TOPOLOGY GET | SET json: SET keeps what is newer, on disk before it is acted on."""
    action = args[2].lower()
    if action == b"get" and len(args) == 3:
        known = e.gate.topology
        s.reply.bulk_or_null(None if known is None else to_json(known))
        return
    if action != b"set" or len(args) != 4:
        raise CommandError(b"ERR syntax error, use KVORUM TOPOLOGY GET or KVORUM TOPOLOGY SET <json>")
    try:
        changed = e.gate.offer(from_json(args[3]))
    except TopologyError as error:
        raise CommandError(b"ERR " + str(error).encode()) from None
    if changed is None:
        raise CommandError(b"STALE the topology that this node has is as new as that or newer")
    e.keep_topology(to_json(changed))
    e.gate.adopt(changed)
    redirect_moved(e)
    s.reply.ok()


_HELP: Final = [
    b"CLUSTER <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"COUNT-FAILURE-REPORTS <node-id>",
    b"    Number of failure reports about a node that this node holds.",
    b"COUNTKEYSINSLOT <slot>",
    b"    Number of keys in a slot.",
    b"GETKEYSINSLOT <slot> <count>",
    b"    Names of keys in a slot.",
    b"INFO",
    b"    State of the cluster.",
    b"KEYSLOT <key>",
    b"    The hash slot of a key.",
    b"LINKS",
    b"    Links of the cluster bus.",
    b"MYID",
    b"    The id of this node.",
    b"MYSHARDID",
    b"    The id of this node's shard.",
    b"NODES",
    b"    The nodes as this node knows them, one a line.",
    b"REPLICAS <node-id>",
    b"    The replicas of a primary.",
    b"SHARDS",
    b"    Slots and nodes of each shard.",
    b"SLOTS",
    b"    Ranges of slots and the nodes that serve them.",
    b"HELP",
    b"    Print this help.",
]


def cluster_help(e: Engine, s: Session, args: list[bytes]) -> None:
    """CLUSTER HELP."""
    s.reply.simples(_HELP)


HANDLERS: dict[bytes, Handler] = {
    b"cluster|info": info,
    b"cluster|myid": myid,
    b"cluster|myshardid": myshardid,
    b"cluster|keyslot": keyslot,
    b"cluster|countkeysinslot": countkeysinslot,
    b"cluster|getkeysinslot": getkeysinslot,
    b"cluster|nodes": nodes,
    b"cluster|replicas": replicas,
    b"cluster|slaves": replicas,
    b"cluster|slots": slots,
    b"cluster|shards": shards,
    b"cluster|links": links,
    b"cluster|count-failure-reports": count_failure_reports,
    b"cluster|help": cluster_help,
    b"readonly": readonly,
    b"readwrite": readwrite,
    b"asking": asking,
    b"kvorum|topology": topology_command,
}
