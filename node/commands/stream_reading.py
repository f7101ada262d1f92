"""Streams: XREAD and XREADGROUP, which may wait. XREADGROUP is propagated as what it did to its groups."""

from mypy_extensions import i64

from cluster.slots import key_slot
from node.commands.reading import integer
from node.commands.stream_common import (
    claim_effect,
    consumer_of,
    no_group,
    position_effect,
    stream_to_read,
    strict_id,
    write_entries,
)
from node.engine import NOTIFY_KEY_MISS, Engine, Handler
from node.errors import SYNTAX, CommandError
from node.numbers import I64_MAX, is_int, to_int
from node.session import Session
from node.types.stream import Stream
from node.types.streamgroup import UNKNOWN_READ, Consumer, Group
from node.types.streamid import ID_MAX, format_id, wrapped
from node.waiting import block, may_block

_MEANINGLESS = (
    b"ERR The %b ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by "
    b"specifying a proper ID, or use the > ID to get new messages. The %b ID would just return an empty result set."
)
_ONLY_GROUP = (
    b"ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option."
)


class ReadRequest:
    """The arguments of XREAD (with `grouped` XREADGROUP); keys are `args[first:first + number]`, then their IDs."""

    grouped: bool
    group: bytes
    consumer: bytes
    count: i64  # 0: all
    blocking: bool
    deadline: i64
    no_ack: bool
    first: i64
    number: i64

    def __init__(self, args: list[bytes], grouped: bool, now_ms: i64) -> None:
        self.grouped = grouped
        self.group = b""
        self.consumer = b""
        self.count = 0
        self.blocking = False
        self.deadline = 0
        self.no_ack = False
        self.first = 0
        self.number = 0
        i: i64 = 1
        named = False
        while i < len(args) and self.first == 0:
            more: i64 = len(args) - i - 1
            option = args[i].lower()
            if option == b"block" and more > 0:
                self._block(args[i + 1], now_ms)
                i += 1
            elif option == b"count" and more > 0:
                self.count = max(integer(args[i + 1]), 0)
                i += 1
            elif option == b"streams" and more > 0:
                self._streams(args, i + 1)
            elif option == b"group" and more >= 2:
                self._grouped_only(b"GROUP")
                self.group = args[i + 1]
                self.consumer = args[i + 2]
                named = True
                i += 2
            elif option == b"noack":
                self._grouped_only(b"NOACK")
                self.no_ack = True
            else:
                raise CommandError(SYNTAX)
            i += 1
        if self.first == 0:
            raise CommandError(SYNTAX)
        if grouped and not named:
            raise CommandError(b"ERR Missing GROUP option for XREADGROUP")

    def _grouped_only(self, option: bytes) -> None:
        if not self.grouped:
            raise CommandError(
                b"ERR The %b option is only supported by XREADGROUP. You called XREAD instead." % option
            )

    def _block(self, timeout: bytes, now_ms: i64) -> None:
        if not is_int(timeout):
            raise CommandError(b"ERR timeout is not an integer or out of range")
        ms = to_int(timeout)
        if ms < 0:
            raise CommandError(b"ERR timeout is negative")
        if ms > I64_MAX - now_ms:
            raise CommandError(b"ERR timeout is out of range")
        self.blocking = True
        self.deadline = 0 if ms == 0 else now_ms + ms

    def _streams(self, args: list[bytes], first: i64) -> None:
        number: i64 = len(args) - first
        if number % 2 == 1:
            raise CommandError(
                b"ERR Unbalanced '%b' list of streams: for each stream key an ID or '%b' must be specified."
                % ((b"xreadgroup", b">") if self.grouped else (b"xread", b"$"))
            )
        self.first = first
        self.number = number // 2


def _after(arg: bytes, request: ReadRequest, stream: Stream | None) -> int:
    """The ID after which entries are wanted, ID_MAX for those that a group has not seen; raises CommandError."""
    if arg == b"$" or arg == b"+":
        if request.grouped:
            raise CommandError(_MEANINGLESS % (arg, arg))
        if stream is None:
            return 0
        return stream.last_id - 1 if arg == b"+" and stream.last_id > 0 else stream.last_id
    if arg == b">":
        if not request.grouped:
            raise CommandError(_ONLY_GROUP)
        return ID_MAX
    return strict_id(arg)


def xread(e: Engine, s: Session, args: list[bytes]) -> None:
    """XREAD [COUNT count] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]."""
    request = ReadRequest(args, False, e.now_ms)
    streams: list[Stream | None] = []
    after: list[int] = []
    i: i64 = request.first
    while i < request.first + request.number:
        stream = stream_to_read(e, s, key_slot(args[i]), args[i])
        streams.append(stream)
        after.append(_after(args[i + request.number], request, stream))
        i += 1
    served: i64 = 0
    i = 0
    while i < request.number:
        stream = streams[i]
        if stream is None:
            e.notify(NOTIFY_KEY_MISS, b"keymiss", args[request.first + i], s.dbid)  # looked up once more, as in Valkey
        if stream is not None and stream.length > 0 and stream.last_valid_id() > after[i]:
            served += 1
        i += 1
    if served == 0:
        _wait(e, s, args, request, after)
        return
    s.reply.map(served) if s.reply.resp3 else s.reply.array(served)
    i = 0
    while i < request.number:
        stream = streams[i]
        if stream is not None and stream.length > 0 and stream.last_valid_id() > after[i]:
            ids: list[int] = []
            entries: list[list[bytes]] = []
            stream.collect(after[i] + 1, ID_MAX, request.count, ids, entries)
            _write_key(s, args[request.first + i])
            write_entries(s.reply, ids, entries)
        i += 1


def _write_key(s: Session, key: bytes) -> None:
    if not s.reply.resp3:
        s.reply.array(2)
    s.reply.bulk(key)


def _wait(e: Engine, s: Session, args: list[bytes], request: ReadRequest, after: list[int]) -> None:
    """Nothing to serve: wait when that is wanted and allowed."""
    if not request.blocking or not may_block(e, s):
        s.reply.null_array()
        return
    first = request.first
    number = request.number
    later = list(args)
    i: i64 = 0
    while i < number:
        if later[first + number + i] == b"$":  # what is new is what comes from now on
            later[first + number + i] = format_id(after[i])
        i += 1
    block(e, s, later, args[first : first + number], b"stream", request.deadline, lasting=not request.grouped)


def xreadgroup(e: Engine, s: Session, args: list[bytes]) -> None:
    """XREADGROUP GROUP group consumer [COUNT count] [BLOCK ms] [NOACK] STREAMS key [key ...] id [id ...]."""
    request = ReadRequest(args, True, e.now_ms)
    streams: list[Stream] = []
    groups: list[Group] = []
    after: list[int] = []
    i: i64 = request.first
    while i < request.first + request.number:
        stream = stream_to_read(e, s, key_slot(args[i]), args[i])
        group = None if stream is None else stream.groups.get(request.group)
        if stream is None or group is None:
            raise no_group(args[i], request.group, b" in XREADGROUP with GROUP option")
        streams.append(stream)
        groups.append(group)
        after.append(_after(args[i + request.number], request, stream))
        i += 1
    e.replace_with_nothing()
    if request.number == 1 and (after[0] != ID_MAX or streams[0].last_valid_id() > groups[0].last_id):
        s.reply.map(1) if s.reply.resp3 else s.reply.array(1)
        _serve_groups(e, s, args, request, streams, groups, after)
        return
    mark: i64 = len(s.reply.out)
    served = _serve_groups(e, s, args, request, streams, groups, after)
    if served == 0:
        _wait(e, s, args, request, after)
        return
    body = s.reply.out.getvalue()[mark:]
    s.reply.out.truncate(mark)
    s.reply.map(served) if s.reply.resp3 else s.reply.array(served)
    s.reply.raw(body)


def _serve_groups(
    e: Engine,
    s: Session,
    args: list[bytes],
    request: ReadRequest,
    streams: list[Stream],
    groups: list[Group],
    after: list[int],
) -> i64:
    """Write what each key has for the consumer; returns how many keys had something."""
    served: i64 = 0
    i: i64 = 0
    while i < request.number:
        stream = streams[i]
        group = groups[i]
        key = args[request.first + i]
        before = stream.used_bytes()
        known = request.consumer in group.consumers
        consumer = consumer_of(e, s, key, group, request.consumer)
        if not known and request.no_ack:
            e.replace_with([b"XGROUP", b"CREATECONSUMER", key, request.group, request.consumer])
        history = after[i] != ID_MAX
        if history or stream.last_valid_id() > group.last_id:
            served += 1
            _write_key(s, key)
            if history:
                _write_history(e, s, stream, group, consumer, after[i] + 1, request.count)
            else:
                _deliver(e, s, key, stream, group, consumer, request)
            e.dirty += 1
        s.store.grew(key_slot(key), key, stream.used_bytes() - before)
        i += 1
    return served


def _write_history(
    e: Engine, s: Session, stream: Stream, group: Group, consumer: Consumer, start: int, count: i64
) -> None:
    """What is pending for the consumer; of entries that were deleted the ID alone."""
    ids = consumer.pending.range(start, ID_MAX, count if count > 0 else -1)
    s.reply.array(len(ids))
    for id in ids:
        pairs = stream.entry(id)
        s.reply.array(2)
        s.reply.bulk(format_id(id))
        if pairs is None:
            s.reply.null_array()
        else:
            s.reply.bulks(pairs)
            pending = group.pending[id]
            pending.delivered_ms = e.now_ms
            pending.deliveries = wrapped(int(pending.deliveries) + 1)


def _deliver(
    e: Engine, s: Session, key: bytes, stream: Stream, group: Group, consumer: Consumer, request: ReadRequest
) -> None:
    """New entries, noted as pending unless the consumer wants no acknowledgement."""
    ids: list[int] = []
    entries: list[list[bytes]] = []
    stream.collect(group.last_id + 1, ID_MAX, request.count, ids, entries)
    write_entries(s.reply, ids, entries)
    for id in ids:
        # The count holds on while nothing ahead was deleted and what was read is not all trimmed away.
        counted = group.entries_read != UNKNOWN_READ and group.last_id >= stream.first_id
        if counted and not stream.has_tombstones_after(group.last_id):
            group.entries_read = wrapped(int(group.entries_read) + 1)
        elif stream.added > 0:
            group.entries_read = stream.estimate_read(id)
        group.last_id = id
        if not request.no_ack:
            pending = group.deliver(id, consumer, e.now_ms, 1)
            consumer.active_ms = e.now_ms
            if e.journal.active:
                claim_effect(e, key, group, request.group, format_id(id), pending)
    if len(ids) > 0:
        position_effect(e, key, group, request.group)


HANDLERS: dict[bytes, Handler] = {
    b"xread": xread,
    b"xreadgroup": xreadgroup,
}
