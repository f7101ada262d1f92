"""The server family, INFO, CONFIG and DEBUG against genuine Valkey."""

from __future__ import annotations

import random
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Server, find_free_port, oracle_command, start_server
from tests.differential.twins import Line, Twin, Twins, start_twins

BOTH = pytest.mark.parametrize("protocol", [2, 3], ids=["resp2", "resp3"])


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """One pair for the module."""
    with start_twins(tmp_path_factory.mktemp("twins")) as found:
        yield found


@pytest.fixture
def twins(servers: Twins) -> Iterator[Twins]:
    """The pair, empty; clients are closed after each test."""
    servers.client().both("FLUSHALL")
    yield servers
    servers.hang_up()


def words(reply: bytes) -> list[bytes]:
    """The bulk strings of a flat reply."""
    return reply.split(b"\r\n")[2::2]


def as_map(reply: bytes) -> object:
    """A flat map of bulk strings without its order."""
    if reply[:1] not in (b"*", b"%"):
        return reply
    flat = words(reply)
    return reply.split(b"\r\n")[0], dict(zip(flat[::2], flat[1::2], strict=True))


# --- databases
@BOTH
@pytest.mark.parametrize(
    "line",
    ["DBSIZE", "DBSIZE x", "FLUSHALL foo", "FLUSHALL async", "FLUSHALL SYNC", "FLUSHALL async sync", "FLUSHDB",
         "FLUSHDB x",
     "FLUSHDB sync x", "FLUSHDB ASYNC", "SWAPDB", "SWAPDB a 1", "SWAPDB 1 b", "SWAPDB 99 1", "SWAPDB 1 99",
     "SWAPDB -1 0",
     "SWAPDB 1 1", "SWAPDB 99999999999 1", "SWAPDB 1 4294967296", "TIME x", "LASTSAVE x", "ROLE", "ROLE x",
     "SHUTDOWN abort",
     "SHUTDOWN foo", "SHUTDOWN save nosave", "SHUTDOWN nosave abort", "SHUTDOWN abort abort", "SHUTDOWN now foo",
     "MEMORY", "MEMORY FOO", "MEMORY USAGE", "MEMORY USAGE nokey", "MEMORY USAGE k SAMPLES", "MEMORY USAGE k SAMPLES a",
     "MEMORY USAGE k SAMPLES -1", "MEMORY USAGE k FOO", "MEMORY USAGE k FOO 1", "MEMORY USAGE nokey SAMPLES 0",
     "MEMORY HELP x", "INFO nosuch", "INFO nosuch nosuch2", "CONFIG", "CONFIG FOO", "CONFIG GET", "CONFIG SET",
     "CONFIG SET a",
     "CONFIG RESETSTAT x", "CONFIG RESETSTAT", "CONFIG REWRITE x", "CONFIG REWRITE", "CONFIG HELP x"],
)  # fmt: skip
def test_one_command(twins: Twins, line: str, protocol: int) -> None:
    """One command with `k` being there."""
    client = twins.client(protocol)
    client.same("SET k v")

    client.same(line)


@BOTH
def test_swap_and_flush(twins: Twins, protocol: int) -> None:
    """Databases are swapped under connected clients and emptied; WATCH notices what concerns it."""
    client, other = twins.client(protocol), twins.client()
    client.same("SET a 1")
    client.same("SELECT 3")
    client.same("SET b 2")
    other.same("SWAPDB 0 3")
    client.same("GET a")
    client.same("DBSIZE")
    other.same("GET b")
    for touched in ("a", "nokey"):
        for line in ("SWAPDB 3 4", "FLUSHDB", "FLUSHALL"):
            client.same("SELECT 3")
            client.same("SET a 1")
            client.same(f"WATCH {touched}")
            other.same("SELECT 3")
            other.same(line)
            client.same("MULTI")
            client.same("PING")
            client.same("EXEC")


def test_swap_wakes_blocked_clients(twins: Twins) -> None:
    """A list that comes by SWAPDB serves who waits for its name in that database."""
    blocked, other = twins.client(), twins.client()
    other.same("SELECT 5")
    other.same("RPUSH q x")
    blocked.both("BLPOP", "q", "0", replies=0)
    while b"blocked_clients:1\r\n" not in other.oracle.ask([b"INFO", b"clients"]):
        pass
    while b"blocked_clients:1\r\n" not in other.node.ask([b"INFO", b"clients"]):
        pass
    other.same("SWAPDB 0 5")
    assert blocked.oracle.read(1) == blocked.node.read(1)


def test_time_and_lastsave(twins: Twins) -> None:
    """TIME and LASTSAVE have the form of Valkey's and tell the same second, nearly."""
    theirs, ours = twins.client().both("TIME")
    assert [len(word) for word in words(theirs)[:1]] == [len(word) for word in words(ours)[:1]]
    assert abs(int(words(theirs)[0]) - int(words(ours)[0])) <= 2
    theirs, ours = twins.client().both("LASTSAVE")
    assert abs(int(theirs[1:-2]) - int(ours[1:-2])) < 600


def test_memory_usage(twins: Twins) -> None:
    """MEMORY USAGE tells a size that grows with the value; bytes are each server's own."""
    client = twins.client()
    client.same("SET small x")
    client.same("SETRANGE large 9999 x")
    client.same("RPUSH list a b c")
    for reply in client.both("MEMORY", "USAGE", "small"):
        assert 0 < int(reply[1:-2]) < 300
    for reply in client.both("MEMORY", "USAGE", "large", "SAMPLES", "0"):
        assert int(reply[1:-2]) > 10000
    for reply in client.both("MEMORY", "USAGE", "list"):
        assert int(reply[1:-2]) > 0


# --- CONFIG
SETTINGS = [
    "maxmemory 0", "maxmemory 1gb", "maxmemory 100b", "maxmemory 1k", "maxmemory 1GB", "maxmemory foo", "maxmemory -1",
    "maxmemory 1.5gb", "maxmemory 10%", "maxmemory \"\"", "maxmemory kb", "maxmemory 0", "hz abc", "hz -1", "hz 0",
    "hz 501",
    "hz 01", "hz +1", "hz 10", "HZ 11", "maxclients 0", "maxclients 9999999999", "maxclients 1500000",
    "maxclients 5000",
    "maxmemory-policy foo",
    "maxmemory-policy ALLKEYS-LRU", "maxmemory-policy noeviction", "maxmemory-samples 65", "maxmemory-samples 0",
    "maxmemory-samples 5x", "maxmemory-samples 7", "timeout -1", "timeout 77", "timeout 0", "tcp-keepalive foo",
    "client-output-buffer-limit foo_1_2_3", "client-output-buffer-limit normal_1mb_2",
    "client-output-buffer-limit normal_1mb_2x_3",
    "client-output-buffer-limit normal_1mb_2kb_3_replica_0_0_0", "client-output-buffer-limit pubsub_1_1_-1",
    "client-output-buffer-limit normal_0_0_0", "client-output-buffer-limit \"\"", "notify-keyspace-events KQ",
    "notify-keyspace-events KEA", "notify-keyspace-events Kg$lt", "notify-keyspace-events \"\"", "replicaof a_1",
    "slaveof no_one",
    "dir /nonexistent", "dir \"\"", "save a", "save 10", "save \"\"", "list-max-listpack-size 128",
    "list-max-listpack-size x",
    "list-max-listpack-size -2", "repl-backlog-size 0", "repl-backlog-size 100", "repl-backlog-size 10mb",
    "slowlog-log-slower-than -2", "slowlog-log-slower-than 5", "slowlog-max-len -1", "slowlog-max-len 10",
    "loglevel foo",
    "loglevel \"\"", "loglevel DEBUG", "loglevel notice", "unixsocketperm 700", "enable-debug-command no",
    "databases 4",
    "tcp-backlog 1", "requirepass \"\"", "replica-announce-ip a_b", "replica-announce-ip \"\"",
    "replica-announce-port 65536", "replica-announce-port 0", "cluster-announce-hostname a_b",
    "cluster-announce-hostname a.b-c",
    "cluster-announce-hostname \"\"", "availability-zone zone_a", "availability-zone \"\"", "min-replicas-to-write -1",
    "min-slaves-to-write 0", "min-replicas-max-lag 5", "active-expire-effort 11", "active-expire-effort 0",
    "active-expire-effort 2", "client-query-buffer-limit 1", "client-query-buffer-limit 1mb",
    "client-query-buffer-limit 1gb",
    "proto-max-bulk-len 1", "proto-max-bulk-len 512mb", "appendfsync always", "appendfsync maybe",
    "appendfsync everysec",
    "dbfilename a/b", "dbfilename x.rdb", "protected-mode YES", "protected-mode maybe", "repl-timeout 0",
    "repl-timeout 61",
    "repl-ping-slave-period 0", "repl-ping-replica-period 3", "lfu-log-factor -1", "lfu-decay-time 5",
    "lfu-log-factor 20",
    "hash-max-listpack-value -1", "hash-max-ziplist-entries 20", "hash-max-listpack-entries x",
    "set-max-intset-entries x",
    "set-max-listpack-value 1kb", "zset-max-ziplist-value 100", "list-compress-depth -1", "list-compress-depth 1",
    "masteruser bob", "primaryuser \"\"", "masterauth secret", "primaryauth \"\"", "slave-priority 5",
    "replica-priority -1",
    "replica-read-only no", "slave-read-only yes", "repl-diskless-sync-delay 3", "busy-reply-threshold 1",
    "lua-time-limit 5000",
    "lazyfree-lazy-user-del no", "shutdown-timeout -1", "cluster-node-timeout x", "cluster-require-full-coverage no",
    "cluster-enabled yes", "cluster-announce-port 70000", "nosuch 1", "appendfilename x", "io-threads 1", "logfile x",
]  # fmt: skip


@BOTH
def test_config_set(twins: Twins, protocol: int) -> None:
    """Every option takes, refuses and shows the same values."""
    client = twins.client(protocol)
    for setting in SETTINGS:
        name = setting.split(" ")[0]
        client.same(f"CONFIG SET {setting}")
        if name != "dir":  # each server has its own
            client.same(f"CONFIG GET {name}")


@BOTH
def test_config_set_several(twins: Twins, protocol: int) -> None:
    """All options of one CONFIG SET or none; the first mistake is reported."""
    client = twins.client(protocol)
    for line in (
        "CONFIG SET timeout 5 hz x", "CONFIG SET timeout 5 nosuch 1", "CONFIG SET timeout", "CONFIG SET timeout 5 hz",
        "CONFIG SET timeout 5 TIMEOUT 6", "CONFIG SET tcp-backlog 1 nosuch 1", "CONFIG SET nosuch 1 tcp-backlog 1",
        "CONFIG SET databases 4 timeout x", "CONFIG SET timeout x databases 4", "CONFIG SET timeout 8 hz 12",
        "CONFIG SET maxmemory 5 dir /nonexistent", "CONFIG SET Timeout -1",
    ):  # fmt: skip
        client.same(line)
        client.same("CONFIG GET timeout hz maxmemory", normal=as_map)
    client.same("CONFIG SET timeout 0 hz 10")


@BOTH
def test_config_get(twins: Twins, protocol: int) -> None:
    """Patterns find the same names among the options that we have; names are answered as they were asked for."""
    client = twins.client(protocol)
    for line in (
        "CONFIG GET nosuch", "CONFIG GET HZ", "CONFIG GET hz HZ hz", "CONFIG GET maxmemory-p*",
        "CONFIG GET MAXMEMORY-S*",
        "CONFIG GET slave-pri?rity", "CONFIG GET [rs]*-priority", "CONFIG GET *-ziplist-*", "CONFIG GET hash-max*",
        "CONFIG GET",
        "CONFIG GET zset-*-entries set-max-intset-entries", "CONFIG GET appendfsync appendonly save", "CONFIG GET \"\"",
    ):  # fmt: skip
        client.same(line, normal=as_map)


def test_every_option_is_one_of_valkeys(twins: Twins) -> None:
    """CONFIG GET * shows no name and no default that Valkey would not, but for our own."""
    both = [words(reply) for reply in twins.client().both("CONFIG", "GET", "*")]
    theirs, ours = (dict(zip(found[::2], found[1::2], strict=True)) for found in both)
    own = {b"node-id", b"service-name"}  # the rest must be Valkey's
    places = {b"dir", b"port"}

    assert set(ours) - set(theirs) == own
    different = {name: (ours[name], theirs[name]) for name in set(ours) - own - places if ours[name] != theirs[name]}
    assert different == {}


def test_protected_settings(tmp_path: Path) -> None:
    """Without the enabling options DEBUG and protected settings are refused with the same texts."""
    with start_twins(tmp_path, "--enable-debug-command", "no", "--enable-protected-configs", "no") as found:
        client = found.client()
        for line in (
            "DEBUG SLEEP 0", "DEBUG nosuch", "DEBUG", "CONFIG SET dir /tmp", "CONFIG SET dbfilename x", "DEBUG HELP",
        ):  # fmt: skip
            client.same(line)
        found.hang_up()
    with start_twins(tmp_path / "local", "--enable-debug-command", "local") as found:
        found.client().same("DEBUG SLEEP 0")
        found.hang_up()


def test_rewrite(tmp_path: Path) -> None:
    """A rewritten file starts a server with the same values, ours and Valkey's alike."""
    config = "# my file\ntimeout 7\n\nmaxmemory 1mb\nhash-max-ziplist-entries 5\nrequirepass \"a b\"\n"
    for start in (start_node, start_oracle):
        path = tmp_path / start.__name__
        path.mkdir()
        file = path / "x.conf"
        file.write_text(config)
        server = start(path, str(file))
        line = Line(server)
        line.ask([b"AUTH", b"a b"])
        assert line.ask([b"CONFIG", b"SET", b"timeout", b"9", b"notify-keyspace-events", b"KEA"]) == b"+OK\r\n"
        assert line.ask([b"CONFIG", b"REWRITE"]) == b"+OK\r\n"
        text = file.read_text()
        assert text.startswith("# my file\ntimeout 9\n\nmaxmemory 1mb\n")
        assert "requirepass \"a b\"" in text
        names = (b"timeout", b"maxmemory", b"notify-keyspace-events")
        before = {name: line.ask([b"CONFIG", b"GET", name]) for name in names}
        line.close()
        server.stop(signal.SIGKILL)
        again = start_oracle(path, str(file))
        line = Line(again)
        line.ask([b"AUTH", b"a b"])
        assert before == {name: line.ask([b"CONFIG", b"GET", name]) for name in before}
        line.close()
        again.stop(signal.SIGKILL)


def start_oracle(folder: Path, config: str) -> Server:
    """Genuine Valkey with a configuration file."""
    port = find_free_port()
    command = oracle_command(folder, port)
    return start_server([command[0], config, "--port", str(port), "--bind", "127.0.0.1"], folder, port)


def start_node(folder: Path, config: str) -> Server:
    """A node with a configuration file."""
    port = find_free_port()
    command = [sys.executable, "-m", "node", config, "--port", str(port), "--bind", "127.0.0.1"]
    return start_server(command, folder, port)


# --- INFO
def fields(reply: bytes) -> dict[str, list[str]]:
    """The field names of each section of INFO."""
    text = reply.split(b"\r\n", 1)[1].decode().removeprefix("txt:")
    sections: dict[str, list[str]] = {}
    for line in text.strip().splitlines():
        if line.startswith("# "):
            current = sections.setdefault(line[2:], [])
        elif line:
            current.append(line.split(":", 1)[0])
    return sections


@BOTH
@pytest.mark.parametrize(
    "line", ["INFO", "INFO default", "INFO all", "INFO everything", "info SERVER keyspace", "INFO cpu"]
)
def test_info_sections(twins: Twins, protocol: int, line: str) -> None:
    """Our sections come in Valkey's order and hold no field that it does not know, but for our own."""
    client = twins.client(protocol)
    client.same("SET a 1")
    theirs, ours = client.both(*line.split(" "))
    own = {"kvorum_version", "engine_compiled", "store", "node_id", "service_name", "redis_mode"}

    assert theirs[:1] == ours[:1]
    known, shown = fields(theirs), fields(ours)
    assert list(shown) == [name for name in known if name in shown]
    assert set(known) - set(shown) <= {"TLS", "Latencystats", "Cluster Info", "Scripting Engines"}
    for section, names in shown.items():
        if section not in ("Commandstats", "Errorstats"):
            assert set(names) - own <= set(known[section]), section


def field(line: Line, section: str, name: str) -> str:
    """One field of INFO."""
    found = re.search(rf"^{name}:(.*?)\r$", line.ask([b"INFO", section.encode()]).decode(), re.MULTILINE)
    return found[1] if found else "(none)"


@pytest.mark.parametrize(
    ("section", "names"),
    [
        ("server", "redis_version server_name server_mode arch_bits hz"),
        ("clients", "connected_clients blocked_clients pubsub_clients watching_clients total_watched_keys maxclients"),
        ("memory", "maxmemory maxmemory_human maxmemory_policy"),
        ("persistence", "loading aof_enabled rdb_bgsave_in_progress rdb_last_bgsave_status aof_last_write_status"),
        ("stats", "total_connections_received rejected_connections expired_keys keyspace_hits keyspace_misses"),
        ("stats", "pubsub_channels pubsub_patterns pubsubshard_channels total_error_replies evicted_keys"),
        ("replication", "role connected_slaves master_repl_offset repl_backlog_active second_repl_offset"),
        ("errorstats", "errorstat_ERR errorstat_WRONGPASS errorstat_WRONGTYPE errorstat_OOM"),
        ("cluster", "cluster_enabled"),
    ],
)
def test_info_values(twins: Twins, section: str, names: str) -> None:
    """After the same traffic the counters are the same."""
    client = twins.client()
    client.same("CONFIG RESETSTAT")
    for line in ("SET a 1", "GET a", "GET a", "GET nokey", "NOSUCH", "HGET a f", "AUTH nobody x", "WATCH a b",
                 "EXISTS a c", "PEXPIRE a 0", "TTL nokey", "SET b 1 XX", "SUBSCRIBE x", "UNSUBSCRIBE x"):  # fmt: skip
        client.same(line)

    for name in names.split():
        assert (name, field(client.oracle, section, name)) == (name, field(client.node, section, name))


def test_commandstats(twins: Twins) -> None:
    """Calls, refusals and failures of each command are counted alike."""
    client = twins.client()
    client.same("CONFIG RESETSTAT")
    for line in ("SET a 1", "GET a", "GET", "GET a b", "LPUSH a 1", "CLIENT GETNAME", "CLIENT SETNAME x_y",
                 "CLIENT SETNAME", "MULTI", "GET a", "EXEC", "EXEC", "CONFIG GET hz", "NOSUCH",
                 "CONFIG FOO"):  # fmt: skip
        client.same(line)
    counted: list[dict[str, str]] = []
    for line in (client.oracle, client.node):
        text = line.ask([b"INFO", b"commandstats"]).decode()
        found = re.findall(r"cmdstat_(\S+?):calls=(\d+),.*?,(rejected_calls=\d+,failed_calls=\d+)", text)
        counted.append({name: f"{calls} {rest}" for name, calls, rest in found})

    assert counted[0] == counted[1]


def test_keyspace(twins: Twins) -> None:
    """Keys and expiries of each database are counted."""
    client = twins.client()
    for line in ("SET a 1", "SET b 1 PX 100000", "SELECT 7", "RPUSH l 1"):
        client.same(line)
    shown = [re.findall(r"(db\d+:keys=\d+,expires=\d+)", r.decode()) for r in client.both("INFO", "keyspace")]
    assert shown == [["db0:keys=2,expires=1", "db7:keys=1,expires=0"]] * 2


# --- DEBUG
@BOTH
@pytest.mark.parametrize(
    "line",
    ["DEBUG", "DEBUG nosuch", "DEBUG SLEEP", "DEBUG SLEEP a", "DEBUG SLEEP 0", "DEBUG SLEEP 0 1",
         "DEBUG SET-ACTIVE-EXPIRE",
     "DEBUG SET-ACTIVE-EXPIRE 1", "DEBUG ERROR", "DEBUG ERROR OOPS_it_is", "DEBUG PROTOCOL", "DEBUG PROTOCOL x",
     "DEBUG DIGEST",
     "DEBUG DIGEST x", "DEBUG DIGEST-VALUE", "DEBUG DIGEST-VALUE a b", "DEBUG POPULATE", "DEBUG POPULATE -1",
     "DEBUG POPULATE a", "DEBUG POPULATE 3 k 5", "DEBUG CHANGE-REPL-ID", "DEBUG CHANGE-REPL-ID x"],
)  # fmt: skip
def test_debug(twins: Twins, line: str, protocol: int) -> None:
    """The DEBUG subcommands that we have answer alike."""
    client = twins.client(protocol)

    client.same(line)
    client.same("DEBUG DIGEST")


def fill(client: Twin, rng: random.Random, steps: int) -> None:
    """Random writes of every type."""
    def word() -> str:
        return rng.choice(["a", "b", "c", "10", "-7", "3.5", "x" * 70, "inf"])

    makers: list[Callable[[], str]] = [
        lambda: f"SET s{rng.randrange(5)} {word()}",
        lambda: f"RPUSH l{rng.randrange(3)} {word()} {word()}",
        lambda: f"SADD m{rng.randrange(3)} {word()} {rng.randrange(100)}",
        lambda: f"HSET h{rng.randrange(3)} {word()} {word()}",
        lambda: f"ZADD z{rng.randrange(3)} {rng.randrange(100) / 7} {word()}",
        lambda: f"PEXPIRE s{rng.randrange(5)} 1000000",
        lambda: f"SELECT {rng.randrange(3)}",
        lambda: f"DEL {rng.choice('slmhz')}{rng.randrange(3)}",
    ]
    for _ in range(steps):
        client.same(rng.choice(makers)())


def test_digest_is_valkeys(twins: Twins) -> None:
    """The digest of a dataset of all types, and of single values, is the one that Valkey computes."""
    client = twins.client()
    rng = random.Random(7)
    for _ in range(10):
        fill(client, rng, 60)
        client.same("DEBUG DIGEST")
    client.same("SELECT 0")
    client.same("DEBUG DIGEST-VALUE s0 s1 l0 l1 m0 m1 h0 h1 z0 z1 nokey")
    for score in ("0", "-0", "100000", "1e8", "4e9", "-123e9", "1e17", "4611686018427387904", "1e22", "-inf", "1e-9"):
        client.same("DEL z")
        client.same(f"ZADD z {score} m")
        client.same("DEBUG DIGEST-VALUE z")


def test_shutdown(tmp_path: Path) -> None:
    """SHUTDOWN closes the connection without a reply and ends the process with 0."""
    with start_twins(tmp_path) as found:
        client = found.client()
        assert client.both("SHUTDOWN", "NOSAVE") == (b"(closed)", b"(closed)")
        assert [server.process.wait(10) for server in found.servers] == [0, 0]
        found.hang_up()


def test_cluster_mode(tmp_path: Path) -> None:
    """A cluster node has one database, says so in HELLO and INFO, and refuses what makes no sense there."""
    with start_twins(tmp_path, "--cluster-enabled", "yes") as found:
        client = found.client()
        for line in (
            "SELECT 0", "SELECT 1", "SELECT -1", "SELECT a", "SWAPDB 0 0", "SWAPDB a b", "DBSIZE", "FLUSHALL",
            "ROLE", "INFO cluster",
            "GET a", "SET a 1", "DEL a b", "SPUBLISH a b", "SSUBSCRIBE a", "CONFIG GET cluster-enabled",
            "CONFIG GET databases", "CLIENT LIST DB 1",
        ):  # fmt: skip
            client.same(line)
        theirs, ours = client.both("HELLO", "3")
        assert b"mode\r\n$7\r\ncluster\r\n" in theirs
        assert b"mode\r\n$7\r\ncluster\r\n" in ours
        found.hang_up()
