"""COMMAND and its subcommands: the catalog, told to clients."""

from collections.abc import Callable

from cluster.catalog import ALL, COMMANDS, find, resolve
from cluster.catalog.keys import KeysError, KeyUse, checked_keys
from cluster.catalog.model import CATEGORY_NAMES, KEY_FLAG_NAMES, Command, names_of
from cluster.catalog.render import render_docs, render_info, write_statuses
from node.engine import Engine, Handler
from node.errors import SYNTAX, CommandError
from node.match import Glob
from node.session import Session

_HELP = [
    b"COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"(no subcommand)",
    b"    Return details about all commands.",
    b"COUNT",
    b"    Return the total number of commands in this server.",
    b"LIST",
    b"    Return a list of all commands in this server.",
    b"INFO [<command-name> ...]",
    b"    Return details about multiple commands.",
    b"    If no command names are given, documentation details for all",
    b"    commands are returned.",
    b"DOCS [<command-name> ...]",
    b"    Return documentation details about multiple commands.",
    b"    If no command names are given, documentation details for all",
    b"    commands are returned.",
    b"GETKEYS <full-command>",
    b"    Return the keys from a full command.",
    b"GETKEYSANDFLAGS <full-command>",
    b"    Return the keys and the access flags from a full command.",
    b"HELP",
    b"    Print this help.",
]


def command(e: Engine, s: Session, args: list[bytes]) -> None:
    """COMMAND: every row."""
    _write_info(s, list(COMMANDS.values()))


def info(e: Engine, s: Session, args: list[bytes]) -> None:
    """COMMAND INFO [command-name ...]: null for names that do not exist."""
    names = args[2:]
    _write_info(s, [find(name) for name in names] if names else list(COMMANDS.values()))


def _write_info(s: Session, rows: list[Command] | list[Command | None]) -> None:
    s.reply.array(len(rows))
    for row in rows:
        if row is None:
            s.reply.null()
        else:
            s.reply.raw(render_info(row, s.reply.resp3))


def docs(e: Engine, s: Session, args: list[bytes]) -> None:
    """COMMAND DOCS [command-name ...]: names that do not exist are left out."""
    found = [find(name) for name in args[2:]] if len(args) > 2 else list(COMMANDS.values())
    rows = [row for row in found if row is not None]
    s.reply.map(len(rows))
    for row in rows:
        s.reply.raw(render_docs(row, s.reply.resp3))


def count(e: Engine, s: Session, args: list[bytes]) -> None:
    """COMMAND COUNT: containers count as one."""
    s.reply.integer(len(COMMANDS))


def list_names(e: Engine, s: Session, args: list[bytes]) -> None:
    """COMMAND LIST [FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>], subcommands included."""
    keep: Callable[[Command], bool] = _all
    if len(args) > 2:
        if len(args) != 5 or args[2].lower() != b"filterby":
            raise CommandError(SYNTAX)
        keep = _filter(args[3].lower(), args[4])
    s.reply.bulks([row.name for row in ALL if keep(row)])


def _all(row: Command) -> bool:
    return True


def _none(row: Command) -> bool:
    return False


def _filter(kind: bytes, text: bytes) -> Callable[[Command], bool]:
    if kind == b"module":
        return _none  # no modules here
    if kind == b"aclcat":
        name = text.lower().decode("latin-1")
        if name not in CATEGORY_NAMES:
            return _none
        bit = 1 << CATEGORY_NAMES.index(name)
        return lambda row: row.acl_categories & bit != 0
    if kind == b"pattern":
        glob = Glob(text, True)
        return lambda row: glob.matches(row.name)
    raise CommandError(SYNTAX)


def getkeys(e: Engine, s: Session, args: list[bytes]) -> None:
    """COMMAND GETKEYS command [arg ...]."""
    request = args[2:]
    s.reply.bulks([request[use.position] for use in _keys(request)])


def getkeysandflags(e: Engine, s: Session, args: list[bytes]) -> None:
    """COMMAND GETKEYSANDFLAGS command [arg ...]."""
    request = args[2:]
    uses = _keys(request)
    s.reply.array(len(uses))
    for use in uses:
        s.reply.array(2)
        s.reply.bulk(request[use.position])
        write_statuses(s.reply, names_of(use.flags, KEY_FLAG_NAMES))


def _keys(request: list[bytes]) -> list[KeyUse]:
    try:
        return checked_keys(resolve(request), request)
    except KeysError as error:
        raise CommandError(b"ERR " + error.text) from None


def command_help(e: Engine, s: Session, args: list[bytes]) -> None:
    """COMMAND HELP."""
    s.reply.simples(_HELP)


HANDLERS: dict[bytes, Handler] = {
    b"command": command,
    b"command|info": info,
    b"command|docs": docs,
    b"command|count": count,
    b"command|list": list_names,
    b"command|getkeys": getkeys,
    b"command|getkeysandflags": getkeysandflags,
    b"command|help": command_help,
}
