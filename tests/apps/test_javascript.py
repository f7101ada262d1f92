"""BullMQ, ioredis and node-redis: each runs its scenarios side by side and says what became of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.apps.conftest import Service, outcomes

BULLMQ = (
    "add", "delay", "postpone", "repeat", "flows", "grown", "failedChild", "rateLimit", "rateLimitByHand", "stalled",
    "retries", "failures", "priorities", "lifo", "pause", "deduplicate", "events",
)  # fmt: skip
IOREDIS = ("pipeline", "automatic", "transactions", "commands", "lock", "blocking", "pubsub", "streams", "scans")
NODE_REDIS = ("cached", "scripts", "functions", "pool", "pushed", "iterators")


@pytest.fixture(scope="module")
def ran(javascript: Path, url: str) -> dict[str, dict[str, Any]]:
    """What became of every scenario of the three, by program."""
    return {name: outcomes(["node", f"{name}.mjs", url], javascript) for name in ("bullmq", "ioredis", "node_redis")}


@pytest.mark.parametrize("scenario", BULLMQ)
def test_bullmq(ran: dict[str, dict[str, Any]], scenario: str) -> None:
    """Jobs are added, delayed, repeated, rate-limited, retried, taken over when they stall, and wait for others."""
    assert ran["bullmq"][scenario] == "ok"


@pytest.mark.parametrize("scenario", IOREDIS)
def test_ioredis(ran: dict[str, dict[str, Any]], scenario: str) -> None:
    """Pipelines, transactions, own commands by script, a lock, blocking pops, pub/sub, streams and scans."""
    assert ran["ioredis"][scenario] == "ok"


@pytest.mark.parametrize("scenario", NODE_REDIS)
def test_node_redis(ran: dict[str, dict[str, Any]], scenario: str, url: str, service: Service) -> None:
    """A client-side cache that is told of changes, scripts, functions, a pool, pushed messages and iterators.

    The proxy's clients share connections, so it refuses to track keys for one of them.
    """
    if scenario == "cached" and url != service.direct:
        assert "'client|tracking' is not available through the proxy" in ran["node_redis"][scenario]
        return
    assert ran["node_redis"][scenario] == "ok"


def test_nothing_is_left_out(ran: dict[str, dict[str, Any]]) -> None:
    """Every scenario of the programs is judged above."""
    assert {name: set(found) for name, found in ran.items()} == {
        "bullmq": set(BULLMQ),
        "ioredis": set(IOREDIS),
        "node_redis": set(NODE_REDIS),
    }
