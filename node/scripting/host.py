"""What Lua may call: the callables behind `server.*`. None of them ever raises into Lua."""

import hashlib
from collections.abc import Callable
from typing import Final, final

from mypy_extensions import i64

from node.engine import Engine
from node.scripting.bytecode import keep_callers
from node.scripting.functions import Code, Function
from node.scripting.sandbox import MEMORY_LIMIT
from node.scripting.values import ERROR, EXHAUSTED, PORTION, argument, number_text, plain, to_lua
from node.session import Session
from node.table import Entry

HEADROOM: Final = 1024 * 1024  # bytes of Lua's memory that stay free for what Python hands over
SMALL: Final = HEADROOM // 8  # bytes of a reply for which the prelude makes sure that there is room

_NO_ARGUMENTS: Final = b"ERR Please specify at least one argument for this call"
_BAD_ARGUMENT: Final = b"ERR Command arguments must be strings or integers"
_NO_SUCH_COMMAND: Final = b"ERR Invalid command passed to server.acl_check_cmd()"
_OUR_FAULT: Final = b"ERR internal error while calling a command from a script, see the log"


def _silent(level: int, message: bytes) -> None:
    """Stands where the edge has not said yet where messages go."""


class Host:
    """The node as scripts reach it. `session` is the one in whose name commands run while a script runs."""

    engine: Engine
    session: Session
    log_to: Callable[[int, bytes], None]
    memory_used: Callable[[], int]
    tick_to: Callable[[], bytes | None]
    register_to: Callable[[Function], None]
    overfull: bool  # the last script has left much behind
    _result: object  # of the last `run`, None when it is still in the session's writer
    _tokens: list[object]
    _taken: i64

    def __init__(
        self,
        engine: Engine,
        session: Session,
        tick_to: Callable[[], bytes | None],
        register_to: Callable[[Function], None],
    ) -> None:
        self.engine = engine
        self.session = session
        self.log_to = _silent
        self.memory_used = int
        self.tick_to = tick_to
        self.register_to = register_to
        self.overfull = False
        self._result = None
        self._tokens = []
        self._taken = 0

    def callables(self) -> list[Callable[..., object]]:
        """In the order in which the prelude names them."""
        return [
            self.call, self.command, self.result, self.full, self.pull, self.sha1, self.log, self.set, self.acl,
            self.double, self.tick, self.register, self.patch,
        ]  # fmt: skip

    def call(self, *values: object) -> object:
        """server.call and server.pcall: run a command; the prelude has the forms of what is returned."""
        try:
            args: list[bytes] = []
            for value in values:
                text = argument(value)
                if text is None:
                    return (None, ERROR, _BAD_ARGUMENT, False)
                args.append(text)
            if len(args) == 0:
                return (None, ERROR, _NO_ARGUMENTS, False)
            s = self.session
            s.reply.out.truncate(0)
            refusal = s.executor.call_from_script(s, args)
            if refusal is not None:
                return (None, ERROR, refusal, True)
            return self._whole()
        except Exception:
            return (None, ERROR, _OUR_FAULT, False)

    def command(self, name: bytes, count: i64) -> object:
        """The command of this name as something to look `count` - 1 arguments up in; None or False when it has none.

        Other spellings than the usual two have none, and nothing that has subcommands: there is a bounded number of
        them, which the prelude keeps.
        """
        entry = self.engine.table.get(name)
        if entry is None:
            return None
        if entry.container:
            return False
        if count == 2:
            return Command1(self, entry, name)
        return Command2(self, entry, name) if count == 3 else Command3(self, entry, name)

    def run(self, entry: Entry, args: list[bytes]) -> object:
        """Run a command whose reply is mostly one plain value: this, or None when the prelude has to ask for
        `result`. The prelude has seen to it that there is room for a small reply.
        """
        self._result = None
        try:
            s = self.session
            out = s.reply.out
            out.truncate(0)
            refusal = s.executor.call_entry(s, entry, args)
            if refusal is not None:
                self._result = (None, ERROR, refusal, True)
                return None
            return plain(out) if len(out) <= SMALL else None
        except Exception:
            self._result = (None, ERROR, _OUR_FAULT, False)
            return None

    def run_any(self, entry: Entry, name: bytes, values: list[object]) -> object:
        """As `run`, with arguments that are not all strings."""
        args = [name]
        for value in values:
            text = argument(value)
            if text is None:
                self._result = (None, ERROR, _BAD_ARGUMENT, False)
                return None
            args.append(text)
        return self.run(entry, args)

    def result(self) -> object:
        """What the last `run` has not told; in the forms of `call`."""
        found = self._result
        if found is not None:
            return found
        try:
            return self._whole()
        except Exception:
            return (None, ERROR, _OUR_FAULT, False)

    def _whole(self) -> object:
        """The reply of the command that was run, whatever it is."""
        out = self.session.reply.out
        if self.memory_used() + 3 * len(out) + HEADROOM > MEMORY_LIMIT:
            return (None, EXHAUSTED)
        self._taken = 0
        return to_lua(out.getvalue(), self._tokens)

    def full(self) -> None:
        """A script has ended with much memory taken."""
        self.overfull = True

    def pull(self) -> object:
        """The next tokens of a reply that is handed over in portions."""
        taken = self._taken
        self._taken = taken + PORTION
        return tuple(self._tokens[taken : taken + PORTION])

    def sha1(self, text: bytes) -> bytes:
        """server.sha1hex."""
        return hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()

    def log(self, level: object, message: bytes) -> None:
        """server.log."""
        self.log_to(level if isinstance(level, int) else 2, message)

    def set(self, what: bytes, value: object) -> None:
        """server.setresp and server.set_repl."""
        number = value if isinstance(value, int) else 0
        if what == b"resp":
            self.session.reply.resp3 = number == 3
        else:
            self.engine.scripts.replicate(number)

    def acl(self, *values: object) -> object:
        """server.acl_check_cmd: whether the caller may run this command; or nil and an error."""
        args: list[bytes] = []
        for value in values:
            text = argument(value)
            if text is None:
                return (None, _BAD_ARGUMENT)
            args.append(text)
        allowed = self.session.executor.may_run(self.session, args)
        if allowed is None:
            return (None, _NO_SUCH_COMMAND)
        return allowed

    def double(self, value: object) -> bytes:
        """A number as a double reply shows it."""
        number = float(value) if isinstance(value, (int, float)) else 0.0
        return b"nan" if number != number else number_text(number)

    def tick(self) -> bytes | None:
        """The count hook: an error when the script has to end."""
        return self.tick_to()

    def patch(self, dumped: bytes) -> bytes | None:
        """A compiled chunk as it shall be run, or None: as it is."""
        return keep_callers(dumped)

    def register(self, *values: object) -> object:
        """server.register_function, while a library is loaded: name, callback, description or false, flags."""
        name, callback, description, flags = values
        assert isinstance(name, bytes)
        assert isinstance(flags, bytes)
        names = flags.split(b",") if flags else []
        self.register_to(Function(name, Code(callback), description if isinstance(description, bytes) else None, names))
        return None


@final
class Command1:
    """A command that Lua calls with one argument, by looking this up.

    Looking up costs a third of a call through lupa, which builds tuples and a dict for each.
    """

    host: Host
    entry: Entry
    name: bytes

    def __init__(self, host: Host, entry: Entry, name: bytes) -> None:
        self.host = host
        self.entry = entry
        self.name = name

    def __getitem__(self, value: object) -> object:
        """The reply, as `Host.run`."""
        if isinstance(value, bytes):
            return self.host.run(self.entry, [self.name, value])
        return self.host.run_any(self.entry, self.name, [value])


@final
class Command2:
    """A command that Lua calls with two arguments: they are stored, then the reply is looked up."""

    host: Host
    entry: Entry
    name: bytes
    first: object
    second: object

    def __init__(self, host: Host, entry: Entry, name: bytes) -> None:
        self.host = host
        self.entry = entry
        self.name = name
        self.first = None
        self.second = None

    def __setitem__(self, first: object, second: object) -> None:
        """Keep the arguments of the call that follows at once."""
        self.first = first
        self.second = second

    def __getitem__(self, ignored: object) -> object:
        """The reply, as `Host.run`."""
        first, second = self.first, self.second
        if isinstance(first, bytes) and isinstance(second, bytes):
            return self.host.run(self.entry, [self.name, first, second])
        return self.host.run_any(self.entry, self.name, [first, second])


@final
class Command3:
    """A command that Lua calls with three arguments: two are stored, then the third is looked up."""

    host: Host
    entry: Entry
    name: bytes
    first: object
    second: object

    def __init__(self, host: Host, entry: Entry, name: bytes) -> None:
        self.host = host
        self.entry = entry
        self.name = name
        self.first = None
        self.second = None

    def __setitem__(self, first: object, second: object) -> None:
        """Keep the first arguments of the call that follows at once."""
        self.first = first
        self.second = second

    def __getitem__(self, third: object) -> object:
        """The reply, as `Host.run`."""
        first, second = self.first, self.second
        if isinstance(first, bytes) and isinstance(second, bytes) and isinstance(third, bytes):
            return self.host.run(self.entry, [self.name, first, second, third])
        return self.host.run_any(self.entry, self.name, [first, second, third])
