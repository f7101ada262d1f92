"""A node's command line as a process: what it writes, and how it refuses to start."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Server, child_environment


def test_log_and_pid_files(node_process: Callable[..., Server]) -> None:
    """Logs go to `logfile`, the process id to `pidfile`, which is gone after a clean end."""
    server = node_process("--logfile", "node.log", "--pidfile", "node.pid")
    folder = server.log.parent

    assert (folder / "node.pid").read_text() == f"{server.pid}\n"
    server.stop(signal.SIGTERM)
    assert server.process.returncode == 0
    assert "ready to accept connections" in (folder / "node.log").read_text()
    assert not (folder / "node.pid").exists()


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["--port", "x"], "command line, at line 1\n>>> 'port x'\nargument couldn't be parsed into an integer"),
        (["--nosuch", "1"], "command line, at line 1\n>>> 'nosuch 1'\nBad directive or wrong number of arguments"),
        (["--appenddirname", "a/b"], "appenddirname can't be a path, just a filename"),
        (["/nonexistent/x.conf"], "/nonexistent/x.conf: can't open config file: No such file or directory"),
        (["--requirepass", "hunter2", "more"], "wrong number of arguments"),
        (["--logfile", "/nonexistent/x"], "can't open the log file /nonexistent/x: No such file or directory"),
    ],
)
def test_bad_command_lines(tmp_path: Path, argv: list[str], reason: str) -> None:
    """A mistake ends the process with 1, a text that names it, and no password in it."""
    command = [sys.executable, "-m", "node", *argv]
    ended = subprocess.run(
        command, cwd=tmp_path, env=child_environment(), capture_output=True, text=True, timeout=60, check=False
    )

    assert ended.returncode == 1
    assert ended.stderr.startswith("kvorum-server: ")
    assert reason in ended.stderr
    assert "hunter2" not in ended.stderr
