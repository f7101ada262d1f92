"""What RQ promises: results, retries, schedules, dependencies, registries, commands to its workers."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta

import redis
from rq import Callback, Queue, RateLimit, Repeat, Retry, Worker
from rq.command import send_stop_job_command
from rq.group import Group
from rq.job import Dependency, Job, JobStatus
from rq.results import Result

from tests.apps.python import rq_jobs as jobs
from tests.apps.python.scenarios import PATIENCE, judge, until

client = redis.Redis.from_url(os.environ["APPS_URL"])
queue = Queue("default", connection=client)


def wait(job: Job, status: JobStatus = JobStatus.FINISHED) -> Job:
    """The job when it has come so far."""
    until(lambda: job.get_status(refresh=True) == status, f"{job.func_name} {status}, but {job.get_status()}")
    return job


def results() -> None:
    """A result is waited for in its stream, and kept for a time."""
    job = queue.enqueue(jobs.add, 2, 3, result_ttl=100)
    latest = job.latest_result(timeout=int(PATIENCE))
    assert latest is not None
    assert (latest.type, latest.return_value) == (Result.Type.SUCCESSFUL, 5)
    wait(job)
    assert 90 <= client.ttl(f"rq:job:{job.id}") <= 100
    assert job.id in queue.finished_job_registry.get_job_ids()
    with client.pipeline() as pipe:
        data = [Queue.prepare_data(jobs.add, (n, n), job_id=f"many-{n}") for n in range(10)]
        many = queue.enqueue_many(data, pipeline=pipe)
        pipe.execute()
    assert [wait(one).return_value(refresh=True) for one in many] == [2 * n for n in range(10)]
    assert [one.return_value() for one in Job.fetch_many(["many-1", "many-7"], connection=client)] == [2, 14]
    unique = queue.enqueue_call(jobs.add, (1, 1), job_id="once", unique=True)
    wait(unique).delete()
    assert not client.exists("rq:job:once")


def nested() -> None:
    """A job gives further jobs, and its meta data are there."""
    job = wait(queue.enqueue(jobs.nested, 3))
    assert job.get_meta() == {"given": 3}
    assert [wait(Job.fetch(one, connection=client)).return_value() for one in job.return_value()] == [1, 2, 3]


def failures() -> None:
    """A failed job is in its registry with its traceback, and can be sent again; callbacks hear of both ends."""
    good = queue.enqueue(jobs.add, 1, 1, on_success=Callback(jobs.succeeded), on_failure=Callback(jobs.failed))
    assert client.blpop("succeeded", PATIENCE)[1] == f"{good.id} 2".encode()
    bad = queue.enqueue(jobs.fail, "so wrong", on_success=Callback(jobs.succeeded), on_failure=Callback(jobs.failed))
    assert client.blpop("failed", PATIENCE)[1] == f"{bad.id} ValueError".encode()
    wait(bad, JobStatus.FAILED)
    assert queue.failed_job_registry.get_job_ids() == [bad.id]
    assert "ValueError: so wrong" in bad.latest_result().exc_string
    queue.failed_job_registry.requeue(bad.id)
    until(lambda: len(bad.results()) == 2, "the second failure")
    wait(bad, JobStatus.FAILED)
    queue.failed_job_registry.remove(bad.id, delete_job=True)
    assert queue.failed_job_registry.get_job_count() == 0


def retries() -> None:
    """At once, and after an interval that the scheduler keeps."""
    assert wait(queue.enqueue(jobs.flaky, 3, retry=Retry(3))).return_value() == 3
    assert wait(queue.enqueue(jobs.flaky, 2, retry=Retry(1, interval=1))).return_value() == 2
    bad = queue.enqueue(jobs.fail, "always", retry=Retry(2))
    assert bad.latest_result(timeout=int(PATIENCE)).type == Result.Type.FAILED  # only the last failure is a result
    wait(bad, JobStatus.FAILED)
    bad.refresh()
    assert bad.retries_left == 0


def schedules() -> None:
    """Jobs at a time, after a time, again and again, and taken back. RQ knows whole seconds."""
    began = time.time()
    queue.enqueue_in(timedelta(seconds=1), jobs.note, "in")
    queue.enqueue_at(datetime.now(UTC) + timedelta(seconds=1), jobs.note, "at")
    never = queue.enqueue_in(timedelta(hours=1), jobs.note, "never")
    assert queue.scheduled_job_registry.count == 3
    heard = dict(client.blpop("notes", PATIENCE)[1].decode().split() for _ in range(2))
    assert heard.keys() == {"in", "at"}
    assert all(float(at) >= int(began + 1) for at in heard.values())
    never.cancel()
    assert (never.get_status(), queue.scheduled_job_registry.count) == (JobStatus.CANCELED, 0)
    queue.enqueue(jobs.note, "repeated", repeat=Repeat(times=2))
    for _ in range(3):
        assert client.blpop("notes", PATIENCE)[1].startswith(b"repeated")


def dependencies() -> None:
    """A job waits for others, and may wait for those that fail."""
    parents = [queue.enqueue(jobs.add, n, 1) for n in range(3)]
    assert wait(queue.enqueue(jobs.add, 5, 5, depends_on=parents)).return_value() == 10
    bad = queue.enqueue(jobs.fail, "parent")
    stuck = queue.enqueue(jobs.add, 1, 1, depends_on=bad)
    free = queue.enqueue(jobs.add, 2, 2, depends_on=Dependency([bad], allow_failure=True))
    assert wait(free).return_value() == 4
    assert stuck.get_status() == JobStatus.DEFERRED
    group = Group.create(connection=client)
    members = group.enqueue_many(queue, [Queue.prepare_data(jobs.add, (n, n)) for n in range(3)])
    assert [wait(one).return_value() for one in members] == [0, 2, 4]
    assert len(group.get_jobs()) == 3


def order() -> None:
    """Of a queue that nobody works on: at the front, positions, emptying."""
    idle = Queue("idle", connection=client)
    first, second = idle.enqueue(jobs.add, 1, 1), idle.enqueue(jobs.add, 2, 2)
    front = idle.enqueue(jobs.add, 3, 3, at_front=True)
    assert idle.get_job_ids() == [front.id, first.id, second.id]
    assert second.get_position() == 2
    first.cancel()
    assert first.id in idle.canceled_job_registry.get_job_ids()
    assert {one.name for one in Queue.all(connection=client)} >= {"default", "idle"}
    assert idle.empty() == 2
    assert (idle.count, client.exists(f"rq:job:{second.id}")) == (0, 0)


def limits() -> None:
    """Jobs with the same key wait for each other."""
    limited = [queue.enqueue(jobs.add, n, 1, rate_limit=RateLimit("k", concurrency=1)) for n in range(4)]
    assert [wait(one).return_value() for one in limited] == [1, 2, 3, 4]


def workers() -> None:
    """Two are known; one is told to stop its job; a job whose process dies has failed, and runs when sent again."""
    until(lambda: Worker.count(connection=client) == 2, "two workers")
    long = queue.enqueue(jobs.sleep, 60)
    assert client.blpop("sleeping", PATIENCE)
    wait(long, JobStatus.STARTED)
    assert [one.get_current_job_id() for one in Worker.all(connection=client)].count(long.id) == 1
    send_stop_job_command(client, long.id)
    wait(long, JobStatus.STOPPED)
    dead = wait(queue.enqueue(jobs.die), JobStatus.FAILED)
    assert "killed" in dead.latest_result().exc_string or "terminated" in dead.latest_result().exc_string
    dead.requeue()
    assert wait(dead).return_value() == "survived"
    until(lambda: queue.started_job_registry.count == 0, "no job is started")


if __name__ == "__main__":
    judge(results, nested, failures, retries, schedules, dependencies, order, limits, workers)
