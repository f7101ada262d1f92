"""Everything before the first process: identity, ports, certificates, the topology to start with, all files."""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cluster import tls
from cluster.agent import identity, layout, ports
from cluster.agent.home import Home
from cluster.blueprint import Blueprint, Service
from cluster.files import write_file
from cluster.persistence import AOF, RDB, Mode, read_mode, starting_mode
from cluster.tls import Certificates
from cluster.topology import MAX_JSON, Topology, TopologyError, from_json, merge, to_json


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is ready to be started. `modes` has what each service keeps on disk, by its name; `switching` the names of
    the nodes that start in another mode, since their files were written in that.
    """

    deployment: layout.Deployment
    identity: identity.Identity
    certificates: Certificates
    modes: dict[str, Mode]
    switching: tuple[str, ...]


def prepare(blueprint: Blueprint, home: Home, first_port: int | None = None) -> Prepared:
    """Write all files of a deployment. Raises PortError, IdentityError or OSError."""
    addresses = ports.loopback_addresses()
    old = identity.from_json(home.state.read_bytes()) if home.state.exists() else identity.Identity()
    ends = layout.endpoints(blueprint, old)
    check_endpoints(blueprint, ends, addresses)
    taken = {port for end in ends for port in (end.port, end.external_port)}
    now = identity.allocate(
        blueprint, old, secret_hex, lambda port: port not in taken and ports.is_free(port), first_port
    )
    if now != old:
        write_file(home.state, identity.to_json(now))
    certificates = tls.ensure(home.tls, tls.local_names(), datetime.now(UTC))
    topologies = {service.name: _topology(service, now, home) for service in blueprint.services}
    modes = {service.name: identity.wanted_mode(service, now.service(service.name)) for service in blueprint.services}
    others = {
        node.id: mode
        for service in blueprint.services
        for node in _record(now, service).nodes
        if (mode := _last_mode(home.process("node", node.name), modes[service.name])) != modes[service.name]
    }
    deployment = layout.lay_out(blueprint, now, topologies, home, certificates, addresses, others)
    for process in deployment.processes:
        process.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, data in process.files.items():
            write_file(process.folder / name, data)
    switching = tuple(process.name for process in deployment.processes if process.node in others)
    return Prepared(deployment, now, certificates, modes, switching)


def _record(now: identity.Identity, service: Service) -> identity.ServiceRecord:
    record = now.service(service.name)
    assert record is not None
    return record


def has_rdb(folder: Path) -> bool:
    """Is there an RDB file in a node's folder?"""
    return (folder / RDB).exists()


def has_aof(folder: Path) -> bool:
    """Is there anything in the folder of a node's append-only files?"""
    return (folder / AOF).is_dir() and any((folder / AOF).iterdir())


def _last_mode(folder: Path, wanted: Mode) -> Mode:
    """The mode in which a node has to start. CONFIG REWRITE keeps the one that it ran in in its file."""
    try:
        old = read_mode((folder / "node.conf").read_bytes())
    except FileNotFoundError:
        return wanted
    return starting_mode(old, wanted, has_rdb(folder), has_aof(folder))


def secret_hex(digits: int) -> str:
    """Random hex digits from the system's source."""
    return secrets.token_hex((digits + 1) // 2)[:digits]


def check_endpoints(blueprint: Blueprint, ends: tuple[layout.Endpoint, ...], addresses: tuple[str, ...]) -> None:
    """Raise PortError unless each endpoint's port is free on its addresses."""
    for service, end in zip(blueprint.services, ends, strict=True):
        ports.check(
            end.port,
            addresses,
            f"the internal endpoint of service '{service.name}'",
            "choose another by 'kvorum up --port PORT' or 'port:' in the blueprint",
        )
        if end.external_port:
            ports.check(
                end.external_port,
                layout.external_addresses(service, addresses),
                f"the external endpoint of service '{service.name}'",
                "choose another by 'kvorum up --external-port PORT' or 'externalPort:' in the blueprint",
            )


def _topology(service: Service, now: identity.Identity, home: Home) -> Topology:
    """The newest topology that the agent or any node has kept, brought up to date and kept again."""
    record = _record(now, service)
    kept = [home.topology(service.name), *(home.process("node", n.name) / "nodes.conf" for n in record.nodes)]
    known: Topology | None = None
    for path in kept:
        found = read_topology(path)
        if found is not None and found.service == service.name and len(found.shards) == service.shards:
            with contextlib.suppress(TopologyError):  # copies that contradict each other: the first one holds
                known = merge(known, found)
    if known is not None:
        folders = {node.id: home.process("node", node.name) for node in record.nodes}
        known = layout.led_by_data(known, {id for id, at in folders.items() if has_rdb(at) or has_aof(at)})
    topology = layout.topology_of(service, record, known)
    write_file(home.topology(service.name), to_json(topology))
    return topology


def read_topology(path: Path) -> Topology | None:
    """The topology in a file, or None when it is missing or damaged: other copies and the sentinels have it too."""
    try:
        with path.open("rb") as file:
            return from_json(file.read(MAX_JSON + 1))
    except (OSError, TopologyError):
        return None
