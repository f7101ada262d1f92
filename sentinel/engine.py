"""The heart of a sentinel process: owns the shards' states, lets the deciders decide, records, then acts.

The order within `apply` is the promise of the whole room: decide, make durable what must be, and only then act, publish
or answer. `apply` is plain code without a checkpoint, so no other task sees a state that is decided and not yet
durable.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import trio

from cluster.logs import get_logger
from cluster.topology import Topology, TopologyError, merge, to_json, with_primary
from sentinel import actions, events
from sentinel.decide import decide
from sentinel.events import Action, Event
from sentinel.hello import read_hello
from sentinel.probes import NodeProbe, PeerProbe
from sentinel.settings import Settings
from sentinel.state import Address, Durable, Rules, Shard, durable, monitored, restored
from sentinel.store import Me, ShardGone, ShardKept, Store, TopologyKept

TICK = 0.1
TICK_BUSY = 0.02  # while a primary has just been lost
BUSY_FOR = 10.0
TOPOLOGY_EVENT = "+topology"

log = get_logger()


class Engine:
    """All shards that this sentinel (`me`) watches, and its connections to nodes and peers.

    `publish(channel, payload)` reaches the subscribers; `luck()` gives numbers in [0, 1).
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        me: str,
        *,
        clock: Callable[[], float],
        luck: Callable[[], float],
    ) -> None:
        self.settings = settings
        self.me = me
        self.port = settings.port
        self.shards: dict[str, Shard] = {}
        self.topologies: dict[str, Topology] = dict(store.kept.topologies)
        self.publish: Callable[[str, bytes], None] = lambda channel, payload: None
        self._configured: dict[str, Rules | None] = {}
        self._durable: dict[str, Durable] = {}
        self._store = store
        self._clock = clock
        self._luck = luck
        self._nodes: dict[tuple[str, Address], NodeProbe] = {}
        self._peers: dict[str, PeerProbe] = {}
        self._nursery: trio.Nursery | None = None

    # --- life
    def load(self, file_topologies: list[Topology]) -> None:
        """Take up what was kept, then what is configured: kept state wins, newer topologies and changed rules too."""
        if self._store.kept.me != self.me:
            self._store.append(Me(self.me))
        now = self.now()
        for name, kept in self._store.kept.shards.items():
            self.shards[name] = restored(kept.state, self.me, now)
            self._durable[name] = kept.state
            self._configured[name] = kept.configured
        for monitor in self.settings.monitors.values():
            self._load_monitor(monitor.name, now)
        for topology in file_topologies:
            self._take_topology(topology)
        for topology in tuple(self.topologies.values()):
            self._reconcile(topology)

    def _load_monitor(self, name: str, now: float) -> None:
        monitor = self.settings.monitors[name]
        shard = self.shards.get(name)
        if shard is None:
            shard = monitored(name, self.me, monitor.rules, monitor.primary, now)
            kept = durable(shard)
            kept = replace(
                kept,
                config_epoch=monitor.config_epoch,
                leader_epoch=monitor.leader_epoch,
                seen_epoch=max(self.settings.current_epoch, monitor.config_epoch, monitor.leader_epoch),
                nodes=(monitor.primary, *monitor.replicas),
                peers=tuple(monitor.peers.items()),
            )
            shard = restored(kept, self.me, now)
        elif self._configured.get(name) != monitor.rules:  # the configuration was changed since
            shard = replace(shard, rules=monitor.rules)
        self._configured[name] = monitor.rules
        self._keep(shard)

    def _reconcile(self, topology: Topology) -> None:
        """Make shards and topology agree after a start: each may have been stopped before the other was recorded."""
        for record in topology.shards:
            shard = self.shards.get(record.name)
            if shard is None:
                continue
            self._apply_topology(topology, record.name)
            shard = self.shards[record.name]
            if shard.config_epoch > record.epoch:
                self._switched(shard.name, shard.primary, shard.config_epoch)

    async def run(self) -> None:
        """Watch until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for shard in self.shards.values():
                self.emit("+monitor", self._about(shard))
                self._match_probes(shard)
            while True:
                for name in tuple(self.shards):
                    self.apply(name, events.Tick())
                await trio.sleep(TICK_BUSY if any(map(self._is_busy, self.shards.values())) else TICK)

    def _is_busy(self, shard: Shard) -> bool:
        health = shard.primary_node.health
        lost_at = health.gone_since or shard.primary_node.down_since
        return shard.failover is not None or (lost_at is not None and self.now() - lost_at < BUSY_FOR)

    def now(self) -> float:
        """Monotonic seconds."""
        return self._clock()

    # --- deciding
    def apply(self, name: str, event: Event) -> None:
        """Decide, record, act. An unknown name is ignored: its last probes may still report."""
        shard = self.shards.get(name)
        if shard is None:
            return
        decided, todo = decide(shard, event, self.now(), self._luck())
        self._keep(decided)
        if decided.nodes.keys() != shard.nodes.keys() or decided.peers.keys() != shard.peers.keys():
            self._match_probes(decided)
        for action in todo:
            self._perform(decided.name, action)

    def apply_peer(self, peer: str, event: Event) -> None:
        """Let all shards that a peer watches take an event."""
        for name, shard in tuple(self.shards.items()):
            if peer in shard.peers:
                self.apply(name, event)

    def heard(self, data: bytes) -> None:
        """Take a hello message; one of a shard that is not watched here is nobody's."""
        hello = read_hello(data)
        if hello is not None:
            self.apply(hello.name, hello)

    def _keep(self, shard: Shard) -> None:
        """Put the shard's state in place, on disk first where it has changed."""
        kept = durable(shard)
        if kept != self._durable.get(shard.name):
            self._store.append(ShardKept(kept, self._configured.get(shard.name)))
            self._durable[shard.name] = kept
        self.shards[shard.name] = shard

    # --- acting
    def _perform(self, name: str, action: Action) -> None:
        match action:
            case events.Emit(event, text):
                self.emit(event, text)
            case events.AskPeers():
                for peer in self.shards[name].peers:
                    if (probe := self._peers.get(peer)) is not None:
                        self._start(probe.ask, name, action)
            case events.FetchInfo(address):
                if (node := self._nodes.get((name, address))) is not None:
                    self._start(node.fetch_info)
            case events.Promote(address):
                self._start(self._promote, name, address)
            case events.Follow(address, primary):
                if (node := self._nodes.get((name, address))) is not None:
                    self._start(actions.follow, node, primary)
            case events.SayHello():
                self._say_hello(name)
            case events.Switched(primary, epoch):
                self._switched(name, primary, epoch)

    def _start(self, job: Callable[..., Awaitable[object]], *args: object) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(job, *args)

    async def _promote(self, name: str, address: Address) -> None:
        node = self._nodes.get((name, address))
        done = node is not None and await actions.promote(node)
        self.apply(name, events.PromoteAnswered(address, done))

    def _say_hello(self, name: str) -> None:
        for (shard, _address), node in self._nodes.items():
            if shard == name:
                node.say_hello()
        for peer in self.shards[name].peers:
            if peer in self._peers:
                self._peers[peer].say_hello()

    def emit(self, event: str, text: str) -> None:
        """Log an event and tell its subscribers."""
        log.warning(event, about=text)
        self.publish(event, text.encode())

    def _about(self, shard: Shard) -> str:
        host, port = shard.primary
        return f"master {shard.name} {host} {port} quorum {shard.rules.quorum}"

    def _match_probes(self, shard: Shard) -> None:
        """Start a probe for each node and peer that has none, and stop those of the forgotten; not before `run`."""
        if self._nursery is None:
            return
        for key in [k for k in self._nodes if k[0] == shard.name and k[1] not in shard.nodes]:
            self._nodes.pop(key).stop()
        for address in shard.nodes:
            if (shard.name, address) not in self._nodes:
                node = self._nodes[shard.name, address] = NodeProbe(self, shard.name, address)
                self._start(node.run)
        self._match_peers(shard)

    def _match_peers(self, shard: Shard) -> None:
        known = {peer for s in self.shards.values() for peer in s.peers}
        for gone in [p for p in self._peers if p not in known]:
            self._peers.pop(gone).stop()
        for peer in shard.peers.values():
            if peer.id not in self._peers:
                probe = self._peers[peer.id] = PeerProbe(self, peer.id, peer.address)
                self._start(probe.run)

    # --- topology
    def topology_of(self, name: str) -> Topology | None:
        """The topology that has a shard of this name."""
        return next((t for t in self.topologies.values() if t.shard(name) is not None), None)

    def set_topology(self, topology: Topology) -> bool:
        """Take a topology from the agent; False when nothing in it is newer. Raises TopologyError."""
        if not self._take_topology(topology):
            return False
        for record in topology.shards:
            self._apply_topology(self.topologies[topology.service], record.name)
        return True

    def _take_topology(self, topology: Topology) -> bool:
        old = self.topologies.get(topology.service)
        merged = merge(old, topology)
        if merged is old:
            return False
        self._store.append(TopologyKept(merged))
        self.topologies[topology.service] = merged
        self.publish(TOPOLOGY_EVENT, to_json(merged))
        for shard, _address in tuple(self._nodes):
            if merged.shard(shard) is not None:
                self._nodes[shard, _address].push_topology()
        return True

    def _apply_topology(self, topology: Topology, name: str) -> None:
        record = topology.shard(name)
        if record is None or name not in self.shards:
            return
        nodes = [n for n in map(topology.node, record.members()) if n is not None]
        members = tuple(Address(n.host, n.port) for n in nodes)
        self.apply(name, events.TopologyCame(members[0], members, record.epoch))

    def _switched(self, name: str, primary: Address, epoch: int) -> None:
        """Write the new primary into the topology, and spread it."""
        topology = self.topology_of(name)
        if topology is None:
            return
        node_id = self._node_id(topology, name, primary)
        try:
            self._take_topology(with_primary(topology, name, node_id, epoch))
        except TopologyError as error:
            log.debug("topology kept", shard=name, epoch=epoch, reason=str(error))

    def _node_id(self, topology: Topology, name: str, address: Address) -> str:
        node = self.shards[name].nodes.get(address)
        if node is not None and node.info is not None and topology.node(node.info.node_id) is not None:
            return node.info.node_id
        member = topology.at(*address)
        return member.id if member is not None else ""

    def process_dead(self, node_id: str) -> bool:
        """Take the agent's word that a node's process is dead; False when no node has this id."""
        for topology in self.topologies.values():
            node = topology.node(node_id)
            if node is not None and node.shard in self.shards:
                log.warning("process dead", node=node_id, shard=node.shard, port=node.port)
                self.apply(node.shard, events.ProcessDead(Address(node.host, node.port)))
                return True
        return False

    # --- operators
    def monitor(self, name: str, primary: Address, rules: Rules) -> None:
        """Begin to watch a shard."""
        self._configured[name] = None
        self._keep(monitored(name, self.me, rules, primary, self.now()))
        self.emit("+monitor", self._about(self.shards[name]))
        self._match_probes(self.shards[name])

    def remove(self, name: str) -> None:
        """Watch a shard no more."""
        shard = self.shards.pop(name)
        self._store.append(ShardGone(name))
        self._durable.pop(name, None)
        host, port = shard.primary
        self.emit("-monitor", f"master {name} {host} {port}")
        for key in [k for k in self._nodes if k[0] == name]:
            self._nodes.pop(key).stop()
        self._match_peers(replace(shard, peers={}))

    def flush(self) -> None:
        """Rewrite the state file."""
        self._store.compact()

    # --- what probes ask
    def node_probe(self, name: str, address: Address) -> NodeProbe | None:
        """The probe of a node."""
        return self._nodes.get((name, address))

    def peer_probe(self, peer: str) -> PeerProbe | None:
        """The probe of a peer."""
        return self._peers.get(peer)

    def own_address(self, local_host: str) -> Address:
        """Where others reach this sentinel: as announced, or where this end of a connection to them is."""
        return Address(self.settings.announce_ip or local_host, self.settings.announce_port or self.port)

    def peer_login(self) -> tuple[str | None, str | None]:
        """User and password for other sentinels."""
        return self.settings.peer_user, self.settings.peer_pass
