"""Keys of any type: deleting, moving, copying. Expiry is in generic_expire, looking over keys in generic_scan."""

from typing import Final

from mypy_extensions import i64

from cluster.slots import key_slot
from node.commands import generic_expire, generic_scan
from node.commands.reading import look, read, small_integer
from node.engine import NOTIFY_GENERIC, NOTIFY_NEW, Engine, Handler
from node.errors import DB_OUT_OF_RANGE, NO_SUCH_KEY, SYNTAX, CommandError
from node.keyspace import Store, Value
from node.session import Session
from node.types.hash import Hash

_SAME: Final = b"ERR source and destination objects are the same"


# --- deleting and counting
def delete(e: Engine, s: Session, args: list[bytes]) -> None:
    """DEL key [key ...] (and UNLINK): how many there were."""
    store = s.store
    found: i64 = 0
    i: i64 = 1
    while i < len(args):
        key = args[i]
        if store.discard(key_slot(key), key):
            found += 1
            e.changed(s, key, NOTIFY_GENERIC, b"del")
        i += 1
    s.reply.integer(found)


def exists(e: Engine, s: Session, args: list[bytes]) -> None:
    """EXISTS key [key ...]: how many of the arguments exist."""
    found: i64 = 0
    i: i64 = 1
    while i < len(args):
        if look(e, s, key_slot(args[i]), args[i]) is not None:
            found += 1
        i += 1
    s.reply.integer(found)


def touch(e: Engine, s: Session, args: list[bytes]) -> None:
    """TOUCH key [key ...]."""
    found: i64 = 0
    i: i64 = 1
    while i < len(args):
        if read(e, s, key_slot(args[i]), args[i]) is not None:
            found += 1
        i += 1
    s.reply.integer(found)


def type_command(e: Engine, s: Session, args: list[bytes]) -> None:
    """TYPE key."""
    value = look(e, s, e.slot, args[1])
    s.reply.simple(b"none" if value is None else generic_scan.type_of(value))


# --- moving and copying
def place(e: Engine, dbid: i64, key: bytes, value: object, expire_at: i64, form: bytes) -> None:
    """Put a value at a key that is free in a database, with its expiry (0 = none); waiting clients are told.

    `form` is the encoding that the value had: a string that was raw is not embedded in its new key either.
    """
    store = e.store_of(dbid)
    slot = key_slot(key)
    store.put(slot, key, value)
    if expire_at > 0:
        store.set_expire(slot, key, expire_at)
    now = generic_scan.encoding_of(store, slot, key, value)
    if form == b"raw" and now != form:
        store.set_raw(slot, key)
    elif form == b"embstr" and now == b"int":
        store.set_text(slot, key)
    if e.notify_mask & NOTIFY_NEW:
        e.notify(NOTIFY_NEW, b"new", key, dbid)
    if e.blocking.count > 0 and isinstance(value, Value):
        e.blocking.signal(dbid, key)


def _rename(e: Engine, s: Session, args: list[bytes], replace: bool) -> bool:
    """Rename; False when the new name is taken and may not be replaced (or is the old one)."""
    old, new = args[1], args[2]
    store = s.store
    value = store.peek(e.slot, old)
    if value is None:
        raise CommandError(NO_SUCH_KEY)
    if old == new:
        return False
    slot = key_slot(new)
    if store.peek(slot, new) is not None:
        if not replace:
            return False
        store.discard(slot, new)
    expire_at = store.expire_at(e.slot, old)
    form = generic_scan.encoding_of(store, e.slot, old, value)
    store.delete(e.slot, old)
    place(e, s.dbid, new, value, expire_at, form)
    e.changed(s, old, NOTIFY_GENERIC, b"rename_from")
    e.changed(s, new, NOTIFY_GENERIC, b"rename_to", 0)
    return True


def rename(e: Engine, s: Session, args: list[bytes]) -> None:
    """RENAME key newkey."""
    _rename(e, s, args, True)
    s.reply.ok()


def renamenx(e: Engine, s: Session, args: list[bytes]) -> None:
    """RENAMENX key newkey."""
    s.reply.integer(1 if _rename(e, s, args, False) else 0)


def _database(e: Engine, data: bytes) -> i64:
    dbid = small_integer(data)
    if dbid < 0 or dbid >= len(e.stores):
        raise CommandError(DB_OUT_OF_RANGE)
    return dbid


def move(e: Engine, s: Session, args: list[bytes]) -> None:
    """MOVE key db."""
    key = args[1]
    dbid = _database(e, args[2])
    if dbid == s.dbid:
        raise CommandError(_SAME)
    source = s.store
    value = source.peek(e.slot, key)
    if value is None or e.store_of(dbid).peek(e.slot, key) is not None:
        s.reply.integer(0)
        return
    expire_at = source.expire_at(e.slot, key)
    form = generic_scan.encoding_of(source, e.slot, key, value)
    source.delete(e.slot, key)
    place(e, dbid, key, value, expire_at, form)
    e.changed(s, key, NOTIFY_GENERIC, b"move_from")
    e.changed_in(dbid, key, NOTIFY_GENERIC, b"move_to", 0)
    s.reply.integer(1)


def copy(e: Engine, s: Session, args: list[bytes]) -> None:
    """COPY source destination [DB destination-db] [REPLACE]."""
    dbid: i64 = s.dbid
    replace = False
    i: i64 = 3
    while i < len(args):
        option = args[i].lower()
        if option == b"replace":
            replace = True
        elif option == b"db" and i + 1 < len(args):
            i += 1
            dbid = _database(e, args[i])
        else:
            raise CommandError(SYNTAX)
        i += 1
    if dbid == s.dbid and args[1] == args[2]:
        raise CommandError(_SAME)
    s.reply.integer(1 if _copy(e, s, args[1], args[2], dbid, replace) else 0)


def _copy(e: Engine, s: Session, key: bytes, new: bytes, dbid: i64, replace: bool) -> bool:
    value = read(e, s, e.slot, key)
    if value is None:
        return False
    target: Store = e.store_of(dbid)
    slot = key_slot(new)
    if target.peek(slot, new) is not None:
        if not replace:
            return False
        target.discard(slot, new)
    twin = value.copy() if isinstance(value, Value) else value
    if isinstance(twin, Hash) and twin.volatile() and dbid == s.dbid:
        _leave_expired(e, s, twin, key, new, replace)
    form = generic_scan.encoding_of(s.store, e.slot, key, value)
    place(e, dbid, new, twin, s.store.expire_at(e.slot, key), form)
    e.changed_in(dbid, new, NOTIFY_GENERIC, b"copy_to")
    return True


def _leave_expired(e: Engine, s: Session, twin: Hash, key: bytes, new: bytes, replace: bool) -> None:
    """Fields that have expired are not copied; a replica, which judges no time, is told which."""
    times = twin.times()
    assert times is not None
    before = [*times.at]
    twin.stamp(0 if s.store.ignore_expiry else e.now_ms)
    if twin.drop_expired() > 0:
        e.replace_with([b"COPY", key, new, b"REPLACE"] if replace else [b"COPY", key, new])
        twin.stamp(0)
        e.replace_with([b"HDEL", new, *[field for field in before if not twin.has(field)]])


HANDLERS: dict[bytes, Handler] = {
    b"del": delete,
    b"unlink": delete,
    b"exists": exists,
    b"touch": touch,
    b"type": type_command,
    b"rename": rename,
    b"renamenx": renamenx,
    b"move": move,
    b"copy": copy,
    **generic_expire.HANDLERS,
    **generic_scan.HANDLERS,
}
