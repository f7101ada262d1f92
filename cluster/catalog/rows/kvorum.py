"""Rows: Kvorum's own commands, which genuine Valkey does not have."""

from cluster.catalog.build import block, command, oneof, string, token
from cluster.catalog.model import ADMIN, LOADING, NOSCRIPT, STALE, Command

ROWS: list[Command] = [
    command("kvorum", -2, ADMIN | NOSCRIPT | LOADING | STALE, "server", "8.0.0", "Depends on subcommand.",
        "Commands between Kvorum's own processes.",
        subs=[
            command("kvorum|topology", -3, ADMIN | NOSCRIPT | LOADING | STALE, "server", "8.0.0",
                "O(N) where N is the number of nodes.",
                "Read this node's topology, or merge a newer one into it.",
                args=[oneof("action", token("GET"), block("set", string("json"), word="SET"))]),
        ]),
]
