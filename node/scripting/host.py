"""What Lua may call: the callables behind `server.*`. None of them ever raises into Lua."""

import hashlib
from collections.abc import Callable
from typing import Final

from mypy_extensions import i64

from node.engine import Engine
from node.scripting.bytecode import keep_callers
from node.scripting.functions import Function
from node.scripting.sandbox import MEMORY_LIMIT
from node.scripting.values import ERROR, EXHAUSTED, PORTION, argument, number_text, to_lua
from node.session import Session

HEADROOM: Final = 1024 * 1024  # bytes of Lua's memory that stay free for what Python hands over

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
    memory_limit: i64
    tick_to: Callable[[], bytes | None]
    register_to: Callable[[Function], None]
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
        self.memory_limit = 0
        self.tick_to = tick_to
        self.register_to = register_to
        self._tokens = []
        self._taken = 0

    def callables(self) -> list[Callable[..., object]]:
        """In the order in which the prelude names them."""
        return [
            self.call, self.pull, self.sha1, self.log, self.set, self.acl, self.double, self.tick, self.register,
            self.patch,
        ]  # fmt: skip

    def call(self, *values: object) -> object:
        """server.call and server.pcall: run a command; the prelude has the forms of what is returned."""
        try:
            return self._call(values)
        except Exception:
            return (None, ERROR, _OUR_FAULT, False)

    def _call(self, values: tuple[object, ...]) -> object:
        if len(values) == 0:
            return (None, ERROR, _NO_ARGUMENTS, False)
        args: list[bytes] = []
        for value in values:
            if isinstance(value, bytes):
                args.append(value)
                continue
            text = argument(value)
            if text is None:
                return (None, ERROR, _BAD_ARGUMENT, False)
            args.append(text)
        s = self.session
        out = s.reply.out
        out.truncate(0)
        refusal = s.executor.call_from_script(s, args)
        if refusal is not None:
            return (None, ERROR, refusal, True)
        data = out.getvalue()
        if self.memory_used() + 3 * len(data) + HEADROOM > MEMORY_LIMIT:
            return (None, EXHAUSTED)
        self._taken = 0
        return to_lua(data, self._tokens)

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
        self.register_to(Function(name, callback, description if isinstance(description, bytes) else None, names))
        return None
