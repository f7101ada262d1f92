"""The data plane's loop: one trio task awaits the epoll descriptor, then runs a compiled `turn` over ready sockets.

Rules (measured; `docs/architecture.md` has the figures):
- a turn serves batches until nothing is ready or its budget is spent, so that trio's other tasks get the thread back;
- when nothing is ready it waits once more, for a millisecond, before it gives up: request-reply clients come back
  that fast;
- a connection is read at most 16 KB a batch (more only when one large argument is in progress), and stops to be served
  when 64 KB of its output are waiting: it is queued in `todo` and goes on in the next batch. Nobody can hog the loop;
- a connection with more than 1 MB unsent is not read until it has drained, so a client that never reads costs bounded
  memory;
- TLS is a non-blocking SSLSocket in the same loop; at most four handshake steps a batch, a handshake costs half a
  millisecond.

`Conn` is the base of every connection (the node's sessions, the proxy's clients and upstreams): it owns the socket
and the bytes that wait to be sent. Subclasses override `on_data` and `on_close`.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Final

from librt.strings import BytesWriter
from librt.time import time as wall_time
from mypy_extensions import i64, mypyc_attr

READ_SIZE: Final = 16 * 1024
READ_LARGE: Final = 1024 * 1024
OUTPUT_STOP: Final = 64 * 1024
UNSENT_STOP: Final = 1024 * 1024
HANDSHAKES_A_BATCH: Final = 4
EVENTS_A_BATCH: Final = 64
ACCEPTS_A_BATCH: Final = 64
PIECES_A_SEND: Final = 64
LINGER: Final = 0.001

_IN: Final = int(select.EPOLLIN)
_OUT: Final = int(select.EPOLLOUT)


@mypyc_attr(allow_interpreted_subclasses=True)
class Source:
    """Something with a descriptor that the loop watches."""

    fd: i64

    def __init__(self, fd: i64) -> None:
        self.fd = fd

    def on_event(self, events: i64) -> None:
        """The descriptor is ready: `events` are EPOLL* bits."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class Loop:
    """The epoll set, the connections that have more to do, and those whose output waits to be flushed."""

    sources: dict[int, Source]
    todo: list[Conn]
    unflushed: list[Conn]
    handshakes: i64
    linger: bool
    ended: bool  # the process is about to end: nothing is read any more
    read_bytes: i64  # net input since start
    sent_bytes: i64  # net output since start
    _epoll: select.epoll
    _wake: int  # eventfd that makes the epoll descriptor readable when a turn is wanted without an event
    _poll: Callable[[float, int], list[tuple[int, int]]]

    def __init__(self) -> None:
        self.sources = {}
        self.todo = []
        self.unflushed = []
        self.handshakes = 0
        self.linger = True
        self.ended = False
        self.read_bytes = 0
        self.sent_bytes = 0
        self._epoll = select.epoll()
        self._poll = self._epoll.poll
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake, _IN)

    def fileno(self) -> int:
        """The epoll descriptor: readable while any source is ready."""
        return self._epoll.fileno()

    def close(self) -> None:
        """Give the epoll descriptor back; connections must have been closed before."""
        self._epoll.close()
        os.close(self._wake)

    def add(self, source: Source, writing: bool = False) -> None:
        """Watch a source for reading, and for writing too when `writing`."""
        self.sources[source.fd] = source
        self._epoll.register(source.fd, _IN | _OUT if writing else _IN)

    def modify(self, source: Source, reading: bool, writing: bool) -> None:
        """Change what a source is watched for."""
        self._epoll.modify(source.fd, (_IN if reading else 0) | (_OUT if writing else 0))

    def remove(self, source: Source) -> None:
        """Stop watching; does nothing when the source is not watched."""
        if self.sources.pop(source.fd, None) is not None:
            self._epoll.unregister(source.fd)

    def before_batch(self) -> None:
        """Hook: the clock is read here."""

    def after_batch(self) -> None:
        """Hook: what a batch caused beyond its own connections is done here, before their output is flushed."""

    def pending(self) -> bool:
        """Whether a turn has work that no event announces."""
        return len(self.todo) > 0 or len(self.unflushed) > 0

    def turn(self, budget: float) -> None:
        """Serve batches for at most about `budget` seconds."""
        until = wall_time() + budget
        while not self.ended:
            events = self._poll(0, EVENTS_A_BATCH)
            if len(events) == 0 and not self.pending():
                if not self.linger:
                    return
                events = self._poll(LINGER, EVENTS_A_BATCH)
                if len(events) == 0:
                    return
            self.before_batch()
            self.handshakes = 0
            for fd, bits in events:
                if self.ended:
                    break
                source = self.sources.get(fd)
                if source is not None:
                    source.on_event(bits)
                elif fd == self._wake:
                    os.eventfd_read(fd)
            if len(self.todo) > 0:
                self._resume()
            self.after_batch()
            self.flush()
            if wall_time() >= until:
                return

    def settle(self) -> None:
        """For work done outside a turn (timers, trio tasks): send what it wrote, and have the loop go on with what it
        woke.
        """
        self.after_batch()
        self.flush()
        if self.pending():
            os.eventfd_write(self._wake, 1)

    def flush(self) -> None:
        """Send what was written to connections that are not the one being served."""
        while len(self.unflushed) > 0:
            waiting = self.unflushed
            self.unflushed = []
            for conn in waiting:
                conn.queued = False
                conn.flush()

    def _resume(self) -> None:
        """Go on with the connections that stopped at their output bound."""
        waiting = self.todo
        self.todo = []
        for conn in waiting:
            conn.in_todo = False
            if not conn.closed and not self.ended:
                conn.on_data(b"")
                conn.respond()


@mypyc_attr(allow_interpreted_subclasses=True)
class Conn(Source):
    """A connected stream socket with an output buffer. All methods may be called after it is closed and then do
    nothing.
    """

    loop: Loop
    sock: socket.socket
    out: BytesWriter
    unsent: deque[memoryview]
    unsent_bytes: i64
    sent_bytes: i64  # since the connection was made
    handshaking: bool
    connecting: bool
    closed: bool
    closing: bool  # close once everything is sent
    reading: bool  # watched for reading
    writing: bool  # watched for writing
    wants_read: bool  # the subclass wants to be read (False: blocked or paused)
    queued: bool  # in loop.unflushed
    in_todo: bool  # in loop.todo
    tls: bool
    _recv: Callable[[int], bytes]
    _send: Callable[[bytes | memoryview], int]
    _send_pieces: Callable[[list[memoryview]], int]

    def __init__(self, loop: Loop, sock: socket.socket, handshaking: bool = False, connecting: bool = False) -> None:
        super().__init__(sock.fileno())
        self.loop = loop
        self.sock = sock
        self.out = BytesWriter()
        self.unsent = deque()
        self.unsent_bytes = 0
        self.sent_bytes = 0
        self.tls = handshaking
        self.handshaking = handshaking
        self.connecting = connecting
        self.closed = False
        self.closing = False
        self.reading = True
        self.writing = connecting
        self.wants_read = True
        self.queued = False
        self.in_todo = False
        self._recv = sock.recv
        self._send = sock.send
        self._send_pieces = sock.sendmsg
        loop.add(self, connecting)

    # --- to be overridden
    def on_data(self, data: bytes) -> None:
        """Bytes came in; with b"" the connection goes on with what it has (after a stop at its output bound)."""
        raise NotImplementedError

    def on_connected(self) -> None:
        """An outgoing connection is established (after the TLS handshake, if any)."""

    def on_close(self) -> None:
        """The connection has just been closed, by whichever side; called once."""

    def on_drained(self) -> None:
        """Everything that had to wait for the peer has been sent."""

    def over_limit(self) -> bool:
        """Asked whenever unsent bytes have grown: True closes the connection at once."""
        return False

    def read_size(self) -> i64:
        """How many bytes to read at most."""
        return READ_SIZE

    # --- events
    def on_event(self, events: i64) -> None:
        """Serve the socket."""
        if self.connecting:
            self._finish_connect()
            return
        if self.handshaking:
            self._handshake()
            return
        if events & _OUT and self.writing:
            self._drain()
        if self.closed or not self.reading:
            if events & ~(_IN | _OUT) and not self.closed:  # hung up while we don't read
                self.close()
            return
        if events & ~_OUT:
            self._read()

    def _read(self) -> None:
        try:
            data = self._recv(self.read_size())
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()
            return
        if len(data) == 0:
            self.close()
            return
        self.loop.read_bytes += len(data)
        self.on_data(data)
        self.respond()

    def respond(self) -> None:
        """Have what `on_data` wrote sent at the end of the batch: what it promises has been handed on by then, and a
        client of many connections is woken once by many replies instead of by each.
        """
        if len(self.out) > 0:
            self.touch()

    def _finish_connect(self) -> None:
        if self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0:
            self.close()
            return
        self.connecting = False
        self._watch(True, False)
        if self.handshaking:
            self._handshake()
        else:
            self._connected()

    def _handshake(self) -> None:
        loop = self.loop
        if loop.handshakes >= HANDSHAKES_A_BATCH:
            return  # still ready, so the next batch comes back to it
        loop.handshakes += 1
        sock = self.sock
        assert isinstance(sock, ssl.SSLSocket)
        try:
            sock.do_handshake()
        except ssl.SSLWantReadError:
            self._watch(True, False)
            return
        except ssl.SSLWantWriteError:
            self._watch(True, True)
            return
        except (OSError, ValueError):
            self.close()
            return
        self.handshaking = False
        self._watch(True, False)
        self._connected()

    def _connected(self) -> None:
        """Tell the subclass, then send what was written while the connection was not there yet."""
        self.on_connected()
        if self.unsent_bytes > 0:
            self._drain()
        self.flush()

    # --- output
    def touch(self) -> None:
        """Have the output flushed at the end of this batch; for writes from outside the connection's own `on_data`."""
        if not self.queued and not self.closed:
            self.queued = True
            self.loop.unflushed.append(self)

    def again(self) -> None:
        """Have `on_data(b"")` called in the next batch."""
        if not self.in_todo and not self.closed:
            self.in_todo = True
            self.loop.todo.append(self)

    def full(self) -> bool:
        """Whether the output that waits is so large that serving should stop for now."""
        return len(self.out) + self.unsent_bytes > OUTPUT_STOP

    def flush(self) -> None:
        """Send what was written; what the socket does not take waits for EPOLLOUT."""
        size: i64 = len(self.out)
        if size == 0 or self.closed:
            if self.closing and self.unsent_bytes == 0:
                self.close()
            return
        data = self.out.getvalue()
        if size > OUTPUT_STOP:
            self.out = BytesWriter()
            self.new_out()
        else:
            self.out.truncate(0)
        self.send(data)

    def new_out(self) -> None:
        """Hook: `out` was replaced by a fresh writer because it had grown large."""

    def refer(self, data: bytes) -> i64:
        """Have large bytes sent behind what was written so far, by reference: copying them would take longer than
        sending them. What follows them has to be written to `out`. Returns the bytes that are not in `out` any more,
        or never were.
        """
        size: i64 = len(self.out)
        head = self.out.getvalue()
        self.out.truncate(0)
        if not self.closed:
            if size > 0:
                self.unsent.append(memoryview(head))
            self.unsent.append(memoryview(data))
            self.unsent_bytes += size + len(data)
            self.touch()
        return size + len(data)

    def send(self, data: bytes) -> None:
        """Send bytes after all that was sent before; they are kept by reference, not copied, until the socket takes
        them.
        """
        if self.closed:
            return
        size: i64 = len(data)
        sent: i64 = 0
        if self.unsent_bytes == 0 and not self.connecting and not self.handshaking:
            try:
                sent = self._send(data)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                self.close()
                return
            self.loop.sent_bytes += sent
            self.sent_bytes += sent
            if sent == size:
                if self.closing:
                    self.close()
                return
        self.unsent.append(memoryview(data)[sent:])
        self.unsent_bytes += size - sent
        if len(self.unsent) > 1 and not self.writing and not self.handshaking:  # nobody has tried the others yet
            self._drain()
            if self.unsent_bytes == 0:
                return
        if self.over_limit():
            self.close()
            return
        self._adjust()

    def _drain(self) -> None:
        """Send from the queue while the socket takes it."""
        unsent = self.unsent
        while len(unsent) > 0:
            wanted: i64 = 0
            try:
                if self.tls or len(unsent) == 1:
                    wanted = len(unsent[0])
                    sent: i64 = self._send(unsent[0])
                else:
                    pieces = list(islice(unsent, PIECES_A_SEND))
                    wanted = sum([len(piece) for piece in pieces])
                    sent = self._send_pieces(pieces)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError, InterruptedError):
                break
            except OSError:
                self.close()
                return
            self.loop.sent_bytes += sent
            self.sent_bytes += sent
            self.unsent_bytes -= sent
            self._skip(sent)
            if sent < wanted:
                break
        if self.unsent_bytes == 0:
            if self.closing:
                self.close()
                return
            self.on_drained()
        self._adjust()

    def _skip(self, sent: i64) -> None:
        """Take what was sent out of the queue."""
        unsent = self.unsent
        while len(unsent) > 0 and sent >= len(unsent[0]):
            sent -= len(unsent.popleft())
        if sent > 0:
            unsent[0] = unsent[0][sent:]

    def set_reading(self, wanted: bool) -> None:
        """Read the socket or leave its bytes in the kernel (blocked clients, paused clients)."""
        self.wants_read = wanted
        self._adjust()

    def _adjust(self) -> None:
        """Watch for what makes sense now: no reading behind a slow reader's megabyte, writing only while bytes wait."""
        if self.closed or self.connecting or self.handshaking:
            return
        reading = self.wants_read and not self.closing and self.unsent_bytes <= UNSENT_STOP
        writing = self.unsent_bytes > 0
        if reading != self.reading or writing != self.writing:
            self._watch(reading, writing)

    def _watch(self, reading: bool, writing: bool) -> None:
        self.reading = reading
        self.writing = writing
        self.loop.modify(self, reading, writing)

    def resume(self) -> None:
        """Read again after `set_reading(False)`, and go on with what was held back."""
        self.set_reading(True)
        self.again()

    def close_after_flush(self) -> None:
        """Close once everything written so far is sent; nothing more is read."""
        self.closing = True
        self.touch()

    def close(self) -> None:
        """Close now; unsent output is dropped."""
        if self.closed:
            return
        self.closed = True
        self.loop.remove(self)
        self.sock.close()
        self.unsent.clear()
        self.unsent_bytes = 0
        self.on_close()


@mypyc_attr(allow_interpreted_subclasses=True)
class Listener(Source):
    """A listening socket; `on_accept` gets each new non-blocking socket."""

    sock: socket.socket

    def __init__(self, loop: Loop, sock: socket.socket) -> None:
        super().__init__(sock.fileno())
        self.sock = sock
        sock.setblocking(False)
        loop.add(self)

    def on_event(self, events: i64) -> None:
        """Accept what waits, up to a bound."""
        for _ in range(ACCEPTS_A_BATCH):
            try:
                client, _address = self.sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self.on_accept_error(error)
                return
            client.setblocking(False)
            self.on_accept(client)

    def on_accept(self, client: socket.socket) -> None:
        """A client has connected; the socket is ours to wrap or close."""
        raise NotImplementedError

    def on_accept_error(self, error: OSError) -> None:
        """Accepting failed for a reason of ours (out of descriptors); the loop will come back."""
