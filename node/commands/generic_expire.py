"""Expiry of keys: EXPIRE, TTL and their forms, PERSIST. Whatever the form, a Unix time in ms is propagated."""

from typing import Final

from mypy_extensions import i64

from node.commands.reading import already_past, integer, invalid_expiry, look, shown
from node.engine import NOTIFY_EXPIRED, NOTIFY_GENERIC, Engine, Handler
from node.errors import CommandError
from node.expire import round_seconds
from node.numbers import I64_MAX
from node.session import Session

_NX: Final = 1
_XX: Final = 2
_GT: Final = 4
_LT: Final = 8
_FLAGS: Final[dict[bytes, int]] = {b"nx": _NX, b"xx": _XX, b"gt": _GT, b"lt": _LT}


def conditions(args: list[bytes]) -> i64:
    """The NX, XX, GT and LT of an EXPIRE."""
    flags: i64 = 0
    i: i64 = 3
    while i < len(args):
        flag: i64 = _FLAGS.get(args[i].lower(), 0)
        if flag == 0:
            raise CommandError(b"ERR Unsupported option " + shown(args[i]))
        flags |= flag
        i += 1
    if flags & _NX and flags & (_XX | _GT | _LT):
        raise CommandError(b"ERR NX and XX, GT or LT options at the same time are not compatible")
    if flags & _GT and flags & _LT:
        raise CommandError(b"ERR GT and LT options at the same time are not compatible")
    return flags


def holds(flags: i64, old: i64, at_ms: i64) -> bool:
    """Whether the conditions let `at_ms` replace the expiry `old` (0 = never, which counts as infinite)."""
    if flags & _NX and old != 0:
        return False
    if flags & _XX and old == 0:
        return False
    if flags & _GT and (old == 0 or at_ms <= old):
        return False
    return not (flags & _LT and old != 0 and at_ms >= old)


def _unix_ms(e: Engine, name: bytes, data: bytes, seconds: bool, relative: bool) -> i64:
    """The Unix time in ms that the argument means; it may lie in the past, but must fit."""
    value = integer(data)
    if seconds:
        if value > I64_MAX // 1000 or value < -(I64_MAX // 1000):
            raise invalid_expiry(name)
        value *= 1000
    base: i64 = e.now_ms if relative else 0
    if value > I64_MAX - base:
        raise invalid_expiry(name)
    return value + base


def _expire(e: Engine, s: Session, args: list[bytes], name: bytes, seconds: bool, relative: bool) -> None:
    key = args[1]
    flags = conditions(args)
    at_ms = _unix_ms(e, name, args[2], seconds, relative)
    old = s.store.expire_at(e.slot, key)
    if old >= 0:
        s.store.use(e.slot, key)
    if old < 0 or (flags and not holds(flags, old, at_ms)):
        s.reply.integer(0)
        return
    if already_past(e, at_ms):
        s.store.discard(e.slot, key)
        e.stats.expired_keys += 1
        e.changed(s, key, NOTIFY_EXPIRED, b"expired")
        e.replace_with([b"UNLINK", key])
    else:
        s.store.set_expire(e.slot, key, max(at_ms, 1))
        e.changed(s, key, NOTIFY_GENERIC, b"expire")
        if (seconds or relative) and e.journal.active:
            e.replace_with([b"PEXPIREAT", key, b"%d" % at_ms, *args[3:]])
    s.reply.integer(1)


def expire(e: Engine, s: Session, args: list[bytes]) -> None:
    """EXPIRE key seconds [NX | XX | GT | LT]."""
    _expire(e, s, args, b"expire", True, True)


def pexpire(e: Engine, s: Session, args: list[bytes]) -> None:
    """PEXPIRE key milliseconds [NX | XX | GT | LT]."""
    _expire(e, s, args, b"pexpire", False, True)


def expireat(e: Engine, s: Session, args: list[bytes]) -> None:
    """EXPIREAT key unix-time-seconds [NX | XX | GT | LT]."""
    _expire(e, s, args, b"expireat", True, False)


def pexpireat(e: Engine, s: Session, args: list[bytes]) -> None:
    """PEXPIREAT key unix-time-milliseconds [NX | XX | GT | LT]."""
    _expire(e, s, args, b"pexpireat", False, False)


def _expiry(e: Engine, s: Session, key: bytes) -> i64:
    """The expiry of a key in Unix ms for a reading command; -1 when it has none, -2 when there is no key."""
    if look(e, s, e.slot, key) is None:
        return -2
    at = s.store.expire_at(e.slot, key)
    return at if at > 0 else -1


def ttl(e: Engine, s: Session, args: list[bytes]) -> None:
    """TTL key."""
    at = _expiry(e, s, args[1])
    s.reply.integer(at if at < 0 else round_seconds(max(at - e.now_ms, 0)))


def pttl(e: Engine, s: Session, args: list[bytes]) -> None:
    """PTTL key."""
    at = _expiry(e, s, args[1])
    s.reply.integer(at if at < 0 else max(at - e.now_ms, 0))


def expiretime(e: Engine, s: Session, args: list[bytes]) -> None:
    """EXPIRETIME key."""
    at = _expiry(e, s, args[1])
    s.reply.integer(at if at < 0 else round_seconds(at))


def pexpiretime(e: Engine, s: Session, args: list[bytes]) -> None:
    """PEXPIRETIME key."""
    s.reply.integer(_expiry(e, s, args[1]))


def persist(e: Engine, s: Session, args: list[bytes]) -> None:
    """PERSIST key."""
    key = args[1]
    old = s.store.expire_at(e.slot, key)
    if old >= 0:
        s.store.use(e.slot, key)
    if old <= 0:
        s.reply.integer(0)
        return
    s.store.set_expire(e.slot, key, 0)
    e.changed(s, key, NOTIFY_GENERIC, b"persist")
    s.reply.integer(1)


HANDLERS: dict[bytes, Handler] = {
    b"expire": expire,
    b"pexpire": pexpire,
    b"expireat": expireat,
    b"pexpireat": pexpireat,
    b"ttl": ttl,
    b"pttl": pttl,
    b"expiretime": expiretime,
    b"pexpiretime": pexpiretime,
    b"persist": persist,
}
