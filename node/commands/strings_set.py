"""Strings that are set or read with conditions and expiry: SET, GETEX and the older forms of SET."""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from cluster.slots import key_slot
from node.commands.reading import already_past, announce_new, expiry_time, peek_string, read_string
from node.engine import NOTIFY_EXPIRED, NOTIFY_GENERIC, NOTIFY_NEW, NOTIFY_STRING, Engine, Handler
from node.errors import SYNTAX, CommandError, WrongTypeError
from node.numbers import is_int, to_int
from node.session import Session

_NX: Final = 1
_XX: Final = 2
_IFEQ: Final = 4
_GET: Final = 8
_KEEPTTL: Final = 16
_PERSIST: Final = 32
_EX: Final = 64
_PX: Final = 128
_EXAT: Final = 256
_PXAT: Final = 512
_TIMES: Final = _EX | _PX | _EXAT | _PXAT
_CONDITIONS: Final = _NX | _XX | _IFEQ

_FLAGS: Final[dict[bytes, int]] = {
    b"nx": _NX, b"xx": _XX, b"ifeq": _IFEQ, b"get": _GET, b"keepttl": _KEEPTTL, b"persist": _PERSIST,
    b"ex": _EX, b"px": _PX, b"exat": _EXAT, b"pxat": _PXAT,
}  # fmt: skip
_OF_SET: Final = _CONDITIONS | _GET | _KEEPTTL | _TIMES
_OF_GETEX: Final = _PERSIST | _TIMES
_OF_MSETEX: Final = _NX | _XX | _KEEPTTL | _TIMES
# What excludes each option; an option may be repeated, but for IFEQ.
_EXCLUDES: Final[dict[int, int]] = {
    _NX: _XX | _IFEQ,
    _XX: _NX | _IFEQ,
    _IFEQ: _CONDITIONS,
    _GET: 0,
    _KEEPTTL: _PERSIST | _TIMES,
    _PERSIST: _KEEPTTL | _TIMES,
    _EX: _KEEPTTL | _PERSIST | (_TIMES & ~_EX),
    _PX: _KEEPTTL | _PERSIST | (_TIMES & ~_PX),
    _EXAT: _KEEPTTL | _PERSIST | (_TIMES & ~_EXAT),
    _PXAT: _KEEPTTL | _PERSIST | (_TIMES & ~_PXAT),
}


@final
@mypyc_attr(acyclic=True)
class _Options:
    """The options of one SET or GETEX."""

    flags: i64
    time: bytes
    compare: bytes

    def __init__(self, args: list[bytes], start: i64, allowed: i64) -> None:
        self.flags = 0
        self.time = b""
        self.compare = b""
        i: i64 = start
        while i < len(args):
            flag: i64 = _FLAGS.get(args[i].lower(), 0)
            if not flag & allowed or self.flags & _EXCLUDES[flag]:
                raise CommandError(SYNTAX)
            self.flags |= flag
            if flag & (_TIMES | _IFEQ):
                i += 1
                if i == len(args):
                    raise CommandError(SYNTAX)
                if flag == _IFEQ:
                    self.compare = args[i]
                else:
                    self.time = args[i]
            i += 1

    def condition(self) -> list[bytes]:
        """NX or XX, if given."""
        if self.flags & _NX:
            return [b"NX"]
        return [b"XX"] if self.flags & _XX else []

    def until(self, e: Engine, name: bytes) -> i64:
        """The expiry in Unix ms, 0 when none is asked for."""
        if not self.flags & _TIMES:
            return 0
        return expiry_time(
            e, name, self.time, (self.flags & (_EX | _EXAT)) != 0, (self.flags & (_EX | _PX)) != 0
        )


def set_command(e: Engine, s: Session, args: list[bytes]) -> None:
    """SET key value [NX | XX | IFEQ comparison-value] [GET] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL]."""
    if len(args) > 3:
        _set_with_options(e, s, args)
        return
    key = args[1]
    if e.notify_mask & NOTIFY_NEW:
        announce_new(e, s.dbid, e.slot, key)
    s.store.set(e.slot, key, args[2])
    e.changed(s, key, NOTIFY_STRING, b"set")
    s.reply.ok()


def _set_with_options(e: Engine, s: Session, args: list[bytes]) -> None:
    options = _Options(args, 3, _OF_SET)
    until = options.until(e, b"set")
    key = args[1]
    flags = options.flags
    if flags & _GET:
        s.reply.bulk_or_null(read_string(e, s, e.slot, key))
    if flags & _CONDITIONS and not _condition_holds(s, e.slot, key, options):
        if not flags & _GET:
            s.reply.null()
        return
    if flags & _KEEPTTL:
        _set_keeping(e, s, key, args[2])
    elif until == 0:
        announce_new(e, s.dbid, e.slot, key)
        s.store.set(e.slot, key, args[2])
        e.changed(s, key, NOTIFY_STRING, b"set")
    else:
        _set_until(e, s, key, args[2], until)
    if not flags & _GET:
        s.reply.ok()


def _condition_holds(s: Session, slot: i64, key: bytes, options: _Options) -> bool:
    value = s.store.peek(slot, key)
    if options.flags & _NX:
        return value is None
    if options.flags & _XX:
        return value is not None
    if value is None:
        return False
    if not isinstance(value, bytes):
        raise WrongTypeError()
    return value == options.compare


def _set_keeping(e: Engine, s: Session, key: bytes, value: bytes) -> None:
    announce_new(e, s.dbid, e.slot, key)
    s.store.put(e.slot, key, value)
    e.changed(s, key, NOTIFY_STRING, b"set")


def _set_until(e: Engine, s: Session, key: bytes, value: bytes, until: i64) -> None:
    """Set with an expiry, propagated as a time and not as a duration; a time that has passed removes the key."""
    if already_past(e, until):
        _remove_expired(e, s, key)
        return
    announce_new(e, s.dbid, e.slot, key)
    s.store.set_until(e.slot, key, value, until)
    e.changed(s, key, NOTIFY_STRING, b"set")
    e.notify(NOTIFY_GENERIC, b"expire", key, s.dbid)
    if e.journal.active:
        e.replace_with([b"SET", key, value, b"PXAT", b"%d" % until])


def _remove_expired(e: Engine, s: Session, key: bytes) -> None:
    """The expiry just asked for has passed: the key goes, if there is one."""
    if s.store.discard(e.slot, key):
        e.changed(s, key, NOTIFY_EXPIRED, b"expired")
        e.replace_with([b"UNLINK", key])


def setnx(e: Engine, s: Session, args: list[bytes]) -> None:
    """SETNX key value."""
    if s.store.peek(e.slot, args[1]) is not None:
        s.reply.integer(0)
        return
    announce_new(e, s.dbid, e.slot, args[1])
    s.store.set(e.slot, args[1], args[2])
    e.changed(s, args[1], NOTIFY_STRING, b"set")
    s.reply.integer(1)


def setex(e: Engine, s: Session, args: list[bytes]) -> None:
    """SETEX key seconds value."""
    _set_until(e, s, args[1], args[3], expiry_time(e, b"setex", args[2], True, True))
    s.reply.ok()


def psetex(e: Engine, s: Session, args: list[bytes]) -> None:
    """PSETEX key milliseconds value."""
    _set_until(e, s, args[1], args[3], expiry_time(e, b"psetex", args[2], False, True))
    s.reply.ok()


def getset(e: Engine, s: Session, args: list[bytes]) -> None:
    """GETSET key value."""
    key = args[1]
    s.reply.bulk_or_null(read_string(e, s, e.slot, key))
    announce_new(e, s.dbid, e.slot, key)
    s.store.set(e.slot, key, args[2])
    e.changed(s, key, NOTIFY_STRING, b"set")
    if e.journal.active:
        e.replace_with([b"SET", key, args[2]])


def getdel(e: Engine, s: Session, args: list[bytes]) -> None:
    """GETDEL key."""
    key = args[1]
    value = read_string(e, s, e.slot, key)
    s.reply.bulk_or_null(value)
    if value is not None and s.store.delete(e.slot, key):
        e.changed(s, key, NOTIFY_GENERIC, b"del")
        if e.journal.active:
            e.replace_with([b"DEL", key])


def getex(e: Engine, s: Session, args: list[bytes]) -> None:
    """GETEX key [EX s | PX ms | EXAT s | PXAT ms | PERSIST]."""
    options = _Options(args, 2, _OF_GETEX)
    until = options.until(e, b"getex")
    key = args[1]
    value = read_string(e, s, e.slot, key)
    s.reply.bulk_or_null(value)
    if value is None:
        return
    if until != 0:
        if already_past(e, until):
            _remove_expired(e, s, key)
            return
        s.store.set_expire(e.slot, key, until)
        e.changed(s, key, NOTIFY_GENERIC, b"expire")
        e.replace_with([b"PEXPIREAT", key, b"%d" % until])
    elif options.flags & _PERSIST and s.store.expire_at(e.slot, key) > 0:
        s.store.set_expire(e.slot, key, 0)
        e.changed(s, key, NOTIFY_GENERIC, b"persist")
        e.replace_with([b"PERSIST", key])


def mset(e: Engine, s: Session, args: list[bytes]) -> None:
    """MSET key value [key value ...]."""
    _check_pairs(args, b"mset")
    _set_all(e, s, args)
    s.reply.ok()


def msetnx(e: Engine, s: Session, args: list[bytes]) -> None:
    """MSETNX key value [key value ...]: all, or none when one of the keys exists."""
    _check_pairs(args, b"msetnx")
    i: i64 = 1
    while i < len(args):
        if s.store.peek(key_slot(args[i]), args[i]) is not None:
            s.reply.integer(0)
            return
        i += 2
    _set_all(e, s, args)
    s.reply.integer(1)


def _check_pairs(args: list[bytes], name: bytes) -> None:
    if len(args) % 2 == 0:
        raise CommandError(b"ERR wrong number of arguments for '%b' command" % name)


def _set_all(e: Engine, s: Session, args: list[bytes]) -> None:
    i: i64 = 1
    while i < len(args):
        key = args[i]
        slot = key_slot(key)
        if e.notify_mask & NOTIFY_NEW:
            announce_new(e, s.dbid, slot, key)
        s.store.set(slot, key, args[i + 1])
        e.changed(s, key, NOTIFY_STRING, b"set")
        i += 2


def msetex(e: Engine, s: Session, args: list[bytes]) -> None:
    """MSETEX numkeys key value [key value ...] [NX | XX] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL]: all or none."""
    if not is_int(args[1]) or not 1 <= to_int(args[1]) <= 2147483647:
        raise CommandError(b"ERR invalid numkeys value or out of range")
    stop: i64 = 2 + to_int(args[1]) * 2
    if stop > len(args):
        raise CommandError(SYNTAX)
    options = _Options(args, stop, _OF_MSETEX)
    until = options.until(e, b"msetex")
    i: i64 = 2
    while i < stop:
        there = s.store.peek(key_slot(args[i]), args[i]) is not None
        if (there and options.flags & _NX) or (not there and options.flags & _XX):
            s.reply.integer(0)
            return
        i += 2
    i = 2
    while i < stop:
        _set_one(e, s, args[i], args[i + 1], until, (options.flags & _KEEPTTL) != 0)
        i += 2
    if until != 0 and e.journal.active:
        # Not the options as given: a time may be given twice, and a replica refuses the one that was not looked at.
        e.replace_with([*args[:stop], *options.condition(), b"PXAT", b"%d" % until])
    s.reply.integer(1)


def _set_one(e: Engine, s: Session, key: bytes, value: bytes, until: i64, keep: bool) -> None:
    """One key of MSETEX; a time that has passed is set too, and the key found expired when it is next met."""
    slot = key_slot(key)
    announce_new(e, s.dbid, slot, key)
    if until != 0:
        s.store.set_until(slot, key, value, until)
    elif keep:
        s.store.put(slot, key, value)
    else:
        s.store.set(slot, key, value)
    e.changed(s, key, NOTIFY_STRING, b"set")
    if until != 0:
        e.notify(NOTIFY_GENERIC, b"expire", key, s.dbid)


def delifeq(e: Engine, s: Session, args: list[bytes]) -> None:
    """DELIFEQ key value: remove the key if it holds this string."""
    old = peek_string(s.store, e.slot, args[1])
    if old is None or old != args[2]:
        s.reply.integer(0)
        return
    s.store.delete(e.slot, args[1])
    e.changed(s, args[1], NOTIFY_GENERIC, b"del")
    if e.journal.active:
        e.replace_with([b"DEL", args[1]])
    s.reply.integer(1)


def set_string(e: Engine, s: Session, key: bytes, value: bytes, event: bytes, raw: bool) -> None:
    """Change a string in place: its expiry stays. `raw` when it was grown or patched (OBJECT ENCODING tells)."""
    announce_new(e, s.dbid, e.slot, key)
    if raw:
        s.store.put_raw(e.slot, key, value)
    else:
        s.store.put(e.slot, key, value)
    e.changed(s, key, NOTIFY_STRING, event)


def patch_string(e: Engine, s: Session, key: bytes, at: i64, data: bytes, event: bytes) -> i64:
    """Change a part of a string, which may begin or grow by this: its expiry stays. Returns its length."""
    announce_new(e, s.dbid, e.slot, key)
    size = s.store.patch(e.slot, key, at, data)
    e.changed(s, key, NOTIFY_STRING, event)
    return size


HANDLERS: dict[bytes, Handler] = {
    b"set": set_command,
    b"setnx": setnx,
    b"setex": setex,
    b"psetex": psetex,
    b"getset": getset,
    b"getdel": getdel,
    b"getex": getex,
    b"delifeq": delifeq,
    b"mset": mset,
    b"msetex": msetex,
    b"msetnx": msetnx,
}
