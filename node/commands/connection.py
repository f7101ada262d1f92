"""The connection family without CLIENT: AUTH, HELLO, SELECT, PING, ECHO, RESET, QUIT."""

from cluster.version import SERVER_NAME, VALKEY_VERSION
from node.acl import DEFAULT, User
from node.acl.check import DENIED_AUTH
from node.acl.log import MULTI, TOPLEVEL
from node.commands.denials import note
from node.commands.reading import integer_or_none
from node.engine import Engine, Handler
from node.errors import DB_OUT_OF_RANGE, NOT_AN_INTEGER, SYNTAX, CommandError
from node.session import KIND_NORMAL, KIND_PUBSUB, REPLY_ON, Session

WRONG_PASSWORD = b"WRONGPASS invalid username-password pair or user is disabled."
NO_PASSWORD_SET = (
    b"ERR AUTH <password> called without any password configured for the default user. "
    b"Are you sure your configuration is correct?"
)
HELLO_UNAUTHENTICATED = (
    b"NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> "
    b"<pass> option can be used to authenticate the client and select the RESP protocol version at the same time"
)
NOT_32_BITS = b"ERR value is out of range, value must between -2147483648 and 2147483647"
BAD_NAME = b"ERR Client names cannot contain spaces, newlines or special characters."


def visible(text: bytes) -> bool:
    """Whether every byte is a printable ASCII character other than space: what client and library names are made of."""
    return all(33 <= c <= 126 for c in text)


def authenticate(e: Engine, s: Session, name: bytes, password: bytes, command: bytes) -> None:
    """Log the session in; `command` is the word by which it asked. Raises CommandError when name and password don't
    fit.
    """
    user = e.acl.authenticate(name, password)
    if user is None:
        note(e, s, DENIED_AUTH, MULTI if s.multi or s.executing else TOPLEVEL, command, name)
        raise CommandError(WRONG_PASSWORD)
    log_in(s, user)


def log_in(s: Session, user: User) -> None:
    """Make this the session's user."""
    s.user = user
    s.authenticated = True
    s.decoder.trusted = True
    s.refresh()


def auth(e: Engine, s: Session, args: list[bytes]) -> None:
    """AUTH [username] password."""
    if len(args) > 3:
        raise CommandError(SYNTAX)
    if len(args) == 2:
        if e.acl.default_user.nopass:
            raise CommandError(NO_PASSWORD_SET)
        authenticate(e, s, DEFAULT, args[1], args[0])
    else:
        authenticate(e, s, args[1], args[2], args[0])
    s.reply.ok()


def hello(e: Engine, s: Session, args: list[bytes]) -> None:
    """HELLO [protover [AUTH username password] [SETNAME clientname]]."""
    version = 0
    if len(args) > 1:
        parsed = integer_or_none(args[1])
        if parsed is None:
            raise CommandError(b"ERR Protocol version is not an integer or out of range")
        if parsed < 2 or parsed > 3:
            raise CommandError(b"NOPROTO unsupported protocol version")
        version = parsed
    login: list[bytes] = []
    name: bytes | None = None
    i = 2
    while i < len(args):
        option = args[i].lower()
        if option == b"auth" and i + 2 < len(args):
            login = args[i + 1 : i + 3]
            i += 3
        elif option == b"setname" and i + 1 < len(args):
            name = args[i + 1]
            if not visible(name):
                raise CommandError(BAD_NAME)
            i += 2
        else:
            raise CommandError(b"ERR Syntax error in HELLO option '" + args[i] + b"'")
    if login:
        authenticate(e, s, login[0], login[1], args[0])
    if not s.authenticated:
        raise CommandError(HELLO_UNAUTHENTICATED)
    if name is not None:
        s.name = name
    if version:
        s.reply.resp3 = version == 3
        s.refresh()
    _greet(e, s)


def _greet(e: Engine, s: Session) -> None:
    w = s.reply
    zone = e.settings.options.text("availability-zone")
    w.map(8 if zone else 7)
    w.bulk(b"server")
    w.bulk(SERVER_NAME.encode())
    w.bulk(b"version")
    w.bulk(VALKEY_VERSION.encode())
    w.bulk(b"proto")
    w.integer(3 if w.resp3 else 2)
    w.bulk(b"id")
    w.integer(s.id)
    w.bulk(b"mode")
    w.bulk(b"cluster" if e.settings.cluster_enabled else b"standalone")
    w.bulk(b"role")
    w.bulk(b"master" if e.replication.primary else b"replica")
    w.bulk(b"modules")
    w.array(0)
    if zone:
        w.bulk(b"availability_zone")
        w.bulk(zone)


def select(e: Engine, s: Session, args: list[bytes]) -> None:
    """SELECT index."""
    index = integer_or_none(args[1])
    if index is None:
        raise CommandError(NOT_AN_INTEGER)
    if not -(2**31) <= index < 2**31:
        raise CommandError(NOT_32_BITS)
    if not 0 <= index < len(e.stores):
        raise CommandError(DB_OUT_OF_RANGE)
    s.dbid = index
    s.store = e.stores[index]
    s.reply.ok()


def ping(e: Engine, s: Session, args: list[bytes]) -> None:
    """PING [message]; a RESP2 subscriber gets the answer in the form of a message."""
    if len(args) > 2:
        raise CommandError(b"ERR wrong number of arguments for 'ping' command")
    if s.subscriptions() > 0 and not s.reply.resp3:
        s.reply.array(2)
        s.reply.bulk(b"pong")
        s.reply.bulk(args[1] if len(args) == 2 else b"")
    elif len(args) == 2:
        s.reply.bulk(args[1])
    else:
        s.reply.simple(b"PONG")


def echo(e: Engine, s: Session, args: list[bytes]) -> None:
    """ECHO message."""
    s.reply.bulk(args[1])


def close(s: Session) -> None:
    """Close the session's connection once its replies are sent."""
    conn = s.conn
    if conn is not None:
        conn.close_after_flush()


def quit_(e: Engine, s: Session, args: list[bytes]) -> None:
    """QUIT: answer and close."""
    s.reply.ok()
    close(s)


def reset(e: Engine, s: Session, args: list[bytes]) -> None:
    """RESET: as if the client had just connected."""
    if s.kind not in (KIND_NORMAL, KIND_PUBSUB):
        raise CommandError(b"ERR can only reset normal connections")
    s.multi = False
    s.multi_failed = False
    s.queue = []
    s.queue_bytes = 0
    e.unwatch(s)
    e.pubsub.forget(s)
    s.kind = KIND_NORMAL
    s.reply_mode = REPLY_ON
    s.asking = False
    s.readonly = False
    s.no_touch = False
    s.no_evict = False
    s.import_source = False
    s.redirects = False
    e.tracking.switch_off(s)
    e.monitors.remove(s)
    e.guard()
    e.observe()
    s.name = b""
    s.dbid = 0
    s.store = e.stores[0]
    s.reply.resp3 = False
    s.user = e.acl.default_user
    s.authenticated = e.acl.open()
    s.decoder.trusted = s.authenticated
    s.refresh()
    s.reply.simple(b"RESET")


HANDLERS: dict[bytes, Handler] = {
    b"auth": auth,
    b"hello": hello,
    b"select": select,
    b"ping": ping,
    b"echo": echo,
    b"quit": quit_,
    b"reset": reset,
}
