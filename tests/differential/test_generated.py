"""Commands by chance, tens of thousands, to genuine Valkey and to a node: every reply agrees, and every key at the end.

A seed is printed with each run; `KVORUM_DIFF_SEED=<seed>` runs that seed alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from random import Random

import pytest

from tests.differential.generate import SETUP, SMALL, STOCK, Generator
from tests.differential.harness import Session, check, report, seeds
from tests.differential.twins import Twins, start_twins

FIXED_SEED = 20260726
COMMANDS = 6500  # of a seed in a test: two seeds, two protocols and two sizes of values make 52,000 and more
MANY = 125_000  # the same of the slow tests, with a new seed: half a million
LENGTH = 300  # commands from one empty database to the comparison of contents
MIXES = [(0.0, 0.0), (0.08, 0.0), (0.0, 0.9), (0.06, 0.2)]  # chances of a transaction, and of a call from a script
GROWTH = 128 << 20  # resident bytes that the node may gain by them: no database holds more than some kilobytes


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """One pair for all sequences."""
    with start_twins(tmp_path_factory.mktemp("generated")) as found:
        yield found


def _let_expire(session: Session) -> None:
    """The keys of SETUP that live for a millisecond are expired on both servers when this returns."""
    time.sleep(0.003)  # it is the servers' clock that has to go on, not something of theirs to wait for


def _compare(twins: Twins, protocol: int, packed: bool, seed: int, total: int) -> None:
    report(f"KVORUM_DIFF_SEED={seed}")
    generator = Generator(Random(f"{seed} {protocol} {packed}"))
    setup = [STOCK if packed else SMALL, *SETUP]
    sent = rounds = 0
    while sent < total:
        sequence = generator.sequence(LENGTH, *MIXES[rounds % len(MIXES)])
        check(lambda: Session(twins, protocol, packed), setup, sequence, seed, _let_expire)
        sent += len(sequence)
        rounds += 1


@pytest.mark.parametrize("seed", seeds(FIXED_SEED), ids=["fixed", "new"][: len(seeds(FIXED_SEED))])
@pytest.mark.parametrize("packed", [True, False], ids=["packed", "tables"])
@pytest.mark.parametrize("protocol", [2, 3], ids=["resp2", "resp3"])
def test_generated_commands_agree(twins: Twins, protocol: int, packed: bool, seed: int) -> None:
    """Every command of the families, with every option, valid and not, plain, in transactions and from scripts,
    answers as Valkey does.
    """
    _compare(twins, protocol, packed, seed, COMMANDS)


@pytest.mark.slow
@pytest.mark.parametrize("packed", [True, False], ids=["packed", "tables"])
@pytest.mark.parametrize("protocol", [2, 3], ids=["resp2", "resp3"])
def test_half_a_million_generated_commands_agree(twins: Twins, protocol: int, packed: bool) -> None:
    """The same for a quarter of half a million commands each, and the node has not grown by them."""
    before = twins.servers[1].resident()
    _compare(twins, protocol, packed, seeds(FIXED_SEED)[-1], MANY)
    assert twins.servers[1].resident() - before < GROWTH
