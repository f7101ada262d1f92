"""Sets."""

from typing import Final

from mypy_extensions import i64

from cluster.slots import key_slot
from node.commands.hashes import MOST_REPEATS, OUT_OF_RANGE, repeat_count
from node.commands.reading import announce_new, read
from node.commands.scanning import ScanOptions, parse_cursor, reply_scan
from node.engine import NOTIFY_GENERIC, NOTIFY_SET, Engine, Handler
from node.errors import SYNTAX, CommandError, WrongTypeError
from node.numbers import is_int, to_int
from node.session import Session
from node.types.set import INTSET, TABLE, Set, new_set, stays_table

MUST_BE_POSITIVE: Final = b"ERR value is out of range, must be positive"
_POP_REST: Final = 5  # SPOP that leaves a fifth of what it takes builds the rest anew: the encoding may change
_SREM_BATCH: Final = 1024  # members in one propagated SREM


def set_at(e: Engine, s: Session, slot: i64, key: bytes) -> Set | None:
    """The set at a key for reading, None when there is no key; raises WrongTypeError."""
    value = read(e, s, slot, key)
    if value is None:
        return None
    if isinstance(value, Set):
        return value
    raise WrongTypeError()


def _set_to_write(s: Session, slot: i64, key: bytes) -> Set | None:
    value = s.store.get(slot, key)
    if value is None:
        return None
    if isinstance(value, Set):
        return value
    raise WrongTypeError()


def _store_new(e: Engine, s: Session, slot: i64, key: bytes, value: Set) -> None:
    announce_new(e, s.dbid, slot, key)
    s.store.put(slot, key, value)


def _drop_if_empty(e: Engine, s: Session, slot: i64, key: bytes, value: Set) -> None:
    if value.count() == 0:
        s.store.delete(slot, key)
        e.notify(NOTIFY_GENERIC, b"del", key, s.dbid)


# --- single members


def sadd(e: Engine, s: Session, args: list[bytes]) -> None:
    """SADD key member [member ...]."""
    key = args[1]
    n: i64 = len(args)
    found = _set_to_write(s, e.slot, key)
    before: i64 = 0
    if found is None:
        value = new_set(args[2], n - 2)
    else:
        value = found
        before = value.used_bytes()
        value.expect(n - 2)
    new: i64 = 0
    i: i64 = 2
    while i < n:
        if value.add(args[i]):
            new += 1
        i += 1
    if found is None:
        _store_new(e, s, e.slot, key, value)
    else:
        s.store.grew(e.slot, key, value.used_bytes() - before)
    if new > 0:
        e.changed(s, key, NOTIFY_SET, b"sadd", new)
    s.reply.integer(new)


def srem(e: Engine, s: Session, args: list[bytes]) -> None:
    """SREM key member [member ...]."""
    key = args[1]
    value = _set_to_write(s, e.slot, key)
    gone: i64 = 0
    if value is not None:
        before = value.used_bytes()
        i: i64 = 2
        while i < len(args):
            if value.remove(args[i]):
                gone += 1
            i += 1
        if gone > 0:
            s.store.grew(e.slot, key, value.used_bytes() - before)
            e.changed(s, key, NOTIFY_SET, b"srem", gone)
            _drop_if_empty(e, s, e.slot, key, value)
    s.reply.integer(gone)


def smove(e: Engine, s: Session, args: list[bytes]) -> None:
    """SMOVE source destination member."""
    source, destination, member = args[1], args[2], args[3]
    from_slot = key_slot(source)
    to_slot = key_slot(destination)
    value = s.store.get(from_slot, source)
    if value is None:
        s.store.peek(to_slot, destination)  # it may have expired: then it goes now
        s.reply.integer(0)
        return
    target = _set_to_write(s, to_slot, destination)
    if not isinstance(value, Set):
        raise WrongTypeError()
    if source == destination:
        s.reply.integer(1 if value.has(member) else 0)
        return
    before = value.used_bytes()
    if not value.remove(member):
        s.reply.integer(0)
        return
    s.store.grew(from_slot, source, value.used_bytes() - before)
    e.changed(s, source, NOTIFY_SET, b"srem")
    _drop_if_empty(e, s, from_slot, source, value)
    if target is None:
        target = new_set(member, 1)
        target.add(member)
        _store_new(e, s, to_slot, destination, target)
        e.changed(s, destination, NOTIFY_SET, b"sadd")
    else:
        before = target.used_bytes()
        if target.add(member):
            s.store.grew(to_slot, destination, target.used_bytes() - before)
            e.changed(s, destination, NOTIFY_SET, b"sadd")
    s.reply.integer(1)


def sismember(e: Engine, s: Session, args: list[bytes]) -> None:
    """SISMEMBER key member."""
    value = set_at(e, s, e.slot, args[1])
    s.reply.integer(1 if value is not None and value.has(args[2]) else 0)


def smismember(e: Engine, s: Session, args: list[bytes]) -> None:
    """SMISMEMBER key member [member ...]."""
    value = set_at(e, s, e.slot, args[1])
    n: i64 = len(args)
    s.reply.array(n - 2)
    i: i64 = 2
    while i < n:
        s.reply.integer(1 if value is not None and value.has(args[i]) else 0)
        i += 1


def scard(e: Engine, s: Session, args: list[bytes]) -> None:
    """SCARD key."""
    value = set_at(e, s, e.slot, args[1])
    s.reply.integer(0 if value is None else value.count())


def _reply_set(s: Session, members: list[bytes]) -> None:
    s.reply.set(len(members))
    for member in members:
        s.reply.bulk(member)


def smembers(e: Engine, s: Session, args: list[bytes]) -> None:
    """SMEMBERS key."""
    value = set_at(e, s, e.slot, args[1])
    if value is None:
        s.reply.set(0)
    else:
        _reply_set(s, value.members())


def sscan(e: Engine, s: Session, args: list[bytes]) -> None:
    """SSCAN key cursor [MATCH pattern] [COUNT count]."""
    cursor = parse_cursor(args[2])
    value = set_at(e, s, e.slot, args[1])
    if value is None:
        reply_scan(s, 0, [])
        return
    options = ScanOptions(args, 3)
    found: list[bytes] = []
    cursor = value.scan(cursor, options.count, found)
    reply_scan(s, cursor, options.keep(found))


# --- random members


def srandmember(e: Engine, s: Session, args: list[bytes]) -> None:
    """SRANDMEMBER key [count]."""
    if len(args) > 3:
        raise CommandError(SYNTAX)
    if len(args) == 2:
        value = set_at(e, s, e.slot, args[1])
        s.reply.bulk_or_null(None if value is None else value.random(e.rng))
        return
    count = repeat_count(args[2])
    value = set_at(e, s, e.slot, args[1])
    if value is None or count == 0:
        s.reply.array(0)
    elif count > 0:
        s.reply.bulks(value.random_distinct(e.rng, count))
    elif count < -MOST_REPEATS:
        raise CommandError(OUT_OF_RANGE)
    else:
        s.reply.array(-count)
        while count < 0:
            s.reply.bulk(value.random(e.rng))
            count += 1


def spop(e: Engine, s: Session, args: list[bytes]) -> None:
    """SPOP key [count]; propagated as SREM of what chance chose, or as the removal of the key."""
    if len(args) > 3:
        raise CommandError(SYNTAX)
    if len(args) == 3:
        _spop_many(e, s, args[1], args[2])
        return
    key = args[1]
    value = _set_to_write(s, e.slot, key)
    if value is None:
        s.reply.null()
        return
    before = value.used_bytes()
    member = value.random(e.rng)
    value.remove(member)
    s.store.grew(e.slot, key, value.used_bytes() - before)
    e.changed(s, key, NOTIFY_SET, b"spop")
    e.replace_with([b"SREM", key, member])
    _drop_if_empty(e, s, e.slot, key, value)
    s.reply.bulk(member)


def _spop_many(e: Engine, s: Session, key: bytes, arg: bytes) -> None:
    if not is_int(arg) or to_int(arg) < 0:
        raise CommandError(MUST_BE_POSITIVE)
    count = to_int(arg)
    value = _set_to_write(s, e.slot, key)
    if value is None or count == 0:
        s.reply.set(0)
        return
    size = value.count()
    if count >= size:
        members = value.members()
        s.store.discard(e.slot, key)
        e.changed(s, key, NOTIFY_SET, b"spop", size)
        e.notify(NOTIFY_GENERIC, b"del", key, s.dbid)
        e.replace_with([b"UNLINK" if e.settings.options.flag("lazyfree-lazy-server-del") else b"DEL", key])
        _reply_set(s, members)
        return
    before = value.used_bytes()
    members = value.random_distinct(e.rng, count)
    for member in members:
        value.remove(member)
    if (size - count) * _POP_REST <= count:
        value.repack()
    s.store.grew(e.slot, key, value.used_bytes() - before)
    e.changed(s, key, NOTIFY_SET, b"spop", count)
    i: i64 = 0
    while i < count:
        e.replace_with([b"SREM", key, *members[i : i + _SREM_BATCH]])
        i += _SREM_BATCH
    _reply_set(s, members)


# --- several sets


def _sets_at(e: Engine, s: Session, args: list[bytes], first: i64, stop: i64) -> list[Set | None]:
    """The sets at the keys `args[first:stop]`, every one checked for its type."""
    sets: list[Set | None] = []
    while first < stop:
        key = args[first]
        sets.append(set_at(e, s, key_slot(key), key))
        first += 1
    return sets


def _intersection(sets: list[Set | None], limit: i64) -> list[bytes]:
    """Members of all sets (at most `limit`, 0 = all), in the order of the smallest."""
    present: list[Set] = []
    for one in sets:
        if one is None:
            return []
        present.append(one)
    present.sort(key=Set.count)
    out: list[bytes] = []
    smallest = present[0]
    rest = present[1:]
    i: i64 = 0
    while i < smallest.portions():
        for member in smallest.portion(i):
            if _in_all(rest, member):
                out.append(member)
                if len(out) == limit:
                    return out
        i += 1
    return out


def _in_all(sets: list[Set], member: bytes) -> bool:
    return all(one.has(member) for one in sets)


def _union(sets: list[Set | None], result: Set) -> Set:
    """Add all members of the sets to an empty one; a large one among them is not added but copied, in no time."""
    largest: Set | None = None
    for one in sets:
        if one is not None and stays_table(one) and (largest is None or one.count() > largest.count()):
            largest = one
    if largest is not None:
        result = largest.copy()
    for one in sets:
        if one is not None and one is not largest:
            for member in one.members():
                result.add(member)
    return result


def _difference(sets: list[Set | None]) -> Set:
    """The members of the first set that no other has, encoded as by the one of Valkey's two ways that costs less."""
    first = sets[0]
    result = Set()
    if first is None:
        return result
    others: list[Set] = []
    work = first.count()
    for one in sets[1:]:
        if one is first:
            return result
        if one is not None:
            others.append(one)
            work += one.count()
    if not others or first.count() * (len(others) + 1) // 2 > work:
        return _subtracted(first, others, result)
    others.sort(key=Set.count, reverse=True)
    for member in first.members():
        if not _in_any(others, member):
            result.add(member)
    return result


def _subtracted(first: Set, others: list[Set], result: Set) -> Set:
    """Take all members of the other sets out of a copy of the first, which is encoded as if made member by member."""
    if stays_table(first):
        result = first.copy()
    else:
        for member in first.members():
            result.add(member)
    for one in others:
        for member in one.members():
            result.remove(member)
    return result


def _in_any(sets: list[Set], member: bytes) -> bool:
    return any(one.has(member) for one in sets)


def _store_result(e: Engine, s: Session, args: list[bytes], result: Set, event: bytes) -> None:
    """Put a result in the place of whatever is at the destination, or remove that when the result is empty."""
    key = args[1]
    slot = key_slot(key)
    size = result.count()
    if size > 0:
        announce_new(e, s.dbid, slot, key)
        s.store.discard(slot, key)
        s.store.put(slot, key, result)
        e.changed(s, key, NOTIFY_SET, event)
    elif s.store.discard(slot, key):
        e.changed(s, key, NOTIFY_GENERIC, b"del")
    s.reply.integer(size)


def sinter(e: Engine, s: Session, args: list[bytes]) -> None:
    """SINTER key [key ...]."""
    _reply_set(s, _intersection(_sets_at(e, s, args, 1, len(args)), 0))


def sinterstore(e: Engine, s: Session, args: list[bytes]) -> None:
    """SINTERSTORE destination key [key ...]."""
    sets = _sets_at(e, s, args, 2, len(args))
    members = _intersection(sets, 0)
    result = Set()
    if members:
        smallest = min((one for one in sets if one is not None), key=Set.count)
        result = Set(INTSET if smallest.kind == TABLE else smallest.kind)
        for member in members:
            result.add(member)
        if smallest.kind != TABLE and all(is_int(member) for member in members):
            result.try_intset()
    _store_result(e, s, args, result, b"sinterstore")


def sintercard(e: Engine, s: Session, args: list[bytes]) -> None:
    """SINTERCARD numkeys key [key ...] [LIMIT limit]."""
    n: i64 = len(args)
    if not is_int(args[1]) or to_int(args[1]) < 1:
        raise CommandError(b"ERR numkeys should be greater than 0")
    keys = to_int(args[1])
    if keys > n - 2:
        raise CommandError(b"ERR Number of keys can't be greater than number of args")
    limit: i64 = 0
    i: i64 = keys + 2
    while i < n:
        if args[i].lower() != b"limit" or i + 1 >= n:
            raise CommandError(SYNTAX)
        if not is_int(args[i + 1]) or to_int(args[i + 1]) < 0:
            raise CommandError(b"ERR LIMIT can't be negative")
        limit = to_int(args[i + 1])
        i += 2
    s.reply.integer(len(_intersection(_sets_at(e, s, args, 2, keys + 2), limit)))


def sunion(e: Engine, s: Session, args: list[bytes]) -> None:
    """SUNION key [key ...]."""
    sets = _sets_at(e, s, args, 1, len(args))
    kind: i64 = INTSET
    for one in sets:
        if one is not None and one.kind != INTSET:
            kind = TABLE
    _reply_set(s, _union(sets, Set(kind)).members())


def sunionstore(e: Engine, s: Session, args: list[bytes]) -> None:
    """SUNIONSTORE destination key [key ...]."""
    result = _union(_sets_at(e, s, args, 2, len(args)), Set())
    _store_result(e, s, args, result, b"sunionstore")


def sdiff(e: Engine, s: Session, args: list[bytes]) -> None:
    """SDIFF key [key ...]."""
    _reply_set(s, _difference(_sets_at(e, s, args, 1, len(args))).members())


def sdiffstore(e: Engine, s: Session, args: list[bytes]) -> None:
    """SDIFFSTORE destination key [key ...]."""
    _store_result(e, s, args, _difference(_sets_at(e, s, args, 2, len(args))), b"sdiffstore")


HANDLERS: dict[bytes, Handler] = {
    b"sadd": sadd,
    b"scard": scard,
    b"sdiff": sdiff,
    b"sdiffstore": sdiffstore,
    b"sinter": sinter,
    b"sintercard": sintercard,
    b"sinterstore": sinterstore,
    b"sismember": sismember,
    b"smembers": smembers,
    b"smismember": smismember,
    b"smove": smove,
    b"spop": spop,
    b"srandmember": srandmember,
    b"srem": srem,
    b"sscan": sscan,
    b"sunion": sunion,
    b"sunionstore": sunionstore,
}
