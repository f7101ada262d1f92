"""django-redis, as its registry has it: the cache of a Django site, with its sessions and locks."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from tests.apps.conftest import outcomes

pytest.importorskip("django_redis", reason="django-redis is not installed")

SCENARIOS = (
    "values", "counters", "times", "patterns", "locks", "packed", "containers", "sessions", "raw",
)  # fmt: skip


@pytest.fixture(scope="module")
def ran(url: str) -> dict[str, Any]:
    """What became of every scenario."""
    return outcomes([sys.executable, "-W", "ignore", "-m", "tests.apps.python.django_app"], APPS_URL=url)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_django(ran: dict[str, Any], scenario: str) -> None:
    """Values, counters, times to live, patterns, locks, packed values, sets, sessions, and the client below."""
    assert ran[scenario] == "ok"
    assert set(ran) == set(SCENARIOS)
