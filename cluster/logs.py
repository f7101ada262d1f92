"""Logs: one line an event, as keys and values on a terminal and as JSON elsewhere.

Only the edges log, by structlog's plain (not awaited) methods, and never from compiled code. Every line carries the
name of its process. Values are cut to a bound, so that what a peer sends cannot flood a log, and control characters are
escaped by both renderers, so that it cannot forge a line either.
"""

from __future__ import annotations

import logging
import sys
from typing import Final, TextIO, cast

import structlog
from structlog.typing import EventDict, WrappedLogger

LEVELS: Final = {
    "debug": logging.DEBUG,
    "verbose": logging.INFO,
    "notice": logging.INFO,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "nothing": logging.CRITICAL + 10,
}
"""Valkey's names of log levels and ours."""

MAX_VALUE: Final = 2_000


class _Unfailing:
    """A stream whose failures are nobody's: where the log is kept may be the very disk that is full."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write if that is possible."""
        try:
            return self._stream.write(text)
        except OSError:
            return 0

    def flush(self) -> None:
        """Flush if that is possible."""
        try:
            self._stream.flush()
        except OSError:
            return


def _bounded(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Cut long values; bytes become text."""
    for key, value in event.items():
        if isinstance(value, bytes):
            value = value[:MAX_VALUE].decode("utf-8", "backslashreplace")
        if isinstance(value, str) and len(value) > MAX_VALUE:
            value = value[: MAX_VALUE - 3] + "..."
        event[key] = value
    return event


def _one_line(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Escape what would break a line of the console."""
    for key, value in event.items():
        if isinstance(value, str) and key != "exception" and not value.isprintable():
            event[key] = value.encode("unicode_escape").decode("ascii")
    return event


def _ordered(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """What every line has comes first."""
    first = ("timestamp", "level", "process", "event")
    return {**{key: event[key] for key in first if key in event}, **event}


def set_up(process: str, *, level: str = "notice", stream: TextIO | None = None) -> None:
    """Send all events of this process to `stream` (default: standard error) under the name `process`.

    `level` is one of LEVELS; another one raises ValueError.
    """
    if level not in LEVELS:
        raise ValueError(f"log level '{level}' is none of {', '.join(LEVELS)}")
    out = sys.stderr if stream is None else stream
    console = out.isatty()
    last: list[structlog.typing.Processor] = (
        [_one_line, structlog.dev.ConsoleRenderer(colors=True, pad_event_to=0)]
        if console
        else [structlog.processors.format_exc_info, _ordered, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S" if console else "iso", utc=not console),
            structlog.processors.UnicodeDecoder(),
            _bounded,
            *last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, _Unfailing(out))),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(process=process)


def get_logger(**values: object) -> structlog.typing.FilteringBoundLogger:
    """A logger with these values bound. Fit for a module's top: it takes the set-up that holds when it first logs."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(**values)
    return logger
