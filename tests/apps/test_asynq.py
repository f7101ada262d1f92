"""Asynq: a server, a client and an inspector of its registry, built here."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.apps.conftest import APPS, outcomes

SCENARIOS = ("plain", "later", "retried", "archived", "unique", "grouped", "cancelled", "paused")

# To compile it takes a minute where nothing of it is in Go's cache.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled program, or a skip with the reason."""
    if shutil.which("go") is None:
        pytest.skip("go is not installed")
    made = tmp_path_factory.mktemp("asynq") / "asynq"
    command = ["go", "build", "-o", str(made), "."]
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-buildvcs=false", "CGO_ENABLED": "0"}
    done = subprocess.run(
        command, cwd=APPS / "go", env=environment, capture_output=True, text=True, timeout=400, check=False
    )
    if done.returncode:
        pytest.skip(f"go could not build Asynq: {done.stderr.strip()[-300:]}")
    return made


@pytest.fixture(scope="module")
def ran(program: Path, url: str) -> dict[str, Any]:
    """What became of every scenario."""
    return outcomes([str(program), url])


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_asynq(ran: dict[str, Any], scenario: str) -> None:
    """Tasks run, later too, again when they fail, once when they are unique, together, and are cancelled and paused."""
    assert ran[scenario] == "ok"
    assert set(ran) == set(SCENARIOS)
