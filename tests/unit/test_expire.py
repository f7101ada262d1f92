"""The wheel of keys to look at, and the rules of time."""

import random

from node.expire import Wheel, is_past, round_seconds


def drain(wheel: Wheel, now_ms: int) -> list[bytes]:
    """The keys of all entries that are due."""
    keys = []
    while (entry := wheel.pop_due(now_ms)) is not None:
        keys.append(entry.key)
    return keys


def test_nothing_is_due_before_its_time() -> None:
    """An entry comes out only after its time, and at most 128 ms later."""
    for at in (1, 127, 128, 1000, 123_456_789):
        wheel = Wheel()
        wheel.add(7, b"k", at)
        assert drain(wheel, at) == []
        assert drain(wheel, at + 128) == [b"k"]
        assert wheel.size == 0


def test_entries_come_in_order_of_time() -> None:
    """Over many ticks, earlier ones come first; times long past come at once."""
    rng = random.Random(3)
    wheel = Wheel()
    times = {b"%d" % i: rng.randrange(1, 100_000) for i in range(2000)}
    for key, at in times.items():
        wheel.add(1, key, at)
    seen: list[bytes] = []
    for now in range(0, 101_000, 500):
        due = drain(wheel, now)
        assert all(times[key] < now for key in due)
        assert all(times[key] >= now - 500 - 128 for key in due)
        seen += due
    assert sorted(seen) == sorted(times)
    wheel.add(1, b"late", 5)
    assert drain(wheel, 100_000) == [b"late"]


def test_a_key_is_past_only_after_its_millisecond() -> None:
    """0 means never."""
    assert [is_past(0, 5), is_past(5, 5), is_past(5, 6), is_past(7, 6)] == [False, False, True, False]


def test_seconds_are_rounded_to_the_nearest() -> None:
    """As TTL answers."""
    assert [round_seconds(ms) for ms in (0, 499, 500, 1499, 1500)] == [0, 0, 1, 1, 2]
    assert round_seconds((1 << 63) - 1) == 9223372036854776
