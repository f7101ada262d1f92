"""The data directory of an agent: where everything lies, and the lock that keeps two agents from sharing one."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from cluster.files import write_file

LOG_BYTES: Final = 16 << 20
_PID_BYTES: Final = 32


class HomeError(Exception):
    """The data directory cannot be used; the text says why and what to do."""


def default_folder() -> Path:
    """`$KVORUM_HOME`, or `.kvorum` in the current folder."""
    return Path(os.environ.get("KVORUM_HOME") or ".kvorum").absolute()


class Home:
    """Names in the data directory. Nothing in it is readable by others, and version control is told to pass it by."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state.json"
        self.running = folder / "running.json"
        self.lock = folder / "lock"
        self.tls = folder / "tls"
        self.logs = folder / "logs"
        self._topology = folder / "topology"

    def topology(self, service: str) -> Path:
        """Where the newest topology of a service is kept."""
        return self._topology / f"{service}.json"

    def process(self, kind: str, name: str) -> Path:
        """The folder of one process."""
        return self.folder / {"proxy": "proxies"}.get(kind, f"{kind}s") / name

    def log(self, name: str) -> Path:
        """The log of one process."""
        return self.logs / f"{name}.log"

    def create(self) -> None:
        """Make the folder, or make it private again; raises HomeError."""
        try:
            for folder in (self.folder, self.tls, self.logs, self._topology):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.chmod(self.folder, 0o700)
            ignore = self.folder / ".gitignore"
            if not ignore.exists():
                write_file(ignore, b"*\n")
        except OSError as error:
            raise HomeError(
                f"cannot use the data directory {self.folder}: {error.strerror or error}. "
                "Choose another by --home or $KVORUM_HOME"
            ) from error

    def open_log(self, name: str) -> int:
        """A descriptor that appends to a process' log; a log that has grown large is put aside first (as .1)."""
        path = self.log(name)
        if path.exists() and path.stat().st_size > LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def log_tail(self, name: str, lines: int = 12) -> str:
        """The last lines of a process' log, for an error message."""
        try:
            with self.log(name).open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - 8192))
                return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-lines:])
        except OSError:
            return ""

    def holder(self) -> int | None:
        """The process id of the agent that runs here, or None."""
        try:
            descriptor = os.open(self.lock, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            digits = os.pread(descriptor, _PID_BYTES, 0).strip()
            return int(digits) if digits.isdigit() else None
        else:
            return None
        finally:
            os.close(descriptor)


class HomeLock:
    """Holds the lock of a data directory while it is entered. Raises HomeError when another agent has it."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._descriptor = -1

    def __enter__(self) -> Self:
        self._descriptor = os.open(self._home.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._descriptor, _PID_BYTES, 0).strip().decode("ascii", "replace")
            os.close(self._descriptor)
            raise HomeError(
                f"an agent is already running on {self._home.folder} (pid {holder}). "
                "See it by 'kvorum status', end it by 'kvorum down', or give this one a directory of its own by --home"
            ) from error
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The file stays: whoever removed it could take a lock that a newcomer holds under the same name.
        self._home.running.unlink(missing_ok=True)
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)
