"""Lists: pushing, popping and moving elements at the ends; and the table of the whole family."""

from mypy_extensions import i64

from node.commands import list_blocking, list_index
from node.commands.list_common import (
    PopRequest,
    added,
    at_least,
    end_of_list,
    list_at,
    move,
    pop_first_filled,
    pop_many,
    pop_one,
)  # fmt: skip
from node.engine import NOTIFY_LIST, Engine, Handler
from node.errors import CommandError
from node.session import Session
from node.types.quicklist import List

# --- pushing


def _push(e: Engine, s: Session, args: list[bytes], left: bool, only_existing: bool) -> None:
    key = args[1]
    store = s.store
    found = list_at(s, e.slot, key)
    if found is None and only_existing:
        s.reply.integer(0)
        return
    values = List() if found is None else found
    before = values.used_bytes()
    last: i64 = len(args) - 1
    values.before_adding(args, 2, last)
    i: i64 = 2
    while i <= last:
        if left:
            values.push_left(args[i])
        else:
            values.push_right(args[i])
        i += 1
    if found is None:
        added(e, s, e.slot, key, values)
    else:
        store.grew(e.slot, key, values.used_bytes() - before)
    s.reply.integer(values.length)
    e.changed(s, key, NOTIFY_LIST, b"lpush" if left else b"rpush", last - 1)


def lpush(e: Engine, s: Session, args: list[bytes]) -> None:
    """LPUSH key element [element ...]."""
    _push(e, s, args, True, False)


def rpush(e: Engine, s: Session, args: list[bytes]) -> None:
    """RPUSH key element [element ...]."""
    _push(e, s, args, False, False)


def lpushx(e: Engine, s: Session, args: list[bytes]) -> None:
    """LPUSHX key element [element ...]: only to an existing list."""
    _push(e, s, args, True, True)


def rpushx(e: Engine, s: Session, args: list[bytes]) -> None:
    """RPUSHX key element [element ...]: only to an existing list."""
    _push(e, s, args, False, True)


# --- popping


def _pop(e: Engine, s: Session, args: list[bytes], left: bool) -> None:
    counted = len(args) > 2
    count: i64 = 1
    if len(args) > 3:
        name = b"lpop" if left else b"rpop"
        raise CommandError(b"ERR wrong number of arguments for '" + name + b"' command")
    if counted:
        count = at_least(args[2], 0, b"ERR value is out of range, must be positive")
    values = list_at(s, e.slot, args[1])
    if values is None:
        if counted:
            s.reply.null_array()
        else:
            s.reply.null()
    elif not counted:
        s.reply.bulk(pop_one(e, s, e.slot, args[1], values, left))
    elif count == 0:
        s.reply.array(0)
    else:
        s.reply.bulks(pop_many(e, s, e.slot, args[1], values, left, count))


def lpop(e: Engine, s: Session, args: list[bytes]) -> None:
    """LPOP key [count]."""
    _pop(e, s, args, True)


def rpop(e: Engine, s: Session, args: list[bytes]) -> None:
    """RPOP key [count]."""
    _pop(e, s, args, False)


def lmpop(e: Engine, s: Session, args: list[bytes]) -> None:
    """LMPOP numkeys key [key ...] LEFT|RIGHT [COUNT count]."""
    request = PopRequest(args, 1)
    if not pop_first_filled(e, s, request.keys, request.left, request.count):
        s.reply.null_array()


# --- moving


def lmove(e: Engine, s: Session, args: list[bytes]) -> None:
    """LMOVE source destination LEFT|RIGHT LEFT|RIGHT."""
    from_left = end_of_list(args[3])
    to_left = end_of_list(args[4])
    values = list_at(s, e.slot, args[1])
    if values is None:
        s.reply.null()
    else:
        move(e, s, args[1], args[2], values, from_left, to_left)


def rpoplpush(e: Engine, s: Session, args: list[bytes]) -> None:
    """RPOPLPUSH source destination."""
    values = list_at(s, e.slot, args[1])
    if values is None:
        s.reply.null()
    else:
        move(e, s, args[1], args[2], values, False, True)


HANDLERS: dict[bytes, Handler] = {
    b"lpush": lpush,
    b"rpush": rpush,
    b"lpushx": lpushx,
    b"rpushx": rpushx,
    b"lpop": lpop,
    b"rpop": rpop,
    b"lmpop": lmpop,
    b"lmove": lmove,
    b"rpoplpush": rpoplpush,
    **list_index.HANDLERS,
    **list_blocking.HANDLERS,
}
