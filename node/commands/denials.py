"""Refusals by the ACL: judged, counted, and written to the log. Used by the dispatcher, EXEC, scripts and AUTH."""

from typing import Final

from cluster.catalog.model import Command
from node.acl import User
from node.acl.check import DENIED_AUTH, DENIED_COMMAND, DENIED_DATABASE, DENIED_KEY, Denial, check, explain
from node.acl.log import LUA, MULTI, TOPLEVEL
from node.commands.clientlines import describe
from node.engine import Engine
from node.session import Session

NO_PERMISSION: Final = b"NOPERM "


def denied(e: Engine, s: Session, command: Command, args: list[bytes], context: bytes = TOPLEVEL) -> Denial | None:
    """Why the session's user may not run a command now, noted in the log; None when it may.

    `context` is TOPLEVEL, MULTI or LUA of `node.acl.log`; in a transaction it is MULTI anyway. `s` is the session whose
    user asks and whose line is logged: a script passes that of its caller.
    """
    user = s.user
    if not user.restricted:
        return None
    denial = check(user, command, args, s.dbid, len(e.stores))
    if denial is None:
        return None
    if context == TOPLEVEL and (s.multi or s.executing):
        context = MULTI
    blamed = args[denial.position] if denial.position > 0 else command.name
    if context != LUA:
        s.last_command = b"exec" if s.executing else command.name  # its line shows what it was refused
    note(e, s, denial.reason, context, command.name if denial.reason == DENIED_COMMAND else blamed, user.name)
    return denial


def refusal(e: Engine, s: Session, command: Command, args: list[bytes]) -> bytes | None:
    """The whole error for a command that the session's user may not run, None when it may."""
    denial = denied(e, s, command, args)
    return None if denial is None else NO_PERMISSION + explain(denial, s.user, command, args)


def note(e: Engine, s: Session, reason: int, context: bytes, blamed: bytes, name: bytes) -> None:
    """Count a refusal and put it into the log."""
    stats = e.stats
    if reason == DENIED_AUTH:
        stats.auth_denied += 1
    elif reason == DENIED_COMMAND:
        stats.command_denied += 1
    elif reason == DENIED_KEY:
        stats.key_denied += 1
    elif reason == DENIED_DATABASE:
        stats.database_denied += 1
    else:
        stats.channel_denied += 1
    e.acl.log.add(reason, context, blamed, name, describe(e, s), e.now_ms, e.settings.acl_log_max_len)


def rules_changed(e: Engine, user: User) -> None:
    """The sessions of a user look again whether they have to be checked."""
    for session in e.sessions.values():
        if session.user is user:
            session.refresh()
