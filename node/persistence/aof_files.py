"""The folder of the append-only file: names, the manifest on disk, sets of the older form brought over.

A set is changed by replacing its manifest as a whole, after the files that the new one names are on disk and before
those that it does not name any more are removed: at each instant the folder holds a set that can be loaded.
"""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from cluster.files import fsync_folder, write_file
from node.persistence.leftovers import remove_leftovers
from node.persistence.manifest import BASE, INCREMENT, Manifest, ManifestError, Part, parse

MODE: Final = 0o644

log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True)
class Place:
    """Where the files stand and what they are called (`dir`, `appenddirname`, `appendfilename`)."""

    directory: Path
    folder: Path
    name: str

    def manifest(self) -> Path:
        """The manifest."""
        return self.folder / f"{self.name}.manifest"

    def file(self, part: Part) -> Path:
        """A file of the set."""
        return self.folder / part.name

    def base_name(self, seq: int, rdb: bool) -> str:
        """What the base of this number is called."""
        return f"{self.name}.{seq}.base.{'rdb' if rdb else 'aof'}"

    def increment_name(self, seq: int) -> str:
        """What the appended file of this number is called."""
        return f"{self.name}.{seq}.incr.aof"

    def unfinished(self) -> Path:
        """What is appended to until the first base is there."""
        return self.folder / f"temp-{self.name}.incr"

    def single(self) -> Path:
        """The one file of Redis 6 and before."""
        return self.directory / self.name


def make_folder(place: Place) -> None:
    """Have the folder. Raises OSError."""
    if not place.folder.is_dir():
        place.folder.mkdir(mode=0o755)
        fsync_folder(place.directory)


def open_to_append(path: Path, empty: bool) -> int:
    """Open a file of the set to append to, making it if need be. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | (os.O_TRUNC if empty else 0)
    return os.open(path, flags, MODE)


def write_manifest(place: Place, manifest: Manifest) -> None:
    """Put a manifest in its place, durably. Raises OSError."""
    write_file(place.manifest(), manifest.text(), mode=MODE)


def drop_history(place: Place, manifest: Manifest) -> Manifest:
    """Remove what the manifest on disk calls history; returns the one without, which is on disk then.

    What can't be removed now stays named, and is tried again after the next rewrite: the set is sound either way.
    """
    if not manifest.history:
        return manifest
    left = manifest.without_history()
    try:
        for part in manifest.history:
            with contextlib.suppress(FileNotFoundError):
                place.file(part).unlink()
        write_manifest(place, left)
    except OSError as error:
        log.warning("files that are not needed any more can't be removed", reason=error.strerror)
        return manifest
    return left


def read_manifest(place: Place) -> Manifest | None:
    """The manifest; None when there is none. Raises OSError and ManifestError."""
    try:
        data = place.manifest().read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return parse(data)


def adopt_single(place: Place, manifest: Manifest | None) -> Manifest | None:
    """Make the one file of Redis 6 and before, if there is one, the base of a set; returns the manifest then.

    The manifest comes before the file is moved: after a crash between the two this does the rest. Raises OSError.
    """
    single = place.single()
    if not single.is_file():
        return manifest
    if manifest is None:
        make_folder(place)
        manifest = Manifest(base=Part(place.name, 1, BASE), base_seq=1)
        write_manifest(place, manifest)
    elif not (manifest.base and manifest.base.name == place.name and not place.file(manifest.base).exists()):
        return manifest
    os.rename(single, place.folder / place.name)
    fsync_folder(place.directory)
    fsync_folder(place.folder)
    return manifest


def adopt_nameless(place: Place) -> Manifest | None:
    """The set of a folder without manifest, where only one can be meant: a base, and at most one file appended to it.

    So it is when a process is killed before it can name its first set. None when there is no data at all; raises
    ManifestError where nobody knows what belongs together, and OSError.
    """
    bases: list[Part] = []
    appended: list[Part] = []
    for path in sorted(place.folder.iterdir()) if place.folder.is_dir() else []:
        words = path.name.removeprefix(f"{place.name}.").split(".")
        if not path.name.startswith(f"{place.name}.") or len(words) != 3 or not words[0].isdigit():
            continue
        if words[1] == "base":
            bases.append(Part(path.name, int(words[0]), BASE))
        elif words[1] == "incr":
            appended.append(Part(path.name, int(words[0]), INCREMENT))
    if not bases and not any(place.file(part).stat().st_size for part in appended):
        return None
    if len(bases) != 1 or len(appended) > 1:
        names = ", ".join(part.name for part in (*bases, *appended))
        raise ManifestError(0, f"it is missing, and nobody else says how {names} belong together")
    seq = appended[0].seq if appended else 0
    manifest = Manifest(base=bases[0], increments=tuple(appended), base_seq=bases[0].seq, increment_seq=seq)
    write_manifest(place, manifest)
    return manifest


def clear_leftovers(place: Place) -> None:
    """Remove what a process that was killed has left unfinished."""
    remove_leftovers(place.folder)
    with contextlib.suppress(OSError):
        place.unfinished().unlink()
