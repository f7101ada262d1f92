"""The CLIENT subcommands."""

from node.commands.clientlines import describe, parse_filter
from node.commands.connection import BAD_NAME, close, visible
from node.commands.reading import integer_or_none
from node.engine import Engine, Handler
from node.errors import NOT_AN_INTEGER, SYNTAX, CommandError
from node.session import REPLY_OFF, REPLY_ON, REPLY_SKIP, Session
from node.waiting import UNBLOCKED, unblock


def client_id(e: Engine, s: Session, args: list[bytes]) -> None:
    """CLIENT ID."""
    s.reply.integer(s.id)


def getname(e: Engine, s: Session, args: list[bytes]) -> None:
    """CLIENT GETNAME."""
    s.reply.bulk_or_null(s.name or None)


def setname(e: Engine, s: Session, args: list[bytes]) -> None:
    """CLIENT SETNAME name; an empty one removes it."""
    if not visible(args[2]):
        raise CommandError(BAD_NAME)
    s.name = args[2]
    s.reply.ok()


def setinfo(e: Engine, s: Session, args: list[bytes]) -> None:
    """CLIENT SETINFO LIB-NAME|LIB-VER value."""
    option = args[2].lower()
    if option not in (b"lib-name", b"lib-ver"):
        raise CommandError(b"ERR Unrecognized option '%b'" % args[2])
    if not visible(args[3]):
        raise CommandError(b"ERR %b cannot contain spaces, newlines or special characters." % args[2])
    if option == b"lib-name":
        s.lib_name = args[3]
    else:
        s.lib_version = args[3]
    s.reply.ok()


def info(e: Engine, s: Session, args: list[bytes]) -> None:
    """CLIENT INFO: this client's line."""
    s.reply.verbatim(describe(e, s) + b"\n")


def list_(e: Engine, s: Session, args: list[bytes]) -> None:
    """CLIENT LIST [filters]: one line a client."""
    wanted = parse_filter(e, args, 2, False)
    lines = [describe(e, other) + b"\n" for other in e.sessions.values() if wanted.matches(e, other, s)]
    s.reply.verbatim(b"".join(lines))


def kill(e: Engine, s: Session, args: list[bytes]) -> None:
    """CLIENT KILL address, or with filters."""
    if len(args) == 3:
        found = [other for other in e.sessions.values() if other.address == args[2]]
        if not found:
            raise CommandError(b"ERR No such client")
        s.reply.ok()
        _close(s, found)
        return
    wanted = parse_filter(e, args, 2, True)
    found = [other for other in e.sessions.values() if wanted.matches(e, other, s)]
    s.reply.integer(len(found))
    _close(s, found)


def _close(me: Session, sessions: list[Session]) -> None:
    """Close the connections; the caller's own after its reply."""
    for session in sessions:
        conn = session.conn
        if session is me:
            close(session)
        elif conn is not None:
            conn.close()


def no_evict(e: Engine, s: Session, args: list[bytes]) -> None:
    """CLIENT NO-EVICT ON|OFF."""
    s.no_evict = _on(args[2])
    s.reply.ok()


def no_touch(e: Engine, s: Session, args: list[bytes]) -> None:
    """CLIENT NO-TOUCH ON|OFF: this client's reads don't count as accesses."""
    s.no_touch = _on(args[2])
    s.refresh()
    s.reply.ok()


def capa(e: Engine, s: Session, args: list[bytes]) -> None:
    """CLIENT CAPA capability [capability ...]; unknown ones are left out."""
    for word in args[2:]:
        if word.lower() == b"redirect":
            s.redirects = True
    s.reply.ok()


def import_source(e: Engine, s: Session, args: list[bytes]) -> None:
    """CLIENT IMPORT-SOURCE ON|OFF: see expired keys while the node is in import mode."""
    if not e.settings.import_mode and args[2].lower() != b"off":
        raise CommandError(b"ERR Server is not in import mode")
    s.import_source = _on(args[2])
    s.refresh()
    s.reply.ok()


def _on(word: bytes) -> bool:
    if word.lower() not in (b"on", b"off"):
        raise CommandError(SYNTAX)
    return word.lower() == b"on"


def pause(e: Engine, s: Session, args: list[bytes]) -> None:
    """CLIENT PAUSE timeout [WRITE|ALL]: a longer or stricter pause that is on stays on."""
    writes_only = False
    if len(args) == 4:  # with more arguments the mode is ALL, as in Valkey
        mode = args[3].lower()
        if mode not in (b"write", b"all"):
            raise CommandError(b"ERR CLIENT PAUSE mode must be WRITE or ALL")
        writes_only = mode == b"write"
    timeout = integer_or_none(args[2])
    if timeout is None:
        raise CommandError(b"ERR timeout is not an integer or out of range")
    if timeout < 0:
        raise CommandError(b"ERR timeout is negative")
    if timeout >= 2**62:
        raise CommandError(b"ERR timeout is out of range")
    running = e.paused_until_ms > e.now_ms
    e.paused_writes_only = writes_only and (not running or e.paused_writes_only)
    e.paused_until_ms = max(e.paused_until_ms, e.now_ms + timeout)
    e.guard()
    s.reply.ok()


def unpause(e: Engine, s: Session, args: list[bytes]) -> None:
    """CLIENT UNPAUSE."""
    e.unpause()
    s.reply.ok()


def reply(e: Engine, s: Session, args: list[bytes]) -> None:
    """CLIENT REPLY ON|OFF|SKIP; the dispatcher discards what is not to be sent."""
    mode = args[2].lower()
    if mode == b"on":
        s.reply_mode = REPLY_ON
        s.reply.ok()
    elif mode == b"off":
        s.reply_mode = REPLY_OFF
    elif mode == b"skip":
        if s.reply_mode != REPLY_OFF:
            s.reply_mode = REPLY_SKIP
    else:
        raise CommandError(SYNTAX)
    s.refresh()


def unblock_(e: Engine, s: Session, args: list[bytes]) -> None:
    """CLIENT UNBLOCK client-id [TIMEOUT|ERROR]."""
    with_error = False
    if len(args) == 4:  # with more arguments they are all ignored, as in Valkey
        reason = args[3].lower()
        if reason not in (b"timeout", b"error"):
            raise CommandError(b"ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
        with_error = reason == b"error"
    number = integer_or_none(args[2])
    if number is None:
        raise CommandError(NOT_AN_INTEGER)
    target = e.sessions.get(number)
    if target is None or not target.blocked:
        s.reply.integer(0)
        return
    s.reply.integer(1 if unblock(e, target, UNBLOCKED if with_error else b"") else 0)


HELP = [
    b"CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"CACHING (YES|NO)",
    b"    Track the keys of the next command (OPTIN), or don't (OPTOUT).",
    b"CAPA <option> [options...]",
    b"    Tell what this client can do. Options are:",
    b"    * REDIRECT",
    b"      It follows a replica's hint to the primary.",
    b"GETREDIR",
    b"    Tell which connection gets the invalidations of this one.",
    b"GETNAME",
    b"    Tell the name of this connection.",
    b"ID",
    b"    Tell the ID of this connection.",
    b"INFO",
    b"    Describe this connection.",
    b"KILL <ip:port>",
    b"    Close the connection made from <ip:port>.",
    b"KILL <option> <value> [<option> <value> [...]]",
    b"    Close connections. The options are those of LIST; SKIPME is yes by default.",
    b"LIST [options ...]",
    b"    Describe connections, one a line. Options are:",
    b"    * TYPE (NORMAL|PRIMARY|REPLICA|PUBSUB), USER <username>, ID <client-id> [<client-id>...]",
    b"    * ADDR <ip:port>, LADDR <ip:port>, IP <ip>, DB <db-id>, NAME <client-name>",
    b"    * LIB-NAME <library-name>, LIB-VER <library-version>, FLAGS <flags>, CAPA <capa>",
    b"      Each of these also with NOT- before it, for connections that are not so.",
    b"    * SKIPME (YES|NO)",
    b"      Leave this connection out (default: no).",
    b"    * MAXAGE <seconds>, IDLE <seconds>",
    b"      At least so old, or idle for at least so long.",
    b"UNPAUSE",
    b"    End a pause.",
    b"PAUSE <timeout> [WRITE|ALL]",
    b"    Hold back all commands, or just writes, for <timeout> milliseconds.",
    b"REPLY (ON|OFF|SKIP)",
    b"    Choose whether this connection gets replies.",
    b"SETNAME <name>",
    b"    Give this connection a name.",
    b"SETINFO <option> <value>",
    b"    Record the library of the client. Options are: LIB-NAME, LIB-VER.",
    b"UNBLOCK <clientid> [TIMEOUT|ERROR]",
    b"    End the blocking command of a client.",
    b"TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]",
    b"         [OPTIN] [OPTOUT] [NOLOOP]",
    b"    Be told when keys change that this connection has read.",
    b"TRACKINGINFO",
    b"    Tell how this connection tracks keys.",
    b"NO-EVICT (ON|OFF)",
    b"    Keep this connection when clients are evicted.",
    b"NO-TOUCH (ON|OFF)",
    b"    Have reads by this connection not count as accesses.",
    b"IMPORT-SOURCE (ON|OFF)",
    b"    See expired keys while the node is in import mode.",
    b"HELP",
    b"    Print this help.",
]


def help_(e: Engine, s: Session, args: list[bytes]) -> None:
    """CLIENT HELP."""
    s.reply.simples(HELP)


HANDLERS: dict[bytes, Handler] = {
    b"client|id": client_id,
    b"client|getname": getname,
    b"client|setname": setname,
    b"client|setinfo": setinfo,
    b"client|info": info,
    b"client|list": list_,
    b"client|kill": kill,
    b"client|no-evict": no_evict,
    b"client|no-touch": no_touch,
    b"client|capa": capa,
    b"client|import-source": import_source,
    b"client|pause": pause,
    b"client|unpause": unpause,
    b"client|reply": reply,
    b"client|unblock": unblock_,
    b"client|help": help_,
}
