"""What an agent says of itself when it is ready: to people, to scripts (`--json`), and to other commands (a file)."""

from __future__ import annotations

import shlex

import msgspec

from cluster.agent.home import Home, HomeError
from cluster.agent.layout import Deployment, Endpoint
from cluster.blueprint import Blueprint
from cluster.persistence import Mode
from cluster.tls import Certificates


class RunningProcess(msgspec.Struct, frozen=True):
    """A process as it was started last; `node` is the node id, empty for other kinds."""

    name: str
    kind: str
    pid: int
    host: str
    port: int
    service: str
    node: str


class RunningService(msgspec.Struct, frozen=True):
    """A service and how to reach it. `external_url` holds the password; None while the allowlist is empty."""

    name: str
    plan: str
    policy: str
    shards: int
    replicas: int
    port: int
    external_port: int
    internal_url: str
    external_url: str | None
    allow: tuple[str, ...]
    redis_cli: str
    persistence: str = ""


class Running(msgspec.Struct, frozen=True):
    """All that an agent runs."""

    pid: int
    home: str
    ca_file: str
    sentinels: tuple[str, ...]
    services: tuple[RunningService, ...]
    processes: tuple[RunningProcess, ...]


def describe(
    blueprint: Blueprint,
    deployment: Deployment,
    home: Home,
    certificates: Certificates,
    pids: dict[str, int],
    modes: dict[str, Mode],
) -> Running:
    """The report; `pids` by process name, the agent's own under ''; `modes` of persistence by service name."""
    services = tuple(
        RunningService(
            name=service.name,
            plan=service.plan.name,
            policy=service.policy,
            shards=service.shards,
            replicas=service.replicas,
            port=end.port,
            external_port=end.external_port,
            internal_url=end.internal_url,
            external_url=end.external_url,
            allow=tuple(allowed.source for allowed in service.allow),
            redis_cli=redis_cli(end, certificates),
            persistence=modes[service.name].name,
        )
        for service, end in zip(blueprint.services, deployment.endpoints, strict=True)
    )
    processes = tuple(
        RunningProcess(p.name, p.kind, pids.get(p.name, 0), p.host, p.port, p.service, p.node)
        for p in deployment.processes
    )
    sentinels = tuple(f"{p.host}:{p.port}" for p in deployment.of_kind("sentinel"))
    return Running(pids[""], str(home.folder), str(certificates.authority), sentinels, services, processes)


def redis_cli(end: Endpoint, certificates: Certificates) -> str:
    """A line to copy into a shell: by TLS with the certificate checked when the external endpoint is open."""
    if end.external_url is None:
        return shlex.join(["redis-cli", "-u", end.internal_url])
    authority = str(certificates.authority)
    return shlex.join(["redis-cli", "--no-auth-warning", "--tls", "--cacert", authority, "-u", end.external_url])


def load(home: Home) -> Running | None:
    """The report of the agent that runs on this data directory, or None when there is none, or it is not ready yet.

    Raises HomeError when its file is damaged.
    """
    if home.holder() is None:
        return None
    try:
        return msgspec.json.decode(home.running.read_bytes(), type=Running)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise HomeError(
            f"{home.running} is unreadable ({error}); 'kvorum down' and 'kvorum up' write it anew"
        ) from error
