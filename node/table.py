"""The command table of a running node: a catalog row bound to its handler, with the counters of INFO commandstats.

Both spellings of a name, lower and upper case, are stored; others are found by lowering them once.
"""

from collections.abc import Callable
from typing import final

from mypy_extensions import i64

from cluster.catalog.model import (
    ADMIN,
    ALLOW_BUSY,
    ASKING,
    BLOCKING,
    DENYOOM,
    FAST,
    LOADING,
    MAY_REPLICATE,
    MOVABLEKEYS,
    NO_AUTH,
    NO_MULTI,
    NOSCRIPT,
    PUBSUB,
    READONLY,
    STALE,
    WRITE,
    Command,
)  # fmt: skip
from node.latency import Times


@final
class Entry:
    """One command or subcommand; the flags are those of the catalog row, flattened for the hot path."""

    command: Command
    name: bytes  # full name, `client|list`
    arity: i64
    handler: Callable[..., None]
    first_key: i64
    last_key: i64
    key_step: i64
    movable: bool  # keys are found by key specs, not by the first/last/step triple
    write: bool
    readonly: bool
    denyoom: bool
    loading: bool
    stale: bool
    no_auth: bool
    no_multi: bool
    noscript: bool
    may_replicate: bool
    pubsub: bool
    blocking: bool
    asking: bool
    admin: bool
    fast: bool
    allow_busy: bool
    keyed: bool  # has keys: the cluster gate looks at it
    checked: bool  # write or denyoom: the dispatcher looks at memory and role
    container: bool  # has subcommands
    subcommands: dict[bytes, "Entry"]
    calls: i64
    microseconds: float
    rejected: i64
    failed: i64
    times: Times | None  # of the calls that took more than a microsecond
    untimed: i64  # calls made while latency-tracking was off
    off_at: i64  # `calls` when it was switched off, -1 while it is on

    def __init__(self, command: Command, handler: Callable[..., None]) -> None:
        flags = command.flags
        self.command = command
        self.name = command.name
        self.arity = command.arity
        self.handler = handler
        # 0 where the first key may be left out (SUNSUBSCRIBE): the hot path takes it without counting the arguments.
        least: i64 = command.arity if command.arity > 0 else -command.arity
        self.first_key = command.first_key if least > command.first_key else 0
        self.last_key = command.last_key
        self.key_step = command.key_step
        self.write = flags & WRITE != 0
        self.readonly = flags & READONLY != 0
        self.denyoom = flags & DENYOOM != 0
        self.loading = flags & LOADING != 0
        self.stale = flags & STALE != 0
        self.no_auth = flags & NO_AUTH != 0
        self.no_multi = flags & NO_MULTI != 0
        self.noscript = flags & NOSCRIPT != 0
        self.may_replicate = flags & MAY_REPLICATE != 0
        self.pubsub = flags & PUBSUB != 0
        self.blocking = flags & BLOCKING != 0
        self.asking = flags & ASKING != 0
        self.admin = flags & ADMIN != 0
        self.fast = flags & FAST != 0
        self.allow_busy = flags & ALLOW_BUSY != 0
        self.movable = flags & MOVABLEKEYS != 0
        self.keyed = command.first_key > 0 or len(command.key_specs) > 0
        self.checked = self.write or self.denyoom
        self.container = len(command.subcommands) > 0
        self.subcommands = {}
        self.off_at = -1
        self.clear()

    def clear(self) -> None:
        """Forget what was counted (CONFIG RESETSTAT)."""
        self.calls = 0
        self.microseconds = 0.0
        self.rejected = 0
        self.failed = 0
        self.times = None
        self.untimed = 0
        if self.off_at > 0:
            self.off_at = 0

    def time_calls(self, wanted: bool) -> None:
        """Switch the histogram of times on or off (latency-tracking)."""
        if wanted and self.off_at >= 0:
            self.untimed += self.calls - self.off_at
            self.off_at = -1
        elif not wanted and self.off_at < 0:
            self.off_at = self.calls

    def timed(self) -> i64:
        """How many calls the histogram of times has."""
        return (self.calls if self.off_at < 0 else self.off_at) - self.untimed


def _container(engine: object, session: object, args: list[bytes]) -> None:
    """Stands in the entry of a container, which is never run itself: its arity asks for a subcommand."""
    raise AssertionError(args[0])


def build_table(commands: dict[bytes, Command], handlers: dict[bytes, Callable[..., None]]) -> dict[bytes, Entry]:
    """Bind every row to its handler. Raises KeyError naming a row without handler or a handler without row."""
    unused = set(handlers)
    table: dict[bytes, Entry] = {}
    for name, command in commands.items():
        if name not in handlers and not command.subcommands:
            raise KeyError(f"the catalog lists {name.decode()}, but no handler has that name")
        entry = Entry(command, handlers.get(name, _container))
        unused.discard(name)
        for sub in command.subcommands.values():
            if sub.name not in handlers:
                raise KeyError(f"the catalog lists {sub.name.decode()}, but no handler has that name")
            unused.discard(sub.name)
            entry.subcommands[sub.name.split(b"|")[1]] = Entry(sub, handlers[sub.name])
        table[name] = entry
        table[name.upper()] = entry
    if unused:
        raise KeyError(f"handlers without a catalog row: {b', '.join(sorted(unused)).decode()}")
    return table


def unknown(table: dict[bytes, Entry], args: list[bytes]) -> bytes:
    """The error for a command or subcommand that does not exist."""
    container = table.get(args[0].lower())
    if container is not None:
        shown = args[1][:128].split(b"\0")[0]  # Valkey prints it as a C string
        return b"ERR unknown subcommand '%b'. Try %b HELP." % (shown, container.name.upper())
    rest = b""
    for arg in args[1:]:
        if len(rest) >= 128:
            break
        rest += b"'%b' " % arg[: 128 - len(rest)]
    return b"ERR unknown command '%b', with args beginning with: %b" % (args[0][:128], rest)
