"""The catalog: one row a command, read by dispatch, ACL, the cluster gate, COMMAND, the proxy's routing and the docs.

`model` is the shape of a row, `build` the words it is written in, `rows/` the rows, `keys` finds a request's keys.
Facts are those that a genuine Valkey 9.1 answers to COMMAND INFO and COMMAND DOCS (tested); summaries are ours.
Imports nothing above itself; every room may import it. A command without a row does not exist.
"""

from typing import Final

from mypy_extensions import i64

from cluster.catalog.model import Command
from cluster.catalog.rows import GROUPS


def _number(rows: dict[bytes, Command]) -> list[Command]:
    numbered: list[Command] = []
    for row in rows.values():
        numbered.append(row)
        numbered.extend(row.subcommands.values())
    for index, row in enumerate(numbered):
        row.index = index
    return numbered


COMMANDS: Final[dict[bytes, Command]] = {row.name: row for rows in GROUPS for row in rows}
ALL: Final[list[Command]] = _number(COMMANDS)  # containers and subcommands alike; `Command.index` is the place here


def find(name: bytes) -> Command | None:
    """Return the row of a full name in any case (`get`, `CLIENT|LIST`), or None."""
    container, bar, word = name.lower().partition(b"|")
    row = COMMANDS.get(container)
    if row is None or not bar:
        return row
    return row.subcommands.get(word)


def resolve(args: list[bytes]) -> Command | None:
    """Return the row of a request, its subcommand's when the command has some.

    A container named alone gives the container, whose arity then refuses it; an unknown subcommand gives None.
    """
    name = args[0]
    row = COMMANDS.get(name)
    if row is None:
        row = COMMANDS.get(name.lower())
        if row is None:
            return None
    count: i64 = len(args)
    if not row.subcommands or count < 2:
        return row
    word = args[1]
    sub = row.subcommands.get(word)
    return row.subcommands.get(word.lower()) if sub is None else sub
