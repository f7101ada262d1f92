"""RQ, as its registry has it: two workers, one with the scheduler, and a client."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from tests.apps.conftest import outcomes, running

pytest.importorskip("rq", reason="RQ is not installed")

SCENARIOS = (
    "results", "nested", "failures", "retries", "schedules", "dependencies", "order", "limits", "workers",
)  # fmt: skip


@pytest.fixture(scope="module")
def ran(url: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What became of every scenario."""
    log = tmp_path_factory.mktemp("rq") / "log"
    python = [sys.executable, "-W", "ignore", "-m"]
    worker = [*python, "rq.cli", "worker", "-u", url, "--job-monitoring-interval", "1", "-q"]
    with running([*worker, "-s", "default"], log), running([*worker, "default"], log):
        return outcomes([*python, "tests.apps.python.rq_client"], APPS_URL=url)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_rq(ran: dict[str, Any], scenario: str) -> None:
    """Results, retries, schedules, dependencies, registries, limits, and what workers are told."""
    assert ran[scenario] == "ok"
    assert set(ran) == set(SCENARIOS)
