"""Streams: adding, removing and reading entries; and the table of the whole family."""

from typing import Final

from mypy_extensions import i64

from node.commands import stream_claims, stream_groups, stream_info, stream_reading
from node.commands.reading import integer
from node.commands.stream_common import (
    create,
    noted,
    range_end,
    range_start,
    stream_at,
    stream_to_read,
    strict_id,
    write_entries,
)
from node.engine import NOTIFY_STREAM, Engine, Handler
from node.errors import NO_SUCH_KEY, SYNTAX, CommandError
from node.session import Session
from node.types.stream import LARGEST, LIMITS, Stream
from node.types.streamid import ID_MAX, MASK, BadId, format_id, parse_number

_NO_TRIM: Final = 0
_BY_LENGTH: Final = 1
_BY_ID: Final = 2

_BOTH = b"ERR syntax error, MAXLEN and MINID options at the same time are not compatible"
_TOO_SMALL = b"ERR The ID specified in XADD is equal or smaller than the target stream top item"
_EXHAUSTED = b"ERR The stream has exhausted the last possible ID, unable to add more items"


class Trim:
    """The options of XADD and XTRIM. `at` is the place of the threshold, `end` that of the first other argument."""

    strategy: i64
    approximate: bool
    length: i64
    id: int
    limit: i64  # entries, 0 for any number
    limited: bool  # LIMIT was given
    at: i64
    end: i64
    no_create: bool

    def __init__(self, args: list[bytes], adding: bool, obeyed: bool) -> None:
        self.strategy = _NO_TRIM
        self.approximate = False
        self.length = 0
        self.id = 0
        self.limit = 0
        self.limited = False
        self.at = 0
        self.end = 2
        self.no_create = False
        while self.end < len(args) and not (adding and args[self.end] == b"*"):
            if not self._take(args, args[self.end].lower(), adding):
                break
            self.end += 1
        self._check(args, adding, obeyed)

    def _take(self, args: list[bytes], option: bytes, adding: bool) -> bool:
        """Take one option in, `end` then stands at its last argument; False at the ID of XADD."""
        more: i64 = len(args) - 1 - self.end
        if more > 0 and (option == b"maxlen" or option == b"minid"):
            self._threshold(args, option == b"maxlen", more)
        elif more > 0 and option == b"limit":
            self.end += 1
            self.limit = integer(args[self.end])
            if self.limit < 0:
                raise CommandError(b"ERR The LIMIT argument must be >= 0.")
            self.limited = True
        elif adding and option == b"nomkstream":
            self.no_create = True
        elif adding:
            return False
        else:
            raise CommandError(SYNTAX)
        return True

    def _threshold(self, args: list[bytes], by_length: bool, more: i64) -> None:
        if self.strategy != _NO_TRIM:
            raise CommandError(_BOTH)
        self.approximate = False
        sign = args[self.end + 1]
        if more >= 2 and (sign == b"~" or sign == b"="):
            self.approximate = sign == b"~"
            self.end += 1
        self.end += 1
        self.at = self.end
        if by_length:
            self.length = integer(args[self.end])
            if self.length < 0:
                raise CommandError(b"ERR The MAXLEN argument must be >= 0.")
            self.strategy = _BY_LENGTH
        else:
            self.id = strict_id(args[self.end])
            self.strategy = _BY_ID

    def _check(self, args: list[bytes], adding: bool, obeyed: bool) -> None:
        if adding and self.end < len(args) and args[self.end] != b"*":
            _parse_new_id(args[self.end])
        if self.limit > 0 and self.strategy == _NO_TRIM:
            raise CommandError(b"ERR syntax error, LIMIT cannot be used without specifying a trimming strategy")
        if not adding and self.strategy == _NO_TRIM:
            raise CommandError(b"ERR syntax error, XTRIM must be called with MAXLEN or MINID")
        if obeyed:  # the primary has decided already how much goes
            self.limit = 0
        elif self.limited:
            if not self.approximate:
                raise CommandError(b"ERR syntax error, LIMIT cannot be used without the special ~ option")
        elif self.approximate:
            self.limit = 100 * LIMITS.entries if 0 < LIMITS.entries <= 10000 else 10000
            if LIMITS.entries > 10000:
                self.limit = 1000000

    def apply(self, stream: Stream) -> i64:
        """Remove what has to go; returns how many entries that were."""
        if self.strategy == _BY_LENGTH:
            return stream.trim_length(self.length, self.approximate, self.limit)
        return stream.trim_id(self.id, self.approximate, self.limit)

    def exact(self, args: list[bytes], stream: Stream) -> list[bytes]:
        """The command with what an approximate option did, for replicas."""
        exact = list(args)
        exact[self.at - 1] = b"="
        exact[self.at] = b"%d" % stream.length if self.strategy == _BY_LENGTH else format_id(stream.edge(True))
        return exact


def _parse_new_id(arg: bytes) -> tuple[int, bool]:
    """The ID argument of XADD, and whether its sequence number is given too; raises CommandError."""
    if arg.endswith(b"-*"):
        try:
            return parse_number(arg[:-2]) << 64, False
        except BadId:
            pass
    return strict_id(arg), True


def _next_id(stream: Stream | None, arg: bytes, now_ms: i64) -> int:
    """The ID of the entry to be added; raises CommandError."""
    last = 0 if stream is None else stream.last_id
    if arg == b"*":
        if last == ID_MAX:
            raise CommandError(_EXHAUSTED)
        id = int(now_ms) << 64
        return id if id > last else last + 1
    id, given = _parse_new_id(arg)
    if given and id == 0:
        raise CommandError(b"ERR The ID specified in XADD must be greater than 0-0")
    if last == ID_MAX:
        raise CommandError(_EXHAUSTED)
    if not given and id >> 64 == last >> 64:
        if last & MASK == MASK:
            raise CommandError(_TOO_SMALL)
        return last + 1
    if id <= last:
        raise CommandError(_TOO_SMALL)
    return id


def xadd(e: Engine, s: Session, args: list[bytes]) -> None:
    """XADD key [NOMKSTREAM] [MAXLEN|MINID [=|~] threshold [LIMIT count]] *|id field value [field value ...]."""
    trim: Trim | None = None
    at: i64 = 2
    if args[2] != b"*":
        trim = Trim(args, True, s.primary_link)
        at = trim.end
    fields: i64 = len(args) - at - 1
    if fields < 2 or fields % 2 == 1:
        raise CommandError(b"ERR wrong number of arguments for 'xadd' command")
    key = args[1]
    asked = args[at]
    if trim is not None and asked != b"*":
        id, given = _parse_new_id(asked)
        if given and id == 0:
            raise CommandError(b"ERR The ID specified in XADD must be greater than 0-0")
    found = stream_at(s, e.slot, key)
    if found is None and trim is not None and trim.no_create:
        s.reply.null()
        return
    id = _next_id(found, asked, e.now_ms)
    stream = Stream() if found is None else found
    before = stream.entry_bytes()
    _append(stream, id, args, at + 1)
    if found is None:
        create(e, s, e.slot, key, stream)
    text = format_id(id)
    s.reply.bulk(text)
    e.changed(s, key, NOTIFY_STREAM, b"xadd")
    effect = args
    if trim is not None and trim.strategy != _NO_TRIM:
        if trim.apply(stream) > 0:
            e.notify(NOTIFY_STREAM, b"xtrim", key, s.dbid)
        if trim.approximate and e.journal.active:
            effect = trim.exact(args, stream)
    s.store.grew(e.slot, key, stream.entry_bytes() - before)
    if e.journal.active and (effect is not args or asked.endswith(b"*")):
        if effect is args:
            effect = list(args)
        effect[at] = text
        e.replace_with(effect)
    if e.blocking.count > 0:
        e.blocking.signal(s.dbid, key)


def _append(stream: Stream, id: int, args: list[bytes], at: i64) -> None:
    """Add the entry unless it is too large for any block; raises CommandError."""
    total: i64 = 0
    i: i64 = at
    while i < len(args):
        total += len(args[i])
        i += 1
    if total > LARGEST:
        raise CommandError(b"ERR Elements are too large to be stored")
    stream.append(id, args, at)


def xtrim(e: Engine, s: Session, args: list[bytes]) -> None:
    """XTRIM key MAXLEN|MINID [=|~] threshold [LIMIT count]."""
    trim = Trim(args, False, s.primary_link)
    stream = stream_at(s, e.slot, args[1])
    if stream is None:
        s.reply.integer(0)
        return
    before = stream.entry_bytes()
    gone = trim.apply(stream)
    if gone > 0:
        s.store.grew(e.slot, args[1], stream.entry_bytes() - before)
        e.changed(s, args[1], NOTIFY_STREAM, b"xtrim", gone)
        if trim.approximate and e.journal.active:
            e.replace_with(trim.exact(args, stream))
    s.reply.integer(gone)


def xdel(e: Engine, s: Session, args: list[bytes]) -> None:
    """XDEL key id [id ...]."""
    stream = stream_at(s, e.slot, args[1])
    if stream is None:
        s.reply.integer(0)
        return
    ids = [strict_id(arg) for arg in args[2:]]
    before = stream.entry_bytes()
    gone: i64 = 0
    first = False
    for id in ids:
        if stream.delete(id):
            first = first or id == stream.first_id
            gone += 1
    if gone > 0:
        if first or stream.length == 0:
            stream.find_first()
        s.store.grew(e.slot, args[1], stream.entry_bytes() - before)
        e.changed(s, args[1], NOTIFY_STREAM, b"xdel", gone)
    s.reply.integer(gone)


def xlen(e: Engine, s: Session, args: list[bytes]) -> None:
    """XLEN key."""
    stream = stream_to_read(e, s, e.slot, args[1])
    s.reply.integer(0 if stream is None else stream.length)


def _range(e: Engine, s: Session, args: list[bytes], reverse: bool) -> None:
    start = range_start(args[3 if reverse else 2])
    end = range_end(args[2 if reverse else 3])
    count: i64 = -1
    i: i64 = 4
    while i < len(args):
        if args[i].lower() != b"count" or i + 1 >= len(args):
            raise CommandError(SYNTAX)
        count = integer(args[i + 1])
        if count < 0:
            count = 0
        i += 2
    stream = stream_to_read(e, s, e.slot, args[1])
    if stream is None:
        s.reply.array(0)
        return
    if count == 0:
        s.reply.null_array()
        return
    ids: list[int] = []
    entries: list[list[bytes]] = []
    if reverse:
        stream.collect_reverse(start, end, count, ids, entries)
    else:
        stream.collect(start, end, count, ids, entries)
    write_entries(s.reply, ids, entries)


def xrange(e: Engine, s: Session, args: list[bytes]) -> None:
    """XRANGE key start end [COUNT count]."""
    _range(e, s, args, False)


def xrevrange(e: Engine, s: Session, args: list[bytes]) -> None:
    """XREVRANGE key end start [COUNT count]."""
    _range(e, s, args, True)


def xsetid(e: Engine, s: Session, args: list[bytes]) -> None:
    """XSETID key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]."""
    last = strict_id(args[2])
    added: i64 = -1
    deleted = 0
    i: i64 = 3
    while i < len(args):
        option = args[i].lower()
        if i + 1 < len(args) and option == b"entriesadded":
            added = integer(args[i + 1])
            if added < 0:
                raise CommandError(b"ERR entries_added must be positive")
        elif i + 1 < len(args) and option == b"maxdeletedid":
            deleted = strict_id(args[i + 1])
            if last < deleted:
                raise CommandError(
                    b"ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id"
                )
        else:
            raise CommandError(SYNTAX)
        i += 2
    stream = stream_at(s, e.slot, args[1])
    if stream is None:
        raise CommandError(NO_SUCH_KEY)
    if last < stream.max_deleted:
        raise CommandError(b"ERR The ID specified in XSETID is smaller than current max_deleted_entry_id")
    if stream.length > 0:
        if last < stream.last_valid_id():
            raise CommandError(b"ERR The ID specified in XSETID is smaller than the target stream top item")
        if 0 <= added < stream.length:
            raise CommandError(b"ERR The entries_added specified in XSETID is smaller than the target stream length")
    stream.last_id = last
    if added >= 0:
        stream.added = added
    if deleted > 0:
        stream.max_deleted = deleted
    s.reply.ok()
    noted(e, s, args[1], b"xsetid")


HANDLERS: dict[bytes, Handler] = {
    b"xadd": xadd,
    b"xtrim": xtrim,
    b"xdel": xdel,
    b"xlen": xlen,
    b"xrange": xrange,
    b"xrevrange": xrevrange,
    b"xsetid": xsetid,
    **stream_reading.HANDLERS,
    **stream_groups.HANDLERS,
    **stream_claims.HANDLERS,
    **stream_info.HANDLERS,
}
