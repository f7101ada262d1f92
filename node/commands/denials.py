"""Refusals by the ACL: judged, counted, and written to the log. Used by the dispatcher, EXEC, scripts and AUTH."""

from typing import Final

from cluster.catalog.model import Command
from node.acl import User
from node.acl.check import (
    DENIED_AUTH,
    DENIED_COMMAND,
    DENIED_DATABASE,
    DENIED_KEY,
    Denial,
    changed_since,
    check,
    explain,
)
from node.acl.log import LUA, MULTI, TOPLEVEL
from node.commands.clientlines import describe
from node.engine import Engine
from node.session import Session

NO_PERMISSION: Final = b"NOPERM "


def denied(e: Engine, s: Session, command: Command, args: list[bytes]) -> Denial | None:
    """Why the session's user may not run a command now, noted in the log; None when it may."""
    user = s.user
    denial = check(user, command, args, s.dbid, len(e.stores))
    if denial is not None:
        s.last_command = command.name  # its line shows what it was refused
        context = MULTI if s.multi or s.executing else TOPLEVEL
        note(e, s, denial.reason, context, blamed(denial, command, args), user.name)
    return denial


def blamed(denial: Denial, command: Command, args: list[bytes]) -> bytes:
    """What the log names as refused: an argument, or the command itself."""
    return args[denial.position] if denial.position > 0 else command.name


def refusal(e: Engine, s: Session, command: Command, args: list[bytes]) -> bytes | None:
    """The whole error for a command that the session's user may not run, None when it may."""
    denial = denied(e, s, command, args)
    return None if denial is None else NO_PERMISSION + explain(denial, s.user, command, args)


def revocation(e: Engine, s: Session, command: Command, args: list[bytes]) -> bytes | None:
    """As `refusal`, for a command that the user might run when it was queued, or when it blocked."""
    if not s.executing:
        return refusal(e, s, command, args)
    denial = denied(e, s, command, args)
    return None if denial is None else changed_since(denial)


def script_refusal(e: Engine, s: Session, command: Command, args: list[bytes]) -> bytes | None:
    """The error for a command that the running script's user may not run; counted as NOPERM, though it says ERR.

    `s` is the script's session; the log shows the client that called the script.
    """
    user = s.user
    caller = e.scripts.caller
    if not user.restricted or (caller is not None and caller.primary_link):
        return None
    denial = check(user, command, args, s.dbid, len(e.stores))
    if denial is None:
        return None
    note(e, caller or s, denial.reason, LUA, blamed(denial, command, args), user.name)
    e.stats.count_error(NO_PERMISSION)
    return b"ERR ACL failure in script: " + explain(denial, user, command, args)


def note(e: Engine, s: Session, reason: int, context: bytes, thing: bytes, name: bytes) -> None:
    """Count a refusal and put it into the log."""
    if s.executing:
        s.last_command = b"exec"
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
    e.acl.log.add(reason, context, thing, name, describe(e, s), e.now_ms, e.settings.acl_log_max_len)


def rules_changed(e: Engine, user: User) -> None:
    """The sessions of a user look again whether they have to be checked."""
    for session in e.sessions.values():
        if session.user is user:
            session.refresh()
