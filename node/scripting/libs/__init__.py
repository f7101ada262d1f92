"""The libraries of scripts, cjson, cmsgpack, struct and bit, as Lua sources that run inside the sandbox.

Pure Lua was chosen by measurement: a call into Python costs 0.4 to 0.6 microseconds and each table element more, while
a few hundred bytes are read in Lua in 5 to 10 microseconds; and what runs inside the virtual machine is bounded by its
memory limit and has nothing of Python to lose. Each `.lua` file is a chunk that returns one table of Lua functions.

`install` is called once a runtime, before the sandbox is closed: the chunks need debug.getinfo (to name the line of the
script in an error, as a C function does) and newproxy, which scripts never see. It sets the globals as plain tables: to
make them read-only, and their functions names of the sandbox, is the sandbox's work.

`cjson.null` is a light userdata in genuine Valkey. Lua cannot make one, so here it is a full userdata without metatable
and without anything of Python, made once a runtime. What the sandbox has to know of it: it becomes nil in a reply, and
tostring(cjson.null) is `userdata: (nil)`; two instances made by cjson.new() share it.

Imports nothing of the house; imported by `node.scripting.sandbox` alone.
"""

from importlib import resources
from typing import Any, Final

LIBRARIES: Final = ("cjson", "cmsgpack", "struct", "bit")


def source(name: str) -> bytes:
    """The text of `name`.lua."""
    return resources.files(__name__).joinpath(name + ".lua").read_bytes()


def install(lua: Any) -> None:
    """Set the globals cjson, cmsgpack, struct and bit of a `lupa.lua51.LuaRuntime(encoding=None)`.

    Raises lua51.LuaError if the runtime has lost debug or newproxy already.
    """
    # The runtime may unpack returned tuples or not: one value is returned each time.
    load = lua.eval(b"function(text, name, ...) return assert(loadstring(text, name))(...) end")
    null = lua.eval(b"newproxy(false)")
    support = load(source("support"), b"=support")
    for name in LIBRARIES:
        lua.globals()[name.encode()] = load(source(name), b"=" + name.encode(), support, null)
