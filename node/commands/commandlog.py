"""COMMANDLOG and its old name SLOWLOG: the commands that were slow or large."""

from node.commandlog import SLOW, TYPES, CommandList
from node.commands.reading import integer_or_none
from node.engine import Engine, Handler
from node.errors import CommandError
from node.session import Session

_COUNT = b"ERR count should be greater than or equal to -1"
_TYPE = b"ERR type should be one of the following: slow, large-request, large-reply"


def _count(word: bytes) -> int:
    number = integer_or_none(word)
    if number is None or number < -1:
        raise CommandError(_COUNT)
    return number


def _list(e: Engine, word: bytes) -> CommandList:
    kind = TYPES.get(word.lower())
    if kind is None:
        raise CommandError(_TYPE)
    return e.command_lists[kind]


def _write(s: Session, commands: CommandList, count: int) -> None:
    w = s.reply
    found = commands.newest(count)
    w.array(len(found))
    for entry in found:
        w.array(6)
        w.integer(entry.id)
        w.integer(entry.time_s)
        w.integer(entry.value)
        w.bulks(entry.args)
        w.bulk(entry.address)
        w.bulk(entry.name)


def slowlog_get(e: Engine, s: Session, args: list[bytes]) -> None:
    """SLOWLOG GET [count]."""
    if len(args) > 3:
        raise CommandError(b"ERR unknown subcommand or wrong number of arguments for '%b'. Try SLOWLOG HELP." % args[1])
    _write(s, e.command_lists[SLOW], _count(args[2]) if len(args) == 3 else 10)


def slowlog_len(e: Engine, s: Session, args: list[bytes]) -> None:
    """SLOWLOG LEN."""
    s.reply.integer(len(e.command_lists[SLOW].entries))


def slowlog_reset(e: Engine, s: Session, args: list[bytes]) -> None:
    """SLOWLOG RESET."""
    e.command_lists[SLOW].entries.clear()
    s.reply.ok()


def commandlog_get(e: Engine, s: Session, args: list[bytes]) -> None:
    """COMMANDLOG GET count type."""
    count = _count(args[2])
    _write(s, _list(e, args[3]), count)


def commandlog_len(e: Engine, s: Session, args: list[bytes]) -> None:
    """COMMANDLOG LEN type."""
    s.reply.integer(len(_list(e, args[2]).entries))


def commandlog_reset(e: Engine, s: Session, args: list[bytes]) -> None:
    """COMMANDLOG RESET type."""
    _list(e, args[2]).entries.clear()
    s.reply.ok()


SLOWLOG_HELP = [
    b"SLOWLOG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"GET [<count>]",
    b"    Tell the <count> newest slow commands (10 unless told, -1 for all). Of each:",
    b"    its id, the Unix time, the microseconds that it took, its arguments,",
    b"    the client's address, the client's name",
    b"LEN",
    b"    Tell how many slow commands are kept.",
    b"RESET",
    b"    Forget them.",
    b"HELP",
    b"    Print this help.",
]
COMMANDLOG_HELP = [
    b"COMMANDLOG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"GET <count> <type>",
    b"    Tell the <count> newest commands of a type: slow, large-request, large-reply",
    b"    (-1 for all). Of each:",
    b"    its id, the Unix time,",
    b"        the microseconds that it took (slow),",
    b"        or the bytes of the request (large-request),",
    b"        or the bytes of the reply (large-reply),",
    b"    its arguments, the client's address, the client's name",
    b"LEN <type>",
    b"    Tell how many commands of a type are kept.",
    b"RESET <type>",
    b"    Forget them.",
    b"HELP",
    b"    Print this help.",
]


def _help(s: Session, lines: list[bytes]) -> None:
    s.reply.simples(lines)


def slowlog_help(e: Engine, s: Session, args: list[bytes]) -> None:
    """SLOWLOG HELP."""
    _help(s, SLOWLOG_HELP)


def commandlog_help(e: Engine, s: Session, args: list[bytes]) -> None:
    """COMMANDLOG HELP."""
    _help(s, COMMANDLOG_HELP)


HANDLERS: dict[bytes, Handler] = {
    b"slowlog|get": slowlog_get,
    b"slowlog|len": slowlog_len,
    b"slowlog|reset": slowlog_reset,
    b"slowlog|help": slowlog_help,
    b"commandlog|get": commandlog_get,
    b"commandlog|len": commandlog_len,
    b"commandlog|reset": commandlog_reset,
    b"commandlog|help": commandlog_help,
}
