"""The shape of a catalog row: `Command` with its `KeySpec`s and documented `Argument`s.

Flag, key-flag and category bits are numbered in the order in which Valkey 9.1 lists them in COMMAND replies, so that a
walk from the lowest bit upwards gives the reply's order. Compiled: native classes, no dynamic attributes.
"""

from typing import Final

from mypy_extensions import i64

# --- command flags, in reply order; those above INTERNAL never appear in a reply
WRITE: Final = 1 << 0
READONLY: Final = 1 << 1
DENYOOM: Final = 1 << 2
MODULE: Final = 1 << 3
ADMIN: Final = 1 << 4
PUBSUB: Final = 1 << 5
NOSCRIPT: Final = 1 << 6
BLOCKING: Final = 1 << 7
LOADING: Final = 1 << 8
STALE: Final = 1 << 9
SKIP_MONITOR: Final = 1 << 10
SKIP_COMMANDLOG: Final = 1 << 11
ASKING: Final = 1 << 12
FAST: Final = 1 << 13
NO_AUTH: Final = 1 << 14
NO_MANDATORY_KEYS: Final = 1 << 15
NO_ASYNC_LOADING: Final = 1 << 16
NO_MULTI: Final = 1 << 17
MOVABLEKEYS: Final = 1 << 18
ALLOW_BUSY: Final = 1 << 19
MAY_REPLICATE: Final = 1 << 20  # may be propagated although it is not a write (PUBLISH)
PROTECTED: Final = 1 << 21  # refused unless its `enable-…-command` option lets it (DEBUG)
SENTINEL: Final = 1 << 22  # also a command of sentinels
ONLY_SENTINEL: Final = 1 << 23  # a command of sentinels alone

FLAG_NAMES: Final[list[str]] = [
    "write", "readonly", "denyoom", "module", "admin", "pubsub", "noscript", "blocking", "loading", "stale",
    "skip_monitor", "skip_commandlog", "asking", "fast", "no_auth", "no_mandatory_keys", "no_async_loading", "no_multi",
    "movablekeys", "allow_busy",
]  # fmt: skip

# --- key specification flags, in reply order: one of the first four says what is done with the value as a whole
RW: Final = 1 << 0  # read and modified
RO: Final = 1 << 1  # read only
OW: Final = 1 << 2  # overwritten whatever it held
RM: Final = 1 << 3  # removed
ACCESS: Final = 1 << 4  # user data is returned, copied or decided upon
UPDATE: Final = 1 << 5  # user data changes
INSERT: Final = 1 << 6  # user data is added, what was there stays
DELETE: Final = 1 << 7  # user data is deleted
NOT_KEY: Final = 1 << 8  # not a key, but routed as one (a shard channel)
INCOMPLETE: Final = 1 << 9  # the specification may miss keys
VARIABLE_FLAGS: Final = 1 << 10  # the true flags depend on the arguments

KEY_FLAG_NAMES: Final[list[str]] = [
    "RW", "RO", "OW", "RM", "access", "update", "insert", "delete", "not_key", "incomplete", "variable_flags",
]  # fmt: skip

# --- ACL categories, in reply order
ACL_KEYSPACE: Final = 1 << 0
ACL_READ: Final = 1 << 1
ACL_WRITE: Final = 1 << 2
ACL_SET: Final = 1 << 3
ACL_SORTEDSET: Final = 1 << 4
ACL_LIST: Final = 1 << 5
ACL_HASH: Final = 1 << 6
ACL_STRING: Final = 1 << 7
ACL_BITMAP: Final = 1 << 8
ACL_HYPERLOGLOG: Final = 1 << 9
ACL_GEO: Final = 1 << 10
ACL_STREAM: Final = 1 << 11
ACL_PUBSUB: Final = 1 << 12
ACL_ADMIN: Final = 1 << 13
ACL_FAST: Final = 1 << 14
ACL_SLOW: Final = 1 << 15
ACL_BLOCKING: Final = 1 << 16
ACL_DANGEROUS: Final = 1 << 17
ACL_CONNECTION: Final = 1 << 18
ACL_TRANSACTION: Final = 1 << 19
ACL_SCRIPTING: Final = 1 << 20

CATEGORY_NAMES: Final[list[str]] = [
    "keyspace", "read", "write", "set", "sortedset", "list", "hash", "string", "bitmap", "hyperloglog", "geo", "stream",
    "pubsub", "admin", "fast", "slow", "blocking", "dangerous", "connection", "transaction", "scripting",
]  # fmt: skip

# --- how the search for keys begins, and how it goes on from there
BEGIN_INDEX: Final = 0
BEGIN_KEYWORD: Final = 1
BEGIN_UNKNOWN: Final = 2
FIND_RANGE: Final = 0
FIND_KEYNUM: Final = 1
FIND_UNKNOWN: Final = 2

# --- argument flags, in reply order
OPTIONAL: Final = 1 << 0
MULTIPLE: Final = 1 << 1
MULTIPLE_TOKEN: Final = 1 << 2
ARGUMENT_FLAG_NAMES: Final[list[str]] = ["optional", "multiple", "multiple_token"]


def names_of(bits: i64, names: list[str]) -> list[str]:
    """Return the names of the set bits, lowest bit first."""
    found: list[str] = []
    bit: i64 = 1
    for name in names:
        if bits & bit:
            found.append(name)
        bit = bit << 1
    return found


class KeySpec:
    """Where a command's keys are: a place to begin, then a range of arguments or a counted number of them.

    `begin` is BEGIN_INDEX (`position` in the whole request, its name being 0) or BEGIN_KEYWORD (the argument after
    `keyword`, searched from `position`, backwards when that is negative). `find` is FIND_RANGE (`last` is relative to
    the begin, negative ones to the end; `limit` 2 takes half of the rest) or FIND_KEYNUM (`count_at` and `first` are
    relative to the begin). `step` is the distance of two keys.
    """

    begin: i64
    position: i64
    keyword: bytes
    find: i64
    last: i64
    step: i64
    limit: i64
    count_at: i64
    first: i64
    flags: i64
    notes: str

    def __init__(self, begin: i64, position: i64, keyword: bytes, find: i64, last: i64, step: i64, limit: i64,
                 count_at: i64, first: i64, flags: i64, notes: str) -> None:  # fmt: skip
        self.begin = begin
        self.position = position
        self.keyword = keyword
        self.find = find
        self.last = last
        self.step = step
        self.limit = limit
        self.count_at = count_at
        self.first = first
        self.flags = flags
        self.notes = notes

    @property
    def is_key(self) -> bool:
        """False for a shard channel, which is routed like a key but is none."""
        return self.flags & NOT_KEY == 0


class Argument:
    """One documented argument; `oneof` and `block` hold further ones. `token` None means that no word precedes it."""

    name: str
    type: str
    display_text: str
    key_spec_index: i64  # -1: not a key
    token: str | None
    summary: str
    since: str
    deprecated_since: str
    flags: i64
    arguments: "list[Argument]"

    def __init__(self, name: str, type: str, display_text: str, key_spec_index: i64, token: str | None, since: str,
                 arguments: "list[Argument]") -> None:  # fmt: skip
        self.name = name
        self.type = type
        self.display_text = display_text
        self.key_spec_index = key_spec_index
        self.token = token
        self.summary = ""
        self.since = since
        self.deprecated_since = ""
        self.flags = 0
        self.arguments = arguments


class Command:
    """One row: what every room knows about a command. Built by `cluster.catalog.build.command`.

    `name` is lowercase, `container|sub` for a subcommand. A negative `arity` is a minimum, and counts the name's words.
    `first_key`, `last_key` and `key_step` are the legacy triple, all 0 without it. `index` numbers the rows densely
    from 0, containers and subcommands alike, so that tables by command can be lists.
    """

    name: bytes
    text: str  # the name as str
    index: i64
    arity: i64
    flags: i64
    acl_categories: i64
    first_key: i64
    last_key: i64
    key_step: i64
    key_specs: list[KeySpec]
    has_keys: bool  # real keys, not channels
    group: str
    since: str
    complexity: str
    summary: str
    doc_flags: list[str]
    deprecated_since: str
    replaced_by: str
    history: list[tuple[str, str]]
    tips: list[str]
    arguments: list[Argument]
    subcommands: "dict[bytes, Command]"  # by the subcommand's own word
    request_policy: str  # how a proxy spreads it over shards: '', all_shards, all_nodes, multi_shard, special
    response_policy: str  # how it joins the answers: '', all_succeeded, one_succeeded, agg_sum, agg_min, ..., special

    def __init__(self, name: bytes, arity: i64, flags: i64, group: str, since: str, complexity: str,
                 summary: str) -> None:  # fmt: skip
        self.name = name
        self.text = name.decode("ascii")
        self.index = -1
        self.arity = arity
        self.flags = flags
        self.acl_categories = 0
        self.first_key = 0
        self.last_key = 0
        self.key_step = 0
        self.key_specs = []
        self.has_keys = False
        self.group = group
        self.since = since
        self.complexity = complexity
        self.summary = summary
        self.doc_flags = []
        self.deprecated_since = ""
        self.replaced_by = ""
        self.history = []
        self.tips = []
        self.arguments = []
        self.subcommands = {}
        self.request_policy = ""
        self.response_policy = ""

    def flag_names(self) -> list[str]:
        """Return the flags that COMMAND INFO shows, in its order."""
        return names_of(self.flags, FLAG_NAMES)

    def category_names(self) -> list[str]:
        """Return the ACL categories without their `@`, in COMMAND INFO's order."""
        return names_of(self.acl_categories, CATEGORY_NAMES)

    def __repr__(self) -> str:
        return f"<Command {self.text}>"
