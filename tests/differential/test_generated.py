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
COMMANDS = (
    6500  # of one seed in one test: two seeds, two protocols, two sizes, plain and in transactions make 52,000 and more
)
LENGTH = 300  # commands from one empty database to the comparison of contents


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """One pair for all sequences."""
    with start_twins(tmp_path_factory.mktemp("generated")) as found:
        yield found


def _let_expire(session: Session) -> None:
    """The keys of SETUP that live for a millisecond are expired on both servers when this returns."""
    time.sleep(0.003)  # it is the servers' clock that has to go on, not something of theirs to wait for


@pytest.mark.parametrize("seed", seeds(FIXED_SEED), ids=["fixed", "new"][: len(seeds(FIXED_SEED))])
@pytest.mark.parametrize("packed", [True, False], ids=["packed", "tables"])
@pytest.mark.parametrize("protocol", [2, 3], ids=["resp2", "resp3"])
def test_generated_commands_agree(twins: Twins, protocol: int, packed: bool, seed: int) -> None:
    """Every command of the families, with every option, valid and not, answers as Valkey does."""
    report(f"KVORUM_DIFF_SEED={seed}")
    generator = Generator(Random(f"{seed} {protocol} {packed}"))
    setup = [STOCK if packed else SMALL, *SETUP]
    sent = rounds = 0
    while sent < COMMANDS:
        sequence = generator.sequence(LENGTH, 0.08 if rounds % 2 else 0.0)
        check(lambda: Session(twins, protocol, packed), setup, sequence, seed, _let_expire)
        sent += len(sequence)
        rounds += 1
    assert sent >= COMMANDS
