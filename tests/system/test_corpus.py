"""A corpus of every type, encoding and size, written by Redis 7.0, Valkey 9.1 and ourselves in every form of file: each
loads where it should, holds the same there, and each side's check tool takes the files of the other.

Valkey is the judge: it and a node get the same files, and every packed value must be the same bytes in both.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from node import check
from node.rdb.encode import dump
from node.rdb.file import RdbReader
from tests.conftest import Server, oracle_binary
from tests.system.corpus import DIRECTIVES, Contents, change, contents, difference, fill

REDIS = shutil.which("redis-server")
PATIENCE = 60.0
AOF = "appendonlydir/appendonly.aof.manifest"
Start = Callable[..., Server]

# Form of the file: directives, whether commands are executed again when it is loaded.
FORMS: dict[str, tuple[tuple[str, ...], bool]] = {
    "rdb": (("--appendonly", "no"), False),
    "plain rdb": (("--appendonly", "no", "--rdbcompression", "no", "--rdbchecksum", "no"), False),
    "preamble": (("--appendonly", "yes", "--aof-use-rdb-preamble", "yes", "--aof-timestamp-enabled", "yes"), True),
    "commands": (("--appendonly", "yes", "--aof-use-rdb-preamble", "no"), True),
    "appended": (("--appendonly", "yes", "--auto-aof-rewrite-percentage", "0"), True),
}


@pytest.fixture
def started(started: Start) -> Start:
    """The same for all, with the options of the corpus."""
    return lambda kind, folder, *directives: started(kind, folder, *DIRECTIVES, *directives)


def connected(server: Server) -> redis.Redis:
    """A client that keeps its database."""
    return server.client(single_connection_client=True)


def eventually(holds: Callable[[], bool], server: Server) -> None:
    """Wait for what no event tells."""
    until = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < until, server.log.read_text(errors="replace")[-3000:]
        time.sleep(0.02)


def written(server: Server, client: redis.Redis, form: str, new: bool) -> None:
    """Fill a server and have it write the file of a form; for an append-only file commands follow its base."""
    fill(client, 7, new)
    if form in ("preamble", "commands"):
        client.bgrewriteaof()
        eventually(lambda: client.info("persistence")["aof_rewrite_in_progress"] == 0, server)
        assert client.info("persistence")["aof_last_bgrewrite_status"] == "ok"
    change(client)
    if "rdb" in form:
        client.save()


def same(found: Contents, expected: Contents, but: tuple[str, ...] = ()) -> None:
    """Assert that two servers hold the same, but for these details of keys; the first difference is told."""
    assert found.keys.keys() == expected.keys.keys()
    for place, told in expected.keys.items():
        for detail, value in told.items():
            if detail not in but:
                assert not difference(found.keys[place].get(detail), value), f"{place} {detail}" + difference(
                    found.keys[place].get(detail), value
                )
    assert found.functions == expected.functions
    assert found.types == expected.types


def copied(folder: Path) -> Path:
    """The folder of a server, once more."""
    target = folder.with_name("copy")
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns("log"))
    return target


def checked(path: Path, capfd: pytest.CaptureFixture[str], sound: bool = True) -> dict[str, object]:
    """What `kvorum check` says of a file."""
    capfd.readouterr()
    status = check.main([str(path), "--json"])
    report: dict[str, object] = json.loads(capfd.readouterr().out)
    assert status == (0 if sound else 1), report.get("error")
    return report


def counted(report: dict[str, object]) -> dict[int, dict[str, int]]:
    """Keys of each type by database, as `kvorum check` counts them."""
    databases = report["databases"]
    assert isinstance(databases, dict)
    return {int(dbid): told["types"] for dbid, told in databases.items()}


# --- theirs here


@pytest.mark.parametrize(
    ("origin", "form"),
    [("oracle", "rdb"), ("oracle", "preamble"), ("redis", "rdb"), ("redis", "commands"),
     *(pytest.param(*rest, marks=pytest.mark.slow) for rest in (
         ("oracle", "plain rdb"), ("oracle", "commands"), ("oracle", "appended"), ("redis", "plain rdb"),
         ("redis", "preamble"), ("redis", "appended")))],
)  # fmt: skip
def test_a_folder_of_a_genuine_server_is_what_a_node_starts_with(
    origin: str, form: str, started: Start, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each value is as it was there, and byte for byte what Valkey 9.1 makes of the same files; `kvorum check` counts
    the same keys.
    """
    directives, replayed = FORMS[form]
    folder = tmp_path / "theirs"
    server = started(origin, folder, *directives)
    client = connected(server)
    written(server, client, form, origin == "oracle")
    expected = contents(client, False)
    server.stop()
    judge = connected(started("oracle", copied(folder), *directives))
    report = checked(folder / (AOF if replayed else "dump.rdb"), capfd)
    if not replayed:
        assert counted(report) == expected.types and report["functions"] == 2
    here = connected(started("node", folder, *directives))
    judge.config_set("rdbcompression", "yes")  # for DUMP
    found = contents(here, not replayed)
    same(found, contents(judge, not replayed))
    but = ("encoding", "digest") if origin == "redis" else ("encoding",)
    if form == "commands":  # its base forgets that deleted entries are pending, and the sign of -0
        but = ("encoding", "digest", "stream")
    same(found, expected, but)
    assert here.fcall("f", 0, "back") == b"back"


def test_counters_of_use_are_in_the_file(started: Start, tmp_path: Path) -> None:
    """With an LFU policy the counter of each key, with an LRU policy the time since its last use."""
    for policy, asked in (("allkeys-lfu", "FREQ"), ("allkeys-lru", "IDLETIME")):
        folder = tmp_path / policy
        directives = ("--maxmemory-policy", policy, "--lfu-log-factor", "0", "--lfu-decay-time", "0")
        server = started("oracle", folder, *directives)
        client = connected(server)
        for n in range(5):
            client.execute_command("RESTORE", f"k{n}", 0, dump(b"x"), asked, (1000 if asked == "IDLETIME" else 50) * n)
        client.save()
        expected = [client.object(asked, f"k{n}") for n in range(5)]
        server.stop()
        node = started("node", folder, *directives)
        here = connected(node)
        found = [here.object(asked, f"k{n}") for n in range(5)]
        assert all(0 <= ours - theirs < 20 for ours, theirs in zip(found, expected, strict=True)), (found, expected)
        here.save()
        node.stop()
        back = connected(started("oracle", folder, *directives))
        again = [back.object(asked, f"k{n}") for n in range(5)]
        assert all(0 <= theirs - ours < 20 for ours, theirs in zip(found, again, strict=True)), (found, again)


# --- ours there


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with valkey-check-rdb and valkey-check-aof: the server under these names is these tools."""
    folder = tmp_path_factory.mktemp("tools")
    for name in ("valkey-check-rdb", "valkey-check-aof"):
        (folder / name).symlink_to(oracle_binary())
    return folder


def accepted(tool: str | Path, path: Path) -> str:
    """What a check tool says of a file that it takes."""
    done = subprocess.run([str(tool), str(path)], capture_output=True, timeout=PATIENCE, check=False)
    text = done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace")
    assert done.returncode == 0, text[-2000:]
    return text


def slowly(*usual: str) -> list[object]:
    """All forms as parameters, of which these alone belong to a usual run."""
    return [form if form in usual else pytest.param(form, marks=pytest.mark.slow) for form in FORMS]


@pytest.mark.parametrize("form", slowly("rdb", "commands"))
def test_genuine_valkey_starts_with_our_folder(
    form: str, tools: Path, started: Start, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its check tools and ours take it, it holds what we held, packed values are the same bytes, and so it is when we
    take the folder back after Valkey has written it anew.
    """
    directives, replayed = FORMS[form]
    folder = tmp_path / "ours"
    server = started("node", folder, *directives)
    client = connected(server)
    written(server, client, form, True)
    expected = contents(client, not replayed)
    server.stop()
    path = folder / (AOF if replayed else "dump.rdb")
    if form != "preamble":
        accepted(tools / ("valkey-check-aof" if replayed else "valkey-check-rdb"), path)
    else:  # Valkey's tool for sets takes no base of version 80, not even its own
        accepted(tools / "valkey-check-rdb", path.with_name("appendonly.aof.2.base.rdb"))
        accepted(tools / "valkey-check-aof", path.with_name("appendonly.aof.2.incr.aof"))
    report = checked(path, capfd)
    if not replayed:
        assert counted(report) == expected.types
        assert path.read_bytes()[:9] == b"VALKEY080"  # hashes with fields that expire are in it
    valkey = started("oracle", folder, *directives)
    there = connected(valkey)
    there.config_set("rdbcompression", "yes")
    same(contents(there, not replayed), expected, ("encoding",))
    assert there.fcall("f", 0, "there") == b"there"
    there.config_set("rdbcompression", "no" if form == "plain rdb" else "yes")
    there.save()
    valkey.stop()
    shutil.rmtree(folder / "appendonlydir", ignore_errors=True)
    back = connected(started("node", folder, "--appendonly", "no"))
    same(contents(back, False), expected, ("encoding", "dump", "seen"))


@pytest.mark.skipif(REDIS is None or shutil.which("redis-check-aof") is None, reason="no Redis on this machine")
def test_redis_7_starts_with_our_append_only_file(started: Start, tmp_path: Path) -> None:
    """Commands alone are what it reads, where no value needs a later version: no streams and no times of fields."""
    folder = tmp_path / "ours"
    server = started("node", folder, *FORMS["commands"][0])
    client = connected(server)
    written(server, client, "commands", False)
    client.delete(*client.scan_iter(_type="stream"))
    client.bgrewriteaof()
    eventually(lambda: client.info("persistence")["aof_rewrite_in_progress"] == 0, server)
    expected = contents(client, False)
    server.stop()
    accepted("redis-check-aof", folder / AOF)
    there = connected(started("redis", folder, *FORMS["commands"][0]))
    same(contents(there, False), expected, ("encoding", "digest"))


def test_their_tools_take_our_set_of_version_11(tools: Path, started: Start, tmp_path: Path) -> None:
    """Without fields that expire the whole set passes Valkey's tool."""
    server = started("node", tmp_path / "ours", *FORMS["preamble"][0])
    written(server, connected(server), "preamble", False)
    server.stop()
    assert "All AOF files and manifest are valid" in accepted(tools / "valkey-check-aof", tmp_path / "ours" / AOF)


@pytest.mark.parametrize("timed", [False, True])
def test_the_header_is_that_of_valkey(timed: bool, started: Start, tmp_path: Path) -> None:
    """The same fields in the same order; the version is 11 unless a hash has fields that expire."""
    heads = []
    for kind in ("oracle", "node"):
        server = started(kind, tmp_path / kind)
        client = connected(server)
        client.hset("hash", "f", "v")
        if timed:
            client.execute_command("HEXPIRE", "hash", 1000, "FIELDS", 1, "f")
        client.save()
        with (tmp_path / kind / "dump.rdb").open("rb") as file:
            heads.append(RdbReader(file, 1 << 20))
            heads[-1].advance()
    theirs, ours = heads
    assert list(ours.aux) == list(theirs.aux)
    assert (ours.valkey, int(ours.version)) == ((True, 80) if timed else (False, 11))
    assert theirs.aux[b"valkey-ver"].startswith(b"9.")
