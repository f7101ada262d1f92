"""A command is one row and one handler: neither may be without the other."""

from cluster.catalog import ALL
from node.handlers import HANDLERS


def test_every_row_has_a_handler_and_every_handler_a_row() -> None:
    """Handlers are those of all rows, containers apart unless they can be called alone."""
    rows = {row.name for row in ALL}
    callable_rows = {row.name for row in ALL if not row.subcommands}
    assert not HANDLERS.keys() - rows
    assert not callable_rows - HANDLERS.keys()
