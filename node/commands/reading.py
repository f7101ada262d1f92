"""What the string and key commands have in common: numbers in arguments, reads that count and notify, expiry times."""

from typing import Final

from mypy_extensions import i64

from node.engine import NOTIFY_KEY_MISS, NOTIFY_NEW, Engine
from node.errors import NOT_AN_INTEGER, CommandError, WrongTypeError
from node.keyspace import Store
from node.numbers import I64_MAX, is_int, to_int
from node.session import Session

I32_MAX: Final = 2147483647


def integer(data: bytes) -> i64:
    """A 64-bit argument; raises CommandError."""
    if not is_int(data):
        raise CommandError(NOT_AN_INTEGER)
    return to_int(data)


def integer_or_none(data: bytes) -> int | None:
    """A 64-bit integer in its canonical form, None when the bytes are none."""
    return to_int(data) if is_int(data) else None


def small_integer(data: bytes) -> i64:
    """A 32-bit argument; raises CommandError."""
    value = integer(data)
    if value > I32_MAX or value < -I32_MAX - 1:
        raise CommandError(b"ERR value is out of range, value must between -2147483648 and 2147483647")
    return value


def read(e: Engine, s: Session, slot: i64, key: bytes) -> object | None:
    """The value of a key for a reading command: counted as hit or miss, touched, a miss notified."""
    value = s.store.get(slot, key)
    if value is None and e.notify_mask & NOTIFY_KEY_MISS:
        e.notify(NOTIFY_KEY_MISS, b"keymiss", key, s.dbid)
    return value


def look(e: Engine, s: Session, slot: i64, key: bytes) -> object | None:
    """As `read`, but the key's access clock stays (EXISTS, TTL, TYPE)."""
    store = s.store
    value = store.peek(slot, key)
    if value is not None:
        store.hits += 1
    else:
        store.misses += 1
        if e.notify_mask & NOTIFY_KEY_MISS:
            e.notify(NOTIFY_KEY_MISS, b"keymiss", key, s.dbid)
    return value


def read_string(e: Engine, s: Session, slot: i64, key: bytes) -> bytes | None:
    """The string at a key, None when missing; raises WrongTypeError for another kind of value."""
    value = read(e, s, slot, key)
    if value is None or isinstance(value, bytes):
        return value
    raise WrongTypeError()


def peek_string(store: Store, slot: i64, key: bytes) -> bytes | None:
    """The string at a key that is about to be written: not counted. Raises WrongTypeError."""
    value = store.peek(slot, key)
    if value is None or isinstance(value, bytes):
        return value
    raise WrongTypeError()


def announce_new(e: Engine, dbid: i64, slot: i64, key: bytes) -> None:
    """Send the `new` event of a key that is about to be created, when somebody wants it."""
    if e.notify_mask & NOTIFY_NEW and e.store_of(dbid).peek(slot, key) is None:
        e.notify(NOTIFY_NEW, b"new", key, dbid)


def already_past(e: Engine, at_ms: i64) -> bool:
    """Whether an expiry lies in the past and the key goes at once; a replica waits for its primary's word."""
    return at_ms <= e.now_ms and not e.settings.import_mode and e.replication.primary and not e.replication.loading


def expiry_time(e: Engine, name: bytes, data: bytes, seconds: bool, relative: bool) -> i64:
    """The Unix time in ms that an EX, PX, EXAT or PXAT argument means; raises CommandError when it is none."""
    value = integer(data)
    limit: i64 = I64_MAX // 1000 if seconds else I64_MAX
    if value <= 0 or value > limit:
        raise invalid_expiry(name)
    if seconds:
        value *= 1000
    if relative:
        if value > I64_MAX - e.now_ms:
            raise invalid_expiry(name)
        value += e.now_ms
    return value


def invalid_expiry(name: bytes) -> CommandError:
    """The error for a time that is not positive or does not fit."""
    return CommandError(b"ERR invalid expire time in '%b' command" % name)


def shown(arg: bytes) -> bytes:
    """An argument as error texts show it: up to the first zero byte, as C prints it."""
    return arg.split(b"\0")[0]
