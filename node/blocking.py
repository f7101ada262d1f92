"""Who waits for which keys: the records of blocked sessions, first come first served, and when their time is up.

Pure bookkeeping; `node.waiting` acts on it. A session waits for several keys of one database at once and for one type
of value. `signal` notes that a key may serve somebody; it costs nothing while nobody waits for that key.
"""

import heapq
from collections.abc import Callable
from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from node.session import Session

_SPARE: Final = 64  # dead entries of the heap that are always tolerated


@final
@mypyc_attr(acyclic=True)
class Waiter:
    """One blocked session. `args` is executed again when a key of `keys` holds a value of type `kind`."""

    session: Session
    dbid: i64
    keys: list[bytes]  # empty for a session that waits for something else than keys
    kind: bytes
    args: list[bytes]
    deadline: i64  # Unix ms, 0 = never
    answer: Callable[[Session], None]  # writes the reply of a timeout
    lasting: bool  # waits on when the key goes or holds something else; else it is woken to hear of that (XREADGROUP)

    def __init__(
        self,
        session: Session,
        keys: list[bytes],
        kind: bytes,
        args: list[bytes],
        deadline: i64,
        answer: Callable[[Session], None],
        lasting: bool = True,
    ) -> None:
        self.session = session
        self.dbid = session.dbid
        self.keys = keys
        self.kind = kind
        self.args = args
        self.deadline = deadline
        self.answer = answer
        self.lasting = lasting


@final
class Blocking:
    """All waiters of the node. `count` is their number, `ready` the keys that were signalled and not served yet."""

    count: i64
    fragile: i64  # how many of them are not lasting
    ready: list[tuple[int, bytes]]
    serving: bool  # the ready keys are being served; set by node.waiting
    _signalled: set[tuple[int, bytes]]
    _touched: set[tuple[int, bytes]]  # of these, those that have changed and were not signalled otherwise
    _waiting: dict[tuple[int, bytes], dict[int, Waiter]]
    _waiters: dict[int, Waiter]
    _deadlines: list[tuple[int, int, Waiter]]
    _order: i64

    def __init__(self) -> None:
        self.count = 0
        self.fragile = 0
        self.ready = []
        self.serving = False
        self._signalled = set()
        self._touched = set()
        self._waiting = {}
        self._waiters = {}
        self._deadlines = []
        self._order = 0

    def add(self, waiter: Waiter) -> None:
        """Queue a waiter behind those that wait for the same keys."""
        ident = waiter.session.id
        self._waiters[ident] = waiter
        self.count = len(self._waiters)
        if not waiter.lasting:
            self.fragile += 1
        for key in waiter.keys:
            self._waiting.setdefault((waiter.dbid, key), {})[ident] = waiter
        if waiter.deadline > 0:
            self._order += 1
            heapq.heappush(self._deadlines, (waiter.deadline, self._order, waiter))

    def remove(self, waiter: Waiter) -> None:
        """Take a waiter out of every queue."""
        ident = waiter.session.id
        if self._waiters.pop(ident, None) is None:
            return
        self.count = len(self._waiters)
        if not waiter.lasting:
            self.fragile -= 1
        for key in waiter.keys:
            place = (waiter.dbid, key)
            queue = self._waiting.get(place)
            if queue is not None and queue.pop(ident, None) is not None and len(queue) == 0:
                del self._waiting[place]
        if len(self._deadlines) > 2 * self.count + _SPARE:
            self._deadlines = [entry for entry in self._deadlines if self.holds(entry[2])]
            heapq.heapify(self._deadlines)

    def holds(self, waiter: Waiter) -> bool:
        """Whether this waiter still waits."""
        return self._waiters.get(waiter.session.id) is waiter

    def waiters(self) -> list[Waiter]:
        """Everybody who waits."""
        return list(self._waiters.values())

    def waiters_for(self, dbid: i64, key: bytes) -> list[Waiter]:
        """Who waits for a key, the longest waiting first."""
        queue = self._waiting.get((dbid, key))
        return [] if queue is None else list(queue.values())

    def keys_waited_for(self, dbid: i64) -> list[bytes]:
        """The keys of a database that somebody waits for."""
        return [place[1] for place in self._waiting if place[0] == dbid]

    def signal(self, dbid: i64, key: bytes) -> None:
        """A key has got a value: it will be looked at when the running command or transaction is over."""
        place = (dbid, key)
        if place in self._waiting:
            self._touched.discard(place)
            if place not in self._signalled:
                self._signalled.add(place)
                self.ready.append(place)

    def touch(self, dbid: i64, key: bytes) -> None:
        """A key has changed and may be gone, which waiters that are not lasting have to hear."""
        place = (dbid, key)
        if place in self._waiting and place not in self._signalled:
            self._signalled.add(place)
            self._touched.add(place)
            self.ready.append(place)

    def touch_all(self) -> None:
        """Every key may be gone."""
        for place in list(self._waiting):
            self.touch(place[0], place[1])

    def only_touched(self, dbid: i64, key: bytes) -> bool:
        """Whether the key just taken was touched and not signalled."""
        place = (dbid, key)
        if place not in self._touched:
            return False
        self._touched.discard(place)
        return True

    def signal_all(self, dbid: i64) -> None:
        """A database was swapped or replaced: every key that is waited for may have got a value."""
        for key in self.keys_waited_for(dbid):
            self.signal(dbid, key)

    def take_ready(self) -> tuple[int, bytes]:
        """The key that was signalled first."""
        place = self.ready.pop(0)
        self._signalled.discard(place)
        return place

    def next_deadline(self) -> i64:
        """When the first waiter's time is up, Unix ms; 0 when none has a deadline."""
        deadlines = self._deadlines
        while deadlines and not self.holds(deadlines[0][2]):
            heapq.heappop(deadlines)
        return deadlines[0][0] if deadlines else 0

    def due(self, now_ms: i64) -> list[Waiter]:
        """The waiters whose time is up, in the order of their deadlines; they are still queued."""
        found: list[Waiter] = []
        while True:
            deadline = self.next_deadline()
            if deadline == 0 or deadline > now_ms:
                return found
            found.append(heapq.heappop(self._deadlines)[2])
