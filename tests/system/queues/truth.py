"""The record of what ran, outside the store: one line a run in the file that $KVORUM_RUNS names."""

from __future__ import annotations

import os
import time


def note(number: int) -> None:
    """Append the number of a job and the monotonic ns; a line is written whole, whichever process writes it."""
    file = os.open(os.environ["KVORUM_RUNS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, b"%d %d\n" % (number, time.monotonic_ns()))
    finally:
        os.close(file)
