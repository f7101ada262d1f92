"""What a process that was killed has left unfinished goes; what lives, and what is data, stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from node.persistence.leftovers import remove_leftovers


def test_files_of_dead_processes_alone_are_removed(tmp_path: Path) -> None:
    """By the number in their names: of a process that ended, and of a predecessor with the number of this one."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead, own, other = ended.pid, os.getpid(), os.getppid()
    gone = {
        f"temp-{dead}-7f00.rdb", f"temp-{dead}-base.rdb", f"temp-{own}-7f00.rdb", f"sync-{dead}-abc_d.rdb",
        f".appendonly.aof.manifest.{dead}.new", f".topology.json.{own}.new",
    }  # fmt: skip
    kept = {
        f"temp-{other}-7f00.rdb", f"sync-{other}-abc.rdb", f".appendonly.aof.manifest.{other}.new", "dump.rdb",
        "appendonly.aof.1.base.rdb", "temp-of-mine.rdb", f"x-temp-{dead}-1.rdb", f"temp-{dead}-1.rdb.gz", ".hidden.new",
    }  # fmt: skip
    for name in gone | kept:
        (tmp_path / name).write_bytes(b"")
    remove_leftovers(tmp_path)
    assert set(os.listdir(tmp_path)) == kept
    remove_leftovers(tmp_path / "absent")
