"""What `kvorum status` and `kvorum failover` find out: from the sentinels who leads what, from each node how it is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec
import trio

from cluster.agent.ready import parse_info
from cluster.agent.report import Running, RunningProcess, RunningService
from cluster.agent.sentinels import Sentinels
from cluster.link import Link, LinkError, LinkRefused, open_link
from cluster.topology import Shard, Topology

PATIENCE: Final = 2.0


class NodeStatus(msgspec.Struct, frozen=True):
    """A node. `state` is online, syncing or down; `lag` in bytes behind its primary; memory in bytes."""

    name: str
    id: str
    address: str
    role: str
    state: str
    offset: int | None = None
    lag: int | None = None
    memory: int | None = None
    maxmemory: int | None = None
    clients: int | None = None
    keys: int | None = None
    pid: int | None = None
    uptime: int | None = None


class ShardStatus(msgspec.Struct, frozen=True):
    """A shard: what it owns, at which epoch, and its nodes, the primary first."""

    name: str
    epoch: int
    slots: str
    nodes: tuple[NodeStatus, ...]


class ServiceStatus(msgspec.Struct, frozen=True):
    """A service. `state` is available, degraded (it serves, but could not lose one more) or unavailable."""

    name: str
    plan: str
    policy: str
    state: str
    internal_url: str
    external_url: str | None
    proxy: str
    shards: tuple[ShardStatus, ...]


class SentinelStatus(msgspec.Struct, frozen=True):
    """A sentinel and whether it answers."""

    name: str
    address: str
    state: str


class Status(msgspec.Struct, frozen=True):
    """Everything on this host."""

    state: str
    sentinels: tuple[SentinelStatus, ...]
    services: tuple[ServiceStatus, ...]


class StatusError(Exception):
    """What was asked cannot be found out or done; the text says why and what to do."""


async def newest_topology(running: Running, service: str) -> Topology:
    """The topology of a service by its sentinels; raises StatusError when none of them has one."""
    addresses = [(p.host, p.port) for p in running.processes if p.kind == "sentinel"]
    sentinels = Sentinels(addresses)
    try:
        return await sentinels.newest(Topology(service, (), ()))
    finally:
        await sentinels.aclose()


async def gather(running: Running) -> Status:
    """Ask everybody at once; whoever does not answer within seconds is down."""
    alive: dict[str, str] = {}
    infos: dict[str, dict[str, str]] = {}
    topologies: dict[str, Topology] = {}

    async def ask(process: RunningProcess) -> None:
        alive[process.name], infos[process.name] = await _ask(process)

    async def learn(service: str) -> None:
        topologies[service] = await newest_topology(running, service)

    async with trio.open_nursery() as nursery:
        for process in running.processes:
            nursery.start_soon(ask, process)
        for service in running.services:
            nursery.start_soon(learn, service.name)
    names = {process.node: process for process in running.processes if process.node}
    services = tuple(_service(one, topologies[one.name], names, alive, infos) for one in running.services)
    sentinels = tuple(
        SentinelStatus(p.name, f"{p.host}:{p.port}", alive[p.name]) for p in running.processes if p.kind == "sentinel"
    )
    watched = sum(one.state == "online" for one in sentinels)
    states = [service.state for service in services]
    if watched < len(sentinels):
        states.append("degraded")
    return Status(worst(states), sentinels, services)


def worst(states: Iterable[str]) -> str:
    """The state of the whole, given those of its parts."""
    order = ("available", "degraded", "unavailable")
    return max(states, key=order.index, default="unavailable")


async def _ask(process: RunningProcess) -> tuple[str, dict[str, str]]:
    """Whether a process answers, and its INFO if it is a node."""
    try:
        async with await open_link(process.host, process.port, connect_timeout=PATIENCE, timeout=PATIENCE) as link:
            if process.kind == "node":
                return "online", parse_info(await link.ask("INFO"))
            await link.ask("PING")
            return "online", {}
    except LinkRefused:
        return "down", {}
    except LinkError as error:
        return ("down" if "LOADING" not in str(error) else "loading"), {}


def _service(
    service: RunningService,
    topology: Topology,
    names: dict[str, RunningProcess],
    alive: dict[str, str],
    infos: dict[str, dict[str, str]],
) -> ServiceStatus:
    shards = tuple(_shard(shard, topology, names, alive, infos) for shard in topology.shards)
    proxy = alive.get(f"{service.name}-proxy", "down")
    states = [_shard_state(shard) for shard in shards] or ["unavailable"]
    if proxy != "online":
        states.append("unavailable")
    return ServiceStatus(
        service.name,
        service.plan,
        service.policy,
        worst(states),
        service.internal_url,
        service.external_url,
        proxy,
        shards,
    )


def _shard_state(shard: ShardStatus) -> str:
    primary, *replicas = shard.nodes
    if primary.state != "online" or primary.role != "primary":
        return "unavailable"
    return "available" if all(node.state == "online" for node in replicas) else "degraded"


def _shard(
    shard: Shard,
    topology: Topology,
    names: dict[str, RunningProcess],
    alive: dict[str, str],
    infos: dict[str, dict[str, str]],
) -> ShardStatus:
    leader = names.get(shard.primary)
    head = _number(infos[leader.name], "master_repl_offset") if leader else None
    nodes: list[NodeStatus] = []
    for member in shard.members():
        node, process = topology.node(member), names.get(member)
        assert node is not None
        name = process.name if process else member[:8]
        info = infos.get(name, {})
        nodes.append(_node(name, member, f"{node.host}:{node.port}", alive.get(name, "down"), info, head))
    slots = " ".join(f"{first}-{last}" if first != last else f"{first}" for first, last in shard.slots)
    return ShardStatus(shard.name, shard.epoch, slots, tuple(nodes))


def _node(name: str, node: str, address: str, alive: str, info: dict[str, str], head: int | None) -> NodeStatus:
    if not info:
        return NodeStatus(name, node, address, "unknown", alive)
    replica = info.get("role") == "slave"
    offset = _number(info, "slave_repl_offset" if replica else "master_repl_offset")
    syncing = replica and info.get("master_link_status") != "up"
    return NodeStatus(
        name=name,
        id=node,
        address=address,
        role="replica" if replica else "primary",
        state="syncing" if syncing else alive,
        offset=offset,
        lag=max(0, head - offset) if replica and head is not None and offset is not None else None,
        memory=_number(info, "used_memory"),
        maxmemory=_number(info, "maxmemory"),
        clients=_number(info, "connected_clients"),
        keys=sum(_keys(value) for field, value in info.items() if field.startswith("db") and field[2:].isdigit()),
        pid=_number(info, "process_id"),
        uptime=_number(info, "uptime_in_seconds"),
    )


def _number(info: dict[str, str], field: str) -> int | None:
    text = info.get(field, "")
    return int(text) if text.isdigit() else None


def _keys(value: str) -> int:
    """The keys of a database, from `keys=12,expires=0,…`."""
    text = value.partition(",")[0].removeprefix("keys=")
    return int(text) if text.isdigit() else 0


async def failover(running: Running, service: str, shard: str, seconds: float) -> tuple[str, str, float]:
    """Have a replica of a shard promoted; gives the names of the old and the new primary, and the seconds it took.

    `shard` is a name or an index. Raises StatusError when it is unknown, refused, or not done within `seconds`.
    """
    if service not in {one.name for one in running.services}:
        known = ", ".join(one.name for one in running.services)
        raise StatusError(f"no service '{service}'; there are: {known}")
    topology = await newest_topology(running, service)
    if not topology.shards:
        raise StatusError("no sentinel answers; see 'kvorum status'")
    record = topology.shard(f"{service}-{shard}" if shard.isdigit() else shard)
    if record is None:
        raise StatusError(f"no shard '{shard}' in service '{service}'; there are: {_listed(topology)}")
    if not record.replicas:
        raise StatusError(
            f"shard {record.name} has no replica that could take over; write 'replicas: 1' in the blueprint"
        )
    begun = trio.current_time()
    await _order(running, record.name)
    with trio.move_on_after(seconds):
        while True:
            newest = (await newest_topology(running, service)).shard(record.name)
            if newest is not None and newest.primary != record.primary and await _leads(running, newest.primary):
                names = {process.node: process.name for process in running.processes}
                took = trio.current_time() - begun
                return names.get(record.primary, record.primary), names.get(newest.primary, newest.primary), took
            await trio.sleep(0.05)
    raise StatusError(f"shard {record.name} has no new primary after {seconds:.0f} s; see 'kvorum status' and the logs")


def _listed(topology: Topology) -> str:
    return ", ".join(shard.name for shard in topology.shards)


async def _order(running: Running, name: str) -> None:
    """Ask the first sentinel that answers for a failover."""
    for process in running.processes:
        if process.kind != "sentinel":
            continue
        try:
            link: Link = await open_link(process.host, process.port, connect_timeout=PATIENCE, timeout=PATIENCE)
        except LinkError:
            continue
        async with link:
            try:
                await link.ask("SENTINEL", "FAILOVER", name)
                return
            except LinkError as error:
                raise StatusError(f"{process.name} refuses: {error}") from error
    raise StatusError("no sentinel answers; see 'kvorum status'")


async def _leads(running: Running, node: str) -> bool:
    """Does this node say itself that it is a primary?"""
    process = next((one for one in running.processes if one.node == node), None)
    return process is None or (await _ask(process))[1].get("role") == "master"
