"""Ending an agent from elsewhere: by the lock that it holds."""

from __future__ import annotations

import os
import signal
from typing import Final

import trio

from cluster.agent.home import Home, HomeError

STOP_SECONDS: Final = 900.0
"""Longer than an agent gives its processes to write what they keep on disk."""


async def down(home: Home) -> int | None:
    """End the agent of a data directory and wait until its processes are gone; gives its pid, None if there is none.

    Raises HomeError when it may not be signalled or does not end in time.
    """
    pid = home.holder()
    if pid is None:
        return None
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return None
    except PermissionError as error:
        raise HomeError(f"the agent (pid {pid}) belongs to another user; run 'kvorum down' as that user") from error
    with trio.move_on_after(STOP_SECONDS):
        while home.holder() == pid:  # noqa: ASYNC110 - a lock of another process tells nobody when it is free
            await trio.sleep(0.05)
        return pid
    raise HomeError(f"the agent (pid {pid}) still runs after {STOP_SECONDS:.0f} s; see the logs in {home.logs}")
