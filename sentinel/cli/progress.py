"""Showing `kvorum up` at work: a live table on a terminal, plain lines elsewhere, one line of JSON for scripts."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cluster.agent.layout import Process
from cluster.agent.report import Running
from sentinel.cli import show

_REFRESH = 0.1


class Lines:
    """An observer that prints one line for each change. `clock` gives the wall time as text."""

    def __init__(self, console: Console, clock: Callable[[], str] = lambda: time.strftime("%H:%M:%S")) -> None:
        self._console = console
        self._clock = clock
        self._states: dict[str, str] = {}
        self._is_ready = False

    def planned(self, processes: tuple[Process, ...]) -> None:
        """Say how many processes will come."""
        self.message(f"starting {len(processes)} processes")

    def state(self, name: str, state: str, detail: str = "") -> None:
        """Print a state that is new. What happens later has its own messages."""
        if self._states.get(name) != state and not self._is_ready and state in ("ready", "dead"):
            self.message(f"{name} {state}" if not detail else f"{name} {state}: {detail}")
        self._states[name] = state

    def message(self, text: str) -> None:
        """Print a line with the time of day."""
        show.plain(self._console, f"{self._clock()} {text}")

    def ready(self, running: Running) -> None:
        """Print the URLs and all."""
        self._is_ready = True
        show.ready(self._console, running)


class Json(Lines):
    """Lines on standard error, and the report as one line of JSON on standard output."""

    def __init__(self, console: Console, out: Callable[[str], None]) -> None:
        super().__init__(console)
        self._out = out

    def ready(self, running: Running) -> None:
        """Print the report."""
        self._is_ready = True
        self._out(msgspec.json.encode(running).decode())


class Screen(Lines):
    """A table of all processes that changes in place until everything is ready; then lines."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._processes: dict[str, Process] = {}
        self._details: dict[str, str] = {}
        self._live: Live | None = None
        self._drawn = 0.0

    def planned(self, processes: tuple[Process, ...]) -> None:
        """Draw the table for the first time."""
        self._processes = {process.name: process for process in processes}
        self._states = dict.fromkeys(self._processes, "waiting")
        self._live = Live(self._table(), console=self._console, auto_refresh=False)  # no thread: see agent.children
        self._live.start(refresh=True)

    def state(self, name: str, state: str, detail: str = "") -> None:
        """Change a row."""
        self._states[name] = state
        self._details[name] = detail
        now = time.monotonic()
        if self._live is not None and (state != "starting" or now - self._drawn > _REFRESH):
            self._drawn = now
            self._live.update(self._table(), refresh=True)

    def message(self, text: str) -> None:
        """Print a line; above the table while it is there."""
        if self._live is not None and text.startswith("SIG"):
            self.close()
        super().message(text)

    def ready(self, running: Running) -> None:
        """End the table, then print the URLs."""
        self.close()
        super().ready(running)

    def close(self) -> None:
        """Leave the table as it stands."""
        if self._live is not None:
            self._live.update(self._table(), refresh=True)
            self._live.stop()
            self._live = None

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
        for column in ("process", "kind", "address", "state", ""):
            table.add_column(column, no_wrap=True)
        rows = [(p.name, p.kind, f"{p.host}:{p.port}", self._states[p.name]) for p in self._processes.values()]
        taken = sum(max(len(row[column]) for row in rows) + 2 for column in range(4)) + 1
        room = max(0, self._console.width - taken)
        for row in rows:
            detail = Text(self._details.get(row[0], "")[:room], style="dim")
            table.add_row(*row[:3], show.coloured(row[3]), detail)
        return table


class Changes:
    """Prints what each of several is doing, when that changes beyond its figures."""

    def __init__(self, out: Callable[[str], None]) -> None:
        self._out = out
        self._last: dict[str, str] = {}

    def say(self, name: str, text: str) -> None:
        """One line, unless the last one about this name began with the same words."""
        kind = text.partition(":")[0]
        if self._last.get(name) != kind:
            self._last[name] = kind
            self._out(f"{name} {text}")
