"""Every text that the proxy itself says to a client. The wording is Valkey's wherever Valkey has a word for it."""

from typing import Final

NOAUTH: Final = b"-NOAUTH Authentication required.\r\n"
HELLO_NOAUTH: Final = (
    b"-NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user>"
    b" <pass> option can be used to authenticate the client and select the RESP protocol version at the same time\r\n"
)
WRONGPASS: Final = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"
NOT_ALLOWED: Final = b"-Client IP address is not in the allowlist.\r\n"
NOPROTO: Final = b"-NOPROTO unsupported protocol version\r\n"
MAX_CLIENTS: Final = b"-ERR max number of clients reached\r\n"
SYNTAX: Final = b"-ERR syntax error\r\n"
CROSSSLOT: Final = b"-CROSSSLOT Keys in request don't hash to the same slot\r\n"
NO_CLUSTER: Final = b"-ERR This instance has cluster support disabled\r\n"
UNKNOWN_OUTCOME: Final = (
    b"-ERR the outcome of this command is unknown: the connection to the shard was lost while it ran\r\n"
)
DOWN: Final = b"-CLUSTERDOWN The cluster is down: no primary of this shard could be reached in time\r\n"
PARK_FULL: Final = b"-CLUSTERDOWN The cluster is down: too many commands are waiting for the primary of this shard\r\n"
SELECT_SHARDED: Final = b"-ERR SELECT is not allowed in cluster mode\r\n"
NOT_INTEGER: Final = b"-ERR value is not an integer or out of range\r\n"
BAD_CURSOR: Final = b"-ERR invalid cursor\r\n"
EXEC_WITHOUT: Final = b"-ERR EXEC without MULTI\r\n"
DISCARD_WITHOUT: Final = b"-ERR DISCARD without MULTI\r\n"
MULTI_NESTED: Final = b"-ERR MULTI calls can not be nested\r\n"
WATCH_INSIDE: Final = b"-ERR WATCH inside MULTI is not allowed\r\n"
EXECABORT: Final = b"-EXECABORT Transaction discarded because of previous errors.\r\n"
TX_TOO_LARGE: Final = b"-ERR the transaction is larger than the proxy keeps for one client\r\n"
SHUTTING_DOWN: Final = b"-ERR the proxy is shutting down\r\n"
BAD_NAME: Final = b"-ERR Client names cannot contain spaces, newlines or special characters.\r\n"

OK: Final = b"+OK\r\n"
PONG: Final = b"+PONG\r\n"
QUEUED: Final = b"+QUEUED\r\n"
RESET: Final = b"+RESET\r\n"
EMPTY_ARRAY: Final = b"*0\r\n"

_BREAKS: Final = bytes.maketrans(b"\r\n", b"  ")
_SHOWN_ARGS: Final = 128


def error(text: bytes) -> bytes:
    """The reply for an error text that begins with its code."""
    return b"-" + text.translate(_BREAKS) + b"\r\n"


def unknown_command(args: list[bytes]) -> bytes:
    """The refusal of a command that nobody knows."""
    shown = b""
    for arg in args[1:]:
        if len(shown) >= _SHOWN_ARGS:
            break
        shown += b"'%b' " % arg[: _SHOWN_ARGS - len(shown)]
    return error(b"ERR unknown command '%b', with args beginning with: %b" % (args[0][:_SHOWN_ARGS], shown))


def unknown_subcommand(args: list[bytes]) -> bytes:
    """The refusal of a subcommand that nobody knows."""
    return error(b"ERR unknown subcommand '%b'. Try %b HELP." % (args[1][:_SHOWN_ARGS], args[0].upper()))


def wrong_arity(name: bytes) -> bytes:
    """The refusal of a command (`get`, `client|id`) with too few or too many arguments."""
    return error(b"ERR wrong number of arguments for '%b' command" % name)


def no_permission(name: bytes) -> bytes:
    """The refusal of a command that would touch the insides of the service."""
    return error(b"NOPERM User default has no permissions to run the '%b' command" % name)


def only_subscriptions(name: bytes) -> bytes:
    """The refusal of a command that a RESP2 client cannot send while it is subscribed."""
    return error(
        b"ERR Can't execute '%b': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this"
        b" context" % name
    )


def not_in_multi(name: bytes) -> bytes:
    """The refusal of a command that changes the connection and therefore cannot be part of a transaction here."""
    return error(b"ERR '%b' inside MULTI is not allowed through the proxy" % name)


def not_here(name: bytes, why: bytes) -> bytes:
    """The refusal of a command that cannot work on connections that many clients share."""
    return error(b"ERR '%b' is not available through the proxy: %b" % (name, why))
