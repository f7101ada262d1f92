"""Clients described and selected: the lines of CLIENT LIST and INFO, and the filters of CLIENT LIST and KILL."""

from node.clientmemory import client_bytes, multi_bytes
from node.commands.reading import integer_or_none
from node.engine import Engine
from node.errors import SYNTAX, CommandError
from node.session import KIND_NORMAL, KIND_PRIMARY, KIND_PUBSUB, KIND_REPLICA, Session

KINDS: dict[bytes, int] = {
    b"normal": KIND_NORMAL,
    b"slave": KIND_REPLICA,
    b"replica": KIND_REPLICA,
    b"pubsub": KIND_PUBSUB,
    b"master": KIND_PRIMARY,
    b"primary": KIND_PRIMARY,
}
_FLAGS = b"ASMPOxbtRBdcuUreTiN"  # the letters that a FLAGS filter may ask for


def flags(s: Session) -> bytes:
    """The letters of the `flags` field, in Valkey's order."""
    conn = s.conn
    letters = b"O" if s.monitor else b""
    if s.kind == KIND_REPLICA:
        letters += b"S"
    if s.kind == KIND_PRIMARY or s.primary_link:
        letters += b"M"
    if s.subscriptions() > 0:
        letters += b"P"
    if s.multi:
        letters += b"x"
    if s.blocked:
        letters += b"b"
    if s.tracking:
        letters += b"t"
    if s.broken_redirect:
        letters += b"R"
    if s.broadcast:
        letters += b"B"
    if s.watch_broken:
        letters += b"d"
    if conn is not None and conn.closing:
        letters += b"c"
    if not s.address.endswith(b"]") and s.address.startswith(b"/"):
        letters += b"U"
    if s.readonly:
        letters += b"r"
    if s.no_evict:
        letters += b"e"
    if s.no_touch:
        letters += b"T"
    if s.import_source:
        letters += b"I"
    return letters or b"N"


def describe(e: Engine, s: Session) -> bytes:
    """One client in one line, without a line end."""
    conn = s.conn
    held = s.decoder.held()
    waiting = len(s.reply.out)
    unsent = 0 if conn is None else conn.unsent_bytes
    queued = 0 if conn is None else len(conn.unsent)
    fields: list[tuple[bytes, bytes | int]] = [
        (b"id", s.id),
        (b"addr", s.address),
        (b"laddr", s.local_address),
        (b"fd", -1 if conn is None else conn.fd),
        (b"name", s.name),
        (b"age", max(e.now_ms - s.created_ms, 0) // 1000),
        (b"idle", max(e.now_ms - s.last_ms, 0) // 1000),
        (b"flags", flags(s)),
        (b"capa", b"r" if s.redirects else b""),
        (b"db", s.dbid),
        (b"sub", len(s.channels)),
        (b"psub", len(s.patterns)),
        (b"ssub", len(s.shard_channels)),
        (b"multi", len(s.queue) if s.multi else -1),
        (b"watch", 0 if s.watch_broken else len(s.watching)),
        (b"qbuf", held),
        (b"qbuf-free", 0),
        (b"argv-mem", 0),
        (b"multi-mem", multi_bytes(s)),
        (b"rbs", waiting),
        (b"rbp", waiting),
        (b"obl", waiting),
        (b"oll", queued),
        (b"omem", unsent),
        (b"tot-mem", client_bytes(s)),
        (b"events", b"rw" if conn is not None and conn.writing else b"r"),
        (b"cmd", s.last_command),
        (b"user", s.user.name),
        (b"redir", s.redirect if s.tracking else -1),
        (b"resp", 3 if s.reply.resp3 else 2),
        (b"lib-name", s.lib_name),
        (b"lib-ver", s.lib_version),
        (b"tot-net-in", s.net_in),
        (b"tot-net-out", 0 if conn is None else conn.sent_bytes),
        (b"tot-cmds", s.commands),
    ]
    return b" ".join([b"%b=%b" % (name, v if isinstance(v, bytes) else b"%d" % v) for name, v in fields])


def ip_of(address: bytes) -> bytes:
    """The host part of `host:port`, brackets removed."""
    return address.rpartition(b":")[0].strip(b"[]")


class Condition:
    """What clients must be, or with `negative` must not be. Only the fields that were asked for are looked at."""

    ids: list[int]
    kind: int
    user: bytes | None
    address: bytes | None
    local: bytes | None
    letters: bytes | None
    name: bytes | None
    lib_name: bytes | None
    lib_version: bytes | None
    capa: bytes | None
    ip: bytes | None
    db: int

    def __init__(self) -> None:
        self.ids = []
        self.kind = -1
        self.user = None
        self.address = None
        self.local = None
        self.letters = None
        self.name = None
        self.lib_name = None
        self.lib_version = None
        self.capa = None
        self.ip = None
        self.db = -1

    def verdicts(self, s: Session) -> list[bool]:
        """For each field that was asked for, whether the client is so."""
        found: list[bool] = []
        if self.ids:
            found.append(s.id in self.ids)
        if self.kind >= 0:
            found.append(s.kind == self.kind)
        if self.letters is not None:
            has = flags(s)
            found.append(all(letter in has for letter in self.letters))
        if self.capa is not None:
            found.append(self.capa == b"" or s.redirects)
        if self.db >= 0:
            found.append(s.dbid == self.db)
        for wanted, actual in (
            (self.user, s.user.name),
            (self.address, s.address),
            (self.local, s.local_address),
            (self.name, s.name),
            (self.lib_name, s.lib_name),
            (self.lib_version, s.lib_version),
            (self.ip, ip_of(s.address)),
        ):
            if wanted is not None:
                found.append(wanted == actual)
        return found


class ClientFilter:
    """The options of CLIENT LIST and of the newer form of CLIENT KILL."""

    positive: Condition
    negative: Condition
    skip_me: bool
    max_age: int
    idle: int

    def __init__(self, skip_me: bool) -> None:
        self.positive = Condition()
        self.negative = Condition()
        self.skip_me = skip_me
        self.max_age = 0
        self.idle = 0

    def matches(self, e: Engine, s: Session, me: Session) -> bool:
        """Whether a client is meant."""
        if s is me and self.skip_me:
            return False
        if self.max_age and (e.now_ms - s.created_ms) // 1000 < self.max_age:
            return False
        if self.idle and (e.now_ms - s.last_ms) // 1000 < self.idle:
            return False
        return all(self.positive.verdicts(s)) and not any(self.negative.verdicts(s))


def parse_filter(e: Engine, args: list[bytes], i: int, skip_me: bool) -> ClientFilter:
    """The filter written in `args[i:]`. Raises CommandError with Valkey's texts."""
    wanted = ClientFilter(skip_me)
    while i < len(args):
        option = args[i].lower()
        if i + 1 >= len(args):
            raise CommandError(SYNTAX)
        value = args[i + 1]
        negative = option.startswith(b"not-")
        condition = wanted.negative if negative else wanted.positive
        plain = option[4:] if negative else option
        if plain == b"id":
            i = _take_ids(condition, args, i + 1)
            continue
        if not negative and plain == b"skipme":
            wanted.skip_me = _yes(value)
        elif not negative and plain == b"maxage":
            wanted.max_age = _seconds(b"maxage", value)
        elif not negative and plain == b"idle":
            wanted.idle = _seconds(b"idle", value)
        else:
            _take(e, condition, plain, value)
        i += 2
    return wanted


def _take_ids(condition: Condition, args: list[bytes], i: int) -> int:
    """Read ids as far as they go, none included; returns the index after them."""
    while i < len(args):
        number = integer_or_none(args[i])
        if number is None:
            break
        if number < 1:
            raise CommandError(b"ERR client-id should be greater than 0")
        condition.ids.append(number)
        i += 1
    return i


def _yes(value: bytes) -> bool:
    if value.lower() not in (b"yes", b"no"):
        raise CommandError(SYNTAX)
    return value.lower() == b"yes"


def _seconds(name: bytes, value: bytes) -> int:
    number = integer_or_none(value)
    if number is None:
        raise CommandError(b"ERR %b is not an integer or out of range" % name)
    if number <= 0:
        raise CommandError(b"ERR %b should be greater than 0" % name)
    return number


def _take(e: Engine, condition: Condition, option: bytes, value: bytes) -> None:
    """Read one option that has one value."""
    if option == b"type":
        kind = KINDS.get(value.lower())
        if kind is None:
            raise CommandError(b"ERR Unknown client type '%b'" % value)
        condition.kind = kind
    elif option == b"user":
        if value not in e.acl.users:
            raise CommandError(b"ERR No such user '%b'" % value)
        condition.user = value
    elif option == b"flags":
        if any(letter not in _FLAGS for letter in value):
            raise CommandError(b"ERR Unknown flags found in the provided filter: %b" % value)
        condition.letters = value
    elif option == b"capa":
        if any(letter not in b"r" for letter in value):
            raise CommandError(b"ERR Unknown capa found in the provided filter: %b" % value)
        condition.capa = value
    elif option == b"db":
        condition.db = _database(e, value)
    elif option == b"addr":
        condition.address = value
    elif option == b"laddr":
        condition.local = value
    elif option == b"name":
        condition.name = value
    elif option == b"lib-name":
        condition.lib_name = value
    elif option == b"lib-ver":
        condition.lib_version = value
    elif option == b"ip":
        condition.ip = value
    else:
        raise CommandError(SYNTAX)


def _database(e: Engine, value: bytes) -> int:
    number = integer_or_none(value)
    if number is None:
        raise CommandError(b"ERR DB is not an integer or out of range")
    if not 0 <= number < len(e.stores):
        raise CommandError(b"ERR DB number should be between 0 and %d" % (len(e.stores) - 1))
    return number
