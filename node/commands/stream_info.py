"""Streams: XINFO."""

from mypy_extensions import i64

from node.commands.reading import integer, shown
from node.commands.stream_common import stream_to_read, write_entries, write_entry, write_id
from node.engine import Engine, Handler
from node.errors import NO_SUCH_KEY, CommandError
from node.session import Session
from node.types.stream import Stream
from node.types.streamgroup import UNKNOWN_READ, Consumer, Group
from node.types.streamid import ID_MAX, wrapped

_SHOWN = 10  # entries of each kind that XINFO STREAM FULL shows unless told otherwise
_HELP = [
    b"XINFO <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"CONSUMERS <key> <groupname>",
    b"    Show consumers of <groupname>.",
    b"GROUPS <key>",
    b"    Show the stream consumer groups.",
    b"STREAM <key> [FULL [COUNT <count>]",
    b"    Show information about the stream.",
    b"HELP",
    b"    Print this help.",
]


def _stream(e: Engine, s: Session, args: list[bytes]) -> Stream:
    stream = stream_to_read(e, s, e.slot, args[2])
    if stream is None:
        raise CommandError(NO_SUCH_KEY)
    return stream


def xinfo_stream(e: Engine, s: Session, args: list[bytes]) -> None:
    """XINFO STREAM key [FULL [COUNT count]]."""
    stream = _stream(e, s, args)
    full = False
    count: i64 = _SHOWN
    if len(args) > 3:
        full = args[3].lower() == b"full"
        if not full or len(args) == 5 or len(args) > 6 or (len(args) == 6 and args[4].lower() != b"count"):
            name = shown(args[1])[:128]
            raise CommandError(b"ERR unknown subcommand or wrong number of arguments for '%b'. Try XINFO HELP." % name)
        if len(args) == 6:
            count = integer(args[5])
            if count < 0:
                count = _SHOWN
    s.reply.map(9 if full else 10)
    _write_figures(s, stream)
    if full:
        _write_full(s, stream, count)
        return
    s.reply.bulk(b"groups")
    s.reply.integer(len(stream.groups))
    s.reply.bulk(b"first-entry")
    _write_edge(s, stream, False)
    s.reply.bulk(b"last-entry")
    _write_edge(s, stream, True)


def _write_figures(s: Session, stream: Stream) -> None:
    reply = s.reply
    reply.bulk(b"length")
    reply.integer(stream.length)
    reply.bulk(b"radix-tree-keys")
    reply.integer(len(stream.blocks))
    reply.bulk(b"radix-tree-nodes")
    reply.integer(stream.tree_nodes())
    reply.bulk(b"last-generated-id")
    write_id(reply, stream.last_id)
    reply.bulk(b"max-deleted-entry-id")
    write_id(reply, stream.max_deleted)
    reply.bulk(b"entries-added")
    reply.integer(stream.added)
    reply.bulk(b"recorded-first-entry-id")
    write_id(reply, stream.first_id)


def _write_edge(s: Session, stream: Stream, last: bool) -> None:
    ids: list[int] = []
    entries: list[list[bytes]] = []
    if last:
        stream.collect_reverse(0, ID_MAX, 1, ids, entries)
    else:
        stream.collect(0, ID_MAX, 1, ids, entries)
    if len(ids) == 0:
        s.reply.null()
    else:
        write_entry(s.reply, ids[0], entries[0])


def _write_full(s: Session, stream: Stream, count: i64) -> None:
    reply = s.reply
    ids: list[int] = []
    entries: list[list[bytes]] = []
    stream.collect(0, ID_MAX, count, ids, entries)
    reply.bulk(b"entries")
    write_entries(reply, ids, entries)
    reply.bulk(b"groups")
    reply.array(len(stream.groups))
    for name in stream.sorted_groups():
        group = stream.groups[name]
        reply.map(7)
        reply.bulk(b"name")
        reply.bulk(name)
        _write_progress(s, stream, group)
        reply.bulk(b"pel-count")
        reply.integer(group.order.count)
        reply.bulk(b"pending")
        pending = group.order.range(0, ID_MAX, count if count > 0 else -1)
        reply.array(len(pending))
        for id in pending:
            found = group.pending[id]
            reply.array(4)
            write_id(reply, id)
            reply.bulk(found.consumer.name)
            reply.integer(found.delivered_ms)
            reply.integer(found.deliveries)
        reply.bulk(b"consumers")
        reply.array(len(group.consumers))
        for consumer in group.sorted_consumers():
            _write_consumer(s, group, consumer, count)


def _write_consumer(s: Session, group: Group, consumer: Consumer, count: i64) -> None:
    reply = s.reply
    reply.map(5)
    reply.bulk(b"name")
    reply.bulk(consumer.name)
    reply.bulk(b"seen-time")
    reply.integer(consumer.seen_ms)
    reply.bulk(b"active-time")
    reply.integer(consumer.active_ms)
    reply.bulk(b"pel-count")
    reply.integer(consumer.pending.count)
    reply.bulk(b"pending")
    pending = consumer.pending.range(0, ID_MAX, count if count > 0 else -1)
    reply.array(len(pending))
    for id in pending:
        found = group.pending[id]
        reply.array(3)
        write_id(reply, id)
        reply.integer(found.delivered_ms)
        reply.integer(found.deliveries)


def _write_progress(s: Session, stream: Stream, group: Group) -> None:
    """How far a group has read, and how many entries it is behind where that can be told."""
    reply = s.reply
    reply.bulk(b"last-delivered-id")
    write_id(reply, group.last_id)
    reply.bulk(b"entries-read")
    if group.entries_read == UNKNOWN_READ:
        reply.null()
    else:
        reply.integer(group.entries_read)
    reply.bulk(b"lag")
    read = group.entries_read
    if stream.added == 0:
        reply.integer(0)
        return
    if read == UNKNOWN_READ or stream.has_tombstones_after(group.last_id):
        read = stream.estimate_read(group.last_id)
    if read == UNKNOWN_READ:
        reply.null()
    else:
        reply.integer(wrapped(int(stream.added) - int(read)))


def xinfo_groups(e: Engine, s: Session, args: list[bytes]) -> None:
    """XINFO GROUPS key."""
    stream = _stream(e, s, args)
    s.reply.array(len(stream.groups))
    for name in stream.sorted_groups():
        group = stream.groups[name]
        s.reply.map(6)
        s.reply.bulk(b"name")
        s.reply.bulk(name)
        s.reply.bulk(b"consumers")
        s.reply.integer(len(group.consumers))
        s.reply.bulk(b"pending")
        s.reply.integer(group.order.count)
        _write_progress(s, stream, group)


def xinfo_consumers(e: Engine, s: Session, args: list[bytes]) -> None:
    """XINFO CONSUMERS key group."""
    stream = _stream(e, s, args)
    group = stream.groups.get(args[3])
    if group is None:
        raise CommandError(
            b"NOGROUP No such consumer group '%b' for key name '%b'" % (shown(args[3]), shown(args[2]))
        )
    s.reply.array(len(group.consumers))
    for consumer in group.sorted_consumers():
        s.reply.map(4)
        s.reply.bulk(b"name")
        s.reply.bulk(consumer.name)
        s.reply.bulk(b"pending")
        s.reply.integer(consumer.pending.count)
        s.reply.bulk(b"idle")
        s.reply.integer(max(e.now_ms - consumer.seen_ms, 0))
        s.reply.bulk(b"inactive")
        s.reply.integer(max(e.now_ms - consumer.active_ms, 0) if consumer.active_ms != -1 else -1)


def xinfo_help(e: Engine, s: Session, args: list[bytes]) -> None:
    """XINFO HELP."""
    s.reply.simples(_HELP)


HANDLERS: dict[bytes, Handler] = {
    b"xinfo|stream": xinfo_stream,
    b"xinfo|groups": xinfo_groups,
    b"xinfo|consumers": xinfo_consumers,
    b"xinfo|help": xinfo_help,
}
