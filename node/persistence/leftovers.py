"""Files that a process which was killed has left unfinished: removed when the next one starts, lest they pile up.

Every file in the making bears the number of its process: `temp-PID-….rdb` (an RDB file or base), `sync-PID-….rdb`
(what a replica receives), `.NAME.PID.new` (to be put in the place of NAME). What a living process has begun is left.
"""

import contextlib
import os
import re
from pathlib import Path
from typing import Final

import structlog

log: structlog.stdlib.BoundLogger = structlog.get_logger()

UNFINISHED: Final = re.compile(r"(?:temp|sync)-(\d{1,9})-.*\.rdb|\..+\.(\d{1,9})\.new")


def _runs(pid: int) -> bool:
    """Whether a process of this number, other than this one, is there."""
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def remove_leftovers(folder: Path) -> None:
    """Remove them from a folder; one that can't be read has none."""
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        found = UNFINISHED.fullmatch(name)
        if found is None or _runs(int(found[1] or found[2])):
            continue
        with contextlib.suppress(OSError):
            (folder / name).unlink()
            log.info("removed what a process that was killed left unfinished", path=str(folder / name))
