"""From a blueprint to processes: which ones, where, with which configuration. Pure.

Every process has a folder and a configuration file in it; secrets are in these files alone, never in an argument.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cluster import plans
from cluster.agent.home import Home
from cluster.agent.identity import Identity, NodeRecord, SentinelRecord, ServiceRecord, wanted_mode
from cluster.blueprint import Blueprint, Service
from cluster.options import quote
from cluster.persistence import Mode, directives
from cluster.tls import Certificates
from cluster.topology import Node, Shard, Topology, even_slots, to_json, with_primary

HOST: Final = "127.0.0.1"
INTERNAL_PORT: Final = 6379
EXTERNAL_PORT: Final = 6380

DOWN_AFTER_MS: Final = 5_000
"""Silence of a node before a sentinel suspects it. A process that ends is known at once, by the agent."""
FAILOVER_TIMEOUT_MS: Final = 15_000
IDLE_SECONDS: Final = 300


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a service is reached: internal without TLS, external (0: closed) with TLS and the password."""

    service: str
    port: int
    external_port: int
    password: str = field(repr=False)

    @property
    def internal_url(self) -> str:
        """The URL for clients on this host."""
        return f"redis://localhost:{self.port}"

    @property
    def external_url(self) -> str | None:
        """The URL for clients on the allowlist, or None while that is empty."""
        return f"rediss://default:{self.password}@localhost:{self.external_port}" if self.external_port else None


@dataclass(frozen=True, slots=True)
class Process:
    """One process: `kind` (node, sentinel, proxy) is also the module that is run; `files` lie in `folder`."""

    name: str
    kind: str
    folder: Path
    files: Mapping[str, bytes] = field(repr=False)
    host: str
    port: int
    service: str = ""
    node: str = ""

    @property
    def config(self) -> Path:
        """Its configuration file."""
        return self.folder / f"{self.kind}.conf"


@dataclass(frozen=True, slots=True)
class Deployment:
    """All processes of a blueprint, and what they agree on at first."""

    processes: tuple[Process, ...]
    topologies: Mapping[str, Topology]
    endpoints: tuple[Endpoint, ...]

    def of_kind(self, kind: str) -> tuple[Process, ...]:
        """The processes of one kind."""
        return tuple(process for process in self.processes if process.kind == kind)


def endpoints(blueprint: Blueprint, identity: Identity) -> tuple[Endpoint, ...]:
    """The endpoints of all services. Ports that are left open go in pairs: 6379 and 6380, 6381 and 6382 …"""
    given = {port for service in blueprint.services for port in (service.port, service.external_port) if port}
    found: list[Endpoint] = []
    for service in blueprint.services:
        port = service.port or _next(INTERNAL_PORT, given)
        given.add(port)
        external = service.external_port or _next(EXTERNAL_PORT, given)
        if service.allow:
            given.add(external)
        record = identity.service(service.name)
        found.append(Endpoint(service.name, port, external if service.allow else 0, record.password if record else ""))
    return tuple(found)


def _next(port: int, given: set[int]) -> int:
    while port in given:
        port += 2
    return port


def topology_of(service: Service, record: ServiceRecord, known: Topology | None) -> Topology:
    """The topology to start with: that of the last run with today's addresses and members, or the first one.

    A shard whose members or addresses changed gets a new epoch, so that all who hold the old record take it.
    """
    shards: list[Shard] = []
    nodes: list[Node] = []
    for index, slots in enumerate(even_slots(service.shards)):
        name = f"{service.name}-{index}"
        records = [node for node in record.nodes if node.shard == name]
        old = known.shard(name) if known else None
        members = _members(service, records, old)
        mine = tuple(_node(node) for node in records if node.id in members)
        if old is None or known is None:
            shards.append(Shard(name, 1, members[0], members[1:], (slots,)))
        elif members == old.members() and set(mine) == {n for n in known.nodes if n.shard == name}:
            shards.append(old)
        else:
            shards.append(Shard(name, old.epoch + 1, members[0], members[1:], old.slots))
        nodes += mine
    return Topology(service.name, tuple(shards), tuple(nodes))


def _members(service: Service, records: list[NodeRecord], old: Shard | None) -> tuple[str, ...]:
    """Ids, the primary first: old members that still have a record, then new ones, as many as the blueprint wants."""
    ids = [record.id for record in records]
    kept = [member for member in old.members() if member in ids] if old else []
    return tuple(kept + [one for one in ids if one not in kept])[: 1 + service.replicas]


def _node(record: NodeRecord) -> Node:
    return Node(record.id, HOST, record.port, record.shard)


def led_by_data(topology: Topology, holding: Collection[str]) -> Topology:
    """The topology in which no shard starts under a node that has nothing while another one of it is in `holding`.

    `holding` has the ids of the nodes with data on disk. An empty primary would have its replicas throw theirs away.
    """
    for shard in topology.shards:
        heirs = [member for member in shard.replicas if member in holding]
        if heirs and shard.primary not in holding:
            topology = with_primary(topology, shard.name, heirs[0], shard.epoch + 1)
    return topology


def lay_out(
    blueprint: Blueprint,
    identity: Identity,
    topologies: Mapping[str, Topology],
    home: Home,
    certificates: Certificates,
    addresses: tuple[str, ...],
    modes: Mapping[str, Mode] | None = None,
) -> Deployment:
    """All processes of the blueprint. `addresses` are those of the loopback that this machine has; `modes` has the
    modes of persistence, by node id, of nodes that must start in another one than is wanted.
    """
    ends = endpoints(blueprint, identity)
    processes: list[Process] = []
    for service in blueprint.services:
        processes += _nodes(service, identity, topologies[service.name], home, modes or {})
    for index in range(blueprint.sentinels):
        processes.append(_sentinel(index, blueprint, identity, topologies, home))
    for service, end in zip(blueprint.services, ends, strict=True):
        processes.append(_proxy(service, end, identity.sentinels[: blueprint.sentinels], home, certificates, addresses))
    return Deployment(tuple(processes), dict(topologies), ends)


def _lines(*lines: tuple[object, ...]) -> bytes:
    """A configuration file of these lines, quoted where needed."""
    return b"".join(b" ".join(quote(str(word).encode()) for word in line) + b"\n" for line in lines)


def _nodes(
    service: Service, identity: Identity, topology: Topology, home: Home, modes: Mapping[str, Mode]
) -> list[Process]:
    record = identity.service(service.name)
    assert record is not None
    wanted = wanted_mode(service, record)
    found: list[Process] = []
    for node in record.nodes:
        if topology.node(node.id) is None:
            continue
        folder = home.process("node", node.name)
        config = _lines(
            ("port", node.port),
            ("bind", HOST),
            ("dir", folder),
            ("node-id", node.id),
            ("service-name", service.name),
            ("cluster-enabled", "yes" if service.shards > 1 else "no"),
            ("cluster-config-file", "nodes.conf"),
            ("maxmemory", plans.node_memory(service.plan, service.shards)),
            ("maxmemory-policy", service.policy),
            ("maxclients", plans.node_clients(service.plan)),
            ("repl-diskless-sync-delay", 0),  # a backup begins on all shards within one short pause
            *directives(modes.get(node.id, wanted)),
        )
        files = {"node.conf": config, "nodes.conf": to_json(topology)}
        found.append(Process(node.name, "node", folder, files, HOST, node.port, service.name, node.id))
    return found


def _sentinel(
    index: int, blueprint: Blueprint, identity: Identity, topologies: Mapping[str, Topology], home: Home
) -> Process:
    peers = identity.sentinels[: blueprint.sentinels]
    me = peers[index]
    folder = home.process("sentinel", me.name)
    quorum = len(peers) // 2 + 1
    lines: list[tuple[object, ...]] = [("port", me.port), ("bind", HOST), ("dir", folder), ("sentinel", "myid", me.id)]
    for service in blueprint.services:
        lines.append(("topology-file", home.topology(service.name)))
        topology = topologies[service.name]
        for shard in topology.shards:
            primary = topology.node(shard.primary)
            assert primary is not None
            lines.append(("sentinel", "monitor", shard.name, primary.host, primary.port, quorum))
            lines.append(("sentinel", "down-after-milliseconds", shard.name, DOWN_AFTER_MS))
            lines.append(("sentinel", "failover-timeout", shard.name, FAILOVER_TIMEOUT_MS))
            for node in (topology.node(replica) for replica in shard.replicas):
                assert node is not None
                lines.append(("sentinel", "known-replica", shard.name, node.host, node.port))
            for peer in peers:
                if peer != me:
                    lines.append(("sentinel", "known-sentinel", shard.name, HOST, peer.port, peer.id))
    return Process(me.name, "sentinel", folder, {"sentinel.conf": _lines(*lines)}, HOST, me.port)


def _proxy(
    service: Service,
    end: Endpoint,
    sentinels: tuple[SentinelRecord, ...],
    home: Home,
    certificates: Certificates,
    addresses: tuple[str, ...],
) -> Process:
    name = f"{service.name}-proxy"
    folder = home.process("proxy", name)
    lines: list[tuple[object, ...]] = [
        ("service", service.name),
        ("bind", *addresses),
        ("port", end.port),
        ("topology-file", home.topology(service.name)),
        ("internal-auth", "no"),
        ("requirepass", end.password),
        ("maxclients", service.plan.clients),
        ("timeout", IDLE_SECONDS),
    ]
    lines += [("sentinel", HOST, sentinel.port) for sentinel in sentinels]
    if end.external_port:
        lines += [
            ("tls-port", end.external_port),
            ("tls-bind", *external_addresses(service, addresses)),
            ("tls-cert-file", certificates.certificate),
            ("tls-key-file", certificates.key),
        ]
        lines += [("allow", allowed.source, allowed.description) for allowed in service.allow]
    return Process(name, "proxy", folder, {"proxy.conf": _lines(*lines)}, HOST, end.port, service.name)


def external_addresses(service: Service, addresses: tuple[str, ...]) -> tuple[str, ...]:
    """Where the external endpoint listens: on the loopback when nobody else is allowed, else on every address."""
    if all(ipaddress.ip_network(allowed.source).is_loopback for allowed in service.allow):
        return addresses
    return ("*", "-::")
