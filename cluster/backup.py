"""A backup on disk: a folder with one RDB file a shard, and a manifest that is written last. Pure.

A folder without a manifest is no backup: it is written only when every file is whole and on disk.
"""

from __future__ import annotations

from typing import Final

import msgspec

MANIFEST: Final = "manifest.json"
FORMAT: Final = "kvorum-backup"
VERSION: Final = 1
MAX_MANIFEST: Final = 1 << 20
MAX_SHARDS: Final = 16384


class BackupError(ValueError):
    """A manifest that can't be used; the text says why."""


class ShardFile(msgspec.Struct, frozen=True):
    """One shard: its file and that file's size, checksum and keys; what it owned, and where its history stood.

    `slots` is as in CLUSTER NODES (`0-5460 7000`); `offset` and `replid` are those of the instant of the backup.
    """

    name: str
    file: str
    size: int
    sha256: str
    keys: int
    slots: str
    node: str
    epoch: int
    replid: str
    offset: int


class Manifest(msgspec.Struct, frozen=True):
    """All of a backup. `time` is the instant that it shows (UTC, ISO 8601); `paused_ms` how long writes waited."""

    service: str
    time: str
    kvorum: str
    paused_ms: int
    shards: tuple[ShardFile, ...]
    format: str = FORMAT
    version: int = VERSION


def file_name(index: int) -> str:
    """The name of a shard's file."""
    return f"shard-{index}.rdb"


def to_json(manifest: Manifest) -> bytes:
    """The form on disk."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def from_json(data: bytes) -> Manifest:
    """Read a manifest; raises BackupError."""
    if len(data) > MAX_MANIFEST:
        raise BackupError("it is larger than any manifest")
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BackupError(str(error)) from error
    if manifest.format != FORMAT:
        raise BackupError(f"its format is '{manifest.format[:40]}', not '{FORMAT}'")
    if manifest.version != VERSION:
        raise BackupError(f"it has version {manifest.version}, of a newer Kvorum; this one reads {VERSION}")
    if not 0 < len(manifest.shards) <= MAX_SHARDS:
        raise BackupError(f"it names {len(manifest.shards)} shards")
    for index, shard in enumerate(manifest.shards):
        if shard.file != file_name(index):  # nothing outside the folder is ever opened
            raise BackupError(f"the file of shard {index} is called '{shard.file[:60]}', not '{file_name(index)}'")
    return manifest
