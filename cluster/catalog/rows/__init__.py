"""The rows, one file a group. Data only: imports `cluster.catalog.build` and `cluster.catalog.model`.

To add a command, add its row to the file of its group; a new file is one more name in `GROUPS`.
"""

from cluster.catalog.model import Command
from cluster.catalog.rows import (
    acl,
    bitmaps,
    cluster,
    connection,
    generic,
    geo,
    hash_fields,
    hashes,
    hyperloglog,
    introspection,
    kvorum,
    lists,
    moving,
    observing,
    pubsub,
    scripting,
    server,
    sets,
    sortedset_ranges,
    sortedsets,
    streams,
    strings,
    transactions,
)

GROUPS: list[list[Command]] = [
    acl.ROWS,
    connection.ROWS,
    generic.ROWS,
    moving.ROWS,
    strings.ROWS,
    hashes.ROWS,
    hash_fields.ROWS,
    lists.ROWS,
    sets.ROWS,
    sortedsets.ROWS,
    sortedset_ranges.ROWS,
    streams.ROWS,
    bitmaps.ROWS,
    hyperloglog.ROWS,
    geo.ROWS,
    pubsub.ROWS,
    transactions.ROWS,
    scripting.ROWS,
    server.ROWS,
    introspection.ROWS,
    observing.ROWS,
    cluster.ROWS,
    kvorum.ROWS,
]
