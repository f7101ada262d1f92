"""A Celery application whose broker and result backend are the service at $KVORUM_URL, set up as for any service that
may fail over: connections are made anew for as long as it takes, and results are stored again when they could not be.

Celery's worker holds a redis-py lock while it looks for messages to deliver again, and redis-py lets go of a lock by a
Lua script. The service has no scripts yet, so the lock here lets go by WATCH, GET, MULTI, DEL and EXEC; redis-py takes
another class of lock as an argument, and Celery another transport. For the same reason nothing here has a queue that
expires: remote control and gossip are off.
"""

from __future__ import annotations

import os
from typing import Any

import redis
from celery import Celery
from kombu.transport import redis as transport
from redis.backoff import ExponentialBackoff
from redis.exceptions import LockNotOwnedError, WatchError
from redis.lock import Lock
from redis.retry import Retry

from tests.system.queues.truth import note

URL = os.environ["KVORUM_URL"]


class WatchLock(Lock):
    """A lock that is let go without a script."""

    def do_release(self, expected_token: str) -> None:
        with self.redis.pipeline() as pipe:
            try:
                pipe.watch(self.name)
                if pipe.get(self.name) == expected_token:
                    pipe.multi()
                    pipe.delete(self.name)
                    pipe.execute()
                    return
            except WatchError:
                pass
        raise LockNotOwnedError("the lock has another owner now", lock_name=self.name)


class Client(redis.Redis):
    """redis-py with that lock."""

    def lock(self, name: str, *arguments: Any, **options: Any) -> Lock:
        return super().lock(name, *arguments, **{"lock_class": WatchLock, **options})


class Channel(transport.Channel):
    """Celery's channel with that client, which repeats a command when its connection breaks.

    Without this Celery loses a message when the connection breaks between `BRPOP` and the note that it is not
    acknowledged: it gives the message up. To note it, and to acknowledge it, may be repeated; Celery's `BRPOP` is sent
    by other means and never repeated by the client.
    """

    def _get_client(self) -> type[redis.Redis]:
        return Client

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        retry = Retry(ExponentialBackoff(cap=0.5, base=0.02), 20)
        return {**super()._connparams(asynchronous), "retry": retry}


class Transport(transport.Transport):
    """Celery's transport with that channel."""

    Channel = Channel


app = Celery("queues", broker=URL, backend=URL)
app.conf.update(
    broker_transport=Transport,
    task_acks_late=os.environ.get("KVORUM_ACKS_LATE") == "yes",
    task_publish_retry=True,
    task_publish_retry_policy={"max_retries": 50, "interval_start": 0.05, "interval_step": 0.05, "interval_max": 0.5},
    broker_connection_retry=True,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={
        "visibility_timeout": 5,  # as for jobs that take less; by default it is an hour
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    },
    result_backend_transport_options={
        "retry_policy": {"max_retries": 100, "interval_start": 0.05, "interval_step": 0.05, "interval_max": 0.5}
    },
    result_backend_always_retry=True,
    worker_enable_remote_control=False,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    worker_hijack_root_logger=False,
)


@app.task(name="queues.square")
def square(number: int) -> int:
    """Note the run, and answer with the square."""
    note(number)
    return number * number
