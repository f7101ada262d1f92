"""A Lua runtime in which untrusted scripts may run: stock Lua 5.1 with everything taken away that reaches outside.

What a script can touch is made by `node.scripting.prelude`: its globals are those of a genuine server and nothing of
lupa, io, os (but os.clock), package, debug or the loading of files and bytecode. Python objects never become visible:
callables from Python exist only as upvalues of Lua functions, they never raise into Lua, and the attribute filter
refuses every attribute should one leak all the same.
"""

from collections.abc import Callable
from typing import Any, Final, NoReturn

from lupa import lua51

from cluster.version import REDIS_VERSION, SERVER_NAME, VALKEY_VERSION
from node.scripting import prelude, prelude_server
from node.scripting.libs import install
from node.scripting.values import OK

MEMORY_LIMIT: Final = 512 * 1024 * 1024  # bytes that the scripts of one runtime may take; Valkey has no bound
RESERVE: Final = 1024 * 1024  # bytes that stay free beyond what is handed to Lua
LOG_LEVELS: Final = ((b"LOG_DEBUG", 0), (b"LOG_VERBOSE", 1), (b"LOG_NOTICE", 2), (b"LOG_WARNING", 3))
REPL_FLAGS: Final = ((b"REPL_NONE", 0), (b"REPL_AOF", 1), (b"REPL_SLAVE", 2), (b"REPL_REPLICA", 2), (b"REPL_ALL", 3))

Function = Callable[..., Any]


def _refuse(_object: object, _name: object, _setting: object) -> NoReturn:
    raise AttributeError("scripts see no Python objects")


def new_runtime() -> Any:
    """A bare runtime with the libraries: bytes both ways, bounded memory; what it holds is not safe yet."""
    runtime = lua51.LuaRuntime(
        encoding=None, unpack_returned_tuples=True, register_eval=False, register_builtins=False,
        attribute_filter=_refuse, max_memory=MEMORY_LIMIT,
    )  # fmt: skip
    install(runtime)
    return runtime


def collect(runtime: Any) -> None:
    """Collect all garbage. The limit is lifted meanwhile: collecting may allocate."""
    runtime.set_max_memory(0)
    runtime.gccollect()
    runtime.set_max_memory(MEMORY_LIMIT)


def has_room(runtime: Any, needed: int) -> bool:
    """Whether values of so many bytes can be handed to Lua, after collecting garbage if need be.

    To be asked before: values are handed over outside any protected call, where Lua ends the whole process when memory
    is short.
    """
    if runtime.get_memory_used() + needed + RESERVE <= MEMORY_LIMIT:
        return True
    collect(runtime)
    return bool(runtime.get_memory_used() + needed + RESERVE <= MEMORY_LIMIT)


def _number(version: str) -> int:
    """A version as three bytes: 7.2.4 is 0x070204."""
    major, minor, patch = version.split(".")
    return int(major) << 16 | int(minor) << 8 | int(patch)


def constants() -> dict[bytes, object]:
    """The fields of `server` that are no functions."""
    found: dict[bytes, object] = dict(LOG_LEVELS + REPL_FLAGS)
    found[b"REDIS_VERSION"] = REDIS_VERSION.encode()
    found[b"REDIS_VERSION_NUM"] = _number(REDIS_VERSION)
    found[b"VALKEY_VERSION"] = VALKEY_VERSION.encode()
    found[b"VALKEY_VERSION_NUM"] = _number(VALKEY_VERSION)
    found[b"SERVER_NAME"] = SERVER_NAME.encode()
    return found


def _limits() -> dict[bytes, object]:
    """What the prelude takes out of the constants again: kilobytes from which it acts, and a value's stand-in."""
    return {
        b"OK": OK,
        b"FULL": (MEMORY_LIMIT - 4 * RESERVE) // 1024,
        b"CROWDED": MEMORY_LIMIT // 2 // 1024,
    }


def close_sandbox(runtime: Any, hosts: list[Function], for_functions: bool) -> tuple[Function, ...]:
    """Run the prelude and lose every way back; `hosts` are the callables that it names, in its order.

    Libraries of functions have a runtime of their own, where some names are missing that EVAL scripts have.

    Returns what the prelude returns: the functions by which scripts are compiled and run.
    """
    load = runtime.eval(b"loadstring")
    chunk, problem = load(prelude.LUA + prelude_server.LUA, b"=server"), None
    if isinstance(chunk, tuple):
        chunk, problem = chunk
    assert chunk is not None, problem
    return tuple(chunk(runtime.table_from({**constants(), **_limits()}), *hosts, for_functions))
