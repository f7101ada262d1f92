"""Counters and rates."""

from node.stats import ERRORS_FULL, ERRORS_MAX, SAMPLES, Rate, Stats


def test_rate_is_the_average_of_the_last_samples() -> None:
    """A steady counter shows its speed; a counter that was reset adds nothing."""
    rate = Rate()
    for i in range(SAMPLES + 1):
        rate.sample(i * 50, 1000 + i * 100)
    assert rate.per_second() == 500

    rate.sample(0, 1000 + (SAMPLES + 1) * 100)
    assert rate.per_second() == 500 * (SAMPLES - 1) // SAMPLES


def test_rate_needs_two_samples() -> None:
    """One look at a counter, or two at the same time, tells no speed."""
    rate = Rate()
    rate.sample(1000000, 5)
    rate.sample(2000000, 5)

    assert rate.per_second() == 0


def test_errors_are_counted_by_prefix_up_to_a_bound() -> None:
    """Errors are counted by their first word; too many different ones switch the counting of prefixes off."""
    stats = Stats(0)
    stats.count_error(b"ERR syntax error")
    stats.count_error(b"ERR")
    stats.count_error(b"WRONGTYPE Operation")
    assert stats.errors == {b"ERR": 2, b"WRONGTYPE": 1}

    for i in range(ERRORS_MAX):
        stats.count_error(b"E%d x" % i)
    assert list(stats.errors) == [ERRORS_FULL]
    assert stats.error_replies == 3 + ERRORS_MAX


def test_reset_keeps_what_others_count() -> None:
    """RESETSTAT zeroes the counters and remembers where those of loop and stores stood."""
    stats = Stats(7)
    stats.commands = 5
    stats.count_error(b"ERR")
    stats.reset(100, 200, 3, 4)

    assert (stats.commands, stats.errors, stats.error_replies) == (0, {}, 0)
    assert (stats.net_input_base, stats.net_output_base, stats.hits_base, stats.misses_base) == (100, 200, 3, 4)
    assert stats.started_ms == 7
