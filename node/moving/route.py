"""Where a command of the source's stream goes: decided from its catalog row and the slots of its keys. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from cluster import catalog
from cluster.catalog.keys import KeysError, keys_with_flags
from cluster.catalog.model import RO, WRITE
from cluster.slots import key_slot
from node.moving.errors import UnsupportedError

SPLITTABLE: Final = {b"del": 1, b"unlink": 1, b"touch": 1, b"mset": 2}
"""Commands that can be cut by key: the arguments that belong to each key."""

SAFE: Final = frozenset(
    [
        b"set", b"del", b"unlink", b"mset", b"restore", b"getdel",
        b"hset", b"hmset", b"hdel", b"sadd", b"srem", b"zrem", b"pexpireat", b"expireat", b"publish",
    ]
)  # fmt: skip
"""Commands that set or remove whole values or elements: executed twice, in order, they leave what once does."""

_IGNORED: Final = frozenset([b"ping", b"replconf", b"asking", b"readonly", b"wait"])
_SCRIPTS: Final = frozenset([b"eval", b"evalsha", b"fcall"])
_CHANNELS: Final = frozenset([b"publish", b"spublish"])
_SENTINELS: Final = b"__sentinel__:hello"  # the source's sentinels among themselves: nothing for those of the target


class Way(Enum):
    """What is done with a command."""

    DROP = "drop"
    ONE = "one"  # to the shard of its slot
    EVERY = "every"  # to each shard
    CUT = "cut"  # by key
    GATHER = "gather"  # its keys are brought together in one slot for it


@dataclass(frozen=True)
class Use:
    """A key: its places among the arguments, and whether the command may change it."""

    key: bytes
    places: tuple[int, ...]
    changes: bool


@dataclass(frozen=True)
class Route:
    """The way of one command. `slot` -1: no key; `safe`: see SAFE; `tolerant`: it may fail as on the source."""

    way: Way
    name: bytes
    slot: int = -1
    key: bytes = b""
    uses: tuple[Use, ...] = field(default=())
    safe: bool = False
    tolerant: bool = False


def route(args: list[bytes], *, sharded: bool) -> Route:
    """The way of a command; raises UnsupportedError for one that the target can't execute."""
    name = args[0].lower()
    if name in _IGNORED:
        return Route(Way.DROP, name)
    row = catalog.resolve(args)
    if row is None:
        shown = b" ".join(args[:2])[:64].decode("utf-8", "backslashreplace")
        raise UnsupportedError(f"the source sends {shown!r}, a command that is unknown here")
    tolerant = name in _SCRIPTS
    safe = name in SAFE and _is_plain(name, args)
    if name in _CHANNELS:
        if args[1] == _SENTINELS:
            return Route(Way.DROP, name)
        return Route(Way.ONE, name, int(key_slot(args[1])), safe=True)
    uses = _uses(args)
    if not sharded:
        return Route(Way.ONE, name, key=uses[0].key if uses else b"", safe=safe, tolerant=tolerant)
    if name in (b"swapdb", b"move"):
        raise UnsupportedError(f"the source uses {name.decode().upper()}, and a sharded service has database 0 alone")
    if not uses:
        if name in _SCRIPTS:
            raise UnsupportedError(
                "the source sends a script that names no keys (lua-replicate-commands is off there), and a sharded "
                "service can't know which shard it is for"
            )
        broadcast = row.request_policy in ("all_shards", "all_nodes") or row.flags & WRITE != 0
        return Route(Way.EVERY if broadcast else Way.DROP, name, tolerant=tolerant)
    slots = {int(key_slot(use.key)) for use in uses}
    if len(slots) == 1:
        return Route(Way.ONE, name, slots.pop(), uses[0].key, uses, safe, tolerant)
    way = Way.CUT if name in SPLITTABLE else Way.GATHER
    return Route(way, name, key=uses[0].key, uses=uses, safe=safe, tolerant=tolerant)


def _uses(args: list[bytes]) -> tuple[Use, ...]:
    """The keys of a command, each once."""
    row = catalog.resolve(args)
    if row is None:
        return ()
    try:
        found = keys_with_flags(row, args)
    except KeysError as error:
        if not row.has_keys:
            return ()
        raise UnsupportedError(f"the keys of a command of the source can't be told: {error}") from error
    places: dict[bytes, list[int]] = {}
    changed: set[bytes] = set()
    for use in found:
        key = args[use.position]
        places.setdefault(key, []).append(use.position)
        if use.flags & RO == 0:
            changed.add(key)
    return tuple(Use(key, tuple(at), key in changed) for key, at in places.items())


def _is_plain(name: bytes, args: list[bytes]) -> bool:
    """Whether a command of SAFE has no condition that the data decide."""
    if name == b"set":
        return not any(word.lower() in (b"nx", b"xx", b"ifeq", b"keepttl") for word in args[3:])
    return name not in (b"pexpireat", b"expireat") or len(args) == 3


def cut(args: list[bytes]) -> list[tuple[bytes, list[bytes]]]:
    """A splittable command by slot: a key of each part, and the part. The order within a slot stays."""
    step = SPLITTABLE[args[0].lower()]
    parts: dict[int, list[bytes]] = {}
    keys: dict[int, bytes] = {}
    for place in range(1, len(args), step):
        slot = int(key_slot(args[place]))
        keys.setdefault(slot, args[place])
        parts.setdefault(slot, [args[0]]).extend(args[place : place + step])
    return [(keys[slot], part) for slot, part in parts.items()]


def renamed(args: list[bytes], uses: tuple[Use, ...], names: list[bytes]) -> list[bytes]:
    """The command with the keys of `uses` called `names`."""
    changed = list(args)
    for use, name in zip(uses, names, strict=True):
        for place in use.places:
            changed[place] = name
    return changed


def without_limit(args: list[bytes]) -> list[bytes]:
    """XADD and XTRIM as servers send them: an approximate trimming is sent as an exact one, and its LIMIT stays behind,
    which is an error for everybody but a primary.
    """
    if args[0].lower() not in (b"xadd", b"xtrim"):
        return args
    place = 2
    while place < len(args) and args[place].lower() in (b"nomkstream", b"keepref", b"delref", b"acked"):
        place += 1
    if place + 1 >= len(args) or args[place].lower() not in (b"maxlen", b"minid"):
        return args
    place += 1
    if args[place] == b"~":
        return args
    place += 2 if args[place] == b"=" else 1
    if place + 1 < len(args) and args[place].lower() == b"limit":
        return args[:place] + args[place + 2 :]
    return args
