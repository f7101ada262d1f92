"""A Celery application whose broker and result backend are the service at $APPS_URL; all else is as it comes, but for
delays that are short enough for a test.
"""

from __future__ import annotations

import os
import signal
import time

from celery import Celery, Task
from celery.exceptions import Reject

URL = os.environ["APPS_URL"]

app = Celery("apps", broker=URL, backend=URL)
app.conf.update(
    broker_connection_retry_on_startup=True,
    broker_transport_options={
        "visibility_timeout": float(os.environ.get("APPS_VISIBILITY", "3600")),
        "unacked_restore_interval": 0.5,
    },
    task_routes={"apps.held": {"queue": "held"}},
    task_track_started=True,
    result_expires=600,
    result_extended=True,
    worker_hijack_root_logger=False,
    worker_prefetch_multiplier=1,
)


@app.task(name="apps.add")
def add(a: int, b: int) -> int:
    """A sum."""
    return a + b


@app.task(name="apps.total")
def total(numbers: list[int]) -> int:
    """The sum of what a group found."""
    return sum(numbers)


@app.task(name="apps.fail")
def fail(text: str) -> None:
    """What goes wrong."""
    raise ValueError(text)


@app.task(name="apps.told")
def told(request: object, error: Exception, trace: object) -> None:
    """Called when a task has failed."""
    app.backend.client.rpush("errors", str(error))


@app.task(name="apps.flaky", bind=True, max_retries=5, default_retry_delay=0.1)
def flaky(self: Task, until: int) -> int:
    """Succeeds at the given try."""
    if self.request.retries < until:
        raise self.retry(exc=RuntimeError(f"try {self.request.retries}"))
    return self.request.retries


@app.task(name="apps.giving_up", autoretry_for=(KeyError,), retry_kwargs={"max_retries": 2, "countdown": 0.1})
def giving_up() -> None:
    """Fails for good at the third try."""
    app.backend.client.incr("giving_up")
    raise KeyError("never")


@app.task(name="apps.now")
def now() -> float:
    """When it ran, in seconds of Unix time."""
    return time.time()


@app.task(name="apps.progress", bind=True)
def progress(self: Task) -> str:
    """Tells how far it is, and waits until it is told to go on."""
    self.update_state(state="HALF", meta={"done": 50})
    app.backend.client.blpop("progress:go", 20)
    return "all"


@app.task(name="apps.rejects", bind=True, acks_late=True)
def rejects(self: Task) -> str:
    """Puts itself back into the queue at its first run."""
    if app.backend.client.incr("rejects") == 1:
        raise Reject("not now", requeue=True)
    return "second"


@app.task(name="apps.deadly", acks_late=True, reject_on_worker_lost=True)
def deadly() -> str:
    """Kills its worker at the first run."""
    if app.backend.client.incr("deadly") == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


@app.task(name="apps.sleeping", acks_late=True)
def sleeping(seconds: float) -> str:
    """Takes its time, but only the first."""
    if app.backend.client.rpush("sleeping", 1) == 1:
        time.sleep(seconds)
    return "awake"


@app.task(name="apps.held")
def held() -> None:
    """Of a queue that nobody works on until it is told to."""
    app.backend.client.rpush("held:ran", 1)
