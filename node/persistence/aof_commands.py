"""A dataset as commands: the base of an append-only file with `aof-use-rdb-preamble no`.

Streams, and hashes with fields that expire, come as RESTORE: their payload says in one command what would take many,
and what some servers have no commands for. Everything else comes as the commands that a person would write.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cluster.resp.encode import encode_request
from node.numbers import format_double
from node.rdb.encode import dump
from node.rdb.file import END, KEY, RdbReader
from node.types.hash import Hash
from node.types.quicklist import List
from node.types.set import Set
from node.types.zset import ZSet

ITEMS: Final = 64  # elements of one command


def commands_in(path: Path) -> Iterator[bytes]:
    """The content of an RDB file as commands, a few at a time; empty where only reading went on. Raises RdbError."""
    with path.open("rb") as file:
        reader = RdbReader(file, path.stat().st_size)
        dbid = -1
        functions = 0
        step = reader.advance()
        while step != END:
            while functions < len(reader.functions):
                yield encode_request([b"FUNCTION", b"LOAD", reader.functions[functions]])
                functions += 1
            if step == KEY:
                if reader.dbid != dbid:
                    dbid = int(reader.dbid)
                    yield encode_request([b"SELECT", b"%d" % dbid])
                for args in _commands(reader.key, reader.value):
                    yield encode_request(args)
                if reader.expire_at:
                    yield encode_request([b"PEXPIREAT", reader.key, b"%d" % reader.expire_at])
            yield b""
            step = reader.advance()
        for code in reader.functions[functions:]:
            yield encode_request([b"FUNCTION", b"LOAD", code])


def _commands(key: bytes, value: object) -> Iterator[list[bytes]]:
    """The commands that make a value."""
    if isinstance(value, bytes):
        yield [b"SET", key, value]
    elif isinstance(value, List):
        yield from _in_parts([b"RPUSH", key], value.items(), ITEMS)
    elif isinstance(value, Set):
        yield from _in_parts([b"SADD", key], value.members(), ITEMS)
    elif isinstance(value, Hash) and not value.volatile():
        yield from _in_parts([b"HMSET", key], value.flat(), 2 * ITEMS)
    elif isinstance(value, ZSet):
        members: list[bytes] = []
        scores: list[float] = []
        value.collect(0, value.count, members, scores)
        flat = [word for pair in zip(map(format_double, scores), members, strict=True) for word in pair]
        yield from _in_parts([b"ZADD", key], flat, 2 * ITEMS)
    else:
        yield [b"RESTORE", key, b"0", dump(value)]


def _in_parts(head: list[bytes], items: list[bytes], size: int) -> Iterator[list[bytes]]:
    for start in range(0, len(items), size):
        yield [*head, *items[start : start + size]]
