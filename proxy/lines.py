"""Lines: connections to a node that one client has for itself, while a command blocks or keys are watched.

A line carries one request at a time. A request whose connection is lost goes again to the new primary when it surely
was not executed, or when it blocks: a blocked pop that was lost is what its client would repeat, and an element that
was popped just then is lost with the connection either way, as it is without a proxy. A line that watches keys is never
repaired: its transaction is answered as one whose keys have changed.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from proxy import texts
from proxy.lanes import BACKOFF_FIRST, BACKOFF_MOST, CONNECT_TIMEOUT, MAX_TRIES, Fleet, abort_text, prelude
from proxy.pending import BATCH, OWN, Pending
from proxy.routing import FINAL, MOVED, verdict
from proxy.upstream import Desk, Upstream, dial

IDLE_MOST: Final = 32  # connections kept for each shard, protocol version and database
IDLE_SECONDS: Final = 60.0


@final
class Idle:
    """A connection that waits for its next use."""

    def __init__(self, up: Upstream, shard: int, proto: int, db: int, since: float) -> None:
        self.up = up
        self.shard = shard
        self.proto = proto
        self.db = db
        self.since = since


@final
class Pool(Desk):
    """Idle private connections, and the lines in use, which it ticks."""

    fleet: Fleet
    idle: list[Idle]
    lines: dict[int, Line]

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.idle = []
        self.lines = {}

    def take(self, shard: int, proto: int, db: int) -> Upstream | None:
        """An idle connection to the primary of a shard, the one used last, or None."""
        address = self.fleet.places[shard].address if shard < len(self.fleet.places) else None
        for place in range(len(self.idle) - 1, -1, -1):
            one = self.idle[place]
            if one.shard == shard and one.proto == proto and one.db == db and one.up.address == address:
                del self.idle[place]
                return one.up
        return None

    def give(self, up: Upstream, shard: int, proto: int, db: int) -> None:
        """Keep a connection that is in its first state again."""
        alike = sum([1 for one in self.idle if one.shard == shard and one.proto == proto and one.db == db])
        up.desk = self
        up.tell_drained = False
        self.idle.append(Idle(up, shard, proto, db, self.fleet.now))
        if alike >= IDLE_MOST:
            up.close()

    def answered(self, up: Upstream, p: Pending, reply: bytes) -> None:
        """Nobody has asked: the connection is out of step."""
        up.close()

    def lost(self, up: Upstream, unsent: list[Pending], doubtful: list[Pending]) -> None:
        """An idle connection has gone."""
        self.idle = [one for one in self.idle if one.up is not up]

    def retarget(self) -> None:
        """The topology has changed: leave nodes that are primaries no more."""
        for line in list(self.lines.values()):
            line.retarget()
        for one in list(self.idle):
            if one.up.address != self.fleet.places[one.shard].address:
                one.up.close()

    def tick(self) -> None:
        """Move lines on that wait for a primary; drop what has been idle for long."""
        for line in list(self.lines.values()):
            line.tick()
        old = self.fleet.now - IDLE_SECONDS
        for one in list(self.idle):
            if one.since < old:
                one.up.close()

    def close(self) -> None:
        """Close everything."""
        for line in list(self.lines.values()):
            line.drop()
        for one in list(self.idle):
            one.up.close()


@final
class Line(Desk):
    """One private connection; see the module's text."""

    pool: Pool
    fleet: Fleet
    shard: i64
    proto: i64
    db: i64
    up: Upstream | None
    p: Pending | None
    sent: bool
    watching: bool
    broken: bool  # it watched keys, and the connection was lost
    once: bool  # to be closed after the reply, since nobody knows in what state it leaves the connection
    keep: bool  # not to be released after the reply
    started: float
    resume_at: float
    backoff: float

    def __init__(self, pool: Pool, shard: i64, proto: i64, db: i64) -> None:
        self.pool = pool
        self.fleet = pool.fleet
        self.shard = shard
        self.proto = proto
        self.db = db
        self.up = None
        self.p = None
        self.sent = False
        self.watching = False
        self.broken = False
        self.once = False
        self.keep = False
        self.started = 0.0
        self.resume_at = 0.0
        self.backoff = BACKOFF_FIRST
        pool.lines[id(self)] = self

    def run(self, p: Pending) -> None:
        """Send the request, as soon as there is a connection."""
        self.p = p
        self.sent = False
        if self.up is None:
            self._open()
        elif self.up.due == 0:
            self._send()

    def _send(self) -> None:
        up = self.up
        p = self.p
        assert up is not None
        assert p is not None
        self.sent = True
        p.deadline = 0.0
        up.request(p)

    def _open(self) -> None:
        idle = self.pool.take(int(self.shard), int(self.proto), int(self.db))
        if idle is not None:
            idle.desk = self
            idle.tell_drained = True
            self.up = idle
            self._send()
            return
        places = self.fleet.places
        address = places[self.shard].address if 0 <= self.shard < len(places) else None
        self.started = self.fleet.now
        if address is None:
            self._wait_longer()
            return
        try:
            sock = dial(address)
        except OSError:
            self._wait_longer()
            return
        up = Upstream(self.fleet.loop, sock, self, address)
        up.tell_drained = True
        self.up = up
        for request in prelude(self.proto, self.db, self.fleet.password):
            greeting = Pending(None, request, -1, True)
            greeting.kind = OWN
            up.request(greeting)

    def _wait_longer(self) -> None:
        p = self.p
        if p is not None and p.deadline == 0.0:
            p.deadline = self.fleet.now + self.fleet.park_timeout
        self.resume_at = self.fleet.now + self.backoff
        self.backoff = min(self.backoff * 2, BACKOFF_MOST)

    def answered(self, up: Upstream, p: Pending, reply: bytes) -> None:
        """An error, a greeting, or a reply within a transaction."""
        if p.kind == OWN:
            if reply[0] == 45 or reply.find(b"role\r\n$7\r\nreplica\r\n") >= 0:
                up.close()
            return
        if p.kind == BATCH and p.swallow > 0:
            p.swallow -= 1
            if reply[0] == 45 and len(p.complaint) == 0:
                p.complaint = reply
            up.put_back(p)
            return
        meaning = verdict(reply) if reply[0] == 45 else FINAL
        if meaning == FINAL or self.watching or p.tries >= MAX_TRIES:
            p.finish(abort_text(p.complaint) if len(p.complaint) > 0 else reply)
            return
        p.tries += 1
        p.rewind()
        if meaning == MOVED and self.fleet.moved(reply, up.address):
            self.shard = self.fleet.owners[p.slot]
        self.sent = False
        up.close()

    def drained(self, up: Upstream) -> None:
        """Greeted: send what waits. Answered: the connection is free."""
        if up is not self.up:
            return
        self.backoff = BACKOFF_FIRST
        if self.p is not None and not self.sent:
            self._send()
        elif self.sent:
            self.p = None
            self.sent = False
            if not self.keep:
                self.up = None
                self.pool.lines.pop(id(self), None)
                if self.once:
                    up.close()
                else:
                    self.pool.give(up, int(self.shard), int(self.proto), int(self.db))

    def lost(self, up: Upstream, unsent: list[Pending], doubtful: list[Pending]) -> None:
        """The request goes again when it may; a watched transaction is answered as failed."""
        if up is not self.up:
            return
        self.up = None
        p = self.p
        self.broken = self.watching
        if p is None:
            return
        if self.watching:
            self.p = None
            if self.sent and p in doubtful:
                p.abandon(texts.UNKNOWN_OUTCOME, self.fleet.cut_unknown)
            else:
                p.finish(b"*-1\r\n" if self.proto == 2 else b"_\r\n")
            return
        if self.sent and p.kind == BATCH and p in doubtful:
            self.p = None
            p.abandon(texts.UNKNOWN_OUTCOME, self.fleet.cut_unknown)
            return
        self.sent = False
        p.rewind()
        self._wait_longer()

    def retarget(self) -> None:
        """The topology has changed."""
        up = self.up
        self.resume_at = self.fleet.now
        if up is not None and up.address != self.fleet.places[self.shard].address:
            up.close()

    def tick(self) -> None:
        """Try again, or give up."""
        p = self.p
        now = self.fleet.now
        up = self.up
        if p is None:
            return
        if up is None:
            if p.deadline and now >= p.deadline:
                self.drop()
                p.finish(texts.DOWN)
            elif now >= self.resume_at:
                self._open()
        elif not self.sent and now - self.started > CONNECT_TIMEOUT:
            up.close()

    def drop(self) -> None:
        """Close the connection; the request, if any, is forgotten."""
        self.p = None
        self.pool.lines.pop(id(self), None)
        up = self.up
        self.up = None
        if up is not None:
            up.close()
