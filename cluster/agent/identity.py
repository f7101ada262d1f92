"""What a deployment must remember between runs: node ids, ports and passwords. Kept in `state.json`, owner-only.

Pure but for the two functions given to `allocate`: one makes secrets, one says whether a port is free.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from cluster.blueprint import Blueprint, Service
from cluster.persistence import MODES, Mode

NODE_PORTS: Final = 7000
SENTINEL_PORTS: Final = 26379
LAST_PORT: Final = 65535
MAX_STATE: Final = 4 << 20


class IdentityError(Exception):
    """A state file that is unusable, or a blueprint that contradicts it; the text says what to do."""


class NodeRecord(msgspec.Struct, frozen=True):
    """A node: its name for people, its id for machines, its shard's name and its port."""

    name: str
    id: str
    shard: str
    port: int


class ServiceRecord(msgspec.Struct, frozen=True):
    """A service: the password of its external endpoint, its nodes, and the mode that `kvorum persistence` set.

    `persistence` is the name of a mode, or empty: then the blueprint or the plan says it.
    """

    name: str
    password: str
    shards: int
    nodes: tuple[NodeRecord, ...]
    persistence: str = ""


class SentinelRecord(msgspec.Struct, frozen=True):
    """A sentinel."""

    name: str
    id: str
    port: int


class Identity(msgspec.Struct, frozen=True):
    """All of it. Services that a blueprint no longer declares are kept, so that they come back as they were."""

    services: tuple[ServiceRecord, ...] = ()
    sentinels: tuple[SentinelRecord, ...] = ()
    retired_ports: tuple[int, ...] = ()
    version: int = 1

    def service(self, name: str) -> ServiceRecord | None:
        """The record of a service, or None."""
        return next((s for s in self.services if s.name == name), None)


def wanted_mode(service: Service, record: ServiceRecord | None) -> Mode:
    """The mode of persistence: the blueprint's word, else what was set on the command line, else the plan's."""
    if service.persistence is not None:
        return service.persistence
    kept = MODES.get(record.persistence) if record is not None and service.plan.disk else None
    return kept or service.plan.persistence


def with_mode(identity: Identity, service: str, mode: Mode) -> Identity:
    """The identity with the mode of a service set."""
    services = tuple(
        msgspec.structs.replace(one, persistence=mode.name) if one.name == service else one
        for one in identity.services
    )
    return msgspec.structs.replace(identity, services=services)


def to_json(identity: Identity) -> bytes:
    """The form of the state file."""
    return msgspec.json.format(msgspec.json.encode(identity), indent=2) + b"\n"


def from_json(data: bytes) -> Identity:
    """Read a state file; raises IdentityError."""
    try:
        identity = msgspec.json.decode(data[: MAX_STATE + 1], type=Identity)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise IdentityError(f"the state file is damaged ({error}); put back a copy of it, or move it away to start "
                            "with new ids, ports and passwords") from error  # fmt: skip
    if identity.version != 1:
        raise IdentityError(f"the state file has version {identity.version}, of a newer Kvorum; this one reads 1")
    return identity


class _Ports:
    """Gives ports. A known port stays with its owner for good: a sentinel may still take that address for that node."""

    def __init__(self, old: Identity, is_free: Callable[[int], bool], first: int | None) -> None:
        self._is_free = is_free
        self._first = first
        known = [node.port for service in old.services for node in service.nodes]
        self._owned = {*known, *(sentinel.port for sentinel in old.sentinels), *old.retired_ports}
        self.retired = set(old.retired_ports)

    def keep(self, port: int, start: int) -> int:
        """The port itself while it is free, else a new one."""
        if port and self._is_free(port):
            return port
        self.retired |= {port} - {0}
        return self.new(start)

    def new(self, start: int) -> int:
        """The first free port from `start` on that nobody has ever had; raises IdentityError when there is none."""
        start = self._first or start
        for port in range(start, LAST_PORT + 1):
            if port not in self._owned and self._is_free(port):
                self._owned.add(port)
                return port
        raise IdentityError(f"no port from {start} upwards is free")


def allocate(
    blueprint: Blueprint,
    old: Identity,
    secret: Callable[[int], str],
    is_free: Callable[[int], bool],
    first_port: int | None = None,
) -> Identity:
    """The identity that serves the blueprint: what is known is kept, what is new is made.

    `secret(n)` gives n random hex digits; `is_free(port)` says whether a port can be had now; `first_port` is where
    the search for new ones begins. Raises IdentityError when a service would change its number of shards.
    """
    ports = _Ports(old, is_free, first_port)
    services = {record.name: record for record in old.services}
    for service in blueprint.services:
        services[service.name] = _service(service, services.get(service.name), secret, ports)
    sentinels: list[SentinelRecord] = []
    for index in range(max(blueprint.sentinels, len(old.sentinels))):
        known = old.sentinels[index] if index < len(old.sentinels) else SentinelRecord("", secret(40), 0)
        port = ports.keep(known.port, SENTINEL_PORTS)
        sentinels.append(SentinelRecord(f"sentinel-{index + 1}", known.id, port))
    return Identity(tuple(services.values()), tuple(sentinels), tuple(sorted(ports.retired)))


def _service(service: Service, old: ServiceRecord | None, secret: Callable[[int], str], ports: _Ports) -> ServiceRecord:
    if old is not None and old.shards != service.shards:
        raise IdentityError(
            f"service '{service.name}' has {_shards(old.shards)} here, but the blueprint says {service.shards}: "
            f"keys would lie in the wrong shard. Keep 'shards: {old.shards}', give the new service another "
            "name, or start it in another data directory (--home)"
        )
    nodes: list[NodeRecord] = []
    for index in range(service.shards):
        shard = f"{service.name}-{index}"
        known = [node for node in old.nodes if node.shard == shard] if old else []
        while len(known) < 1 + service.replicas:
            known.append(NodeRecord(_free_name(shard, known), secret(40), shard, 0))
        nodes += [NodeRecord(node.name, node.id, shard, ports.keep(node.port, NODE_PORTS)) for node in known]
    password = old.password if old else secret(40)
    chosen = old.persistence if old and service.persistence is None and service.plan.disk else ""
    return ServiceRecord(service.name, password, service.shards, tuple(nodes), chosen)


def _shards(count: int) -> str:
    return "1 shard" if count == 1 else f"{count} shards"


def _free_name(shard: str, nodes: Iterable[NodeRecord]) -> str:
    taken = {node.name for node in nodes}
    number = 1
    while f"{shard}-{number}" in taken:
        number += 1
    return f"{shard}-{number}"
