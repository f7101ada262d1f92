"""Strings: reading, ranges, appending and counting. SET and its relatives are in strings_set."""

from typing import Final

from mypy_extensions import i64

from cluster.slots import key_slot
from node.commands import strings_set
from node.commands.reading import announce_new, integer, peek_string, read_string
from node.engine import NOTIFY_KEY_MISS, NOTIFY_NEW, NOTIFY_STRING, Engine, Handler
from node.errors import NOT_A_FLOAT, NOT_AN_INTEGER, OVERFLOW, STRING_TOO_LONG, CommandError, WrongTypeError
from node.keyspace import DONE, LARGE, MISSING
from node.keyspace import NOT_AN_INTEGER as CODE_NOT_AN_INTEGER
from node.keyspace import WRONG_TYPE as CODE_WRONG_TYPE
from node.numbers import I64_MIN, NotANumber, add_long_doubles, format_long_double, parse_long_double
from node.session import Session

_BAD_OFFSET: Final = b"ERR offset is out of range"
_INFINITE: Final = b"ERR increment would produce NaN or Infinity"


# --- reading
def get(e: Engine, s: Session, args: list[bytes]) -> None:
    """GET key."""
    code = s.store.get_into(s.reply.out, e.slot, args[1])
    if code == DONE:
        return
    if code == LARGE:
        _answer_large(s, e.slot, args[1])
        return
    if code != MISSING:
        raise WrongTypeError()
    s.reply.null()
    if e.notify_mask & NOTIFY_KEY_MISS:
        e.notify(NOTIFY_KEY_MISS, b"keymiss", args[1], s.dbid)


def _answer_large(s: Session, slot: i64, key: bytes) -> None:
    value = s.store.peek(slot, key)
    assert isinstance(value, bytes)
    s.bulk(value)


def mget(e: Engine, s: Session, args: list[bytes]) -> None:
    """MGET key [key ...]: null for what is missing or no string."""
    reply = s.reply
    store = s.store
    reply.array(len(args) - 1)
    i: i64 = 1
    while i < len(args):
        key = args[i]
        slot = key_slot(key)
        code = store.get_into(reply.out, slot, key)
        if code == LARGE:
            _answer_large(s, slot, key)
        elif code != DONE:
            reply.null()
            if code == MISSING and e.notify_mask & NOTIFY_KEY_MISS:
                e.notify(NOTIFY_KEY_MISS, b"keymiss", key, s.dbid)
        i += 1


def strlen(e: Engine, s: Session, args: list[bytes]) -> None:
    """STRLEN key."""
    value = read_string(e, s, e.slot, args[1])
    s.reply.integer(0 if value is None else len(value))


def getrange(e: Engine, s: Session, args: list[bytes]) -> None:
    """GETRANGE key start end (and SUBSTR): both ends included, negative ones count from the end."""
    start = integer(args[2])
    end = integer(args[3])
    value = read_string(e, s, e.slot, args[1])
    if value is None:
        value = b""
    size: i64 = len(value)
    if start < 0:
        if end < 0 and start > end:
            s.reply.bulk(b"")
            return
        start = max(start + size, 0)
    if end < 0:
        end = max(end + size, 0)
    if end >= size:
        end = size - 1
    s.reply.bulk(value[start : end + 1] if start <= end else b"")


# --- growing and patching
def _check_size(e: Engine, s: Session, size: i64) -> None:
    if size > e.settings.max_bulk and not s.primary_link:
        raise CommandError(STRING_TOO_LONG)


def append(e: Engine, s: Session, args: list[bytes]) -> None:
    """APPEND key value."""
    key = args[1]
    old = peek_string(s.store, e.slot, key)
    if old is None:
        strings_set.set_string(e, s, key, args[2], b"append", False)
        s.reply.integer(len(args[2]))
        return
    size: i64 = len(old)
    old = None  # the string grows in place where nobody holds it
    _check_size(e, s, size + len(args[2]))
    s.reply.integer(strings_set.patch_string(e, s, key, size, args[2], b"append"))


def setrange(e: Engine, s: Session, args: list[bytes]) -> None:
    """SETRANGE key offset value: zero bytes fill what lies between."""
    key = args[1]
    offset = integer(args[2])
    patch = args[3]
    if offset < 0:
        raise CommandError(_BAD_OFFSET)
    old = peek_string(s.store, e.slot, key)
    size: i64 = 0 if old is None else len(old)
    old = None  # the string is changed in place where nobody holds it
    if len(patch) == 0:
        s.reply.integer(size)
        return
    if offset > e.settings.max_bulk and not s.primary_link:
        raise CommandError(STRING_TOO_LONG)
    end: i64 = offset + len(patch)
    _check_size(e, s, end)
    s.reply.integer(strings_set.patch_string(e, s, key, offset, patch, b"setrange"))


# --- counting
def _add(e: Engine, s: Session, key: bytes, by: i64) -> None:
    if e.notify_mask & NOTIFY_NEW:
        announce_new(e, s.dbid, e.slot, key)
    code = s.store.incr_into(s.reply.out, e.slot, key, by)
    if code == DONE:
        e.changed(s, key, NOTIFY_STRING, b"incrby")
        return
    if code == CODE_WRONG_TYPE:
        raise WrongTypeError()
    raise CommandError(NOT_AN_INTEGER if code == CODE_NOT_AN_INTEGER else OVERFLOW)


def incr(e: Engine, s: Session, args: list[bytes]) -> None:
    """INCR key."""
    _add(e, s, args[1], 1)


def decr(e: Engine, s: Session, args: list[bytes]) -> None:
    """DECR key."""
    _add(e, s, args[1], -1)


def incrby(e: Engine, s: Session, args: list[bytes]) -> None:
    """INCRBY key increment."""
    _add(e, s, args[1], integer(args[2]))


def decrby(e: Engine, s: Session, args: list[bytes]) -> None:
    """DECRBY key decrement."""
    by = integer(args[2])
    if by == I64_MIN:
        raise CommandError(b"ERR decrement would overflow")
    _add(e, s, args[1], -by)


def incrbyfloat(e: Engine, s: Session, args: list[bytes]) -> None:
    """INCRBYFLOAT key increment: in long doubles; the result is propagated, as other machines may round otherwise."""
    key = args[1]
    old = peek_string(s.store, e.slot, key)
    try:
        start = parse_long_double(b"0" if old is None else old)
        by = parse_long_double(args[2])
    except NotANumber:
        raise CommandError(NOT_A_FLOAT) from None
    if start.infinite or by.infinite:
        raise CommandError(_INFINITE)
    total = add_long_doubles(start, by)
    if total.infinite:
        raise CommandError(_INFINITE)
    text = format_long_double(total)
    strings_set.set_string(e, s, key, text, b"incrbyfloat", False)
    s.store.set_text(e.slot, key)
    s.reply.bulk(text)
    if e.journal.active:
        e.replace_with([b"SET", key, text, b"KEEPTTL"])


HANDLERS: dict[bytes, Handler] = {
    b"get": get,
    b"mget": mget,
    b"strlen": strlen,
    b"getrange": getrange,
    b"substr": getrange,
    b"append": append,
    b"setrange": setrange,
    b"incr": incr,
    b"decr": decr,
    b"incrby": incrby,
    b"decrby": decrby,
    b"incrbyfloat": incrbyfloat,
    **strings_set.HANDLERS,
}
