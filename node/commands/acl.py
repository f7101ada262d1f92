"""The ACL family: users, their rules, what was refused, and the files that users are kept in."""

import secrets
from typing import Final

from cluster.catalog import ALL, resolve
from cluster.catalog.model import CATEGORY_NAMES
from node.acl import DEFAULT, AclFileError, RuleError, User
from node.acl.check import check, explain
from node.acl.log import REASONS, LogEntry
from node.acl.registry import lost_channels, subscriptions_allowed
from node.acl.selector import Selector, has_spaces
from node.commands.acl_files import read_file, save_file
from node.commands.connection import close
from node.commands.denials import rules_changed
from node.commands.reading import integer
from node.engine import Engine, Handler
from node.errors import CommandError
from node.numbers import format_double
from node.session import Session

GENPASS_MAX_BITS: Final = 4096
LOG_SHOWN: Final = 10

_NO_FILE: Final = (
    b"ERR This instance is not configured to use an ACL file. You may want to specify users via the ACL SETUSER "
    b"command and then issue a CONFIG REWRITE (assuming you have a configuration file set) in order to store users "
    b"in the configuration."
)


# --- users
def whoami(e: Engine, s: Session, args: list[bytes]) -> None:
    """ACL WHOAMI."""
    s.reply.bulk(s.user.name)


def users(e: Engine, s: Session, args: list[bytes]) -> None:
    """ACL USERS."""
    s.reply.bulks(e.acl.names())


def list_(e: Engine, s: Session, args: list[bytes]) -> None:
    """ACL LIST."""
    s.reply.bulks(e.acl.lines())


def getuser(e: Engine, s: Session, args: list[bytes]) -> None:
    """ACL GETUSER username."""
    user = e.acl.users.get(args[2])
    w = s.reply
    if user is None:
        w.null()
        return
    flags = user.flags()
    w.map(7)
    w.bulk(b"flags")
    w.set(len(flags))
    for flag in flags:
        w.bulk(flag)
    w.bulk(b"passwords")
    w.bulks(user.digests)
    _reply_selector(s, user.selectors[0])
    w.bulk(b"selectors")
    w.array(len(user.selectors) - 1)
    for selector in user.selectors[1:]:
        w.map(4)
        _reply_selector(s, selector)


def _reply_selector(s: Session, selector: Selector) -> None:
    """The four fields that describe permissions."""
    for field, value in (
        (b"commands", selector.describe_commands()),
        (b"keys", selector.describe_keys()),
        (b"channels", selector.describe_channels()),
        (b"databases", selector.describe_databases()),
    ):
        s.reply.bulk(field)
        s.reply.bulk(value)


def setuser(e: Engine, s: Session, args: list[bytes]) -> None:
    """ACL SETUSER username [rule ...]: all rules or none."""
    if has_spaces(args[2]):
        raise CommandError(b"ERR Usernames can't contain spaces or null characters")
    try:
        staged = e.acl.staged(args[2], args[3:])
    except RuleError as error:
        text = error.text.encode("utf-8", "surrogateescape")
        raise CommandError(b"ERR " + text.replace(b"\r", b" ").replace(b"\n", b" ")) from None
    known = e.acl.users.get(args[2])
    left = None if known is None else lost_channels(known, staged)
    user = e.acl.put(staged)
    if left is not None:
        _drop_listeners(e, s, user, left)
    rules_changed(e, user)
    s.reply.ok()


def _drop_listeners(e: Engine, me: Session, user: User, channels: list[bytes]) -> None:
    """Disconnect the user's clients that are subscribed to what the channel patterns do not allow any more."""
    for session in list(e.sessions.values()):
        if session.user is user and not _may_listen(session, channels):
            _disconnect(me, session)


def _may_listen(s: Session, channels: list[bytes]) -> bool:
    return subscriptions_allowed(channels, [*s.channels, *s.shard_channels], list(s.patterns))


def deluser(e: Engine, s: Session, args: list[bytes]) -> None:
    """ACL DELUSER username [username ...]: their clients are disconnected."""
    if DEFAULT in args[2:]:
        raise CommandError(b"ERR The 'default' user cannot be removed")
    deleted = 0
    for name in args[2:]:
        user = e.acl.remove(name)
        if user is not None:
            deleted += 1
            for session in list(e.sessions.values()):
                if session.user is user:
                    _expel(e, s, session)
    s.reply.integer(deleted)


def _expel(e: Engine, me: Session, session: Session) -> None:
    """Take a client its user and its connection."""
    session.user = e.acl.default_user
    session.authenticated = False
    session.decoder.trusted = False
    session.refresh()
    _disconnect(me, session)


def _disconnect(me: Session, session: Session) -> None:
    """Close a connection; the caller's own after its reply."""
    conn = session.conn
    if session is me:
        close(session)
    elif conn is not None:
        conn.close()


# --- files
def load(e: Engine, s: Session, args: list[bytes]) -> None:
    """ACL LOAD: the users of the file, all or none; clients of users that are gone are disconnected."""
    if not e.settings.options.text("aclfile"):
        raise CommandError(_NO_FILE)
    try:
        found = read_file(e)
    except AclFileError as error:
        raise CommandError(b"ERR " + error.text.replace(b"\r", b" ").replace(b"\n", b" ")) from None
    before = {name: user.copy() for name, user in e.acl.users.items()}
    e.acl.replace(found)
    left: dict[bytes, list[bytes]] = {}
    for name, user in e.acl.users.items():
        channels = lost_channels(before[name], user) if name in before else None
        if channels is not None:
            left[name] = channels
    for session in list(e.sessions.values()):
        _follow(e, s, session, left)
    s.reply.ok()


def _follow(e: Engine, me: Session, session: Session, left: dict[bytes, list[bytes]]) -> None:
    """Give a client the user that has its user's name now."""
    user = e.acl.users.get(session.user.name)
    if user is None:
        _expel(e, me, session)
        return
    channels = left.get(user.name)
    session.user = user
    session.refresh()
    if channels is not None and not _may_listen(session, channels):
        _disconnect(me, session)


def save(e: Engine, s: Session, args: list[bytes]) -> None:
    """ACL SAVE."""
    if not e.settings.options.text("aclfile"):
        raise CommandError(_NO_FILE)
    try:
        save_file(e)
    except OSError:
        raise CommandError(
            b"ERR There was an error trying to save the ACLs. Please check the server logs for more information"
        ) from None
    s.reply.ok()


# --- questions
def cat(e: Engine, s: Session, args: list[bytes]) -> None:
    """ACL CAT [category]."""
    if len(args) > 3:
        raise CommandError(_usage(args))
    if len(args) == 2:
        s.reply.bulks([name.encode() for name in CATEGORY_NAMES])
        return
    name = args[2].split(b"\0")[0]
    known = [category.encode() for category in CATEGORY_NAMES]
    if name.lower() not in known:
        shown = name[:128].replace(b"\r", b" ").replace(b"\n", b" ")
        raise CommandError(b"ERR Unknown category '%b'" % shown)
    bit = 1 << known.index(name.lower())
    s.reply.bulks([command.name for command in ALL if command.acl_categories & bit])


def genpass(e: Engine, s: Session, args: list[bytes]) -> None:
    """ACL GENPASS [bits]: that many random bits, four to a hexadecimal digit."""
    if len(args) > 3:
        raise CommandError(_usage(args))
    bits = 256
    if len(args) == 3:
        bits = integer(args[2])
        if bits <= 0 or bits > GENPASS_MAX_BITS:
            raise CommandError(
                b"ERR ACL GENPASS argument must be the number of bits for the output password, a positive number "
                b"up to %d" % GENPASS_MAX_BITS
            )
    digits = (bits + 3) // 4
    s.reply.bulk(secrets.token_hex((digits + 1) // 2)[:digits].encode())


def dryrun(e: Engine, s: Session, args: list[bytes]) -> None:
    """ACL DRYRUN username command [arg ...]: what a user would be told, without running anything."""
    user = e.acl.users.get(args[2])
    if user is None:
        raise CommandError(b"ERR User '%b' not found" % _line(args[2]))
    line = args[3:]
    command = resolve(line)
    if command is None:
        raise CommandError(b"ERR Command '%b' not found" % _line(line[0]))
    count = len(line)
    if (command.arity > 0 and count != command.arity) or count < -command.arity:
        raise CommandError(b"ERR wrong number of arguments for '%b' command" % command.name)
    denial = check(user, command, line, s.dbid, len(e.stores))
    if denial is None:
        s.reply.ok()
    else:
        s.reply.bulk(explain(denial, user, command, line, True))


def _line(text: bytes) -> bytes:
    """Text of the client's in an error, which is one line."""
    return text.split(b"\0")[0].replace(b"\r", b" ").replace(b"\n", b" ")


def _usage(args: list[bytes]) -> bytes:
    return b"ERR unknown subcommand or wrong number of arguments for '%b'. Try ACL HELP." % _line(args[1])[:128]


# --- log
def log(e: Engine, s: Session, args: list[bytes]) -> None:
    """ACL LOG [count | RESET]."""
    if len(args) > 3:
        raise CommandError(_usage(args))
    shown = LOG_SHOWN
    if len(args) == 3:
        if args[2].lower() == b"reset":
            e.acl.log.clear()
            s.reply.ok()
            return
        shown = max(integer(args[2]), 0)
    entries = e.acl.log.entries[:shown]
    s.reply.array(len(entries))
    for entry in entries:
        _reply_entry(e, s, entry)


def _reply_entry(e: Engine, s: Session, entry: LogEntry) -> None:
    w = s.reply
    w.map(10)
    w.bulk(b"count")
    w.integer(entry.count)
    for field, value in (
        (b"reason", REASONS[entry.reason]),
        (b"context", entry.context),
        (b"object", entry.object),
        (b"username", entry.user),
    ):
        w.bulk(field)
        w.bulk(value)
    w.bulk(b"age-seconds")
    w.double(format_double((e.now_ms - entry.updated_ms) / 1000))
    w.bulk(b"client-info")
    w.bulk(entry.client)
    for name, number in (
        (b"entry-id", entry.id),
        (b"timestamp-created", entry.created_ms),
        (b"timestamp-last-updated", entry.updated_ms),
    ):
        w.bulk(name)
        w.integer(number)


HELP = [
    b"ACL <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"CAT [<category>]",
    b"    Name the categories, or the commands of <category>.",
    b"DELUSER <username> [<username> ...]",
    b"    Remove users and disconnect their clients.",
    b"DRYRUN <username> <command> [<arg> ...]",
    b"    Tell whether the user might run the command, without running it.",
    b"GETUSER <username>",
    b"    Tell what a user is and may do.",
    b"GENPASS [<bits>]",
    b"    Make up a password of 256 random bits, or of as many as asked for.",
    b"LIST",
    b"    Describe all users by the rules that make them.",
    b"LOAD",
    b"    Replace the users by those in the ACL file.",
    b"LOG [<count> | RESET]",
    b"    Show what was refused lately, or forget it.",
    b"SAVE",
    b"    Write the users into the ACL file.",
    b"SETUSER <username> <rule> [<rule> ...]",
    b"    Make a user, or change it by rules.",
    b"USERS",
    b"    Name the users.",
    b"WHOAMI",
    b"    Name the user of this connection.",
    b"HELP",
    b"    Print this help.",
]


def help_(e: Engine, s: Session, args: list[bytes]) -> None:
    """ACL HELP."""
    s.reply.simples(HELP)


HANDLERS: dict[bytes, Handler] = {
    b"acl|cat": cat,
    b"acl|deluser": deluser,
    b"acl|dryrun": dryrun,
    b"acl|genpass": genpass,
    b"acl|getuser": getuser,
    b"acl|help": help_,
    b"acl|list": list_,
    b"acl|load": load,
    b"acl|log": log,
    b"acl|save": save,
    b"acl|setuser": setuser,
    b"acl|users": users,
    b"acl|whoami": whoami,
}
