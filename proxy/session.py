"""A session: what the proxy knows of one client, and what a client may ask about itself. Pure: time is an argument.

The CLIENT command is answered here, from the proxy's own sessions: the node's would show the proxy's connections.
"""

from __future__ import annotations

import hmac
from typing import Final

from mypy_extensions import i64

from proxy import texts

REPLY_ON: Final = 0
REPLY_OFF: Final = 1
REPLY_SKIP: Final = 2

HELP: Final[list[bytes]] = [
    b"CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"GETNAME",
    b"    Return the name of the current connection.",
    b"ID",
    b"    Return the ID of the current connection.",
    b"INFO",
    b"    Return information about the current client connection.",
    b"KILL <ip:port> | [ID <id>] [ADDR <ip:port>] [LADDR <ip:port>] [USER <name>] [SKIPME (YES|NO)]",
    b"    Close connections of the proxy.",
    b"LIST [TYPE (NORMAL|PUBSUB)] [ID <id> ...]",
    b"    Return information about the proxy's client connections.",
    b"REPLY (ON|OFF|SKIP)",
    b"    Control the replies sent to the current connection.",
    b"SETNAME <name>",
    b"    Assign the name <name> to the current connection.",
    b"SETINFO <option> <value>",
    b"    Set client meta attr: LIB-NAME or LIB-VER.",
    b"HELP",
    b"    Print this help.",
]


class Access:
    """Who may do what: the rule of an endpoint. Where no login is required, any password is right."""

    def __init__(self, external: bool, required: bool, password: bytes) -> None:
        self.external = external
        self.required = required
        self.password = password

    def admits(self, user: bytes, password: bytes) -> bool:
        """Whether this login is right; compared in constant time."""
        if not self.required:
            return user == b"default"
        right = hmac.compare_digest(self.password, password)
        return right and user == b"default" and len(self.password) > 0


class Session:
    """One client's state, connection apart."""

    id: i64
    access: Access
    address: bytes
    local: bytes
    peer_ip: str
    created: float
    seen: float
    name: bytes
    lib_name: bytes
    lib_version: bytes
    proto: i64
    db: i64
    authed: bool
    reply_mode: i64
    last_command: bytes
    commands: i64
    channels: i64
    patterns: i64
    shard_channels: i64
    multi: i64  # commands queued, -1 outside a transaction
    watching: bool
    blocked: bool
    monitor: bool

    def __init__(self, number: i64, access: Access, address: bytes, local: bytes, peer_ip: str, now: float) -> None:
        self.id = number
        self.access = access
        self.address = address
        self.local = local
        self.peer_ip = peer_ip
        self.created = now
        self.seen = now
        self.name = b""
        self.lib_name = b""
        self.lib_version = b""
        self.proto = 2
        self.db = 0
        self.authed = not access.required
        self.reply_mode = REPLY_ON
        self.last_command = b"NULL"
        self.commands = 0
        self.channels = 0
        self.patterns = 0
        self.shard_channels = 0
        self.multi = -1
        self.watching = False
        self.blocked = False
        self.monitor = False

    def kind(self) -> bytes:
        """The word of CLIENT LIST TYPE."""
        return b"pubsub" if self.channels + self.patterns + self.shard_channels else b"normal"

    def describe(self, now: float) -> bytes:
        """The line of CLIENT LIST, without its line break; fields that the proxy does not measure are left out."""
        flags = b"O" if self.monitor else b""
        flags += b"P" if self.kind() == b"pubsub" else b""
        flags += b"x" if self.multi >= 0 else b""
        flags += b"b" if self.blocked else b""
        return (
            b"id=%d addr=%b laddr=%b name=%b age=%d idle=%d flags=%b db=%d sub=%d psub=%d ssub=%d multi=%d watch=%d"
            b" cmd=%b user=default redir=-1 resp=%d lib-name=%b lib-ver=%b tot-cmds=%d"
            % (
                self.id, self.address, self.local, self.name, int(now - self.created), int(now - self.seen),
                flags or b"N", self.db, self.channels, self.patterns, self.shard_channels, self.multi,
                int(self.watching), self.last_command, self.proto, self.lib_name, self.lib_version, self.commands,
            )
        )  # fmt: skip


def bulk(value: bytes) -> bytes:
    """A bulk string."""
    return b"$%d\r\n%b\r\n" % (len(value), value)


def null(proto: i64) -> bytes:
    """No value, in the client's protocol."""
    return b"_\r\n" if proto == 3 else b"$-1\r\n"


def verbatim(value: bytes, proto: i64) -> bytes:
    """A text: verbatim in RESP3, a bulk string in RESP2."""
    return b"=%d\r\ntxt:%b\r\n" % (len(value) + 4, value) if proto == 3 else bulk(value)


def hello_reply(session: Session, version: bytes) -> bytes:
    """The map that HELLO answers."""
    pairs = (
        bulk(b"server") + bulk(b"valkey") + bulk(b"version") + bulk(version)
        + bulk(b"proto") + b":%d\r\n" % session.proto + bulk(b"id") + b":%d\r\n" % session.id
        + bulk(b"mode") + bulk(b"standalone") + bulk(b"role") + bulk(b"master") + bulk(b"modules") + texts.EMPTY_ARRAY
    )  # fmt: skip
    return (b"%7\r\n" if session.proto == 3 else b"*14\r\n") + pairs


def good_name(name: bytes) -> bool:
    """Whether a client may call itself so: printable ASCII without spaces."""
    return all(33 <= byte <= 126 for byte in name)


def set_name(session: Session, name: bytes) -> bytes:
    """CLIENT SETNAME."""
    if not good_name(name):
        return texts.BAD_NAME
    session.name = name
    return texts.OK


def set_info(session: Session, option: bytes, value: bytes) -> bytes:
    """CLIENT SETINFO."""
    word = option.lower()
    if word not in (b"lib-name", b"lib-ver"):
        return texts.error(b"ERR Unrecognized option '%b'" % option)
    if not good_name(value):
        return texts.error(b"ERR %b cannot contain spaces, newlines or special characters." % word)
    if word == b"lib-name":
        session.lib_name = value
    else:
        session.lib_version = value
    return texts.OK


def set_switch(word: bytes) -> bytes:
    """CLIENT NO-EVICT and NO-TOUCH: checked only, for nodes see the proxy's connections and not this one."""
    return texts.OK if word.lower() in (b"on", b"off") else texts.SYNTAX


def client_list(args: list[bytes], sessions: list[Session], proto: i64, now: float) -> bytes:
    """CLIENT LIST with its filters TYPE and ID."""
    wanted = sessions
    if len(args) > 2:
        word = args[2].lower()
        if word == b"type" and len(args) == 4:
            kind = args[3].lower()
            if kind not in (b"normal", b"pubsub", b"master", b"primary", b"slave", b"replica"):
                return texts.error(b"ERR Unknown client type '%b'" % args[3])
            wanted = [s for s in sessions if s.kind() == kind]
        elif word == b"id" and len(args) > 3:
            if not all(arg.isdigit() and len(arg) < 19 for arg in args[3:]):
                return texts.error(b"ERR Invalid client ID")
            ids = {int(arg) for arg in args[3:]}
            wanted = [s for s in sessions if s.id in ids]
        else:
            return texts.SYNTAX
    return verbatim(b"".join([s.describe(now) + b"\n" for s in wanted]), proto)


def kill_targets(args: list[bytes], sessions: list[Session], me: Session) -> tuple[bytes, list[Session], bool]:
    """CLIENT KILL: an error reply (or b""), whom it hits, and whether it is the old form, which answers OK."""
    if len(args) == 3:
        hit = [s for s in sessions if s.address == args[2]]
        return (b"" if hit else b"-ERR No such client\r\n"), hit, True
    skip_me = True
    hit = sessions
    if len(args) % 2 or len(args) < 4:
        return texts.SYNTAX, [], False
    for place in range(2, len(args), 2):
        word, value = args[place].lower(), args[place + 1]
        if word == b"id":
            if not value.isdigit() or len(value) > 18 or int(value) < 1:
                return texts.error(b"ERR client-id should be greater than 0"), [], False
            hit = [s for s in hit if s.id == int(value)]
        elif word == b"addr":
            hit = [s for s in hit if s.address == value]
        elif word == b"laddr":
            hit = [s for s in hit if s.local == value]
        elif word == b"user":
            hit = hit if value == b"default" else []
        elif word == b"type":
            hit = [s for s in hit if s.kind() == value.lower()]
        elif word == b"skipme" and value.lower() in (b"yes", b"no"):
            skip_me = value.lower() == b"yes"
        else:
            return texts.SYNTAX, [], False
    return b"", [s for s in hit if not (skip_me and s is me)], False


def bulks(values: list[bytes]) -> bytes:
    """An array of bulk strings."""
    return b"*%d\r\n" % len(values) + b"".join([bulk(value) for value in values])


def help_reply(proto: i64) -> bytes:
    """CLIENT HELP: what the proxy itself answers."""
    return b"*%d\r\n" % len(HELP) + b"".join([b"+%b\r\n" % line for line in HELP])


def tracking_info(proto: i64) -> bytes:
    """CLIENT TRACKINGINFO: tracking is never on here."""
    flags = b"~1\r\n" if proto == 3 else b"*1\r\n"
    head = b"%3\r\n" if proto == 3 else b"*6\r\n"
    return head + bulk(b"flags") + flags + bulk(b"off") + bulk(b"redirect") + b":-1\r\n" + bulk(b"prefixes") + b"*0\r\n"
