"""`kvorum restore`: a backup into a service of any number of shards. Manifest and checksums are verified first."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from cluster import backup
from cluster.moving import Event, Job
from node.moving.errors import MoveError
from node.moving.files import Import
from node.moving.report import Reporter

READ: Final = 1 << 20


class Restore:
    """One job: `job.source` is the folder of a backup."""

    def __init__(self, job: Job, report: Reporter) -> None:
        self.job = job
        self.report = report
        self.folder = Path(job.source)

    async def run(self) -> None:
        """Do it. Raises MoveError."""
        manifest = self._manifest()
        text = f"{self.folder} holds '{manifest.service}' as of {manifest.time}, {len(manifest.shards)} shards"
        self.report.enter("check", text)
        total = sum(shard.size for shard in manifest.shards)
        done = 0
        for shard in manifest.shards:
            done = self._verify(shard, done, total)
        paths = [self.folder / shard.file for shard in manifest.shards]
        await Import(self.job, self.report, paths).run()

    def _manifest(self) -> backup.Manifest:
        path = self.folder / backup.MANIFEST
        try:
            with path.open("rb") as file:
                return backup.from_json(file.read(backup.MAX_MANIFEST + 1))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise MoveError(
                f"{self.folder} is no backup: it has no {backup.MANIFEST}, which is written when a backup is whole. "
                "Nothing was changed; single files go by 'kvorum import'"
            ) from error
        except OSError as error:
            raise MoveError(f"{path} can't be read: {error.strerror}") from error
        except backup.BackupError as error:
            raise MoveError(f"{path} can't be used: {error}. Nothing was changed") from error

    def _verify(self, shard: backup.ShardFile, done: int, total: int) -> int:
        """Compare a file with the manifest; gives the bytes read so far."""
        path = self.folder / shard.file
        found = hashlib.sha256()
        size = 0
        try:
            with path.open("rb") as file:
                while data := file.read(READ):
                    found.update(data)
                    size += len(data)
                    self.report.progress(Event("", bytes=done + size, total=total))
        except OSError as error:
            raise MoveError(f"{path} can't be read: {error.strerror}. Nothing was changed") from error
        if size != shard.size:
            raise MoveError(f"{path} has {size} bytes, and the manifest says {shard.size}. Nothing was changed")
        if found.hexdigest() != shard.sha256:
            raise MoveError(f"{path} is not the file of this backup: its checksum differs. Nothing was changed")
        return done + size
