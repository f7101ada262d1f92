"""Backups: the manifest, and what is refused before anything is touched."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace

from cluster import backup
from cluster.backup import BackupError, Manifest, ShardFile, from_json, to_json
from cluster.moving import Job, MovingFiles, TargetService
from node.moving.backup import Backup
from node.moving.errors import MoveError
from node.moving.report import Reporter
from node.moving.restore import Restore

FILES = (b"the first", b"and the second")
SHARDS = tuple(
    ShardFile(f"cache-{i}", f"shard-{i}.rdb", len(data), hashlib.sha256(data).hexdigest(), 1, "0-1", "a" * 40, 1,
              "b" * 40, 9)
    for i, data in enumerate(FILES)
)  # fmt: skip
MANIFEST = Manifest("cache", "2026-01-01T00:00:00.000+00:00", "0.1.0", 12, SHARDS)
NOBODY = TargetService("cache", 2, (), (), "redis://localhost:1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files and the manifest."""
    made = tmp_path / "backup"
    made.mkdir()
    for shard, data in zip(SHARDS, FILES, strict=True):
        (made / shard.file).write_bytes(data)
    (made / backup.MANIFEST).write_bytes(to_json(MANIFEST))
    return made


def refused(kind: type[Backup] | type[Restore], folder: Path, tmp_path: Path) -> str:
    """Why a job is not done, on a target that nobody could reach."""
    files = MovingFiles(tmp_path / "moving", "cache")
    files.create()
    job = Job("", NOBODY, str(files.folder), str(folder))
    with pytest.raises(MoveError) as caught:
        trio.run(kind(job, Reporter(files, lambda: 0.0)).run)
    return str(caught.value)


def test_a_manifest_is_read_back() -> None:
    """As it was written."""
    assert from_json(to_json(MANIFEST)) == MANIFEST


WRONG = [
    (b"{", "Input data was truncated"),
    (to_json(replace(MANIFEST, version=2)), "it has version 2, of a newer Kvorum; this one reads 1"),
    (to_json(replace(MANIFEST, format="else")), "its format is 'else', not 'kvorum-backup'"),
    (to_json(replace(MANIFEST, shards=())), "it names 0 shards"),
    (to_json(replace(MANIFEST, shards=(replace(SHARDS[0], file="../x"),))), "is called '../x', not 'shard-0.rdb'"),
    (to_json(MANIFEST).replace(b'"size"', b'"length"'), "missing required field `size`"),
    (b" " * (backup.MAX_MANIFEST + 1), "larger than any manifest"),
]


@pytest.mark.parametrize(("data", "reason"), WRONG)
def test_a_manifest_that_cannot_be_used(data: bytes, reason: str) -> None:
    """The reason is told, and no name leads out of the folder."""
    with pytest.raises(BackupError, match=None) as caught:
        from_json(data)
    assert reason in str(caught.value)


def grow(folder: Path) -> None:
    """A file that has become longer."""
    (folder / "shard-1.rdb").write_bytes(FILES[1] + b"x")


def change(folder: Path) -> None:
    """A file in which a byte differs."""
    (folder / "shard-0.rdb").write_bytes(FILES[0].replace(b"first", b"third"))


def lose(folder: Path) -> None:
    """A file that is gone."""
    (folder / "shard-1.rdb").unlink()


def end_early(folder: Path) -> None:
    """A backup that was not finished."""
    (folder / backup.MANIFEST).unlink()


def spoil(folder: Path) -> None:
    """A manifest that makes no sense."""
    (folder / backup.MANIFEST).write_bytes(b"[]")


DAMAGES = [
    (grow, "shard-1.rdb has 15 bytes, and the manifest says 14. Nothing was changed"),
    (change, "shard-0.rdb is not the file of this backup: its checksum differs. Nothing was changed"),
    (lose, "shard-1.rdb can't be read: No such file or directory. Nothing was changed"),
    (end_early, "is no backup: it has no manifest.json, which is written when a backup is whole"),
    (spoil, "manifest.json can't be used: "),
]


@pytest.mark.parametrize(("damage", "reason"), DAMAGES)
def test_a_damaged_backup_is_not_restored(
    damage: Callable[[Path], None], reason: str, folder: Path, tmp_path: Path
) -> None:
    """It is refused before the target is even asked."""
    damage(folder)
    assert reason in refused(Restore, folder, tmp_path)


def test_a_backup_is_not_mixed_with_other_files(folder: Path, tmp_path: Path) -> None:
    """A folder that holds anything is left as it is."""
    before = sorted(path.name for path in folder.iterdir())
    assert f"{folder} is not empty: a backup needs a folder of its own" in refused(Backup, folder, tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == before
