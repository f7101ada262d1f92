"""Streams: pending entries listed and taken over. Claims are propagated one by one as what they did."""

from mypy_extensions import i64

from node.commands.reading import integer, read, shown
from node.commands.stream_common import (
    claim_effect,
    consumer_of,
    no_group,
    position_effect,
    range_end,
    range_start,
    stream_to_read,
    strict_id,
    write_entries,
    write_id,
)
from node.engine import Engine, Handler
from node.errors import SYNTAX, CommandError, WrongTypeError
from node.numbers import I64_MAX, format_int, is_int, to_int
from node.session import Session
from node.types.stream import Stream
from node.types.streamgroup import Consumer, Group, Pending
from node.types.streamid import ID_MAX, BadId, format_id, parse_id, wrapped

_ATTEMPTS = 10  # entries that XAUTOCLAIM looks at for each that it may return
_COUNT_MAX = I64_MAX // 16
_COUNT_FEASIBLE = (1 << 32) - 1  # Valkey asks for 16 bytes each at once; what it can get depends on the machine


def _number(arg: bytes, text: bytes) -> i64:
    if not is_int(arg):
        raise CommandError(text)
    return to_int(arg)


# --- XPENDING


def xpending(e: Engine, s: Session, args: list[bytes]) -> None:
    """XPENDING key group [[IDLE min-idle-time] start end count [consumer]]."""
    number: i64 = len(args)
    if number != 3 and (number < 6 or number > 9):
        raise CommandError(SYNTAX)
    at: i64 = 3
    idle: i64 = 0
    count: i64 = 0
    start = 0
    end = 0
    if number >= 6:
        if args[3].lower() == b"idle":
            idle = integer(args[4])
            if number < 8:
                raise CommandError(SYNTAX)
            at = 5
        count = max(integer(args[at + 2]), 0)
        start = range_start(args[at])
        end = range_end(args[at + 1])
    stream = stream_to_read(e, s, e.slot, args[1])
    group = None if stream is None else stream.groups.get(args[2])
    if group is None:
        raise no_group(args[1], args[2])
    if number == 3:
        _write_summary(s, group)
        return
    order = group.order
    if number > at + 3:
        consumer = group.consumers.get(args[at + 3])
        if consumer is None:
            s.reply.array(0)
            return
        order = consumer.pending
    ids = order.range(start, end, count if idle == 0 else -1)
    if idle != 0:
        ids = [id for id in ids if e.now_ms - group.pending[id].delivered_ms >= idle][:count]
    s.reply.array(len(ids))
    for id in ids:
        pending = group.pending[id]
        s.reply.array(4)
        write_id(s.reply, id)
        s.reply.bulk(pending.consumer.name)
        s.reply.integer(max(e.now_ms - pending.delivered_ms, 0))
        s.reply.integer(pending.deliveries)


def _write_summary(s: Session, group: Group) -> None:
    """How many are pending, between which IDs, and for whom."""
    reply = s.reply
    reply.array(4)
    reply.integer(group.order.count)
    if group.order.count == 0:
        reply.null()
        reply.null()
        reply.null_array()
        return
    write_id(reply, group.order.first())
    write_id(reply, group.order.last())
    waiting = [consumer for consumer in group.sorted_consumers() if consumer.pending.count > 0]
    reply.array(len(waiting))
    for consumer in waiting:
        reply.array(2)
        reply.bulk(consumer.name)
        reply.bulk(format_int(consumer.pending.count))


# --- XCLAIM


class ClaimOptions:
    """The options of XCLAIM; `end` is the place behind the last ID."""

    end: i64
    ids: list[int]
    delivered_ms: i64
    retries: i64  # -1: not given
    force: bool
    just_id: bool
    last_id: int

    def __init__(self, args: list[bytes], now_ms: i64) -> None:
        self.ids = []
        self.delivered_ms = now_ms
        self.retries = -1
        self.force = False
        self.just_id = False
        self.last_id = 0
        self.end = 5
        try:
            while self.end < len(args):
                self.ids.append(parse_id(args[self.end], 0))
                self.end += 1
        except BadId:
            pass  # the options begin
        i: i64 = self.end
        while i < len(args):
            option = args[i].lower()
            if option == b"force":
                self.force = True
            elif option == b"justid":
                self.just_id = True
            elif i + 1 < len(args) and option in (b"idle", b"time", b"retrycount", b"lastid"):
                i += 1
                self._take(option, args[i], now_ms)
            else:
                raise CommandError(b"ERR Unrecognized XCLAIM option '%b'" % shown(args[i]))
            i += 1
        if self.delivered_ms < 0 or self.delivered_ms > now_ms:  # a client's clock may be wrong: no reason to fail
            self.delivered_ms = now_ms

    def _take(self, option: bytes, arg: bytes, now_ms: i64) -> None:
        if option == b"lastid":
            self.last_id = strict_id(arg)
            return
        value = _number(arg, b"ERR Invalid %b option argument for XCLAIM" % option.upper())
        if option == b"retrycount":
            self.retries = value
        elif option == b"time":
            self.delivered_ms = value
        else:
            self.delivered_ms = now_ms - value if value > now_ms - I64_MAX else now_ms


def xclaim(e: Engine, s: Session, args: list[bytes]) -> None:
    """XCLAIM key group consumer min-idle id [id ...] [IDLE|TIME ms] [RETRYCOUNT n] [FORCE] [JUSTID] [LASTID id]."""
    key = args[1]
    stream = stream_to_read(e, s, e.slot, key)
    group = None if stream is None else stream.groups.get(args[2])
    if stream is None or group is None:
        raise no_group(key, args[2])
    idle = max(_number(args[4], b"ERR Invalid min-idle-time argument for XCLAIM"), 0)
    options = ClaimOptions(args, e.now_ms)
    e.replace_with_nothing()
    before = stream.used_bytes()
    moved = options.last_id > group.last_id
    if moved:
        group.last_id = options.last_id
    consumer = consumer_of(e, s, key, group, args[3])
    ids: list[int] = []
    i: i64 = 0
    while i < len(options.ids):
        id = options.ids[i]
        text = args[5 + i]
        i += 1
        pending = group.pending.get(id)
        if not stream.has(id):
            if pending is not None:
                claim_effect(e, key, group, args[2], text, pending)
                group.acknowledge(id)
                e.dirty += 1
                moved = False
            continue
        if pending is None:
            if not options.force:
                continue
            pending = group.deliver(id, consumer, e.now_ms, 1)
        elif idle > 0 and e.now_ms - pending.delivered_ms < idle:
            continue
        _claim(group, id, pending, consumer, options, e.now_ms)
        ids.append(id)
        claim_effect(e, key, group, args[2], text, pending)
        e.dirty += 1
        moved = False
    if moved:
        position_effect(e, key, group, args[2])
        e.dirty += 1
    s.store.grew(e.slot, key, stream.used_bytes() - before)
    _write_claimed(s, stream, ids, options.just_id)


def _claim(group: Group, id: int, pending: Pending, consumer: Consumer, options: ClaimOptions, now_ms: i64) -> None:
    group.hand_over(id, pending, consumer)
    pending.delivered_ms = options.delivered_ms
    if options.retries >= 0:
        pending.deliveries = options.retries
    elif not options.just_id:
        pending.deliveries = wrapped(int(pending.deliveries) + 1)
    consumer.active_ms = now_ms


def _write_claimed(s: Session, stream: Stream, ids: list[int], just_id: bool) -> None:
    if just_id:
        s.reply.array(len(ids))
        for id in ids:
            write_id(s.reply, id)
        return
    entries: list[list[bytes]] = []
    for id in ids:
        entries.append(stream.entry(id) or [])
    write_entries(s.reply, ids, entries)


# --- XAUTOCLAIM


def xautoclaim(e: Engine, s: Session, args: list[bytes]) -> None:
    """XAUTOCLAIM key group consumer min-idle-time start [COUNT count] [JUSTID]."""
    key = args[1]
    stream = read(e, s, e.slot, key)  # before the arguments are looked at: a miss is told whatever they are
    idle = max(_number(args[4], b"ERR Invalid min-idle-time argument for XAUTOCLAIM"), 0)
    start = range_start(args[5])
    count, just_id = _automatic_options(args)
    if stream is not None and not isinstance(stream, Stream):
        raise WrongTypeError()
    group = None if stream is None else stream.groups.get(args[2])
    if stream is None or group is None:
        raise no_group(key, args[2])
    if count > _COUNT_FEASIBLE:
        raise CommandError(b"ERR Insufficient memory, failed allocating transient memory, COUNT too high.")
    e.replace_with_nothing()
    before = stream.used_bytes()
    consumer = consumer_of(e, s, key, group, args[3])
    ids: list[int] = []
    deleted: list[int] = []
    seen = group.order.range(start, ID_MAX, count * _ATTEMPTS + 1)
    attempts: i64 = count * _ATTEMPTS
    at: i64 = 0
    while at < len(seen) and at < attempts and count > 0:
        id = seen[at]
        at += 1
        pending = group.pending[id]
        if not stream.has(id):
            claim_effect(e, key, group, args[2], format_id(id), pending)
            group.acknowledge(id)
            deleted.append(id)
        elif idle > 0 and e.now_ms - pending.delivered_ms < idle:
            continue
        else:
            group.hand_over(id, pending, consumer)
            pending.delivered_ms = e.now_ms
            if not just_id:
                pending.deliveries = wrapped(int(pending.deliveries) + 1)
            consumer.active_ms = e.now_ms
            ids.append(id)
            claim_effect(e, key, group, args[2], format_id(id), pending)
        e.dirty += 1
        count -= 1
    s.store.grew(e.slot, key, stream.used_bytes() - before)
    s.reply.array(3)
    write_id(s.reply, seen[at] if at < len(seen) else 0)
    _write_claimed(s, stream, ids, just_id)
    s.reply.array(len(deleted))
    for id in deleted:
        write_id(s.reply, id)


def _automatic_options(args: list[bytes]) -> tuple[i64, bool]:
    """COUNT and JUSTID; raises CommandError."""
    count: i64 = 100
    just_id = False
    i: i64 = 6
    while i < len(args):
        option = args[i].lower()
        if option == b"count" and i + 1 < len(args):
            i += 1
            count = _number(args[i], b"ERR COUNT must be > 0")
            if count < 1 or count > _COUNT_MAX:
                raise CommandError(b"ERR COUNT must be > 0")
        elif option == b"justid":
            just_id = True
        else:
            raise CommandError(SYNTAX)
        i += 1
    return count, just_id


HANDLERS: dict[bytes, Handler] = {
    b"xpending": xpending,
    b"xclaim": xclaim,
    b"xautoclaim": xautoclaim,
}
