"""RDB files of nodes as processes: with genuine servers both ways, at the end and at the start, and when disks fail."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from tests.conftest import Server, child_environment, find_free_port, start_server

REDIS = shutil.which("redis-server")
PATIENCE = 30.0


def eventually(holds: Callable[[], bool], server: Server) -> None:
    """Wait for what no event tells."""
    until = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < until, server.log.read_text(errors="replace")[-3000:]
        time.sleep(0.02)


def idle(client: redis.Redis) -> bool:
    """Whether no save runs."""
    return client.info("persistence")["rdb_bgsave_in_progress"] == 0


def fill(client: redis.Redis, seed: int, field_times: bool) -> None:
    """Values of every type and encoding; deterministic, so that two servers hold the same."""
    rng = random.Random(seed)
    now = 4_000_000_000_000
    for dbid in (0, 5):
        client.select(dbid)
        pipe = client.pipeline(transaction=False)
        strings = (b"", b"1", b"-129", b"40000", b"-2147483648", b"99999999999", b"text", b"ab" * 4000)
        for i, value in enumerate(strings):
            pipe.set(b"string%d" % i, value)
        pipe.set(b"volatile", b"x", pxat=now)
        pipe.set(b"random", rng.randbytes(50_000))
        for size in (3, 200, 3000):
            words = [b"%d-%s" % (i, rng.randbytes(rng.randrange(30)).hex().encode()) for i in range(size)]
            pipe.rpush(b"list%d" % size, *words)
            pipe.sadd(b"set%d" % size, *words)
            pipe.sadd(b"ints%d" % size, *range(-size, size))
            pipe.hset(b"hash%d" % size, mapping={word: word[::-1] for word in words})
            scores = [rng.choice([1.5, -3, 7e300, float("inf"), i]) for i in range(size)]
            pipe.zadd(b"zset%d" % size, dict(zip(words, scores, strict=True)))
            for i in range(size // 3):
                pipe.xadd(b"stream%d" % size, {b"f": words[i], b"g%d" % (i % 3): b"x"}, id=b"%d-1" % (i + 1))
            pipe.xgroup_create(b"stream%d" % size, b"group", b"0")
            pipe.xgroup_create(b"stream%d" % size, b"idle", b"$")
            pipe.xdel(b"stream%d" % size, b"1-1")
            pipe.expireat(b"list%d" % size, now // 1000)
        pipe.rpush(b"plain", b"small", b"x" * 20_000, b"y")
        pipe.pfadd(b"hll", *range(500))
        pipe.geoadd(b"geo", [13.36, 38.11, b"Palermo"])
        pipe.setbit(b"bits", 70_000, 1)
        if field_times:
            pipe.execute_command("HPEXPIREAT", b"hash3", now, "FIELDS", 1, next(iter(words)))
            pipe.hset(b"timed", mapping={b"a": b"1", b"b": b"2"})
            pipe.execute_command("HPEXPIREAT", b"timed", now, "FIELDS", 1, b"a")
        pipe.execute()
    client.select(0)
    client.function_load("#!lua name=lib\nredis.register_function('f', function() return 1 end)")


def held(client: redis.Redis, key: bytes, kind: bytes) -> object:
    """What a key holds, as something that can be compared between servers."""
    if kind == b"stream":
        return (client.xrange(key), client.xinfo_groups(key), client.xinfo_stream(key)["last-generated-id"])
    if kind == b"zset":
        return client.zrange(key, 0, -1, withscores=True)
    return client.execute_command("DEBUG", "DIGEST-VALUE", key)


def shape(client: redis.Redis) -> dict[tuple[int, bytes], tuple[object, ...]]:
    """Content, type, expiry and encoding of each key."""
    found: dict[tuple[int, bytes], tuple[object, ...]] = {}
    for dbid in (0, 5):
        client.select(dbid)
        for key in client.scan_iter(count=1000):
            kind = client.type(key)
            found[dbid, key] = (held(client, key, kind), kind, client.pexpiretime(key), client.object("ENCODING", key))
    client.select(0)
    return found


def moved(source: Path, target: Path) -> None:
    """Put the RDB file of one server into the folder of another."""
    target.mkdir(exist_ok=True)
    shutil.copy(source / "dump.rdb", target / "dump.rdb")


def test_a_file_of_genuine_valkey_loads_here(started: Callable[..., Server], tmp_path: Path) -> None:
    """What genuine Valkey saved is here as it was there: digests, encodings, expiry, groups, functions."""
    there = started("oracle", tmp_path / "there").client()
    fill(there, 1, field_times=True)
    there.save()
    moved(tmp_path / "there", tmp_path / "here")
    here = started("node", tmp_path / "here").client()
    assert shape(here) == shape(there)
    assert here.fcall("f", 0) == 1
    info = here.info("persistence")
    assert info["rdb_last_load_keys_loaded"] == sum(entry["keys"] for entry in here.info("keyspace").values())
    assert info["rdb_changes_since_last_save"] == 0


@pytest.mark.parametrize("how", ["SAVE", "BGSAVE", "SHUTDOWN"])
def test_our_file_loads_in_genuine_valkey(how: str, started: Callable[..., Server], tmp_path: Path) -> None:
    """What we saved, in whatever way, is in genuine Valkey as it was here."""
    node = started("node", tmp_path / "here")
    here = node.client()
    fill(here, 2, field_times=True)
    expected = shape(here)
    if how == "SHUTDOWN":
        here.shutdown(save=True)
        node.process.wait(PATIENCE)
    else:
        here.execute_command(how)
        eventually(lambda: idle(here), node)
    assert sorted(os.listdir(tmp_path / "here")) == ["dump.rdb", "log"]
    moved(tmp_path / "here", tmp_path / "there")
    there = started("oracle", tmp_path / "there").client()
    assert shape(there) == expected
    assert there.fcall("f", 0) == 1


@pytest.mark.skipif(REDIS is None, reason="no Redis on this machine")
def test_a_file_of_redis_loads_here(started: Callable[..., Server], tmp_path: Path) -> None:
    """What Redis 7.0 saved is here as it was there; small sets get the listpack that it does not know."""
    there = started("redis", tmp_path / "there").client()
    fill(there, 3, field_times=False)
    there.save()
    moved(tmp_path / "there", tmp_path / "here")
    here = started("node", tmp_path / "here").client()
    theirs, ours = shape(there), shape(here)
    assert theirs.keys() == ours.keys()
    for place, value in theirs.items():
        assert ours[place][:3] == value[:3], place


@pytest.mark.skipif(REDIS is None, reason="no Redis on this machine")
@pytest.mark.parametrize("big", [False, True])
def test_redis_reads_our_snapshot(big: bool, started: Callable[..., Server], tmp_path: Path) -> None:
    """Redis 7.0 follows a node: the snapshot of its full sync is one that this old server reads."""
    node = started("node", tmp_path / "here")
    here = node.client()
    fill(here, 6, field_times=True)
    if big:  # a listpack that is written in pieces, and a stream that is
        here.config_set("set-max-listpack-value", 100_000)
        here.sadd("packed", *[f"{i}" * 3000 for i in range(9)])
    there = started("redis", tmp_path / "there", "--replicaof", f"127.0.0.1 {node.port}").client()
    eventually(lambda: there.info("replication")["master_link_status"] == "up", node)
    ours, theirs = shape(here), shape(there)
    assert ours.keys() == theirs.keys()
    for place, value in ours.items():
        if value[1] != b"hash" or here.object("ENCODING", place[1]) is None:
            assert theirs[place][:3] == value[:3], place
    assert there.hgetall("hash200") == here.hgetall("hash200")
    assert there.hgetall("timed") == here.hgetall("timed")
    assert there.function_list()[0][1] == b"lib"


def test_access_clocks_survive(started: Callable[..., Server], tmp_path: Path) -> None:
    """With an LFU policy the counters are saved, here and there, and come back."""
    node = started("node", tmp_path / "here", "--maxmemory-policy", "allkeys-lfu")
    here = node.client()
    here.set("k", "v")
    dumped = here.dump("k")
    here.delete("k")
    here.execute_command("RESTORE", "k", 0, dumped, "FREQ", 90)
    here.save()
    moved(tmp_path / "here", tmp_path / "there")
    for kind, folder in (("oracle", "there"), ("node", "there")):
        again = started(kind, tmp_path / folder, "--maxmemory-policy", "allkeys-lfu").client()
        assert 85 <= again.object("FREQ", "k") <= 91


def test_save_points_save_and_can_be_changed(started: Callable[..., Server], tmp_path: Path) -> None:
    """A point that is reached writes a file, one that CONFIG SET has brought too, and none after `save ""`."""
    node = started("node", tmp_path / "here", "--save", "3600 1000000")
    client = node.client()
    path = tmp_path / "here" / "dump.rdb"
    client.set("a", "1")
    assert client.info("persistence")["rdb_changes_since_last_save"] == 1
    client.config_set("save", "1 1")
    eventually(path.exists, node)
    eventually(lambda: client.info("persistence")["rdb_changes_since_last_save"] == 0 and idle(client), node)
    info = client.info("persistence")
    assert (info["rdb_saves"], info["rdb_last_bgsave_status"], info["rdb_last_bgsave_time_sec"]) == (1, "ok", 0)
    assert info["rdb_last_save_time"] == int(client.execute_command("LASTSAVE").timestamp())
    client.config_set("save", "")
    path.unlink()
    node.stop()
    assert not path.exists()


def test_the_end_saves_where_there_are_save_points(started: Callable[..., Server], tmp_path: Path) -> None:
    """SIGTERM and SHUTDOWN save with save points, and what was saved is there at the next start."""
    folder = tmp_path / "here"
    for turn, end in enumerate((lambda n: n.stop(), lambda n: n.client().shutdown())):
        node = started("node", folder, "--save", "3600 1")
        client = node.client()
        assert client.dbsize() == turn
        client.set(f"key{turn}", "x")
        end(node)
        node.process.wait(PATIENCE)
        assert node.process.returncode == 0
    node = started("node", folder, "--save", "3600 1")
    node.client().set("lost", "x")
    node.client().shutdown(nosave=True)
    assert started("node", folder).client().dbsize() == 2


def test_a_disk_that_fails_is_told_and_the_old_file_stays(started: Callable[..., Server], tmp_path: Path) -> None:
    """A save that can't be written: status err, MISCONF for writes and PING, no SHUTDOWN, until the disk is well."""
    folder = tmp_path / "here"
    node = started("node", folder, "--save", "3600 1", "--enable-protected-configs", "yes")
    client = node.client()
    client.set("a", "1")
    client.save()
    before = (folder / "dump.rdb").read_bytes()
    client.config_set("dir", "/proc")  # nobody can write there
    client.bgsave()
    eventually(lambda: idle(client), node)
    assert client.info("persistence")["rdb_last_bgsave_status"] == "err"
    for words in (("SET", "a", "2"), ("PING",), ("EVAL", "return redis.call('set', KEYS[1], 'x')", 1, "a")):
        with pytest.raises(redis.ResponseError, match=r"^MISCONF Valkey is configured to save RDB snapshots"):
            client.execute_command(*words)
    assert client.get("a") == b"1"
    with pytest.raises(redis.ResponseError, match="Errors trying to SHUTDOWN"):
        client.execute_command("SHUTDOWN")
    client.config_set("stop-writes-on-bgsave-error", "no")
    client.set("a", "2")
    client.config_set("stop-writes-on-bgsave-error", "yes")
    with pytest.raises(redis.ResponseError, match=r"^MISCONF"):
        client.set("a", "3")
    client.config_set("dir", str(folder))
    assert (folder / "dump.rdb").read_bytes() == before
    client.save()
    client.set("a", "3")
    assert client.info("persistence")["rdb_last_bgsave_status"] == "ok"


def test_a_full_disk_leaves_the_old_file(started: Callable[..., Server], tmp_path: Path) -> None:
    """A file that hits the limit on file sizes half-way is dropped; the one before stays, nothing is left beside it."""
    folder = tmp_path / "here"
    node = started("node", folder)
    client = node.client()
    client.set("a", "1")
    client.save()
    before = (folder / "dump.rdb").read_bytes()
    client.execute_command("DEBUG", "POPULATE", 40_000, "key", 100)
    limit = 1_000_000
    subprocess.run(["prlimit", f"--pid={node.pid}", f"--fsize={limit}:{limit}"], check=True)
    client.bgsave()
    eventually(lambda: idle(client), node)
    assert client.info("persistence")["rdb_last_bgsave_status"] == "err"
    with pytest.raises(redis.ResponseError):
        client.save()
    assert (folder / "dump.rdb").read_bytes() == before
    assert [name for name in os.listdir(folder) if name.startswith("temp-")] == []


def test_progress_and_cancelling(started: Callable[..., Server], tmp_path: Path) -> None:
    """BGSAVE shows how far it is, refuses a second one, and is cancelled without a trace."""
    folder = tmp_path / "here"
    node = started("node", folder)
    client = node.client()
    client.execute_command("DEBUG", "POPULATE", 50_000, "key", 50)
    client.bgsave()
    with pytest.raises(redis.ResponseError, match="Background save already in progress"):
        client.bgsave()
    seen = client.info("persistence")
    assert seen["rdb_bgsave_in_progress"] == 1
    assert 0 <= seen["current_save_keys_processed"] <= seen["current_save_keys_total"] == 50_000
    assert seen["rdb_current_bgsave_time_sec"] >= 0
    client.execute_command("BGSAVE", "CANCEL")
    assert client.info("persistence")["rdb_last_bgsave_status"] == "ok"
    eventually(lambda: not any(name.startswith("temp-") for name in os.listdir(folder)), node)
    assert not (folder / "dump.rdb").exists()
    client.bgsave()
    eventually(lambda: idle(client), node)
    assert (folder / "dump.rdb").exists()
    assert client.info("persistence")["current_save_keys_total"] == 0


@pytest.mark.parametrize("seed", range(3))
def test_sigkill_during_a_save_leaves_the_old_file(seed: int, started: Callable[..., Server], tmp_path: Path) -> None:
    """At whatever instant of a save the process dies, the file on disk is whole: the old one or the new one."""
    rng = random.Random(seed)
    folder = tmp_path / "here"
    node = started("node", folder)
    client = node.client()
    client.set("generation", "old")
    client.save()
    client.execute_command("DEBUG", "POPULATE", 20_000, "key", 50)
    client.set("generation", "new")
    client.bgsave()
    share = rng.random() * 20_000
    while True:
        seen = client.info("persistence")
        if not seen["rdb_bgsave_in_progress"] or seen["current_save_keys_processed"] > share:
            break
    node.kill()
    again = started("node", folder).client()
    assert (again.get("generation"), again.dbsize()) in ((b"old", 1), (b"new", 20_001))


def test_clients_are_told_that_the_node_loads(tmp_path: Path) -> None:
    """While a file is loaded INFO tells how far, and what needs data is answered LOADING."""
    folder = tmp_path / "here"
    folder.mkdir()
    port = find_free_port()
    command = [sys.executable, "-m", "node", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder),
               "--save", "", "--enable-debug-command", "yes"]
    node = start_server(command, folder, port)
    client = node.client()
    client.execute_command("DEBUG", "POPULATE", 60_000, "key", 20)
    client.save()
    node.kill()
    process = subprocess.Popen(command, cwd=folder, env=child_environment(), stderr=subprocess.DEVNULL)
    again = Server("127.0.0.1", port, process, folder / "log")
    try:
        told = list(loading_answers(again))
        assert told[-1][0] == b":60000\r\n"
        refused = [info for answer, info in told if answer == b"-LOADING Valkey is loading the dataset in memory\r\n"]
        assert refused
        seen = dict(line.split(b":", 1) for line in refused[-1].splitlines() if b":" in line)
        assert seen[b"loading"] == b"1"
        assert int(seen[b"loading_total_bytes"]) == (folder / "dump.rdb").stat().st_size
        assert 0 <= int(seen[b"loading_loaded_bytes"]) <= int(seen[b"loading_total_bytes"])
        assert int(seen[b"rdb_last_load_keys_loaded"]) < 60_000
    finally:
        again.kill()


def loading_answers(server: Server) -> Iterator[tuple[bytes, bytes]]:
    """What DBSIZE and INFO answer, again and again, until DBSIZE is answered by a number."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        with contextlib.suppress(OSError), server.connect() as link, link.makefile("rb") as replies:
            while True:
                link.sendall(b"INFO persistence\r\n")
                info = replies.read(int(replies.readline()[1:]) + 2)
                link.sendall(b"DBSIZE\r\n")
                answer = replies.readline()
                yield answer, info
                if answer.startswith(b":"):
                    return


@pytest.mark.parametrize("damage", ["cut", "flipped", "foreign", "empty"])
def test_a_damaged_file_stops_the_start(damage: str, started: Callable[..., Server], tmp_path: Path) -> None:
    """The process ends with a reason, the offset and what to do; the file stays as it was."""
    folder = tmp_path / "here"
    node = started("node", folder)
    fill(node.client(), 4, field_times=True)
    node.client().save()
    node.kill()
    path = folder / "dump.rdb"
    data = bytearray(path.read_bytes())
    if damage == "cut":
        del data[len(data) // 2 :]
    elif damage == "flipped":
        data[len(data) // 2] ^= 0x41
    else:
        data[:] = b"PK\x03\x04 something else" if damage == "foreign" else b""
    path.write_bytes(data)
    command = [sys.executable, "-m", "node", "--port", str(find_free_port()), "--dir", str(folder), "--save", ""]
    ended = subprocess.run(
        command, cwd=folder, env=child_environment(), capture_output=True, timeout=PATIENCE, check=False
    )
    said = ended.stderr.decode()
    assert ended.returncode == 1
    assert str(path) in said and "offset" in said and "kvorum check" in said and "Traceback" not in said
    assert path.read_bytes() == data


def test_expired_keys_are_dropped_when_loaded(started: Callable[..., Server], tmp_path: Path) -> None:
    """A key whose time came while the node was down does not come back, and is counted."""
    folder = tmp_path / "here"
    node = started("node", folder)
    client = node.client()
    client.set("stays", "x")
    client.set("goes", "x", px=100)
    client.save()
    node.kill()
    time.sleep(0.15)  # its time has to come
    again = started("node", folder).client()
    assert again.keys() == [b"stays"]
    info = again.info("persistence")
    assert (info["rdb_last_load_keys_loaded"], info["rdb_last_load_keys_expired"]) == (1, 1)


def test_reload(started: Callable[..., Server], tmp_path: Path) -> None:
    """DEBUG RELOAD saves, empties and loads; NOSAVE takes what is on disk, MERGE adds to what is there."""
    client = started("node", tmp_path / "here").client()
    fill(client, 5, field_times=True)
    before = shape(client)
    client.execute_command("DEBUG", "RELOAD")
    assert shape(client) == before
    client.set("later", "x")
    client.execute_command("DEBUG", "RELOAD", "NOSAVE", "MERGE")
    assert client.get("later") == b"x"
    client.execute_command("DEBUG", "RELOAD", "NOSAVE")
    assert shape(client) == before
    with pytest.raises(redis.ResponseError, match="only supports the MERGE, NOFLUSH and NOSAVE options"):
        client.execute_command("DEBUG", "RELOAD", "NOW")


def test_options_of_the_file(started: Callable[..., Server], tmp_path: Path) -> None:
    """`dbfilename`, `rdbcompression` and `rdbchecksum` act; genuine Valkey reads each of these files."""
    folder = tmp_path / "here"
    sizes: list[int] = []
    for compression, checksum in (("yes", "yes"), ("no", "no")):
        options = ("--rdbcompression", compression, "--rdbchecksum", checksum)
        node = started("node", folder, "--dbfilename", "mine.rdb", *options)
        node.client().set("k", "ab" * 5000)
        node.client().save()
        data = (folder / "mine.rdb").read_bytes()
        sizes.append(len(data))
        assert (data[-8:] == bytes(8)) == (checksum == "no")
        node.kill()
        (tmp_path / compression).mkdir()
        shutil.copy(folder / "mine.rdb", tmp_path / compression / "dump.rdb")
        assert started("oracle", tmp_path / compression).client().get("k") == b"ab" * 5000
    assert sizes[0] < 1000 < 10_000 < sizes[1]


def test_replies_are_those_of_valkey(started: Callable[..., Server], tmp_path: Path) -> None:
    """SAVE, BGSAVE and LASTSAVE answer what genuine Valkey answers."""
    requests = [
        b"SAVE", b"SAVE x", b"BGSAVE x", b"BGSAVE SCHEDULE x", b"BGSAVE CANCEL", b"MULTI", b"BGSAVE",
        b"BGSAVE SCHEDULE", b"SAVE", b"EXEC", b"MULTI", b"BGSAVE", b"EXEC", b"BGSAVE CANCEL", b"BGSAVE CANCEL",
        b"LASTSAVE x",
        b"CONFIG SET save 1", b'CONFIG SET save "900 1 30 5"', b"CONFIG GET save", b'CONFIG SET save ""',
        b"CONFIG GET save", b"EVAL \"return redis.call('save')\" 0", b"EVAL \"return redis.call('bgsave')\" 0",
        b"BGSAVE",
    ]  # fmt: skip
    answers: list[bytes] = []
    for kind in ("node", "oracle"):
        with started(kind, tmp_path / kind).connect() as link:
            link.sendall(b"\r\n".join(requests) + b"\r\nQUIT\r\n")
            answers.append(b"".join(iter(lambda: link.recv(65536), b"")))
    assert answers[0].split(b"\r\n") == answers[1].split(b"\r\n")
