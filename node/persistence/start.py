"""What a node loads when it starts: the append-only file if it is to keep one and there is one, else the RDB file."""

import structlog

from node.engine import Engine
from node.persistence.aof import AofService
from node.persistence.aof_files import clear_leftovers
from node.persistence.aof_load import AofSet, load_set
from node.persistence.leftovers import remove_leftovers
from node.persistence.loading import LoadError, load_rdb, shown
from node.persistence.rdbfile import rdb_path

log: structlog.stdlib.BoundLogger = structlog.get_logger()


async def load_at_start(e: Engine, file: AofService) -> None:
    """Load what is there, and begin to append. Raises LoadError."""
    wanted = e.settings.options.flag("appendonly")
    remove_leftovers(rdb_path(e).parent)
    clear_leftovers(file.place)
    found = await load_set(e, file.place) if wanted else AofSet(None)
    if found.manifest is None:
        path = rdb_path(e)
        if path.exists():
            await load_rdb(e, path)
    if e.shutdown_asked:
        return
    if not wanted:
        if file.place.manifest().exists():
            log.warning("there is an append-only file, which is not loaded, for appendonly is no: switching it on "
                        "begins a new one", path=shown(str(file.place.manifest())))  # fmt: skip
        file.judge()  # it may have been switched on while clients were answered LOADING
        return
    try:
        await file.open(found)
    except OSError as error:
        reason = error.strerror or str(error)
        raise LoadError(
            f"the append-only file can't be opened in {file.place.folder}: {reason}; make the folder writable, or "
            f"start with appendonly no"
        ) from None
    file.judge()
