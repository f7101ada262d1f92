"""LATENCY, MEMORY and LOLWUT: shapes, errors and counts agree with genuine Valkey's; words and times are our own."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.differential.harness import Session
from tests.differential.play import play
from tests.differential.twins import Twins, start_twins

ERRORS = (
    "latency;latency foo;latency history;latency history a b;latency graph;latency graph foo;latency latest x;"
    "latency reset;"
    "latency reset foo;latency history foo;latency latest;latency histogram nosuch;latency doctor x;latency help x;"
    "config set latency-monitor-threshold -1;config get latency*;config set latency-tracking-info-percentiles 101;"
    "config set latency-tracking-info-percentiles abc;config set latency-tracking-info-percentiles -1;"
    "config get tracking-table-max-keys;config set tracking-table-max-keys -1;memory;memory foo;memory doctor x;"
    "memory stats x;memory purge;memory purge x;"
    "memory malloc-stats x;lolwut version;lolwut version abc;lolwut foo;lolwut 5;lolwut version 5 a"
)


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """One pair for all tests."""
    with start_twins(tmp_path_factory.mktemp("latency")) as found:
        yield found


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def session(request: pytest.FixtureRequest, twins: Twins) -> Iterator[Session]:
    """Clients of an empty pair."""
    session = Session(twins, request.param)
    session.run([[b"flushall"]])
    yield session
    session.close()


def blurred(reply: bytes) -> bytes:
    """A reply with every integer beyond three digits taken for the same (times), lengths too."""
    return re.sub(rb":\d{4,}", b":N", reply)


def test_errors(session: Session) -> None:
    """Wrong words and numbers, and options, are answered the same."""
    play(session, ERRORS)
    name = b"latency-tracking-info-percentiles"
    for value in (b"50 99.5 100", b"", b"abc", b"50 x", b"50 101", b"0 0.1", b"50 99 99.9"):
        session.run([[b"config", b"set", name, value], [b"config", b"get", name]])


def test_spikes(session: Session) -> None:
    """Commands above the threshold are events, told in the same shape; RESET counts what it forgets."""
    play(session, "config set latency-monitor-threshold 20;latency reset")
    shapes = []
    for link in session.pair(0).both:
        link.ask([b"debug", b"sleep", b"0.03"])
        link.ask([b"debug", b"sleep", b"0.05"])
        latest = link.ask([b"latency", b"latest"])
        history = link.ask([b"latency", b"history", b"command"])
        values = [int(n) for n in re.findall(rb":(\d+)", latest)]
        assert values[3] >= values[2] - 1
        assert values[1] >= 30
        assert values[2] >= 50
        shapes.append(re.sub(rb":\d+", b":N", latest) + re.sub(rb"(\*2\r\n:\d+\r\n:\d+\r\n)+", b"SAMPLES", history)[4:])
        head = link.ask([b"latency", b"graph", b"command"])
        assert re.search(rb"command - high \d+ ms, low \d+ ms \(all time high \d+ ms\)\n-{80}\n", head)
    assert shapes[1] == shapes[0]
    play(session, "latency reset command foo;latency latest;latency history command;"
         "config set latency-monitor-threshold 0;latency reset")


def calls(reply: bytes) -> list[tuple[bytes, int]]:
    """Names and counts of LATENCY HISTOGRAM; the last bucket holds as many as there were calls."""
    found = []
    for name, count, buckets in re.findall(
        rb"\$\d+\r\n([a-z|]+)\r\n[*%]\d\r\n\$5\r\ncalls\r\n:(\d+)\r\n\$14\r\nhistogram_usec\r\n[*%]\d+\r\n((?::\d+\r\n)+)",
        reply,
    ):
        numbers = [int(n) for n in re.findall(rb":(\d+)", buckets)]
        assert numbers[-1] == int(count)
        assert numbers[1::2] == sorted(numbers[1::2])
        assert all(bound in BOUNDS for bound in numbers[0::2])
        found.append((name, int(count)))
    return found


BOUNDS = (1, 2, 4, 8, 16, 33, 66, 132, 264, 528, 1056, 2113, 4227, 8454, 16908, 16909, 33816, 33818, 67633, 67636)


def test_histograms(session: Session) -> None:
    """Calls are counted by command and subcommand, from RESETSTAT on and while latency-tracking is on."""
    counts = []
    for link in session.pair(0).both:
        link.ask([b"config", b"resetstat"])
        for words in ("get a", "get b", "set a 1", "lpush a 1", "object encoding a"):
            link.ask(words.encode().split())
        link.ask([b"config", b"set", b"latency-tracking", b"no"])
        link.ask([b"get", b"a"])
        link.ask([b"config", b"set", b"latency-tracking", b"yes"])
        link.ask([b"get", b"a"])
        every = calls(link.ask([b"latency", b"histogram"]))
        counts.append([
            sorted(every),
            calls(link.ask([b"latency", b"histogram", b"get", b"SET", b"nosuch", b"get"])),
            calls(link.ask([b"latency", b"histogram", b"object"])),
            calls(link.ask([b"latency", b"histogram", b"config|set"])),
            sorted(re.findall(rb"latency_percentiles_usec_([a-z|]+):p50=[\d.]+,p99=[\d.]+,p99\.9=[\d.]+",
                              link.ask([b"info", b"latencystats"]))),
        ])  # fmt: skip
        assert b"\r\nlatency_percentiles" not in link.ask([b"info"])
    assert counts[1] == counts[0]


def test_memory_stats_names(session: Session) -> None:
    """Every field of MEMORY STATS is one of Valkey's, in the same order and of the same type."""
    session.run([[b"set", b"a", b"1"]])
    fields = []
    for link in session.pair(0).both:
        reply = link.ask([b"memory", b"stats"])
        fields.append(re.findall(rb"\r\n([a-z_.-]+0?)\r\n", reply))
        assert re.search(rb"keys\.count\r\n:1\r\n", reply)
    theirs, ours = fields
    assert [name for name in theirs if name in ours] == ours


def test_memory_words(session: Session) -> None:
    """DOCTOR and MALLOC-STATS answer in words."""
    for link in session.pair(0).both[1:]:
        assert b"5 MB" in link.ask([b"memory", b"doctor"])
        assert b"blocks in use" in link.ask([b"memory", b"malloc-stats"])


def test_lolwut(session: Session) -> None:
    """A picture of the size that was asked for, and the version."""
    for link in session.pair(0).both[1:]:
        for words in ([], [b"version", b"5"], [b"version", b"6", b"30", b"4"], [b"30", b"4"]):
            reply = link.ask([b"lolwut", *words])
            text = reply.split(b"\r\n", 1)[1].removeprefix(b"txt:")
            assert b"Kvorum ver. " in text
            rows, columns = (4, 30) if b"30" in words else (20, 66)
            assert [len(line) for line in text.split(b"\n")[:rows]] == [columns] * rows
