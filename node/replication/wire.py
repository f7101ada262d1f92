"""The connection to a primary: lines while both sides introduce themselves, bytes after; plain or TLS."""

import ssl
from typing import Final

import trio

from cluster.resp.encode import encode_request
from node.engine import Engine
from node.settings import Settings

READ: Final = 64 * 1024
LINE_MAX: Final = 1024


class LinkError(Exception):
    """The link can't go on; the text says why."""


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """How to speak to primaries: None for plain text. Raises LinkError.

    As in Valkey the certificate has to be one of the authority's, whatever its name; ours is shown if there is one.
    """
    options = settings.options
    if not options.flag("tls-replication"):
        return None
    authority = options.string("tls-ca-cert-file")
    if not authority:
        raise LinkError("tls-replication is on, but tls-ca-cert-file does not say whom to trust")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    try:
        context.load_verify_locations(authority)
        if options.string("tls-cert-file"):
            context.load_cert_chain(options.string("tls-cert-file"), options.string("tls-key-file") or None)
    except OSError as error:
        raise LinkError(f"tls-ca-cert-file, tls-cert-file or tls-key-file can't be read: {error}") from None
    return context


class Wire:
    """One connection; `patience` is how many seconds of silence it bears."""

    def __init__(self, stream: trio.abc.Stream, engine: Engine) -> None:
        self.stream = stream
        self.engine = engine
        self.last_io = trio.current_time()
        self._buffer = bytearray()

    def patience(self) -> float:
        """Seconds of silence after which the primary counts as lost (repl-timeout)."""
        return float(self.engine.settings.repl_timeout)

    async def _receive(self) -> bytes:
        with trio.fail_after(self.patience()):
            data = await self.stream.receive_some(READ)
        if not data:
            raise LinkError("the primary closed the connection")
        self.last_io = trio.current_time()
        self.engine.stats.repl_input += len(data)
        return bytes(data)

    async def send(self, *words: bytes) -> None:
        """Send a command. Only one task may do so at a time."""
        with trio.fail_after(self.patience()):
            await self.stream.send_all(encode_request(words))

    async def line(self) -> bytes:
        """The next line that is not empty (empty ones keep the link alive while the primary prepares)."""
        while True:
            end = self._buffer.find(b"\n")
            if end < 0:
                if len(self._buffer) > LINE_MAX:
                    raise LinkError("the primary sent a line without end")
                self._buffer += await self._receive()
                continue
            line = bytes(self._buffer[:end]).rstrip(b"\r")
            del self._buffer[: end + 1]
            if line:
                return line

    async def ask(self, *words: bytes) -> bytes:
        """Send a command and wait for its one-line reply."""
        await self.send(*words)
        return await self.line()

    async def some(self) -> bytes:
        """The next bytes, at least one."""
        if self._buffer:
            data = bytes(self._buffer)
            self._buffer.clear()
            return data
        return await self._receive()

    def give_back(self, data: bytes) -> None:
        """These bytes, taken by `some`, are to be read again."""
        self._buffer[:0] = data


async def connect(host: str, port: int, engine: Engine) -> Wire:
    """Reach a primary. Raises OSError, trio's errors, and LinkError."""
    context = tls_context(engine.settings)
    with trio.fail_after(float(engine.settings.repl_timeout)):
        stream: trio.abc.Stream = await trio.open_tcp_stream(host, port)
        if context is not None:
            secure = trio.SSLStream(stream, context, server_hostname=host, https_compatible=True)
            try:
                await secure.do_handshake()
            except BaseException as error:
                await trio.aclose_forcefully(secure)
                if isinstance(error, trio.BrokenResourceError):
                    raise LinkError(f"no TLS with the primary: {error.__cause__ or error}") from None
                raise
            stream = secure
    return Wire(stream, engine)
