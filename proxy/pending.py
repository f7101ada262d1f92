"""What is due: one `Pending` a command, a place in two queues at once.

The client's queue keeps the order of its requests, the upstream's queue the order in which its replies will come. Both
are intrusive lists (`next_c`, `next_u`), so a command costs one small object and no container. A reply that arrives for
the head of its client's queue is written at once; any other waits in its Pending until those before it are there.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final, final

from mypy_extensions import i64

from cluster.loop import Conn, Loop

PLAIN: Final = 0  # its reply goes to the client as it came
OWN: Final = 1  # the proxy's own request; its reply is dropped
PART: Final = 2  # a part of a command that was split: its reply goes to `join`
BATCH: Final = 3  # a transaction: `swallow` replies come before the one that counts


@final
class Pending:
    """A request that was sent or will be, and its reply once that is there and may not be written yet."""

    peer: Peer | None
    request: bytes
    reply: bytes | None
    next_c: Pending | None
    next_u: Pending | None
    kind: i64
    slot: i64  # -1: the command has no key and belongs to the shard `shard`
    shard: i64
    safe: bool  # may be sent again although it may have been executed: it only reads
    fatal: bool  # its outcome is unknown: the client's connection ends where its reply would be
    muted: bool  # the client has asked for no reply
    tries: i64
    end: i64  # where the request ends in the stream to its upstream
    deadline: float  # until when it may wait for a primary; 0: it has not waited
    join: Join | None
    index: i64  # its place in `join`
    parts: i64  # of a transaction: replies before the one that counts
    swallow: i64  # how many of them are still due
    complaint: bytes  # the first error among the replies swallowed
    asking: bool  # send it behind ASKING
    check: Callable[[bytes], bytes] | None  # sees the reply before the client does

    def __init__(self, peer: Peer | None, request: bytes, slot: i64, safe: bool) -> None:
        self.peer = peer
        self.request = request
        self.reply = None
        self.next_c = None
        self.next_u = None
        self.kind = PLAIN
        self.slot = slot
        self.shard = 0
        self.safe = safe
        self.fatal = False
        self.muted = False
        self.tries = 0
        self.end = 0
        self.deadline = 0.0
        self.join = None
        self.index = 0
        self.parts = 0
        self.swallow = 0
        self.complaint = b""
        self.asking = False
        self.check = None

    def rewind(self) -> None:
        """Make it ready to be sent once more."""
        self.swallow = self.parts
        self.complaint = b""
        self.asking = False
        self.next_u = None

    def abandon(self, reply: bytes, cut: bool) -> None:
        """Nobody knows whether it was executed: the client is told by `reply`, or by the end of its connection."""
        self.join_whole().fatal = cut
        self.finish(reply)

    def join_whole(self) -> Pending:
        """The command that this is a part of, or itself."""
        join = self.join
        return join.whole if join is not None else self

    def finish(self, reply: bytes) -> None:
        """The reply is there: hand it to the client, or to the join that waits for it."""
        check = self.check
        if check is not None:
            self.check = None
            reply = check(reply)
        join = self.join
        if join is not None:
            self.join = None
            join.take(self.index, reply)
            return
        peer = self.peer
        if peer is not None:
            peer.settle(self, reply)


@final
class Join:
    """Collects the replies of a command's parts; when all are there `merge` makes one of them for `whole`."""

    whole: Pending
    left: i64
    replies: list[bytes]
    merge: Callable[[list[bytes]], bytes]

    def __init__(self, whole: Pending, parts: i64, merge: Callable[[list[bytes]], bytes]) -> None:
        self.whole = whole
        self.left = parts
        self.replies = [b""] * parts
        self.merge = merge

    def take(self, index: i64, reply: bytes) -> None:
        """Note the reply of one part."""
        self.replies[index] = reply
        self.left -= 1
        if self.left == 0:
            self.whole.finish(self.merge(self.replies))


class Peer(Conn):
    """A client's connection, as far as the order of its replies goes."""

    head: Pending | None
    tail: Pending | None
    due: i64  # commands whose replies have not been written
    due_bytes: i64  # size of their requests
    mute: bool  # the command being served is to have no reply
    waiting: bool  # `on_room` is to be called as replies are written

    def __init__(self, loop: Loop, sock: socket.socket, handshaking: bool) -> None:
        super().__init__(loop, sock, handshaking)
        self.head = None
        self.tail = None
        self.due = 0
        self.due_bytes = 0
        self.mute = False
        self.waiting = False

    def expect(self, p: Pending) -> None:
        """Queue a command whose reply will come."""
        p.muted = self.mute
        tail = self.tail
        if tail is None:
            self.head = p
        else:
            tail.next_c = p
        self.tail = p
        self.due += 1
        self.due_bytes += len(p.request)

    def answer(self, reply: bytes) -> None:
        """Reply from the proxy itself, in order."""
        if self.mute:
            return
        if self.head is None:
            self.out.write(reply)
        else:
            p = Pending(self, b"", -1, True)
            p.reply = reply
            self.expect(p)

    def settle(self, p: Pending, reply: bytes) -> None:
        """The reply of `p` is there: write it and all that waited for it, or keep it until its turn comes."""
        if self.closed:
            return
        if p.muted:
            reply = b""
        if self.head is not p:
            p.reply = reply
            return
        if p.fatal:
            self.cut()
            return
        self.out.write(reply)
        self.due -= 1
        self.due_bytes -= len(p.request)
        after = p.next_c
        while after is not None:
            waited = after.reply
            if waited is None:
                break
            if after.fatal:
                self.cut()
                return
            self.out.write(waited)
            self.due -= 1
            self.due_bytes -= len(after.request)
            after = after.next_c
        self.head = after
        if after is None:
            self.tail = None
        if not self.queued:
            self.touch()
        if self.waiting:
            self.on_room()

    def cut(self) -> None:
        """Close once what has been written is sent; all that is still due is as unknown as the command that failed."""
        self.head = None
        self.tail = None
        self.close_after_flush()

    def on_room(self) -> None:
        """Called after replies were written while `waiting`."""

    def on_close(self) -> None:
        """Forget what is due; replies that still come are dropped."""
        p = self.head
        self.head = None
        self.tail = None
        while p is not None:
            after = p.next_c
            p.next_c = None
            p = after
        self.due = 0
        self.due_bytes = 0
