"""A Celery application whose broker and result backend are the service at $KVORUM_URL, set up as for any service that
may fail over: connections are made anew for as long as it takes, a command whose connection breaks is repeated, and
results are stored again when they could not be.

Without `retry_on_timeout`, which has redis-py repeat a command once, Celery loses a message when the connection breaks
between `BRPOP` and the note that it is not acknowledged: it gives the message up. To note it, and to acknowledge it,
may be repeated; Celery's `BRPOP` is sent by other means and never repeated by the client.
"""

from __future__ import annotations

import os

from celery import Celery

from tests.system.queues.truth import note

URL = os.environ["KVORUM_URL"]

app = Celery("queues", broker=URL, backend=URL)
app.conf.update(
    task_acks_late=os.environ.get("KVORUM_ACKS_LATE") == "yes",
    task_publish_retry=True,
    task_publish_retry_policy={"max_retries": 50, "interval_start": 0.05, "interval_step": 0.05, "interval_max": 0.5},
    broker_connection_retry=True,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={
        "retry_on_timeout": True,
        "visibility_timeout": 5,  # as for jobs that take less; by default it is an hour
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    },
    redis_retry_on_timeout=True,
    result_backend_transport_options={
        "retry_policy": {"max_retries": 100, "interval_start": 0.05, "interval_step": 0.05, "interval_max": 0.5}
    },
    result_backend_always_retry=True,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    worker_hijack_root_logger=False,
)


@app.task(name="queues.square")
def square(number: int) -> int:
    """Note the run, and answer with the square."""
    note(number)
    return number * number
