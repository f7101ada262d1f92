"""What the files of stream commands share: arguments, lookups, replies, and the accounts of a changed stream."""

from typing import Final

from mypy_extensions import i64

from cluster.resp.replies import ReplyWriter
from node.commands.reading import read, shown
from node.engine import NOTIFY_NEW, NOTIFY_STREAM, Engine
from node.errors import CommandError, WrongTypeError
from node.session import Session
from node.types.stream import Stream
from node.types.streamgroup import Consumer, Group, Pending
from node.types.streamid import ID_MAX, ID_MIN, MASK, BadId, format_id, parse_id, parse_range_id

INVALID_ID: Final = b"ERR Invalid stream ID specified as stream command argument"


# --- arguments


def strict_id(arg: bytes, missing_seq: int = 0) -> int:
    """An ID argument, `-` and `+` not taken; raises CommandError."""
    try:
        return parse_id(arg, missing_seq)
    except BadId:
        raise CommandError(INVALID_ID) from None


def range_id(arg: bytes, missing_seq: int) -> int:
    """An ID argument, or `-` or `+`; raises CommandError."""
    try:
        return parse_range_id(arg, missing_seq)
    except BadId:
        raise CommandError(INVALID_ID) from None


def _bound(arg: bytes, missing_seq: int) -> int:
    if arg[:1] == b"(" and len(arg) > 1:
        return strict_id(arg[1:], missing_seq)
    return range_id(arg, missing_seq)


def range_start(arg: bytes) -> int:
    """The first ID that a range takes in; raises CommandError."""
    id = _bound(arg, 0)
    if arg[:1] == b"(":
        if id == ID_MAX:
            raise CommandError(b"ERR invalid start ID for the interval")
        id += 1
    return id


def range_end(arg: bytes) -> int:
    """The last ID that a range takes in; raises CommandError."""
    id = _bound(arg, MASK)
    if arg[:1] == b"(":
        if id == ID_MIN:
            raise CommandError(b"ERR invalid end ID for the interval")
        id -= 1
    return id


# --- lookups


def stream_at(s: Session, slot: i64, key: bytes) -> Stream | None:
    """The stream at a key, None when there is no key; raises WrongTypeError."""
    value = s.store.get(slot, key)
    if value is None or isinstance(value, Stream):
        return value
    raise WrongTypeError()


def stream_to_read(e: Engine, s: Session, slot: i64, key: bytes) -> Stream | None:
    """As `stream_at` for a reading command."""
    value = read(e, s, slot, key)
    if value is None or isinstance(value, Stream):
        return value
    raise WrongTypeError()


def no_group(key: bytes, group: bytes, tail: bytes = b"") -> CommandError:
    """The error for a group that is not there, or whose key is not."""
    return CommandError(b"NOGROUP No such key '%b' or consumer group '%b'%b" % (shown(key), shown(group), tail))


def consumer_of(e: Engine, s: Session, key: bytes, group: Group, name: bytes) -> Consumer:
    """The consumer of this name, made when there is none; it counts as seen now."""
    found = group.consumers.get(name)
    if found is None:
        found = group.add_consumer(name, e.now_ms)
        e.dirty += 1
        e.notify(NOTIFY_STREAM, b"xgroup-createconsumer", key, s.dbid)
    found.seen_ms = e.now_ms
    return found


# --- changes


def create(e: Engine, s: Session, slot: i64, key: bytes, stream: Stream) -> None:
    """Store a new stream."""
    s.store.put(slot, key, stream)
    if e.notify_mask & NOTIFY_NEW:
        e.notify(NOTIFY_NEW, b"new", key, s.dbid)


def noted(e: Engine, s: Session, key: bytes, event: bytes) -> None:
    """Accounts of a stream have changed, not its entries: as in Valkey that breaks no WATCH."""
    e.dirty += 1
    e.notify(NOTIFY_STREAM, event, key, s.dbid)


def claim_effect(e: Engine, key: bytes, group: Group, group_name: bytes, id: bytes, pending: Pending) -> None:
    """Propagate a pending entry as it is now."""
    if not e.journal.active:
        e.replaced = True
        return
    e.replace_with([
        b"XCLAIM", key, group_name, pending.consumer.name, b"0", id, b"TIME", b"%d" % pending.delivered_ms,
        b"RETRYCOUNT", b"%d" % pending.deliveries, b"FORCE", b"JUSTID", b"LASTID", format_id(group.last_id),
    ])  # fmt: skip


def position_effect(e: Engine, key: bytes, group: Group, group_name: bytes) -> None:
    """Propagate how far a group has read."""
    e.replace_with([
        b"XGROUP", b"SETID", key, group_name, format_id(group.last_id), b"ENTRIESREAD", b"%d" % group.entries_read,
    ])  # fmt: skip


# --- replies


def write_id(reply: ReplyWriter, id: int) -> None:
    """An ID."""
    reply.bulk(format_id(id))


def write_entry(reply: ReplyWriter, id: int, pairs: list[bytes]) -> None:
    """An entry: its ID, and its fields and values."""
    reply.array(2)
    reply.bulk(format_id(id))
    reply.bulks(pairs)


def write_entries(reply: ReplyWriter, ids: list[int], entries: list[list[bytes]]) -> None:
    """An array of entries."""
    reply.array(len(ids))
    i: i64 = 0
    while i < len(ids):
        write_entry(reply, ids[i], entries[i])
        i += 1
