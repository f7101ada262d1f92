"""What a node loads when it starts: the dataset on disk, if there is one."""

from node.engine import Engine
from node.persistence.loading import load_rdb
from node.persistence.rdbfile import rdb_path


async def load_at_start(e: Engine) -> None:
    """Load the RDB file if it is there. Raises LoadError."""
    path = rdb_path(e)
    if path.exists():
        await load_rdb(e, path)
