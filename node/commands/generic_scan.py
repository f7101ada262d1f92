"""Looking over keys: KEYS, SCAN, RANDOMKEY and the OBJECT subcommands."""

from typing import Final

from mypy_extensions import i64

from cluster.slots import key_slot
from node.commands.reading import integer, shown
from node.commands.scanning import parse_cursor
from node.engine import Engine, Handler
from node.errors import SYNTAX, CommandError
from node.eviction import LFU, POLICIES, idle_seconds, lfu_decayed
from node.keyspace import Store, Value
from node.match import Glob
from node.numbers import is_int
from node.session import Session

_TYPES: Final = frozenset([b"string", b"list", b"set", b"zset", b"hash", b"stream"])
_NO_LFU: Final = (
    b"ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching "
    b"between policies at runtime LRU and LFU data will take some time to adjust."
)
_IS_LFU: Final = (
    b"ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between policies "
    b"at runtime LRU and LFU data will take some time to adjust."
)
# A string is embedded in the object of its key up to 128 bytes together. Source: Valkey 9.1, keys of 1 to 120 bytes.
_EMBEDDED: Final = 113
_EMBEDDED_LONG_KEY: Final = 111
_SHORT_KEY: Final = 31
_CURSOR_MASK: Final = (1 << 62) - 1  # Valkey takes any unsigned 64 bits, our cursors have 62

OBJECT_HELP: Final[list[bytes]] = [
    b"OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"ENCODING <key>",
    b"    Return the kind of internal representation used in order to store the value",
    b"    associated with a <key>.",
    b"FREQ <key>",
    b"    Return the access frequency index of the <key>. The returned integer is",
    b"    proportional to the logarithm of the recent access frequency of the key.",
    b"IDLETIME <key>",
    b"    Return the idle time of the <key>, that is the approximated number of",
    b"    seconds elapsed since the last access to the key.",
    b"REFCOUNT <key>",
    b"    Return the number of references of the value associated with the specified",
    b"    <key>.",
    b"HELP",
    b"    Print this help.",
]


def type_of(value: object) -> bytes:
    """What TYPE answers for a value."""
    return value.type_name() if isinstance(value, Value) else b"string"


# --- KEYS, SCAN, RANDOMKEY
def keys(e: Engine, s: Session, args: list[bytes]) -> None:
    """KEYS pattern."""
    glob = Glob(args[1])
    if glob.exact:
        found = s.store.peek(key_slot(args[1]), args[1]) is not None
        s.reply.bulks([args[1]] if found else [])
        return
    matching: list[bytes] = []
    for key in s.store.all_keys():
        if glob.matches(key):
            matching.append(key)
    s.reply.bulks(matching)


def scan(e: Engine, s: Session, args: list[bytes]) -> None:
    """SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]."""
    cursor = parse_cursor(args[1]) & _CURSOR_MASK
    count: i64 = 10
    glob = Glob(b"*")
    wanted = b""
    i: i64 = 2
    while i < len(args):
        option = args[i].lower()
        if option == b"novalues":
            raise CommandError(b"ERR NOVALUES option can only be used in HSCAN")
        if option not in (b"match", b"count", b"type") or i + 1 >= len(args):
            raise CommandError(SYNTAX)
        if option == b"match":
            glob = Glob(args[i + 1])
        elif option == b"count":
            count = integer(args[i + 1])
            if count < 1:
                raise CommandError(SYNTAX)
        else:
            wanted = args[i + 1].lower()
            if wanted not in _TYPES:
                raise CommandError(b"ERR unknown type name '%b'" % shown(args[i + 1]))
        i += 2
    following, seen = s.store.scan(cursor, count)
    s.reply.array(2)
    s.reply.bulk(b"%d" % following)
    s.reply.bulks(selected(s.store, seen, glob, wanted))


def selected(store: Store, seen: list[bytes], glob: Glob, wanted: bytes) -> list[bytes]:
    """The keys of one SCAN step that match, have not expired, and hold the wanted type (empty: any)."""
    out: list[bytes] = []
    volatile = store.volatile_count() > 0
    for key in seen:
        if not glob.matches(key):
            continue
        if wanted or volatile:
            value = store.peek(key_slot(key), key)
            if value is None or (wanted and type_of(value) != wanted):
                continue
        out.append(key)
    return out


def randomkey(e: Engine, s: Session, args: list[bytes]) -> None:
    """RANDOMKEY."""
    s.reply.bulk_or_null(s.store.random_key())


# --- OBJECT
def encoding_of(store: Store, slot: i64, key: bytes, value: object) -> bytes:
    """What OBJECT ENCODING answers for the value at a key."""
    if isinstance(value, Value):
        return value.encoding()
    assert isinstance(value, bytes)
    if store.is_raw(slot, key):
        return b"raw"
    if is_int(value) and not store.is_text(slot, key):
        return b"int"
    room = _EMBEDDED if len(key) <= _SHORT_KEY else _EMBEDDED_LONG_KEY
    return b"embstr" if len(key) + len(value) <= room else b"raw"


def object_encoding(e: Engine, s: Session, args: list[bytes]) -> None:
    """OBJECT ENCODING key."""
    slot = key_slot(args[2])
    value = s.store.peek(slot, args[2])
    if value is None:
        s.reply.null()
    else:
        s.reply.bulk(encoding_of(s.store, slot, args[2], value))


def object_refcount(e: Engine, s: Session, args: list[bytes]) -> None:
    """OBJECT REFCOUNT key: always one, values are not shared."""
    if s.store.peek(key_slot(args[2]), args[2]) is None:
        s.reply.null()
    else:
        s.reply.integer(1)


def object_idletime(e: Engine, s: Session, args: list[bytes]) -> None:
    """OBJECT IDLETIME key: seconds since the last access, with an LRU policy to the key, else to one of its slot."""
    slot = key_slot(args[2])
    if s.store.peek(slot, args[2]) is None:
        s.reply.null()
        return
    if POLICIES[e.settings.maxmemory_policy].clock == LFU:
        raise CommandError(_IS_LFU)
    clock = s.store.clock_of(slot, args[2])
    s.reply.integer(idle_seconds(clock, (e.now_ms // 1000) & 0xFFFFFF) if clock >= 0 else 0)


def object_freq(e: Engine, s: Session, args: list[bytes]) -> None:
    """OBJECT FREQ key: the logarithmic access counter, tracked with an LFU policy."""
    slot = key_slot(args[2])
    if s.store.peek(slot, args[2]) is None:
        s.reply.null()
        return
    if POLICIES[e.settings.maxmemory_policy].clock != LFU:
        raise CommandError(_NO_LFU)
    clock = s.store.clock_of(slot, args[2])
    minutes: i64 = (e.now_ms // 60000) & 0xFFFF
    s.reply.integer(lfu_decayed(clock, minutes, e.settings.lfu_decay_time) if clock >= 0 else 0)


def object_help(e: Engine, s: Session, args: list[bytes]) -> None:
    """OBJECT HELP."""
    s.reply.simples(OBJECT_HELP)


HANDLERS: dict[bytes, Handler] = {
    b"keys": keys,
    b"scan": scan,
    b"randomkey": randomkey,
    b"object|encoding": object_encoding,
    b"object|refcount": object_refcount,
    b"object|idletime": object_idletime,
    b"object|freq": object_freq,
    b"object|help": object_help,
}
