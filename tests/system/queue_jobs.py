"""Jobs for the workers of tests/system/test_proxy_queues.py: each notes in a file that it ran."""

from __future__ import annotations

import os

from celery import Celery

URL = os.environ.get("KVORUM_TEST_URL", "redis://127.0.0.1:1/0")

app = Celery("jobs", broker=URL, backend=URL)
app.conf.update(broker_connection_retry_on_startup=True)


def note(number: int) -> int:
    """Append the number to the file that the test reads."""
    with open(os.environ["KVORUM_TEST_FILE"], "a") as file:
        file.write(f"{number}\n")
    return number * 2


@app.task
def noted(number: int) -> int:
    """The same as a Celery task."""
    return note(number)
