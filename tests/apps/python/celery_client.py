"""What Celery promises: canvas, results, retries, delays, remote control."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest
from celery import chain, chord, group
from celery.exceptions import TaskRevokedError
from celery.exceptions import TimeoutError as NotYet
from celery.result import AsyncResult, GroupResult

from tests.apps.python import celery_app as tasks
from tests.apps.python.scenarios import PATIENCE, judge, until

client = tasks.app.backend.client


def results() -> None:
    """A result is waited for by pub/sub, kept for a time, and forgotten."""
    found = tasks.add.delay(2, 3)
    assert found.get(PATIENCE) == 5
    again = AsyncResult(found.id, app=tasks.app)
    assert (again.state, again.result, again.name, again.args) == ("SUCCESS", 5, "apps.add", [2, 3])
    assert 590 <= client.ttl(f"celery-task-meta-{found.id}") <= 600
    many = [tasks.add.delay(number, number) for number in range(200)]
    assert [one.get(PATIENCE) for one in many] == [2 * number for number in range(200)]
    found.forget()
    assert AsyncResult(found.id, app=tasks.app).state == "PENDING"
    assert tasks.add.apply_async((1, 1), ignore_result=True).id


def canvas() -> None:
    """Chain, group, chord, chunks and their mixture."""
    assert chain(tasks.add.s(1, 2), tasks.add.s(10), tasks.add.s(100))().get(PATIENCE) == 113
    grouped = group(tasks.add.s(number, 1) for number in range(20))()
    assert grouped.get(PATIENCE) == list(range(1, 21))
    grouped.save()
    assert GroupResult.restore(grouped.id, app=tasks.app).get(PATIENCE) == list(range(1, 21))
    assert chord((tasks.add.s(number, number) for number in range(50)), tasks.total.s())().get(PATIENCE) == 2450
    several = group(tasks.add.s(1), tasks.add.s(2), tasks.add.s(3))
    mixed = chain(tasks.add.s(1, 1), several, tasks.total.s(), tasks.add.s(4))
    assert mixed().get(PATIENCE) == 16
    nested = chord([chord([tasks.add.s(1, 1), tasks.add.s(2, 2)], tasks.total.s()), tasks.add.s(3, 3)], tasks.total.s())
    assert nested().get(PATIENCE) == 12
    assert tasks.add.chunks([(number, 1) for number in range(10)], 3).apply_async().get(PATIENCE) == [
        [1, 2, 3], [4, 5, 6], [7, 8, 9], [10]
    ]  # fmt: skip


def failures() -> None:
    """An error comes back with its type; a callback hears of it; a chord whose header fails fails itself."""
    failing = tasks.fail.apply_async(("so wrong",), link_error=tasks.told.s())
    with pytest.raises(ValueError, match="so wrong"):
        failing.get(PATIENCE)
    assert "ValueError: so wrong" in failing.traceback
    assert client.blpop("errors", PATIENCE)[1] == b"so wrong"
    broken = chord([tasks.add.s(1, 1), tasks.fail.s("in a chord")], tasks.total.s())()
    with pytest.raises(Exception, match="in a chord"):  # made anew from what was stored
        broken.get(PATIENCE)


def retries() -> None:
    """A task tries again until it succeeds or has tried enough."""
    assert tasks.flaky.delay(3).get(PATIENCE) == 3
    given_up = tasks.giving_up.delay()
    with pytest.raises(KeyError):
        given_up.get(PATIENCE)
    assert client.get("giving_up") == b"3"


def delays() -> None:
    """Countdown and ETA are kept; what has expired is not run."""
    began = time.time()
    later = tasks.now.apply_async(countdown=0.6)
    at = tasks.now.apply_async(eta=datetime.now(UTC) + timedelta(seconds=0.3))
    assert at.get(PATIENCE) >= began + 0.3
    assert later.get(PATIENCE) >= began + 0.6
    late = tasks.now.apply_async(countdown=0.2, expires=0.01)
    with pytest.raises(TaskRevokedError):
        late.get(PATIENCE)


def progress() -> None:
    """A state of one's own is seen while the task runs."""
    running = tasks.progress.delay()
    until(lambda: running.state == "HALF", "the state HALF")
    assert running.info == {"done": 50}
    with pytest.raises(NotYet):
        running.get(0.05)
    client.rpush("progress:go", 1)
    assert running.get(PATIENCE) == "all"


def acknowledgement() -> None:
    """A rejected task, and one whose process died, are delivered again."""
    assert tasks.rejects.delay().get(PATIENCE) == "second"
    assert tasks.deadly.delay().get(PATIENCE) == "survived"
    assert client.get("deadly") == b"2"
    until(lambda: client.zcard("unacked_index") == 0 and client.hlen("unacked") == 0, "all acknowledged")


def control() -> None:
    """The worker answers, takes a queue and gives it back, revokes what waits and ends what runs."""
    remote = tasks.app.control
    (answer,) = remote.inspect(limit=1, timeout=PATIENCE).ping().items()
    name = answer[0]
    assert answer[1] == {"ok": "pong"}
    asked = remote.inspect([name], timeout=PATIENCE)
    options = {"destination": [name], "reply": True, "limit": 1}
    tasks.held.delay()
    assert client.llen("held") == 1
    assert list(remote.add_consumer("held", **options)[0]) == [name]
    assert client.blpop("held:ran", PATIENCE)
    assert {queue["name"] for queue in asked.active_queues()[name]} == {"celery", "held"}
    remote.cancel_consumer("held", **options)
    running = tasks.sleeping.delay(120)
    assert client.blpop("sleeping", PATIENCE)
    (active,) = asked.active()[name]
    assert active["id"] == running.id
    running.revoke(terminate=True, signal="SIGKILL")
    with pytest.raises(TaskRevokedError):
        running.get(PATIENCE)
    waiting = tasks.now.apply_async(countdown=2)
    remote.revoke(waiting.id, **options)
    with pytest.raises(TaskRevokedError):
        waiting.get(PATIENCE)
    assert asked.stats()[name]["total"]["apps.add"] > 200


def events() -> None:
    """What the worker does is told to whoever listens."""
    remote = tasks.app.control
    remote.enable_events(reply=True, limit=1)
    seen: list[str] = []
    with tasks.app.connection_for_read() as connection:

        def hear(event: dict[str, object]) -> None:
            seen.append(str(event["type"]))
            if seen.count("worker-heartbeat") == 1 and seen[-1] == "worker-heartbeat":
                tasks.add.delay(1, 1)  # the worker answers that it is there as soon as somebody listens
            receiver.should_stop = seen[-1] == "task-succeeded"

        receiver = tasks.app.events.Receiver(connection, handlers={"*": hear})
        receiver.capture(limit=None, timeout=PATIENCE, wakeup=True)
    assert {"task-received", "task-started", "task-succeeded"} <= set(seen), seen
    remote.disable_events(reply=True, limit=1)


if __name__ == "__main__" and len(sys.argv) > 1:
    found = AsyncResult(sys.argv[1], app=tasks.app)
    value = found.get(2 * PATIENCE)
    print(json.dumps({found.state: value}))
elif __name__ == "__main__":
    judge(results, canvas, failures, retries, delays, progress, acknowledgement, control, events)
