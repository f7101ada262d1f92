"""Celery and RQ, through the plain endpoint of a one-shard service whose primary is killed meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import rq

from tests.conftest import ROOT
from tests.system import queue_jobs
from tests.system.proxy_rig import Rig, single_rig, wait_for

JOBS = 1000
KILL_AT = 400

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A genuine primary with a replica behind a proxy."""
    yield from single_rig(tmp_path)


def start_worker(rig: Rig, *arguments: str) -> tuple[subprocess.Popen[bytes], Path]:
    """A worker process, and the file in which its jobs are noted."""
    done = rig.folder / "done"
    done.touch()
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "KVORUM_TEST_URL": f"redis://127.0.0.1:{rig.port}/0",
        "KVORUM_TEST_FILE": str(done),
    }
    with (rig.folder / "worker.log").open("wb") as log:
        worker = subprocess.Popen([sys.executable, "-m", *arguments], env=environment, stdout=log, stderr=log)
    return worker, done


def finish(worker: subprocess.Popen[bytes], done: Path) -> Counter[int]:
    """Wait until every job has been noted, and end the worker."""
    try:
        wait_for(lambda: worker.poll() is not None or len(set(done.read_text().split())) == JOBS, 120)
        assert worker.poll() is None, "the worker has died"
    finally:
        worker.terminate()
        worker.wait(30)
    return Counter(int(number) for number in done.read_text().split())


def test_celery_completes_a_thousand_jobs(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Worker and result backend go on after the kill; no job is lost, none runs twice, every result is right."""
    url = f"redis://127.0.0.1:{rig.port}/0"
    app = queue_jobs.app
    app.conf.update(broker_url=url, result_backend=url)
    worker, done = start_worker(rig, "celery", "-A", "tests.system.queue_jobs", "worker", "-P", "solo")
    results = []
    for number in range(JOBS):
        if number == KILL_AT:
            rig.nodes[0].kill()
            rig.promote(0, 2)
        results.append(queue_jobs.noted.delay(number))
    ran = finish(worker, done)

    assert ran == Counter(range(JOBS))
    assert [result.get(timeout=20) for result in results] == [number * 2 for number in range(JOBS)]
    app.close()


def test_rq_completes_a_thousand_jobs(rig: Rig) -> None:
    """The worker and the client that enqueues go on after the kill; no job is lost or runs twice."""
    url = f"redis://127.0.0.1:{rig.port}/0"
    simple = ["--worker-class", "rq.worker.SimpleWorker"]
    worker, done = start_worker(rig, "rq.cli", "worker", "--url", url, *simple, "jobs")
    with redis.Redis.from_url(url) as client:
        queue = rq.Queue("jobs", connection=client)
        for number in range(JOBS):
            if number == KILL_AT:
                rig.nodes[0].kill()
                rig.promote(0, 2)
            queue.enqueue(queue_jobs.note, number)
        ran = finish(worker, done)

    assert ran == Counter(range(JOBS))
