"""Damaged files and processes: a node under a memory limit refuses them or serves, and what genuine Valkey refuses of
them we refuse or read soundly.
"""

from __future__ import annotations

import re
import resource
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest
import redis

from node.digest import dataset_digest
from node.persistence.loading import load_now
from tests.conftest import child_environment, find_free_port, oracle_command
from tests.differential.test_mutated_payloads import STRICTER
from tests.unit import old_rdb as old
from tests.unit.mutations import Mutator, seeds
from tests.unit.test_mutated_files import Node, sources

PATIENCE = 60.0
MEMORY = 1 << 30  # bytes of address space; a node without data takes a third of it


def outcome(command: list[str], folder: Path, port: int, limit: bool) -> tuple[bytes, str]:
    """Start a server on a folder: the digest of what it serves, or empty and why it ended. A signal is a fault."""
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder, env=child_environment()
        )
    try:
        if limit:
            resource.prlimit(process.pid, resource.RLIMIT_AS, (MEMORY, MEMORY))
        client = redis.Redis(port=port, retry=None)
        until = time.monotonic() + PATIENCE
        while process.poll() is None:
            assert time.monotonic() < until, log.read_text(errors="replace")[-2000:]
            try:
                digest: bytes = client.execute_command("DEBUG", "DIGEST")
            except (redis.ConnectionError, redis.BusyLoadingError):
                time.sleep(0.01)  # a process that starts offers no event to wait for
            else:
                client.close()
                return digest, ""
        return b"", log.read_text(errors="replace") if process.returncode == 1 else f"signal {process.returncode}"
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("number", [pytest.param(6, id="some"), pytest.param(40, id="many", marks=pytest.mark.slow)])
def test_a_node_that_starts_on_a_damaged_file(number: int, tmp_path: Path) -> None:
    """It ends with the offset and what to do, and leaves the file as it is; or it serves. Both within the limit."""
    mutator = Mutator(sources(Node(tmp_path)))
    path = tmp_path / "dump.rdb"
    for seed in seeds(number):
        data = mutator.file(Random(seed))
        path.write_bytes(data)
        port = find_free_port()
        fixed = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(tmp_path), "--save", ""]
        allowed = ["--enable-debug-command", "yes", "--sanitize-dump-payload", "yes" if seed % 2 else "no"]
        digest, reason = outcome([sys.executable, "-m", "node", *fixed, *allowed], tmp_path, port, True)
        if not digest:
            told = re.search(r"can't be loaded: RDB, offset \d+: .*kvorum check", reason)
            assert told, f"seed {seed}: {reason[-900:]}"
            assert path.read_bytes() == data, f"seed {seed}"


@pytest.mark.parametrize("number", [pytest.param(60, id="some"), pytest.param(600, id="many", marks=pytest.mark.slow)])
def test_what_valkey_refuses_to_start_with(number: int, tmp_path: Path) -> None:
    """We refuse it too, or read it soundly; what both load is the same by digest."""
    node = Node(tmp_path)
    mutator = Mutator([data for data in sources(node) if data != old.all_values()])  # Valkey has not its module
    path = tmp_path / "dump.rdb"
    for seed in seeds(number):
        rng = Random(seed)
        path.write_bytes(mutator.file(rng))
        reason = load_now(node.engine, path, True).decode()
        ours = b"" if reason else dataset_digest(node.engine.stores).hex().encode()
        if ours:
            node.sound(rng, f"seed {seed}")
        port = find_free_port()
        theirs, _ = outcome(oracle_command(tmp_path, port, "--sanitize-dump-payload", "yes"), tmp_path, port, False)
        if theirs:
            assert ours == theirs or STRICTER.search(reason), f"seed {seed}: {reason or 'read in two ways'}"
