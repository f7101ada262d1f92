"""Damaged values to genuine Valkey and to us: what it refuses we refuse or read soundly, what both read is the same.

Valkey checks as `sanitize-dump-payload yes` has it, so that it does not crash; every seed is one payload.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import pytest
import redis

from node.rdb.decode import restore
from node.rdb.encode import dump
from node.rdb.reader import RdbError
from tests.conftest import Server
from tests.unit import old_rdb as old
from tests.unit.mutations import broken_payload, seeds

# Valkey reads on into the trailer of a payload, leaves bytes behind a value, takes special strings for lengths, and
# scores from whatever strtod makes of them; groups and IDs of streams it does not compare.
STRICTER = re.compile(
    r"bytes are left|bytes expected|can't be in|length form|special string|no number|not a number|last ID|before 1970|"
    r"negative (number|time)|ascend|order|number of its entries|"
    r"twice|backward length|unknown flags|compressed string"
)
PAYLOADS = [
    old.payload(kind, value, 80) for kind, value in [*old.VALUES.values(), old.FIELD_TIMES] if len(value) < 2000
]


def judged(client: redis.Redis, key: str, payload: bytes) -> str:
    """Why Valkey refuses a payload; empty when it takes it."""
    try:
        client.restore(key, 0, payload, replace=True)
    except redis.ResponseError as error:
        return str(error)
    return ""


def compare(client: redis.Redis, first_seeds: range) -> dict[str, int]:
    """Give both the payloads of these seeds; how often they agree, and how they do not."""
    found: dict[str, int] = {}
    for seed in first_seeds:
        rng = random.Random(seed)
        payload = broken_payload(rng.choice(PAYLOADS), rng)
        theirs = judged(client, "theirs", payload)
        try:
            ours: object = restore(payload)
        except RdbError as error:
            verdict = "both refuse" if theirs else f"we alone: {error.reason}"
        else:
            assert not judged(client, "ours", dump(ours)), f"seed {seed}: what we read can't be written"
            digests = [client.execute_command("DEBUG", "DIGEST-VALUE", key)[0] for key in ("theirs", "ours")]
            assert theirs or digests[0] == digests[1], f"seed {seed}: read in two ways"
            verdict = f"Valkey alone: {theirs}" if theirs else "both read"
        found[verdict] = found.get(verdict, 0) + 1
    return found


@pytest.mark.parametrize(
    "number", [pytest.param(1000, id="some"), pytest.param(10_000, id="many", marks=pytest.mark.slow)]
)
def test_what_valkey_refuses_is_refused_or_sound(number: int, oracle_process: Callable[..., Server]) -> None:
    """Where we alone refuse it is for a reason that docs/differences.md names, and most often both agree."""
    found = compare(oracle_process("--sanitize-dump-payload", "yes").client(), seeds(number))
    alone = [verdict for verdict in found if verdict.startswith("we alone") and not STRICTER.search(verdict)]
    assert not alone
    if len(seeds(number)) > 100:
        assert found["both refuse"] > number // 2 and found["both read"] > number // 20, found
