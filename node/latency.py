"""Latency: the spikes that LATENCY tells of, and the distribution of a command's times.

Spikes: of each event the last 160 seconds that had one, with the worst of each second. Times: eight buckets an octave
of nanoseconds, so that a percentile is told within an eighth; what took up to 1024 ns is not counted in a bucket but
is the rest of the calls, which keeps a fast command's path free of it.
"""

from typing import Final, final

from mypy_extensions import i64

SAMPLES: Final = 160  # as Valkey's LATENCY_TS_LEN
_FINE: Final = 8  # buckets an octave
_OCTAVES: Final = 34  # from 1 us to 4.7 hours
_FIRST_NS: Final = 1024


@final
class Spikes:
    """The samples of one event: a ring of (second, milliseconds)."""

    times: list[int]
    values: list[int]
    next: i64
    last_time: i64
    last_value: i64
    worst: i64
    total: i64
    count: i64

    def __init__(self) -> None:
        self.times = []
        self.values = []
        self.next = 0
        self.last_time = 0
        self.last_value = 0
        self.worst = 0
        self.total = 0
        self.count = 0

    def add(self, now_s: i64, ms: i64) -> None:
        """A spike of `ms` in this second."""
        self.worst = max(self.worst, ms)
        self.total += ms
        self.count += 1
        if now_s == self.last_time and self.count > 1:
            self.last_value = max(self.last_value, ms)
            self.values[(self.next - 1) % len(self.values)] = self.last_value
            return
        self.last_time = now_s
        self.last_value = ms
        if len(self.times) < SAMPLES:
            self.times.append(now_s)
            self.values.append(ms)
        else:
            self.times[self.next] = now_s
            self.values[self.next] = ms
        self.next = (self.next + 1) % SAMPLES

    def history(self) -> list[tuple[int, int]]:
        """(second, milliseconds), the oldest first."""
        start = self.next if len(self.times) == SAMPLES else 0
        return [(self.times[(start + i) % SAMPLES], self.values[(start + i) % SAMPLES]) for i in range(len(self.times))]


@final
class LatencyMonitor:
    """The spikes of all events, by name. `threshold_ms` 0: nothing is recorded."""

    threshold_ms: i64
    events: dict[bytes, Spikes]

    def __init__(self) -> None:
        self.threshold_ms = 0
        self.events = {}

    def add(self, event: bytes, now_s: i64, ms: i64) -> None:
        """Record `ms` for an event if that is a spike."""
        if self.threshold_ms == 0 or ms < self.threshold_ms:
            return
        spikes = self.events.get(event)
        if spikes is None:
            spikes = Spikes()
            self.events[event] = spikes
        spikes.add(now_s, ms)

    def reset(self, names: list[bytes]) -> i64:
        """Forget these events, all when none is named; returns how many there were."""
        found = [name for name in (names if names else list(self.events)) if name in self.events]
        for name in set(found):
            del self.events[name]
        return len(set(found))


@final
class Times:
    """How often a command took how long, beyond the first 1024 ns."""

    buckets: list[int]
    slower: i64  # calls counted here

    def __init__(self) -> None:
        self.buckets = [0] * (_FINE * _OCTAVES)
        self.slower = 0

    def add(self, ns: i64) -> None:
        """Count a call of `ns` nanoseconds, which are more than 1024."""
        self.slower += 1
        octave: i64 = 0
        rest = (ns - 1) >> 10
        while rest > 1:
            rest = rest >> 1
            octave += 1
        fine = ((ns - 1) >> (octave + 7)) & 7
        place = octave * _FINE + fine
        if place >= _FINE * _OCTAVES:
            place = _FINE * _OCTAVES - 1
        self.buckets[place] += 1

    def by_octave(self, fast: int) -> list[tuple[int, int]]:
        """(upper bound in microseconds, calls up to it) where there are any; `fast` calls took at most 1024 ns."""
        found: list[tuple[int, int]] = [(1, fast)] if fast > 0 else []
        so_far = fast
        for octave in range(_OCTAVES):
            here = sum(self.buckets[octave * _FINE : (octave + 1) * _FINE])
            if here > 0:
                so_far += here
                found.append((_shown((_FIRST_NS << (octave + 1))) // 1000, so_far))
        return found

    def percentile(self, fast: int, percent: float) -> float:
        """Microseconds within which `percent` of the calls were done, as a bucket's upper bound."""
        wanted = max(int(percent * (fast + int(self.slower)) / 100 + 0.5), 1)
        so_far = fast
        if so_far >= wanted:
            return _shown(_FIRST_NS - 1) / 1000
        last = _FIRST_NS
        for place in range(len(self.buckets)):
            if self.buckets[place] > 0:
                so_far += self.buckets[place]
                octave, fine = place // _FINE, place % _FINE
                last = (_FINE + fine + 1) << (octave + 7)
                if so_far >= wanted:
                    break
        return _shown(last - 1) / 1000


def _shown(ns: int) -> int:
    """The largest value that a histogram of two significant digits, as Valkey's, takes for the same as `ns`."""
    unit = 1 << max(ns.bit_length() - 8, 0)
    return ns // unit * unit + unit - 1
