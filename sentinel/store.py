"""The state file: what a sentinel must not forget, appended and fsynced before it is told or acted on.

One record a line, `<crc32, 8 hex digits> <json>`; the last record of a kind and name counts. A line that is cut off at
the end of the file is one that nobody was told of, and is dropped. Anything else that does not read means lost votes,
and the sentinel refuses to start. At start, and when it has grown, the file is rewritten with one record a name.
"""

from __future__ import annotations

import fcntl
import os
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from cluster.files import write_file
from cluster.topology import Topology
from sentinel.state import Durable, Rules

COMPACT_AT: Final = 4 << 20
NAME: Final = "sentinel-state.log"


class StoreError(Exception):
    """The state file cannot be used; the text says why."""


class Me(msgspec.Struct, frozen=True, tag="me"):
    """This sentinel's id."""

    id: str


class ShardKept(msgspec.Struct, frozen=True, tag="shard"):
    """A shard's durable state, and the rules that were configured, to tell later changes of either from each other."""

    state: Durable
    configured: Rules | None


class ShardGone(msgspec.Struct, frozen=True, tag="gone"):
    """A shard that is watched no more."""

    name: str


class TopologyKept(msgspec.Struct, frozen=True, tag="topology"):
    """The newest topology of a service."""

    topology: Topology


Record: TypeAlias = Me | ShardKept | ShardGone | TopologyKept


@dataclass
class Kept:
    """What the records add up to."""

    me: str = ""
    shards: dict[str, ShardKept] = field(default_factory=dict)
    topologies: dict[str, Topology] = field(default_factory=dict)

    def take(self, record: Record) -> None:
        """Add one record."""
        match record:
            case Me(id):
                self.me = id
            case ShardKept(state):
                self.shards[state.name] = record
            case ShardGone(name):
                self.shards.pop(name, None)
            case TopologyKept(topology):
                self.topologies[topology.service] = topology

    def records(self) -> list[Record]:
        """The shortest list of records with the same sum."""
        me: list[Record] = [Me(self.me)] if self.me else []
        return [*me, *self.shards.values(), *(TopologyKept(t) for t in self.topologies.values())]


class Store:
    """The open state file of one sentinel; a lock keeps a second process away from it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._lock = os.open(folder / f".{NAME}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise StoreError(f"{self.path} is in use by another sentinel") from None
        self.kept = read(self.path)
        self._file = -1
        self._size = 0
        self.compact()

    def append(self, record: Record) -> None:
        """Make a record durable; it is when this returns. An OSError ends the process: it must not act unrecorded."""
        line = _encode(record)
        if os.write(self._file, line) != len(line):
            raise OSError(f"{self.path}: no room for a record")
        os.fdatasync(self._file)
        self.kept.take(record)
        self._size += len(line)
        if self._size > COMPACT_AT:
            self.compact()

    def compact(self) -> None:
        """Rewrite the file with one record a name."""
        data = b"".join(_encode(record) for record in self.kept.records())
        write_file(self.path, data)
        if self._file >= 0:
            os.close(self._file)
        self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._size = 0

    def close(self) -> None:
        """Let go of the file and its lock."""
        os.close(self._file)
        os.close(self._lock)


def read(path: Path) -> Kept:
    """Add up the records of a file, which need not exist. Raises StoreError."""
    kept = Kept()
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return kept
    end = data.rfind(b"\n") + 1  # what follows the last line break was never acknowledged
    lines = data[:end].splitlines()
    for number, line in enumerate(lines, 1):
        record = _decode(line)
        if record is not None:
            kept.take(record)
        elif number < len(lines):
            raise StoreError(f"{path}, line {number} is damaged: votes may be lost, so this sentinel must not vote")
    return kept


def _encode(record: Record) -> bytes:
    body = msgspec.json.encode(record)
    return b"%08x %b\n" % (zlib.crc32(body), body)


def _decode(line: bytes) -> Record | None:
    body = line[9:]
    if line[:9] != b"%08x " % zlib.crc32(body):
        return None
    try:
        record: Record = msgspec.json.decode(body, type=Record)
    except msgspec.DecodeError:
        return None
    return record
