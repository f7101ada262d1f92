"""Runs the scenarios of an application one after the other and prints what became of each: "ok", or its error."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable

PATIENCE = 30.0


def until(right: Callable[[], object], what: str) -> None:
    """Wait for something that offers no event."""
    deadline = time.monotonic() + PATIENCE
    while not right():
        assert time.monotonic() < deadline, f"it never came: {what}"
        time.sleep(0.02)


def judge(*scenarios: Callable[[], None]) -> None:
    """Run all, and print the outcome as the last line."""
    outcome = {}
    for scenario in scenarios:
        try:
            scenario()
            outcome[scenario.__name__] = "ok"
        except Exception:  # whatever it is: it is told, and the others are run
            outcome[scenario.__name__] = traceback.format_exc()
    print(json.dumps(outcome))
