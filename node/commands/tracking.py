"""CLIENT TRACKING, CACHING, GETREDIR and TRACKINGINFO: client-side caching as the client asks for it."""

from node.commands.reading import integer_or_none
from node.engine import Engine, Handler
from node.errors import NOT_AN_INTEGER, SYNTAX, CommandError
from node.session import Session

_OTHER_MODE = (
    b" before disabling tracking for this client, and then re-enabling it with a different mode."
)  # fmt: skip
_OVERLAP = b"ERR Prefix '%b' overlaps with %b prefix '%b'. Prefixes for a single client must not overlap."


class Wanted:
    """The options of CLIENT TRACKING."""

    redirect: int
    broadcast: bool
    opt_in: bool
    opt_out: bool
    no_loop: bool
    prefixes: list[bytes]

    def __init__(self) -> None:
        self.redirect = 0
        self.broadcast = False
        self.opt_in = False
        self.opt_out = False
        self.no_loop = False
        self.prefixes = []


def _parse(e: Engine, args: list[bytes]) -> Wanted:
    """Read the options. Raises CommandError with Valkey's texts."""
    wanted = Wanted()
    i = 3
    while i < len(args):
        option = args[i].lower()
        more = i + 1 < len(args)
        if option == b"redirect" and more:
            i += 1
            wanted.redirect = _target(e, wanted, args[i])
        elif option == b"prefix" and more:
            i += 1
            wanted.prefixes.append(args[i])
        elif option == b"bcast":
            wanted.broadcast = True
        elif option == b"optin":
            wanted.opt_in = True
        elif option == b"optout":
            wanted.opt_out = True
        elif option == b"noloop":
            wanted.no_loop = True
        else:
            raise CommandError(SYNTAX)
        i += 1
    return wanted


def _target(e: Engine, wanted: Wanted, word: bytes) -> int:
    if wanted.redirect:
        raise CommandError(b"ERR A client can only redirect to a single other client")
    number = integer_or_none(word)
    if number is None:
        raise CommandError(NOT_AN_INTEGER)
    if number not in e.sessions:
        raise CommandError(b"ERR The client ID you want redirect to does not exist")
    return number


def _check(s: Session, wanted: Wanted) -> None:
    """Whether the options fit each other and what is on. Raises CommandError."""
    if not wanted.broadcast and wanted.prefixes:
        raise CommandError(b"ERR PREFIX option requires BCAST mode to be enabled")
    if s.tracking and s.broadcast != wanted.broadcast:
        raise CommandError(b"ERR You can't switch BCAST mode on/off" + _OTHER_MODE)
    if wanted.broadcast and (wanted.opt_in or wanted.opt_out):
        raise CommandError(b"ERR OPTIN and OPTOUT are not compatible with BCAST")
    if wanted.opt_in and wanted.opt_out:
        raise CommandError(b"ERR You can't specify both OPTIN mode and OPTOUT mode")
    if (wanted.opt_in and s.opt_out) or (wanted.opt_out and s.opt_in):
        raise CommandError(b"ERR You can't switch OPTIN/OPTOUT mode" + _OTHER_MODE)
    if wanted.broadcast:
        _check_prefixes(s, wanted.prefixes)


def _check_prefixes(s: Session, prefixes: list[bytes]) -> None:
    for i, prefix in enumerate(prefixes):
        for known in sorted(s.prefixes):
            if known.startswith(prefix) or prefix.startswith(known):
                raise CommandError(_OVERLAP % (prefix, b"an existing", known))
        for other in prefixes[i + 1 :]:
            if other.startswith(prefix) or prefix.startswith(other):
                raise CommandError(_OVERLAP % (prefix, b"another provided", other))


def tracking(e: Engine, s: Session, args: list[bytes]) -> None:
    """CLIENT TRACKING ON|OFF [REDIRECT id] [PREFIX prefix ...] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]."""
    wanted = _parse(e, args)
    mode = args[2].lower()
    if mode == b"on":
        _check(s, wanted)
        e.tracking.switch_on(s, wanted.redirect, wanted.broadcast, wanted.prefixes)
        s.opt_in = wanted.opt_in
        s.opt_out = wanted.opt_out
        s.no_loop = wanted.no_loop
    elif mode == b"off":
        e.tracking.switch_off(s)
    else:
        raise CommandError(SYNTAX)
    e.observe()
    s.reply.ok()


def caching(e: Engine, s: Session, args: list[bytes]) -> None:
    """CLIENT CACHING YES|NO: whether the keys that the next command reads are remembered."""
    if not s.tracking:
        raise CommandError(
            b"ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode "
            b"enabled"
        )
    mode = args[2].lower()
    if mode == b"yes":
        if not s.opt_in:
            raise CommandError(b"ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.")
    elif mode == b"no":
        if not s.opt_out:
            raise CommandError(b"ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.")
    else:
        raise CommandError(SYNTAX)
    s.caching = True
    s.reply.ok()


def getredir(e: Engine, s: Session, args: list[bytes]) -> None:
    """CLIENT GETREDIR: who is told in this client's place, 0 for itself, -1 without tracking."""
    s.reply.integer(s.redirect if s.tracking else -1)


def trackinginfo(e: Engine, s: Session, args: list[bytes]) -> None:
    """CLIENT TRACKINGINFO."""
    found = [b"on" if s.tracking else b"off"]
    if s.broadcast:
        found.append(b"bcast")
    if s.opt_in:
        found.append(b"optin")
        if s.caching:
            found.append(b"caching-yes")
    if s.opt_out:
        found.append(b"optout")
        if s.caching:
            found.append(b"caching-no")
    if s.no_loop:
        found.append(b"noloop")
    if s.broken_redirect:
        found.append(b"broken_redirect")
    w = s.reply
    w.map(3)
    w.bulk(b"flags")
    w.set(len(found))
    for flag in found:
        w.bulk(flag)
    w.bulk(b"redirect")
    w.integer(s.redirect if s.tracking else -1)
    w.bulk(b"prefixes")
    w.bulks(sorted(s.prefixes))


HANDLERS: dict[bytes, Handler] = {
    b"client|tracking": tracking,
    b"client|caching": caching,
    b"client|getredir": getredir,
    b"client|trackinginfo": trackinginfo,
}
