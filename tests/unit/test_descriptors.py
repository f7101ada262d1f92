"""The limit on open files bounds maxclients."""

import subprocess
import sys

from tests.conftest import child_environment

SCRIPT = """
import resource, sys
from node.descriptors import room_for
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))
print(room_for(50), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
print(room_for(150), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


def test_the_limit_is_raised_as_far_as_needed() -> None:
    """What fits is left alone; more raises the soft limit to clients and 32 for ourselves."""
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, check=True, text=True, env=child_environment()
    )

    assert found.stdout.splitlines() == ["50 100", "150 182"]
