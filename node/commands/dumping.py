"""DUMP and RESTORE: values as genuine RDB payloads."""

from mypy_extensions import i64

from cluster.slots import key_slot
from node.commands.reading import already_past, read
from node.engine import NOTIFY_GENERIC, Engine, Handler
from node.errors import NOT_AN_INTEGER, SYNTAX, CommandError
from node.eviction import CLOCK_MASK, LFU, POLICIES
from node.numbers import I64_MAX, is_int, to_int
from node.rdb.decode import restore
from node.rdb.encode import dump
from node.rdb.reader import PayloadError, RdbError
from node.session import Session


def dump_command(e: Engine, s: Session, args: list[bytes]) -> None:
    """DUMP key."""
    value = read(e, s, e.slot, args[1])
    if value is None:
        s.reply.null()
    else:
        s.reply.bulk(dump(value))


def restore_command(e: Engine, s: Session, args: list[bytes]) -> None:
    """RESTORE key ttl payload [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]."""
    replace, absolute, idle, frequency = _options(args)
    key = args[1]
    if not replace and s.store.peek(e.slot, key) is not None:
        raise CommandError(b"BUSYKEY Target key name already exists.")
    if not is_int(args[2]):
        raise CommandError(NOT_AN_INTEGER)
    ttl = to_int(args[2])
    if ttl < 0:
        raise CommandError(b"ERR Invalid TTL value, must be >= 0")
    try:
        value = restore(args[3])
    except PayloadError:
        raise CommandError(b"ERR DUMP payload version or checksum are wrong") from None
    except RdbError:
        raise CommandError(b"ERR Bad data format") from None
    existed = s.store.discard(e.slot, key) if replace else False
    expire_at: i64 = ttl
    if ttl > 0 and not absolute:  # what leaves the 64 bits counts as past
        expire_at = e.now_ms + ttl if ttl <= I64_MAX - e.now_ms else 1
    if expire_at > 0 and already_past(e, expire_at):
        if existed:
            e.changed(s, key, NOTIFY_GENERIC, b"del")
            e.replace_with([b"DEL", key])
        s.reply.ok()
        return
    _store(e, s, key, value, expire_at, idle, frequency)
    e.changed(s, key, NOTIFY_GENERIC, b"restore")
    if ttl > 0 and not absolute:
        e.replace_with([*args[:2], b"%d" % expire_at, *args[3:], b"ABSTTL"])
    s.reply.ok()


def _store(e: Engine, s: Session, key: bytes, value: object, expire_at: i64, idle: i64, frequency: i64) -> None:
    slot = key_slot(key)
    s.store.put(slot, key, value)
    if expire_at > 0:
        s.store.set_expire(slot, key, expire_at)
    counts = POLICIES[e.settings.maxmemory_policy].clock == LFU
    if idle >= 0 and not counts:
        s.store.set_clock(slot, key, (e.now_ms // 1000 - min(idle, CLOCK_MASK)) & CLOCK_MASK)
    elif frequency >= 0 and counts:
        s.store.set_clock(slot, key, (((e.now_ms // 60000) & 0xFFFF) << 8) | frequency)


def _options(args: list[bytes]) -> tuple[bool, bool, i64, i64]:
    replace = False
    absolute = False
    idle: i64 = -1
    frequency: i64 = -1
    i = 4
    while i < len(args):
        name = args[i].lower()
        if name == b"replace":
            replace = True
        elif name == b"absttl":
            absolute = True
        elif name == b"idletime" and i + 1 < len(args) and frequency < 0:
            i += 1
            idle = _number(args[i])
            if idle < 0:
                raise CommandError(b"ERR Invalid IDLETIME value, must be >= 0")
        elif name == b"freq" and i + 1 < len(args) and idle < 0:
            i += 1
            frequency = _number(args[i])
            if not 0 <= frequency <= 255:
                raise CommandError(b"ERR Invalid FREQ value, must be >= 0 and <= 255")
        else:
            raise CommandError(SYNTAX)
        i += 1
    return replace, absolute, idle, frequency


def _number(argument: bytes) -> i64:
    if not is_int(argument):
        raise CommandError(NOT_AN_INTEGER)
    return to_int(argument)


HANDLERS: dict[bytes, Handler] = {
    b"dump": dump_command,
    b"restore": restore_command,
    b"restore-asking": restore_command,
}
