"""The ACL log: what was refused, similar refusals within a minute counted in one entry, the newest first."""

from typing import Final, final

from mypy_extensions import i64

from node.acl.check import DENIED_AUTH, DENIED_CHANNEL, DENIED_COMMAND, DENIED_DATABASE, DENIED_KEY

TOPLEVEL: Final = b"toplevel"
MULTI: Final = b"multi"
LUA: Final = b"lua"

REASONS: Final[dict[int, bytes]] = {
    DENIED_DATABASE: b"database",
    DENIED_COMMAND: b"command",
    DENIED_KEY: b"key",
    DENIED_AUTH: b"auth",
    DENIED_CHANNEL: b"channel",
}

_SAME_MS: Final = 60_000  # refusals closer than this are one entry
_LOOK_BACK: Final = 10  # entries that are compared


@final
class LogEntry:
    """One refusal, and how often it happened since `created_ms`; `object` is the command, key, channel or database."""

    id: i64
    count: i64
    reason: int
    context: bytes
    object: bytes
    user: bytes
    client: bytes  # the client's line as of the last time
    created_ms: i64
    updated_ms: i64

    def __init__(self, id: i64, reason: int, context: bytes, object: bytes, user: bytes, now_ms: i64) -> None:
        self.id = id
        self.count = 1
        self.reason = reason
        self.context = context
        self.object = object
        self.user = user
        self.client = b""
        self.created_ms = now_ms
        self.updated_ms = now_ms

    def same(self, other: "LogEntry") -> bool:
        """Whether the other refusal is this one once more."""
        return (
            self.reason == other.reason
            and self.context == other.context
            and -_SAME_MS <= self.updated_ms - other.updated_ms <= _SAME_MS
            and self.object == other.object
            and self.user == other.user
        )


@final
class AclLog:
    """The entries, the newest first."""

    entries: list[LogEntry]
    next_id: i64

    def __init__(self) -> None:
        self.entries = []
        self.next_id = 0

    def add(
        self, reason: int, context: bytes, object: bytes, user: bytes, client: bytes, now_ms: i64, longest: i64
    ) -> None:
        """Note a refusal; of more than `longest` entries the oldest go."""
        entry = LogEntry(self.next_id, reason, context, object, user, now_ms)
        for i in range(min(_LOOK_BACK, len(self.entries))):
            known = self.entries[i]
            if known.same(entry):
                del self.entries[i]
                self.entries.insert(0, known)
                known.client = client
                known.updated_ms = now_ms
                known.count += 1
                return
        entry.client = client
        self.next_id += 1
        self.entries.insert(0, entry)
        del self.entries[longest:]

    def clear(self) -> None:
        """ACL LOG RESET."""
        self.entries = []
