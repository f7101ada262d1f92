"""The server that is followed: logging in, the full synchronization, the stream after it, and pausing it at the end.

The handshake is a replica's: REPLCONF, then PSYNC, or SYNC where the server is too old for it. What arrives is spooled
at once, whatever the target does, because a server drops a replica that does not take its stream.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import unquote, urlsplit

import trio

from cluster.link import Link, LinkClosed, LinkError, LinkTimeout, Reply, ReplyError, Word, encode, open_link
from cluster.tls import client_context
from node.moving.errors import DroppedError, RestartError, SourceError
from node.moving.spool import Spool

READ: Final = 256 << 10
LINE_MAX: Final = 4096
MARK: Final = 40
SILENCE: Final = 60.0  # seconds: a source that lives sends a PING or an empty line more often
PATIENCE: Final = 10.0
READS_AS: Final = "9.1.0"  # the Valkey whose snapshots are read here
RETRY_FIRST: Final = 0.5
RETRY_MOST: Final = 5.0
RETRY_FOR: Final = 120.0  # seconds without a source

ADVICE: Final = (
    "Nothing can follow this server. Take its data as a file instead: 'redis-cli --rdb dump.rdb' where that is "
    "allowed, or a backup that its operator exports, then 'kvorum import dump.rdb NAME'"
)
_RETRY_CODES: Final = frozenset(["LOADING", "NOMASTERLINK", "MASTERDOWN", "BUSY", "TRYAGAIN"])


class Address:
    """Where a source is. Never shown with its password."""

    def __init__(self, url: str) -> None:
        """Read a redis:// or rediss:// URL; raises SourceError."""
        try:
            parts = urlsplit(url.strip())
            port = parts.port
        except ValueError:
            raise SourceError("the source's URL is malformed; it looks like redis://user:password@host:6379") from None
        if parts.scheme not in ("redis", "rediss", "valkey", "valkeys") or not parts.hostname:
            raise SourceError("the source is a URL: redis://user:password@host:6379, or rediss:// for TLS")
        self.tls = parts.scheme in ("rediss", "valkeys")
        self.host = parts.hostname
        self.port = port or 6379
        self.user = unquote(parts.username) if parts.username else None
        self.password = unquote(parts.password) if parts.password is not None else None

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def tls_context(address: Address, ca: str, *, insecure: bool) -> ssl.SSLContext | None:
    """How the source's certificate is checked; None without TLS. Raises SourceError for an unusable CA file."""
    if not address.tls:
        return None
    try:
        context = client_context(Path(ca)) if ca else ssl.create_default_context()
    except (OSError, ssl.SSLError) as error:
        raise SourceError(f"the CA file {ca} can't be used: {error}") from error
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class Source:
    """One server; `login` gives a connection to it."""

    def __init__(self, address: Address, context: ssl.SSLContext | None) -> None:
        self.address = address
        self._context = context

    async def login(self) -> Link:
        """Connect and log in. Raises SourceError when that is refused, DroppedError when nobody answers."""
        user = self.address.user
        try:
            try:
                return await self._open(user)
            except ReplyError as error:
                if error.code not in ("WRONGPASS", "ERR") or user is None:
                    raise
                try:  # servers and add-ons from before there were users
                    return await self._open(None)
                except ReplyError:
                    raise error from None
        except ReplyError as error:
            if error.code in _RETRY_CODES:
                raise DroppedError(error.text) from error
            raise SourceError(f"{self.address} refuses the login: {self._clean(error.text)}") from error
        except LinkClosed as error:
            if isinstance(error.__cause__, ssl.SSLError) or "no TLS" in str(error):
                raise SourceError(
                    f"{error}. A certificate that is not from a public authority needs --ca FILE; --insecure leaves it "
                    "unchecked"
                ) from error
            raise DroppedError(str(error)) from error
        except LinkError as error:
            raise DroppedError(str(error)) from error

    def _clean(self, text: str) -> str:
        """An answer of the source without the password, should it be in there."""
        password = self.address.password
        return text.replace(password, "…") if password else text

    async def _open(self, user: str | None) -> Link:
        return await open_link(
            self.address.host,
            self.address.port,
            tls=self._context,
            username=user,
            password=self.address.password,
            connect_timeout=PATIENCE,
            timeout=PATIENCE,
        )


class Stream:
    """The replication link: `synchronize`, then `run` keeps the spool filled, over reconnections too."""

    def __init__(self, source: Source, spool: Spool, note: Callable[[str], None]) -> None:
        self.id = b""  # replication ID; b"": SYNC, which can't be continued
        self.base = 0  # offset at which the stream began
        self.connected = False
        self.ack: Callable[[], int] = lambda: self.base
        self._source = source
        self._spool = spool
        self._note = note
        self._stream: trio.abc.Stream | None = None
        self._buffer = bytearray()
        self._ack_now = trio.Event()
        self._prepared = False

    @property
    def received(self) -> int:
        """Offset up to which the stream is here."""
        return self.base + self._spool.received

    # --- the handshake
    async def _connect(self) -> None:
        link = await self._source.login()
        try:
            for words in (["PING"], ["REPLCONF", "capa", "eof", "capa", "psync2"], ["REPLCONF", "version", READS_AS]):
                reply = await link.call(*words)
                if isinstance(reply, ReplyError) and (reply.code == "NOAUTH" or reply.code in _RETRY_CODES):
                    self._refused("PING", reply.text)
            self._stream = link.detach()
        except LinkError as error:
            await link.aclose()
            raise DroppedError(str(error)) from error
        self._buffer.clear()

    def _refused(self, command: str, text: str) -> None:
        code = text.partition(" ")[0].lstrip("-")
        if code in _RETRY_CODES:
            raise DroppedError(f"the source answers {text}")
        if code == "NOAUTH":
            raise SourceError(f"{self._source.address} wants a password: redis://user:password@host:port")
        raise SourceError(f"{self._source.address} refuses {command}: {text}. {ADVICE}")

    async def _command(self, *words: Word) -> str:
        """Send a command and take the line that answers it."""
        assert self._stream is not None
        try:
            await self._stream.send_all(encode(words))
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError) as error:
            raise DroppedError(f"the source closed the connection at {words[0]!s}") from error
        return await self._line()

    async def prepare(self) -> None:
        """Connect, so that `synchronize` has nothing left to do but to ask. Raises as that."""
        await self._connect()
        self._prepared = True

    async def synchronize(self, progress: Callable[[int, int | None], None], file: BinaryIO) -> None:
        """Begin anew: write the snapshot into `file`; the first `progress` comes as soon as the source has begun it.

        Raises SourceError and DroppedError.
        """
        if not self._prepared:
            await self._connect()
        self._prepared = False
        answer = await self._command("PSYNC", "?", "-1")
        words = answer.split()
        if words[:1] == ["+FULLRESYNC"] and len(words) >= 3 and words[2].isdigit():
            self.id, self.base = words[1].encode(), int(words[2])
            head = await self._line()
        elif answer.startswith("-") and answer[1:].partition(" ")[0] not in _RETRY_CODES:
            head = await self._sync(answer[1:])
        else:
            self._refused("PSYNC", answer)
            head = answer
        if not head.startswith("$"):
            raise SourceError(f"{self._source.address} sends no snapshot but {head[:100]!r}. {ADVICE}")
        progress(0, None)
        await self._snapshot(head, progress, file)

    async def _sync(self, refusal: str) -> str:
        """The old way, which gives no offset."""
        await self._connect()
        try:
            head = await self._command("SYNC")
        except DroppedError as error:
            raise SourceError(
                f"{self._source.address} answers PSYNC by '{refusal}' and ends the connection at SYNC. {ADVICE}"
            ) from error
        if head.startswith("-"):
            raise SourceError(f"{self._source.address} answers PSYNC by '{refusal}' and SYNC by '{head[1:]}'. {ADVICE}")
        self.id, self.base = b"", 0
        return head

    async def _resume(self) -> None:
        """Go on where the stream ended. Raises RestartError when only a full synchronization is possible."""
        await self._connect()
        answer = await self._command("PSYNC", self.id, self.received + 1)
        words = answer.split()
        if words[:1] == ["+CONTINUE"]:
            if len(words) > 1:
                self.id = words[1].encode()
            return
        if words[:1] == ["+FULLRESYNC"]:
            raise RestartError("the source can't continue where the stream ended (its backlog is too small)")
        self._refused("PSYNC", answer)

    # --- reading
    async def _fill(self) -> None:
        assert self._stream is not None
        try:
            with trio.fail_after(SILENCE):
                data = await self._stream.receive_some(READ)
        except trio.TooSlowError as error:
            raise DroppedError(f"the source was silent for {SILENCE:.0f} s") from error
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError) as error:
            raise DroppedError(f"the connection broke: {error}") from error
        if not data:
            raise DroppedError("the source closed the connection")
        self._buffer += data

    async def _line(self) -> str:
        """The next line that is not empty (empty ones keep the link alive while the source prepares)."""
        while True:
            end = self._buffer.find(b"\n")
            if end < 0:
                if len(self._buffer) > LINE_MAX:
                    raise SourceError("the source sent a line without end")
                await self._fill()
                continue
            line = bytes(self._buffer[:end]).strip()
            del self._buffer[: end + 1]
            if line:
                return line.decode("utf-8", "replace")

    async def _snapshot(self, head: str, progress: Callable[[int, int | None], None], file: BinaryIO) -> None:
        if head.startswith("$EOF:") and len(head) == 5 + MARK:
            await self._snapshot_to_mark(head[5:].encode(), progress, file)
            return
        if not head[1:].isdigit():
            raise SourceError("the snapshot's length is no number")
        total = int(head[1:])
        missing = total
        while missing:
            if not self._buffer:
                await self._fill()
            piece = bytes(self._buffer[:missing])
            del self._buffer[: len(piece)]
            file.write(piece)
            missing -= len(piece)
            progress(total - missing, total)

    async def _snapshot_to_mark(self, mark: bytes, progress: Callable[[int, int | None], None], file: BinaryIO) -> None:
        written = 0
        while (found := self._buffer.find(mark)) < 0:
            keep = MARK - 1
            if len(self._buffer) > keep:
                written += file.write(bytes(self._buffer[:-keep]))
                del self._buffer[:-keep]
                progress(written, None)
            await self._fill()
        written += file.write(bytes(self._buffer[:found]))
        del self._buffer[: found + MARK]
        progress(written, written)

    # --- the stream
    async def run(self) -> None:
        """Keep the spool filled, for ever. Raises RestartError when the stream can't be continued."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._acknowledge)
            while True:
                self.connected = True
                try:
                    while True:
                        if self._buffer:
                            self._spool.put(bytes(self._buffer))
                            self._buffer.clear()
                        await self._fill()
                except DroppedError as error:
                    self.connected = False
                    await self.aclose()
                    if not self.id:
                        raise RestartError(f"{error}, and a source that knows SYNC alone can't continue") from error
                    self._note(f"the link to the source is down: {error}; it is opened again")
                await self._reconnect()

    async def _reconnect(self) -> None:
        pause = RETRY_FIRST
        reason = ""
        with trio.move_on_after(RETRY_FOR):
            while True:
                try:
                    await self._resume()
                    self._note(f"the stream goes on at offset {self.received + 1}")
                    return
                except DroppedError as error:
                    reason = str(error)
                    await self.aclose()
                    await trio.sleep(pause)
                    pause = min(pause * 2, RETRY_MOST)
        raise SourceError(f"the source can't be reached any more: {reason}")

    def answer_now(self) -> None:
        """The source has asked for the offset."""
        self._ack_now.set()

    async def _acknowledge(self) -> None:
        while True:
            stream = self._stream
            if self.connected and stream is not None:
                try:
                    with trio.move_on_after(PATIENCE):
                        await stream.send_all(encode(["REPLCONF", "ACK", self.ack()]))
                except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError, OSError):
                    pass  # the reading task notices
            self._ack_now = trio.Event()
            with trio.move_on_after(1):
                await self._ack_now.wait()

    async def aclose(self) -> None:
        """Close the connection."""
        if self._stream is not None:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(self._stream)
            self._stream = None


class Steering:
    """A second connection to the source, on which it is asked and paused. Whatever is refused there is a value."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._link: Link | None = None

    async def call(self, *words: Word) -> Reply:
        """A reply; a ReplyError also where the source can't be reached."""
        try:
            if self._link is None or self._link.broken is not None:
                self._link = await self._source.login()
            return await self._link.call(*words)
        except (LinkError, LinkTimeout) as error:
            return error if isinstance(error, ReplyError) else ReplyError(str(error))
        except (SourceError, DroppedError) as error:
            return ReplyError(str(error))

    async def aclose(self) -> None:
        """Close the connection."""
        if self._link is not None:
            await self._link.aclose()
