"""A service of three shards behind one plain endpoint, as clients see it."""

from __future__ import annotations

import random
import shlex
import threading
from collections.abc import Iterator

import pytest
import redis

from cluster.catalog import COMMANDS
from tests.conftest import Server
from tests.system.proxy_rig import Rig, Wire, command, sharded_rig, wait_for


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Three genuine nodes and a proxy for all tests of this file."""
    yield from sharded_rig(tmp_path_factory.mktemp("sharded"))


@pytest.fixture
def r(rig: Rig) -> redis.Redis:
    """A client of an empty service."""
    client = rig.client(decode_responses=True)
    client.flushall()
    return client


def test_keys_are_spread_and_found(rig: Rig, r: redis.Redis) -> None:
    """A thousand keys land on all three shards, and one endpoint finds, counts, lists and deletes them."""
    r.mset({f"key:{n}": str(n) for n in range(1000)})

    sizes = [node.client().dbsize() for node in rig.nodes]
    assert min(sizes) > 200
    assert r.dbsize() == sum(sizes) == 1000
    assert r.mget([f"key:{n}" for n in range(1001)]) == [*[str(n) for n in range(1000)], None]
    assert sorted(r.scan_iter(count=50)) == sorted(r.keys("*")) == sorted(f"key:{n}" for n in range(1000))
    assert r.exists("key:1", "key:1", "key:2", "nokey") == 3
    assert r.touch("key:1", "key:2", "nokey") == 2
    assert r.unlink("key:1", "key:2", "nokey") == 2
    assert r.delete(*[f"key:{n}" for n in range(500)]) == 498
    assert r.randomkey() is not None
    assert r.flushdb() is True
    assert r.randomkey() is None


SPOKEN = [
    ("SET", "k", "v"), ("SET", "k", "v", "NX"), ("SET", "k", "v", "GET"), ("GET", "k"), ("GETDEL", "k"),
    ("INCR", "n"), ("INCRBYFLOAT", "f", "0.5"), ("APPEND", "s", "abc"), ("GETRANGE", "s", "0", "1"), ("STRLEN", "s"),
    ("EXISTS", "k"), ("DEL", "k"), ("DEL", "k", "n"), ("MSET", "k", "1", "n", "2", "s", "3"), ("MSET", "k", "1", "n"),
    ("MGET", "k", "l", "zz"), ("MGET",), ("GET",), ("TOUCH", "k", "s"), ("TYPE", "l"), ("EXPIRE", "s", "1000"),
    ("PERSIST", "s"), ("TTL", "k"), ("LPUSH", "l", "a", "b"), ("LRANGE", "l", "0", "-1"), ("RPOP", "l"),
    ("LLEN", "s"), ("LMOVE", "{l}1", "{l}2", "LEFT", "LEFT"), ("HSET", "h", "f", "v"), ("HGETALL", "h"),
    ("HINCRBY", "h", "c", "2"), ("HMGET", "h", "f", "g"), ("HRANDFIELD", "nohash"), ("SADD", "set", "m"),
    ("SISMEMBER", "set", "m"), ("SMISMEMBER", "set", "m", "x"), ("SINTER", "{x}a", "{x}b"), ("ZADD", "z", "1.5", "m"),
    ("ZSCORE", "z", "m"), ("ZRANGE", "z", "0", "-1", "WITHSCORES"), ("ZINCRBY", "z", "2", "m"),
    ("OBJECT", "ENCODING", "n"), ("OBJECT", "FOO", "n"), ("OBJECT", "FREQ"), ("COPY", "{x}a", "{x}b"),
    ("UNLINK", "h", "z"), ("PING",), ("PING", "hi"), ("PING", "a", "b"), ("ECHO", "x"), ("ECHO",), ("NOSUCH", "a"),
    ("DBSIZE",), ("SELECT", "0"), ("EXEC",), ("DISCARD",), ("UNWATCH",), ("SCAN", "x"), ("CLIENT", "FOO"),
    ("CLIENT", "GETNAME"), ("RENAME", "{x}a", "{x}b"), ("MSETNX", "{x}a", "1", "{x}b", "2"),
    ("SUNIONSTORE", "{x}d", "{x}e", "{x}f"),
    ("XADD", "st", "5-*", "a", "1"), ("XADD", "st", "MAXLEN", "3", "5-*", "b", "2"),
    ("XLEN", "st"), ("XRANGE", "st", "-", "+"),
    ("XREAD", "COUNT", "2", "STREAMS", "st", "5-1"), ("XREAD", "STREAMS", "st"),
    ("XREAD", "BLOCK", "1", "STREAMS", "{st}b", "$"), ("XGROUP", "CREATE", "st", "g", "0"), ("XINFO", "GROUPS", "st"),
    ("XREADGROUP", "GROUP", "g", "c", "COUNT", "1", "BLOCK", "1", "STREAMS", "st", ">"), ("XACK", "st", "g", "5-1"),
    ("XPENDING", "st", "g"), ("XCLAIM", "st", "g", "d", "0", "5-1", "5-2", "JUSTID"), ("XTRIM", "st", "MAXLEN", "2"),
]  # fmt: skip


@pytest.mark.parametrize("proto", [2, 3])
def test_replies_are_those_of_one_server(rig: Rig, r: redis.Redis, oracle: Server, proto: int) -> None:
    """A thousand random commands get byte for byte the replies of a genuine server that has all keys."""
    draw = random.Random(proto)
    with rig.wire() as ours, Wire(oracle.port) as theirs:
        theirs.ask("FLUSHALL")
        ours.ask("HELLO", proto)
        theirs.ask("HELLO", proto)
        for _ in range(1000):
            words = draw.choice(SPOKEN)
            assert ours.ask(*words) == theirs.ask(*words), words


def test_pipelines_keep_their_order(rig: Rig, r: redis.Redis) -> None:
    """Ten thousand commands over all shards, some split, some answered by the proxy, are answered in order."""
    sent: list[bytes] = []
    expected: list[bytes] = []
    for n in range(2500):
        text = b"%d" % n
        sent += [command("SET", f"k{n}", n), command("PING", n), command("MGET", f"k{n}", f"k{n - 1}"), command("X")]
        one = b"$%d\r\n%b\r\n" % (len(text), text)
        before = b"$%d\r\n%d\r\n" % (len(b"%d" % (n - 1)), n - 1) if n else b"$-1\r\n"
        expected += [
            b"+OK\r\n",
            one,
            b"*2\r\n" + one + before,
            b"-ERR unknown command 'X', with args beginning with: \r\n",
        ]
    with rig.wire() as wire:
        thread = threading.Thread(target=wire.raw, args=(b"".join(sent),))
        thread.start()
        replies = [wire.reply() for _ in expected]
        thread.join()

    assert replies == expected


def test_other_commands_need_one_slot(r: redis.Redis) -> None:
    """Keys of several slots are refused as in a cluster, keys with a common hash tag are not."""
    for words in (("RENAME", "a", "b"), ("MSETNX", "a", 1, "b", 2), ("SINTER", "a", "b"), ("BLPOP", "a", "b", 0)):
        with pytest.raises(redis.ResponseError, match="Keys in request don't hash to the same slot"):
            r.execute_command(*words)
    assert r.msetnx({"{t}a": 1, "{t}b": 2}) is True


CROSSED = [
    "BITOP OR {to} {a} {b}", "PFMERGE {to} {a}", "PFCOUNT {a} {b}",
    "GEOSEARCHSTORE {to} {a} FROMLONLAT 1 1 BYRADIUS 1 m",
    "GEORADIUS {a} 1 1 1 m STORE {to}", "SORT {a} STORE {to}", "LCS {a} {b}", "XREAD STREAMS {a} {b} 0 0",
    "XREADGROUP GROUP g c STREAMS {a} {b} > >", "EVAL 'return 1' 2 {a} {b}", "SINTERCARD 2 {a} {b}",
    "ZUNIONSTORE {to} 1 {a}", "ZINTER 2 {a} {b}", "LMPOP 2 {a} {b} LEFT", "COPY {a} {b}", "SMOVE {a} {b} m",
    "MSETEX 2 {a} 1 {b} 2 NX EX 100", "MSETEX 2 {a} 1 {b} 2 XX",
]  # fmt: skip


@pytest.mark.parametrize("line", CROSSED)
def test_commands_of_several_keys_need_one_slot(rig: Rig, r: redis.Redis, line: str) -> None:
    """What no cut could answer is refused over slots before any node executes it, and works with a common hash tag."""
    def words(**keys: str) -> list[str]:
        return shlex.split(line.format(**keys))

    with rig.wire() as wire:
        crossed = wire.ask(*words(a="a", b="b", to="c"))
        together = wire.ask(*words(a="{t}a", b="{t}b", to="{t}c"))
    assert crossed == b"-CROSSSLOT Keys in request don't hash to the same slot\r\n"
    assert not together.startswith((b"-CROSSSLOT", b"-ERR"))
    assert r.exists("a", "b", "c") == 0


def test_scripts_without_keys(rig: Rig, r: redis.Redis) -> None:
    """A script that names no key runs at some shard; one that was loaded runs at every shard."""
    assert r.eval("return {1, ARGV[1]}", 0, "x") == [1, "x"]
    digest = r.script_load("return redis.call('incr', KEYS[1])")
    assert [r.evalsha(digest, 1, f"n:{n}") for n in range(50)] == [1] * 50
    assert r.script_exists(digest, "0" * 40) == [True, False]
    assert r.script_flush()
    assert r.script_exists(digest) == [False]


def test_msetex_is_cut_by_slot(rig: Rig, r: redis.Redis) -> None:
    """MSETEX without a condition sets keys of all shards, with its option on each, as its command tips ask."""
    pairs = [word for n in range(100) for word in (f"key:{n}", str(n))]
    assert r.execute_command("MSETEX", 100, *pairs, "EX", 1000) == 1
    assert r.mget([f"key:{n}" for n in range(100)]) == [str(n) for n in range(100)]
    assert {r.ttl(f"key:{n}") > 900 for n in range(100)} == {True}
    assert min(node.client().dbsize() for node in rig.nodes) > 10
    with rig.wire() as wire:
        for line in ("3 a 1 b 2", "x a 1 b 2", "2 a 1 b 2 Y", "0 a 1", "2 a 1 b 2 EX 0"):
            assert wire.ask("MSETEX", *line.split()).startswith(b"-"), line
    assert r.exists("a", "b") == 0


# --- transactions
@pytest.mark.parametrize("protocol", [2, 3])
def test_transaction_in_one_slot(rig: Rig, r: redis.Redis, protocol: int) -> None:
    """MULTI and EXEC with keys of one slot, PING and a failing command among them."""
    pipe = rig.client(protocol=protocol).pipeline()
    pipe.set("{t}a", "x").incr("{t}n").incr("{t}a").ping().get("{t}a")
    replies = pipe.execute(raise_on_error=False)

    assert replies[:2] == [True, 1]
    assert isinstance(replies[2], redis.ResponseError)
    assert replies[3:] == [True, b"x"]


def test_transaction_over_slots_is_refused_whole(rig: Rig, r: redis.Redis) -> None:
    """The command with a key of another slot is refused, EXEC aborts, and nothing was executed."""
    with rig.wire() as wire:
        assert wire.ask("MULTI") == b"+OK\r\n"
        assert wire.ask("SET", "a", 1) == b"+QUEUED\r\n"
        assert wire.ask("SET", "b", 1) == b"-CROSSSLOT Keys in request don't hash to the same slot\r\n"
        assert wire.ask("EXEC") == b"-EXECABORT Transaction discarded because of previous errors.\r\n"
        assert wire.ask("EXISTS", "a", "b") == b":0\r\n"


def test_empty_and_discarded_transactions(rig: Rig, r: redis.Redis) -> None:
    """Nothing queued gives an empty array; DISCARD forgets what was queued; MULTI does not nest."""
    with rig.wire() as wire:
        assert [wire.ask("MULTI"), wire.ask("EXEC")] == [b"+OK\r\n", b"*0\r\n"]
        assert [wire.ask("MULTI"), wire.ask("MULTI")] == [b"+OK\r\n", b"-ERR MULTI calls can not be nested\r\n"]
        assert [wire.ask("SET", "a", 1), wire.ask("DISCARD")] == [b"+QUEUED\r\n", b"+OK\r\n"]
        assert wire.ask("GET", "a") == b"$-1\r\n"


def test_watch(rig: Rig, r: redis.Redis) -> None:
    """A watched key that another client changes aborts EXEC; an unchanged one, or UNWATCH, does not."""
    with rig.wire() as wire:
        for meddle, undo, expected in (
            (True, False, b"*-1\r\n"),
            (False, False, b"*1\r\n+OK\r\n"),
            (True, True, b"*1\r\n+OK\r\n"),
        ):
            assert wire.ask("WATCH", "{w}a", "{w}b") == b"+OK\r\n"
            if meddle:
                r.set("{w}b", "x")
            if undo:
                assert wire.ask("UNWATCH") == b"+OK\r\n"
            wire.raw(command("MULTI") + command("SET", "{w}c", 1) + command("EXEC"))
            assert [wire.reply(), wire.reply(), wire.reply()] == [b"+OK\r\n", b"+QUEUED\r\n", expected]
        assert wire.ask("WATCH", "a", "b").startswith(b"-CROSSSLOT")
        assert wire.ask("MULTI") == b"+OK\r\n"
        assert wire.ask("WATCH", "a") == b"-ERR WATCH inside MULTI is not allowed\r\n"


# --- blocking
@pytest.mark.parametrize("proto", [2, 3])
def test_blocking_pop_waits_without_holding_others_up(rig: Rig, r: redis.Redis, proto: int) -> None:
    """A client that waits is woken by another's push; what it had sent behind comes after."""
    with rig.wire() as wire:
        wire.ask("HELLO", proto)
        wire.raw(command("SET", "a", 1) + command("BLPOP", "queue", 0) + command("GET", "a"))
        assert wire.reply() == b"+OK\r\n"
        wait_for(
            lambda: "flags=b" in str(r.execute_command("CLIENT", "LIST")) or r.info("clients")["blocked_clients"] == 1
        )
        assert r.rpush("queue", "job") == 1
        assert wire.reply() == b"*2\r\n$5\r\nqueue\r\n$3\r\njob\r\n"
        assert wire.reply() == b"$1\r\n1\r\n"
        assert wire.ask("BLPOP", "queue", "0.01") == (b"*-1\r\n" if proto == 2 else b"_\r\n")


def test_a_blocked_client_that_leaves_takes_nothing(rig: Rig, r: redis.Redis) -> None:
    """When a waiting client disconnects, its wait ends at the node, and the next push stays in the list."""
    with rig.wire() as wire:
        wire.send("BLPOP", "queue", 0)
        wait_for(lambda: r.info("clients")["blocked_clients"] == 1)
    wait_for(lambda: r.info("clients")["blocked_clients"] == 0)

    assert r.rpush("queue", "job") == 1
    assert r.lrange("queue", 0, -1) == ["job"]


# --- messages
@pytest.mark.parametrize("protocol", [2, 3])
def test_channels_and_patterns_over_shards(rig: Rig, r: redis.Redis, protocol: int) -> None:
    """Every message comes once to every channel and pattern, whichever shard is its home."""
    with rig.client(protocol=protocol, decode_responses=True).pubsub() as sub:
        sub.subscribe(*[f"c{n}" for n in range(6)])
        sub.psubscribe("c*")
        confirmed = [sub.get_message(timeout=5) for _ in range(7)]
        assert [m["data"] for m in confirmed if m] == [1, 2, 3, 4, 5, 6, 7]
        assert [r.publish(f"c{n}", n) for n in range(6)] == [2] * 6
        got = [sub.get_message(timeout=5) for _ in range(12)]
        assert sorted((m["type"], m["channel"], m["data"]) for m in got if m) == sorted(
            (kind, f"c{n}", str(n)) for kind in ("message", "pmessage") for n in range(6)
        )
        assert dict(r.pubsub_numsub("c0", "c1", "none")) == {"c0": 1, "c1": 1, "none": 0}
        assert sorted(r.pubsub_channels("c?")) == [f"c{n}" for n in range(6)]
        assert r.pubsub_numpat() == 1
        sub.unsubscribe()
        sub.punsubscribe()
        left = [sub.get_message(timeout=5) for _ in range(7)]
        assert [m["data"] for m in left if m] == [6, 5, 4, 3, 2, 1, 0]
        assert sub.get_message(timeout=0.01) is None
    assert r.publish("c0", "x") == 0


def test_keyspace_notifications_come_from_all_shards(rig: Rig, r: redis.Redis) -> None:
    """Events of keys on every shard reach a client that subscribed to the pattern or the channel, once each."""
    with rig.client(decode_responses=True).pubsub() as sub:
        sub.psubscribe("__keyspace@0__:*")
        sub.subscribe("__keyevent@0__:set")
        assert [sub.get_message(timeout=5) is not None for _ in range(2)] == [True, True]
        for n in range(6):
            r.set(f"k{n}", 1)
        got = [sub.get_message(timeout=5) for _ in range(12)]
        assert sorted(m["data"] for m in got if m) == sorted([f"k{n}" for n in range(6)] + ["set"] * 6)


def test_shard_channels(rig: Rig, r: redis.Redis) -> None:
    """SSUBSCRIBE and SPUBLISH work on any mix of slots."""
    with rig.wire() as wire:
        wire.raw(command("SSUBSCRIBE", "a", "b"))
        assert [wire.reply()[-4:] for _ in range(2)] == [b":1\r\n", b":2\r\n"]
        assert r.execute_command("SPUBLISH", "a", "hello") == 1
        assert wire.reply() == b"*3\r\n$8\r\nsmessage\r\n$1\r\na\r\n$5\r\nhello\r\n"
        assert wire.ask("GET", "a").startswith(b"-ERR Can't execute 'get': only (P|S)SUBSCRIBE")
        assert wire.ask("PING") == b"*2\r\n$4\r\npong\r\n$0\r\n\r\n"
        assert wire.ask("RESET") == b"+RESET\r\n"
        assert wire.ask("GET", "a") == b"$-1\r\n"


# --- itself
def test_it_looks_like_one_plain_server(rig: Rig, r: redis.Redis) -> None:
    """HELLO, INFO and CLUSTER say standalone; SELECT knows database 0 alone; INFO adds the shards up."""
    r.mset({f"k{n}": n for n in range(30)})
    info = r.info()

    assert info.get("redis_mode", info.get("server_mode")) == "standalone"
    assert info["redis_version"] == "7.2.4"
    assert info["role"] == "master"
    assert info["maxmemory_policy"] == "noeviction"
    assert info["db0"]["keys"] == 30
    assert info["used_memory"] == pytest.approx(
        sum(n.client().info("memory")["used_memory"] for n in rig.nodes), rel=0.2
    )
    with rig.wire() as wire:
        hello = wire.ask("HELLO", 3)
        assert hello.startswith(b"%7\r\n")
        assert b"$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n" in hello
        assert wire.ask("CLUSTER", "SLOTS") == b"-ERR This instance has cluster support disabled\r\n"
        assert wire.ask("SELECT", 1) == b"-ERR SELECT is not allowed in cluster mode\r\n"
        assert wire.ask("COMMAND", "COUNT").startswith(b":")
        assert wire.ask("CONFIG", "GET", "maxmemory") == b"%1\r\n$9\r\nmaxmemory\r\n$1\r\n0\r\n"


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("CONFIG", "SET", "maxmemory", "1"), "config|set"), (("CONFIG", "RESETSTAT"), "config|resetstat"),
        (("REPLICAOF", "NO", "ONE"), "replicaof"), (("SHUTDOWN",), "shutdown"), (("DEBUG", "SLEEP", "0"), "debug"),
        (("KVORUM", "TOPOLOGY", "GET"), "kvorum"), (("SAVE",), "save"), (("PSYNC", "?", "-1"), "psync"),
        (("ACL", "WHOAMI"), "acl|whoami"), (("FAILOVER",), "failover"), (("MODULE", "LIST"), "module|list"),
        (("ASKING",), "asking"),
    ],
)  # fmt: skip
def test_the_insides_are_out_of_reach(rig: Rig, words: tuple[str, ...], name: str) -> None:
    """Commands that would touch nodes themselves are refused as an ACL does."""
    with rig.wire() as wire:
        assert (
            wire.ask(*words) == b"-NOPERM User default has no permissions to run the '%b' command\r\n" % name.encode()
        )


def test_client_speaks_of_the_proxys_clients(rig: Rig) -> None:
    """CLIENT SETNAME, SETINFO, ID, INFO, LIST, REPLY and KILL are about connections to the proxy."""
    with rig.wire() as one, rig.wire() as two:
        assert one.ask("CLIENT", "SETNAME", "first") == b"+OK\r\n"
        assert one.ask("CLIENT", "SETINFO", "lib-name", "probe") == b"+OK\r\n"
        number = two.ask("CLIENT", "ID")[1:-2]
        assert b"name=first" in two.ask("CLIENT", "LIST")
        assert b"lib-name=probe" in one.ask("CLIENT", "INFO")
        one.raw(command("CLIENT", "REPLY", "SKIP") + command("SET", "a", 1) + command("GET", "a"))
        assert one.reply() == b"$1\r\n1\r\n"
        one.raw(
            command("CLIENT", "REPLY", "OFF") + command("GET", "a") + command("PING") + command("CLIENT", "REPLY", "ON")
        )
        assert one.reply() == b"+OK\r\n"
        assert one.ask("CLIENT", "KILL", "ID", number) == b":1\r\n"
        assert two.closed()


@pytest.mark.skipif(b"monitor" not in COMMANDS, reason="nodes have no MONITOR")
def test_monitor_shows_all_shards(rig: Rig, r: redis.Redis) -> None:
    """MONITOR passes on what every node executes."""
    with rig.wire() as wire:
        assert wire.ask("MONITOR") == b"+OK\r\n"
        wanted = {b"mk%d" % n for n in range(20)}
        seen: set[bytes] = set()
        stop = threading.Event()

        def write() -> None:
            while not stop.wait(0.02):
                for key in wanted:
                    r.set(key, 1)

        thread = threading.Thread(target=write)
        thread.start()
        try:
            while not wanted <= seen:
                seen |= {key for key in wanted if b'"%b"' % key in wire.line()}
        finally:
            stop.set()
            thread.join()


# --- slots that move
def test_moved_slots_are_followed(rig: Rig, r: redis.Redis) -> None:
    """When a slot is at another node than the topology says, commands follow MOVED, unseen and in order."""
    slot = int(rig.nodes[0].client().cluster("KEYSLOT", "moving"))
    owner = next(n for n, node in enumerate(rig.nodes) if slot < (n + 1) * 16384 // 3)
    here, there = rig.nodes[owner].client(), rig.nodes[(owner + 1) % 3].client()
    ids = {node.port: node.client().execute_command("CLUSTER", "MYID").decode() for node in rig.nodes}
    target, source = ids[rig.nodes[(owner + 1) % 3].port], ids[rig.nodes[owner].port]
    there.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", source)
    here.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", target)
    assert r.set("moving", "asked") is True  # the key is not at its node, so that it is asked for at the other
    assert there.execute_command("CLUSTER", "COUNTKEYSINSLOT", slot) == 1
    for client in (there, here):
        client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", target)
    try:
        with rig.wire() as wire:
            wire.raw(b"".join(command("RPUSH", "{moving}list", n) for n in range(200)))
            assert [wire.reply() for _ in range(200)] == [b":%d\r\n" % (n + 1) for n in range(200)]
        assert r.lrange("{moving}list", 0, -1) == [str(n) for n in range(200)]
        assert r.get("moving") == "asked"
    finally:
        r.delete("moving", "{moving}list")
        for client in (here, there):
            client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", source)
        assert r.get("moving") is None
