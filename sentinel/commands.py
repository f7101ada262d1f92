"""Dispatch: finds a request's row and handler, refuses what may not run, and runs it.

Handlers are plain functions `(server, session, args)` that write the reply and return; see `client_commands` and
`shard_commands`.
"""

from __future__ import annotations

from typing import Final

from cluster.catalog.model import Command
from sentinel import client_commands, shard_commands
from sentinel.rows import COMMANDS
from sentinel.session import CommandError, Handler, Server, Session, text

HANDLERS: Final[dict[bytes, Handler]] = {**client_commands.HANDLERS, **shard_commands.HANDLERS}
_IN_SUBSCRIPTION: Final = frozenset((b"ping", b"subscribe", b"psubscribe", b"unsubscribe", b"punsubscribe"))


def execute(server: Server, session: Session, args: list[bytes]) -> None:
    """Run one request and write its reply."""
    try:
        row, handler = _find(args)
        session.last_command = row.text
        if not session.trusted and row.name not in (b"auth", b"hello"):
            raise CommandError("NOAUTH Authentication required.")
        if session.subscriptions and not session.writer.resp3 and row.name not in _IN_SUBSCRIPTION:
            raise CommandError(
                f"ERR Can't execute '{row.text}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET "
                "are allowed in this context"
            )
        handler(server, session, args)
    except CommandError as error:
        session.writer.error(str(error).encode())


def _find(args: list[bytes]) -> tuple[Command, Handler]:
    row = COMMANDS.get(args[0].lower())
    if row is None:
        rest = ""
        for arg in args[1:]:
            if len(rest) >= 128:
                break
            rest += f"'{text(arg[: 128 - len(rest)])}' "
        raise CommandError(f"ERR unknown command '{text(args[0][:128])}', with args beginning with: {rest}")
    if row.subcommands and len(args) > 1:
        sub = row.subcommands.get(args[1].lower())
        if sub is None:
            shown = text(args[1][:128])
            raise CommandError(f"ERR unknown subcommand '{shown}'. Try {row.text.upper()} HELP.")
        row = sub
    if (len(args) != row.arity) if row.arity > 0 else (len(args) < -row.arity):
        raise CommandError(f"ERR wrong number of arguments for '{row.text}' command")
    return row, HANDLERS[row.name]
