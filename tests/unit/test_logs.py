"""Logs: one line an event."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest
import structlog

from cluster import logs


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def test_json_where_no_terminal_is() -> None:
    """Each event is one JSON object with time, level and process first."""
    out = io.StringIO()
    logs.set_up("cache-0-1", stream=out)
    logs.get_logger(shard="cache-0").info("promoted", epoch=3, key=b"\xff\n")

    (line,) = out.getvalue().splitlines()
    found = json.loads(line)
    assert list(found)[:4] == ["timestamp", "level", "process", "event"]
    assert {name: found[name] for name in ("level", "process", "event", "shard", "epoch")} == {
        "level": "info",
        "process": "cache-0-1",
        "event": "promoted",
        "shard": "cache-0",
        "epoch": 3,
    }


def test_a_full_disk_is_no_reason_to_end() -> None:
    """What can't be written is lost; whoever logs goes on, and what comes later is written."""

    class Full(io.StringIO):
        room = False

        def write(self, text: str) -> int:
            if not self.room:
                raise OSError(28, "No space left on device")
            return super().write(text)

        def flush(self) -> None:
            if not self.room:
                raise OSError(28, "No space left on device")

    out = Full()
    logs.set_up("p", stream=out)
    logs.get_logger().error("lost")
    out.room = True
    logs.get_logger().info("kept")
    assert json.loads(out.getvalue())["event"] == "kept"


def test_an_exception_stays_on_one_line() -> None:
    """A traceback is a value of the JSON line."""
    out = io.StringIO()
    logs.set_up("p", stream=out)
    try:
        raise ValueError("bad\nnews")
    except ValueError:
        logs.get_logger().exception("failed")

    (line,) = out.getvalue().splitlines()
    assert "ValueError: bad\nnews" in json.loads(line)["exception"]


def test_a_terminal_gets_keys_and_values_that_cannot_forge_a_line() -> None:
    """Line breaks and escape sequences from outside are shown, not obeyed."""
    out = Terminal()
    logs.set_up("p", stream=out)
    logs.get_logger().info("refused", name="x\n12:00 all is well\x1b[2J")

    assert out.getvalue().count("\n") == 1
    assert "\x1b[2J" not in out.getvalue()


def test_long_values_are_cut() -> None:
    """What a peer sends cannot flood the log."""
    out = io.StringIO()
    logs.set_up("p", stream=out)
    logs.get_logger().info("refused", name="x" * 100_000, raw=b"y" * 100_000)

    assert len(out.getvalue()) < 3 * logs.MAX_VALUE


def test_levels() -> None:
    """Valkey's names of levels hold; another is refused."""
    out = io.StringIO()
    logs.set_up("p", stream=out, level="warning")
    logs.get_logger().info("not shown")
    logs.get_logger().warning("shown")

    assert [json.loads(line)["event"] for line in out.getvalue().splitlines()] == ["shown"]
    with pytest.raises(ValueError, match="log level 'loud' is none of debug, verbose"):
        logs.set_up("p", level="loud")
