"""One client of a sentinel: who it is, what it listens to, and where its replies go. Pure but for the writer it
fills.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol, TypeAlias

from cluster.options import glob
from cluster.resp.replies import ReplyWriter
from sentinel.engine import Engine


class Session:
    """The state of a connection; `wake` is called when there is something to send."""

    def __init__(self, number: int, address: str, local: str, now: float, wake: Callable[[], None]) -> None:
        self.id = number
        self.address = address
        self.local = local
        self.name = b""
        self.library = {b"lib-name": b"", b"lib-ver": b""}
        self.trusted = False
        self.writer = ReplyWriter()
        self.channels: dict[bytes, None] = {}
        self.patterns: dict[bytes, re.Pattern[bytes]] = {}
        self.created = now
        self.active = now
        self.last_command = "NULL"
        self.closing = False
        self.wake = wake

    @property
    def subscriptions(self) -> int:
        """How many channels and patterns."""
        return len(self.channels) + len(self.patterns)

    def subscribe(self, channel: bytes) -> None:
        """Listen to a channel."""
        self.channels[channel] = None

    def psubscribe(self, pattern: bytes) -> None:
        """Listen to all channels that match a pattern."""
        self.patterns[pattern] = re.compile(glob(pattern).pattern, re.DOTALL)

    def confirm(self, kind: bytes, channel: bytes | None) -> None:
        """Tell the client how many subscriptions it has now."""
        self.writer.push(3)
        self.writer.bulk(kind)
        self.writer.bulk_or_null(channel)
        self.writer.integer(self.subscriptions)

    def deliver(self, channel: bytes, payload: bytes) -> int:
        """Send a message as often as the client's subscriptions ask for it; says how often that was."""
        writer = self.writer
        count = 0
        if channel in self.channels:
            writer.push(3)
            writer.bulk(b"message")
            writer.bulk(channel)
            writer.bulk(payload)
            count += 1
        for pattern, compiled in self.patterns.items():
            if compiled.fullmatch(channel):
                writer.push(4)
                writer.bulk(b"pmessage")
                writer.bulk(pattern)
                writer.bulk(channel)
                writer.bulk(payload)
                count += 1
        if count:
            self.wake()
        return count

    def describe(self, now: float) -> str:
        """The client's line in CLIENT LIST."""
        fields = (
            ("id", self.id),
            ("addr", self.address),
            ("laddr", self.local),
            ("name", self.name.decode("latin-1")),
            ("age", int(now - self.created)),
            ("idle", int(now - self.active)),
            ("flags", "P" if self.subscriptions else "N"),
            ("db", 0),
            ("sub", len(self.channels)),
            ("psub", len(self.patterns)),
            ("ssub", 0),
            ("multi", -1),
            ("watch", 0),
            ("cmd", self.last_command),
            ("user", "default"),
            ("resp", 3 if self.writer.resp3 else 2),
            ("lib-name", self.library[b"lib-name"].decode("latin-1")),
            ("lib-ver", self.library[b"lib-ver"].decode("latin-1")),
        )
        return " ".join(f"{k}={v}" for k, v in fields)


class Server(Protocol):
    """What commands need of the server."""

    engine: Engine
    sessions: dict[int, Session]
    started: float
    connections_received: int
    commands_processed: int

    def stop(self) -> None:
        """End the process in an orderly way."""


class CommandError(Exception):
    """The command is refused; the text, code included, is the reply."""


Handler: TypeAlias = Callable[[Server, Session, list[bytes]], None]


def text(word: bytes) -> str:
    """A word as text, whatever bytes it holds."""
    return word.decode("utf-8", "replace")
