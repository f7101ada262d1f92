"""CLUSTER SLOT-STATS, FLUSHSLOT and SAVECONFIG."""

from cluster.slots import SLOTS
from cluster.topology import to_json
from node.commands.clusterscan import DISABLED, slot_number
from node.commands.reading import integer_or_none
from node.engine import Engine, Handler
from node.errors import SYNTAX, CommandError
from node.session import Session
from node.slotstats import METRICS

_LIMIT = b"ERR Limit has to lie in between 1 and 16384 (maximum number of slots)."
_ARGUMENTS = b"ERR unknown subcommand or wrong number of arguments for '%b'. Try CLUSTER HELP."
_TWICE = b"ERR Multiple filters of the same type are disallowed."


def _values(e: Engine, slot: int) -> list[int]:
    """The metrics of a slot, in the order of METRICS; the count of keys alone while no others are kept."""
    found = [int(e.stores[0].count(slot))]
    if e.slot_stats.active:
        cost = e.slot_stats.of(slot)
        found += [int(cost.cpu_us), int(cost.bytes_in), int(cost.bytes_out)]
    return found


def _write(e: Engine, s: Session, slots: list[int]) -> None:
    w = s.reply
    w.array(len(slots))
    for slot in slots:
        values = _values(e, slot)
        w.array(2)
        w.integer(slot)
        w.map(len(values))
        for name, value in zip(METRICS[: len(values)], values, strict=True):
            w.bulk(name)
            w.integer(value)


def slot_stats(e: Engine, s: Session, args: list[bytes]) -> None:
    """CLUSTER SLOT-STATS SLOTSRANGE first last | ORDERBY metric [LIMIT limit] [ASC|DESC]."""
    if not e.gate.active:
        raise CommandError(DISABLED)
    how = args[2].lower()
    if how == b"slotsrange" and len(args) == 5:
        first, last = slot_number(args[3]), slot_number(args[4])
        if first > last:
            raise CommandError(b"ERR Start slot number %d is greater than end slot number %d" % (first, last))
        _write(e, s, [slot for slot in range(first, last + 1) if e.gate.owns(slot)])
    elif how == b"orderby" and len(args) >= 4:
        _ordered(e, s, args)
    else:
        raise CommandError(_ARGUMENTS % args[1])


def _ordered(e: Engine, s: Session, args: list[bytes]) -> None:
    metric = args[3].lower()
    kept = METRICS if e.slot_stats.active else METRICS[:1]
    if metric not in kept:
        raise CommandError(b"ERR Unrecognized sort metric for ORDERBY.")
    limit, rising = _order(args)
    place = kept.index(metric)
    sign = 1 if rising else -1
    slots = [slot for slot in range(SLOTS) if e.gate.owns(slot)]
    slots.sort(key=lambda slot: (sign * _values(e, slot)[place], slot))
    _write(e, s, slots[:limit])


def _order(args: list[bytes]) -> tuple[int, bool]:
    """LIMIT and the direction. Raises CommandError."""
    limit, rising = SLOTS, False
    limited = directed = False
    i = 4
    while i < len(args):
        word = args[i].lower()
        if word == b"limit" and i + 1 < len(args):
            number = integer_or_none(args[i + 1])
            if number is None or not 1 <= number <= SLOTS:
                raise CommandError(_LIMIT)
            if limited:
                raise CommandError(_TWICE)
            limit, limited = number, True
            i += 2
        elif word in (b"asc", b"desc"):
            if directed:
                raise CommandError(_TWICE)
            rising, directed = word == b"asc", True
            i += 1
        else:
            raise CommandError(SYNTAX)
    return limit, rising


def flush_slot(e: Engine, s: Session, args: list[bytes]) -> None:
    """CLUSTER FLUSHSLOT slot [ASYNC|SYNC]: remove the keys of a slot; replicas get a DEL for each."""
    if not e.gate.active:
        raise CommandError(DISABLED)
    if len(args) > 4:
        raise CommandError(_ARGUMENTS % args[1])
    slot = slot_number(args[2])
    if len(args) == 4 and args[3].lower() not in (b"async", b"sync"):
        raise CommandError(SYNTAX)
    store = e.stores[0]
    if not (e.snapshots.active or e.keys_observed or e.journal.active):  # nobody has to hear of each key
        e.dirty += store.count(slot)
        store.clear(slot)
    for key in store.keys_in(slot, store.count(slot)):
        if e.snapshots.active:
            e.snapshots.before_write(slot, key)
        store.discard(slot, key)
        e.dirty += 1
        if e.keys_observed:
            e.tell_observers(0, key)
        e.replace_with([b"DEL", key])
    s.reply.ok()


def save_config(e: Engine, s: Session, args: list[bytes]) -> None:
    """CLUSTER SAVECONFIG: write the topology to disk once more."""
    if not e.gate.active:
        raise CommandError(DISABLED)
    known = e.gate.topology
    if known is not None:
        e.keep_topology(to_json(known))
    s.reply.ok()


HANDLERS: dict[bytes, Handler] = {
    b"cluster|slot-stats": slot_stats,
    b"cluster|flushslot": flush_slot,
    b"cluster|saveconfig": save_config,
}
