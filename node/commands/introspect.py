"""COMMAND and its subcommands: the catalog, told to clients.

A row never changes while a process runs, so each is rendered once for each protocol version and kept.
"""

from collections.abc import Callable, Iterable
from functools import cache

from cluster.catalog import ALL, COMMANDS, find, resolve
from cluster.catalog.keys import KeysError, KeyUse, checked_keys
from cluster.catalog.model import (
    ARGUMENT_FLAG_NAMES, BEGIN_INDEX, BEGIN_KEYWORD, CATEGORY_NAMES, FIND_KEYNUM, FIND_RANGE, KEY_FLAG_NAMES, Argument,
    Command, KeySpec, names_of,
)  # fmt: skip
from cluster.resp.replies import ReplyWriter
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


# --- a row as COMMAND INFO shows it
@cache
def render_info(row: Command, resp3: bool) -> bytes:
    """Return the encoded element of COMMAND INFO: ten fields, subcommands nested."""
    w = _writer(resp3)
    w.array(10)
    w.bulk(row.name)
    w.integer(row.arity)
    _statuses(w, row.flag_names())
    w.integer(row.first_key)
    w.integer(row.last_key)
    w.integer(row.key_step)
    _statuses(w, ["@" + name for name in row.category_names()])
    w.set(len(row.tips))
    for tip in row.tips:
        _text(w, tip)
    w.set(len(row.key_specs))
    for spec in row.key_specs:
        _spec(w, spec)
    w.array(len(row.subcommands))
    for sub in row.subcommands.values():
        w.raw(render_info(sub, resp3))
    return w.out.getvalue()


def _spec(w: ReplyWriter, spec: KeySpec) -> None:
    w.map(4 if spec.notes else 3)
    if spec.notes:
        _pair(w, "notes", spec.notes)
    _text(w, "flags")
    _statuses(w, names_of(spec.flags, KEY_FLAG_NAMES))
    if spec.begin == BEGIN_INDEX:
        _search(w, "begin_search", "index", [("index", spec.position)])
    elif spec.begin == BEGIN_KEYWORD:
        _search(w, "begin_search", "keyword", [("keyword", spec.keyword), ("startfrom", spec.position)])
    else:
        _search(w, "begin_search", "unknown", [])
    if spec.find == FIND_RANGE:
        _search(w, "find_keys", "range", [("lastkey", spec.last), ("keystep", spec.step), ("limit", spec.limit)])
    elif spec.find == FIND_KEYNUM:
        fields: list[tuple[str, int | bytes]] = [("keynumidx", spec.count_at), ("firstkey", spec.first)]
        _search(w, "find_keys", "keynum", [*fields, ("keystep", spec.step)])
    else:
        _search(w, "find_keys", "unknown", [])


def _search(w: ReplyWriter, name: str, kind: str, fields: list[tuple[str, int | bytes]]) -> None:
    _text(w, name)
    w.map(2)
    _pair(w, "type", kind)
    _text(w, "spec")
    w.map(len(fields))
    for field, value in fields:
        _text(w, field)
        if isinstance(value, bytes):
            w.bulk(value)
        else:
            w.integer(value)


# --- a row as COMMAND DOCS shows it
@cache
def render_docs(row: Command, resp3: bool) -> bytes:
    """Return the encoded name and map of COMMAND DOCS."""
    fields = [
        ("summary", row.summary), ("since", row.since), ("group", row.group), ("complexity", row.complexity),
    ]  # fmt: skip
    further = [("deprecated_since", row.deprecated_since), ("replaced_by", row.replaced_by)]
    lists: list[bool] = [bool(row.doc_flags), bool(row.history), bool(row.arguments), bool(row.subcommands)]
    w = _writer(resp3)
    w.bulk(row.name)
    w.map(sum(1 for _, value in fields + further if value) + sum(lists))
    _pairs(w, fields)
    if row.doc_flags:
        _text(w, "doc_flags")
        _statuses(w, row.doc_flags)
    _pairs(w, further)
    if row.history:
        _text(w, "history")
        w.set(len(row.history))
        for version, change in row.history:
            w.array(2)
            _text(w, version)
            _text(w, change)
    _arguments(w, row.arguments)
    if row.subcommands:
        _text(w, "subcommands")
        w.map(len(row.subcommands))
        for sub in row.subcommands.values():
            w.raw(render_docs(sub, resp3))
    return w.out.getvalue()


def _arguments(w: ReplyWriter, arguments: list[Argument]) -> None:
    if not arguments:
        return
    _text(w, "arguments")
    w.array(len(arguments))
    for argument in arguments:
        _argument(w, argument)


def _argument(w: ReplyWriter, a: Argument) -> None:
    shown: list[tuple[str, str]] = [("name", a.name), ("type", a.type), ("display_text", a.display_text)]
    versions = [("summary", a.summary), ("since", a.since), ("deprecated_since", a.deprecated_since)]
    size = sum(1 for _, value in shown + versions if value)
    others: list[bool] = [a.key_spec_index >= 0, a.token is not None, a.flags != 0, bool(a.arguments)]
    w.map(size + sum(others))
    _pairs(w, shown)
    if a.key_spec_index >= 0:
        _text(w, "key_spec_index")
        w.integer(a.key_spec_index)
    if a.token is not None:
        _pair(w, "token", a.token)
    _pairs(w, versions)
    if a.flags:
        _text(w, "flags")
        _statuses(w, names_of(a.flags, ARGUMENT_FLAG_NAMES))
    _arguments(w, a.arguments)


# --- small pieces
def _writer(resp3: bool) -> ReplyWriter:
    w = ReplyWriter()
    w.resp3 = resp3
    return w


def _text(w: ReplyWriter, text: str) -> None:
    w.bulk(text.encode())


def _pair(w: ReplyWriter, name: str, text: str) -> None:
    _text(w, name)
    _text(w, text)


def _pairs(w: ReplyWriter, pairs: Iterable[tuple[str, str]]) -> None:
    for name, text in pairs:
        if text:
            _pair(w, name, text)


def _statuses(w: ReplyWriter, names: list[str]) -> None:
    w.set(len(names))
    for name in names:
        w.simple(name.encode())


# --- handlers
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
            s.reply.null_array()
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
        _statuses(s.reply, names_of(use.flags, KEY_FLAG_NAMES))


def _keys(request: list[bytes]) -> list[KeyUse]:
    try:
        return checked_keys(resolve(request), request)
    except KeysError as error:
        raise CommandError(b"ERR " + error.text) from None


def command_help(e: Engine, s: Session, args: list[bytes]) -> None:
    """COMMAND HELP."""
    s.reply.array(len(_HELP))
    for line in _HELP:
        s.reply.simple(line)


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
