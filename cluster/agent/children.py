"""Starting and ending processes. A child dies with the agent, even when that is killed: the kernel sees to it (Linux).

Each child has a session of its own, so that a Ctrl-C on the terminal reaches the agent alone, which then ends them in
order.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import trio

from cluster.agent.layout import Process

_PR_SET_PDEATHSIG: Final = 1
_ROOT: Final = Path(__file__).resolve().parents[2]
_libc: Final = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def _die_with(parent: int) -> Callable[[], None]:
    """What a child does between fork and exec: nothing that takes a lock or imports."""
    # The agent starts no threads before its children, so this is as safe as fork itself.

    def prepare() -> None:
        if _libc is not None:
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)  # the agent died before the request took effect

    return prepare


def environment() -> dict[str, str]:
    """The agent's own, with the folder of our packages in front, so that children run the same code as the agent."""
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def command(process: Process, directives: Iterable[str] = ()) -> list[str]:
    """`python -m node node.conf --directive value …`; -P keeps a folder `node` of the user from being imported."""
    return [sys.executable, "-P", "-m", process.kind, str(process.config), *directives]


class Child:
    """A running process of ours."""

    def __init__(self, name: str, arguments: list[str], folder: Path, log: int) -> None:
        """Start it, with its output to the descriptor `log`, which is closed. Raises OSError."""
        try:
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                env=environment(),
                start_new_session=True,
                preexec_fn=_die_with(os.getpid()),  # noqa: PLW1509 - see _die_with
            )
        finally:
            os.close(log)
        self.name = name
        self._watch = os.pidfd_open(self._process.pid) if sys.platform == "linux" else -1

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """Its exit status (negative: the signal that ended it), or None while it runs."""
        return self._process.poll()

    async def wait(self) -> int:
        """Wait until it has ended; gives its exit status."""
        if self._process.poll() is None and self._watch >= 0:
            await trio.lowlevel.wait_readable(self._watch)
        elif self._process.poll() is None:
            await trio.to_thread.run_sync(self._process.wait, abandon_on_cancel=True)
        return self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self._process.poll() is None:
            self._process.send_signal(number)

    def close(self) -> None:
        """Give back the descriptor, after it has ended."""
        if self._watch >= 0:
            os.close(self._watch)
            self._watch = -1


async def stop_all(
    children: Iterable[Child], seconds: float, progress: Callable[[Child], int] = lambda _: 0
) -> list[str]:
    """End these together: SIGTERM, and SIGKILL for those that still run after `seconds`, whose names are given.

    A child whose `progress` grew within that time has as much again.
    """
    stubborn: list[str] = []

    async def ends(child: Child) -> bool:
        before = -1
        while (now := progress(child)) > before:
            before = now
            with trio.move_on_after(seconds):
                await child.wait()
                return True
        return False

    async def stop(child: Child) -> None:
        child.signal(signal.SIGTERM)
        if not await ends(child):
            stubborn.append(child.name)
            child.signal(signal.SIGKILL)
            await child.wait()

    async with trio.open_nursery() as nursery:
        for child in children:
            nursery.start_soon(stop, child)
    return sorted(stubborn)
