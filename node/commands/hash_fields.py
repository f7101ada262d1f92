"""Fields of hashes that expire: HEXPIRE, HTTL and their forms, HPERSIST, HGETEX, HSETEX, HGETDEL.

What is propagated names the fields that were touched and a Unix time in ms, without conditions: a replica hides no
field from the stream, so it must not be asked to judge.
"""

from typing import Final

from mypy_extensions import i64

from node.commands.generic_expire import conditions, holds
from node.commands.hashes import hash_at, hash_to_write, removed, stored
from node.commands.reading import already_past, announce_new, integer, invalid_expiry
from node.engine import NOTIFY_GENERIC, NOTIFY_HASH, Engine, Handler
from node.errors import SYNTAX, CommandError
from node.expire import round_seconds
from node.numbers import I64_MAX
from node.session import Session
from node.types.hash import Hash

BAD_NUMFIELDS: Final = b"ERR numfields should be greater than 0 and match the provided number of fields"


def _find_fields(args: list[bytes], at: i64) -> i64:
    """Where the word FIELDS stands, from `at` on; -1 when it is missing."""
    while at < len(args) - 1:
        if args[at].lower() == b"fields":
            return at
        at += 1
    return -1


def _check_number(args: list[bytes], at: i64, each: i64) -> None:
    """The number at `at` must be that of the fields after it, `each` arguments a field."""
    number = integer(args[at])
    given: i64 = len(args) - at - 1
    if number <= 0 or number > given or number * each != given:
        raise CommandError(BAD_NUMFIELDS)


def _unix_ms(e: Engine, name: bytes, data: bytes, seconds: bool, relative: bool) -> i64:
    """The Unix time in ms that the argument means; raises CommandError when it is negative or does not fit."""
    value = integer(data)
    if value < 0 or (seconds and value > I64_MAX // 1000):
        raise invalid_expiry(name)
    if seconds:
        value *= 1000
    base: i64 = e.now_ms if relative else 0
    if value > I64_MAX - base:
        raise invalid_expiry(name)
    return value + base


def _nothing(s: Session, fields: i64) -> None:
    """The reply for a key that is not there: no such field, for each."""
    s.reply.array(fields)
    while fields > 0:
        s.reply.integer(-2)
        fields -= 1


def _drop(e: Engine, s: Session, key: bytes, value: Hash, before: i64, gone: list[bytes]) -> None:
    """Fields were given a time in the past and removed at once."""
    e.stats.expired_fields += len(gone)
    removed(e, s, key, value, before, b"hexpired", len(gone))
    e.replace_with([b"HDEL", key, *gone])


# --- HEXPIRE and its forms


def _expire(e: Engine, s: Session, args: list[bytes], name: bytes, seconds: bool, relative: bool) -> None:
    at = _find_fields(args, 3)
    if at < 0:
        raise CommandError(BAD_NUMFIELDS)
    flags = conditions(args[:at])
    _check_number(args, at + 1, 1)
    when = _unix_ms(e, name, args[2], seconds, relative)
    key = args[1]
    value = hash_to_write(e, s, key)
    fields = args[at + 2 :]
    if value is None:
        _nothing(s, len(fields))
        return
    before = value.used_bytes()
    past = already_past(e, when)
    touched: list[bytes] = []
    s.reply.array(len(fields))
    for field in fields:
        old = value.expires(field)
        if old < 0:
            s.reply.integer(-2)
        elif flags and not holds(flags, old, when):
            s.reply.integer(0)
        else:
            touched.append(field)
            if past:
                value.delete(field)
            else:
                value.expire(field, when)
            s.reply.integer(2 if past else 1)
    if touched and past:
        _drop(e, s, key, value, before, touched)
    elif touched:
        _timed(e, s, key, value, before, touched, when)


def _timed(e: Engine, s: Session, key: bytes, value: Hash, before: i64, fields: list[bytes], when: i64) -> None:
    """Account for fields that were given a time to live."""
    stored(e, s, key, value, before)
    e.changed(s, key, NOTIFY_HASH, b"hexpire", len(fields))
    if e.journal.active:
        e.replace_with([b"HPEXPIREAT", key, b"%d" % when, b"FIELDS", b"%d" % len(fields), *fields])


def hexpire(e: Engine, s: Session, args: list[bytes]) -> None:
    """HEXPIRE key seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]."""
    _expire(e, s, args, b"hexpire", True, True)


def hpexpire(e: Engine, s: Session, args: list[bytes]) -> None:
    """HPEXPIRE key milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]."""
    _expire(e, s, args, b"hpexpire", False, True)


def hexpireat(e: Engine, s: Session, args: list[bytes]) -> None:
    """HEXPIREAT key unix-time-seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]."""
    _expire(e, s, args, b"hexpireat", True, False)


def hpexpireat(e: Engine, s: Session, args: list[bytes]) -> None:
    """HPEXPIREAT key unix-time-milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]."""
    _expire(e, s, args, b"hpexpireat", False, False)


# --- HTTL and its forms


def _ttl(e: Engine, s: Session, args: list[bytes], seconds: bool, relative: bool) -> None:
    if args[2].lower() != b"fields":
        raise CommandError(SYNTAX)
    number = integer(args[3])
    if number <= 0 or number != len(args) - 4:
        raise CommandError(SYNTAX)
    value = hash_at(e, s, args[1])
    if value is None:
        _nothing(s, number)
        return
    s.reply.array(number)
    for field in args[4:]:
        at = value.expires(field)
        if at <= 0:
            s.reply.integer(-1 if at == 0 else -2)
            continue
        left = max(at - e.now_ms, 0) if relative else at
        s.reply.integer(round_seconds(left) if seconds else left)


def httl(e: Engine, s: Session, args: list[bytes]) -> None:
    """HTTL key FIELDS numfields field [field ...]."""
    _ttl(e, s, args, True, True)


def hpttl(e: Engine, s: Session, args: list[bytes]) -> None:
    """HPTTL key FIELDS numfields field [field ...]."""
    _ttl(e, s, args, False, True)


def hexpiretime(e: Engine, s: Session, args: list[bytes]) -> None:
    """HEXPIRETIME key FIELDS numfields field [field ...]."""
    _ttl(e, s, args, True, False)


def hpexpiretime(e: Engine, s: Session, args: list[bytes]) -> None:
    """HPEXPIRETIME key FIELDS numfields field [field ...]."""
    _ttl(e, s, args, False, False)


# --- HPERSIST, HGETEX, HGETDEL


def _plain_fields(args: list[bytes]) -> list[bytes]:
    """The fields of `FIELDS numfields field [field ...]` that follow the key."""
    if args[2].lower() != b"fields":
        raise CommandError(SYNTAX)
    _check_number(args, 3, 1)
    return args[4:]


def _persisted(e: Engine, s: Session, key: bytes, value: Hash, before: i64, fields: list[bytes]) -> None:
    stored(e, s, key, value, before)
    e.changed(s, key, NOTIFY_HASH, b"hpersist", len(fields))
    e.replace_with([b"HPERSIST", key, b"FIELDS", b"%d" % len(fields), *fields])


def hpersist(e: Engine, s: Session, args: list[bytes]) -> None:
    """HPERSIST key FIELDS numfields field [field ...]."""
    fields = _plain_fields(args)
    key = args[1]
    value = hash_to_write(e, s, key)
    if value is None:
        _nothing(s, len(fields))
        return
    before = value.used_bytes()
    kept: list[bytes] = []
    s.reply.array(len(fields))
    for field in fields:
        if not value.has(field):
            s.reply.integer(-2)
        elif value.persist(field):
            kept.append(field)
            s.reply.integer(1)
        else:
            s.reply.integer(-1)
    if kept:
        _persisted(e, s, key, value, before, kept)


def hgetex(e: Engine, s: Session, args: list[bytes]) -> None:
    """HGETEX key [EX s | PX ms | EXAT t | PXAT ms-t | PERSIST] FIELDS numfields field [field ...]."""
    at = _find_fields(args, 1)  # Valkey looks at the key too
    if at < 0:
        raise CommandError(BAD_NUMFIELDS)
    options = FieldOptions(args, at, False)
    _check_number(args, at + 1, 1)
    key = args[1]
    value = hash_at(e, s, key)
    options.settle(e, b"hgetex")
    fields = args[at + 2 :]
    before: i64 = 0 if value is None else value.used_bytes()
    past = options.timed and already_past(e, options.when)
    touched: list[bytes] = []
    s.reply.array(len(fields))
    for field in fields:
        text = None if value is None else value.get(field)
        s.reply.bulk_or_null(text)
        if value is not None and text is not None and _apply(options, value, field, past):
            touched.append(field)
    if value is None or not touched:
        return
    if options.persist:
        _persisted(e, s, key, value, before, touched)
    elif past:
        _drop(e, s, key, value, before, touched)
    else:
        _timed(e, s, key, value, before, touched, options.when)


def _apply(options: "FieldOptions", value: Hash, field: bytes, past: bool) -> bool:
    """What HGETEX does to a field that is there; False when nothing."""
    if options.persist:
        return value.persist(field)
    if not options.timed:
        return False
    if past:
        return value.delete(field)
    value.expire(field, options.when)
    return True


def hgetdel(e: Engine, s: Session, args: list[bytes]) -> None:
    """HGETDEL key FIELDS numfields field [field ...]."""
    fields = _plain_fields(args)
    key = args[1]
    value = hash_to_write(e, s, key)
    before: i64 = 0 if value is None else value.used_bytes()
    gone: list[bytes] = []
    s.reply.array(len(fields))
    for field in fields:
        text = None if value is None else value.get(field)
        s.reply.bulk_or_null(text)
        if value is not None and text is not None:
            value.delete(field)
            gone.append(field)
    if value is not None and gone:
        removed(e, s, key, value, before, b"hdel", len(gone))
        e.replace_with([b"HDEL", key, *gone])


# --- HSETEX


class FieldOptions:
    """The options of HGETEX and HSETEX: those between the key and FIELDS. Raises CommandError."""

    key_nx: bool
    key_xx: bool
    nx: bool
    xx: bool
    keep: bool
    persist: bool
    unit: bytes  # ex, px, exat, pxat; empty without a time
    time: bytes
    timed: bool
    when: i64

    def __init__(self, args: list[bytes], end: i64, setting: bool) -> None:
        self.key_nx = self.key_xx = self.nx = self.xx = False
        self.keep = self.persist = self.timed = False
        self.unit = b""
        self.time = b""
        self.when = 0
        i: i64 = 2
        while i < end:
            word = args[i].lower()
            if word in (b"ex", b"px", b"exat", b"pxat") and i + 1 < end:
                if self.keep or self.persist or self.unit not in (b"", word):
                    raise CommandError(SYNTAX)
                self.unit = word
                self.time = args[i + 1]
                i += 1
            elif not (self._setting(word) if setting else self._getting(word)):
                raise CommandError(SYNTAX)
            i += 1
        self.timed = len(self.unit) > 0

    def _getting(self, word: bytes) -> bool:
        if word != b"persist" or self.unit:
            return False
        self.persist = True
        return True

    def _setting(self, word: bytes) -> bool:
        if word == b"keepttl" and not self.unit:
            self.keep = True
        elif word == b"nx" and not self.key_xx:
            self.key_nx = True
        elif word == b"xx" and not self.key_nx:
            self.key_xx = True
        elif word == b"fnx" and not self.xx:
            self.nx = True
        elif word == b"fxx" and not self.nx:
            self.xx = True
        else:
            return False
        return True

    def settle(self, e: Engine, name: bytes) -> None:
        """Work out the time; raises CommandError."""
        if self.timed:
            self.when = _unix_ms(e, name, self.time, self.unit[0] == 101, len(self.unit) == 2)

    def refuse_key(self, value: Hash | None) -> bool:
        """Whether NX or XX forbids to set the fields."""
        return (self.key_nx and value is not None) or (self.key_xx and value is None)

    def refuse(self, value: Hash | None, args: list[bytes], first: i64) -> bool:
        """Whether FNX or FXX forbids to set the fields."""
        if not self.nx and not self.xx:
            return False
        i = first
        while i < len(args):
            there = value is not None and value.has(args[i])
            if there if self.nx else not there:
                return True
            i += 2
        return False


def hsetex(e: Engine, s: Session, args: list[bytes]) -> None:
    """HSETEX key [NX | XX] [FNX | FXX] [EX s | PX ms | EXAT t | PXAT ms-t | KEEPTTL] FIELDS numfields field value"""
    at = _find_fields(args, 1)  # Valkey looks at the key too
    if at < 0:
        raise CommandError(BAD_NUMFIELDS)
    options = FieldOptions(args, at, True)
    _check_number(args, at + 1, 2)
    value = hash_to_write(e, s, args[1])
    first = at + 2
    if options.refuse_key(value):
        s.reply.integer(0)
        return
    options.settle(e, b"hsetex")
    if options.refuse(value, args, first):
        s.reply.integer(0)
        return
    if options.timed and already_past(e, options.when):
        _set_past(e, s, args, value, first)
    else:
        _set_fields(e, s, args, value, first, options)
    s.reply.integer(1)


def _set_fields(
    e: Engine, s: Session, args: list[bytes], found: Hash | None, first: i64, options: FieldOptions
) -> None:
    key = args[1]
    before: i64 = -1 if found is None else found.used_bytes()
    value = Hash() if found is None else found
    if options.timed and value.table is None:
        value.unpack()
    value.expect(args, first)
    revived: list[bytes] = []
    i = first
    while i < len(args):
        field = args[i]
        if options.keep and value.expires(field) < 0 and value.delete_expired(field):
            revived.append(field)
        if options.keep:
            value.update(field, args[i + 1])
        else:
            value.set(field, args[i + 1])
        if options.timed:
            value.expire(field, options.when)
        i += 2
    if revived:
        e.notify(NOTIFY_HASH, b"hexpired", key, s.dbid)
        e.replace_with([b"HDEL", key, *revived])
    stored(e, s, key, value, before)
    e.changed(s, key, NOTIFY_HASH, b"hset", (len(args) - first) >> 1)
    if options.timed:
        e.notify(NOTIFY_HASH, b"hexpire", key, s.dbid)
    if e.journal.active:
        mode = [b"PXAT", b"%d" % options.when] if options.timed else [b"KEEPTTL"] if options.keep else []
        e.replace_with([b"HSETEX", key, *mode, *args[first - 2 :]])


def _set_past(e: Engine, s: Session, args: list[bytes], value: Hash | None, first: i64) -> None:
    """The fields would be expired at once: those that are there go, nothing else changes."""
    key = args[1]
    if value is None:
        announce_new(e, s.dbid, e.slot, key)
    e.notify(NOTIFY_HASH, b"hset", key, s.dbid)
    e.notify(NOTIFY_HASH, b"hexpire", key, s.dbid)
    gone: list[bytes] = []
    before: i64 = 0 if value is None else value.used_bytes()
    i = first
    while i < len(args):
        field = args[i]
        if value is not None and (value.delete_expired(field) or value.delete(field)):
            gone.append(field)
        i += 2
    if value is not None and gone:
        _drop(e, s, key, value, before, gone)
        return
    e.notify(NOTIFY_HASH, b"hexpired", key, s.dbid)
    if value is None:
        e.notify(NOTIFY_GENERIC, b"del", key, s.dbid)


HANDLERS: dict[bytes, Handler] = {
    b"hexpire": hexpire,
    b"hexpireat": hexpireat,
    b"hexpiretime": hexpiretime,
    b"hgetdel": hgetdel,
    b"hgetex": hgetex,
    b"hpersist": hpersist,
    b"hpexpire": hpexpire,
    b"hpexpireat": hpexpireat,
    b"hpexpiretime": hpexpiretime,
    b"hpttl": hpttl,
    b"hsetex": hsetex,
    b"httl": httl,
}
