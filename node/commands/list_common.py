"""What the files of list commands share: arguments, and the ways in which a list grows and shrinks."""

from typing import Final

from mypy_extensions import i64

from cluster.slots import key_slot
from node.commands.reading import integer, read
from node.engine import NOTIFY_GENERIC, NOTIFY_LIST, NOTIFY_NEW, Engine
from node.errors import SYNTAX, CommandError, WrongTypeError
from node.numbers import I64_MAX, I64_MIN, format_int, is_int, to_int
from node.session import Session
from node.types.quicklist import List

_FEW: Final = 8  # elements that are popped one by one rather than cut off as a range


def list_at(s: Session, slot: i64, key: bytes) -> List | None:
    """The list at a key, None when there is no key; raises WrongTypeError."""
    value = s.store.get(slot, key)
    if value is None:
        return None
    if isinstance(value, List):
        return value
    raise WrongTypeError()


def list_to_read(e: Engine, s: Session, key: bytes) -> List | None:
    """As `list_at` for the first key of a reading command."""
    value = read(e, s, e.slot, key)
    if value is None:
        return None
    if isinstance(value, List):
        return value
    raise WrongTypeError()


def at_least(arg: bytes, low: i64, text: bytes) -> i64:
    """An integer argument not below `low`; anything else is answered with `text`."""
    if not is_int(arg):
        raise CommandError(text)
    n = to_int(arg)
    if n < low:
        raise CommandError(text)
    return n


def symmetric(arg: bytes) -> i64:
    """An integer argument that can be negated; raises CommandError."""
    n = integer(arg)
    if n == I64_MIN:
        raise CommandError(b"ERR value is out of range, value must between %d and %d" % (-I64_MAX, I64_MAX))
    return n


def end_of_list(arg: bytes) -> bool:
    """Whether LEFT is meant (False: RIGHT); raises CommandError."""
    word = arg.lower()
    if word == b"left":
        return True
    if word == b"right":
        return False
    raise CommandError(SYNTAX)


def window(start: i64, stop: i64, length: i64) -> tuple[i64, i64]:
    """Inclusive indexes, negative from the end, as a half-open range within `length`; 0, 0 when it is empty."""
    if start < 0:
        start += length
        if start < 0:
            start = 0
    if stop < 0:
        stop += length
    if start > stop or start >= length:
        return 0, 0
    if stop >= length:
        stop = length - 1
    return start, stop + 1


# --- growing


def added(e: Engine, s: Session, slot: i64, key: bytes, values: List) -> None:
    """Store a new list, and wake who waits for it."""
    s.store.put(slot, key, values)
    if e.blocking.count > 0:
        e.blocking.signal(s.dbid, key)
    if e.notify_mask & NOTIFY_NEW:
        e.notify(NOTIFY_NEW, b"new", key, s.dbid)


# --- shrinking


def removed(e: Engine, s: Session, slot: i64, key: bytes, values: List, before: i64, event: bytes, count: i64) -> None:
    """Elements were removed: account, tell, and drop the list when empty. `before`: its bytes before."""
    if values.length > 0:
        values.after_removing()
    s.store.grew(slot, key, values.used_bytes() - before)
    e.changed(s, key, NOTIFY_LIST, event, count)
    if values.length == 0:
        s.store.delete(slot, key)
        e.notify(NOTIFY_GENERIC, b"del", key, s.dbid)


def pop_one(e: Engine, s: Session, slot: i64, key: bytes, values: List, left: bool) -> bytes:
    """Take out an element at one end, with all that follows from it."""
    before = values.used_bytes()
    value = values.pop_left() if left else values.pop_right()
    removed(e, s, slot, key, values, before, b"lpop" if left else b"rpop", 1)
    return value


def pop_many(e: Engine, s: Session, slot: i64, key: bytes, values: List, left: bool, count: i64) -> list[bytes]:
    """Take out up to `count` (at least one) elements at one end, the outermost first."""
    before = values.used_bytes()
    length = values.length
    if count > length:
        count = length
    items: list[bytes] = []
    if count <= _FEW:
        while len(items) < count:
            items.append(values.pop(left))
    elif left:
        items = values.slice(0, count)
        values.trim(count, length)
    else:
        items = values.slice(length - count, length)
        items.reverse()
        values.trim(0, length - count)
    removed(e, s, slot, key, values, before, b"lpop" if left else b"rpop", count)
    return items


class PopRequest:
    """The arguments `numkeys key [key ...] LEFT|RIGHT [COUNT count]`."""

    keys: list[bytes]
    left: bool
    count: i64

    def __init__(self, args: list[bytes], at: i64) -> None:
        number = at_least(args[at], 1, b"ERR numkeys should be greater than 0")
        if number >= len(args) - at - 1:
            raise CommandError(SYNTAX)
        where: i64 = at + 1 + number
        self.keys = args[at + 1 : where]
        self.left = end_of_list(args[where])
        self.count = 1
        if where + 1 < len(args):
            if args[where + 1].lower() != b"count" or where + 2 >= len(args):
                raise CommandError(SYNTAX)
            self.count = at_least(args[where + 2], 1, b"ERR count should be greater than 0")
            if where + 3 < len(args):
                raise CommandError(SYNTAX)


def pop_first_filled(e: Engine, s: Session, keys: list[bytes], left: bool, count: i64) -> bool:
    """Answer from the first key that holds a list, to be propagated as LPOP or RPOP; False when none does."""
    for key in keys:
        slot = key_slot(key)
        values = list_at(s, slot, key)
        if values is None:
            continue
        taken = values.length if values.length < count else count
        s.reply.array(2)
        s.reply.bulk(key)
        s.reply.bulks(pop_many(e, s, slot, key, values, left, count))
        e.replace_with([b"LPOP" if left else b"RPOP", key, format_int(taken)])
        return True
    return False


def move(e: Engine, s: Session, source: bytes, target: bytes, values: List, from_left: bool, to_left: bool) -> None:
    """Pop from a list that is there and push to another, or to the other end of the same; answers the element."""
    slot = key_slot(source)
    target_slot = key_slot(target)
    same = source == target
    found = values if same else list_at(s, target_slot, target)
    before = values.used_bytes()
    value = values.pop_left() if from_left else values.pop_right()
    into = List() if found is None else found
    into_before = into.used_bytes()
    into.before_adding([value], 0, 0)
    into.push(value, to_left)
    if found is None:
        added(e, s, target_slot, target, into)
    elif not same:
        s.store.grew(target_slot, target, into.used_bytes() - into_before)
    e.changed(s, target, NOTIFY_LIST, b"lpush" if to_left else b"rpush", 0)
    s.reply.bulk(value)
    removed(e, s, slot, source, values, before, b"lpop" if from_left else b"rpop", 1)
