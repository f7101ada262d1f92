"""The functions of RQ's jobs."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import rq


def add(a: int, b: int) -> int:
    """A sum."""
    return a + b


def fail(text: str) -> None:
    """What goes wrong."""
    raise ValueError(text)


def flaky(until: int) -> int:
    """Succeeds at the given try."""
    job = rq.get_current_job()
    assert job is not None
    tries = job.connection.incr(f"tries:{job.id}")
    if tries < until:
        raise RuntimeError(f"try {tries}")
    return tries


def note(name: str) -> None:
    """Note its turn."""
    job = rq.get_current_job()
    assert job is not None
    job.connection.rpush("notes", f"{name} {time.time()}")


def nested(amount: int) -> list[str]:
    """Give further jobs, and keep something beside the result."""
    job = rq.get_current_job()
    assert job is not None
    job.meta["given"] = amount
    job.save_meta()
    queue = rq.Queue(job.origin, connection=job.connection)
    return [queue.enqueue(add, number, 1).id for number in range(amount)]


def sleep(seconds: float) -> None:
    """Takes its time."""
    job = rq.get_current_job()
    assert job is not None
    job.connection.rpush("sleeping", os.getpid())
    time.sleep(seconds)


def die() -> str:
    """Kills the process of its first run."""
    job = rq.get_current_job()
    assert job is not None
    if job.connection.incr("died") == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


def succeeded(job: rq.job.Job, connection: Any, result: Any, *_: Any) -> None:
    """Called when a job has succeeded."""
    connection.rpush("succeeded", f"{job.id} {result}")


def failed(job: rq.job.Job, connection: Any, kind: type, *_: Any) -> None:
    """Called when a job has failed."""
    connection.rpush("failed", f"{job.id} {kind.__name__}")
