"""The options of a node: one row each, and their values as typed attributes for the engine.

A row exists only where the node honours what the option says. Of an option whose other values need something that the
node does not have (`_only`), nothing but the value that describes what it does is accepted, so that a stock
valkey.conf is either taken as it is meant or refused by name. How to add an option: one row here; when the engine
reads it on a hot path, one attribute of `Settings` and one line in the `_take_` method of its group; a test.
"""

import os
from typing import Final

from mypy_extensions import i64

from cluster.options import I32_MAX, I64_MAX, Check, Kind, Option, OptionError, Options, Words, memory

MEGABYTE: Final = 1024 * 1024
BACKLOG_MIN: Final = 16 * 1024
HZ_MAX: Final = 500
BIND_MAX: Final = 16
USER_WORDS_MAX: Final = 1 << 16
EVENT_LETTERS: Final = b"g$lshzxetdn"  # the classes, in the order in which they are shown
POLICY_NAMES: Final = (
    "volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl",
    "allkeys-lru", "allkeys-lfu", "allkeys-random", "noeviction",
)  # fmt: skip
PROTECTED_ACTIONS: Final = ("no", "yes", "local")


# --- checks: the new and the old words in, the canonical words out
def _check_events(words: Words, _old: Words) -> Words:
    """Letters of keyspace events in the order in which Valkey shows them; `A` stands for all but m and n.

    Valkey hides an `n` that stands beside `A` from CONFIG GET, and forgets it in CONFIG REWRITE; here it is shown.
    """
    letters = words[0]
    if any(letter not in b"AKEm" + EVENT_LETTERS for letter in letters):
        raise OptionError("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")
    every = b"A" in letters or all(letter in letters for letter in EVENT_LETTERS[:-1])
    if every:
        return (b"A" + bytes(letter for letter in b"KEmn" if letter in letters),)
    shown = bytes(letter for letter in EVENT_LETTERS if letter in letters)
    return (shown + bytes(letter for letter in b"KEm" if letter in letters),)


def _check_output_limits(words: Words, old: Words) -> Words:
    """`class hard soft seconds` groups; a class that is not named keeps its limits."""
    if len(words) % 4:
        raise OptionError("Wrong number of arguments in buffer limit configuration.")
    limits: dict[bytes, Words] = {old[i]: old[i + 1 : i + 4] for i in range(0, len(old), 4)}
    for i in range(0, len(words), 4):
        name = words[i].lower()
        name = b"slave" if name == b"replica" else name
        if name not in (b"normal", b"slave", b"pubsub"):
            raise OptionError("Invalid client class specified in buffer limit configuration.")
        hard, soft = memory(words[i + 1]), memory(words[i + 2])
        if hard is None or soft is None or not words[i + 3].isdigit():
            raise OptionError("Error in hard, soft or soft_seconds setting in buffer limit configuration.")
        limits[name] = (b"%d" % hard, b"%d" % soft, b"%d" % int(words[i + 3]))
    return tuple(word for name in (b"normal", b"slave", b"pubsub") for word in (name, *limits[name]))


def _check_bind(words: Words, _old: Words) -> Words:
    if len(words) > BIND_MAX:
        raise OptionError("Too many bind addresses specified.")
    return () if words == (b"",) else words


def _check_directory(words: Words, _old: Words) -> Words:
    if not words[0]:
        raise OptionError("dir can't be empty")
    path = os.path.abspath(os.fsdecode(words[0]))
    if not os.path.isdir(path):
        raise OptionError("No such file or directory" if not os.path.exists(path) else "Not a directory")
    return (os.fsencode(path),)


def _file_name(name: str, default: str, immutable: bool = False) -> Option:
    """The name of a file in `dir`."""

    def check(words: Words, _old: Words) -> Words:
        if b"/" in words[0]:
            raise OptionError(f"{name} can't be a path, just a filename")
        return words

    return Option(name, Kind.TEXT, default, immutable=immutable, protected=not immutable, check=check)


def _check_backlog(words: Words, _old: Words) -> Words:
    return (b"%d" % max(int(words[0]), BACKLOG_MIN),)


def _check_hz(words: Words, _old: Words) -> Words:
    return (b"%d" % min(max(int(words[0]), 1), HZ_MAX),)


def _check_primary(words: Words, _old: Words) -> Words:
    """`host port`, or `no one` for a primary."""
    if not words or words == (b"",) or tuple(word.lower() for word in words) == (b"no", b"one"):
        return ()
    if len(words) != 2:
        raise OptionError("wrong number of arguments")
    if not words[1].isdigit() or not 0 < int(words[1]) < 65536:
        raise OptionError("Invalid master port")
    return words


def _check_node_id(words: Words, _old: Words) -> Words:
    if words[0] and (len(words[0]) != 40 or any(c not in b"0123456789abcdef" for c in words[0])):
        raise OptionError("a node id has 40 lower-case hexadecimal digits")
    return words


def _check_hostname(words: Words, _old: Words) -> Words:
    if len(words[0]) > 256:
        raise OptionError("Hostnames must be less than 256 characters")
    if not all(48 <= c <= 57 or 65 <= c <= 90 or 97 <= c <= 122 or c in b"-." for c in words[0]):
        raise OptionError("Hostnames may only contain alphanumeric characters, hyphens or dots")
    return words


def _check_save(words: Words, _old: Words) -> Words:
    """`seconds changes` pairs: save after so many seconds with so many changes; an empty word for never."""
    words = tuple(part for word in words for part in word.split())
    if len(words) % 2 or not all(word.isdigit() and int(word) <= I32_MAX for word in words):
        raise OptionError("Invalid save parameters")
    if any(int(seconds) < 1 for seconds in words[::2]):
        raise OptionError("Invalid save parameters")
    return tuple(b"%d" % int(word) for word in words)


def _check_share(words: Words, _old: Words) -> Words:
    """A size, or a percentage of maxmemory."""
    word = words[0].strip()
    if word.endswith(b"%"):
        if not word[:-1].isdigit():
            raise OptionError("argument must be a memory or percent value")
        if int(word[:-1]) > 100:
            raise OptionError("percentage argument must be less or equal to 100")
        return (b"%d%%" % int(word[:-1]),)
    size = memory(word)
    if size is None:
        raise OptionError("argument must be a memory or percent value")
    return (b"%d" % size,)


def _check_percentiles(words: Words, _old: Words) -> Words:
    """Percentiles from 0 to 100; none at all for an empty word."""
    shown: list[bytes] = []
    for word in words:
        if word == b"" and len(words) == 1:
            break
        try:
            value = float(word)
        except ValueError:
            raise OptionError("Invalid latency-tracking-info-percentiles parameters") from None
        if not 0 <= value <= 100:
            raise OptionError("latency-tracking-info-percentiles parameters should sit between [0.0,100.0]")
        shown.append(b"%g" % value)
    return tuple(shown)


# --- rows by kind
def _flag(name: str, default: str, immutable: bool = False, aliases: tuple[str, ...] = ()) -> Option:
    return Option(name, Kind.FLAG, default, immutable=immutable, aliases=aliases)


def _number(
    name: str, default: int, low: int, high: int, immutable: bool = False, aliases: tuple[str, ...] = (),
    check: Check | None = None,
) -> Option:  # fmt: skip
    return Option(name, Kind.NUMBER, str(default), low, high, immutable=immutable, aliases=aliases, check=check)


def _memory(
    name: str, default: int, low: int = 0, aliases: tuple[str, ...] = (), check: Check | None = None
) -> Option:
    return Option(name, Kind.MEMORY, str(default), low, I64_MAX, aliases=aliases, check=check)


def _text(name: str, default: str = "", immutable: bool = False, check: Check | None = None) -> Option:
    return Option(name, Kind.TEXT, default, immutable=immutable, check=check)


def _secret(name: str, aliases: tuple[str, ...] = ()) -> Option:
    return Option(name, Kind.TEXT, sensitive=True, aliases=aliases)


def _only(name: str, value: str, *others: str) -> Option:
    """An option that the node honours with one value alone; `others` would be valid in Valkey."""

    def check(words: Words, _old: Words) -> Words:
        if words[0].decode() in others:
            raise OptionError(f"this node accepts only '{value}' for {name}")
        return words

    return Option(name, Kind.ENUM, value, choices=(value, *others), check=check)


def _only_some(name: str, values: tuple[str, ...], *others: str) -> Option:
    """As `_only`, with several values; the first is the default."""

    def check(words: Words, _old: Words) -> Words:
        if words[0].decode() in others:
            raise OptionError(f"this node does not accept '{words[0].decode()}' for {name}")
        return words

    return Option(name, Kind.ENUM, values[0], choices=(*values, *others), check=check)


def _only_number(name: str, value: int) -> Option:
    """As `_only`, for a number."""

    def check(words: Words, _old: Words) -> Words:
        if int(words[0]) != value:
            raise OptionError(f"this node accepts only {value} for {name}")
        return words

    return _number(name, value, -1, I32_MAX, check=check)


_NETWORK: Final = (
    _number("port", 6379, 0, 65535, immutable=True),
    Option("bind", Kind.WORDS, "* -::*", 0, BIND_MAX + 1, immutable=True, check=_check_bind),
    _number("tls-port", 0, 0, 65535, immutable=True),
    _text("tls-cert-file", immutable=True),
    _text("tls-key-file", immutable=True),
    _text("tls-ca-cert-file", immutable=True),
    Option("tls-auth-clients", Kind.ENUM, "yes", choices=("no", "yes", "optional"), immutable=True),
    _flag("tls-replication", "no"),
    _only("tls-cluster", "no", "yes"),
    _text("unixsocket", immutable=True),
    Option("unixsocketperm", Kind.OCTAL, "0", 0, 0o777, immutable=True),
    _number("tcp-backlog", 511, 0, I32_MAX, immutable=True),
    _number("tcp-keepalive", 300, 0, I32_MAX),
    _number("timeout", 0, 0, I32_MAX),
    _number("maxclients", 10000, 1, 2**32 - 1),
    _flag("protected-mode", "yes"),
    _memory("proto-max-bulk-len", 512 * MEGABYTE, MEGABYTE),
    _memory("client-query-buffer-limit", 1024 * MEGABYTE, MEGABYTE),
    Option(
        "client-output-buffer-limit", Kind.WORDS,
        "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60", 0, 1024, check=_check_output_limits,
    ),
    _only_number("io-threads", 1),
)  # fmt: skip

_GENERAL: Final = (
    _number("databases", 16, 1, I32_MAX, immutable=True),
    _number("hz", 10, 0, I32_MAX, check=_check_hz),
    _secret("requirepass"),
    Option("user", Kind.LINES, "", 1, USER_WORDS_MAX, hidden=True, sensitive=True),
    _text("aclfile", immutable=True),
    Option("acl-pubsub-default", Kind.ENUM, "resetchannels", choices=("allchannels", "resetchannels")),
    _number("acllog-max-len", 128, 0, I64_MAX),
    Option("enable-debug-command", Kind.ENUM, "no", choices=PROTECTED_ACTIONS, immutable=True),
    Option("enable-protected-configs", Kind.ENUM, "no", choices=PROTECTED_ACTIONS, immutable=True),
    Option("enable-module-command", Kind.ENUM, "no", choices=("no",), immutable=True),
    Option("notify-keyspace-events", Kind.TEXT, "", check=_check_events),
    _number("slowlog-log-slower-than", 10000, -1, I64_MAX, aliases=("commandlog-execution-slower-than",)),
    _number("slowlog-max-len", 128, 0, I64_MAX, aliases=("commandlog-slow-execution-max-len",)),
    _number("commandlog-request-larger-than", MEGABYTE, -1, I64_MAX),
    _number("commandlog-large-request-max-len", 128, 0, I64_MAX),
    _number("commandlog-reply-larger-than", MEGABYTE, -1, I64_MAX),
    _number("commandlog-large-reply-max-len", 128, 0, I64_MAX),
    _number("latency-monitor-threshold", 0, 0, I64_MAX),
    _flag("latency-tracking", "yes"),
    Option("latency-tracking-info-percentiles", Kind.WORDS, "50 99 99.9", 0, 64, check=_check_percentiles),
    _number("tracking-table-max-keys", 1000000, 0, I64_MAX),
    _flag("import-mode", "no"),
    Option("loglevel", Kind.ENUM, "notice", choices=("debug", "verbose", "notice", "warning", "nothing")),
    _text("logfile", immutable=True),
    _flag("hide-user-data-from-log", "yes"),
    _number("busy-reply-threshold", 5000, 0, I64_MAX, aliases=("lua-time-limit",)),
    _text("availability-zone"),
    Option("node-id", Kind.TEXT, immutable=True, check=_check_node_id),
    _text("service-name", immutable=True),
    _text("pidfile", immutable=True),
    _only("daemonize", "no", "yes"),
    _only("supervised", "no", "upstart", "systemd", "auto"),
    _only("syslog-enabled", "no", "yes"),
    _only("oom-score-adj", "no", "yes", "relative", "absolute"),
    _number("shutdown-timeout", 10, 0, I32_MAX),
)

_MEMORY: Final = (
    _memory("maxmemory", 0),
    Option("maxmemory-clients", Kind.TEXT, "0", check=_check_share),
    Option("maxmemory-policy", Kind.ENUM, "noeviction", choices=POLICY_NAMES),
    _number("maxmemory-samples", 5, 1, 64),
    _number("maxmemory-eviction-tenacity", 10, 0, 100),
    _number("lfu-log-factor", 10, 0, I32_MAX),
    _number("lfu-decay-time", 1, 0, I32_MAX),
    _number("active-expire-effort", 1, 1, 10),
    _flag("activedefrag", "no"),
    _memory("active-defrag-ignore-bytes", 100 * MEGABYTE, 1),
    _number("active-defrag-threshold-lower", 10, 0, 1000),
    _number("active-defrag-threshold-upper", 100, 0, 1000),
    _number("active-defrag-cycle-min", 1, 1, 99),
    _number("active-defrag-cycle-max", 25, 1, 99),
    _number("active-defrag-cycle-us", 500, 0, 100000),
    _flag("lazyfree-lazy-eviction", "yes"),
    _flag("lazyfree-lazy-expire", "yes"),
    _flag("lazyfree-lazy-server-del", "yes"),
    _flag("lazyfree-lazy-user-del", "yes"),
    _flag("lazyfree-lazy-user-flush", "yes"),
    Option("hash-max-listpack-entries", Kind.NUMBER, "512", 0, I64_MAX, aliases=("hash-max-ziplist-entries",)),
    _memory("hash-max-listpack-value", 64, aliases=("hash-max-ziplist-value",)),
    _number("set-max-intset-entries", 512, 0, I64_MAX),
    _number("set-max-listpack-entries", 128, 0, I64_MAX),
    _number("set-max-listpack-value", 64, 0, I64_MAX),
    Option("zset-max-listpack-entries", Kind.NUMBER, "128", 0, I64_MAX, aliases=("zset-max-ziplist-entries",)),
    _memory("zset-max-listpack-value", 64, aliases=("zset-max-ziplist-value",)),
    _number("list-max-listpack-size", -2, -I32_MAX - 1, I32_MAX, aliases=("list-max-ziplist-size",)),
    _number("list-compress-depth", 0, 0, I32_MAX),
)  # fmt: skip

_REPLICATION: Final = (
    Option("replicaof", Kind.WORDS, "", 0, 2, immutable=True, aliases=("slaveof",), check=_check_primary),
    _secret("primaryauth", ("masterauth",)),
    Option("primaryuser", Kind.TEXT, aliases=("masteruser",)),
    _flag("replica-read-only", "yes", aliases=("slave-read-only",)),
    _flag("replica-serve-stale-data", "yes", aliases=("slave-serve-stale-data",)),
    _number("replica-priority", 100, 0, I32_MAX, aliases=("slave-priority",)),
    _flag("replica-announced", "yes"),
    _only("replica-ignore-maxmemory", "yes", "no"),
    _memory("repl-backlog-size", 10 * MEGABYTE, 1, check=_check_backlog),
    _number("repl-backlog-ttl", 3600, 0, I32_MAX),
    _number("repl-timeout", 60, 1, I32_MAX),
    _number("repl-ping-replica-period", 10, 1, I32_MAX, aliases=("repl-ping-slave-period",)),
    _flag("repl-diskless-sync", "yes"),
    _number("repl-diskless-sync-delay", 5, 0, I32_MAX),
    _number("repl-diskless-sync-max-replicas", 0, 0, I32_MAX),
    _only_some("repl-diskless-load", ("disabled", "on-empty-db", "flush-before-load"), "swapdb"),
    _only("repl-disable-tcp-nodelay", "no", "yes"),
    _only("dual-channel-replication-enabled", "no", "yes"),
    _number("min-replicas-to-write", 0, 0, I32_MAX, aliases=("min-slaves-to-write",)),
    _number("min-replicas-max-lag", 10, 0, I32_MAX, aliases=("min-slaves-max-lag",)),
    _text("replica-announce-ip"),
    _number("replica-announce-port", 0, 0, 65535, aliases=("slave-announce-port",)),
)

_CLUSTER: Final = (
    _flag("cluster-enabled", "no", immutable=True),
    _text("cluster-config-file", "nodes.conf", immutable=True),
    _number("cluster-node-timeout", 15000, 0, I64_MAX),
    _flag("cluster-require-full-coverage", "yes"),
    _flag("cluster-slot-stats-enabled", "no"),
    _flag("cluster-allow-reads-when-down", "no"),
    _flag("cluster-allow-pubsubshard-when-down", "yes"),
    _text("cluster-announce-ip"),
    Option("cluster-announce-hostname", Kind.TEXT, check=_check_hostname),
    _number("cluster-announce-port", 0, 0, 65535),
    _number("cluster-announce-tls-port", 0, 0, 65535),
)

_PERSISTENCE: Final = (
    Option("dir", Kind.TEXT, ".", protected=True, check=_check_directory),
    _file_name("dbfilename", "dump.rdb"),
    Option("save", Kind.WORDS, "3600 1 300 100 60 10000", 0, 1024, check=_check_save, collects=True),
    _flag("rdbcompression", "yes"),
    _flag("rdbchecksum", "yes", immutable=True),
    _flag("rdb-save-incremental-fsync", "yes"),
    _flag("stop-writes-on-bgsave-error", "yes"),
    _flag("appendonly", "no"),
    Option("appendfsync", Kind.ENUM, "everysec", choices=("everysec", "always", "no")),
    _file_name("appendfilename", "appendonly.aof", immutable=True),
    _file_name("appenddirname", "appendonlydir", immutable=True),
    _flag("no-appendfsync-on-rewrite", "no"),
    _number("auto-aof-rewrite-percentage", 100, 0, I32_MAX),
    _memory("auto-aof-rewrite-min-size", 64 * MEGABYTE),
    _flag("aof-load-truncated", "yes"),
    _flag("aof-use-rdb-preamble", "yes"),
    _flag("aof-timestamp-enabled", "no"),
    _flag("aof-rewrite-incremental-fsync", "yes"),
)

# Taken so that a stock valkey.conf loads; nothing in this node depends on them (docs/differences.md lists them).
_INERT: Final = (
    _flag("activerehashing", "yes"),
    _flag("always-show-logo", "no"),
    Option("dynamic-hz", Kind.FLAG, "yes", hidden=True),
    _flag("set-proc-title", "yes"),
    _text("proc-title-template", "{title} {listen-addr} {server-mode}"),
    _flag("jemalloc-bg-thread", "yes"),
    _number("active-defrag-max-scan-fields", 1000, 1, I64_MAX),
    _flag("disable-thp", "yes", immutable=True),
    Option("locale-collate", Kind.ENUM, "", choices=("", "C", "POSIX")),
    _number("stream-node-max-entries", 100, 0, I64_MAX),
    _memory("stream-node-max-bytes", 4096),
    _memory("hll-sparse-max-bytes", 3000),
    _flag("replica-lazy-flush", "yes", aliases=("slave-lazy-flush",)),
    _flag("rdb-del-sync-files", "no"),
    Option("sanitize-dump-payload", Kind.ENUM, "no", choices=("no", "yes", "clients"), hidden=True),
    Option("rdb-version-check", Kind.ENUM, "strict", choices=("strict", "relaxed")),
    Option("oom-score-adj-values", Kind.WORDS, "0 200 800", 3, 3),
)

ROWS: Final = (*_NETWORK, *_GENERAL, *_MEMORY, *_REPLICATION, *_CLUSTER, *_PERSISTENCE, *_INERT)


class OutputLimit:
    """When a client that does not read is disconnected: bytes at once, or bytes for some time. 0 = no limit."""

    hard: i64
    soft: i64
    soft_ms: i64

    def __init__(self, hard: i64, soft: i64, soft_ms: i64) -> None:
        self.hard = hard
        self.soft = soft
        self.soft_ms = soft_ms


class Settings:
    """The options of a running node, typed. `options` is the source; `refresh` follows it after every change."""

    options: Options
    # network
    port: i64
    tls_port: i64
    bind: list[str]
    unix_socket: str
    tcp_backlog: i64
    tcp_keepalive: i64  # seconds
    timeout: i64  # seconds of idleness, 0 = never
    max_clients: i64
    protected_mode: bool
    max_bulk: i64  # bytes of one argument
    query_buffer_limit: i64  # bytes of a client's unfinished requests
    output_limits: list[OutputLimit]  # by session kind: normal, replica, pubsub
    # general
    databases: i64
    hz: i64
    password: bytes
    acl_channels_open: bool
    acl_log_max_len: i64
    notify_letters: bytes
    busy_reply_threshold: i64  # milliseconds, 0 = never busy
    slowlog_slower_than: i64  # microseconds, -1 = never
    tracking_table_max_keys: i64
    import_mode: bool
    node_id: str
    service_name: str
    directory: str
    # memory
    maxmemory: i64
    maxmemory_policy: bytes
    maxmemory_clients: i64  # bytes, 0 for no bound; below 0 a percentage of maxmemory
    maxmemory_samples: i64
    eviction_tenacity: i64
    lfu_log_factor: i64
    lfu_decay_time: i64  # minutes
    active_expire_effort: i64
    hll_sparse_max_bytes: i64
    # encodings
    hash_max_listpack_entries: i64
    hash_max_listpack_value: i64
    set_max_intset_entries: i64
    set_max_listpack_entries: i64
    set_max_listpack_value: i64
    zset_max_listpack_entries: i64
    zset_max_listpack_value: i64
    stream_node_max_bytes: i64  # 0: no bound
    stream_node_max_entries: i64
    list_max_listpack_size: i64
    list_compress_depth: i64
    # replication
    replica_read_only: bool
    replica_serve_stale_data: bool
    replica_priority: i64
    repl_backlog_size: i64
    repl_backlog_ttl: i64  # seconds
    repl_timeout: i64  # seconds
    repl_ping_period: i64  # seconds
    repl_diskless_sync_delay: i64  # seconds
    min_replicas_to_write: i64
    min_replicas_max_lag: i64  # seconds
    # cluster
    cluster_enabled: bool
    cluster_require_full_coverage: bool
    cluster_allow_reads_when_down: bool
    cluster_allow_pubsubshard_when_down: bool

    def __init__(self, options: Options) -> None:
        self.options = options
        self.refresh()

    def refresh(self) -> None:
        """Take all values over."""
        self._take_network(self.options)
        self._take_general(self.options)
        self._take_memory(self.options)
        self._take_encodings(self.options)
        self._take_replication(self.options)
        self._take_cluster(self.options)

    def output_limit(self, kind: i64) -> OutputLimit:
        """The limit for a session kind (node.session.KIND_*); a primary has the limits of a normal client."""
        return self.output_limits[kind] if kind < 3 else self.output_limits[0]

    def _take_network(self, o: Options) -> None:
        self.port = o.number("port")
        self.tls_port = o.number("tls-port")
        self.bind = [word.decode() for word in o.words("bind")]
        self.unix_socket = o.string("unixsocket")
        self.tcp_backlog = o.number("tcp-backlog")
        self.tcp_keepalive = o.number("tcp-keepalive")
        self.timeout = o.number("timeout")
        self.max_clients = o.number("maxclients")
        self.protected_mode = o.flag("protected-mode")
        self.max_bulk = o.number("proto-max-bulk-len")
        self.query_buffer_limit = o.number("client-query-buffer-limit")
        words = o.words("client-output-buffer-limit")
        self.output_limits = [
            OutputLimit(int(words[i + 1]), int(words[i + 2]), int(words[i + 3]) * 1000) for i in range(0, 12, 4)
        ]

    def _take_general(self, o: Options) -> None:
        self.databases = o.number("databases")
        self.hz = o.number("hz")
        self.password = o.text("requirepass")
        self.acl_channels_open = o.text("acl-pubsub-default") == b"allchannels"
        self.acl_log_max_len = o.number("acllog-max-len")
        self.notify_letters = o.text("notify-keyspace-events")
        self.busy_reply_threshold = o.number("busy-reply-threshold")
        self.slowlog_slower_than = o.number("slowlog-log-slower-than")
        self.import_mode = o.flag("import-mode")
        self.tracking_table_max_keys = o.number("tracking-table-max-keys")
        self.node_id = o.string("node-id")
        self.service_name = o.string("service-name")
        self.directory = o.string("dir")

    def _take_memory(self, o: Options) -> None:
        self.maxmemory = o.number("maxmemory")
        share = o.text("maxmemory-clients")
        self.maxmemory_clients = -int(share[:-1]) if share.endswith(b"%") else int(share)
        self.maxmemory_policy = o.text("maxmemory-policy")
        self.maxmemory_samples = o.number("maxmemory-samples")
        self.eviction_tenacity = o.number("maxmemory-eviction-tenacity")
        self.lfu_log_factor = o.number("lfu-log-factor")
        self.lfu_decay_time = o.number("lfu-decay-time")
        self.active_expire_effort = o.number("active-expire-effort")
        self.hll_sparse_max_bytes = o.number("hll-sparse-max-bytes")

    def _take_encodings(self, o: Options) -> None:
        self.hash_max_listpack_entries = o.number("hash-max-listpack-entries")
        self.hash_max_listpack_value = o.number("hash-max-listpack-value")
        self.set_max_intset_entries = o.number("set-max-intset-entries")
        self.set_max_listpack_entries = o.number("set-max-listpack-entries")
        self.set_max_listpack_value = o.number("set-max-listpack-value")
        self.zset_max_listpack_entries = o.number("zset-max-listpack-entries")
        self.zset_max_listpack_value = o.number("zset-max-listpack-value")
        self.stream_node_max_bytes = o.number("stream-node-max-bytes")
        self.stream_node_max_entries = o.number("stream-node-max-entries")
        self.list_max_listpack_size = o.number("list-max-listpack-size")
        self.list_compress_depth = o.number("list-compress-depth")

    def _take_replication(self, o: Options) -> None:
        self.replica_read_only = o.flag("replica-read-only")
        self.replica_serve_stale_data = o.flag("replica-serve-stale-data")
        self.replica_priority = o.number("replica-priority")
        self.repl_backlog_size = o.number("repl-backlog-size")
        self.repl_backlog_ttl = o.number("repl-backlog-ttl")
        self.repl_timeout = o.number("repl-timeout")
        self.repl_ping_period = o.number("repl-ping-replica-period")
        self.repl_diskless_sync_delay = o.number("repl-diskless-sync-delay")
        self.min_replicas_to_write = o.number("min-replicas-to-write")
        self.min_replicas_max_lag = o.number("min-replicas-max-lag")

    def _take_cluster(self, o: Options) -> None:
        self.cluster_enabled = o.flag("cluster-enabled")
        self.cluster_require_full_coverage = o.flag("cluster-require-full-coverage")
        self.cluster_allow_reads_when_down = o.flag("cluster-allow-reads-when-down")
        self.cluster_allow_pubsubshard_when_down = o.flag("cluster-allow-pubsubshard-when-down")


def new_settings() -> Settings:
    """Settings with every option at its default."""
    return Settings(Options(ROWS))
