"""Memory: what RESTORE, OBJECT and MEMORY USAGE say of access and size, and what is refused when there is too much."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.differential.twins import Twin, Twins, start_twins


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """One pair for all."""
    with start_twins(tmp_path_factory.mktemp("memory")) as found:
        yield found


@pytest.fixture
def twin(servers: Twins) -> Iterator[Twin]:
    """A client of both, empty, without policy and limit."""
    client = servers.client()
    client.same("config set maxmemory 0 maxmemory-policy noeviction lfu-log-factor 10 lfu-decay-time 1")
    client.same("flushall")
    yield client
    client.same("config set maxmemory 0")
    client.close()


def restore(twin: Twin, key: str, *options: str) -> bytes:
    """RESTORE what `source` holds with these options; both must answer alike."""
    replies = []
    for line in (twin.oracle, twin.node):
        payload = line.ask([b"dump", b"source"])
        data = payload.split(b"\r\n", 1)[1][:-2]
        words = [word.encode() for word in options]
        replies.append(line.ask([b"restore", key.encode(), words[0] if words else b"0", data, *words[1:]]))
    assert replies[0] == replies[1], f"restore {key} {options}: Valkey answered {replies[0]!r}, we {replies[1]!r}"
    return replies[0]


OPTIONS = [
    "0", "0 replace", "1000000", "99999999999999 absttl", "1 absttl", "1 absttl replace", "-1", "x", "1.5",
    "0 idletime 1000", "0 idletime -1", "0 idletime x", "0 idletime", "0 idletime 9223372036854775807 replace",
    "0 freq 100", "0 freq 0", "0 freq 255", "0 freq 256", "0 freq -1", "0 freq x", "0 freq", "0 idletime 5 freq 5",
    "0 freq 5 idletime 5", "0 freq 5 freq 6 replace", "0 idletime 5 idletime 6 replace", "0 bogus", "0 absttl bogus",
    "0 REPLACE ABSTTL IDLETIME 77", "5000000 replace absttl", "0 absttl", "0 freq 9 replace absttl",
    "9223372036854775807", "9223372036854775807 absttl", "0 freq 010", "0 idletime 1e3",
]  # fmt: skip


@pytest.mark.parametrize("policy", ["noeviction", "allkeys-lru", "volatile-lfu", "allkeys-random"])
def test_options_of_restore(twin: Twin, policy: str) -> None:
    """Each option, alone and with others, on a key that is there and one that is not; what is seen of it afterwards."""
    twin.same(f"config set maxmemory-policy {policy}")
    twin.same("config set lfu-log-factor 100000000")  # chance has no part
    twin.same("rpush source a b 1")
    for options in OPTIONS:
        for key in ("fresh", "there"):
            twin.same("del fresh")
            restore(twin, key, *options.split())
            one, other = twin.both("exists", key)
            assert one == other, (options, key, one, other)
            twin.same(f"pexpiretime {key}" if "absttl" in options.lower() else f"lrange {key} 0 -1")
            if "lfu" in policy:
                one, other = twin.both("object", "freq", key)
                assert one == other, (options, key, one, other)
            if policy == "allkeys-lru" and "9223372036854775807" not in options:
                one, other = twin.both("object", "idletime", key)
                assert _about(one) == _about(other), (options, key, one, other)


def _about(reply: bytes) -> object:
    """Seconds, give or take a few: the clocks of the two are not read at the same moment."""
    return round(int(reply[1:-2]) / 8) if reply.startswith(b":") else reply


LINES = """\
object encoding none;object refcount none;object idletime none;object freq none;object help;object;object encoding
object encoding s x;object foo s;object encoding s;object refcount s;memory usage s samples;memory usage s samples x
memory usage s samples -1;memory usage s samples 1.5;memory usage s bogus 1;memory usage s samples 1 samples x
memory usage s samples 1 bogus;memory usage none samples 5;memory usage none;memory usage;memory foo;memory usage none x
memory usage s samples 9223372036854775808;memory usage none samples -1;dump none;dump;restore s 0;restore s 0 x
restore none 0 x;restore none -1 x;restore none x x;restore s 0 x replace;restore none 0 "" """


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("policy", ["noeviction", "allkeys-lru", "allkeys-lfu"])
def test_errors(servers: Twins, twin: Twin, policy: str, protocol: int) -> None:
    """What OBJECT, MEMORY USAGE, DUMP and RESTORE refuse, and with which words."""
    twin.same(f"config set maxmemory-policy {policy}")
    client = servers.client(protocol)
    client.same("set s text")
    for line in LINES.replace("\n", ";").split(";"):
        client.same(line.strip())
    client.close()


def test_frequency_counts_as_in_valkey(twin: Twin) -> None:
    """Where chance has no part (a factor of 0), the counter starts, grows and ends as Valkey's."""
    twin.same("config set maxmemory-policy allkeys-lfu lfu-log-factor 0 lfu-decay-time 0")
    twin.same("set k v")
    twin.same("object freq k")
    for line in ("get k", "append k x", "exists k", "type k", "ttl k", "strlen k", "object encoding k", "touch k",
                 "getrange k 0 1", "expire k 1000", "persist k", "dump k", "set k w", "mget k k", "copy k l",
                 "rename k m", "set k 1", "incr k", "setrange k 0 x", "getset k y", "bitcount k",
                 "getex k"):  # fmt: skip
        twin.same(line, normal=len)
        one, other = twin.both("object", "freq", "k")
        assert one == other, (line, one, other)
    twin.same("object freq l")
    twin.same("object freq m")
    for _ in range(300):
        twin.both("get", "k")
    assert twin.same("object freq k") == b":255\r\n"


def test_out_of_memory_in_transactions(servers: Twins, twin: Twin) -> None:
    """Too much memory refuses what may use more: at once, when it is queued, and when EXEC finds it out."""
    other = servers.client()
    twin.same("set some value")
    twin.same("rpush l a b")
    script = ["redis.call('set', KEYS[1], 1) return 1", "return redis.pcall('incr', KEYS[1])", "return 1"]
    for limit in ("1", "0"):
        other.same("config set maxmemory 0")
        twin.same("multi")
        twin.same("get some")
        twin.same("set some other")
        other.same(f"config set maxmemory {limit}")
        twin.same("exec")
        twin.same("get some")
        for line in ("multi", "set k v", "get some", "exec", "multi", "get some", "del none", "lpop l", "exec",
                     "multi", "discard", "watch some", "multi", "incr n", "discard", "unwatch"):  # fmt: skip
            twin.same(line)
        for source in script:
            theirs, ours = twin.both("eval", source, 1, "n")
            assert theirs == ours
            twin.both("multi")
            assert twin.both("eval", source, 1, "n")[0] == b"+QUEUED\r\n"
            theirs, ours = twin.both("exec")
            assert theirs == ours
    other.close()


COMMANDS = """\
set k v;get some;del none;append some x;incr n;lpush l a;lpop l;sadd s a;srem s a;hset h f v;hdel h f;zadd z 1 a
zrem z a;expire some 1000;persist some;rename some other;rename other some;copy some other;getdel other
setrange some 0 x;xadd t 1-1 a 1;xlen t;pfadd p a;bitcount some;setbit b 1 1;publish c m;ping;dbsize;subscribe c
unsubscribe c
getex some;mset a 1;msetnx a 1;spop s;rpoplpush l m;blpop l 0.001;blmove l m left left 0.001;sort l store x;sort l
geoadd g 1 1 a;restore r 0 x;move some 1;swapdb 0 1;eval_ro x 0;hincrby h f 1;linsert l before a b;sinterstore d s s
zunionstore d 1 z;bitop not d some;object encoding some;config get maxmemory;client id;wait 0 0;lmove l m left left
hexpire h 100 fields 1 f;hsetex h fields 1 a 1;hgetex h fields 1 a;lrem l 0 a;ltrim l 0 1
setex k 100 v;zpopmin z;getset k v"""


def test_every_kind_of_command_without_memory(twin: Twin) -> None:
    """With no memory left the same commands are refused as by Valkey, with the same words."""
    for line in ("set some value", "rpush l a b c", "sadd s x y z", "hset h a 1 b 2", "zadd z 1 a 2 b"):
        twin.same(line)
    twin.same("config set maxmemory 1")
    for line in COMMANDS.replace("\n", ";").split(";"):
        theirs, ours = twin.both(*line.split())
        assert (theirs[:4] == b"-OOM") == (ours[:4] == b"-OOM"), f"{line}: Valkey answered {theirs!r}, we {ours!r}"
        if theirs[:4] == b"-OOM":
            assert theirs == ours


@pytest.mark.parametrize("line", [
    "maxmemory-eviction-tenacity 0", "maxmemory-eviction-tenacity 100", "maxmemory-eviction-tenacity 101",
    "maxmemory-eviction-tenacity -1", "maxmemory-eviction-tenacity x", "active-expire-effort 1",
    "active-expire-effort 10", "active-expire-effort 0", "active-expire-effort 11", "maxmemory-samples 1",
    "maxmemory-samples 64", "maxmemory-samples 65", "lfu-log-factor -1", "lfu-log-factor 100", "lfu-decay-time -1",
    "lfu-decay-time 0", "maxmemory-policy nonsense", "maxmemory-policy volatile-ttl",
])  # fmt: skip
def test_options_of_expiry_and_eviction(twin: Twin, line: str) -> None:
    """Bounds and words of the options, and what CONFIG GET shows afterwards."""
    twin.same(f"config set {line}")
    twin.same(f"config get {line.split(maxsplit=1)[0]}")


@pytest.mark.parametrize("line", [
    "activedefrag no", "activedefrag maybe", "active-defrag-ignore-bytes 0", "active-defrag-ignore-bytes 1",
    "active-defrag-ignore-bytes 20mb", "active-defrag-ignore-bytes x", "active-defrag-threshold-lower 0",
    "active-defrag-threshold-lower 1001", "active-defrag-threshold-upper 1000", "active-defrag-threshold-upper -1",
    "active-defrag-cycle-min 0", "active-defrag-cycle-min 99", "active-defrag-cycle-max 100",
    "active-defrag-cycle-max 1", "active-defrag-cycle-us 0", "active-defrag-cycle-us 100000",
    "active-defrag-cycle-us 100001", "active-defrag-max-scan-fields 0", "active-defrag-max-scan-fields 7",
    "active-defrag-threshold-lower 50 active-defrag-threshold-upper 20",
])  # fmt: skip
def test_options_of_defragmentation(twin: Twin, line: str) -> None:
    """Bounds and words of the options, and what CONFIG GET shows of all of them afterwards."""
    twin.same(f"config set {line}")
    for name in ("activedefrag", *("active-defrag-" + name for name in DEFRAG)):
        twin.same(f"config get {name}")


DEFRAG = ("ignore-bytes", "threshold-lower", "threshold-upper", "cycle-min", "cycle-max", "cycle-us", "max-scan-fields")
