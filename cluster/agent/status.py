"""What `kvorum status` and `kvorum failover` find out: from the sentinels who leads what, from each node how it is."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec
import trio

from cluster.agent.modes import mode_on
from cluster.agent.ready import count_keys, loading, parse_info
from cluster.agent.report import Running, RunningProcess, RunningService
from cluster.agent.sentinels import Sentinels
from cluster.link import Link, LinkError, LinkRefused, open_link
from cluster.moving import FOLDER, MovingFiles
from cluster.persistence import MODES
from cluster.topology import Shard, Topology

PATIENCE: Final = 2.0
MODE: Final = "kvorum_persistence"


class DiskStatus(msgspec.Struct, frozen=True):
    """What a node keeps on disk: its mode, the last RDB file (seconds since 1970; None: none since the start), whether
    the last writes succeeded, the bytes of its append-only file, and the changes that no RDB file has.
    """

    mode: str
    last_save: int | None = None
    saved: bool = True
    changes: int | None = None
    aof_size: int | None = None
    appended: bool = True


class NodeStatus(msgspec.Struct, frozen=True):
    """A node. `state` is online, loading, syncing or down; `lag` in bytes behind its primary; memory in bytes.

    `doing` says what it is busy with: loading, saving, rewriting, syncing, and how far it is.
    """

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
    disk: DiskStatus | None = None
    doing: str = ""


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
    persistence: str = ""
    preparing: str = ""  # data are moving in: `fork in progress: load`


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
    services = tuple(
        msgspec.structs.replace(
            _service(one, topologies[one.name], names, alive, infos),
            preparing=MovingFiles(Path(running.home) / FOLDER, one.name).activity(),
        )
        for one in running.services
    )
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
    """Whether a process answers, and its INFO if it is a node, with the mode of persistence as a field of ours."""
    try:
        async with await open_link(process.host, process.port, connect_timeout=PATIENCE, timeout=PATIENCE) as link:
            if process.kind == "node":
                info = parse_info(await link.ask("INFO"))
                info[MODE] = (await mode_on(link)).name
                return "loading" if info.get("loading") == "1" else "online", info
            await link.ask("PING")
            return "online", {}
    except LinkRefused:
        return "down", {}
    except LinkError:
        return "down", {}


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
        service.persistence,
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
        keys=count_keys(info),
        pid=_number(info, "process_id"),
        uptime=_number(info, "uptime_in_seconds"),
        disk=_disk(info),
        doing=_doing(info, syncing),
    )


def _disk(info: dict[str, str]) -> DiskStatus:
    mode = MODES[info[MODE]]
    return DiskStatus(
        mode=mode.name,
        last_save=_last_save(info) if mode.snapshot else None,
        saved=info.get("rdb_last_bgsave_status") != "err",
        changes=_number(info, "rdb_changes_since_last_save") if mode.snapshot else None,
        aof_size=_number(info, "aof_current_size"),
        appended=info.get("aof_last_write_status") != "err",
    )


def _last_save(info: dict[str, str]) -> int | None:
    """When the last RDB file was written; the time that a node names before it has written one is that of its start."""
    return _number(info, "rdb_last_save_time") if _number(info, "rdb_saves") else None


def _doing(info: dict[str, str], syncing: bool) -> str:
    """What a node is busy with, and how far it is."""
    if info.get("loading") == "1":
        return loading(info)
    share = f"{float(info.get('current_fork_perc', '0')):.0f} %"
    found: list[str] = []
    if syncing:
        total, done = _number(info, "master_sync_total_bytes"), _number(info, "master_sync_read_bytes")
        running = info.get("master_sync_in_progress") == "1"
        part = f": {100 * done // total} %" if total and done is not None else f": {done >> 20} MB" if done else ""
        found.append(f"copying from its primary{part}" if running else "")
    if info.get("rdb_bgsave_in_progress") == "1":
        found.append(f"saving: {share}")
    if info.get("aof_rewrite_in_progress") == "1":
        found.append(f"rewriting its append-only file: {share}")
    return ", ".join(filter(None, found))


def _number(info: dict[str, str], field: str) -> int | None:
    text = info.get(field, "")
    return int(text) if text.isdigit() else None


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
