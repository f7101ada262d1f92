"""`kvorum check`: a file of a node, looked into by the node's own code, which this room must not import.

It runs as a process of its own, so that a hostile file reaches no process that serves anybody.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent.parent


def run(file: Path, as_json: bool, fix: bool = False) -> int:
    """Print what the file holds; returns the exit status: 0 sound, 1 broken or unreadable."""
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-P", "-m", "node.check", *(["--json"] if as_json else []),
               *(["--fix"] if fix else []), "--", str(file)]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=False).returncode
