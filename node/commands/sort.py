"""SORT and SORT_RO: lists, sets and sorted sets ordered by themselves or by other keys, read or stored as a list.

Elements are paired with what they are compared by and sorted once; with a small LIMIT only the part that is wanted is
picked out. Ties are broken by the bytes of the elements, so that a replica that runs the same SORT ... STORE over a set
gets the same list.
"""

from heapq import nlargest, nsmallest
from typing import Final

from mypy_extensions import i64

from cluster.catalog.model import ACCESS, RO
from cluster.slots import key_slot
from node.acl.check import check_with_every_key
from node.commands.hashes import judging_time
from node.commands.list_common import added
from node.commands.reading import integer, read
from node.engine import NOTIFY_GENERIC, NOTIFY_LIST, Engine, Handler
from node.errors import SYNTAX, CommandError, WrongTypeError
from node.numbers import NotANumber, parse_double
from node.session import Session
from node.types.hash import Hash
from node.types.quicklist import List, from_items
from node.types.set import Set
from node.types.zset import ZSet

NOT_DOUBLES: Final = b"ERR One or more scores can't be converted into double"
NO_PERMISSION: Final = b"ERR %b option of SORT denied due to insufficient ACL permissions."
OTHER_SLOT: Final = (
    b"ERR %b option of SORT denied in Cluster mode when keys formed by the pattern may be in different slots."
)
PICKED: Final = 8  # a LIMIT of less than one in so many elements is picked out instead of sorting all


class Pattern:
    """A BY or GET pattern: a key with the element in place of the first `*`, perhaps `->field` of a hash behind it."""

    itself: bool  # `#`
    constant: bool  # no `*`: stands for no key
    before: bytes
    after: bytes
    field: bytes

    def __init__(self, text: bytes) -> None:
        self.itself = text == b"#"
        star = text.find(b"*")
        self.constant = star < 0
        self.before = text[:star] if star >= 0 else b""
        self.after = text[star + 1 :] if star >= 0 else b""
        self.field = b""
        arrow = self.after.find(b"->")
        if arrow >= 0 and arrow + 2 < len(self.after):
            self.field = self.after[arrow + 2 :]
            self.after = self.after[:arrow]

    def look(self, e: Engine, s: Session, element: bytes) -> bytes | None:
        """What the pattern means for an element; None when there is no such key or field, or it is of another type."""
        if self.itself:
            return element
        if self.constant:
            return None
        key = self.before + element + self.after
        value = read(e, s, key_slot(key), key)
        if self.field:
            if not isinstance(value, Hash):
                return None
            value.stamp(judging_time(e, s))
            return value.get(self.field)
        return value if isinstance(value, bytes) else None


def pattern_slot(text: bytes) -> i64:
    """The slot of every key that a pattern can form, -1 when they may lie in several."""
    opened: i64 = -1
    i: i64 = 0
    while i < len(text):
        c: i64 = text[i]
        if c == 42 or c == 63 or c == 91 or c == 92:  # * ? [ backslash
            return -1
        if c == 123 and opened < 0:
            opened = i
        elif c == 125 and opened >= 0 and i != opened + 1:
            return key_slot(text[opened + 1 : i])
        i += 1
    return key_slot(text)


class Request:
    """The options of SORT. Raises CommandError."""

    by: Pattern | None
    sorts: bool  # False: BY without `*`, the order is that of the value
    gets: list[Pattern]
    descending: bool
    alpha: bool
    start: i64
    count: i64
    target: bytes | None

    def __init__(self, e: Engine, s: Session, args: list[bytes], may_store: bool) -> None:
        self.by = None
        self.sorts = True
        self.gets = []
        self.descending = self.alpha = False
        self.start = 0
        self.count = -1
        self.target = None
        i: i64 = 2
        n: i64 = len(args)
        while i < n:
            word = args[i].lower()
            left = n - i - 1
            if word == b"asc":
                self.descending = False
            elif word == b"desc":
                self.descending = True
            elif word == b"alpha":
                self.alpha = True
            elif word == b"limit" and left >= 2:
                self.start = integer(args[i + 1])
                self.count = integer(args[i + 2])
                i += 2
            elif word == b"store" and left >= 1 and may_store:
                i += 1
                self.target = args[i]
            elif word == b"by" and left >= 1:
                i += 1
                self._take_by(e, s, args, args[i])
            elif word == b"get" and left >= 1:
                i += 1
                _check(e, s, args, args[i], b"GET")
                self.gets.append(Pattern(args[i]))
            else:
                raise CommandError(SYNTAX)
            i += 1

    def _take_by(self, e: Engine, s: Session, args: list[bytes], text: bytes) -> None:
        by = Pattern(text)
        self.by = by
        if by.constant:
            self.sorts = False
        else:
            _check(e, s, args, text, b"BY")

    def window(self, n: i64) -> tuple[i64, i64]:
        """First and last (exclusive) place of the result among n elements."""
        start: i64 = max(self.start, 0)
        if start >= n:
            return n, n
        if self.count < 0 or self.count >= n - start:
            return start, n
        return start, start + self.count


def _check(e: Engine, s: Session, args: list[bytes], pattern: bytes, option: bytes) -> None:
    """Refuse patterns whose keys may be served elsewhere, or that the user may not read whatever they are."""
    if e.gate.active and pattern != b"#" and pattern_slot(pattern) != key_slot(args[1]):
        raise CommandError(OTHER_SLOT % option)
    if not s.user.restricted:
        return
    command = e.table[args[0].lower()].command
    if not check_with_every_key(s.user, command, args, s.dbid, len(e.stores), RO | ACCESS):
        raise CommandError(NO_PERMISSION % option)


# --- elements in their order


def _elements(value: object, request: Request) -> list[bytes]:
    """All elements, unless the order is the value's own: then those of the window alone."""
    if isinstance(value, Set):
        members = value.members()
        if request.sorts:
            return members
        start, stop = request.window(len(members))
        return members[start:stop]
    if isinstance(value, List):
        if request.sorts:
            return value.items()
        start, stop = _own_window(request, value.length)
        found = value.slice(start, stop)
    elif isinstance(value, ZSet):
        start, stop = (0, value.count) if request.sorts else _own_window(request, value.count)
        found = []
        scores: list[float] = []
        if start < stop:
            value.collect(start, stop, found, scores)
    else:
        raise WrongTypeError()
    if not request.sorts and request.descending:
        found.reverse()
    return found


def _own_window(request: Request, n: i64) -> tuple[i64, i64]:
    """The window in a value's own order, counted from its end when descending."""
    start, stop = request.window(n)
    return (n - stop, n - start) if request.descending else (start, stop)


def _ordered(e: Engine, s: Session, items: list[bytes], request: Request) -> list[bytes]:
    """The window of the sorted elements."""
    start, stop = request.window(len(items))
    if request.alpha:
        if request.by is None:
            return _cut_plain(items, request.descending, start, stop)
        return _cut_texts(_by_text(e, s, items, request.by), request.descending, start, stop)
    return _cut_numbers(_by_number(e, s, items, request.by), request.descending, start, stop)


def _by_number(e: Engine, s: Session, items: list[bytes], by: Pattern | None) -> list[tuple[float, bytes]]:
    """Each element after its number; raises CommandError when one has none."""
    out: list[tuple[float, bytes]] = []
    bad = False
    for item in items:
        text = item if by is None else by.look(e, s, item)
        number = 0.0
        if text is not None:
            try:
                number = parse_double(text)
            except NotANumber:
                bad = True
        out.append((number, item))
    if bad:
        raise CommandError(NOT_DOUBLES)
    return out


def _by_text(e: Engine, s: Session, items: list[bytes], by: Pattern) -> list[tuple[bool, bytes, bytes]]:
    """Each element after the text that it is compared by; those that have none come first."""
    out: list[tuple[bool, bytes, bytes]] = []
    for item in items:
        text = by.look(e, s, item)
        out.append((text is not None, b"" if text is None else text, item))
    return out


def _cut_plain(items: list[bytes], descending: bool, start: i64, stop: i64) -> list[bytes]:
    if stop * PICKED < len(items):
        items = nlargest(stop, items) if descending else nsmallest(stop, items)
    else:
        items.sort(reverse=descending)
    return items[start:stop]


def _cut_numbers(pairs: list[tuple[float, bytes]], descending: bool, start: i64, stop: i64) -> list[bytes]:
    if stop * PICKED < len(pairs):
        pairs = nlargest(stop, pairs) if descending else nsmallest(stop, pairs)
    else:
        pairs.sort(reverse=descending)
    return [pair[1] for pair in pairs[start:stop]]


def _cut_texts(rows: list[tuple[bool, bytes, bytes]], descending: bool, start: i64, stop: i64) -> list[bytes]:
    if stop * PICKED < len(rows):
        rows = nlargest(stop, rows) if descending else nsmallest(stop, rows)
    else:
        rows.sort(reverse=descending)
    return [row[2] for row in rows[start:stop]]


# --- the commands


def _sort(e: Engine, s: Session, args: list[bytes], may_store: bool) -> None:
    request = Request(e, s, args, may_store)
    value = read(e, s, e.slot, args[1])
    if value is not None and not isinstance(value, (List, Set, ZSet)):
        raise WrongTypeError()
    if isinstance(value, ZSet):  # Valkey looks the members up in its table, and leaves that behind
        before = value.used_bytes()
        value.expand()
        s.store.grew(e.slot, args[1], value.used_bytes() - before)
    if not request.sorts and isinstance(value, Set) and (request.target is not None or s.conn is None):
        request.sorts = True  # a set has no order of its own that a replica, or a script run again, would share
        request.alpha = True
        request.by = None
    found: list[bytes] = [] if value is None else _elements(value, request)
    if request.sorts:
        found = _ordered(e, s, found, request)
    if request.target is not None:
        _store(e, s, request.target, _looked_up(e, s, found, request))
        return
    if not request.gets:
        s.reply.bulks(found)
        return
    s.reply.array(len(found) * len(request.gets))
    for item in found:
        for pattern in request.gets:
            s.reply.bulk_or_null(pattern.look(e, s, item))


def _looked_up(e: Engine, s: Session, found: list[bytes], request: Request) -> list[bytes]:
    """What STORE keeps: for each element what the GETs give, an empty string for nothing."""
    if not request.gets:
        return found
    out: list[bytes] = []
    for item in found:
        for pattern in request.gets:
            text = pattern.look(e, s, item)
            out.append(b"" if text is None else text)
    return out


def _store(e: Engine, s: Session, key: bytes, items: list[bytes]) -> None:
    slot = key_slot(key)
    existed = s.store.discard(slot, key)
    if items:
        values = from_items(items)
        if existed:
            s.store.put(slot, key, values)
            if e.blocking.count > 0:
                e.blocking.signal(s.dbid, key)
        else:
            added(e, s, slot, key, values)
        e.changed(s, key, NOTIFY_LIST, b"sortstore", len(items))
    elif existed:
        e.changed(s, key, NOTIFY_GENERIC, b"del")
    s.reply.integer(len(items))


def sort(e: Engine, s: Session, args: list[bytes]) -> None:
    """SORT key [BY pattern] [LIMIT offset count] [GET pattern ...] [ASC | DESC] [ALPHA] [STORE destination]."""
    _sort(e, s, args, True)


def sort_ro(e: Engine, s: Session, args: list[bytes]) -> None:
    """SORT_RO key [BY pattern] [LIMIT offset count] [GET pattern ...] [ASC | DESC] [ALPHA]."""
    _sort(e, s, args, False)


HANDLERS: dict[bytes, Handler] = {
    b"sort": sort,
    b"sort_ro": sort_ro,
}
