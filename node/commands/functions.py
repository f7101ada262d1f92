"""FUNCTION and FCALL: libraries of functions."""

from typing import Final

from node.commands.scripts import scripting
from node.engine import Engine, Handler
from node.errors import CommandError
from node.match import glob_match
from node.numbers import is_int, to_int
from node.scripting.functions import Library
from node.scripting.libraries import APPEND, FLUSH, REPLACE
from node.session import Session

_POLICIES: Final = {b"flush": FLUSH, b"append": APPEND, b"replace": REPLACE}
_WRONG_ARGUMENTS: Final = b"ERR unknown subcommand or wrong number of arguments for '%b'. Try FUNCTION HELP."

_HELP: Final = [
    b"FUNCTION <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"LOAD [REPLACE] <FUNCTION CODE>",
    b"    Create a new library with the given library name and code.",
    b"DELETE <LIBRARY NAME>",
    b"    Delete the given library.",
    b"LIST [LIBRARYNAME PATTERN] [WITHCODE]",
    b"    Return general information on all the libraries:",
    b"    * Library name",
    b"    * The engine used to run the Library",
    b"    * Functions list",
    b"    * Library code (if WITHCODE is given)",
    b"    It also possible to get only function that matches a pattern using LIBRARYNAME argument.",
    b"STATS",
    b"    Return information about the current function running:",
    b"    * Function name",
    b"    * Command used to run the function",
    b"    * Duration in MS that the function is running",
    b"    If no function is running, return nil",
    b"    In addition, returns a list of available engines.",
    b"KILL",
    b"    Kill the current running function.",
    b"FLUSH [ASYNC|SYNC]",
    b"    Delete all the libraries.",
    b"    When called without the optional mode argument, the behavior is determined by the",
    b"    lazyfree-lazy-user-flush configuration directive. Valid modes are:",
    b"    * ASYNC: Asynchronously flush the libraries.",
    b"    * SYNC: Synchronously flush the libraries.",
    b"DUMP",
    b"    Return a serialized payload representing the current libraries, can be restored using FUNCTION RESTORE "
    b"command",
    b"RESTORE <PAYLOAD> [FLUSH|APPEND|REPLACE]",
    b"    Restore the libraries represented by the given payload, it is possible to give a restore policy to",
    b"    control how to handle existing libraries (default APPEND):",
    b"    * FLUSH: delete all existing libraries.",
    b"    * APPEND: appends the restored libraries to the existing libraries. On collision, abort.",
    b"    * REPLACE: appends the restored libraries to the existing libraries, On collision, replace the old",
    b"      libraries with the new libraries (notice that even on this option there is a chance of failure",
    b"      in case of functions name collision with another library).",
    b"HELP",
    b"    Print this help.",
]


def load(e: Engine, s: Session, args: list[bytes]) -> None:
    """FUNCTION LOAD [REPLACE] code."""
    replace = False
    for option in args[2:-1]:
        if option.lower() != b"replace":
            raise CommandError(b"ERR Unknown option given: " + option)
        replace = True
    name = scripting(e).load_library(args[-1], replace)
    e.dirty += 1
    s.reply.bulk(name)


def delete(e: Engine, s: Session, args: list[bytes]) -> None:
    """FUNCTION DELETE library."""
    libraries = scripting(e).libraries
    library = libraries.libraries.get(args[2])
    if library is None:
        raise CommandError(b"ERR Library not found")
    libraries.remove(library)
    e.dirty += 1
    s.reply.ok()


def flush(e: Engine, s: Session, args: list[bytes]) -> None:
    """FUNCTION FLUSH [ASYNC | SYNC]."""
    if len(args) > 3:
        raise CommandError(_WRONG_ARGUMENTS % args[1][:128])
    if len(args) == 3 and args[2].lower() not in (b"sync", b"async"):
        raise CommandError(b"ERR FUNCTION FLUSH only supports SYNC|ASYNC option")
    scripting(e).flush_libraries()
    e.dirty += 1
    s.reply.ok()


def list_(e: Engine, s: Session, args: list[bytes]) -> None:
    """FUNCTION LIST [LIBRARYNAME pattern] [WITHCODE]."""
    pattern: bytes | None = None
    with_code = False
    i = 2
    while i < len(args):
        word = args[i].lower()
        if word == b"withcode" and not with_code:
            with_code = True
        elif word == b"libraryname" and pattern is None:
            i += 1
            if i >= len(args):
                raise CommandError(b"ERR library name argument was not given")
            pattern = args[i]
        else:
            raise CommandError(b"ERR Unknown argument " + args[i])
        i += 1
    libraries = scripting(e).libraries.libraries.values()
    shown = [each for each in libraries if pattern is None or glob_match(pattern, each.name, True)]
    s.reply.array(len(shown))
    for library in shown:
        _describe(s, library, with_code)


def _describe(s: Session, library: Library, with_code: bool) -> None:
    """One library as FUNCTION LIST shows it."""
    reply = s.reply
    reply.map(4 if with_code else 3)
    reply.bulk(b"library_name")
    reply.bulk(library.name)
    reply.bulk(b"engine")
    reply.bulk(b"LUA")
    reply.bulk(b"functions")
    reply.array(len(library.functions))
    for function in library.functions.values():
        reply.map(3)
        reply.bulk(b"name")
        reply.bulk(function.name)
        reply.bulk(b"description")
        reply.bulk_or_null(function.description)
        reply.bulk(b"flags")
        reply.set(len(function.flag_names))
        for flag in function.flag_names:
            reply.simple(flag)
    if with_code:
        reply.bulk(b"library_code")
        reply.bulk(library.code)


def stats(e: Engine, s: Session, args: list[bytes]) -> None:
    """FUNCTION STATS; while a script of EVAL keeps the node busy it is answered BUSY."""
    scripts = scripting(e)
    if scripts.busy and not scripts.function:
        raise CommandError(scripts.busy_text)
    reply = s.reply
    reply.map(2)
    reply.bulk(b"running_script")
    if scripts.running:
        reply.map(3)
        reply.bulk(b"name")
        reply.bulk(scripts.function)
        reply.bulk(b"command")
        reply.bulks(scripts.command)
        reply.bulk(b"duration_ms")
        reply.integer(scripts.running_ms())
    else:
        reply.null()
    reply.bulk(b"engines")
    reply.map(1)
    reply.bulk(b"LUA")
    reply.map(2)
    reply.bulk(b"libraries_count")
    reply.integer(len(scripts.libraries.libraries))
    reply.bulk(b"functions_count")
    reply.integer(scripts.libraries.count())


def dump(e: Engine, s: Session, args: list[bytes]) -> None:
    """FUNCTION DUMP."""
    s.reply.bulk(scripting(e).libraries.dump())


def restore(e: Engine, s: Session, args: list[bytes]) -> None:
    """FUNCTION RESTORE payload [FLUSH | APPEND | REPLACE]."""
    if len(args) > 4:
        raise CommandError(_WRONG_ARGUMENTS % args[1][:128])
    policy = _POLICIES.get(args[3].lower()) if len(args) == 4 else APPEND
    if policy is None:
        raise CommandError(b"ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.")
    scripting(e).restore_libraries(args[2], policy)
    e.dirty += 1
    s.reply.ok()


def kill(e: Engine, s: Session, args: list[bytes]) -> None:
    """FUNCTION KILL."""
    scripting(e).kill(False)
    s.reply.ok()


def help_(e: Engine, s: Session, args: list[bytes]) -> None:
    """FUNCTION HELP."""
    s.reply.simples(_HELP)


def _call(e: Engine, s: Session, args: list[bytes], read_only: bool) -> None:
    scripts = scripting(e)
    functions = scripts.libraries.functions
    function = functions.get(args[1]) or functions.get(args[1].lower())  # they are kept by their names in lower case
    if function is None:
        raise CommandError(b"ERR Function not found")
    if not is_int(args[2]):
        raise CommandError(b"ERR Bad number of keys provided")
    keys = to_int(args[2])
    if keys > len(args) - 3:
        raise CommandError(b"ERR Number of keys can't be greater than number of args")
    if keys < 0:
        raise CommandError(b"ERR Number of keys can't be negative")
    scripts.run_function(s, function, args, keys, read_only)


def call(e: Engine, s: Session, args: list[bytes]) -> None:
    """FCALL function numkeys [key ...] [arg ...]."""
    _call(e, s, args, False)


def call_ro(e: Engine, s: Session, args: list[bytes]) -> None:
    """FCALL_RO: as FCALL, for functions that only read."""
    _call(e, s, args, True)


HANDLERS: dict[bytes, Handler] = {
    b"function|load": load,
    b"function|delete": delete,
    b"function|flush": flush,
    b"function|list": list_,
    b"function|stats": stats,
    b"function|dump": dump,
    b"function|restore": restore,
    b"function|kill": kill,
    b"function|help": help_,
    b"fcall": call,
    b"fcall_ro": call_ro,
}
