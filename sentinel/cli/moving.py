"""`kvorum fork` and `kvorum import`: the work is done by `python -m node.moving`, which this room must not import.

The job goes through a pipe, since a URL may hold a password; what the mover says is shown, or passed on as it is.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final

import msgspec
from rich.console import Console
from rich.live import Live
from rich.text import Text

from cluster.agent.home import Home
from cluster.agent.report import Running, RunningService
from cluster.moving import FINAL, FOLDER, Event, Job, MovingFiles, TargetService
from sentinel.cli import show

_ROOT: Final = Path(__file__).resolve().parent.parent.parent
_QUIET: Final = 5.0  # seconds between two lines of progress where no terminal shows it in place
_POLL: Final = 0.2


class MovingError(Exception):
    """A job that can't be begun; the text says why and what to do."""


def folder(home: Home) -> Path:
    """Where movers keep their files."""
    return home.folder / FOLDER


def find(running: Running, name: str) -> RunningService:
    """The service of that name. Raises MovingError."""
    for service in running.services:
        if service.name == name:
            return service
    known = ", ".join(service.name for service in running.services)
    raise MovingError(f"no service '{name}'; there are: {known}")


def target(running: Running, service: RunningService) -> TargetService:
    """What the mover has to know of a service."""
    nodes = tuple(f"{p.host}:{p.port}" for p in running.processes if p.kind == "node" and p.service == service.name)
    url = service.external_url and show.masked(service.external_url)
    urls = f"{service.internal_url} or {url}" if url else service.internal_url
    return TargetService(service.name, service.shards, running.sentinels, nodes, urls)


def run(job: Job, as_json: bool, console: Console) -> int:
    """Start the mover, show what it says; its exit status. Ctrl-C reaches it too, and it is given the time to end."""
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    mover = subprocess.Popen(
        [sys.executable, "-P", "-m", "node.moving"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,  # Ctrl-C comes to us, and reaches it once
    )
    assert mover.stdin is not None
    assert mover.stdout is not None
    old = {sign: signal.signal(sign, _pass_on(mover, sign)) for sign in (signal.SIGINT, signal.SIGTERM)}
    try:
        mover.stdin.write(msgspec.json.encode(job))
        mover.stdin.close()
        screen = Screen(console)
        try:
            for line in mover.stdout:
                if as_json:
                    sys.stdout.buffer.write(line)
                    sys.stdout.buffer.flush()
                else:
                    screen.show(msgspec.json.decode(line, type=Event))
        finally:
            screen.close()
        return mover.wait()
    finally:
        for sign, handler in old.items():
            signal.signal(sign, handler)
        _end(mover, mover.stdout)


def _pass_on(mover: subprocess.Popen[bytes], sign: signal.Signals) -> Callable[..., None]:
    def handle(*_: object) -> None:
        if mover.poll() is None:
            mover.send_signal(sign)

    return handle


def _end(mover: subprocess.Popen[bytes], stdout: IO[bytes]) -> None:
    stdout.close()
    if mover.poll() is None:
        mover.terminate()
        mover.wait()


def cut_over(home: Home, running: Running, name: str, as_json: bool, console: Console) -> int:
    """Ask the mover of a service to cut over, and show how it goes; the exit status. Raises MovingError, OSError."""
    service = find(running, name)
    files = MovingFiles(folder(home), name)
    if not files.busy():
        files.create()
        job = Job("release", target(running, service), str(folder(home)))
        run(job, False, Console(quiet=True))
        raise MovingError(f"nothing is moving into '{name}'. Begin by 'kvorum fork SOURCE_URL {name}'")
    files.ask()
    screen = Screen(console)
    last: Event | None = None
    try:
        for event in _events(files):
            last = event
            if as_json:
                sys.stdout.buffer.write(msgspec.json.encode(event) + b"\n")
                sys.stdout.buffer.flush()
            else:
                screen.show(event)
    finally:
        screen.close()
    return 0 if last is not None and last.event == "done" else 1


def _events(files: MovingFiles) -> Iterator[Event]:
    """What the mover says, until it has ended."""
    last: Event | None = None
    while True:
        busy = files.busy()
        event = files.last()
        if event is not None and event != last:
            last = event
            yield event
        if not busy or (event is not None and event.event in FINAL):
            return
        time.sleep(_POLL)


class Screen:
    """Shows events: progress in one line that changes on a terminal, now and then a line elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._shown = 0.0

    def close(self) -> None:
        """Leave the last state as it stands."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def show(self, event: Event) -> None:
        """Show one event."""
        if event.event == "progress":
            self._progress(event)
            return
        self.close()
        if event.event == "done":
            self._done(event)
        elif event.event in ("warning", "error", "restart", "stopped"):
            colour = {"error": "bold red", "stopped": "yellow"}.get(event.event, "yellow")
            console = Console(stderr=True) if event.event == "error" else self._console
            console.print(Text.assemble((f"{event.event}: ", colour), event.text), soft_wrap=True)
        elif event.text:
            show.plain(self._console, event.text)

    def _progress(self, event: Event) -> None:
        text = f"{event.phase:9} {described(event)}"
        if self._console.is_terminal:
            if self._live is None:
                self._live = Live(Text(text), console=self._console, auto_refresh=False)
                self._live.start()
            self._live.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)
        elif time.monotonic() - self._shown > _QUIET:
            self._shown = time.monotonic()
            show.plain(self._console, text)

    def _done(self, event: Event) -> None:
        self._console.print(Text.assemble(("done: ", "bold green"), event.text), soft_wrap=True)
        if event.target_keys is not None:
            there = "" if event.source_keys is None else f", {event.source_keys:,} in the source"
            show.plain(self._console, f"keys      {event.target_keys:,}{there}")
        if event.commands is not None:
            show.plain(self._console, f"commands  {event.commands:,}")
        if event.next:
            show.plain(self._console, f"next      {event.next}")


def described(event: Event) -> str:
    """An event of progress in words."""
    parts: list[str] = []
    if event.bytes is not None:
        share = f" ({event.bytes * 100 // event.total} %)" if event.total else ""
        of = f" of {show.size(event.total)}" if event.total else ""
        parts.append(f"{show.size(event.bytes)}{of}{share}")
    if event.keys is not None:
        parts.append(f"{event.keys:,} keys")
    if event.keys_per_second is not None:
        parts.append(f"{event.keys_per_second:,} keys/s")
    if event.commands is not None:
        parts.append(f"{event.commands:,} commands")
    if event.commands_per_second is not None:
        parts.append(f"{event.commands_per_second:,} commands/s")
    if event.lag_bytes is not None:
        parts.append(f"{show.size(event.lag_bytes)} behind, {event.lag_seconds or 0:.1f} s")
    return ", ".join(parts)
