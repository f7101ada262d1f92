"""Job queues that we did not write, on a service of one shard behind its proxy, while its primary is killed.

What ran is known from a file to which every job appends a line, not from the store. What the queues promise:

* Celery delivers a message at least once. `BRPOP` takes it off the queue, then the worker notes it as unacknowledged;
  what is still noted after the visibility timeout, or when the worker gives its channel up, is delivered again. A
  worker that loses its channel goes on with the jobs that it has but cannot acknowledge them, so they run again: with
  early acknowledgement (when the job starts) and with late (when it has ended) at most what it prefetches, which is 4
  for each of its 2 slots. The sender repeats a message when it cannot know whether it arrived: one more. Mostly nothing
  runs twice, because redis-py is told to repeat what its broken connection leaves open (see queues/celery_app.py).
* RQ moves a job's id to a list of its own (`BLMOVE`), notes that the job has started, and stores its end in a
  transaction. A worker that cannot know whether one of these happened repeats the command, not the job, so a job runs
  once; the sender repeats a job when it cannot know whether it arrived: one may run twice.
* BullMQ moves jobs by scripts, each of which happens as a whole or not at all; ioredis repeats what its broken
  connection left open. A job that was moved to a worker that does not know is taken up again when its lock has lapsed;
  a job that is sent by an ID of its own is one job however often it is sent.

Only the reply to a pop of the first two can be lost with its element, by their own design, in the microseconds between
a primary's handing the pop to its replica and its reply to the client.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from tests.apps.conftest import install_javascript
from tests.conftest import find_free_port
from tests.system.test_up import ROOT, House, start

rq = pytest.importorskip("rq", reason="RQ is not installed")
pytest.importorskip("celery", reason="Celery is not installed")

JOBS = 1000
FEW = 200
SLOTS = 2
PREFETCHED = 4 * SLOTS
PATIENCE = 150.0

BLUEPRINT = """\
services:
- type: keyvalue
  name: jobs
  plan: starter
  maxmemoryPolicy: noeviction
  shards: 1
  ipAllowList: [{source: 127.0.0.1, description: tests}]
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One shard with a replica, three sentinels, a proxy; for all tests here, each of which empties it."""
    folder = tmp_path_factory.mktemp("queues")
    blueprint = folder / "kvorum.yaml"
    blueprint.write_text(BLUEPRINT)
    found = start(
        folder / "home", str(blueprint), "--port", str(find_free_port()), "--external-port", str(find_free_port())
    )
    found.until(lambda now: now["state"] == "available")
    yield found
    found.stop(signal.SIGTERM)
    assert found.process.stdout is not None
    found.process.stdout.close()


@pytest.fixture
def client(house: House) -> Iterator[redis.Redis]:
    """An own view of the empty service."""
    house.until(lambda now: now["state"] == "available")
    with redis.Redis.from_url(house.service["internal_url"], retry=Retry(ConstantBackoff(0.1), 50)) as found:
        found.flushall()
        yield found


@dataclass
class Runs:
    """The file of what ran."""

    path: Path

    def read(self) -> list[tuple[int, int]]:
        """Number and time of each run."""
        if not self.path.exists():
            return []
        return [(int(line.split()[0]), int(line.split()[1])) for line in self.path.read_text().splitlines()]

    def wait(self, count: int, workers: list[subprocess.Popen[bytes]]) -> None:
        """Until so many jobs have run."""
        until(lambda: len({number for number, _ in self.read()}) >= count, workers, lambda: f"{count} jobs ran")

    def figures(self, jobs: int, seconds: float) -> dict[str, Any]:
        """What is printed and judged."""
        runs = sorted(self.read(), key=lambda run: run[1])
        times = [at for _, at in runs]
        counts = Counter(number for number, _ in runs)
        return {
            "jobs": jobs,
            "runs": len(runs),
            "lost": len(set(range(jobs)) - set(counts)),
            "duplicates": len(runs) - len(counts),
            "seconds": round(seconds, 1),
            "longest_pause_ms": max((b - a) // 1_000_000 for a, b in pairwise(times)) if times[1:] else 0,
        }


def until(right: Callable[[], bool], workers: list[subprocess.Popen[bytes]], what: Callable[[], str]) -> None:
    """Wait for something that offers no event; fails when it does not come or a worker ends."""
    deadline = time.monotonic() + PATIENCE
    while not right():
        ended = [worker.returncode for worker in workers if worker.poll() is not None]
        assert not ended, f"a worker ended with {ended} before {what()}"
        assert time.monotonic() < deadline, f"not in {PATIENCE:.0f} seconds: {what()}"
        time.sleep(0.05)


@contextmanager
def workers(
    commands: list[list[str]], environment: dict[str, str], log: Path, cwd: Path = ROOT
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Worker processes, each ended by its pid; their logs are shown when the test fails."""
    running = []
    with log.open("wb") as output:
        for command in commands:
            running.append(
                subprocess.Popen(
                    command if command[0] == "node" else [sys.executable, "-W", "ignore", "-m", *command],
                    cwd=cwd,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                )
            )
    try:
        yield running
    except BaseException:
        print(log.read_text(errors="replace")[-6000:])
        raise
    finally:
        for worker in running:
            worker.terminate()
        for worker in running:
            try:
                worker.wait(10)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait(10)


class Killing:
    """Kills the primary when a number of jobs has run, from a thread, and says whether another took its place."""

    def __init__(self, house: House, runs: Runs, after: int) -> None:
        self._house = house
        self._runs = runs
        self._after = after
        self._node = house.shard(0)["nodes"][0]
        self._killed = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self._runs.wait(self._after, [])
        os.kill(self._node["pid"], signal.SIGKILL)
        self._killed = True

    def verify(self) -> None:
        """The other node leads now."""
        self._thread.join(PATIENCE)
        assert self._killed
        self._house.until(lambda now: now["state"] == "available")
        assert self._house.shard(0)["nodes"][0]["name"] != self._node["name"]


def environment_of(house: House, runs: Runs, **more: str) -> dict[str, str]:
    """Where the workers find the service and the file."""
    return {**os.environ, "KVORUM_URL": house.service["internal_url"], "KVORUM_RUNS": str(runs.path), **more}


def show(name: str, figures: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """Print what was counted, past pytest's capture."""
    with capsys.disabled():
        print(f"\n{name}: " + ", ".join(f"{key} {value}" for key, value in figures.items()))


def celery(
    house: House, client: redis.Redis, folder: Path, jobs: int, kill: bool, pool: str, late: bool
) -> dict[str, Any]:
    """Send jobs while a worker runs them; all results must be there."""
    runs = Runs(folder / "runs")
    environment = environment_of(house, runs, KVORUM_ACKS_LATE="yes" if late else "no")
    application = "tests.system.queues.celery_app"
    command = ["celery", "-A", application, "worker", "-P", pool, "-c", str(SLOTS), "-l", "warning"]
    sender = [sys.executable, "-W", "ignore", "-m", "tests.system.queues.celery_send", str(jobs)]
    began = time.monotonic()
    with workers([command], environment, folder / "log") as running:
        killing = Killing(house, runs, jobs // 3) if kill else None
        done = subprocess.run(
            sender, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert done.returncode == 0, done.stderr
        ids = done.stdout.split()
        assert len(ids) == jobs
        keys = [f"celery-task-meta-{one}" for one in ids]
        until(lambda: client.exists(*keys) == jobs, running, lambda: f"all results ({runs.figures(jobs, 0)})")
        results = [json.loads(value) for value in client.mget(keys)]
        until(
            lambda: client.llen("celery") == 0 and not client.exists("unacked"), running, lambda: "nothing left to do"
        )
        figures = runs.figures(jobs, time.monotonic() - began)
        if killing is not None:
            killing.verify()
    assert [result["status"] for result in results] == ["SUCCESS"] * jobs
    assert [result["result"] for result in results] == [number * number for number in range(jobs)]
    return figures


def run_rq(house: House, client: redis.Redis, folder: Path, jobs: int, kill: bool) -> dict[str, Any]:
    """Send jobs while workers run them; all must be finished."""
    runs = Runs(folder / "runs")
    queue = rq.Queue("square", connection=client)
    began = time.monotonic()
    with workers([["tests.system.queues.rq_worker"]] * SLOTS, environment_of(house, runs), folder / "log") as running:
        killing = Killing(house, runs, jobs // 3) if kill else None
        sent = [queue.enqueue("tests.system.queues.rq_jobs.square", number, result_ttl=600) for number in range(jobs)]
        finished = queue.finished_job_registry
        until(
            lambda: finished.get_job_count(cleanup=False) == jobs,
            running,
            lambda: f"all finished ({runs.figures(jobs, 0)})",
        )
        figures = runs.figures(jobs, time.monotonic() - began)
        if killing is not None:
            killing.verify()
    fresh = rq.job.Job.fetch_many([job.id for job in sent], connection=client)
    assert [job.get_status(refresh=False) for job in fresh] == ["finished"] * jobs
    assert [job.return_value() for job in fresh] == [number * number for number in range(jobs)]
    assert (queue.count, queue.started_job_registry.count, queue.failed_job_registry.count) == (0, 0, 0)
    return figures


def bullmq(house: House, client: redis.Redis, folder: Path, jobs: int) -> dict[str, Any]:
    """Send jobs while two workers run them and the primary is killed; all must be completed."""
    runs = Runs(folder / "runs")
    environment = environment_of(house, runs)
    javascript = install_javascript()
    script = ["node", "bullmq_failover.mjs"]
    began = time.monotonic()
    with workers([[*script, "work"]] * SLOTS, environment, folder / "log", javascript) as running:
        killing = Killing(house, runs, jobs // 3)
        done = subprocess.run(
            [*script, "send", str(jobs)], cwd=javascript, env=environment, capture_output=True, text=True,
            timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        until(
            lambda: client.zcard("bull:square:completed") == jobs,
            running,
            lambda: f"all completed ({runs.figures(jobs, 0)})",
        )
        figures = runs.figures(jobs, time.monotonic() - began)
        killing.verify()
    results = [client.hget(f"bull:square:n-{number}", "returnvalue") for number in range(jobs)]
    assert [int(result) for result in results] == [number * number for number in range(jobs)]
    return figures


def test_celery_undisturbed(house: House, client: redis.Redis, tmp_path: Path) -> None:
    """200 jobs run once each and have their results."""
    figures = celery(house, client, tmp_path, FEW, kill=False, pool="threads", late=False)
    assert (figures["runs"], figures["lost"], figures["duplicates"]) == (FEW, 0, 0)


def test_rq_undisturbed(house: House, client: redis.Redis, tmp_path: Path) -> None:
    """200 jobs run once each and are finished."""
    figures = run_rq(house, client, tmp_path, FEW, kill=False)
    assert (figures["runs"], figures["lost"], figures["duplicates"]) == (FEW, 0, 0)


@pytest.mark.slow
@pytest.mark.parametrize(("pool", "late"), [("threads", False), ("prefork", True)])
def test_celery_while_the_primary_is_killed(
    house: House, client: redis.Redis, tmp_path: Path, pool: str, late: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """1,000 jobs: none is lost, and none but what was prefetched or being sent is delivered again."""
    figures = celery(house, client, tmp_path, JOBS, kill=True, pool=pool, late=late)
    show(f"Celery, {pool}, {'late' if late else 'early'} acknowledgement", figures, capsys)
    assert figures["lost"] == 0
    assert figures["duplicates"] <= PREFETCHED + 1


@pytest.mark.slow
def test_rq_while_the_primary_is_killed(
    house: House, client: redis.Redis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """1,000 jobs: each runs once, but for one that was being sent, and is finished."""
    figures = run_rq(house, client, tmp_path, JOBS, kill=True)
    show("RQ", figures, capsys)
    assert figures["lost"] == 0
    assert figures["duplicates"] <= 1


@pytest.mark.slow
def test_bullmq_while_the_primary_is_killed(
    house: House, client: redis.Redis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """1,000 jobs: all are completed, and at most those that were running run again."""
    figures = bullmq(house, client, tmp_path, JOBS)
    show("BullMQ", figures, capsys)
    assert figures["lost"] == 0
    assert figures["duplicates"] <= 4 * SLOTS
