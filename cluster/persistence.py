"""What a service keeps on disk: its mode of persistence, by the names that users of Render know. Pure.

`snapshot` writes an RDB file every 15 minutes in which something changed, and at an orderly end; `journal` an
append-only file that is brought to the disk every second. A plan has a default; a blueprint may say another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cluster.resp.inline import split_words

SAVE: Final = "900 1"
"""The save point of modes with snapshots: after 15 minutes, when at least one thing changed."""

RDB: Final = "dump.rdb"
AOF: Final = "appendonlydir"
ASIDE: Final = ".old"
"""What is appended to the names of files that the mode in force does not write: a later start must not load them."""


@dataclass(frozen=True, slots=True)
class Mode:
    """A mode: `snapshot` and `journal` say what is written, `about` says it to people."""

    name: str
    snapshot: bool
    journal: bool
    about: str


OFF: Final = Mode("off", False, False, "nothing on disk: a node that restarts is empty")
SNAPSHOT: Final = Mode("snapshot", True, False, "an RDB file every 15 minutes")
JOURNAL: Final = Mode("journal", False, True, "an append-only file, on disk every second")
BOTH: Final = Mode("journal_snapshot", True, True, "an append-only file, on disk every second, and an RDB file "
                   "every 15 minutes")  # fmt: skip

MODES: Final[dict[str, Mode]] = {mode.name: mode for mode in (OFF, SNAPSHOT, JOURNAL, BOTH)}

OTHER_NAMES: Final[Mapping[str, str]] = {
    "none": "off", "no": "off", "false": "off", "ephemeral": "off",
    "rdb": "snapshot", "snapshots": "snapshot",
    "aof": "journal", "yes": "journal_snapshot", "true": "journal_snapshot", "persistent": "journal_snapshot",
    "both": "journal_snapshot", "rdb+aof": "journal_snapshot", "aof+rdb": "journal_snapshot",
}  # fmt: skip
"""What other products call them: not taken, but answered with the name that is."""


def mode_of(snapshot: bool, journal: bool) -> Mode:
    """The mode that writes these."""
    return next(mode for mode in MODES.values() if (mode.snapshot, mode.journal) == (snapshot, journal))


def union(one: Mode, other: Mode) -> Mode:
    """The mode that writes whatever either of them does."""
    return mode_of(one.snapshot or other.snapshot, one.journal or other.journal)


def directives(mode: Mode) -> tuple[tuple[str, str], ...]:
    """The lines of a node's configuration."""
    return (
        ("save", SAVE if mode.snapshot else ""),
        ("appendonly", "yes" if mode.journal else "no"),
        ("appendfsync", "everysec"),
        ("dbfilename", RDB),
        ("appenddirname", AOF),
    )


def read_mode(config: bytes) -> Mode:
    """The mode that a node's configuration file sets; without a word about it, that of a genuine server."""
    snapshot, journal = True, False
    for line in config.splitlines():
        words = None if line.lstrip().startswith(b"#") else split_words(line)
        if not words:
            continue
        name = words[0].lower()
        if name == b"save":
            snapshot = any(words[1:])
        elif name == b"appendonly":
            journal = words[1:] == [b"yes"]
    return mode_of(snapshot, journal)


def unwritten(mode: Mode) -> tuple[str, ...]:
    """The names in a node's folder that a node in this mode does not write."""
    return (*(() if mode.snapshot else (RDB,)), *(() if mode.journal else (AOF,)))


def starting_mode(old: Mode | None, wanted: Mode, has_rdb: bool, has_aof: bool) -> Mode:
    """The mode in which a node has to start so that it loads what it wrote last; `old`: how it ran last, if ever.

    A folder may hold files of an earlier mode besides: those must not win over what the last one wrote. Files that
    nobody here wrote, because somebody placed them, are loaded by the mode that is wanted.
    """
    if old is None:
        return wanted
    loads = has_aof if old.journal else has_rdb and old.snapshot
    return old if loads else wanted
