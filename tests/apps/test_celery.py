"""Celery with its Redis broker and result backend, as its registry has it: a prefork worker, and a client."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.apps.conftest import PATIENCE, outcomes, running

pytest.importorskip("celery", reason="Celery is not installed")

SCENARIOS = (
    "results", "canvas", "failures", "retries", "delays", "progress", "acknowledgement", "control", "events",
)  # fmt: skip
APPLICATION = "tests.apps.python.celery_app"
WORKER = [sys.executable, "-W", "ignore", "-m", "celery", "-A", APPLICATION, "worker", "-l", "warning"]
CLIENT = [sys.executable, "-W", "ignore", "-m", "tests.apps.python.celery_client"]


@pytest.fixture(scope="module")
def ran(url: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What became of every scenario."""
    log = tmp_path_factory.mktemp("celery") / "log"
    with running([*WORKER, "-c", "4", "-n", "first@tests"], log, APPS_URL=url):
        return outcomes(CLIENT, APPS_URL=url)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_celery(ran: dict[str, Any], scenario: str) -> None:
    """Results, canvas, errors, retries, delays, states, late acknowledgement, remote control, events."""
    assert ran[scenario] == "ok"
    assert set(ran) == set(SCENARIOS)


def test_a_killed_worker_loses_nothing(url: str, tmp_path: Path) -> None:
    """What a worker had not acknowledged when it was killed is run by another after the visibility timeout."""
    options = {"APPS_URL": url, "APPS_VISIBILITY": "1"}
    send = [sys.executable, "-W", "ignore", "-m", "celery", "-A", APPLICATION, "call", "apps.sleeping", "-a", "[600]"]
    with redis.Redis.from_url(url) as client:
        client.flushall()
        with running([*WORKER, "-P", "solo", "-n", "a@tests"], tmp_path / "log", **options) as first:
            sent = subprocess.run(
                send, env={**os.environ, **options}, capture_output=True, text=True, timeout=PATIENCE, check=True
            )
            assert client.blpop("sleeping", PATIENCE)
            first.send_signal(signal.SIGKILL)
            first.wait(PATIENCE)
        client.rpush("sleeping", "it need not sleep again")
        with running([*WORKER, "-P", "solo", "-n", "b@tests"], tmp_path / "log", **options):
            outcome = outcomes([*CLIENT, sent.stdout.strip()], **options)
        assert outcome == {"SUCCESS": "awake"}
