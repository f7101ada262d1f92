"""DEBUG: what tests need, off unless enable-debug-command says otherwise."""

import time
from collections.abc import Callable

from cluster.slots import key_slot
from node.commands.config import allowed
from node.commands.reading import integer_or_none
from node.digest import ZERO, dataset_digest, key_digest
from node.engine import Engine, Handler
from node.errors import CommandError
from node.match import glob_match
from node.session import Session

REFUSED = (
    b'ERR DEBUG command not allowed. If the enable-debug-command option is set to "local", you can run it from a local '
    b"connection, otherwise you need to set this option in the configuration file, and then restart the server."
)
_LONGEST_SLEEP = 3600.0


def debug(e: Engine, s: Session, args: list[bytes]) -> None:
    """DEBUG subcommand [argument ...]."""
    if not allowed(e, s, "enable-debug-command"):
        raise CommandError(REFUSED)
    found = _SUBCOMMANDS.get(args[1].lower())
    count = len(args) - 2
    if found is None or count < found[1] or count > found[2]:
        raise CommandError(
            b"ERR unknown subcommand or wrong number of arguments for '%b'. Try DEBUG HELP." % args[1][:128]
        )
    found[0](e, s, args)


def sleep(e: Engine, s: Session, args: list[bytes]) -> None:
    """Stop the whole process for so many seconds."""
    try:
        seconds = float(args[2])
    except ValueError:
        seconds = 0.0
    if 0.0 < seconds <= _LONGEST_SLEEP:
        time.sleep(seconds)
    s.reply.ok()


def set_active_expire(e: Engine, s: Session, args: list[bytes]) -> None:
    """Expired keys are removed only when somebody looks at them, or in the background again."""
    e.active_expire = args[2] != b"0"
    s.reply.ok()


def error(e: Engine, s: Session, args: list[bytes]) -> None:
    """Answer this error."""
    raise CommandError(args[2].replace(b"\r", b" ").replace(b"\n", b" "))


def change_repl_id(e: Engine, s: Session, args: list[bytes]) -> None:
    """A new replication history."""
    e.replication.change_id()
    s.reply.ok()


def digest(e: Engine, s: Session, args: list[bytes]) -> None:
    """The digest of the dataset."""
    s.reply.simple(dataset_digest(e.stores).hex().encode())


def digest_value(e: Engine, s: Session, args: list[bytes]) -> None:
    """The digests of keys' values; zeros for a missing key."""
    s.reply.array(len(args) - 2)
    for key in args[2:]:
        s.reply.simple((key_digest(s.store, key_slot(key), key) or ZERO).hex().encode())


def reload(e: Engine, s: Session, args: list[bytes]) -> None:
    """Save, empty and load again; [MERGE] [NOFLUSH] [NOSAVE] leave out what they say."""
    words = {word.lower() for word in args[2:]}
    if words - {b"merge", b"noflush", b"nosave"}:
        raise CommandError(b"ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.")
    if b"nosave" not in words and not e.rdb.save():
        raise CommandError(b"ERR")
    if e.rdb.reload(not words & {b"merge", b"noflush"}):
        raise CommandError(b"ERR Error trying to load the RDB dump, check server logs.")
    s.reply.ok()


def loadaof(e: Engine, s: Session, args: list[bytes]) -> None:
    """Empty the node and load the append-only file."""
    reason = e.aof.reload()
    if reason:
        raise CommandError(b"ERR Error trying to load the AOF files, check server logs.")
    s.reply.ok()


def populate(e: Engine, s: Session, args: list[bytes]) -> None:
    """Create string keys `prefix:0` and on; those that exist are left alone, and nothing is propagated."""
    count = integer_or_none(args[2])
    if count is None or count < 0:
        raise CommandError(b"ERR value is out of range, must be positive")
    prefix = args[3] if len(args) > 3 else b"key"
    size = integer_or_none(args[4]) if len(args) > 4 else 0
    if size is None or size < 0:
        raise CommandError(b"ERR value is out of range, must be positive")
    for i in range(count):
        key = b"%b:%d" % (prefix, i)
        slot = key_slot(key)
        if s.store.peek(slot, key) is None:
            value = b"value:%d" % i
            s.store.set(slot, key, value[:size].ljust(size, b"\0") if size else value)
    s.reply.ok()


def stringmatch(e: Engine, s: Session, args: list[bytes]) -> None:
    """Whether a pattern matches so many times the letter a: to show that no pattern takes forever."""
    count = integer_or_none(args[2])
    if count is None or not 0 <= count <= 1 << 20:
        raise CommandError(b"ERR value is out of range, must be positive")
    s.reply.integer(1 if glob_match(args[3], b"a" * count) else 0)


def protocol(e: Engine, s: Session, args: list[bytes]) -> None:
    """A sample of each type of reply, for tests of clients."""
    kind = args[2].lower()
    w = s.reply
    if kind == b"string":
        w.bulk(b"Hello World")
    elif kind == b"integer":
        w.integer(12345)
    elif kind == b"double":
        w.double(b"3.141")
    elif kind == b"bignum":
        digits = b"1234567999999999999999999999999999999"
        if w.resp3:
            w.raw(b"(" + digits + b"\r\n")
        else:
            w.bulk(digits)
    elif kind == b"null":
        w.null()
    elif kind in (b"array", b"set", b"map"):
        _collection(s, kind)
    elif kind == b"attrib":
        if w.resp3:
            w.raw(b"|1\r\n$14\r\nkey-popularity\r\n*2\r\n$7\r\nkey:123\r\n:90\r\n")
        w.bulk(b"Some real reply following the attribute")
    elif kind == b"push":
        if not w.resp3:
            raise CommandError(b"ERR RESP2 is not supported by this command")
        w.bulk(b"Some real reply following the push reply")
        w.raw(b">2\r\n$16\r\nserver-cpu-usage\r\n:42\r\n")
    elif kind == b"verbatim":
        w.verbatim(b"This is a verbatim\nstring")
    elif kind in (b"true", b"false"):
        w.boolean(kind == b"true")
    else:
        raise CommandError(
            b"ERR Wrong protocol type name. Please use one of the following: string|integer|double|bignum|null|array|"
            b"set|map|attrib|push|verbatim|true|false"
        )


def _collection(s: Session, kind: bytes) -> None:
    w = s.reply
    if kind == b"array":
        w.array(3)
    elif kind == b"set":
        w.set(3)
    else:
        w.map(3)
    for i in range(3):
        w.integer(i)
        if kind == b"map":
            w.boolean(i == 1)


HELP = [
    b"DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"CHANGE-REPL-ID",
    b"    Take a new replication ID, so that no replica can continue.",
    b"DIGEST",
    b"    Print a digest of the whole dataset.",
    b"DIGEST-VALUE <key> [<key> ...]",
    b"    Print digests of the values of keys.",
    b"ERROR <string>",
    b"    Answer an error.",
    b"LOADAOF",
    b"    Empty the node and load the append-only file.",
    b"POPULATE <count> [<prefix>] [<size>]",
    b"    Create string keys.",
    b"PROTOCOL <type>",
    b"    Answer a value of the given type.",
    b"SET-ACTIVE-EXPIRE <0|1>",
    b"    Remove expired keys in the background, or not.",
    b"SLEEP <seconds>",
    b"    Stop the server for a while. Decimals are allowed.",
    b"STRINGMATCH-LEN <count> <pattern>",
    b"    Match a pattern against <count> times the letter a.",
    b"HELP",
    b"    Print this help.",
]


def help_(e: Engine, s: Session, args: list[bytes]) -> None:
    """DEBUG HELP."""
    s.reply.simples(HELP)


_MANY = 2**31
# name -> handler, fewest and most arguments after the name
_SUBCOMMANDS: dict[bytes, tuple[Callable[[Engine, Session, list[bytes]], None], int, int]] = {
    b"sleep": (sleep, 1, 1),
    b"set-active-expire": (set_active_expire, 1, 1),
    b"error": (error, 1, 1),
    b"change-repl-id": (change_repl_id, 0, 0),
    b"digest": (digest, 0, 0),
    b"digest-value": (digest_value, 0, _MANY),
    b"reload": (reload, 0, 3),
    b"loadaof": (loadaof, 0, 0),
    b"populate": (populate, 1, 3),
    b"stringmatch-len": (stringmatch, 2, 2),
    b"protocol": (protocol, 1, 1),
    b"help": (help_, 0, 0),
}

HANDLERS: dict[bytes, Handler] = {b"debug": debug}
