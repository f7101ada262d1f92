"""MEMORY: what data, buffers and tables take, by this node's own account and by the system's."""

import gc
import sys
from typing import Final

from node.clientmemory import client_bytes
from node.commands.info import resident
from node.commands.reading import integer_or_none
from node.defrag import fragmentation
from node.engine import Engine, Handler
from node.errors import NOT_AN_INTEGER, SYNTAX, CommandError
from node.session import KIND_REPLICA, Session

_SAMPLES: Final = 5
_MEGABYTE: Final = 1024 * 1024
_LITTLE: Final = 5 * _MEGABYTE  # below it nothing can be said

Stats = list[tuple[bytes, int | float | list[tuple[bytes, int]]]]


def usage(e: Engine, s: Session, args: list[bytes]) -> None:
    """MEMORY USAGE key [SAMPLES count]."""
    samples = _SAMPLES
    i = 3
    while i < len(args):
        if args[i].lower() != b"samples" or i + 1 >= len(args):
            raise CommandError(SYNTAX)
        wanted = integer_or_none(args[i + 1])
        if wanted is None:
            raise CommandError(NOT_AN_INTEGER)
        if wanted < 0:
            raise CommandError(SYNTAX)
        samples = wanted
        i += 2
    size = s.store.key_bytes(e.slot, args[2], samples)
    if size < 0:
        s.reply.null()
    else:
        s.reply.integer(size)


def _facts(e: Engine) -> Stats:
    """The fields of MEMORY STATS, named as Valkey's. What has no counterpart here is 0 or left out."""
    used = int(e.used_memory())
    stored = int(sum(store.used_bytes() for store in e.stores))
    keys = int(sum(store.count() for store in e.stores))
    peak = max(int(e.stats.peak_memory), used)
    rss = resident()
    held, small = fragmentation(e)
    replicas = sum(int(client_bytes(s)) for s in e.sessions.values() if s.kind == KIND_REPLICA)
    normal = sum(int(client_bytes(s)) for s in e.sessions.values() if s.kind != KIND_REPLICA)
    found: Stats = [
        (b"peak.allocated", peak),
        (b"total.allocated", used),
        (b"startup.allocated", 0),
        (b"replication.backlog", int(dict(e.replication.info()).get("repl_backlog_histlen", "0"))),
        (b"replicas.repl.buffer", 0),
        (b"clients.slaves", replicas),
        (b"clients.normal", normal),
        (b"cluster.links", 0),
        (b"cluster.slot_import", 0),
        (b"cluster.slot_export", 0),
        (b"aof.buffer", e.aof.buffered()),
    ]
    for dbid, store in enumerate(e.stores):
        if store.count():
            parts = [(b"overhead.hashtable.main", 0), (b"overhead.hashtable.expires", 0)]
            found.append((b"db.%d" % dbid, parts))
    return [
        *found,
        (b"overhead.total", used - stored),
        (b"keys.count", keys),
        (b"keys.bytes-per-key", stored // keys if keys else 0),
        (b"dataset.bytes", stored),
        (b"dataset.percentage", 100 * stored / used if used else 0.0),
        (b"peak.percentage", 100 * used / peak if peak else 0.0),
        (b"allocator.allocated", used),
        (b"allocator.active", rss),
        (b"allocator.resident", rss),
        (b"allocator-fragmentation.ratio", held / small if small else 1.0),
        (b"allocator-fragmentation.bytes", held - small),
        (b"fragmentation", rss / used if used else 0.0),
        (b"fragmentation.bytes", rss - used),
    ]


def stats(e: Engine, s: Session, args: list[bytes]) -> None:
    """MEMORY STATS."""
    w = s.reply
    facts = _facts(e)
    w.map(len(facts))
    for name, value in facts:
        w.bulk(name)
        if isinstance(value, list):
            w.map(len(value))
            for inner, number in value:
                w.bulk(inner)
                w.integer(number)
        elif isinstance(value, float):
            w.double(b"%.17g" % value)
        else:
            w.integer(value)


def doctor(e: Engine, s: Session, args: list[bytes]) -> None:
    """MEMORY DOCTOR: what looks wrong, in words."""
    s.reply.verbatim(diagnosis(e).encode())


def diagnosis(e: Engine) -> str:
    """The report of MEMORY DOCTOR."""
    used = int(e.used_memory())
    if used < _LITTLE:
        return "Less than 5 MB are in use: too little to say anything about it.\n"
    peak, rss = int(e.stats.peak_memory), resident()
    sizes = [(int(client_bytes(s)), s) for s in e.sessions.values()]
    replicas = [size for size, s in sizes if s.kind == KIND_REPLICA]
    normal = [size for size, s in sizes if s.kind != KIND_REPLICA]
    found: list[str] = []
    if peak > used * 1.5:
        found.append(
            f"The peak was {peak / used:.1f} times what is in use now. Memory that was given back may still be held by "
            "the process, and mem_fragmentation_ratio looks worse than it is."
        )
    held, small = fragmentation(e)
    if held > small * 1.1 and held - small > 10 * _MEGABYTE:
        found.append(
            f"Keys are scattered: {(held - small) // _MEGABYTE} MB are held for small blocks and not in use. MEMORY "
            "PURGE moves them together once, activedefrag whenever it is time to."
        )
    if rss > used * 1.6 and rss - used > 64 * _MEGABYTE:
        found.append(
            f"The process holds {rss / used:.1f} times the memory that data and buffers account for. MEMORY PURGE "
            "gives back what the interpreter keeps; a restart gives back all."
        )
    if normal and sum(normal) / len(normal) > 200 * 1024:
        found.append(
            "Clients hold more than 200 KB on average: look at CLIENT LIST for large omem and qbuf, and at "
            "client-output-buffer-limit and maxmemory-clients."
        )
    if replicas and sum(replicas) / len(replicas) > 10 * _MEGABYTE:
        found.append("Replicas have more than 10 MB of output waiting on average: they read too slowly.")
    if not found:
        return "Nothing about the memory of this node looks wrong.\n"
    return "\n".join(["Found:", "", *(f"- {text}" for text in found)]) + "\n"


def purge(e: Engine, s: Session, args: list[bytes]) -> None:
    """MEMORY PURGE: collect what reference cycles hold, drop the interpreter's caches, give free pages of the heap to
    the system, and have a pass of defragmentation begin, which is made in slices.
    """
    gc.collect()
    e.stores[0].give_back()
    e.purge_asked = e.stores[0].defragments
    s.reply.ok()


def malloc_stats(e: Engine, s: Session, args: list[bytes]) -> None:
    """MEMORY MALLOC-STATS: the counters of the interpreter's allocator."""
    collected = gc.get_stats()
    lines = [
        f"allocator: CPython {sys.version.split()[0]}",
        f"blocks in use: {sys.getallocatedblocks()}",
        f"objects exempt from collection: {gc.get_freeze_count()}",
        *(f"generation {i}: {stat['collections']} collections, {stat['collected']} objects" for i, stat in
          enumerate(collected)),
        f"resident bytes: {resident()}",
    ]  # fmt: skip
    s.reply.verbatim("".join(line + "\n" for line in lines).encode())


HELP = [
    b"MEMORY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"DOCTOR",
    b"    Say in words what looks wrong with the memory of this node.",
    b"MALLOC-STATS",
    b"    Tell the counters of the memory allocator.",
    b"PURGE",
    b"    Give back memory that is held for nothing.",
    b"STATS",
    b"    Tell what takes how much memory.",
    b"USAGE <key> [SAMPLES <count>]",
    b"    Tell the bytes used by <key> and its value. Of a collection <count> elements are",
    b"    measured (default: 5, 0 means all).",
    b"HELP",
    b"    Print this help.",
]


def help_(e: Engine, s: Session, args: list[bytes]) -> None:
    """MEMORY HELP."""
    s.reply.simples(HELP)


HANDLERS: dict[bytes, Handler] = {
    b"memory|usage": usage,
    b"memory|stats": stats,
    b"memory|doctor": doctor,
    b"memory|purge": purge,
    b"memory|malloc-stats": malloc_stats,
    b"memory|help": help_,
}
