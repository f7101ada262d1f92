"""CLUSTERSCAN: a walk over the keys of a whole cluster, by a cursor that says which slot comes next.

A cursor is `fingerprint-{tag}-place`. The tag hashes to the slot, so that the command is routed as if the cursor were
a key; the place is only good for the node that gave it, which its fingerprint shows: another node begins the slot anew.
"""

from typing import Final

from mypy_extensions import i64

from cluster.slots import SLOTS, key_slot
from node.commands.generic_scan import selected
from node.commands.reading import integer, shown
from node.engine import Engine, Handler
from node.errors import SYNTAX, CommandError
from node.match import Glob
from node.numbers import is_int, to_int
from node.session import Session

DISABLED: Final = b"ERR This instance has cluster support disabled"
BAD_CURSOR: Final = b"ERR Invalid cursor"
BAD_SLOT: Final = b"ERR Invalid or out of range slot"
_LETTERS: Final = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_TYPES: Final = frozenset([b"string", b"list", b"set", b"zset", b"hash", b"stream"])
_SINGLE: Final = [bytes([c]) for c in _LETTERS]
_PAIRS: Final = [first + second for first in _SINGLE for second in _SINGLE]
# what changing the last letter from 0 to another does to the slot, whatever stands before it
_BY_DISTANCE: Final[dict[int, bytes]] = {int(key_slot(b"0") ^ key_slot(letter)): letter for letter in _SINGLE}
_tags: Final[dict[int, bytes]] = {}


def tag_of(slot: i64) -> bytes:
    """The shortest tag of letters and digits that hashes to a slot, the first in order; found once, then kept."""
    known = _tags.get(slot)
    if known is None:
        known = _find_tag(slot)
        _tags[slot] = known
    return known


def _find_tag(slot: i64) -> bytes:
    """Three letters reach every slot. For each two, one look tells whether a third completes them: the checksum is a
    linear function of it.
    """
    for first in _SINGLE:
        if key_slot(first) == slot:
            return first
    for pair in _PAIRS:
        if key_slot(pair) == slot:
            return pair
    for pair in _PAIRS:
        third = _BY_DISTANCE.get(key_slot(pair + b"0") ^ slot)
        if third is not None:
            return pair + third
    raise AssertionError(slot)


class Wanted:
    """The options of one call."""

    count: int
    glob: Glob
    type_name: bytes
    slot: int  # -1: all slots

    def __init__(self) -> None:
        self.count = 10
        self.glob = Glob(b"*")
        self.type_name = b""
        self.slot = -1


def _parse(args: list[bytes]) -> Wanted:
    wanted = Wanted()
    i = 2
    while i < len(args):
        option = args[i].lower()
        if option not in (b"match", b"count", b"type", b"slot") or i + 1 >= len(args):
            raise CommandError(SYNTAX)
        value = args[i + 1]
        if option == b"match":
            wanted.glob = Glob(value)
        elif option == b"count":
            wanted.count = integer(value)
            if wanted.count < 1:
                raise CommandError(SYNTAX)
        elif option == b"slot":
            wanted.slot = slot_number(value)
        else:
            wanted.type_name = value.lower()
            if wanted.type_name not in _TYPES:
                raise CommandError(b"ERR unknown type name '%b'" % shown(value))
        i += 2
    return wanted


def slot_number(word: bytes) -> int:
    """A slot from 0 to 16383. Raises CommandError."""
    if not is_int(word) or not 0 <= to_int(word) < SLOTS:
        raise CommandError(BAD_SLOT)
    return to_int(word)


def clusterscan(e: Engine, s: Session, args: list[bytes]) -> None:
    """CLUSTERSCAN cursor [MATCH pattern] [COUNT count] [TYPE type] [SLOT slot]."""
    if not e.gate.active:
        raise CommandError(DISABLED)
    cursor = args[1]
    wanted = _parse(args)
    if cursor == b"0":
        start = wanted.slot if wanted.slot >= 0 else 0
        _reply(s, b"0-{%b}-0" % tag_of(start), [])
        return
    place = _place(e, cursor)
    slot = key_slot(cursor)
    if wanted.slot >= 0 and wanted.slot != slot:
        raise CommandError(b"ERR Cursor slot mismatch with SLOT argument")
    last = slot if wanted.slot >= 0 else _last_owned(e, slot)
    following, seen = _walk(e, s, slot, place, last, wanted.count)
    if following == b"0" and wanted.slot < 0 and last + 1 < SLOTS:
        following = b"0-{%b}-0" % tag_of(last + 1)  # another shard's
    _reply(s, following, selected(s.store, seen, wanted.glob, wanted.type_name))


def _fingerprint(e: Engine) -> bytes:
    return b"1:" + e.stats.run_id[:4].encode()


def _place(e: Engine, cursor: bytes) -> i64:
    """Where in its slot the walk goes on, 0 when another node gave the cursor. Raises CommandError."""
    head, brace, rest = cursor.partition(b"-{")
    tag, close, place = rest.partition(b"}-")
    if not brace or not close or not head or not tag or not place.isdigit() or len(place) > 18:
        raise CommandError(BAD_CURSOR)
    return int(place) if head == _fingerprint(e) else 0


def _last_owned(e: Engine, slot: i64) -> i64:
    """The last slot of the run of slots that this node's shard serves from `slot` on."""
    while slot + 1 < SLOTS and e.gate.owns(slot + 1):
        slot += 1
    return slot


def _walk(e: Engine, s: Session, slot: i64, place: i64, last: i64, count: i64) -> tuple[bytes, list[bytes]]:
    """The cursor that follows and the keys met; the cursor is 0 when slot `last` is done."""
    out: list[bytes] = []
    here = slot
    while here <= last:
        if s.store.count(here) > 0:
            following, keys = s.store.scan(place << 14 | here, count - len(out), here)
            out.extend(keys)
            if following != 0:
                return b"%b-{%b}-%d" % (_fingerprint(e), tag_of(here), following >> 14), out
            if len(out) >= count and here < last:
                return b"%b-{%b}-0" % (_fingerprint(e), tag_of(here + 1)), out
        place = 0
        here += 1
    return b"0", out


def _reply(s: Session, cursor: bytes, keys: list[bytes]) -> None:
    s.reply.array(2)
    s.reply.bulk(cursor)
    s.reply.bulks(keys)


HANDLERS: dict[bytes, Handler] = {b"clusterscan": clusterscan}
