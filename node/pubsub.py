"""Publish and subscribe: who listens to which channel, pattern and shard channel, and delivery to them.

A message is encoded once for each protocol version and written to every subscriber's buffer; the loop flushes them at
the end of the batch, so a thousand messages to one subscriber are one send.
"""

from typing import Final, final

from mypy_extensions import i64

from node.match import glob_match
from node.session import Session

_MESSAGE: Final = b"message"
_PATTERN_MESSAGE: Final = b"pmessage"
_SHARD_MESSAGE: Final = b"smessage"


def encode(parts: list[bytes], resp3: bool) -> bytes:
    """A message of bulk strings: an array, in RESP3 a push."""
    encoded: list[bytes] = [b">%d\r\n" % len(parts) if resp3 else b"*%d\r\n" % len(parts)]
    for part in parts:
        encoded.append(b"$%d\r\n%b\r\n" % (len(part), part))
    return b"".join(encoded)


@final
class PubSub:
    """The subscriptions of this node. Sessions hold their own side (`session.channels` …); both are changed here
    together.
    """

    channels: dict[bytes, dict[Session, None]]
    patterns: dict[bytes, dict[Session, None]]
    shard_channels: dict[bytes, dict[Session, None]]

    def __init__(self) -> None:
        self.channels = {}
        self.patterns = {}
        self.shard_channels = {}

    def subscribe(self, s: Session, channel: bytes) -> None:
        """Subscribe to a channel; a second time changes nothing."""
        s.channels[channel] = None
        self.channels.setdefault(channel, {})[s] = None

    def psubscribe(self, s: Session, pattern: bytes) -> None:
        """Subscribe to all channels that match."""
        s.patterns[pattern] = None
        self.patterns.setdefault(pattern, {})[s] = None

    def ssubscribe(self, s: Session, channel: bytes) -> None:
        """Subscribe to a shard channel."""
        s.shard_channels[channel] = None
        self.shard_channels.setdefault(channel, {})[s] = None

    def unsubscribe(self, s: Session, channel: bytes) -> None:
        """Undo `subscribe`."""
        if s.channels.pop(channel, self) is not self:
            _drop(self.channels, channel, s)

    def punsubscribe(self, s: Session, pattern: bytes) -> None:
        """Undo `psubscribe`."""
        if s.patterns.pop(pattern, self) is not self:
            _drop(self.patterns, pattern, s)

    def sunsubscribe(self, s: Session, channel: bytes) -> None:
        """Undo `ssubscribe`."""
        if s.shard_channels.pop(channel, self) is not self:
            _drop(self.shard_channels, channel, s)

    def forget(self, s: Session) -> None:
        """The session is gone: drop all its subscriptions without a word."""
        for channel in list(s.channels):
            self.unsubscribe(s, channel)
        for pattern in list(s.patterns):
            self.punsubscribe(s, pattern)
        for channel in list(s.shard_channels):
            self.sunsubscribe(s, channel)

    def publish(self, channel: bytes, message: bytes) -> i64:
        """Deliver a message to the channel's subscribers and to those of matching patterns; returns how many got it."""
        receivers: i64 = 0
        subscribers = self.channels.get(channel)
        if subscribers is not None:
            receivers += _deliver(subscribers, [_MESSAGE, channel, message])
        if len(self.patterns) > 0:
            for pattern, listeners in list(self.patterns.items()):
                if glob_match(pattern, channel):
                    receivers += _deliver(listeners, [_PATTERN_MESSAGE, pattern, channel, message])
        return receivers

    def spublish(self, channel: bytes, message: bytes) -> i64:
        """Deliver a message to the subscribers of a shard channel."""
        subscribers = self.shard_channels.get(channel)
        return 0 if subscribers is None else _deliver(subscribers, [_SHARD_MESSAGE, channel, message])


def _drop(table: dict[bytes, dict[Session, None]], name: bytes, s: Session) -> None:
    listeners = table[name]
    del listeners[s]
    if not listeners:
        del table[name]


def _deliver(sessions: dict[Session, None], parts: list[bytes]) -> i64:
    resp2 = b""
    resp3 = b""
    for s in sessions:
        if s.reply.resp3:
            if not resp3:
                resp3 = encode(parts, True)
            s.reply.out.write(resp3)
        else:
            if not resp2:
                resp2 = encode(parts, False)
            s.reply.out.write(resp2)
        s.touch()
    return len(sessions)
