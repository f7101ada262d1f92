"""Sidekiq: a worker process of Debian's package, and a client that gives it jobs."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from tests.apps.conftest import APPS, outcomes, running

SCENARIOS = ("jobs", "scheduled", "retries", "dead", "busy", "queues")


@pytest.fixture(scope="module")
def ran(url: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What became of every scenario."""
    if shutil.which("sidekiq") is None:
        pytest.skip("Sidekiq (Debian's ruby-sidekiq) is not installed")
    folder = APPS / "ruby"
    worker = ["sidekiq", "-r", "./jobs.rb", "-c", "4", "-q", "critical", "-q", "default", "-t", "1"]
    with running(worker, tmp_path_factory.mktemp("sidekiq") / "log", folder, REDIS_URL=url):
        return outcomes(["ruby", "client.rb"], folder, REDIS_URL=url)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_sidekiq(ran: dict[str, Any], scenario: str) -> None:
    """Jobs run, also later, again when they fail, and end in the dead set; processes and queues can be looked at."""
    assert ran[scenario] == "ok"
    assert set(ran) == set(SCENARIOS)
