"""MONITOR: the clients that are shown every command, and the line that they are shown."""

from typing import Final, final

from node.session import Session

_ESCAPES: Final[dict[int, bytes]] = {
    34: b'\\"', 92: b"\\\\", 10: b"\\n", 13: b"\\r", 9: b"\\t", 7: b"\\a", 8: b"\\b",
}  # fmt: skip
_PIECES: Final[list[bytes]] = [
    _ESCAPES[c] if c in _ESCAPES else bytes([c]) if 32 <= c < 127 else b"\\x%02x" % c for c in range(256)
]


def quoted(text: bytes) -> bytes:
    """A string in double quotes, with escapes for what does not print, as Valkey shows it."""
    return b'"%b"' % b"".join([_PIECES[c] for c in text])


def source(s: Session) -> bytes:
    """Whence a command came: an address, a unix socket, or a script."""
    if s.conn is None and not s.primary_link:
        return b"lua"
    return b"unix:" + s.address[:-2] if s.address.startswith(b"/") else s.address


@final
class Monitors:
    """The sessions in MONITOR mode. They are shown a command once it is over."""

    sessions: dict[Session, None]
    active: bool

    def __init__(self) -> None:
        self.sessions = {}
        self.active = False

    def add(self, s: Session) -> None:
        """Show this session everything from now on."""
        self.sessions[s] = None
        self.active = True
        s.monitor = True
        s.refresh()

    def remove(self, s: Session) -> None:
        """The session is gone, or reset."""
        if s.monitor:
            del self.sessions[s]
            self.active = len(self.sessions) > 0
            s.monitor = False
            s.refresh()

    def show(self, now: float, s: Session, args: list[bytes]) -> None:
        """Tell everybody of a command of session `s`; `now` is Unix time in seconds."""
        micros = int(now * 1e6)
        line = b"+%d.%06d [%d %b] %b\r\n" % (
            micros // 1000000, micros % 1000000, s.dbid, source(s), b" ".join([quoted(arg) for arg in args]),
        )  # fmt: skip
        for listener in self.sessions:
            listener.reply.out.write(line)
            listener.touch()
