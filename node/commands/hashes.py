"""Hashes."""

from typing import Final

from mypy_extensions import i64

from node.commands.reading import announce_new, integer, read
from node.commands.scanning import ScanOptions, parse_cursor, reply_scan
from node.engine import NOTIFY_GENERIC, NOTIFY_HASH, Engine, Handler
from node.errors import NOT_A_FLOAT, OVERFLOW, SYNTAX, CommandError, WrongTypeError
from node.numbers import (
    I64_MAX,
    LongDouble,
    NotANumber,
    add_long_doubles,
    add_overflows,
    format_int,
    format_long_double,
    is_int,
    parse_long_double,
    to_int,
)
from node.session import Session
from node.types.hash import Hash

OUT_OF_RANGE: Final = b"ERR value is out of range"
BAD_COUNT: Final = (
    b"ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807"
)
MOST_REPEATS: Final = 1 << 24  # picks with repetition in one reply: a bound on what one small request can make us build


def hash_at(e: Engine, s: Session, key: bytes) -> Hash | None:
    """The hash at the command's key for reading, None when there is no key; raises WrongTypeError."""
    value = read(e, s, e.slot, key)
    if value is None:
        return None
    if isinstance(value, Hash):
        if value.table is not None:
            value.stamp(judging_time(e, s))
        return value
    raise WrongTypeError()


def judging_time(e: Engine, s: Session) -> i64:
    """The time that decides which fields have expired; 0 while the primary decides (its stream is applied)."""
    return 0 if s.store.ignore_expiry else e.now_ms


def hash_to_write(e: Engine, s: Session, key: bytes) -> Hash | None:
    """As `hash_at`, for a writing command."""
    value = s.store.get(e.slot, key)
    if value is None:
        return None
    if isinstance(value, Hash):
        if value.table is not None:
            value.stamp(judging_time(e, s))
        return value
    raise WrongTypeError()


def stored(e: Engine, s: Session, key: bytes, value: Hash, before: i64) -> bool:
    """Account for a hash whose fields were set; `before` is its size before, -1 when the key is new.

    True when a field was overwritten that had expired: such a command is propagated as the HSET of its result.
    """
    if before < 0:
        announce_new(e, s.dbid, e.slot, key)
        s.store.put(e.slot, key, value)
        return False
    s.store.grew(e.slot, key, value.used_bytes() - before)
    times = value.times()
    if times is None:
        return False
    s.store.arm_inside(e.slot, key, value.next_due())
    if times.revived:
        e.notify(NOTIFY_HASH, b"hexpired", key, s.dbid)
    return times.revived


# --- writing


def _set_all(e: Engine, s: Session, args: list[bytes], name: bytes) -> i64:
    """Set the pairs of HSET and HMSET; returns how many fields are new."""
    n: i64 = len(args)
    if n & 1:
        raise CommandError(b"ERR wrong number of arguments for '%b' command" % name)
    key = args[1]
    found = hash_to_write(e, s, key)
    before: i64 = -1 if found is None else found.used_bytes()
    value = Hash() if found is None else found
    value.expect(args, 2)
    new: i64 = 0
    i: i64 = 2
    while i < n:
        if value.set(args[i], args[i + 1]):
            new += 1
        i += 2
    stored(e, s, key, value, before)
    e.changed(s, key, NOTIFY_HASH, b"hset", (n - 2) >> 1)
    return new


def hset(e: Engine, s: Session, args: list[bytes]) -> None:
    """HSET key field value [field value ...]."""
    s.reply.integer(_set_all(e, s, args, b"hset"))


def hmset(e: Engine, s: Session, args: list[bytes]) -> None:
    """HMSET key field value [field value ...]."""
    _set_all(e, s, args, b"hmset")
    s.reply.ok()


def hsetnx(e: Engine, s: Session, args: list[bytes]) -> None:
    """HSETNX key field value."""
    key = args[1]
    found = hash_to_write(e, s, key)
    if found is not None and found.has(args[2]):
        s.reply.integer(0)
        return
    before: i64 = -1 if found is None else found.used_bytes()
    value = Hash() if found is None else found
    value.set(args[2], args[3])
    if stored(e, s, key, value, before):
        e.replace_with([b"HSET", key, args[2], args[3]])
    e.changed(s, key, NOTIFY_HASH, b"hset")
    s.reply.integer(1)


def hincrby(e: Engine, s: Session, args: list[bytes]) -> None:
    """HINCRBY key field increment."""
    by = integer(args[3])
    key = args[1]
    found = hash_to_write(e, s, key)
    number: i64 = 0
    old = None if found is None else found.get(args[2])
    if old is not None:
        if not is_int(old):
            raise CommandError(b"ERR hash value is not an integer")
        number = to_int(old)
    if add_overflows(number, by):
        raise CommandError(OVERFLOW)
    number += by
    before: i64 = -1 if found is None else found.used_bytes()
    value = Hash() if found is None else found
    text = format_int(number)
    value.update(args[2], text)
    stored(e, s, key, value, before)
    if value.times() is not None:
        e.replace_with(result_of(value, key, args[2], text))
    e.changed(s, key, NOTIFY_HASH, b"hincrby")
    s.reply.integer(number)


def _long_double(text: bytes, error: bytes) -> LongDouble:
    try:
        return parse_long_double(text)
    except NotANumber:
        raise CommandError(error) from None


def hincrbyfloat(e: Engine, s: Session, args: list[bytes]) -> None:
    """HINCRBYFLOAT key field increment; propagated as the HSET of its result, which does not depend on rounding."""
    by = _long_double(args[3], NOT_A_FLOAT)
    if by.infinite:
        raise CommandError(b"ERR value is NaN or Infinity")
    key = args[1]
    found = hash_to_write(e, s, key)
    old = None if found is None else found.get(args[2])
    if old is not None:
        number = _long_double(old, b"ERR hash value is not a float")
        by = number if number.infinite else add_long_doubles(number, by)
        if by.infinite:
            raise CommandError(b"ERR increment would produce NaN or Infinity")
    text = format_long_double(by)
    before: i64 = -1 if found is None else found.used_bytes()
    value = Hash() if found is None else found
    value.update(args[2], text)
    stored(e, s, key, value, before)
    e.changed(s, key, NOTIFY_HASH, b"hincrbyfloat")
    e.replace_with(result_of(value, key, args[2], text))
    s.reply.bulk(text)


def result_of(value: Hash, key: bytes, field: bytes, text: bytes) -> list[bytes]:
    """What has to be propagated so that a field holds this text and the time to live that it has here."""
    at = value.expires(field)
    if at > 0:
        return [b"HSETEX", key, b"PXAT", b"%d" % at, b"FIELDS", b"1", field, text]
    return [b"HSET", key, field, text]


def removed(e: Engine, s: Session, key: bytes, value: Hash, before: i64, event: bytes, count: i64) -> None:
    """Account for a hash from which fields were removed; the key goes with the last of them."""
    s.store.grew(e.slot, key, value.used_bytes() - before)
    e.changed(s, key, NOTIFY_HASH, event, count)
    if value.count() == 0:
        s.store.delete(e.slot, key)
        e.notify(NOTIFY_GENERIC, b"del", key, s.dbid)
    elif value.times() is not None:
        s.store.arm_inside(e.slot, key, value.next_due())


def hdel(e: Engine, s: Session, args: list[bytes]) -> None:
    """HDEL key field [field ...]."""
    key = args[1]
    value = hash_to_write(e, s, key)
    gone: i64 = 0
    if value is not None:
        before = value.used_bytes()
        volatile = value.times() is not None
        deleted = [b"HDEL", key]
        i: i64 = 2
        while i < len(args):
            if value.delete(args[i]):
                gone += 1
                if volatile:
                    deleted.append(args[i])
            i += 1
        if gone > 0:
            removed(e, s, key, value, before, b"hdel", gone)
            if volatile:  # a replica that hides no field must not delete those that had expired here
                e.replace_with(deleted)
    s.reply.integer(gone)


# --- reading


def hget(e: Engine, s: Session, args: list[bytes]) -> None:
    """HGET key field."""
    value = hash_at(e, s, args[1])
    s.reply.bulk_or_null(None if value is None else value.get(args[2]))


def hmget(e: Engine, s: Session, args: list[bytes]) -> None:
    """HMGET key field [field ...]."""
    value = hash_at(e, s, args[1])
    n: i64 = len(args)
    s.reply.array(n - 2)
    i: i64 = 2
    while i < n:
        s.reply.bulk_or_null(None if value is None else value.get(args[i]))
        i += 1


def hexists(e: Engine, s: Session, args: list[bytes]) -> None:
    """HEXISTS key field."""
    value = hash_at(e, s, args[1])
    s.reply.integer(1 if value is not None and value.has(args[2]) else 0)


def hstrlen(e: Engine, s: Session, args: list[bytes]) -> None:
    """HSTRLEN key field."""
    value = hash_at(e, s, args[1])
    s.reply.integer(0 if value is None else value.value_length(args[2]))


def hlen(e: Engine, s: Session, args: list[bytes]) -> None:
    """HLEN key."""
    value = hash_at(e, s, args[1])
    s.reply.integer(0 if value is None else value.count())


def hkeys(e: Engine, s: Session, args: list[bytes]) -> None:
    """HKEYS key."""
    value = hash_at(e, s, args[1])
    if value is None:
        s.reply.array(0)
    else:
        s.reply.bulks(value.fields())


def hvals(e: Engine, s: Session, args: list[bytes]) -> None:
    """HVALS key."""
    value = hash_at(e, s, args[1])
    if value is None:
        s.reply.array(0)
    else:
        s.reply.bulks(value.values())


def hgetall(e: Engine, s: Session, args: list[bytes]) -> None:
    """HGETALL key."""
    value = hash_at(e, s, args[1])
    if value is None:
        s.reply.map(0)
        return
    flat = value.flat()
    s.reply.map(len(flat) >> 1)
    for item in flat:
        s.reply.bulk(item)


def repeat_count(arg: bytes) -> i64:
    """The count of HRANDFIELD and SRANDMEMBER (negative: with repetition); raises CommandError."""
    count = integer(arg)
    if count < -I64_MAX:
        raise CommandError(BAD_COUNT)
    return count


def hrandfield(e: Engine, s: Session, args: list[bytes]) -> None:
    """HRANDFIELD key [count [WITHVALUES]]."""
    if len(args) == 2:
        value = hash_at(e, s, args[1])
        found: list[bytes] = [] if value is None else value.random_pairs(e.rng, 1, False)
        s.reply.bulk_or_null(found[0] if found else None)
        return
    count = repeat_count(args[2])
    with_values = len(args) == 4 and args[3].lower() == b"withvalues"
    if len(args) > 4 or (len(args) == 4 and not with_values):
        raise CommandError(SYNTAX)
    half: i64 = I64_MAX // 2
    if with_values and (count < -half or count > half):
        raise CommandError(OUT_OF_RANGE)
    value = hash_at(e, s, args[1])
    if value is None or count == 0:
        s.reply.array(0)
        return
    if count < -MOST_REPEATS:
        raise CommandError(OUT_OF_RANGE)
    distinct = count > 0
    _reply_pairs(s, value.random_pairs(e.rng, count if distinct else -count, distinct), with_values)


def _reply_pairs(s: Session, flat: list[bytes], with_values: bool) -> None:
    """Fields alone, or with their values: in RESP3 as pairs, else in one array."""
    n: i64 = len(flat)
    nested = with_values and s.reply.resp3
    s.reply.array(n if with_values and not nested else n >> 1)
    i: i64 = 0
    while i < n:
        if nested:
            s.reply.array(2)
        s.reply.bulk(flat[i])
        if with_values:
            s.reply.bulk(flat[i + 1])
        i += 2


def hscan(e: Engine, s: Session, args: list[bytes]) -> None:
    """HSCAN key cursor [MATCH pattern] [COUNT count] [NOVALUES]."""
    cursor = parse_cursor(args[2])
    value = hash_at(e, s, args[1])
    if value is None:
        reply_scan(s, 0, [])
        return
    options = ScanOptions(args, 3, b"novalues")
    found: list[bytes] = []
    cursor = value.scan(cursor, options.count, found)
    fields = options.keep(found)
    if options.flag:
        reply_scan(s, cursor, fields)
        return
    items: list[bytes] = []
    for field in fields:
        text = value.get(field)
        items.append(field)
        items.append(b"" if text is None else text)
    reply_scan(s, cursor, items)


HANDLERS: dict[bytes, Handler] = {
    b"hdel": hdel,
    b"hexists": hexists,
    b"hget": hget,
    b"hgetall": hgetall,
    b"hincrby": hincrby,
    b"hincrbyfloat": hincrbyfloat,
    b"hkeys": hkeys,
    b"hlen": hlen,
    b"hmget": hmget,
    b"hmset": hmset,
    b"hrandfield": hrandfield,
    b"hscan": hscan,
    b"hset": hset,
    b"hsetnx": hsetnx,
    b"hstrlen": hstrlen,
    b"hvals": hvals,
}
