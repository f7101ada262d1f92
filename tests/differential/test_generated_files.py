"""What commands by chance have made survives a file: both servers save and load again and again between them, and every
reply and every key afterwards agrees, encodings and packed bytes too.

A seed is printed with each run; `KVORUM_DIFF_SEED=<seed>` runs that seed alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from random import Random

import pytest

from tests.differential.generate import SETUP, SMALL, STOCK, Generator
from tests.differential.harness import Command, Session, check, report, seeds
from tests.differential.twins import Twins, start_twins

FIXED_SEED = 20261121
LENGTH = 200  # commands from one empty database to the comparison of contents
RELOADS = (0.02, 0.05)  # chance that a command outside a transaction is followed by a reload
ROUNDS = 2


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """One pair for all sequences."""
    with start_twins(tmp_path_factory.mktemp("generated")) as found:
        yield found


def with_reloads(sequence: list[Command], rng: Random) -> list[Command]:
    """The sequence with files written and loaded between commands, and at the end."""
    chance = rng.choice(RELOADS)
    made: list[Command] = []
    open_ = False
    for words in sequence:
        made.append(words)
        name = words[0].lower()
        open_ = name in (b"multi", b"watch") or (open_ and name not in (b"exec", b"discard"))
        if not open_ and rng.random() < chance:
            made.append([b"debug", b"reload"])
    return [*made, [b"select", b"0"], [b"debug", b"reload"]]


def _let_expire(session: Session) -> None:
    time.sleep(0.003)  # keys of SETUP live for a millisecond; it is the servers' clock that has to go on


def compare(twins: Twins, packed: bool, seed: int, rounds: int) -> None:
    """So many sequences of one seed."""
    report(f"KVORUM_DIFF_SEED={seed}")
    rng = Random(f"{seed} {packed}")
    generator = Generator(rng)
    setup = [STOCK if packed else SMALL, *SETUP]
    for _ in range(rounds):
        sequence = with_reloads(generator.sequence(LENGTH, 0.05), rng)
        check(lambda: Session(twins, 2, packed), setup, sequence, seed, _let_expire)


@pytest.mark.parametrize("seed", seeds(FIXED_SEED), ids=["fixed", "new"][: len(seeds(FIXED_SEED))])
@pytest.mark.parametrize("packed", [True, False], ids=["packed", "tables"])
def test_contents_survive_reloads(twins: Twins, packed: bool, seed: int) -> None:
    """DEBUG RELOAD between commands of all families."""
    compare(twins, packed, seed, ROUNDS)


@pytest.mark.slow
@pytest.mark.parametrize("packed", [True, False], ids=["packed", "tables"])
def test_contents_survive_many_reloads(twins: Twins, packed: bool) -> None:
    """The same for a new seed and longer."""
    compare(twins, packed, seeds(FIXED_SEED)[-1], 40 * ROUNDS)
