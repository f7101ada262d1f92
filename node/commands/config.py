"""CONFIG: settings read, changed on the running node, written back to the file."""

from cluster.configfile import rewrite
from cluster.options import OptionError, UnknownOptionError
from node.commands.acl_files import configuration_lines
from node.engine import Engine, Handler
from node.errors import SYNTAX, CommandError
from node.memory import make_room
from node.session import Session


def allowed(e: Engine, s: Session, option: str) -> bool:
    """Whether an `enable-…` option (no, yes, local) allows this client what it guards."""
    value = e.settings.options.text(option)
    return value == b"yes" or (value == b"local" and is_local(s))


def is_local(s: Session) -> bool:
    """Whether the client is on this machine: by unix socket or loopback."""
    address = s.address
    return address.startswith((b"/", b"127.", b"[::1]:", b"[::ffff:127."))


def get(e: Engine, s: Session, args: list[bytes]) -> None:
    """CONFIG GET parameter [parameter ...]."""
    found = e.settings.options.match(args[2:])
    s.reply.map(len(found))
    for name, value in found:
        s.reply.bulk(name)
        s.reply.bulk(value)


def set_(e: Engine, s: Session, args: list[bytes]) -> None:
    """CONFIG SET parameter value [parameter value ...]: all or none."""
    if len(args) % 2:
        raise CommandError(SYNTAX)
    pairs = [(args[i], args[i + 1]) for i in range(2, len(args), 2)]
    try:
        changed = e.settings.options.set_pairs(pairs, allowed(e, s, "enable-protected-configs"))
    except UnknownOptionError as error:
        raise CommandError(
            b"ERR Unknown option or number of arguments for CONFIG SET - '%b'" % _written(error)
        ) from None
    except OptionError as error:
        raise CommandError(
            b"ERR CONFIG SET failed (possibly related to argument '%b') - %b" % (_written(error), error.reason.encode())
        ) from None
    if ("maxmemory" in changed or "maxmemory-policy" in changed) and e.settings.maxmemory > 0:
        make_room(e)
    s.reply.ok()


def _written(error: OptionError) -> bytes:
    """The name as the client wrote it, fit for a reply line."""
    return error.name.encode("utf-8", "surrogateescape")[:128].replace(b"\r", b" ").replace(b"\n", b" ")


def resetstat(e: Engine, s: Session, args: list[bytes]) -> None:
    """CONFIG RESETSTAT."""
    hits = sum(store.hits for store in e.stores)
    misses = sum(store.misses for store in e.stores)
    e.stats.reset(e.loop.read_bytes, e.loop.sent_bytes, hits, misses)
    for entry in e.table.values():
        for counted in (entry, *entry.subcommands.values()):
            counted.clear()
    e.slot_stats.costs = {}
    s.reply.ok()


def rewrite_(e: Engine, s: Session, args: list[bytes]) -> None:
    """CONFIG REWRITE."""
    options = e.settings.options
    if not options.path:
        raise CommandError(b"ERR The server is running without a config file")
    options.put_lines("user", configuration_lines(e))
    try:
        rewrite(options)
    except OSError as error:
        raise CommandError(b"ERR Rewriting config file: " + (error.strerror or "unknown error").encode()) from None
    s.reply.ok()


HELP = [
    b"CONFIG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"GET <pattern>",
    b"    Tell the parameters that match the glob-like <pattern>, and their values.",
    b"SET <directive> <value>",
    b"    Change a parameter on the running server.",
    b"RESETSTAT",
    b"    Set the counters that INFO reports back to zero.",
    b"REWRITE",
    b"    Write the present values into the configuration file.",
    b"HELP",
    b"    Print this help.",
]


def help_(e: Engine, s: Session, args: list[bytes]) -> None:
    """CONFIG HELP."""
    s.reply.simples(HELP)


HANDLERS: dict[bytes, Handler] = {
    b"config|get": get,
    b"config|set": set_,
    b"config|resetstat": resetstat,
    b"config|rewrite": rewrite_,
    b"config|help": help_,
}
