"""The running agent: brings all processes up, performs what `supervise` decides, and takes them down again."""

from __future__ import annotations

import contextlib
import math
import os
import signal
from typing import Final, Protocol

import msgspec
import trio

from cluster.agent import identity, modes, report, supervise
from cluster.agent.children import Child, command, stop_all
from cluster.agent.home import Home, HomeLock
from cluster.agent.layout import Process, topology_of
from cluster.agent.prepare import Prepared, prepare
from cluster.agent.ready import keys_of, missing
from cluster.agent.sentinels import Sentinels
from cluster.blueprint import Blueprint
from cluster.files import write_file
from cluster.persistence import MODES
from cluster.topology import Topology, to_json

START_SECONDS: Final = 90.0
"""How long a process may take to be ready while no process of the house gets any further."""
STOP_SECONDS: Final = 10.0
CHECK_EVERY: Final = 0.15
FOLLOW_EVERY: Final = 0.5


class StartError(Exception):
    """A process did not become ready; the text has the end of its log."""


class Observer(Protocol):
    """Whoever shows what happens."""

    def planned(self, processes: tuple[Process, ...]) -> None:
        """These processes will be started."""

    def state(self, name: str, state: str, detail: str = "") -> None:
        """A process is now `starting`, `ready`, `dead`, `stopping` or `stopped`."""

    def message(self, text: str) -> None:
        """Something happened that is worth a line."""

    def ready(self, running: report.Running) -> None:
        """Everything is up."""


async def up(blueprint: Blueprint, home: Home, observer: Observer, first_port: int | None = None) -> None:
    """Run a blueprint until SIGINT, SIGTERM or SIGHUP comes. Raises HomeError, PortError, IdentityError, StartError.

    New nodes and sentinels get ports from `first_port` on; by default from 7000 and 26379 on.
    """
    os.umask(0o077)
    home.create()
    with HomeLock(home):
        agent = Agent(blueprint, prepare(blueprint, home, first_port), home, observer)
        await agent.run()


class Agent:
    """One run of `kvorum up`, on a data directory that it holds the lock of."""

    def __init__(self, blueprint: Blueprint, prepared: Prepared, home: Home, observer: Observer) -> None:
        self._blueprint = blueprint
        self._prepared = prepared
        self._home = home
        self._observer = observer
        self._children: dict[str, Child] = {}
        self._processes = {process.name: process for process in prepared.deployment.processes}
        self._names = {process.node: process.name for process in prepared.deployment.processes if process.node}
        self._topologies = dict(prepared.deployment.topologies)
        self._modes = dict(prepared.modes)
        self._state_read = self._state_time()
        self._advanced = 0.0
        self._sentinels = Sentinels([(p.host, p.port) for p in prepared.deployment.of_kind("sentinel")])
        self._events_in, self._events = trio.open_memory_channel[supervise.Event](math.inf)
        self._scope = trio.CancelScope()
        self._failure: Exception | None = None
        self._is_ready = False

    async def run(self) -> None:
        """Bring up, keep up, take down."""
        self._observer.planned(self._prepared.deployment.processes)
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    await nursery.start(self._await_signal)
                    try:
                        await self._bring_up(nursery)
                    except (StartError, OSError) as error:
                        self._fail(error)
                    await self._keep_up(nursery)
        finally:
            with trio.CancelScope(shield=True):
                await self._take_down()
        if self._failure is not None:
            raise self._failure

    def _fail(self, error: Exception) -> None:
        self._failure = error
        self._scope.cancel()

    async def _await_signal(self, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
            task_status.started()
            async for number in signals:
                self._observer.message(f"{signal.Signals(number).name}: stopping")
                self._scope.cancel()

    # --- up
    async def _bring_up(self, nursery: trio.Nursery) -> None:
        """Nodes first: a sentinel that watches before they run would take them for dead."""
        deployment = self._prepared.deployment
        self._advanced = trio.current_time()
        rest = (*deployment.of_kind("sentinel"), *deployment.of_kind("proxy"))
        for batch in (deployment.of_kind("node"), rest):
            for process in batch:
                self._start(process, self._primary_of(process), nursery)
            if batch is rest:
                nursery.start_soon(self._follow)
            failures: list[StartError] = []
            async with trio.open_nursery() as waiting:
                for process in batch:
                    waiting.start_soon(self._until_ready, process, failures, waiting.cancel_scope)
            if failures:
                raise failures[0]
        self._is_ready = True
        self._observer.ready(self._report())
        for process in deployment.of_kind("node"):
            nursery.start_soon(self._settle_mode, process)

    async def _settle_mode(self, process: Process) -> None:
        """Bring a node that loaded files of another mode into the one that is wanted, and put old files aside."""
        mode = self._modes[process.service]
        try:
            if process.name in self._prepared.switching:
                await modes.switch_node(process.name, (process.host, process.port), mode, lambda _name, _text: None)
                self._observer.message(f"{process.name} keeps '{mode.name}' from now on")
            for name in modes.put_aside(process.folder, mode):
                self._observer.message(f"{process.name}: {name} is not written in mode '{mode.name}' and was put aside")
        except (modes.ModeError, OSError) as error:
            self._observer.message(f"{process.name} is not in mode '{mode.name}': {error}")

    def _report(self) -> report.Running:
        """Describe what runs, and leave it in the data directory for the other commands."""
        pids = {"": os.getpid(), **{name: child.pid for name, child in self._children.items()}}
        running = report.describe(
            self._blueprint, self._prepared.deployment, self._home, self._prepared.certificates, pids, self._modes
        )
        write_file(self._home.running, msgspec.json.format(msgspec.json.encode(running), indent=2) + b"\n")
        return running

    def _primary_of(self, process: Process) -> str:
        topology = self._topologies.get(process.service)
        shard = topology.shard_of(process.node) if topology is not None and process.node else None
        return "" if shard is None or shard.primary == process.node else shard.primary

    def _start(self, process: Process, primary: str, nursery: trio.Nursery) -> None:
        """Start a process, a node as replica of the node `primary` or as primary; raises OSError."""
        directives: list[str] = []
        if process.kind == "node":
            topology = self._topologies[process.service]
            leader = topology.node(primary) if primary else None
            directives = ["--replicaof", leader.host, str(leader.port)] if leader else ["--replicaof", "no", "one"]
        child = Child(process.name, command(process, directives), process.folder, self._home.open_log(process.name))
        self._children[process.name] = child
        self._observer.state(process.name, "starting")
        nursery.start_soon(self._watch, child)

    async def _watch(self, child: Child) -> None:
        await child.wait()
        await self._events_in.send(supervise.Died(child.name))

    async def _until_ready(self, process: Process, failures: list[StartError], scope: trio.CancelScope) -> None:
        child = self._children[process.name]
        before = ""
        while (lack := await self._missing(process)) is not None:
            self._observer.state(process.name, "starting", lack)
            status = child.exit_status
            if lack != before:
                before, self._advanced = lack, trio.current_time()
            if status is not None or trio.current_time() > self._advanced + START_SECONDS:
                what = f"is not ready after {START_SECONDS:.0f} s ({lack})" if status is None else _ended(status)
                failures.append(StartError(f"{process.name} {what}{self._excerpt(process.name)}"))
                scope.cancel()
            await trio.sleep(CHECK_EVERY)
        self._observer.state(process.name, "ready")

    async def _missing(self, process: Process) -> str | None:
        masters = [shard.name for topology in self._topologies.values() for shard in topology.shards]
        topology = self._topologies.get(process.service)
        cluster = topology is not None and len(topology.shards) > 1
        return await missing(process, primary=not self._primary_of(process), cluster=cluster, masters=masters)

    def _excerpt(self, name: str) -> str:
        tail = self._home.log_tail(name)
        return f"\n--- the end of {self._home.log(name)}\n{tail}" if tail else f"; {self._home.log(name)} is empty"

    # --- keeping up
    async def _keep_up(self, nursery: trio.Nursery) -> None:
        now = trio.current_time()
        watched = {p.name: supervise.Watched(p.name, p.node, p.service, started=now) for p in self._processes.values()}
        journaled = frozenset(name for name, mode in self._modes.items() if mode.journal)
        state = supervise.State(watched, self._topologies, journaled)
        while True:
            event: supervise.Event = supervise.Woke()
            wake = supervise.next_wake(state)
            with trio.move_on_at(math.inf if wake is None else wake):
                event = await self._events.receive()
            if isinstance(event, supervise.Died):
                self._say_dead(event.name)
            state, actions = supervise.decide(state, event, trio.current_time())
            for action in actions:
                self._perform(action, nursery)

    def _say_dead(self, name: str) -> None:
        child = self._children[name]
        status = child.exit_status or 0
        child.close()
        self._observer.state(name, "dead", _ended(status))
        self._observer.message(f"{name} {_ended(status)}")

    def _perform(self, action: supervise.Action, nursery: trio.Nursery) -> None:
        if isinstance(action, supervise.TellDead):
            nursery.start_soon(self._sentinels.tell_dead, action.node)
            return
        if isinstance(action, supervise.AskReplicas):
            nursery.start_soon(self._ask_replicas, action)
            return
        process = self._processes[action.name]
        try:
            self._start(process, action.primary, nursery)
        except OSError as error:
            self._observer.message(f"{process.name} cannot be started: {error}")
            self._events_in.send_nowait(supervise.Died(process.name))
            return
        role = f" as a replica of {self._names.get(action.primary, action.primary)}" if action.primary else ""
        self._observer.message(f"{process.name} started again{role} (pid {self._children[process.name].pid})")
        self._report()
        nursery.start_soon(self._say_when_ready, process, self._children[process.name])

    async def _ask_replicas(self, action: supervise.AskReplicas) -> None:
        """Would a start in place of this primary lose what its replicas have?"""
        for name in action.replicas:
            process = self._processes[name]
            keys = await keys_of(process.host, process.port)
            if keys != 0:
                what = f"the {keys} keys that {name} has" if keys else f"what {name} has, which does not answer"
                self._observer.message(
                    f"{action.name} is not started: it could come back without {what}, and no sentinel has promoted "
                    f"that; see 'kvorum status' and the sentinels' logs"
                )
                return
        await self._events_in.send(supervise.NothingToLose(action.name))

    async def _say_when_ready(self, process: Process, child: Child) -> None:
        while child.exit_status is None:
            if await self._missing(process) is None:
                self._observer.state(process.name, "ready")
                return
            await trio.sleep(CHECK_EVERY)

    async def _follow(self) -> None:
        """Learn of failovers from the sentinels, and keep the newest topology of each service on disk.

        Who leads is for the sentinels to say; where the nodes are is for the agent: it corrects a record whose
        addresses are those of an earlier run.
        """
        while True:
            for service in self._blueprint.services:
                known = self._topologies[service.name]
                record = self._prepared.identity.service(service.name)
                assert record is not None
                newest = await self._sentinels.newest(known)
                corrected = topology_of(service, record, newest)
                if corrected != newest:
                    await self._sentinels.announce(corrected)
                if corrected != known:
                    self._take(service.name, known, corrected)
            self._read_modes()
            await trio.sleep(FOLLOW_EVERY)

    def _take(self, service: str, old: Topology, new: Topology) -> None:
        self._topologies[service] = new
        write_file(self._home.topology(service), to_json(new))
        self._events_in.send_nowait(supervise.TopologyChanged(new))
        for shard in new.shards:
            before = old.shard(shard.name)
            if before is not None and before.primary != shard.primary:
                name = self._names.get(shard.primary, shard.primary)
                self._observer.message(f"{name} is now the primary of {shard.name} (epoch {shard.epoch})")

    def _state_time(self) -> int:
        with contextlib.suppress(OSError):
            return self._home.state.stat().st_mtime_ns
        return 0

    def _read_modes(self) -> None:
        """Take over what `kvorum persistence` has written into the state file."""
        changed = self._state_time()
        if changed == self._state_read:
            return
        self._state_read = changed
        try:
            known = identity.from_json(self._home.state.read_bytes())
        except (OSError, identity.IdentityError) as error:
            self._observer.message(f"{self._home.state} can't be read: {error}")
            return
        for service in self._blueprint.services:
            record = known.service(service.name)
            mode = MODES.get(record.persistence) if record is not None else None
            if mode is not None and mode != self._modes[service.name]:
                self._modes[service.name] = mode
                self._events_in.send_nowait(supervise.ModeChanged(service.name, mode.journal))
                self._observer.message(f"service {service.name} keeps '{mode.name}' from now on: {mode.about}")
                self._report()

    # --- down
    async def _take_down(self) -> None:
        """End all: sentinels first, lest they see failures, then proxies, then primaries while replicas hear them."""
        stages: list[list[Child]] = [[], [], [], []]
        for name, child in self._children.items():
            process = self._processes[name]
            node_stage = 3 if self._primary_of(process) else 2
            stages[{"sentinel": 0, "proxy": 1}.get(process.kind, node_stage)].append(child)
        for stage in stages:
            for child in stage:
                self._observer.state(child.name, "stopping")
            for name in await stop_all(stage, STOP_SECONDS, self._progress):
                self._observer.message(f"{name} did not stop within {STOP_SECONDS:.0f} s and was killed")
            for child in stage:
                self._observer.state(child.name, "stopped")
                child.close()
        await self._sentinels.aclose()


    def _progress(self, child: Child) -> int:
        """Bytes of unfinished files: a node with snapshots writes one at its end, as long as the data are large."""
        sizes = 0
        for path in self._processes[child.name].folder.glob("temp-*.rdb"):
            with contextlib.suppress(OSError):
                sizes += path.stat().st_size
        return sizes


def _ended(status: int) -> str:
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with status {status}"
