"""What all clients of a proxy share: the fleet of lanes, the plans, the sessions, the limits and the counters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

from mypy_extensions import i64

from cluster.version import KVORUM_VERSION, REDIS_VERSION, SERVER_NAME, VALKEY_VERSION
from proxy.allowlist import Allowlist
from proxy.channels import Channels
from proxy.lanes import Fleet
from proxy.lines import Pool
from proxy.pending import Peer
from proxy.routing import Plan
from proxy.session import Session
from proxy.upstream import FAULTS

IDLE_CHECK: Final = 1.0  # seconds between looks at idle clients
HANDSHAKE_SECONDS: Final = 10.0


@final
class Hub:
    """`draw` gives random numbers, `started` is on the clock of `fleet.now`, `noted` hears of refused logins."""

    fleet: Fleet
    pool: Pool
    plans: dict[bytes, Plan]
    allowlist: Allowlist
    draw: Callable[[], int]
    noted: Callable[[str, str], None]
    peers: dict[int, Peer]
    sessions: dict[int, Session]
    subscribers: dict[int, Channels]
    waits: dict[int, Callable[[float], None]]  # what ticks the WAIT of a client
    good_dbs: set[int]
    max_clients: i64
    timeout: float  # seconds of silence after which a client is closed; 0: never
    output_limit: i64
    pubsub_limit: i64
    config_get: bool
    started: float
    accepted: i64
    rejected: i64
    commands: i64  # of clients that have gone
    facts: dict[str, str]
    _last_id: i64
    _idle_checked: float

    def __init__(
        self, fleet: Fleet, plans: dict[bytes, Plan], draw: Callable[[], int], noted: Callable[[str, str], None]
    ) -> None:
        self.fleet = fleet
        self.pool = Pool(fleet)
        self.plans = plans
        self.allowlist = Allowlist()
        self.draw = draw
        self.noted = noted
        self.peers = {}
        self.sessions = {}
        self.subscribers = {}
        self.waits = {}
        self.good_dbs = {0}
        self.max_clients = 10000
        self.timeout = 0.0
        self.output_limit = 1 << 30
        self.pubsub_limit = 32 << 20
        self.config_get = True
        self.started = fleet.now
        self.accepted = 0
        self.rejected = 0
        self.commands = 0
        self.facts = {}
        self._last_id = 0
        self._idle_checked = 0.0

    def next_id(self) -> i64:
        """A number for a new client."""
        self._last_id += 1
        return self._last_id

    def come(self, session: Session, peer: Peer) -> None:
        """A client is there."""
        self.accepted += 1
        self.sessions[session.id] = session
        self.peers[session.id] = peer

    def gone(self, session: Session) -> None:
        """A client has been closed."""
        if self.peers.pop(session.id, None) is not None:
            self.commands += session.commands
        self.sessions.pop(session.id, None)
        self.subscribers.pop(session.id, None)

    def version(self) -> bytes:
        """The version that HELLO tells: that of the nodes, once one has told it."""
        return self.fleet.version or VALKEY_VERSION.encode()

    def tick(self, now: float) -> None:
        """What time brings: reconnects, expired waits, idle clients."""
        self.fleet.tick(now)
        self.pool.tick()
        while len(FAULTS) > 0:
            self.noted("a connection to a node was closed because of a fault of the proxy", FAULTS.pop())
        for wait in list(self.waits.values()):
            wait(now)
        for channels in list(self.subscribers.values()):
            channels.tick()
        if now - self._idle_checked >= IDLE_CHECK:
            self._idle_checked = now
            self._close_idle(now)

    def _close_idle(self, now: float) -> None:
        """Close clients that have been silent for too long; those who wait for something are not idle."""
        for number, session in list(self.sessions.items()):
            peer = self.peers.get(number)
            if peer is None:
                continue
            silent = now - session.seen
            busy = session.blocked or session.monitor or peer.due > 0 or session.kind() == b"pubsub"
            if (peer.handshaking and silent > HANDSHAKE_SECONDS) or (
                self.timeout > 0 and silent > self.timeout and not busy
            ):
                peer.close()

    def info(self) -> dict[str, str]:
        """The INFO fields in which the proxy speaks for itself."""
        fleet = self.fleet
        uptime = int(fleet.now - self.started)
        own = {
            "redis_version": REDIS_VERSION,
            "server_name": SERVER_NAME,
            "kvorum_version": KVORUM_VERSION,
            "redis_mode": "standalone",
            "server_mode": "standalone",
            "uptime_in_seconds": str(uptime),
            "uptime_in_days": str(uptime // 86400),
            "connected_clients": str(len(self.sessions)),
            "maxclients": str(self.max_clients),
            "pubsub_clients": str(len(self.subscribers)),
            "cluster_connections": "0",
            "total_connections_received": str(self.accepted),
            "rejected_connections": str(self.rejected),
            "role": "master",
            "cluster_enabled": "0",
        }
        own.update(self.facts)
        return own

    def close(self) -> None:
        """Close everything."""
        for peer in list(self.peers.values()):
            peer.close()
        self.pool.close()
        self.fleet.close()
