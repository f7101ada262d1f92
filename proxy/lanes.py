"""Lanes: the shared way to the primary of one shard, for one protocol version and database, and what happens when it is
blocked.

A lane is open (requests are written straight to its upstream) or it is not, and then requests wait in it: `retries` are
those that came back unexecuted, in the order in which they were sent, `parked` those that came after them. Invariant: a
lane opens only when its last upstream has answered or lost all it was given, and `retries` go before `parked`; so the
commands of one client on one slot are never executed in another order than they were sent, whatever fails over in
between.

A request is sent again only if it surely was not executed: it never left this process whole, the node said so (MOVED,
READONLY, CLUSTERDOWN …), or it only reads. Any other whose connection is lost has an unknown outcome: the client's
connection ends there, which is what a lone server's death looks like and what every library knows; `unknown-outcome
error` has it told by an error instead.
"""

from __future__ import annotations

from collections import deque
from typing import Final, final

from mypy_extensions import i64

from cluster.loop import Loop
from cluster.resp.encode import encode_request
from cluster.slots import SLOTS
from cluster.topology import Topology
from proxy import texts
from proxy.pending import BATCH, OWN, Pending
from proxy.routing import ASK, FINAL, MOVED, WAIT, redirection, verdict
from proxy.upstream import Desk, Upstream, dial

MAX_TRIES: Final = 64
BACKOFF_FIRST: Final = 0.02
BACKOFF_MOST: Final = 0.25
CONNECT_TIMEOUT: Final = 2.0
CLIENT_NAME: Final = b"kvorum-proxy"


@final
class Place:
    """A shard as the proxy sees it: its name and the address of its primary, None when nobody knows one."""

    def __init__(self, name: str, address: tuple[str, int] | None) -> None:
        self.name = name
        self.address = address


@final
class LaneSet:
    """The lanes to all shards for one protocol version and database; `by_slot` is changed in place as slots move."""

    proto: i64
    db: i64
    lanes: list[Lane]
    by_slot: list[Lane]
    nobody: Lane  # where commands wait whose slot nobody owns

    def __init__(self, proto: i64, db: i64, nobody: Lane) -> None:
        self.proto = proto
        self.db = db
        self.lanes = []
        self.nobody = nobody
        self.by_slot = [nobody] * SLOTS


@final
class Fleet:
    """All shards of the service and the lanes to them."""

    loop: Loop
    now: float  # monotonic seconds, read once a batch
    park_timeout: float
    park_bytes: i64
    parked_bytes: i64
    places: list[Place]
    owners: list[i64]  # shard of each slot, -1: nobody
    single: bool  # one shard, whose number is `only`: keys need not be looked at
    only: i64
    known: bool  # a topology has come
    sets: list[LaneSet]
    password: bytes
    version: bytes  # of the nodes, as they tell it
    cut_unknown: bool  # a client whose write has an unknown outcome is disconnected instead of told so
    retried: i64
    unknown_outcomes: i64
    expired: i64

    def __init__(self, loop: Loop, park_timeout: float, park_bytes: i64, password: bytes) -> None:
        self.loop = loop
        self.now = 0.0
        self.park_timeout = park_timeout
        self.park_bytes = park_bytes
        self.parked_bytes = 0
        self.places = []
        self.owners = [-1] * SLOTS
        self.single = False
        self.only = 0
        self.known = False
        self.sets = []
        self.password = password
        self.version = b""
        self.cut_unknown = True
        self.retried = 0
        self.unknown_outcomes = 0
        self.expired = 0

    def lanes(self, proto: i64, db: i64) -> LaneSet:
        """The lanes for a protocol version and database; made when first asked for."""
        for one in self.sets:
            if one.proto == proto and one.db == db:
                return one
        made = LaneSet(proto, db, Lane(self, -1, proto, db))
        self.sets.append(made)
        self._map(made)
        return made

    def apply(self, topology: Topology) -> None:
        """Take a topology: shards keep their number, lanes whose primary has moved turn to the new one."""
        by_name = {place.name: number for number, place in enumerate(self.places)}
        owners: list[i64] = [-1] * SLOTS
        listed: set[str] = set()
        for shard in topology.shards:
            listed.add(shard.name)
            primary = topology.node(shard.primary)
            address = (primary.host, primary.port) if primary is not None else None
            if shard.name not in by_name:
                by_name[shard.name] = len(self.places)
                self.places.append(Place(shard.name, address))
            number = by_name[shard.name]
            self.places[number].address = address
            for first, last in shard.slots:
                owners[first : last + 1] = [number] * (last - first + 1)
        for place in self.places:
            if place.name not in listed:
                place.address = None
        self.owners = owners
        self.single = len(topology.shards) == 1
        self.only = by_name[topology.shards[0].name] if self.single else 0
        self.known = True
        for one in self.sets:
            self._map(one)
            for lane in one.lanes:
                lane.retarget()

    def _map(self, one: LaneSet) -> None:
        while len(one.lanes) < len(self.places):
            one.lanes.append(Lane(self, len(one.lanes), one.proto, one.db))
        one.by_slot[:] = [one.lanes[owner] if owner >= 0 else one.nobody for owner in self.owners]
        one.nobody.release()

    def active(self) -> list[int]:
        """The shards that exist, by number."""
        return [number for number, place in enumerate(self.places) if place.address is not None]

    def shard_at(self, address: tuple[str, int]) -> int:
        """The shard whose primary has this address, -1 when none has."""
        for number, place in enumerate(self.places):
            if place.address == address:
                return number
        return -1

    def moved(self, reply: bytes, asked: tuple[str, int]) -> bool:
        """Learn from a MOVED error; False when it says nothing that helps."""
        found = redirection(reply)
        if found is None:
            return False
        slot, host, port = found
        shard = self.shard_at((host or asked[0], port))
        if shard < 0 or (host or asked[0], port) == asked:
            return False
        self.owners[slot] = shard
        for one in self.sets:
            one.by_slot[slot] = one.lanes[shard]
        return True

    def submit(self, p: Pending, lanes: LaneSet) -> None:
        """Send a request to the shard of its slot, or to the shard it names."""
        if p.slot >= 0:
            lanes.by_slot[p.slot].submit(p)
        elif p.shard < len(lanes.lanes):
            lanes.lanes[p.shard].submit(p)
        else:
            lanes.nobody.submit(p)

    def tick(self, now: float) -> None:
        """Reconnect what should be connected, give up what has waited too long."""
        self.now = now
        for one in self.sets:
            for lane in one.lanes:
                lane.tick()
            one.nobody.tick()

    def close(self) -> None:
        """Close every upstream; what is still due is answered as lost."""
        for one in self.sets:
            for lane in one.lanes:
                lane.shut()


@final
class Lane(Desk):
    """See the module's text."""

    fleet: Fleet
    shard: i64
    proto: i64
    db: i64
    up: Upstream | None
    open: bool
    retries: deque[Pending]
    parked: deque[Pending]
    holding: i64  # why it closed while its upstream is alive: MOVED or WAIT; 0: it did not
    hold_until: float
    resume_at: float
    backoff: float
    started: float
    greetings: i64  # replies of the prelude that are still due

    def __init__(self, fleet: Fleet, shard: i64, proto: i64, db: i64) -> None:
        self.fleet = fleet
        self.shard = shard
        self.proto = proto
        self.db = db
        self.up = None
        self.open = False
        self.retries = deque()
        self.parked = deque()
        self.holding = FINAL
        self.hold_until = 0.0
        self.resume_at = 0.0
        self.backoff = BACKOFF_FIRST
        self.started = 0.0
        self.greetings = 0

    def submit(self, p: Pending) -> None:
        """Send a request, or let it wait until the primary can be reached."""
        if self.open:
            up = self.up
            assert up is not None
            up.request(p)
        else:
            self._park(p, self.parked)
            if self.up is None and self.fleet.now >= self.resume_at:
                self._connect()

    def _park(self, p: Pending, queue: deque[Pending]) -> None:
        fleet = self.fleet
        if p.deadline == 0.0:
            p.deadline = fleet.now + fleet.park_timeout
        size: i64 = len(p.request)
        if fleet.parked_bytes + size > fleet.park_bytes:
            fleet.expired += 1
            p.finish(texts.PARK_FULL)
            return
        fleet.parked_bytes += size
        queue.append(p)

    def _address(self) -> tuple[str, int] | None:
        return self.fleet.places[self.shard].address if 0 <= self.shard < len(self.fleet.places) else None

    def _connect(self) -> None:
        """Begin a connection to the primary as it is known now; the lane opens once the node has greeted back."""
        address = self._address()
        self.started = self.fleet.now
        if address is None:
            return
        try:
            sock = dial(address)
        except OSError:
            self._wait_longer()
            return
        up = Upstream(self.fleet.loop, sock, self, address)
        self.up = up
        self.greetings = 0
        for request in prelude(self.proto, self.db, self.fleet.password):
            p = Pending(None, request, -1, True)
            p.kind = OWN
            up.request(p)
            self.greetings += 1

    def _wait_longer(self) -> None:
        self.resume_at = self.fleet.now + self.backoff
        self.backoff = min(self.backoff * 2, BACKOFF_MOST)

    def answered(self, up: Upstream, p: Pending, reply: bytes) -> None:
        """An error, a greeting, or a reply within a transaction."""
        if p.kind == OWN:
            self._greeted(up, reply)
            return
        if p.kind == BATCH and p.swallow > 0:
            p.swallow -= 1
            if reply[0] == 45 and len(p.complaint) == 0:
                p.complaint = reply
            up.put_back(p)
            return
        if reply[0] != 45:
            p.finish(reply)
            return
        said = p.complaint if len(p.complaint) > 0 else reply
        meaning = verdict(said)
        if meaning == FINAL or p.tries >= MAX_TRIES:
            p.finish(abort_text(p.complaint) if len(p.complaint) > 0 else reply)
            return
        p.tries += 1
        self.fleet.retried += 1
        p.rewind()
        if meaning == ASK and self._ask(p, said, up.address):
            return
        if meaning == MOVED and self.fleet.moved(said, up.address):
            self._hold(up, MOVED)
        else:
            self._hold(up, WAIT)
        self._park(p, self.retries)

    def _ask(self, p: Pending, said: bytes, asked: tuple[str, int]) -> bool:
        """Send the request to the node that has the key for the time being."""
        found = redirection(said)
        if found is None:
            return False
        shard = self.fleet.shard_at((found[1] or asked[0], found[2]))
        if shard < 0:
            return False
        p.asking = True
        self.fleet.lanes(self.proto, self.db).lanes[shard].submit(p)
        return True

    def _hold(self, up: Upstream, why: i64) -> None:
        """Send nothing more until all that is under way has been answered."""
        self.open = False
        up.tell_drained = True
        if self.holding != WAIT:
            self.holding = why
        self.hold_until = self.fleet.now + self.fleet.park_timeout

    def drained(self, up: Upstream) -> None:
        """All that was under way has been answered: go on here after MOVED, look for the primary anew otherwise."""
        if up is not self.up or self.holding == FINAL:
            return
        up.tell_drained = False
        why = self.holding
        self.holding = FINAL
        if why == MOVED:
            self.open = True
            self.release()
        else:
            up.close()

    def retarget(self) -> None:
        """The topology has changed: leave an upstream that is not the primary any more, once it owes nothing."""
        up = self.up
        self.backoff = BACKOFF_FIRST
        self.resume_at = self.fleet.now
        if up is None:
            if len(self.retries) + len(self.parked) > 0:
                self._connect()
        elif up.address != self._address():
            self._hold(up, WAIT)
            if up.due == 0 or not up.established:
                up.close()

    def _greeted(self, up: Upstream, reply: bytes) -> None:
        """Open the lane once the node has answered the whole prelude and says that it is a primary."""
        if up is not self.up or self.holding != FINAL:
            return
        if reply[0] == 45 or reply.find(b"role\r\n$7\r\nreplica\r\n") >= 0:
            up.close()
            return
        version = told_version(reply)
        if len(version) > 0:
            self.fleet.version = version
        self.greetings -= 1
        if self.greetings == 0:
            self.backoff = BACKOFF_FIRST
            self.open = True
            self.release()

    def release(self) -> None:
        """Send all that has waited, in order, each to the shard that owns its slot now."""
        fleet = self.fleet
        waiting = list(self.retries)
        waiting += self.parked
        self.retries.clear()
        self.parked.clear()
        lanes = fleet.lanes(self.proto, self.db)
        for p in waiting:
            fleet.parked_bytes -= len(p.request)
            if p.slot < 0 and self.shard < 0:
                fleet.submit(p, lanes)
            elif p.slot < 0 or p.asking:
                self.submit(p)
            else:
                lanes.by_slot[p.slot].submit(p)

    def lost(self, up: Upstream, unsent: list[Pending], doubtful: list[Pending]) -> None:
        """Keep what surely was not executed, answer the rest, and look for the primary again."""
        if up is self.up:
            self.up = None
            self.open = False
            self.holding = FINAL
            self._wait_longer()
        fleet = self.fleet
        for p in doubtful:
            if p.kind == OWN:
                continue
            if p.safe and p.tries < MAX_TRIES:
                self._again(p)
            else:
                fleet.unknown_outcomes += 1
                p.abandon(texts.UNKNOWN_OUTCOME, fleet.cut_unknown)
        for p in unsent:
            if p.kind != OWN:
                self._again(p)

    def _again(self, p: Pending) -> None:
        p.tries += 1
        p.rewind()
        self.fleet.retried += 1
        self._park(p, self.retries)

    def tick(self) -> None:
        """Give up what has waited too long; connect when something waits and it is time."""
        now = self.fleet.now
        self._expire(self.retries, now)
        self._expire(self.parked, now)
        up = self.up
        if up is None:
            if len(self.retries) + len(self.parked) > 0 and now >= self.resume_at:
                self._connect()
        elif (not self.open and self.holding == FINAL and now - self.started > CONNECT_TIMEOUT) or (
            self.holding != FINAL and now > self.hold_until
        ):
            up.close()

    def _expire(self, queue: deque[Pending], now: float) -> None:
        while len(queue) > 0 and queue[0].deadline <= now:
            p = queue.popleft()
            self.fleet.parked_bytes -= len(p.request)
            self.fleet.expired += 1
            p.finish(texts.DOWN)

    def shut(self) -> None:
        """Close for good."""
        if self.up is not None:
            self.up.close()


def prelude(proto: i64, db: i64, password: bytes) -> list[bytes]:
    """What a new connection to a node says first."""
    hello = [b"HELLO", b"%d" % proto]
    if password:
        hello += [b"AUTH", b"default", password]
    requests = [encode_request([*hello, b"SETNAME", CLIENT_NAME])]
    if db:
        requests.append(encode_request([b"SELECT", b"%d" % db]))
    return requests


def told_version(reply: bytes) -> bytes:
    """The version in a reply to HELLO, b"" when it has none."""
    mark = b"$7\r\nversion\r\n$"
    at = reply.find(mark)
    if at < 0:
        return b""
    start = reply.find(b"\r\n", at + len(mark)) + 2
    return reply[start : reply.find(b"\r\n", start)]


def abort_text(complaint: bytes) -> bytes:
    """EXEC's reply when a node refused a queued command for the reason `complaint`."""
    return b"-EXECABORT Transaction discarded because of: " + complaint[1:]
