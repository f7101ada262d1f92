"""Moving data into a service: what the command line and the process that does it (`python -m node.moving`) tell each
other.

The job comes on standard input, because it may hold a password; events go out as one line of JSON each. In the data
directory lie a lock that the mover holds, the last event for others to read, and the request to cut over.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Final

import msgspec

FOLDER: Final = "moving"  # in the data directory
MAX_JOB: Final = 1 << 20
_TRIES: Final = 5
_TRY_AGAIN: Final = 0.02
PHASES: Final = ("connect", "check", "snapshot", "load", "follow", "cut-over", "done")


class TargetService(msgspec.Struct, frozen=True):
    """The service that is filled: its sentinels and nodes as `host:port`, and the URL that clients will use."""

    name: str
    shards: int
    sentinels: tuple[str, ...]
    nodes: tuple[str, ...]
    url: str


class Job(msgspec.Struct, frozen=True):
    """What to do: `fork` follows the server at the URL `source`, `import` reads the file or folder `source`, `backup`
    makes the folder `source` of what the service holds, `restore` brings that into the service, and `release` ends the
    import mode that a mover which was killed has left behind.
    """

    what: str
    target: TargetService
    folder: str
    source: str = ""
    ca: str = ""
    insecure: bool = False
    replace: bool = False
    at_once: bool = False  # cut over as soon as the target has caught up
    pause: float = 60.0  # seconds for which the source is paused at the cut-over


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that happened. `event` is phase, progress, note, warning, restart, synced, done, stopped or error;
    what is not known is left out. Sizes in bytes.
    """

    event: str
    phase: str = ""
    text: str = ""
    bytes: int | None = None
    total: int | None = None
    keys: int | None = None
    total_keys: int | None = None
    commands: int | None = None
    keys_per_second: int | None = None
    commands_per_second: int | None = None
    lag_bytes: int | None = None
    lag_seconds: float | None = None
    source_keys: int | None = None
    target_keys: int | None = None
    paused_until: str = ""
    next: str = ""  # what to do now


FINAL: Final = frozenset(["done", "stopped", "error"])


class MovingFiles:
    """The files of one service's mover, in a folder that its owner alone may enter."""

    def __init__(self, folder: Path, service: str) -> None:
        self.folder = folder
        self.lock = folder / f"{service}.lock"
        self.progress = folder / f"{service}.json"
        self.request = folder / f"{service}.cut-over"

    def create(self) -> None:
        """Make the folder. Raises OSError."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def acquire(self, what: str) -> int | None:
        """Take the lock for a job; the descriptor to keep open, or None when another mover has it. Raises OSError."""
        descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        for _ in range(_TRIES):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                time.sleep(_TRY_AGAIN)  # somebody may be looking whether it is held
                continue
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, what.encode(), 0)
            return descriptor
        os.close(descriptor)
        return None

    def busy(self) -> bool:
        """Whether a mover is at work."""
        try:
            descriptor = os.open(self.lock, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(descriptor)
        return False

    def activity(self) -> str:
        """What is going on: `fork in progress: load`, or nothing."""
        if not self.busy():
            return ""
        what = self.lock.read_text("utf-8") or "move"
        event = self.last()
        return f"{what} in progress: {event.phase}" if event is not None and event.phase else f"{what} in progress"

    def ask(self) -> None:
        """Ask the mover to cut over. Raises OSError."""
        os.close(os.open(self.request, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))

    def asked(self) -> bool:
        """Whether the cut-over was asked for."""
        return self.request.exists()

    def forget(self) -> None:
        """Drop a request that is answered, or that nobody waits for any more."""
        self.request.unlink(missing_ok=True)

    def say(self, line: bytes) -> None:
        """Leave the last event for others; nobody sees a half of it. Raises OSError."""
        beside = self.progress.with_suffix(".new")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(line)
        beside.replace(self.progress)

    def last(self) -> Event | None:
        """The last event, or None when there is none."""
        try:
            return msgspec.json.decode(self.progress.read_bytes(), type=Event)
        except (OSError, msgspec.DecodeError):
            return None
