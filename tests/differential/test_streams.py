"""Stream commands against genuine Valkey: replies, layout, dumps, events, effects; and who is woken by what."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from tests.conftest import Server
from tests.differential.generate import SETUP, SMALL, STOCK, Generator
from tests.differential.harness import Command, Session, Step, check, command, report, seeds
from tests.differential.sequences import heard, stream
from tests.differential.stream_rules import timeless
from tests.differential.twins import Line, Twins, start_twins
from tests.system.test_replication import in_sync, until

FIXED_SEED = 20261121
LENGTH = 250


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """A pair for all tests."""
    with start_twins(tmp_path_factory.mktemp("streams"), "--notify-keyspace-events", "KEA") as twins:
        yield twins
        twins.hang_up()


@pytest.mark.parametrize("protocol", [2, 3], ids=["resp2", "resp3"])
@pytest.mark.parametrize("packed", [True, False], ids=["stock", "3entries"])
@pytest.mark.parametrize("seed", seeds(FIXED_SEED))
def test_generated_stream_commands_agree(servers: Twins, seed: int, packed: bool, protocol: int) -> None:
    """Every option and error of the family, plain and in transactions; figures and dumps of each stream at the end."""
    report(f"KVORUM_DIFF_SEED={seed}")
    generator = Generator(random.Random(f"{seed} {protocol} {packed}"))
    generator.weights = [20.0 if row.group == "stream" else 0.2 for row in generator.rows]
    for _ in range(4):
        steps = generator.sequence(LENGTH, 0.05)
        setup = [STOCK if packed else SMALL, *SETUP]
        check(lambda: Session(servers, protocol), setup, steps, seed, lambda _: time.sleep(0.003))


def many_entries(seed: int, count: int) -> list[Command]:
    """Entries of all sizes with few and many fields, trims, deletions and reads between."""
    rng = random.Random(seed)
    steps: list[Command] = [command("config set stream-node-max-entries 100 stream-node-max-bytes 4096")]
    ms = 1000
    for _ in range(count):
        ms += rng.choice([0, 0, 1, 1, 300, 10**6, 10**9])
        fields = rng.choice([[b"a", b"b"], [b"a", b"b"], [b"a"], [b"%d" % n for n in range(rng.randrange(1, 40))]])
        values = [b"", b"1", b"-70000", b"text", b"x" * rng.randrange(1, 200), b"y" * rng.choice([63, 64, 4095, 5000])]
        weights = [3, 3, 3, 3, 2, 1]
        pairs = [word for field in fields for word in (field, rng.choices(values, weights)[0])]
        trim = rng.choice([[], [], [], [], [b"maxlen", b"~", b"150"], [b"minid", b"%d" % (ms - 10**6)]])
        steps.append([b"xadd", b"k", *(trim if rng.random() < 0.1 else []), b"%d-*" % ms, *pairs])
        match rng.randrange(30):
            case 0:
                steps.append([b"xdel", b"k", *[b"%d" % rng.randrange(ms - 5, ms + 1) for _ in range(3)]])
            case 1:
                steps.append([b"xtrim", b"k", b"maxlen", rng.choice([b"~", b"="]), b"%d" % rng.randrange(400)])
            case 2:
                steps.append([b"xrange", b"k", b"%d" % rng.randrange(ms), b"+", b"count", b"7"])
            case 3:
                steps.append([b"xrevrange", b"k", b"%d" % rng.randrange(ms), b"-", b"count", b"7"])
            case 4:
                steps.append([b"xinfo", b"stream", b"k"])
            case 5 if rng.random() < 0.3:
                bounds = rng.choice([b"100 4096", b"0 2000", b"7 0", b"100000 100000", b"200 0"]).split()
                names = [b"stream-node-max-entries", b"stream-node-max-bytes"]
                steps.append([b"config", b"set", names[0], bounds[0], names[1], bounds[1]])
    return [*steps, command("config set stream-node-max-entries 100 stream-node-max-bytes 4096")]


@pytest.mark.parametrize("seed", seeds(7))
def test_long_streams_are_laid_out_alike(servers: Twins, seed: int) -> None:
    """Thousands of entries fall into the same blocks, whatever the bounds: the dumps are equal byte for byte."""
    check(lambda: Session(servers), [], many_entries(seed, 2500), seed)


def without_clock(effects: list[Command]) -> list[bytes]:
    """Effects with times and IDs of now replaced."""
    return [re.sub(rb"\b1[678]\d{11}(-\d+)?\b", b"NOW", b" ".join(effect)) for effect in effects]


EFFECTS = [line.split() for line in b"""
xadd k * a 1|xadd k 5-* a 1|xadd k maxlen ~ 1 * a 1|xadd k nomkstream * b 2|xadd none nomkstream * b 2|xadd s 1 a 1
xadd s 2 a 1|xadd s 3-* a 1|xadd s minid ~ 2 limit 5 4-* a 1|xtrim s maxlen ~ 1|xtrim s maxlen 3|xgroup create s g 0
xgroup create n g $ mkstream|xreadgroup group g c count 2 streams s >|xreadgroup group g c streams s >
xreadgroup group g c streams s >|xreadgroup group g new streams s >|xreadgroup group g new2 noack streams s >
xreadgroup group g c streams s 0|xclaim s g d 0 2 3 99|xclaim s g d 0 99 lastid 500|xclaim s g e 0 2 force justid
xclaim s g f 0 99|xdel s 3|xclaim s g d 0 3|xautoclaim s g z 0 0|xautoclaim s g z 0 0 count 1 justid|xadd s 9 a 1
xadd s 10 a 1|xreadgroup group g c noack streams s >|xack s g 2|xack s g 2|xgroup createconsumer s g q
xgroup createconsumer s g q|xgroup delconsumer s g q|xgroup setid s g 2|xreadgroup group g c streams s n > >
multi|xadd m * a 1|xreadgroup group g c streams s >|xgroup setid s g 0|xreadgroup group g c streams s >|exec
xgroup destroy s g|xsetid s 100 entriesadded 50|xdel s 9 10 11""".replace(b"\n", b"|").split(b"|") if line]


def test_effects_and_events(servers: Twins) -> None:
    """What replicas are sent, and the keyspace events, are Valkey's."""
    theirs, ours = (without_clock(stream(server, EFFECTS)) for server in servers.servers)
    assert ours == theirs
    assert b"XCLAIM s g c 0 4-0 TIME NOW RETRYCOUNT 1 FORCE JUSTID LASTID 4-0" in ours

    events = heard(servers, EFFECTS)

    assert events[0] == events[1]
    assert len(events[1]) > 50


CHANGES = [
    "xadd k * a 1", "xtrim k maxlen 1", "xtrim k maxlen 100", "xdel k 1", "xdel k 99", "xsetid k 500",
    "xgroup create k g2 0", "xgroup setid k g 2", "xgroup destroy k g", "xgroup createconsumer k g z",
    "xgroup delconsumer k g c", "xack k g 1", "xreadgroup group g c streams k >", "xreadgroup group g c streams k 0",
    "xreadgroup group g c noack streams k >", "xclaim k g d 0 1", "xclaim k g d 0 99 lastid 100",
    "xautoclaim k g d 0 0", "xgroup create j g $ mkstream", "xadd i nomkstream * a 1",
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_what_breaks_a_watch(servers: Twins, change: str) -> None:
    """EXEC after a change of a watched stream answers as Valkey's."""
    session = Session(servers)
    try:
        for line in ("flushall", "xadd k 1 a 1", "xadd k 2 a 1", "xadd k 3 a 1", "xgroup create k g 0"):
            session.run([command(line)])
        session.run([command("xreadgroup group g c count 2 streams k >"), command("watch k j i")])
        pair = session.pair(0)
        for link in pair.both:
            link.ask(command(change))
        session.run([command("multi"), command("ping"), command("exec")])
    finally:
        session.close()


GROUP = "0: xgroup create k g $ mkstream|1: xreadgroup group g c block 0 streams k >|"
WAITS = [
    ("1: xread block 0 streams k $|0: xadd k 1-1 a 1|0: xread streams k 0", [1]),
    ("1: xread block 0 streams k 5|0: xadd k 3 a 1|0: xadd k 6 a 1", [1]),
    ("1: xread block 0 streams k j $ $|2: xread block 0 count 1 streams j $|0: xadd j 1-1 a 1", [1, 2]),
    ("1: xread block 0 streams k +|0: xadd k 1-1 a 1|0: xadd k 1-2 a 1", [1]),
    (GROUP + "2: xreadgroup group g d block 0 streams k >|0: xadd k 1-1 a 1|0: xadd k 1-2 b 1|0: xpending k g", [1, 2]),
    (GROUP + "0: del k", [1]),
    (GROUP + "0: unlink k", [1]),
    (GROUP + "0: set k x", [1]),
    (GROUP + "0: xgroup destroy k g", [1]),
    (GROUP + "0: flushall", [1]),
    (GROUP + "0: rename k j", [1]),
    (GROUP + "0: xgroup create j h $ mkstream|0: rename j k", [1]),
    (GROUP + "0: multi|0: del k|0: xgroup create k g $ mkstream|0: exec|0: xadd k 1 a 1", [1]),
    (GROUP + "0: multi|0: del k|0: xgroup create k h $ mkstream|0: exec", [1]),
    (GROUP + "0: expire k 0", [1]),
    (GROUP + "0: debug set-active-expire 1|0: pexpire k 2", [1]),
    (GROUP + "0: move k 1", [1]),
    (GROUP + "0: swapdb 0 1", [1]),
    (GROUP + "0: expire k 1000|0: xgroup delconsumer k g c|0: xinfo groups k|0: xadd k 1 a 1|0: xpending k g", [1]),
    (GROUP + "0: xadd j 1 a 1|0: xgroup create j g 0|0: copy j k replace", [1]),
    (GROUP + "0: multi|0: xadd k 1 a 1|0: xadd k 2 a 1|0: exec|0: xpending k g", [1]),
    ("0: xgroup create k g $ mkstream|1: xreadgroup group g c block 0 noack streams k >|0: xadd k 1 a 1|"
     "0: xpending k g", [1]),
    ("0: xgroup create k g $ mkstream|0: xgroup create j g $ mkstream|"
     "1: xreadgroup group g c block 0 streams k j > >|0: del j", [1]),
    ("1: xread block 0 streams k $|0: set k x|0: del k|0: xadd k 1 a 1", [1]),
    ("1: xread block 0 streams k $|0: multi|0: xadd k 1 a 1|0: del k|0: exec|0: xadd k 2 a 1", [1]),
    ("1: xread block 0 streams k $|0: xadd j 1 a 1|0: rename j k", [1]),
    ("1: xread block 0 streams k $|0: xadd j 1 a 1|0: copy j k", [1]),
    ("1: xread block 0 streams k $|0: xgroup create k g $ mkstream|0: xsetid k 5-5|0: xadd k 6 a 1", [1]),
    ("1: xread block 0 streams k $|2: blpop k 0|0: xadd k 1 a 1|0: del k|0: lpush k z", [1, 2]),
    ("1: xread block 30 streams k $", [1]),
]  # fmt: skip


@pytest.mark.parametrize("protocol", [2, 3], ids=["resp2", "resp3"])
@pytest.mark.parametrize(("script", "served"), WAITS, ids=[script for script, _ in WAITS])
def test_who_is_woken(servers: Twins, script: str, served: list[int], protocol: int) -> None:
    """Waiting readers get what is added, or the error that their group or stream is gone, in the same order."""
    session = Session(servers, protocol)
    try:
        session.run([command("flushall")])
        waiting = 0
        for part in script.split("|"):
            client, _, line = part.partition(": ")
            blocks = client != "0"
            session.run([Step(command(line), int(client), 0 if blocks else 1)])
            if blocks and "block 30" not in line:
                waiting += 1
                await_blocked(session, waiting)
        for client_number in served:
            session.heard(client_number)
        session.compare_contents((0, 1))
    finally:
        session.close()


def await_blocked(session: Session, number: int) -> None:
    """Wait until both servers say that so many clients are blocked."""
    for link in session.pair(99).both:
        blocked = -1
        while blocked < number:
            blocked = int(link.ask([b"info", b"clients"]).split(b"blocked_clients:")[1].split(b"\r\n")[0])


def test_digests_are_those_of_valkey(servers: Twins) -> None:
    """DEBUG DIGEST-VALUE and DIGEST count the entries of a stream, not its groups."""
    session = Session(servers)
    try:
        session.run([command(line) for line in (
            "flushall", "xadd k 1-5 a 1 b 2", "xadd k 2-7 a 1 c xx", "xadd k 3 a 1", "xdel k 2-7",
            "xgroup create k g 0", "debug digest-value k none", "debug digest", "copy k j",
            "debug digest", "type j", "scan 0 type stream",
        )])  # fmt: skip
    finally:
        session.close()


def test_a_group_that_read_what_was_trimmed_counts_anew(servers: Twins) -> None:
    """The count of entries read is estimated anew once all that the group had read is trimmed away."""
    lines = (
        "del s", "xadd s 1-1 a 1", "xadd s 1-2 a 1", "xadd s 2-1 a 1", "xadd s 3-0 a 1", "xadd s 7-7 a 1",
        "xgroup create s g 0", "xreadgroup group g a count 3 streams s >", "xtrim s minid 5",
        "xreadgroup group g b count 1 streams s >", "xinfo groups s",
    )  # fmt: skip
    session = Session(servers)
    session.run([line.encode().split() for line in lines])
    session.close()


def test_options_of_groups_given_too_often(servers: Twins) -> None:
    """XGROUP CREATE and SETID take an option twice only within Valkey's count of arguments."""
    session = Session(servers)
    session.run([command(line) for line in (
        "flushall", "xgroup create k g $ mkstream mkstream mkstream",
        "xgroup create k g $ mkstream mkstream mkstream mkstream",
        "xgroup create k h $ entriesread 1 entriesread 2", "xgroup setid k g $ entriesread 1 entriesread 2",
        "xgroup create none g x mkstream mkstream mkstream mkstream", "xgroup setid k g x entriesread x entriesread 1",
    )])  # fmt: skip
    session.close()


def test_a_block_of_deleted_entries_can_be_restored(servers: Twins) -> None:
    """Trimming up to an ID in the midst of a block may leave it without entries; both servers take the payload."""
    lines = (
        "flushall", "config set stream-node-max-entries 3", "xadd s 1-1 a 1", "xadd s 1-2 a 1", "xadd s 2-1 a 1",
        "xadd s 3-0 a 1", "xdel s 2-1", "xtrim s minid = 2-1",
    )  # fmt: skip
    session = Session(servers)
    session.run([command(line) for line in lines])
    session.compare_contents()
    session.run([command("config set stream-node-max-entries 100")])
    session.close()


def test_inside_a_transaction_nothing_waits(servers: Twins) -> None:
    """XREAD and XREADGROUP in EXEC answer null at once."""
    session = Session(servers)
    try:
        session.run([command(line) for line in (
            "flushall", "xgroup create k g $ mkstream", "multi", "xread block 0 streams k $",
            "xreadgroup group g c block 0 streams k >", "exec",
        )])  # fmt: skip
    finally:
        session.close()


@pytest.mark.parametrize("protocol", [2, 3], ids=["resp2", "resp3"])
def test_payloads_are_taken_both_ways(servers: Twins, protocol: int) -> None:
    """Each server restores the other's DUMP of a stream with groups, and both then dump the same."""
    session = Session(servers, protocol)
    pair = session.pair(0)
    try:
        session.run([[b"flushall"], *many_entries(1, 300), command("xgroup create k g 0")])
        session.run([command("xreadgroup group g c count 50 streams k >")])
        session.run([command("xgroup create k h $ entriesread 3")])
        theirs, ours = (link.ask([b"dump", b"k"]).split(b"\r\n", 1)[1][:-2] for link in pair.both)
        assert pair.oracle.ask([b"restore", b"copy", b"0", ours]) == b"+OK\r\n"
        assert pair.node.ask([b"restore", b"copy", b"0", theirs]) == b"+OK\r\n"
        one, other = (link.ask([b"dump", b"copy"]).split(b"\r\n", 1)[1][:-2] for link in pair.both)
        assert timeless(one) == timeless(other) == timeless(ours)
        assert pair.node.ask([b"restore", b"bad", b"0", theirs[:40] + b"\xff" + theirs[41:]]).startswith(b"-ERR DUMP")
    finally:
        session.close()


def test_replicas_hold_the_same(
    node_process: Callable[..., Server], oracle_process: Callable[..., Server]
) -> None:
    """A replica of ours and a genuine one follow groups, claims and trims, from the snapshot and from the stream."""
    ours = node_process()
    primary, link = ours.client(), Line(ours)
    replicas = [node_process(), oracle_process()]
    rng = random.Random(5)
    stir(link, rng, 300)
    for replica in replicas:
        replica.client().replicaof("127.0.0.1", ours.port)
    for replica in replicas:
        until(partial(in_sync, primary, replica.client()), "the full sync")
    stir(link, rng, 1500)
    for replica in replicas:
        client = replica.client()
        until(partial(in_sync, primary, client), "the stream")
        for key in (b"k0", b"k1"):
            # when a consumer was last seen is not told to replicas
            assert timeless(client.dump(key) or b"") == timeless(primary.dump(key) or b"")
    link.close()


def stir(link: Line, rng: random.Random, count: int) -> None:
    """Every kind of change of two streams and their groups."""
    for key in ("k0", "k1"):
        for group in ("g", "h"):
            link.ask([b"xgroup", b"create", key.encode(), group.encode(), b"$", b"mkstream"])
    for _ in range(count):
        key, group, consumer = rng.choice(["k0", "k1"]), rng.choice("gh"), rng.choice("abc")
        some = re.findall(rb"\d+-\d+", link.ask([b"xrange", key.encode(), b"-", b"+", b"count", b"5"])) or [b"1-1"]
        line: list[object] = rng.choice([
            ["XADD", key, "*", "f", rng.randrange(100)], ["XADD", key, "MAXLEN", "~", "50", "*", "g", "v", "h", "w"],
            ["XADD", key, "MAXLEN", "30", "*", "f", "z" * rng.randrange(300)], ["XDEL", key, rng.choice(some)],
            ["XREADGROUP", "GROUP", group, consumer, "COUNT", rng.randrange(1, 9), "STREAMS", key, ">"],
            ["XREADGROUP", "GROUP", group, consumer, "NOACK", "COUNT", 2, "STREAMS", key, ">"],
            ["XACK", key, group, *some], ["XCLAIM", key, group, consumer, 0, *some],
            ["XCLAIM", key, group, consumer, 0, *some, "JUSTID", "FORCE", "RETRYCOUNT", 4],
            ["XAUTOCLAIM", key, group, consumer, 0, "-", "COUNT", 4], ["XTRIM", key, "MINID", "~", rng.choice(some)],
            ["XGROUP", "DELCONSUMER", key, group, consumer], ["XGROUP", "SETID", key, group, rng.choice(some)],
        ])  # fmt: skip
        link.ask([word if isinstance(word, bytes) else str(word).encode() for word in line])
