"""Subscriptions of one client, over as many shards as they need.

A channel has its home at the shard that owns the slot of its name: PUBLISH goes there, so SUBSCRIBE does. A pattern is
subscribed at every shard, and so are the channels of keyspace notifications, which each shard speaks of its own keys. A
message counts only when it comes from its channel's home (or is a keyspace notification), so it arrives once whether or
not nodes pass messages on.

The proxy knows what the client has subscribed: when a primary is lost the subscriptions are renewed at the next one,
unseen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

from mypy_extensions import i64

from cluster.resp.encode import encode_request
from cluster.resp.errors import ProtocolError
from cluster.slots import key_slot
from proxy import texts
from proxy.lanes import BACKOFF_FIRST, CONNECT_TIMEOUT, Fleet, prelude
from proxy.pending import Pending
from proxy.session import bulk, null
from proxy.skipper import bulk_text, elements
from proxy.upstream import Desk, Upstream, dial

PLAIN_CHANNEL: Final = b"subscribe"
PATTERN: Final = b"psubscribe"
SHARD_CHANNEL: Final = b"ssubscribe"
_LEAVE: Final = {b"unsubscribe": PLAIN_CHANNEL, b"punsubscribe": PATTERN, b"sunsubscribe": SHARD_CHANNEL}
_MESSAGES: Final = (b"message", b"pmessage", b"smessage")
CHANGES: Final = (PLAIN_CHANNEL, PATTERN, SHARD_CHANNEL, *_LEAVE)
BACKLOG_MOST: Final = 16 << 20
UNCONFIRMED_MOST: Final = 1000  # confirmations that a client may have outstanding before it has to wait for them


def everywhere(kind: bytes, name: bytes) -> bool:
    """Whether a subscription has to be made at every shard."""
    return kind == PATTERN or name.startswith((b"__keyspace@", b"__keyevent@"))


@final
class Channels(Desk):
    """What a client is subscribed to. `write` gets bytes for it, `settled` is called when a change is complete."""

    fleet: Fleet
    proto: i64
    names: dict[bytes, dict[bytes, None]]
    ups: dict[int, Upstream]
    down: dict[int, float]  # shards that could not be reached: when to try again
    awaited: dict[tuple[bytes, bytes, int], int]  # how often each shard has still to confirm each change
    confirmations: list[tuple[bytes, bytes | None, int]]
    backlog: list[bytes]
    backlog_bytes: i64
    deadline: float
    changing: bool
    changes: i64  # commands that are not answered yet
    write: Callable[[bytes], None]
    settled: Callable[[], None]

    def __init__(self, fleet: Fleet, proto: i64, write: Callable[[bytes], None], settled: Callable[[], None]) -> None:
        self.fleet = fleet
        self.proto = proto
        self.names = {PLAIN_CHANNEL: {}, PATTERN: {}, SHARD_CHANNEL: {}}
        self.ups = {}
        self.down = {}
        self.awaited = {}
        self.confirmations = []
        self.backlog = []
        self.backlog_bytes = 0
        self.deadline = 0.0
        self.changing = False
        self.changes = 0
        self.write = write
        self.settled = settled

    def count(self, kind: bytes) -> int:
        """How many subscriptions of a kind there are."""
        return len(self.names[kind])

    def counts(self) -> tuple[int, int, int]:
        """Channels, patterns and shard channels."""
        return self.count(PLAIN_CHANNEL), self.count(PATTERN), self.count(SHARD_CHANNEL)

    def total(self) -> int:
        """How many subscriptions there are."""
        return sum([len(names) for names in self.names.values()])

    def change(self, command: bytes, names: list[bytes]) -> None:
        """Subscribe or unsubscribe; confirmations are written, and `settled` called, once the shards have confirmed.

        One change need not wait for that of another: a task queue's client that leaves fifty channels and joins a new
        one relies on the last to take effect at once.
        """
        if not self.changing:
            self.changing = True
            self.deadline = self.fleet.now + self.fleet.park_timeout
        self.changes += 1
        joining = command in self.names
        kind = command if joining else _LEAVE[command]
        held = self.names[kind]
        if not joining and not names:
            names = list(held)
            if not names:
                self.confirmations.append((command, None, self._shown(kind)))
        for name in names:
            if joining and name not in held:
                held[name] = None
                self._send(kind, command, name)
            elif not joining and name in held:
                del held[name]
                self._send(kind, command, name)
            self.confirmations.append((command, name, self._shown(kind)))
        self._maybe_settle()

    def _shown(self, kind: bytes) -> int:
        """The count that a confirmation shows: shard channels are counted apart."""
        return self.count(SHARD_CHANNEL) if kind == SHARD_CHANNEL else self.count(PLAIN_CHANNEL) + self.count(PATTERN)

    def _send(self, kind: bytes, command: bytes, name: bytes) -> None:
        for shard in self._shards(kind, name):
            awaited = (command, name, shard)
            self.awaited[awaited] = self.awaited.get(awaited, 0) + 1
            up = self.ups.get(shard)
            if up is not None:
                up.out.write(encode_request([command, name]))
                up.touch()
            elif command == kind:
                self._connect(shard)
            else:
                self._confirm(awaited)

    def _confirm(self, change: tuple[bytes, bytes, int]) -> None:
        """A shard has made a change."""
        left = self.awaited.get(change, 0) - 1
        if left > 0:
            self.awaited[change] = left
        else:
            self.awaited.pop(change, None)

    def _shards(self, kind: bytes, name: bytes) -> list[int]:
        if everywhere(kind, name):
            return self.fleet.active()
        return [int(self.home(name))]

    def home(self, name: bytes) -> i64:
        """The shard where a channel's messages are published."""
        if self.fleet.single:
            active = self.fleet.active()
            return active[0] if active else 0
        return self.fleet.owners[key_slot(name)]

    def _connect(self, shard: int) -> None:
        """Connect to a shard's primary and subscribe there to everything that belongs there."""
        self.down[shard] = self.fleet.now + BACKOFF_FIRST * 5
        places = self.fleet.places
        address = places[shard].address if 0 <= shard < len(places) else None
        if address is None:
            return
        try:
            sock = dial(address)
        except OSError:
            return
        up = Upstream(self.fleet.loop, sock, self, address)
        up.stream = True
        self.ups[shard] = up
        for request in prelude(self.proto, 0, self.fleet.password):
            up.out.write(request)
        for kind, names in self.names.items():
            for name in names:
                if shard in self._shards(kind, name):
                    up.out.write(encode_request([kind, name]))
        up.touch()

    def pushed(self, up: Upstream, message: bytes) -> None:
        """A message, a confirmation, or the answer to the greeting."""
        if message[0] == 45:
            up.close()
            return
        if message[0] not in b"*>":
            return
        try:
            parts = elements(message)
        except ProtocolError:
            up.close()
            return
        kind = bulk_text(parts[0]) if parts else b""
        shard = self._shard_of(up)
        if kind in _MESSAGES and len(parts) >= 3:
            if self._counts(kind, parts, shard):
                self._deliver(message)
        elif len(parts) == 3:
            self._confirm((kind, bulk_text(parts[1]), shard))
            self._maybe_settle()

    def _shard_of(self, up: Upstream) -> int:
        for shard, one in self.ups.items():
            if one is up:
                return shard
        return -1

    def _counts(self, kind: bytes, parts: list[bytes], shard: int) -> bool:
        """Whether a message is for the client: still subscribed, and from its channel's home."""
        subscribed = {b"message": PLAIN_CHANNEL, b"pmessage": PATTERN, b"smessage": SHARD_CHANNEL}[kind]
        if bulk_text(parts[1]) not in self.names[subscribed]:
            return False
        channel = bulk_text(parts[2 if kind == b"pmessage" else 1])
        return everywhere(PLAIN_CHANNEL, channel) or self.fleet.single or int(self.home(channel)) == shard

    def _deliver(self, message: bytes) -> None:
        if not self.changing:
            self.write(message)
            return
        self.backlog_bytes += len(message)
        if self.backlog_bytes <= BACKLOG_MOST:
            self.backlog.append(message)

    def _maybe_settle(self) -> None:
        """Confirm to the client, in the order of its request, when nothing is awaited any more."""
        if not self.changing or self.awaited:
            return
        self.changing = False
        self.changes = 0
        self.write(self._confirmed())
        for message in self.backlog:
            self.write(message)
        self.backlog.clear()
        self.backlog_bytes = 0
        self.settled()

    def _confirmed(self) -> bytes:
        """The confirmations, one a name."""
        head = b">3\r\n" if self.proto == 3 else b"*3\r\n"
        written: list[bytes] = []
        for word, name, count in self.confirmations:
            shown = null(self.proto) if name is None else bulk(name)
            written.append(head + bulk(word) + shown + b":%d\r\n" % count)
        self.confirmations = []
        return b"".join(written)

    def answered(self, up: Upstream, p: Pending, reply: bytes) -> None:
        """Never called: these upstreams are streams."""

    def lost(self, up: Upstream, unsent: list[Pending], doubtful: list[Pending]) -> None:
        """Subscribe again at the shard's next primary, from `tick`."""
        shard = self._shard_of(up)
        if shard >= 0:
            del self.ups[shard]
            self.down[shard] = self.fleet.now + BACKOFF_FIRST * 5
            for change in [one for one in self.awaited if one[2] == shard]:
                command, name, _ = change
                if name in self.names.get(command, {}):
                    self.awaited[change] = 1  # by the next connection
                else:
                    del self.awaited[change]  # left with the connection
            self._maybe_settle()

    def tick(self) -> None:
        """Renew what was lost; give up a change that no shard confirms."""
        now = self.fleet.now
        for shard, up in list(self.ups.items()):
            if up.address != self.fleet.places[shard].address or (
                up.connecting and now - self.deadline > CONNECT_TIMEOUT
            ):
                up.close()
        if self.total() or self.awaited:
            for shard, due in list(self.down.items()):
                if shard not in self.ups and now >= due and self._wanted(shard):
                    self._connect(shard)
        if self.changing and now > self.deadline:
            self.awaited.clear()
            self.confirmations.clear()
            self.changing = False
            self.write(texts.DOWN * int(self.changes))
            self.changes = 0
            self.settled()

    def _wanted(self, shard: int) -> bool:
        return any(shard in self._shards(kind, name) for kind, names in self.names.items() for name in names)

    def close(self) -> None:
        """Leave all channels."""
        for names in self.names.values():
            names.clear()
        self.awaited.clear()
        ups = list(self.ups.values())
        self.ups = {}
        self.down = {}
        for up in ups:
            up.close()


@final
class Monitors(Desk):
    """MONITOR on every shard at once, for one client."""

    fleet: Fleet
    ups: list[Upstream]
    write: Callable[[bytes], None]

    def __init__(self, fleet: Fleet, proto: i64, write: Callable[[bytes], None]) -> None:
        self.fleet = fleet
        self.ups = []
        self.write = write
        for shard in fleet.active():
            address = fleet.places[shard].address
            if address is None:
                continue
            try:
                up = Upstream(fleet.loop, dial(address), self, address)
            except OSError:
                continue
            up.stream = True
            for request in [*prelude(proto, 0, fleet.password), b"*1\r\n$7\r\nMONITOR\r\n"]:
                up.out.write(request)
            up.touch()
            self.ups.append(up)

    def pushed(self, up: Upstream, message: bytes) -> None:
        """Pass on the lines; they begin with the time, which no other simple string does."""
        if message[0] == 43 and 48 <= message[1] <= 57:
            self.write(message)

    def answered(self, up: Upstream, p: Pending, reply: bytes) -> None:
        """Never called: these upstreams are streams."""

    def lost(self, up: Upstream, unsent: list[Pending], doubtful: list[Pending]) -> None:
        """A shard is not watched any more."""
        self.ups = [one for one in self.ups if one is not up]

    def close(self) -> None:
        """Stop watching."""
        ups = self.ups
        self.ups = []
        for up in ups:
            up.close()
