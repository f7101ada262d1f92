"""The pure parts behind LATENCY, the command log and redaction."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from node.commandlog import CommandList, request_bytes, trimmed
from node.commands.latency import diagnosis, draw
from node.latency import SAMPLES, LatencyMonitor, Spikes, Times
from node.redaction import redacted


def test_spikes_of_one_second_are_one_sample() -> None:
    """The worst of a second is kept; sum, count and the worst of all go on."""
    spikes = Spikes()
    for second, ms in ((10, 5), (10, 9), (10, 7), (11, 3)):
        spikes.add(second, ms)
    assert spikes.history() == [(10, 9), (11, 3)]
    assert (spikes.worst, spikes.total, spikes.count, spikes.last_value) == (9, 24, 4, 3)


def test_old_spikes_make_room() -> None:
    """The last 160 seconds with a spike are kept, the oldest first."""
    spikes = Spikes()
    for second in range(SAMPLES + 5):
        spikes.add(second, second + 1)
    assert spikes.history() == [(second, second + 1) for second in range(5, SAMPLES + 5)]


def test_threshold_and_reset() -> None:
    """What is below the threshold is no spike; with threshold 0 nothing is."""
    monitor = LatencyMonitor()
    monitor.add(b"command", 1, 1000)
    monitor.threshold_ms = 10
    monitor.add(b"command", 1, 9)
    monitor.add(b"command", 1, 10)
    monitor.add(b"fork", 1, 20)
    assert sorted(monitor.events) == [b"command", b"fork"]
    assert monitor.reset([b"fork", b"nosuch", b"fork"]) == 1
    assert monitor.reset([]) == 1
    assert monitor.reset([]) == 0


@given(st.lists(st.integers(1025, 10**12), max_size=60), st.integers(0, 50))
def test_histograms_count_every_call(times: list[int], fast: int) -> None:
    """The last bucket holds all calls, bounds and counts rise, and every call is at or below its bucket's bound."""
    counted = Times()
    for ns in times:
        counted.add(ns)
    buckets = counted.by_octave(fast)
    assert [bound for bound, _ in buckets] == sorted({bound for bound, _ in buckets})
    assert (buckets[-1][1] if buckets else 0) == len(times) + fast
    for bound, calls in buckets:
        assert sum(1 for ns in times if ns // 1000 <= bound) + fast >= calls


@given(st.lists(st.integers(1025, 10**10), min_size=1, max_size=60), st.floats(0, 100))
def test_percentiles_are_within_an_eighth(times: list[int], percent: float) -> None:
    """A percentile is told as the upper bound of its bucket: never below the true one, at most an eighth above."""
    counted = Times()
    for ns in times:
        counted.add(ns)
    wanted = max(int(percent * len(times) / 100 + 0.5), 1)
    true = sorted(times)[wanted - 1] / 1000
    assert true * 0.999 <= counted.percentile(0, percent) <= true * 1.14


def test_percentile_of_fast_calls() -> None:
    """What took at most a microsecond is told as one."""
    assert Times().percentile(5, 99.0) == 1.023


def test_graph() -> None:
    """A head line, a rule, four rows of marks and the ages below."""
    spikes = Spikes()
    for second, ms in ((0, 10), (3540, 100), (3600, 55)):
        spikes.add(second, ms)
    lines = draw(b"command", spikes, 3600).split(b"\n")
    assert lines[0] == b"command - high 100 ms, low 10 ms (all time high 100 ms)"
    assert lines[1] == b"-" * 80
    assert [len(line) for line in lines[2:6]] == [3] * 4
    assert lines[6:8] == [b"110", b"hms"]


def test_diagnosis() -> None:
    """LATENCY DOCTOR tells the off switch, a quiet node, and spikes apart."""
    monitor = LatencyMonitor()
    assert "latency-monitor-threshold" in diagnosis(monitor)
    monitor.threshold_ms = 10
    assert "No latency spike" in diagnosis(monitor)
    monitor.add(b"command", 5, 30)
    assert "1. command: 1 spikes, 30 ms on average" in diagnosis(monitor)


def test_trimming() -> None:
    """At most 32 arguments of 128 bytes."""
    assert trimmed([b"a" * 128, b"b" * 129]) == [b"a" * 128, b"b" * 128 + b"... (1 more bytes)"]
    assert trimmed([b"x"] * 32) == [b"x"] * 32
    assert trimmed([b"x"] * 33) == [b"x"] * 31 + [b"... (2 more arguments)"]


def test_a_list_keeps_the_newest() -> None:
    """Ids rise; thresholds below 0 and a length of 0 keep nothing more."""
    commands = CommandList()
    assert not commands.wants(10**9)
    commands.threshold, commands.length = 10, 2
    assert commands.wants(10)
    assert not commands.wants(9)
    for value in (10, 11, 12):
        commands.add(1, value, [b"get"], b"address", b"")
    assert [(entry.id, entry.value) for entry in commands.newest(-1)] == [(2, 12), (1, 11)]
    assert [entry.id for entry in commands.newest(1)] == [2]
    commands.length = 0
    assert not commands.wants(10**9)


def test_request_bytes() -> None:
    """As long as the multibulk, or as the line with its end."""
    assert request_bytes([b"get", b"x" * 10], False) == len(b"*2\r\n$3\r\nget\r\n$10\r\nxxxxxxxxxx\r\n")
    assert request_bytes([b"get", b"x"], True) == len(b"get x\r\n")


def test_redaction() -> None:
    """Passwords are hidden, the client's own list is not touched."""
    args = [b"auth", b"user", b"secret"]
    assert redacted(b"auth", args) == [b"auth", b"(redacted)", b"(redacted)"]
    assert args == [b"auth", b"user", b"secret"]
    assert redacted(b"hello", [b"hello", b"3", b"setname", b"auth", b"auth", b"u", b"p"])[-2:] == [b"(redacted)"] * 2
    assert redacted(b"config|set", [b"config", b"set", b"maxmemory", b"1", b"RequirePass", b"p"]) == [
        b"config", b"set", b"maxmemory", b"1", b"RequirePass", b"(redacted)",
    ]  # fmt: skip
    assert redacted(b"migrate", [b"migrate", b"h", b"1", b"", b"0", b"5", b"auth2", b"u", b"p", b"keys", b"auth"]) == [
        b"migrate", b"h", b"1", b"", b"0", b"5", b"auth2", b"(redacted)", b"(redacted)", b"keys", b"auth",
    ]  # fmt: skip
    assert redacted(b"get", args) is args
