"""The function of RQ's jobs."""

from __future__ import annotations

from tests.system.queues.truth import note


def square(number: int) -> int:
    """Note the run, and answer with the square."""
    note(number)
    return number * number
