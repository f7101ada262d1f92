"""The rows, one file a group. Data only: imports `cluster.catalog.build` and `cluster.catalog.model`.

To add a command, add its row to the file of its group; a new file is one more name in `GROUPS`.
"""

from cluster.catalog.model import Command
from cluster.catalog.rows import (
    cluster,
    connection,
    generic,
    hashes,
    introspection,
    kvorum,
    lists,
    pubsub,
    server,
    sets,
    sortedset_ranges,
    sortedsets,
    strings,
    transactions,
)

GROUPS: list[list[Command]] = [
    connection.ROWS,
    generic.ROWS,
    strings.ROWS,
    hashes.ROWS,
    lists.ROWS,
    sets.ROWS,
    sortedsets.ROWS,
    sortedset_ranges.ROWS,
    pubsub.ROWS,
    transactions.ROWS,
    server.ROWS,
    introspection.ROWS,
    cluster.ROWS,
    kvorum.ROWS,
]
