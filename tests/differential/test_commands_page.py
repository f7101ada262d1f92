"""docs/commands.md is what both servers say of themselves, and whatever is absent is explained."""

from __future__ import annotations

from tests.differential.commands_page import ABSENT, PAGE, current

DIFFERENCES = PAGE.with_name("differences.md")


def test_page_is_what_both_servers_document() -> None:
    """The page names every command of Valkey with its true state."""
    assert PAGE.read_text() == current(), "stale: run python -m tests.differential.commands_page"


def test_every_absent_command_is_named_among_the_differences() -> None:
    """docs/differences.md names each command, or family of commands, that is not here."""
    text = DIFFERENCES.read_text()
    for name in ABSENT:
        shown = name.decode().upper().replace("|", " ")
        assert f"`{shown}`" in text, f"docs/differences.md does not name `{shown}`"
