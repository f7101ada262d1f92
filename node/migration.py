"""Migration: MIGRATE's transfer of keys to another server, as a task beside the loop.

The session is blocked meanwhile, other clients are served. A key that the target has taken is deleted here only if it
is still what was sent; else the client is told, and decides. Inside a transaction or a script, where nothing may come
in between, the transfer holds the whole node, as every MIGRATE does in Valkey.
"""

import socket
from typing import Final

import hiredis
import structlog
import trio
from mypy_extensions import i64

from cluster.resp.encode import encode_request
from node.engine import NOTIFY_GENERIC, Engine
from node.errors import CommandError
from node.ports import Migration, MovingKey
from node.rdb.encode import dump
from node.session import Session
from node.waiting import block, may_block, unblock

log: structlog.stdlib.BoundLogger = structlog.get_logger()

NO_LINK: Final = b"IOERR error or timeout connecting to the client"
NO_WRITE: Final = b"IOERR error or timeout writing to target instance"
NO_READ: Final = b"IOERR error or timeout reading from target instance"
CHANGED: Final = b"IOERR a key was changed while it was sent; the target has what it was, it was not deleted here"
TARGET_ERROR: Final = b"ERR Target instance replied with error: %b"
CHUNK: Final = 65536


class TransferError(Exception):
    """The transfer failed; `text` is the reply."""

    def __init__(self, text: bytes) -> None:
        super().__init__(text.decode())
        self.text = text


class Transfer:
    """One MIGRATE. `request` is all that is said to the target, `preamble` how many replies come before the keys'."""

    def __init__(
        self,
        e: Engine,
        s: Session,
        args: list[bytes],
        keys: list[MovingKey],
        auth: list[bytes],
        replace: bool,
        dbid: i64,
    ) -> None:
        self.session = s
        self.dbid: int = s.dbid
        self.host = args[1].decode(errors="replace")
        self.port = int(args[2])
        self.keys = keys
        self.copy = False
        self.timeout = 1.0
        self.answered: bytes = NO_READ  # what the session hears: empty for OK
        commands = [[b"AUTH", *auth]] if auth else []
        commands.append([b"SELECT", b"%d" % dbid])
        self.preamble = len(commands)
        verb = b"RESTORE-ASKING" if e.settings.cluster_enabled else b"RESTORE"
        for each in keys:
            ttl = max(each.expire_at - e.now_ms, 1) if each.expire_at > 0 else 0
            command = [verb, each.key, b"%d" % ttl, each.payload]
            commands.append([*command, b"REPLACE"] if replace else command)
        self.request = b"".join([encode_request(command) for command in commands])
        self.expected = len(commands)

    def answer(self, s: Session) -> None:
        """Write the outcome."""
        if self.answered:
            s.reply.error(self.answered)
        else:
            s.reply.ok()


class Migrator(Migration):
    """The service."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine
        self._nursery: trio.Nursery | None = None

    async def run(self) -> None:
        """Live as long as the node; transfers are tasks of this one."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await trio.sleep_forever()

    def send(
        self,
        session: Session,
        args: list[bytes],
        keys: list[MovingKey],
        auth: list[bytes],
        copy: bool,
        replace: bool,
        dbid: i64,
        timeout_ms: i64,
    ) -> None:
        """See Migration."""
        e = self.engine
        transfer = Transfer(e, session, args, keys, auth, replace, dbid)
        transfer.copy = copy
        transfer.timeout = timeout_ms / 1000
        if may_block(e, session) and session.conn is not None and self._nursery is not None:
            block(e, session, args, [], b"", 0, transfer.answer)
            self._nursery.start_soon(self._transfer, transfer)
            return
        try:
            moved = self._settle(transfer, _exchange(transfer))
        except TransferError as error:
            raise CommandError(error.text) from None
        if moved:
            e.replace_with([b"DEL", *moved])
        if transfer.answered:
            raise CommandError(transfer.answered)
        session.reply.ok()

    async def _transfer(self, transfer: Transfer) -> None:
        e = self.engine
        waiter = transfer.session.waiter
        try:
            replies = await _exchange_beside(transfer)
            for key in self._settle(transfer, replies):
                if e.journal.active:
                    e.journal.command(transfer.dbid, [b"DEL", key])
        except TransferError as error:
            transfer.answered = error.text
        if transfer.session.waiter is waiter and waiter is not None:
            if transfer.answered:
                e.stats.count_error(transfer.answered)
            unblock(e, transfer.session)
        e.loop.settle()

    def _settle(self, transfer: Transfer, replies: list[object]) -> list[bytes]:
        """Delete what the target has taken and has not changed here; returns those keys."""
        transfer.answered = b""
        for reply in replies:
            if isinstance(reply, hiredis.ReplyError) and not transfer.answered:
                transfer.answered = TARGET_ERROR % str(reply).encode()
        if any(isinstance(reply, hiredis.ReplyError) for reply in replies[: transfer.preamble]):
            return []
        moved: list[bytes] = []
        for each, reply in zip(transfer.keys, replies[transfer.preamble :], strict=True):
            if isinstance(reply, hiredis.ReplyError) or transfer.copy:
                continue
            if self._delete(transfer.dbid, each):
                moved.append(each.key)
            elif not transfer.answered:
                transfer.answered = CHANGED
        return moved

    def _delete(self, dbid: int, moved: MovingKey) -> bool:
        """Delete a key if it is what was sent; False when it is not (a key that is gone is as good as deleted)."""
        e = self.engine
        store = e.stores[dbid]
        value = store.peek(moved.slot, moved.key)
        if value is None:
            return True
        if not e.replication.primary or dump(value) != moved.payload:
            return False
        if store.expire_at(moved.slot, moved.key) != moved.expire_at:
            return False
        if e.snapshots.active:
            e.snapshots.before_write(moved.slot, moved.key)
        store.discard(moved.slot, moved.key)
        e.changed_in(dbid, moved.key, NOTIFY_GENERIC, b"del")
        return True


async def _exchange_beside(transfer: Transfer) -> list[object]:
    """Say all and hear every reply, each step within the timeout; raises TransferError."""
    stream: trio.SocketStream | None = None
    with trio.move_on_after(transfer.timeout):
        try:
            stream = await trio.open_tcp_stream(transfer.host, transfer.port)
        except socket.gaierror:
            raise TransferError(NO_LINK) from None
        except (OSError, ValueError):
            raise TransferError(NO_WRITE) from None  # Valkey learns of a refusal when it writes
    if stream is None:
        raise TransferError(NO_LINK)
    async with stream:
        sent = False
        with trio.move_on_after(transfer.timeout):
            try:
                await stream.send_all(transfer.request)
                sent = True
            except trio.BrokenResourceError:
                pass
        if not sent:
            raise TransferError(NO_WRITE)
        reader = _Replies(transfer.expected)
        while not reader.complete():
            data = b""
            with trio.move_on_after(transfer.timeout):
                try:
                    data = await stream.receive_some(CHUNK)
                except trio.BrokenResourceError:
                    pass
            reader.feed(data)
        return reader.replies


def _exchange(transfer: Transfer) -> list[object]:
    """The same while everything else stands still."""
    try:
        link = socket.create_connection((transfer.host, transfer.port), transfer.timeout)
    except (socket.gaierror, TimeoutError):
        raise TransferError(NO_LINK) from None
    except (OSError, ValueError, OverflowError):
        raise TransferError(NO_WRITE) from None
    with link:
        try:
            link.sendall(transfer.request)
        except OSError:
            raise TransferError(NO_WRITE) from None
        reader = _Replies(transfer.expected)
        while not reader.complete():
            try:
                reader.feed(link.recv(CHUNK))
            except OSError:
                raise TransferError(NO_READ) from None
        return reader.replies


class _Replies:
    """The target's replies, until there are as many as expected."""

    def __init__(self, expected: int) -> None:
        self.replies: list[object] = []
        self._expected = expected
        self._reader = hiredis.Reader(notEnoughData=Ellipsis)

    def complete(self) -> bool:
        """Whether every reply is there."""
        return len(self.replies) >= self._expected

    def feed(self, data: bytes) -> None:
        """Take what was received; raises TransferError for the end of the connection and for what is no reply."""
        if not data:
            raise TransferError(NO_READ)
        self._reader.feed(data)
        try:
            while not self.complete() and (reply := self._reader.gets()) is not Ellipsis:
                self.replies.append(reply)
        except hiredis.ProtocolError:
            raise TransferError(NO_READ) from None
