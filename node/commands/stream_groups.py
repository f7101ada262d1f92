"""Streams: consumer groups made and changed, entries acknowledged."""

from mypy_extensions import i64

from node.commands.reading import integer, shown
from node.commands.stream_common import create, noted, range_id, stream_at, stream_to_read, strict_id
from node.engine import NOTIFY_STREAM, Engine, Handler
from node.errors import CommandError
from node.session import Session
from node.types.stream import Stream
from node.types.streamgroup import UNKNOWN_READ, Group

_CREATE_MOST = 8  # arguments of XGROUP CREATE, the name included; Valkey counts them after it has read them
_SETID_MOST = 7
_NO_KEY = (
    b"ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM "
    b"option to create an empty stream automatically."
)
_HELP = [
    b"XGROUP <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"CREATE <key> <groupname> <id|$> [option]",
    b"    Create a new consumer group. Options are:",
    b"    * MKSTREAM",
    b"      Create the empty stream if it does not exist.",
    b"    * ENTRIESREAD entries_read",
    b"      Set the group's entries_read counter (internal use).",
    b"CREATECONSUMER <key> <groupname> <consumer>",
    b"    Create a new consumer in the specified group.",
    b"DELCONSUMER <key> <groupname> <consumer>",
    b"    Remove the specified consumer.",
    b"DESTROY <key> <groupname>",
    b"    Remove the specified group.",
    b"SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
    b"    Set the current group ID and entries_read counter.",
    b"HELP",
    b"    Print this help.",
]


def _options(args: list[bytes], creating: bool) -> tuple[bool, i64]:
    """Whether the stream may be created, and ENTRIESREAD; raises CommandError."""
    make = False
    entries_read: i64 = UNKNOWN_READ
    i: i64 = 5
    while i < len(args):
        option = args[i].lower()
        if creating and option == b"mkstream":
            make = True
            i += 1
        elif option == b"entriesread" and i + 1 < len(args):
            entries_read = integer(args[i + 1])
            if entries_read < 0 and entries_read != UNKNOWN_READ:
                raise CommandError(b"ERR value for ENTRIESREAD must be positive or -1")
            i += 2
        else:
            raise _malformed(args)
    return make, entries_read


def _malformed(args: list[bytes]) -> CommandError:
    """The error for an option that is not known, or given too often."""
    return CommandError(
        b"ERR unknown subcommand or wrong number of arguments for '%b'. Try XGROUP HELP." % shown(args[1])[:128]
    )


def _existing(e: Engine, s: Session, args: list[bytes]) -> tuple[Stream, Group]:
    """The stream and the group that a subcommand works on; raises CommandError."""
    stream = stream_at(s, e.slot, args[2])
    if stream is None:
        raise CommandError(_NO_KEY)
    group = stream.groups.get(args[3])
    if group is None:
        raise CommandError(
            b"NOGROUP No such consumer group '%b' for key name '%b'" % (shown(args[3]), shown(args[2]))
        )
    return stream, group


def xgroup_create(e: Engine, s: Session, args: list[bytes]) -> None:
    """XGROUP CREATE key group id|$ [MKSTREAM] [ENTRIESREAD entries-read]."""
    make, entries_read = _options(args, True)
    key = args[2]
    found = stream_at(s, e.slot, key)
    if found is None and not make:
        raise CommandError(_NO_KEY)
    if len(args) > _CREATE_MOST:
        raise _malformed(args)
    position = 0
    if args[4] != b"$":
        position = strict_id(args[4])
    elif found is not None:
        position = found.last_id
    stream = Stream() if found is None else found
    if args[3] in stream.groups:
        raise CommandError(b"BUSYGROUP Consumer Group name already exists")
    before = stream.used_bytes()
    stream.groups[args[3]] = Group(position, entries_read)
    if found is None:
        create(e, s, e.slot, key, stream)
        if e.blocking.count > 0:  # who waits for a group of a stream that was replaced meanwhile
            e.blocking.signal(s.dbid, key)
    else:
        s.store.grew(e.slot, key, stream.used_bytes() - before)
    s.reply.ok()
    if found is None:
        e.changed(s, key, NOTIFY_STREAM, b"xgroup-create")
    else:
        noted(e, s, key, b"xgroup-create")


def xgroup_setid(e: Engine, s: Session, args: list[bytes]) -> None:
    """XGROUP SETID key group id|$ [ENTRIESREAD entries-read]."""
    _, entries_read = _options(args, False)
    stream, group = _existing(e, s, args)
    if len(args) > _SETID_MOST:
        raise _malformed(args)
    group.last_id = stream.last_id if args[4] == b"$" else range_id(args[4], 0)
    group.entries_read = entries_read
    s.reply.ok()
    noted(e, s, args[2], b"xgroup-setid")


def xgroup_destroy(e: Engine, s: Session, args: list[bytes]) -> None:
    """XGROUP DESTROY key group."""
    stream = stream_at(s, e.slot, args[2])
    if stream is None:
        raise CommandError(_NO_KEY)
    if args[3] not in stream.groups:
        s.reply.integer(0)
        return
    before = stream.used_bytes()
    del stream.groups[args[3]]
    s.store.grew(e.slot, args[2], stream.used_bytes() - before)
    s.reply.integer(1)
    noted(e, s, args[2], b"xgroup-destroy")
    if e.blocking.count > 0:  # who waits for the group has to hear that it is gone
        e.blocking.signal(s.dbid, args[2])


def xgroup_createconsumer(e: Engine, s: Session, args: list[bytes]) -> None:
    """XGROUP CREATECONSUMER key group consumer."""
    stream, group = _existing(e, s, args)
    if args[4] in group.consumers:
        s.reply.integer(0)
        return
    before = stream.used_bytes()
    group.add_consumer(args[4], e.now_ms)
    s.store.grew(e.slot, args[2], stream.used_bytes() - before)
    s.reply.integer(1)
    noted(e, s, args[2], b"xgroup-createconsumer")


def xgroup_delconsumer(e: Engine, s: Session, args: list[bytes]) -> None:
    """XGROUP DELCONSUMER key group consumer."""
    stream, group = _existing(e, s, args)
    consumer = group.consumers.get(args[4])
    if consumer is None:
        s.reply.integer(0)
        return
    before = stream.used_bytes()
    s.reply.integer(group.remove_consumer(consumer))
    s.store.grew(e.slot, args[2], stream.used_bytes() - before)
    noted(e, s, args[2], b"xgroup-delconsumer")


def xgroup_help(e: Engine, s: Session, args: list[bytes]) -> None:
    """XGROUP HELP."""
    s.reply.simples(_HELP)


def xack(e: Engine, s: Session, args: list[bytes]) -> None:
    """XACK key group id [id ...]."""
    stream = stream_to_read(e, s, e.slot, args[1])
    group = None if stream is None else stream.groups.get(args[2])
    if stream is None or group is None:
        s.reply.integer(0)
        return
    ids = [strict_id(arg) for arg in args[3:]]
    before = stream.used_bytes()
    done: i64 = 0
    for id in ids:
        if group.acknowledge(id):
            done += 1
    if done > 0:
        s.store.grew(e.slot, args[1], stream.used_bytes() - before)
        e.dirty += done
    s.reply.integer(done)


HANDLERS: dict[bytes, Handler] = {
    b"xgroup|create": xgroup_create,
    b"xgroup|setid": xgroup_setid,
    b"xgroup|destroy": xgroup_destroy,
    b"xgroup|createconsumer": xgroup_createconsumer,
    b"xgroup|delconsumer": xgroup_delconsumer,
    b"xgroup|help": xgroup_help,
    b"xack": xack,
}
