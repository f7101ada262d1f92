"""Append-only files of nodes as processes: with genuine servers both ways, live, torn, killed, on disks that fail."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from cluster.resp.encode import encode_request
from node import check
from tests.conftest import Server, child_environment, find_free_port
from tests.system.test_rdb_files import PATIENCE, REDIS, eventually, fill, shape

AOF = ("--appendonly", "yes")
NAME = "appendonly.aof"


@pytest.fixture
def serving(started: Callable[..., Server]) -> Callable[..., Server]:
    """`started`, with an append-only file."""
    return lambda kind, folder, *directives: started(kind, folder, *AOF, *directives)


def aof(client: redis.Redis, field: str) -> object:
    """One field of INFO persistence."""
    return client.info("persistence")[f"aof_{field}"]


def rewritten(client: redis.Redis, server: Server) -> None:
    """Rewrite, and wait until that is done."""
    client.bgrewriteaof()
    eventually(lambda: not aof(client, "rewrite_in_progress"), server)
    assert aof(client, "last_bgrewrite_status") == "ok"


def files(folder: Path) -> list[str]:
    """The names in the set's folder."""
    return sorted(os.listdir(folder / "appendonlydir"))


def shut(server: Server, client: redis.Redis) -> None:
    """SHUTDOWN, and wait for the end."""
    client.shutdown(nosave=True)
    server.process.wait(PATIENCE)


def change(client: redis.Redis) -> None:
    """Effects that are not what came in, transactions, scripts, other databases."""
    client.set("volatile", "x", ex=1000)
    client.incrbyfloat("float", 1.5)
    client.xadd("stream3", {"f": "v"})
    client.spop("set200", 5)
    pipe = client.pipeline(transaction=True)
    pipe.set("in multi", "1")
    pipe.rpush("list3", *range(5))
    pipe.execute()
    client.eval("redis.call('set', 'by script', 1) redis.call('incr', 'by script') redis.call('select', 5) "
                "redis.call('set', 'elsewhere', 1)", 0)  # fmt: skip
    client.delete("plain")


@pytest.mark.parametrize("rewrite", [False, True])
@pytest.mark.parametrize("source", ["oracle", "redis"])
def test_files_of_genuine_servers_load_here(
    source: str, rewrite: bool, serving: Callable[..., Server], tmp_path: Path
) -> None:
    """A set of Valkey 9.1 and of Redis 7.0, as commands alone and with a base that holds data."""
    if source == "redis" and REDIS is None:
        pytest.skip("no Redis on this machine")
    server = serving(source, tmp_path / "data", "--aof-timestamp-enabled", "yes")
    there = server.client()
    fill(there, 11, field_times=source == "oracle")
    if rewrite:
        rewritten(there, server)
    change(there)
    expected = shape(there)
    shut(server, there)
    here = serving("node", tmp_path / "data").client()
    found = shape(here)
    assert found.keys() == expected.keys()
    for place, value in expected.items():
        assert found[place][:3] == value[:3], place
    assert here.fcall("f", 0) == 1
    assert here.info("persistence")["rdb_changes_since_last_save"] == 0


@pytest.mark.parametrize("form", ["appended", "rdb", "commands"])
def test_our_files_load_in_genuine_valkey(form: str, serving: Callable[..., Server], tmp_path: Path) -> None:
    """The set that we wrote is taken by Valkey 9.1, and by ourselves again."""
    folder = tmp_path / "data"
    preamble = "no" if form == "commands" else "yes"
    server = serving("node", folder, "--aof-timestamp-enabled", "yes", "--aof-use-rdb-preamble", preamble)
    here = server.client()
    fill(here, 12, field_times=True)
    if form != "appended":
        rewritten(here, server)
        assert f"{NAME}.2.base.{'aof' if form == 'commands' else 'rdb'}" in files(folder)
    change(here)
    expected = shape(here)
    server.kill()
    assert check.main([str(folder / "appendonlydir")]) == 0
    shutil.copytree(folder, tmp_path / "copy")
    again = serving("node", folder).client()
    assert shape(again) == expected
    there = serving("oracle", tmp_path / "copy").client()
    assert shape(there) == expected
    assert there.fcall("f", 0) == 1


def test_the_single_file_of_old_servers_is_brought_over(serving: Callable[..., Server], tmp_path: Path) -> None:
    """`appendonly.aof` in `dir`, with an RDB part and commands behind it, becomes the base of a set."""
    source = serving("oracle", tmp_path / "there")
    there = source.client()
    there.mset({f"key{i}": i for i in range(100)})
    there.config_set("appendonly", "no")
    there.save()
    folder = tmp_path / "here"
    folder.mkdir()
    tail = encode_request([b"SELECT", b"0"]) + encode_request([b"SET", b"behind", b"1"])
    (folder / NAME).write_bytes((tmp_path / "there" / "dump.rdb").read_bytes() + tail)
    server = serving("node", folder)
    here = server.client()
    assert (here.dbsize(), here.get("behind"), here.get("key7")) == (101, b"1", b"7")
    assert files(folder) == [NAME, f"{NAME}.1.incr.aof", f"{NAME}.manifest"]
    assert not (folder / NAME).exists()
    rewritten(here, server)
    assert files(folder) == [f"{NAME}.2.base.rdb", f"{NAME}.2.incr.aof", f"{NAME}.manifest"]
    here.set("late", "1")
    server.kill()
    assert serving("node", folder).client().dbsize() == 102


def test_an_rdb_file_is_loaded_where_there_is_no_append_only_file(
    serving: Callable[..., Server], tmp_path: Path
) -> None:
    """A node that is started with appendonly yes for the first time keeps its data; a set wins over an RDB file."""
    folder = tmp_path / "data"
    server = serving("node", folder, "--appendonly", "no")
    client = server.client()
    client.set("a", "rdb")
    client.save()
    server.kill()
    server = serving("node", folder)
    client = server.client()
    assert client.get("a") == b"rdb"
    client.set("a", "aof")
    server.kill()
    assert serving("node", folder).client().get("a") == b"aof"


def test_switched_on_and_off_live(serving: Callable[..., Server], tmp_path: Path) -> None:
    """What was there before, and what comes while the base is made, is in the set; off, nothing more is written."""
    folder = tmp_path / "data"
    server = serving("node", folder, "--appendonly", "no")
    client = server.client()
    client.execute_command("DEBUG", "POPULATE", 5000)
    client.config_set("appendonly", "yes")
    assert aof(client, "enabled") == 1
    client.mset({f"after{i}": i for i in range(100)})
    eventually(lambda: not aof(client, "rewrite_in_progress"), server)
    client.set("last", "1")
    shutil.copytree(folder, tmp_path / "on")
    client.config_set("appendonly", "no")
    client.set("not kept", "1")
    assert aof(client, "enabled") == 0
    client.config_set("appendonly", "yes")
    eventually(lambda: not aof(client, "rewrite_in_progress"), server)
    assert len(files(folder)) == 3
    server.kill()
    assert serving("node", tmp_path / "on").client().dbsize() == 5101
    assert serving("node", folder).client().dbsize() == 5102


def test_it_can_not_be_switched_on_without_a_folder(serving: Callable[..., Server], tmp_path: Path) -> None:
    """CONFIG SET says so, and nothing has changed."""
    folder = tmp_path / "data"
    client = serving("node", folder, "--appendonly", "no").client()
    (folder / "appendonlydir").write_bytes(b"")
    with pytest.raises(redis.ResponseError, match="Unable to turn on AOF"):
        client.config_set("appendonly", "yes")
    assert client.config_get("appendonly") == {"appendonly": "no"}
    client.set("a", "1")


def write_steadily(port: int, acknowledged: list[float], stop: threading.Event) -> None:
    """Set keys 0, 1, ... and note when each was acknowledged, until the server is gone or told to stop."""
    client = redis.Redis(port=port, socket_timeout=PATIENCE)
    number = 0
    with contextlib.suppress(redis.RedisError, OSError):
        while not stop.is_set():
            client.set(f"n:{number}", number)
            acknowledged.append(time.monotonic())
            number += 1


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6))])
@pytest.mark.parametrize("policy", ["always", "everysec", "no"])
def test_sigkill_loses_nothing_that_was_acknowledged(
    policy: str, seed: int, serving: Callable[..., Server], tmp_path: Path
) -> None:
    """Under writes, with rewrites one after the other; what the system has taken over survives the process.

    With everysec what waits for a sync that is under way has not been taken over: at most the last second.
    """
    rng = random.Random(seed)
    folder = tmp_path / "data"
    server = serving("node", folder, "--appendfsync", policy)
    client = server.client()
    client.execute_command("DEBUG", "POPULATE", 3000)
    rewritten(client, server)  # DEBUG POPULATE is not propagated
    acknowledged: list[float] = []
    stop = threading.Event()
    writer = threading.Thread(target=write_steadily, args=(server.port, acknowledged, stop))
    writer.start()
    until = time.monotonic() + rng.uniform(0.2, 0.8)
    while time.monotonic() < until:
        with contextlib.suppress(redis.ResponseError):
            client.bgrewriteaof()
        time.sleep(rng.uniform(0, 0.05))
    killed = time.monotonic()
    server.kill()
    writer.join()
    again = serving("node", folder).client()
    kept = again.mget([f"n:{number}" for number in range(len(acknowledged))])
    missing = [number for number, value in enumerate(kept) if value != b"%d" % number]
    assert missing == list(range(len(acknowledged) - len(missing), len(acknowledged))), seed
    assert not missing or (policy == "everysec" and acknowledged[missing[0]] > killed - 1), (seed, missing)
    assert 0 <= again.dbsize() - 3000 - len(acknowledged) + len(missing) <= 1


def test_a_rewrite_under_writes_keeps_all(serving: Callable[..., Server], tmp_path: Path) -> None:
    """Changes of keys that the snapshot has passed and has not, FLUSHDB and SWAPDB in the middle."""
    folder = tmp_path / "data"
    server = serving("node", folder)
    client = server.client()
    rng = random.Random(5)
    client.execute_command("DEBUG", "POPULATE", 20_000)
    client.bgrewriteaof()
    for round in range(40):
        pipe = client.pipeline(transaction=False)
        for _ in range(50):
            pipe.append(f"key:{rng.randrange(20_000)}", "+")
            pipe.delete(f"key:{rng.randrange(20_000)}")
            pipe.rpush("list", rng.random())
        if round == 20:
            pipe.execute_command("SWAPDB", 0, 1)
            pipe.mset({f"new{i}": i for i in range(500)})
        pipe.execute()
    expected = client.execute_command("DEBUG", "DIGEST")
    eventually(lambda: not aof(client, "rewrite_in_progress"), server)
    server.kill()
    assert serving("node", folder).client().execute_command("DEBUG", "DIGEST") == expected


def test_a_torn_end_is_cut_wherever_it_is(serving: Callable[..., Server], tmp_path: Path) -> None:
    """At some bytes of the last command, and inside a transaction, of which nothing is kept then."""
    folder = tmp_path / "data"
    server = serving("node", folder)
    server.client().set("whole", "1")
    server.kill()
    path = folder / "appendonlydir" / f"{NAME}.1.incr.aof"
    whole = path.read_bytes()
    last = encode_request([b"SET", b"torn", b"x"])
    opened = encode_request([b"MULTI"]) + encode_request([b"SET", b"torn", b"x"])
    for tail in (last[:1], last[:-1], last[: len(last) // 2], opened, opened + last[:-3]):
        path.write_bytes(whole + tail)
        server = serving("node", folder)
        assert server.client().keys() == [b"whole"]
        assert "the end was cut off" in server.log.read_text()
        server.kill()
        assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("damage", "directives"),
    [("torn", ("--aof-load-truncated", "no")), ("middle", ()), ("unknown", ()), ("missing", ()), ("manifest", ()),
     ("torn base", ())],
)  # fmt: skip
def test_what_can_not_be_loaded_stops_the_start(damage: str, directives: tuple[str, ...], tmp_path: Path) -> None:
    """The file, the offset, what to do; nothing is changed on disk."""
    folder = tmp_path / "appendonlydir"
    folder.mkdir()
    command = encode_request([b"SET", b"a", b"1"])
    contents = {
        f"{NAME}.1.base.aof": command[:-1] if damage == "torn base" else command,
        f"{NAME}.1.incr.aof": {
            "torn": command + command[:-1], "middle": command + b"garbage\r\n" + command,
            "unknown": encode_request([b"NOSUCH", b"a"]),
        }.get(damage, command),
        f"{NAME}.manifest": f"file {NAME}.1.base.aof seq 1 type b\nfile {NAME}.1.incr.aof seq 1 type i\n".encode(),
    }  # fmt: skip
    if damage == "missing":
        del contents[f"{NAME}.1.base.aof"]
    if damage == "manifest":
        contents[f"{NAME}.manifest"] = b"nonsense\n"
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    command_line = [sys.executable, "-m", "node", "--port", str(find_free_port()), "--dir", str(tmp_path), *AOF]
    done = subprocess.run(
        [*command_line, *directives],
        env=child_environment(), capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert "can't be loaded" in said and "kvorum check" in said and "Traceback" not in said
    assert {name: (folder / name).read_bytes() for name in contents} == contents


def test_a_disk_that_fails_refuses_writes_until_it_is_well(serving: Callable[..., Server], tmp_path: Path) -> None:
    """MISCONF while the file can't grow, its state in INFO, and nothing torn or lost once it can."""
    folder = tmp_path / "data"
    server = serving("node", folder)
    client = server.client()
    client.set("a", "1")
    limit = f"--pid={server.pid}"
    subprocess.run(["prlimit", limit, "--fsize=1000:unlimited"], check=True)
    for _ in range(5):
        with contextlib.suppress(redis.ResponseError):
            client.set("big", "x" * 400)
    eventually(lambda: aof(client, "last_write_status") == "err", server)
    with pytest.raises(redis.ResponseError, match=r"^MISCONF Errors writing to the AOF file: File too large"):
        client.set("b", "1")
    assert client.get("a") == b"1"
    subprocess.run(["prlimit", limit, "--fsize=unlimited:unlimited"], check=True)
    eventually(lambda: aof(client, "last_write_status") == "ok", server)
    client.set("b", "2")
    expected = client.execute_command("DEBUG", "DIGEST")
    server.kill()
    assert serving("node", folder).client().execute_command("DEBUG", "DIGEST") == expected


def test_with_always_the_node_ends_rather_than_promise(serving: Callable[..., Server], tmp_path: Path) -> None:
    """A write that can't be brought to the disk is never acknowledged."""
    folder = tmp_path / "data"
    server = serving("node", folder, "--appendfsync", "always")
    client = server.client()
    client.set("a", "1")
    subprocess.run(["prlimit", f"--pid={server.pid}", "--fsize=100:unlimited"], check=True)
    with pytest.raises(redis.ConnectionError):
        client.set("b", "x" * 400)
    assert server.process.wait(PATIENCE) == 1
    assert serving("node", folder).client().get("a") == b"1"


def test_a_rewrite_that_fails_leaves_the_set(serving: Callable[..., Server], tmp_path: Path) -> None:
    """Its status, nothing lost, and the next one succeeds."""
    folder = tmp_path / "data"
    server = serving("node", folder)
    client = server.client()
    client.mset({f"k{i}": "x" * 100 for i in range(5000)})
    limit = f"--pid={server.pid}"
    client.execute_command("DEBUG", "POPULATE", 100)
    subprocess.run(["prlimit", limit, "--fsize=50000:unlimited"], check=True)
    client.config_set("rdbcompression", "no")
    client.bgrewriteaof()
    eventually(lambda: not aof(client, "rewrite_in_progress"), server)
    assert aof(client, "last_bgrewrite_status") == "err"
    client.set("meanwhile", "1")
    subprocess.run(["prlimit", limit, "--fsize=unlimited:unlimited"], check=True)
    shutil.copytree(folder, tmp_path / "copy")
    rewritten(client, server)
    assert len(files(folder)) == 3
    server.kill()
    assert serving("node", tmp_path / "copy").client().get("meanwhile") == b"1"
    assert serving("node", folder).client().dbsize() == 5101


def test_it_is_rewritten_when_it_has_grown(serving: Callable[..., Server], tmp_path: Path) -> None:
    """By auto-aof-rewrite-percentage and auto-aof-rewrite-min-size."""
    folder = tmp_path / "data"
    server = serving("node", folder, "--auto-aof-rewrite-min-size", "10000")
    client = server.client()
    pipe = client.pipeline()
    for _ in range(200):
        pipe.set("same", "x" * 100)
    pipe.execute()  # a transaction, so that the file is rewritten behind all of it
    eventually(lambda: int(str(aof(client, "current_size"))) < 10_000, server)
    assert int(str(aof(client, "rewrites"))) == 1
    client.config_set("auto-aof-rewrite-percentage", 0)


def test_waitaof_with_a_replica(serving: Callable[..., Server], tmp_path: Path) -> None:
    """It answers once the write is on both disks; the replica's own file holds the same data."""
    server = serving("node", tmp_path / "primary")
    client = server.client()
    client.set("before", "1")
    other = serving("node", tmp_path / "replica", "--replicaof", f"127.0.0.1 {server.port}")
    replica = other.client()
    eventually(lambda: replica.info("replication")["master_link_status"] == "up", other)
    eventually(lambda: not aof(replica, "rewrite_in_progress"), other)
    pipe = client.pipeline(transaction=True)
    pipe.set("a", "1")
    pipe.expire("a", 1000)
    pipe.execute()
    client.select(3)
    client.eval("redis.call('set', KEYS[1], 1) redis.call('incr', KEYS[1])", 1, "s")
    assert client.execute_command("WAITAOF", 1, 1, 20_000) == [1, 1]
    digest = client.execute_command("DEBUG", "DIGEST")
    other.kill()
    alone = serving("node", tmp_path / "replica").client()
    assert alone.execute_command("DEBUG", "DIGEST") == digest


def test_waitaof_between_us_and_genuine_valkey(serving: Callable[..., Server], tmp_path: Path) -> None:
    """In both directions."""
    for primary, follower in (("node", "oracle"), ("oracle", "node")):
        server = serving(primary, tmp_path / f"{primary}-p")
        other = serving(follower, tmp_path / f"{follower}-r", "--replicaof", f"127.0.0.1 {server.port}")
        replica, client = other.client(), server.client()
        eventually(lambda: replica.info("replication")["master_link_status"] == "up", other)  # noqa: B023
        client.set("a", "1")
        assert client.execute_command("WAITAOF", 1, 1, 20_000) == [1, 1]


def test_set_repl_decides_what_the_file_gets(serving: Callable[..., Server], tmp_path: Path) -> None:
    """What a script keeps from the file is gone after a restart, what it keeps from replicas is there."""
    folder = tmp_path / "data"
    server = serving("node", folder)
    server.client().eval(
        "redis.set_repl(redis.REPL_AOF) redis.call('set', 'aof', 1) redis.set_repl(redis.REPL_REPLICA) "
        "redis.call('set', 'replica', 1) redis.set_repl(redis.REPL_NONE) redis.call('set', 'none', 1) "
        "redis.set_repl(redis.REPL_ALL) redis.call('set', 'all', 1)",
        0,
    )
    server.client().set("after", "1")
    server.kill()
    assert sorted(serving("node", folder).client().keys()) == [b"after", b"all", b"aof"]


def test_replies_are_those_of_valkey(serving: Callable[..., Server], tmp_path: Path) -> None:
    """BGREWRITEAOF, WAITAOF and the options answer what genuine Valkey answers."""
    requests = [
        b"BGREWRITEAOF x", b"MULTI", b"SET q 1", b"EXEC", b"WAITAOF 1 0 0", b"WAITAOF 2 0 0", b"WAITAOF -1 0 0",
        b"WAITAOF 0 -1 0", b"WAITAOF x 0 0", b"WAITAOF 0 x 0", b"WAITAOF 0 0 -1", b"WAITAOF 0 0 x", b"WAITAOF 1 5 10",
        b"WAITAOF 0 0", b"MULTI", b"WAITAOF 1 1 0", b"EXEC", b"CONFIG SET appendfsync x",
        b"CONFIG SET appendfilename x", b"CONFIG SET appenddirname x", b"CONFIG SET appendonly x",
        b"CONFIG SET appendonly no", b"WAITAOF 1 0 0", b"WAITAOF 0 0 0", b"CONFIG GET append*",
        b"EVAL \"return redis.call('waitaof', 1, 0, 0)\" 0", b"EVAL \"return redis.call('bgrewriteaof')\" 0",
        b"BGREWRITEAOF", b"BGREWRITEAOF", b"REPLICAOF 127.0.0.1 1", b"WAITAOF 0 0 0",
    ]  # fmt: skip
    answers: list[bytes] = []
    for kind in ("node", "oracle"):
        with serving(kind, tmp_path / kind).connect() as link:
            link.sendall(b"\r\n".join(requests) + b"\r\nQUIT\r\n")
            answers.append(b"".join(iter(lambda: link.recv(65536), b"")))
    assert answers[0].split(b"\r\n") == answers[1].split(b"\r\n")


def test_info_has_the_fields_of_valkey(serving: Callable[..., Server], tmp_path: Path) -> None:
    """The same fields about the file, whether it is on or off; DEBUG LOADAOF answers OK and changes nothing."""
    server = serving("node", tmp_path / "node")
    ours, theirs = server.client(), serving("oracle", tmp_path / "oracle").client()
    for wanted in ("yes", "no"):
        fields = []
        for client in (ours, theirs):
            client.config_set("appendonly", wanted)
            fields.append({name for name in client.info("persistence") if name.startswith("aof_")})
        assert fields[0] == fields[1]
    ours.config_set("appendonly", "yes")
    eventually(lambda: not aof(ours, "rewrite_in_progress"), server)
    ours.mset({"a": "1", "b": "2"})
    digest = ours.execute_command("DEBUG", "DIGEST")
    assert ours.execute_command("DEBUG", "LOADAOF") == b"OK"
    assert ours.execute_command("DEBUG", "DIGEST") == digest


@pytest.mark.parametrize("kind", ["node", "oracle"])
def test_waitaof_ends_when_the_file_is_switched_off(kind: str, serving: Callable[..., Server], tmp_path: Path) -> None:
    """Who waits for a disk that will not come gets the error; with `appendfsync no` nothing is synced meanwhile."""
    server = serving(kind, tmp_path / "data", "--appendfsync", "no")
    client = server.client()
    with server.connect() as link:
        link.sendall(b"SET a 1\r\nWAITAOF 1 0 0\r\n")
        eventually(lambda: client.info("clients")["blocked_clients"] == 1, server)
        client.config_set("appendonly", "no")
        expected = b"+OK\r\n-ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.\r\n"
        link.settimeout(PATIENCE)
        said = b""
        while len(said) < len(expected):
            said += link.recv(65536)
        assert said == expected
