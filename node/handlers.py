"""Every handler of this node by its catalog name: the tables of all families in one."""

from node.commands import (
    cluster, config, connection, debug, generic, hashes, info, introspect, lists, pubsub, server, sets, strings,
    transactions, zsets,
)  # fmt: skip
from node.engine import Handler
