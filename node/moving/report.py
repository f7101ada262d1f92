"""What the mover says: one line of JSON an event on standard output, and the last one in a file for others."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Final

import msgspec

from cluster.moving import Event, MovingFiles

EVERY: Final = 0.5  # seconds between two events of progress


class Reporter:
    """Writes events; `clock` gives monotonic seconds. Raises OSError once nobody listens any more."""

    def __init__(self, files: MovingFiles, clock: Callable[[], float]) -> None:
        self._files = files
        self._clock = clock
        self._said = 0.0
        self._marks: tuple[float, int, int] = (clock(), 0, 0)
        self.phase = ""

    def say(self, event: Event) -> None:
        """Write an event."""
        line = msgspec.json.encode(event) + b"\n"
        os.write(sys.stdout.fileno(), line)
        if event.event not in ("note", "warning"):
            self._files.say(line)

    def enter(self, phase: str, text: str = "") -> None:
        """A new phase begins."""
        self.phase = phase
        self._marks = (self._clock(), 0, 0)
        self._said = 0.0
        self.say(Event("phase", phase=phase, text=text))

    def note(self, text: str) -> None:
        """Something worth knowing."""
        self.say(Event("note", phase=self.phase, text=text))

    def warn(self, text: str) -> None:
        """Something that may be wrong."""
        self.say(Event("warning", phase=self.phase, text=text))

    def progress(self, event: Event, *, keys: int = 0, commands: int = 0) -> None:
        """An event of progress, unless the last was just now. Rates come from the counts `keys` and `commands`."""
        now = self._clock()
        if now - self._said < EVERY:
            return
        self._said = now
        since, old_keys, old_commands = self._marks
        seconds = max(now - since, 0.001)
        self._marks = (now, keys, commands)
        rates = {
            "keys_per_second": int((keys - old_keys) / seconds) if keys else None,
            "commands_per_second": int((commands - old_commands) / seconds) if commands else None,
        }
        self.say(msgspec.structs.replace(event, event="progress", phase=self.phase, **rates))
