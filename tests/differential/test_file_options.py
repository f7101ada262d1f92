"""Options about files beside genuine Valkey: what they accept, what they show, what they do; INFO persistence; and what
a data folder that is placed under a server becomes.
"""

from __future__ import annotations

import difflib
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from node.persistence.aofparse import AofReader
from tests.conftest import Server
from tests.differential.twins import Twins, start_twins

AOF = "appendonly.aof"
KINDS = ("oracle", "node")
OPTIONS = (
    "dbfilename", "save", "rdbcompression", "rdbchecksum", "rdb-save-incremental-fsync", "stop-writes-on-bgsave-error",
    "appendonly", "appendfsync", "appendfilename", "appenddirname", "no-appendfsync-on-rewrite",
    "auto-aof-rewrite-percentage", "auto-aof-rewrite-min-size", "aof-load-truncated", "aof-use-rdb-preamble",
    "aof-timestamp-enabled", "aof-rewrite-incremental-fsync", "rdb-del-sync-files", "rdb-version-check",
)  # fmt: skip
VALUES = ("yes", "no", "x", "1", "-1", "100mb", "everysec", "always", "clients", "relaxed", "strict", "a/b", "aof.name")


@pytest.fixture
def twins(tmp_path: Path) -> Iterator[Twins]:
    """Both servers, without an append-only file."""
    with start_twins(tmp_path) as found:
        yield found
        found.hang_up()


def test_options_take_and_show_what_valkeys_take(twins: Twins) -> None:
    """CONFIG GET and SET of each option with values of every kind, alone and two at once."""
    client = twins.client()
    for name in OPTIONS:
        client.same(f"CONFIG GET {name}")
        for value in VALUES if name != "appendonly" else ("x", "1", "no"):
            client.same(f"CONFIG SET {name} {value}")
            client.same(f"CONFIG GET {name}")
    client.same("CONFIG SET rdbcompression no aof-use-rdb-preamble x")
    client.same("CONFIG GET rdbcompression")


def test_info_persistence_has_the_fields_of_valkey_in_its_order(twins: Twins) -> None:
    """Names and order, with the file off and on; those of processes that we do not make are left out."""
    client = twins.client()
    for line in ("PING", "CONFIG SET appendonly yes", "BGSAVE", "CONFIG SET appendonly no"):
        client.both(*line.split())
        theirs, ours = (re.findall(rb"^(\w+):", reply, re.MULTILINE) for reply in client.both("INFO", "persistence"))
        assert ours == [name for name in theirs if b"_fork_" not in name or name == b"current_fork_perc"]


# --- what they do

LINES = """SET a 1|SET b 2 EX 1000|SETEX c 1000 3|PSETEX d 100000 4|GETEX b PERSIST|GETEX b EX 500|GETSET a 5|APPEND a x
INCRBYFLOAT f 1.5|INCR n|DECRBY n 3|SETRANGE a 2 zz|MSET k1 1 k2 2|MSETNX k3 1|GETDEL k3|SETNX a 1|EXPIRE a 100
PEXPIRE a 100000|EXPIREAT a 4000000000|PERSIST a|RENAME k1 k4|COPY k4 k5|DEL k5 none|UNLINK k4|MOVE k2 1
EXPIRE n -1|RPUSH l 1 2 3|LPUSH l 0|LPOP l|RPOPLPUSH l l2|LMOVE l l2 LEFT RIGHT|LREM l 0 none|LTRIM l 0 0
BLPOP l2 0|LMPOP 1 l2 LEFT|SADD s a b c|SREM s a none|SPOP s 3|SADD s a|SPOP s|SADD s q|SMOVE s s2 none
SINTERSTORE s3 s s|HSET h a 1 b 2|HDEL h a|HINCRBYFLOAT h b 0.5|HINCRBY h n 2|HSETNX h n 1|ZADD z 1 a 2 b 3 c
ZINCRBY z 5 a|ZPOPMIN z|ZRANGESTORE z2 z 0 -1|ZREMRANGEBYRANK z 0 0|BZPOPMAX z 0|XADD st 1-1 f v|XADD st 2-1 f w
XGROUP CREATE st g 0|XREADGROUP GROUP g c COUNT 1 STREAMS st >|XACK st g 1-1|XTRIM st MAXLEN 1|XDEL st 2-1
XADD st MAXLEN 5 9-1 f v|PFADD p a b|PFADD p a|PFMERGE p2 p|SETBIT bits 7 1|BITOP NOT nb bits
BITFIELD bits SET u8 0 255|GEOADD g 1 2 a|GEOSEARCHSTORE g2 g FROMMEMBER a BYRADIUS 9 km|SORT l STORE sl|MULTI
SET m 1|INCR m|EXEC|MULTI|GET m|EXEC|MULTI|DISCARD|EVAL return_redis.call('set','e','1') 0|SELECT 2|SET other 1
MULTI|SET one 1|EXEC|MULTI|PUBLISH ch m|EXEC|SPUBLISH c m|SELECT 0|SWAPDB 0 2|FLUSHDB|SWAPDB 0 2|FLUSHALL
FUNCTION FLUSH|PUBLISH ch msg|EVAL redis.call('set','x',1);return_redis.call('incr','x') 0|RESTORE r 0 x
OBJECT ENCODING a|GET a|WAITAOF 1 0 0""".replace("\n", "|").split("|")


def commands(path: Path) -> list[str]:
    """The commands of a file as lines, the times in them hidden."""
    with path.open("rb") as file:
        reader = AofReader(file, 0)
        lines: list[str] = []
        while reader.next():
            words = [arg.decode("utf-8", "backslashreplace") for arg in reader.args]
            lines.append(" ".join("(time)" if re.fullmatch("1[0-9]{12}", word) else word for word in words))
    return lines


def unwrapped(lines: list[str]) -> list[str]:
    """Without MULTI and EXEC around one command, which Valkey leaves out and we do not."""
    left: list[str] = []
    for line in lines:
        left.append(line)
        if line == "EXEC" and left[-3:-2] == ["MULTI"]:
            left[-3:] = [left[-2]]
    return left


@pytest.mark.parametrize("stamped", ["yes", "no"])
def test_the_file_that_is_appended_to_is_valkeys(stamped: str, tmp_path: Path) -> None:
    """Command by command the same words, but for the times in them; annotated with times where it is wanted."""
    with start_twins(tmp_path, "--appendonly", "yes", "--aof-timestamp-enabled", stamped) as twins:
        client = twins.client()
        for line in LINES:
            client.both(*(word.replace("_", " ") for word in line.split(" ")))
        twins.hang_up()
        paths = [tmp_path / kind / "appendonlydir" / f"{AOF}.1.incr.aof" for kind in KINDS]
    for path in paths:
        assert (b"#TS:" in path.read_bytes()) == (stamped == "yes")
    theirs, ours = (unwrapped(commands(path)) for path in paths)
    changes = "\n".join(difflib.unified_diff(theirs, ours, "Valkey", "ours", lineterm="", n=1))
    assert not changes, changes


def test_messages_reach_replicas_and_not_the_file(started: Callable[..., Server], tmp_path: Path) -> None:
    """PUBLISH and SPUBLISH, alone, in transactions and from scripts, with writes between them."""
    primary = started("node", tmp_path / "primary", "--appendonly", "yes")
    replica = started("node", tmp_path / "replica", "--replicaof", f"127.0.0.1 {primary.port}")
    ours, theirs = primary.client(), replica.client()
    subscriber = theirs.pubsub()
    subscriber.subscribe("ch")
    subscriber.get_message(timeout=10)
    ours.set("first", "1")
    assert ours.wait(1, 10_000) == 1
    ours.publish("ch", "alone")
    ours.set("second", "2")
    pipe = ours.pipeline(transaction=True)
    pipe.publish("ch", "in a transaction")
    pipe.set("third", "3")
    pipe.publish("ch", "after a write")
    pipe.execute()
    ours.eval("redis.call('publish', 'ch', 'from a script') redis.call('set', 'fourth', 4)", 0)
    assert ours.wait(1, 10_000) == 1
    told = [subscriber.get_message(timeout=10) for _ in range(4)]
    expected = [b"alone", b"in a transaction", b"after a write", b"from a script"]
    assert [message["data"] for message in told if message] == expected
    assert theirs.mget("first", "second", "third", "fourth") == [b"1", b"2", b"3", b"4"]
    assert ours.execute_command("WAITAOF", 1, 0, 10_000)[0] == 1
    lines = commands(tmp_path / "primary" / "appendonlydir" / f"{AOF}.1.incr.aof")
    assert [line for line in lines if line.lower().startswith("set")] == [
        "SET first 1", "SET second 2", "SET third 3", "set fourth 4"
    ]  # fmt: skip
    assert not [line for line in lines if "publish" in line.lower()]


# --- folders that are placed under a server


def made(folder: Path, started: Callable[..., Server]) -> None:
    """The folder of Valkey with an RDB file of one key and an append-only set of two others."""
    server = started("oracle", folder)
    client = server.client()
    client.set("saved", "1")
    client.save()
    client.flushall()
    client.config_set("appendonly", "yes")
    while client.info("persistence")["aof_rewrite_in_progress"] or client.info("persistence")["aof_rewrite_scheduled"]:
        time.sleep(0.02)  # no event tells the end of a rewrite
    client.set("appended", "2")
    server.stop()


PLACES: dict[str, tuple[str, ...]] = {
    "both, file on": ("--appendonly", "yes"), "both, file off": ("--appendonly", "no"),
    "set alone": ("--appendonly", "yes"), "set alone, file off": ("--appendonly", "no"),
    "single file": ("--appendonly", "yes"), "single file and RDB": ("--appendonly", "yes"),
    "torn": ("--appendonly", "yes"), "torn, refused": ("--appendonly", "yes", "--aof-load-truncated", "no"),
    "nothing": ("--appendonly", "yes"), "commands for a base": ("--appendonly", "yes", "--aof-use-rdb-preamble", "no"),
}  # fmt: skip


def arrange(place: str, source: Path, folder: Path) -> None:
    """Make the folder of a case from that of Valkey."""
    folder.mkdir()
    appended = next((source / "appendonlydir").glob("*.incr.aof")).read_bytes()
    if place.startswith(("both", "single file and")):
        shutil.copy(source / "dump.rdb", folder)
    if place.startswith("single"):
        (folder / AOF).write_bytes(appended)
    elif not place.startswith(("nothing", "commands")):
        shutil.copytree(source / "appendonlydir", folder / "appendonlydir")
    if place.startswith("torn"):
        path = next((folder / "appendonlydir").glob("*.incr.aof"))
        path.write_bytes(appended + appended[:-5])


def became(kind: str, folder: Path, started: Callable[..., Server], directives: tuple[str, ...]) -> object:
    """What a server makes of a folder: its keys, its files and their manifest; or that it does not start."""
    try:
        server = started(kind, folder, *directives)
    except AssertionError:
        return "refused", sizes(folder)
    client = server.client()
    keys = sorted(client.keys())
    client.set("after", "3")
    server.stop()
    manifest = folder / "appendonlydir" / f"{AOF}.manifest"
    return keys, sizes(folder), manifest.read_text() if manifest.exists() else ""


def sizes(folder: Path) -> dict[str, int]:
    """The files below a folder; of RDB files, whose versions differ, that they are there."""
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file() and path.name != "log"}
    return {name: -1 if name.endswith(".rdb") else path.stat().st_size for name, path in found.items()}


USUAL = ("both, file on", "single file and RDB", "torn", "torn, refused")


@pytest.mark.parametrize(
    "place", [place if place in USUAL else pytest.param(place, marks=pytest.mark.slow) for place in PLACES]
)
def test_a_placed_folder_becomes_what_valkey_makes_of_it(
    place: str, started: Callable[..., Server], tmp_path: Path
) -> None:
    """What wins, how the single file of old servers is brought over, what is cut and what is refused."""
    made(tmp_path / "source", started)
    results = []
    for kind in KINDS:
        arrange(place, tmp_path / "source", tmp_path / kind)
        results.append(became(kind, tmp_path / kind, started, PLACES[place]))
    assert results[0] == results[1]


def test_a_set_that_is_not_loaded_is_told(started: Callable[..., Server], tmp_path: Path) -> None:
    """With appendonly no the log says that there is one; the files stay as they are."""
    made(tmp_path / "source", started)
    before = sizes(tmp_path / "source" / "appendonlydir")
    server = started("node", tmp_path / "source", "--appendonly", "no")
    assert server.client().keys() == [b"saved"]
    server.stop()
    assert "which is not loaded, for appendonly is no" in server.log.read_text()
    assert sizes(tmp_path / "source" / "appendonlydir") == before
