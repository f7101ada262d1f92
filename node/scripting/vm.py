"""One Lua runtime with its sandbox closed: compile, run, and the memory that it takes."""

from typing import Any, Final, final

from mypy_extensions import i64

from node.scripting.functions import ENTRANCES_MOST, Code
from node.scripting.host import HEADROOM, Host
from node.scripting.sandbox import MEMORY_LIMIT, Function, close_sandbox, collect, has_room, new_runtime

ARGUMENTS_MOST: Final = 200  # handed over in one call, further ones in portions before
FIRST_ARGUMENT: Final = 3  # of EVAL and FCALL: name, script, count of keys

_NO_MEMORY: Final = (1, b"ERR not enough memory", b"", 0, False)


def _total(args: list[bytes]) -> i64:
    size: i64 = 0
    for arg in args:
        size += len(arg)
    return size


@final
class Vm:
    """A runtime for EVAL scripts, or for libraries of functions."""

    _host: Host
    _compile: Function
    _enter: Function
    _bind: Function
    _stage: Function
    _renew: Function
    _load: Function
    _used: Function
    _runtime: Any
    _crowded: bool  # more than half of its memory is in use even without garbage
    fixed: int  # bytes that it took before it held a script

    def __init__(self, host: Host, for_functions: bool) -> None:
        runtime = new_runtime()
        self._host = host
        self._runtime = runtime
        self._used = runtime.get_memory_used
        self._crowded = False
        parts = close_sandbox(runtime, host.callables(), for_functions)
        self._compile, self._enter, self._bind, self._stage, self._renew, self._load = parts
        self.fixed = self.memory()

    def memory(self) -> int:
        """Bytes that the runtime holds."""
        return int(self._used())

    def _tidy(self, wanted: int) -> bool:
        """Have room for `wanted` bytes more, after collecting what scripts have left; False when there is none."""
        return has_room(self._runtime, wanted)

    def _look(self) -> None:
        """Something was run or compiled: what it has taken beyond measure goes back now."""
        self._host.overfull = False
        if self.memory() > MEMORY_LIMIT // 2:
            collect(self._runtime)
        self._crowded = self.memory() > MEMORY_LIMIT // 2

    def compile(self, code: bytes, name: bytes) -> tuple[object, bytes]:
        """The function of a chunk, or None and what is wrong with it."""
        if not self._tidy(32 * len(code)):
            return None, b"not enough memory"
        try:
            made = self._compile(code, name)
        except Exception as error:  # lupa's own errors have no common root
            return None, str(error).encode()
        finally:
            self._look()
        return (None, made[1]) if isinstance(made, tuple) else (made, b"")

    def load_library(self, code: bytes) -> tuple[int, bytes]:
        """Run a library's code, which registers its functions: 0, or 1 (it does not compile) or 2 and the error."""
        if not self._tidy(32 * len(code)):
            return 1, b"not enough memory"
        self._host.memory_used = self._used
        try:
            problem, text = self._load(code)
        except Exception as error:
            return 2, b"ERR " + str(error).encode()
        finally:
            self._look()
        return int(problem), text

    def run(self, code: Code, resp3: bool, keys: i64, args: list[bytes]) -> object:
        """Run a script or function with the arguments of an EVAL or FCALL; what comes back is told by the prelude."""
        host = self._host
        host.memory_used = self._used
        try:
            result = self._run(code, resp3, keys, args)
        except Exception as error:
            self._look()
            if isinstance(error, MemoryError):
                return _NO_MEMORY
            text = str(error).encode() or b"not enough memory"  # what Lua could not even report; silent in a handler
            return (1, b"ERR " + text, b"", 0, False)
        if host.overfull:
            self._look()
        return result

    def _run(self, code: Code, resp3: bool, keys: i64, args: list[bytes]) -> object:
        """Hand the arguments over. More than Lua has room for would end the process: less than half of it is in use
        unless somebody has noticed that it is crowded.
        """
        count: i64 = len(args) - FIRST_ARGUMENT
        if count > ARGUMENTS_MOST:
            return self._run_staged(code, resp3, keys, args)
        size = _total(args)
        if (self._crowded or size >= MEMORY_LIMIT // 4) and not self._tidy(size + 64 * len(args) + HEADROOM):
            return _NO_MEMORY
        if keys >= ENTRANCES_MOST:
            return self._enter(code.function, resp3, keys, *args[FIRST_ARGUMENT:])
        shape: i64 = keys * 2 + 1 if resp3 else keys * 2
        entrance = code.entrances[shape]
        if entrance is None:
            entrance = self._bind(code.function, resp3, keys)
            code.entrances[shape] = entrance
        if count == 1:
            return entrance(args[FIRST_ARGUMENT])
        if count == 2:
            return entrance(args[FIRST_ARGUMENT], args[FIRST_ARGUMENT + 1])
        return entrance(*args[FIRST_ARGUMENT:])

    def _run_staged(self, code: Code, resp3: bool, keys: i64, args: list[bytes]) -> object:
        """As `_run`, for many arguments: they are handed over in portions before."""
        if not self._tidy(sum([len(a) + 64 for a in args])):
            return _NO_MEMORY
        at: i64 = FIRST_ARGUMENT
        while at < len(args):
            self._stage(at == FIRST_ARGUMENT, *args[at : at + ARGUMENTS_MOST])
            at += ARGUMENTS_MOST
        return self._enter(code.function, resp3, -1 - keys)

    def renew_hook(self) -> None:
        """Have the count hook come at its usual distance again, after a script was killed."""
        self._renew()
