"""One connection to a node: requests go out, and replies are skipped over and handed on, as slices of what came in."""

from __future__ import annotations

import socket
from typing import Final, final

from mypy_extensions import i64

from cluster.loop import Conn, Loop
from cluster.resp.errors import ProtocolError
from proxy.pending import PLAIN, Pending
from proxy.skipper import ReplySkipper

FAULTS: Final[list[str]] = []  # faults of ours, for the edge to log
_READ_SIZE: i64 = 64 * 1024


class Desk:
    """Who owns an upstream: takes what is not plain routine."""

    def answered(self, up: Upstream, p: Pending, reply: bytes) -> None:
        """A reply came that is an error, or whose Pending is not PLAIN."""
        raise NotImplementedError

    def pushed(self, up: Upstream, message: bytes) -> None:
        """A push message came (RESP3), or anything at all while `up.stream` is set."""

    def drained(self, up: Upstream) -> None:
        """All replies that were due have come; called only while `up.tell_drained`."""

    def lost(self, up: Upstream, unsent: list[Pending], doubtful: list[Pending]) -> None:
        """The connection is gone: `unsent` surely never reached the node whole, `doubtful` may have been executed."""
        raise NotImplementedError


@final
class Upstream(Conn):
    """A pipelined connection to the node at `address`; writes are buffered while it is still being established."""

    desk: Desk
    address: tuple[str, int]
    skipper: ReplySkipper
    first: Pending | None
    last: Pending | None
    due: i64
    tell_drained: bool
    stream: bool  # replies are a stream of messages and belong to no request (subscriptions in RESP2, MONITOR)
    established: bool
    _offered: i64  # bytes given to `send` since the beginning
    _sending: i64  # bytes that the `send` in progress was given

    def __init__(self, loop: Loop, sock: socket.socket, desk: Desk, address: tuple[str, int]) -> None:
        super().__init__(loop, sock, False, True)
        self.desk = desk
        self.address = address
        self.skipper = ReplySkipper()
        self.first = None
        self.last = None
        self.due = 0
        self.tell_drained = False
        self.stream = False
        self.established = False
        self._offered = 0
        self._sending = 0

    def read_size(self) -> i64:
        """More than a client's: many clients share the connection."""
        return _READ_SIZE

    def on_event(self, events: i64) -> None:
        """As Conn.on_event; a fault of ours while handing on a reply costs this connection, not the process."""
        try:
            super().on_event(events)
        except Exception as error:
            FAULTS.append(repr(error))
            self.close()

    def on_connected(self) -> None:
        """From now on a lost connection says something about the node."""
        self.established = True

    def request(self, p: Pending) -> None:
        """Send a request; its reply will be the next one that is due."""
        out = self.out
        if p.asking:
            p.asking = False
            asking = Pending(None, b"*1\r\n$6\r\nASKING\r\n", -1, True)
            asking.kind = 1  # OWN
            self.request(asking)
        out.write(p.request)
        p.end = self._offered + len(out)
        last = self.last
        if last is None:
            self.first = p
        else:
            last.next_u = p
        self.last = p
        self.due += 1
        if not self.queued:
            self.touch()

    def put_back(self, p: Pending) -> None:
        """The reply just handed out was not the last of this request: the next one is its, too."""
        p.next_u = self.first
        if self.first is None:
            self.last = p
        self.first = p
        self.due += 1

    def flush(self) -> None:
        """As Conn.flush; what is written before the connection is established stays in `out` until then."""
        if not self.connecting:
            super().flush()

    def send(self, data: bytes) -> None:
        """As Conn.send, and keeps count, so that `close` knows which requests never left."""
        size: i64 = len(data)
        self._offered += size
        self._sending = size
        super().send(data)
        self._sending = 0

    def on_data(self, data: bytes) -> None:
        """Hand every complete reply to the command it belongs to."""
        skipper = self.skipper
        skipper.feed(data)
        try:
            while not self.closed and skipper.next():
                kind = skipper.kind
                if self.stream or kind == 62:  # >
                    self.desk.pushed(self, skipper.reply())
                    continue
                p = self.first
                if p is None:
                    self.close()
                    return
                after = p.next_u
                self.first = after
                if after is None:
                    self.last = None
                p.next_u = None
                self.due -= 1
                if kind == 45 or p.kind != PLAIN:  # -
                    self.desk.answered(self, p, skipper.reply())
                else:
                    p.finish(skipper.reply())
        except ProtocolError:
            self.close()
            return
        if self.tell_drained and self.first is None and not self.closed:
            self.desk.drained(self)

    def close(self) -> None:
        """Close, and give the desk all requests that have no reply, divided by whether they can have been executed."""
        if self.closed:
            return
        sent = self._offered - self.unsent_bytes - self._sending
        super().close()
        unsent: list[Pending] = []
        doubtful: list[Pending] = []
        p = self.first
        self.first = None
        self.last = None
        self.due = 0
        while p is not None:
            after = p.next_u
            p.next_u = None
            if p.end > sent:
                unsent.append(p)
            else:
                doubtful.append(p)
            p = after
        self.desk.lost(self, unsent, doubtful)


def dial(address: tuple[str, int]) -> socket.socket:
    """A non-blocking socket on its way to an IPv4 or IPv6 address, or to a name to look up. Raises OSError."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.connect_ex(address)
    except OSError:
        sock.close()
        raise
    return sock
