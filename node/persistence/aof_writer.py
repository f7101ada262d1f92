"""The end of the append-only file that is written to: its buffer, its policy of syncing, its errors.

Writing happens on the loop, before the replies of the batch are sent, and goes to the system's memory; syncing goes to
a thread once a second (everysec), or happens at once, for all commands of the batch together (always). A write to a
file that is being synced may block as long as the sync: with everysec commands are kept here meanwhile, for up to two
seconds. After a failed write they are kept too, and tried again.
"""

import os
from typing import Final, final

from mypy_extensions import i64

POSTPONE: Final = 2.0  # seconds that a write waits for a sync that is under way
RETRY: Final = 0.1  # seconds between two tries to write what could not be written


class FatalError(Exception):
    """A command that was to be on disk before its reply can't be brought there (appendfsync always)."""


@final
class AofWriter:
    """Appends to one descriptor at a time. Raises FatalError when `always` can't be kept."""

    descriptor: int  # -1: none
    always: bool
    patient: bool  # everysec: what is written waits for a sync of the same file
    syncing: bool  # a thread brings earlier bytes to the disk
    retiring: bool  # the file before is not on the disk yet
    unsynced: bool  # something was written since the last sync
    size: i64  # of the file
    buffered: i64  # bytes that wait
    delayed: i64  # writes that did not wait longer for a sync
    offset: i64  # of the stream behind all that was appended
    written: i64  # the same of what was written
    synced: i64  # the same of what is on the disk
    error: str  # why the last write or sync failed; empty: it did not
    sync_error: str
    _parts: list[bytes]
    _busy: bool  # the thread syncs the file that is written to
    _retires: bool  # the thread syncs the file before
    _left: i64  # offset of the stream behind all that the file before holds
    _postponed_at: float
    _tried_at: float

    def __init__(self) -> None:
        self.descriptor = -1
        self.always = False
        self.patient = False
        self.syncing = False
        self.retiring = False
        self.unsynced = False
        self.size = 0
        self.buffered = 0
        self.delayed = 0
        self.offset = 0
        self.written = 0
        self.synced = 0
        self.error = ""
        self.sync_error = ""
        self._parts = []
        self._busy = False
        self._retires = False
        self._left = 0
        self._postponed_at = 0.0
        self._tried_at = 0.0

    def obey(self, policy: str) -> None:
        """Follow `appendfsync`."""
        self.always = policy == "always"
        self.patient = policy == "everysec"

    def append(self, data: bytes, offset: i64) -> None:
        """Keep whole commands for the next `flush`."""
        self._parts.append(data)
        self.buffered += len(data)
        self.offset = offset

    def switch(self, descriptor: int, size: i64) -> int:
        """Write to another file from now on; returns the one before, which still has to be synced and closed."""
        before = self.descriptor
        if before >= 0 and descriptor >= 0:
            self.retiring = True
            self.unsynced = False
            self._left = self.written
        self._busy = False
        self.descriptor = descriptor
        self.size = size
        return before

    def forget(self) -> None:
        """What waits is not wanted any more."""
        self._parts = []
        self.buffered = 0
        self.error = ""
        self.sync_error = ""
        self.unsynced = False
        self._postponed_at = 0.0

    def flush(self, now: float, force: bool = False) -> bool:
        """Write what waits, and sync it if so wanted; True when the state of errors has changed."""
        if self.buffered == 0:
            if self.always and self.unsynced and not self.syncing:
                self._sync_now()
            return False
        if not force and not self._due(now):
            return False
        self._postponed_at = 0.0
        before = self.error
        self._write(now)
        if self.always and not self.error:
            self._sync_now()
        return (before == "") != (self.error == "")

    def _due(self, now: float) -> bool:
        """Whether to write now; sets the clock of what has to wait."""
        if self.error and now - self._tried_at < RETRY:
            return False
        if not self._busy or not self.patient:
            return True
        if self._postponed_at == 0.0:
            self._postponed_at = now
            return False
        if now - self._postponed_at < POSTPONE:
            return False
        self.delayed += 1
        return True

    def _write(self, now: float) -> None:
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._tried_at = now
        done: i64 = 0
        try:
            while done < len(data):
                done += os.write(self.descriptor, memoryview(data)[done:] if done else data)
        except OSError as error:
            self.error = error.strerror or str(error)
            if self.always:
                raise FatalError(f"can't write to the append-only file: {self.error}") from None
            if done and not self._take_back():
                self.size += done
                data = data[done:]
            self._parts = [data]
            self.buffered = len(data)
            return
        self.error = ""
        self.size += done
        self._parts = []
        self.buffered = 0
        self.written = self.offset
        self.unsynced = True

    def _take_back(self) -> bool:
        """Cut half a command off the file, so that it could be loaded as it is."""
        try:
            os.ftruncate(self.descriptor, self.size)
        except OSError:
            return False
        return True

    def _sync_now(self) -> None:
        try:
            os.fdatasync(self.descriptor)
        except OSError as error:
            raise FatalError(f"can't sync the append-only file: {error.strerror}") from None
        self.unsynced = False
        if not self.retiring:
            self.synced = self.written

    def begin_sync(self) -> i64:
        """A thread is about to sync; returns the offset of the stream that is on disk after it.

        The file before comes first, while there is one.
        """
        self.syncing = True
        if self.retiring:
            self._retires = True
            return self._left
        self._busy = True
        self.unsynced = False
        return self.written

    def end_sync(self, offset: i64, error: str) -> None:
        """The thread has synced, or failed."""
        self.syncing = False
        if self._retires:
            self._retires = False
            self.retiring = False
        self._busy = False
        self.sync_error = error
        if error:
            self.unsynced = True
        else:
            self.synced = max(self.synced, offset)
