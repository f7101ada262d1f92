"""The node's options: canonical forms, typed values, refusals of what the node can't honour."""

import os
from pathlib import Path

import pytest

from cluster.configfile import load_text
from cluster.options import OptionError
from node.session import KIND_NORMAL, KIND_PRIMARY, KIND_PUBSUB, KIND_REPLICA
from node.settings import Settings, new_settings

# The directives that are active in the configuration file which Valkey ships.
STOCK = b"""
bind 127.0.0.1 -::1
protected-mode yes
port 6379
tcp-backlog 511
timeout 0
tcp-keepalive 300
daemonize no
pidfile /var/run/valkey_6379.pid
loglevel notice
logfile ""
databases 16
always-show-logo no
hide-user-data-from-log yes
set-proc-title yes
proc-title-template "{title} {listen-addr} {server-mode}"
locale-collate ""
stop-writes-on-bgsave-error yes
rdbcompression yes
rdbchecksum yes
dbfilename dump.rdb
rdb-del-sync-files no
dir ./
replica-serve-stale-data yes
replica-read-only yes
repl-diskless-sync yes
repl-diskless-sync-delay 5
repl-diskless-sync-max-replicas 0
repl-diskless-load disabled
dual-channel-replication-enabled no
repl-disable-tcp-nodelay no
replica-priority 100
acllog-max-len 128
lazyfree-lazy-eviction yes
lazyfree-lazy-expire yes
lazyfree-lazy-server-del yes
replica-lazy-flush yes
lazyfree-lazy-user-del yes
lazyfree-lazy-user-flush yes
oom-score-adj no
oom-score-adj-values 0 200 800
disable-thp yes
appendonly no
appendfilename "appendonly.aof"
appenddirname "appendonlydir"
appendfsync everysec
no-appendfsync-on-rewrite no
auto-aof-rewrite-percentage 100
auto-aof-rewrite-min-size 64mb
aof-load-truncated yes
aof-use-rdb-preamble yes
aof-timestamp-enabled no
slowlog-log-slower-than 10000
slowlog-max-len 128
latency-monitor-threshold 0
notify-keyspace-events ""
hash-max-listpack-entries 512
hash-max-listpack-value 64
list-max-listpack-size -2
list-compress-depth 0
set-max-intset-entries 512
set-max-listpack-entries 128
set-max-listpack-value 64
zset-max-listpack-entries 128
zset-max-listpack-value 64
hll-sparse-max-bytes 3000
stream-node-max-bytes 4096
stream-node-max-entries 100
activerehashing yes
client-output-buffer-limit normal 0 0 0
client-output-buffer-limit replica 256mb 64mb 60
client-output-buffer-limit pubsub 32mb 8mb 60
hz 10
dynamic-hz yes
aof-rewrite-incremental-fsync yes
rdb-save-incremental-fsync yes
jemalloc-bg-thread yes
"""


@pytest.fixture
def settings() -> Settings:
    """Everything at its default."""
    return new_settings()


def set_one(settings: Settings, name: str, value: str) -> str:
    """Set an option and tell what CONFIG GET then answers."""
    settings.options.set_pairs([(name.encode(), value.encode())], True)
    settings.refresh()
    return settings.options.get(name).decode()


def refusal(settings: Settings, name: str, value: str) -> str:
    """The reason for which a value is refused."""
    with pytest.raises(OptionError) as caught:
        settings.options.set_pairs([(name.encode(), value.encode())], True)
    return caught.value.reason


def test_stock_configuration(settings: Settings) -> None:
    """The file that Valkey ships is taken as it is, and most of it is the default."""
    load_text(settings.options, STOCK, "valkey.conf")
    settings.refresh()

    changed = {name for name in settings.options.rows if not settings.options.is_default(name)}
    assert changed == {"bind", "pidfile"}
    assert settings.bind == ["127.0.0.1", "-::1"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [("KEA", "AKE"), ("AKEn", "AKEn"), ("nKE", "nKE"), ("mKg", "gKm"), ("AKEmn", "AKEmn"), ("Kg$lt", "g$ltK"), ("", ""),
     ("g$lshzxetd", "A"), ("EmKgnt", "gtnKEm"), ("KK", "K")],
)  # fmt: skip
def test_events(settings: Settings, value: str, shown: str) -> None:
    """Letters of keyspace events are shown in Valkey's order."""
    assert set_one(settings, "notify-keyspace-events", value) == shown


def test_output_limits(settings: Settings) -> None:
    """A class that is not named keeps its limits; a session kind finds the limits of its class."""
    shown = set_one(settings, "client-output-buffer-limit", "normal 1mb 2kb 3 replica 7 0 0")

    assert shown == "normal 1048576 2048 3 slave 7 0 0 pubsub 33554432 8388608 60"
    limits = [settings.output_limit(kind).hard for kind in (KIND_NORMAL, KIND_REPLICA, KIND_PUBSUB, KIND_PRIMARY)]
    assert limits == [1048576, 7, 33554432, 1048576]
    assert settings.output_limit(KIND_NORMAL).soft_ms == 3000
    for value, reason in (
        ("foo 1 2 3", "Invalid client class specified in buffer limit configuration."),
        ("normal 1mb 2", "Wrong number of arguments in buffer limit configuration."),
        ("normal 1mb 2x 3", "Error in hard, soft or soft_seconds setting in buffer limit configuration."),
        ("normal 1 1 -1", "Error in hard, soft or soft_seconds setting in buffer limit configuration."),
    ):
        assert refusal(settings, "client-output-buffer-limit", value) == reason


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("appendonly", "maybe", "argument must be 'yes' or 'no'"),
        ("appendfilename", "a/b", "can't set immutable config"),
        ("save", "60", "Invalid save parameters"),
        ("save", "60 -1", "Invalid save parameters"),
        ("save", "0 1", "Invalid save parameters"),
        ("io-threads", "4", "this node accepts only 1 for io-threads"),
        ("repl-diskless-load", "swapdb", "this node does not accept 'swapdb' for repl-diskless-load"),
        ("dir", "", "dir can't be empty"),
        ("dir", "/nonexistent", "No such file or directory"),
        ("dir", "/dev/null", "Not a directory"),
        ("dbfilename", "a/b", "dbfilename can't be a path, just a filename"),
        ("cluster-announce-hostname", "a b", "Hostnames may only contain alphanumeric characters, hyphens or dots"),
        ("notify-keyspace-events", "Q", "Invalid event class character. Use 'Ag$lshzxeKEtmdn'."),
        ("replicaof", "a 1", "can't set immutable config"),
    ],
)
def test_refusals(settings: Settings, name: str, value: str, reason: str) -> None:
    """What the node can't honour, or Valkey would not take, is refused by name."""
    assert refusal(settings, name, value) == reason


def test_bounded_values(settings: Settings, tmp_path: Path) -> None:
    """Some values are moved into their bounds as Valkey moves them; dir becomes absolute."""
    assert set_one(settings, "hz", "501") == "500"
    assert set_one(settings, "hz", "0") == "1"
    assert set_one(settings, "repl-backlog-size", "100") == "16384"
    assert settings.repl_backlog_size == 16384
    assert set_one(settings, "dir", os.path.relpath(tmp_path)) == str(tmp_path)


@pytest.mark.parametrize(
    ("line", "words"),
    [("replicaof 10.0.0.1 6380", (b"10.0.0.1", b"6380")), ("slaveof NO ONE", ()), ('replicaof ""', ()), ("replicaof",
    ()), ('replicaof "10.0.0.1 6380"', (b"10.0.0.1", b"6380"))],
)
def test_replicaof(settings: Settings, line: str, words: tuple[bytes, ...]) -> None:
    """A primary is host and port; no one is nobody."""
    load_text(settings.options, line.encode(), "x")

    assert settings.options.words("replicaof") == words


@pytest.mark.parametrize(
    "line",
    ["replicaof host", "replicaof host 0", "replicaof host x", "node-id 12", "node-id " + "G" * 40, "port 65536"],
)
def test_bad_lines(settings: Settings, line: str) -> None:
    """A primary without a port, an id that is none, a port that is none: refused at the start."""
    with pytest.raises(OptionError):
        load_text(settings.options, line.encode(), "x")
