"""The commands of a sentinel, one row each in the catalog's shape: dispatch, COMMAND and arity errors read them.

Rows that a node has too are taken from `cluster.catalog`; containers keep only the subcommands that a sentinel has.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from cluster.catalog import find
from cluster.catalog.build import command
from cluster.catalog.model import ACL_DANGEROUS, ADMIN, LOADING, ONLY_SENTINEL, STALE, Command


def _shared(*names: str) -> list[Command]:
    rows = [find(name.encode()) for name in names]
    assert all(rows), names
    return [row for row in rows if row is not None]


def _part(name: str, subcommands: str) -> Command:
    """A container of the catalog with some of its subcommands."""
    (row,) = _shared(name)
    subs = _shared(*(f"{name}|{sub}" for sub in subcommands.split()))
    return command(
        name, row.arity, row.flags, row.group, row.since, row.complexity, row.summary, acl=row.acl_categories, subs=subs
    )


def _sentinel(name: str, arity: int, since: str, summary: str) -> Command:
    flags = ADMIN | ONLY_SENTINEL
    return command(f"sentinel|{name}", arity, flags, "sentinel", since, "O(N)", summary, acl=ACL_DANGEROUS)


_SUBCOMMANDS: Final = (
    _sentinel("ckquorum", 3, "2.8.4", "Check that quorum and majority can be reached."),
    _sentinel("failover", 3, "2.8.4", "Have another primary elected though this one serves."),
    _sentinel("flushconfig", 2, "2.8.4", "Rewrite the state file."),
    _sentinel("get-master-addr-by-name", 3, "2.8.4", "Tell where the primary of a shard is."),
    _sentinel("get-primary-addr-by-name", 3, "8.0.0", "Tell where the primary of a shard is."),
    _sentinel("help", 2, "6.2.0", "List the subcommands."),
    _sentinel("is-master-down-by-addr", 6, "2.8.4", "Say whether a primary is down, and vote for a leader."),
    _sentinel("is-primary-down-by-addr", 6, "8.0.0", "Say whether a primary is down, and vote for a leader."),
    _sentinel("master", 3, "2.8.4", "Describe the primary of a shard."),
    _sentinel("masters", 2, "2.8.4", "Describe the primaries of all shards."),
    _sentinel("monitor", 6, "2.8.4", "Begin to watch a shard."),
    _sentinel("myid", 2, "6.2.0", "Tell this sentinel's id."),
    _sentinel("primaries", 2, "8.0.0", "Describe the primaries of all shards."),
    _sentinel("primary", 3, "8.0.0", "Describe the primary of a shard."),
    _sentinel("remove", 3, "2.8.4", "Stop watching a shard."),
    _sentinel("replicas", 3, "5.0.0", "Describe the replicas of a shard."),
    _sentinel("reset", 3, "2.8.4", "Forget replicas and sentinels of shards whose names match, and find them again."),
    _sentinel("sentinels", 3, "2.8.4", "Describe the other sentinels of a shard."),
    _sentinel("set", -5, "2.8.4", "Change the settings of a shard."),
    _sentinel("slaves", 3, "2.8.0", "Describe the replicas of a shard."),
)


def _kvorum(name: str, arity: int, summary: str) -> Command:
    return command(f"kvorum|{name}", arity, ADMIN | LOADING | STALE, "sentinel", "8.0.0", "O(N)", summary)


def _table(rows: Iterable[Command]) -> dict[bytes, Command]:
    return {row.name: row for row in rows}


COMMANDS: Final[dict[bytes, Command]] = _table(
    [
        *_shared("auth", "hello", "ping", "publish"),
        _part("command", "count docs info list"),
        *_shared("psubscribe", "info"),
        _part("client", "id info list getname setname setinfo"),
        *_shared("unsubscribe", "punsubscribe", "subscribe"),
        command(
            "sentinel", -2, ADMIN | ONLY_SENTINEL, "sentinel", "2.8.4", "", "Commands of sentinels.", subs=_SUBCOMMANDS
        ),
        *_shared("role", "shutdown"),
        command(
            "kvorum",
            -2,
            ADMIN | LOADING | STALE,
            "sentinel",
            "8.0.0",
            "",
            "Commands between Kvorum's own processes.",
            subs=[
                _kvorum("topology", -3, "Read the topology of a service, or give a newer one."),
                _kvorum("process-dead", 3, "Give evidence that a node's process is dead while its host lives."),
            ],
        ),
    ]
)

HELP: Final = (
    "SENTINEL <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CKQUORUM <primary-name>",
    "    Check if the current Sentinel configuration is able to reach the quorum",
    "    needed to failover a primary and the majority needed to authorize the",
    "    failover.",
    "GET-PRIMARY-ADDR-BY-NAME <primary-name>",
    "    Return the ip and port number of the primary with that name.",
    "FAILOVER <primary-name>",
    "    Have the sentinels elect and promote another primary.",
    "FLUSHCONFIG",
    "    Rewrite the state file.",
    "IS-PRIMARY-DOWN-BY-ADDR <ip> <port> <current-epoch> <runid>",
    "    Check if the primary specified by ip:port is down from current Sentinel's",
    "    point of view.",
    "PRIMARY <primary-name>",
    "    Show the state and info of the specified primary.",
    "PRIMARIES",
    "    Show a list of monitored primaries and their state.",
    "MONITOR <name> <ip> <port> <quorum>",
    "    Start monitoring a new primary with the specified name, ip, port and quorum.",
    "MYID",
    "    Return the ID of the Sentinel instance.",
    "REMOVE <primary-name>",
    "    Remove primary from Sentinel's monitor list.",
    "REPLICAS <primary-name>",
    "    Show a list of replicas for this primary and their states.",
    "RESET <pattern>",
    "    Reset primaries for specific primary name matching this pattern.",
    "SENTINELS <primary-name>",
    "    Show a list of Sentinel instances for this primary and their state.",
    "SET <primary-name> <option> <value> [<option> <value> ...]",
    "    Set configuration parameters for certain primaries.",
    "HELP",
    "    Print this help.",
)
