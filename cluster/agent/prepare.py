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
from cluster.tls import Certificates
from cluster.topology import MAX_JSON, Topology, TopologyError, from_json, merge, to_json


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is ready to be started."""

    deployment: layout.Deployment
    identity: identity.Identity
    certificates: Certificates


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
    deployment = layout.lay_out(blueprint, now, topologies, home, certificates, addresses)
    for process in deployment.processes:
        process.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, data in process.files.items():
            write_file(process.folder / name, data)
    return Prepared(deployment, now, certificates)


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
    record = now.service(service.name)
    assert record is not None
    kept = [home.topology(service.name), *(home.process("node", n.name) / "nodes.conf" for n in record.nodes)]
    known: Topology | None = None
    for path in kept:
        found = read_topology(path)
        if found is not None and found.service == service.name and len(found.shards) == service.shards:
            with contextlib.suppress(TopologyError):  # copies that contradict each other: the first one holds
                known = merge(known, found)
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
