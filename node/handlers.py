"""Every handler of this node by its catalog name: the tables of all families in one."""

from typing import Final

from node.commands import (
    acl,
    bitfield,
    bits,
    client,
    cluster,
    clusterscan,
    commandlog,
    config,
    connection,
    debug,
    dumping,
    generic,
    generic_expire,
    generic_scan,
    hash_fields,
    hashes,
    hyperloglog,
    info,
    introspect,
    latency,
    lcs,
    list_blocking,
    list_index,
    lists,
    lolwut,
    memory,
    monitor,
    pubsub,
    replication,
    scripts,
    server,
    sets,
    slotstats,
    streams,
    strings,
    strings_set,
    tracking,
    transactions,
    zset_blocking,
    zset_ranges,
    zset_stores,
    zsets,
)  # fmt: skip
from node.engine import Handler

_FAMILIES: Final = (
    bitfield.HANDLERS, bits.HANDLERS, hyperloglog.HANDLERS, lcs.HANDLERS,
    acl.HANDLERS,
    clusterscan.HANDLERS, commandlog.HANDLERS, latency.HANDLERS, lolwut.HANDLERS, memory.HANDLERS, monitor.HANDLERS,
    slotstats.HANDLERS, tracking.HANDLERS,
    client.HANDLERS, cluster.HANDLERS, config.HANDLERS, connection.HANDLERS, debug.HANDLERS, dumping.HANDLERS,
    generic.HANDLERS, generic_expire.HANDLERS, generic_scan.HANDLERS, hash_fields.HANDLERS, hashes.HANDLERS, info.HANDLERS,
    introspect.HANDLERS, list_blocking.HANDLERS, list_index.HANDLERS, lists.HANDLERS, pubsub.HANDLERS,
    replication.HANDLERS, scripts.HANDLERS, server.HANDLERS, sets.HANDLERS, streams.HANDLERS, strings.HANDLERS,
    strings_set.HANDLERS,
    transactions.HANDLERS, zset_blocking.HANDLERS, zset_ranges.HANDLERS, zset_stores.HANDLERS, zsets.HANDLERS,
)  # fmt: skip

HANDLERS: Final[dict[bytes, Handler]] = {name: handler for family in _FAMILIES for name, handler in family.items()}
