"""Is a process ready? Asked over its own protocol; the answer is None, or what is still missing in a few words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from cluster.agent.layout import Process
from cluster.link import Link, LinkError, LinkRefused, ReplyError, open_link

PATIENCE: Final = 2.0
"""Seconds for one question."""


def parse_info(text: object) -> dict[str, str]:
    """The fields of an INFO reply."""
    if not isinstance(text, bytes):
        return {}
    lines = (line for line in text.decode("utf-8", "replace").splitlines() if not line.startswith("#"))
    return {name: value for name, found, value in (line.partition(":") for line in lines) if found}


async def missing(process: Process, *, primary: bool, cluster: bool, masters: Iterable[str]) -> str | None:
    """What keeps this process from being ready. `masters`: the shards that a sentinel must be able to judge."""
    try:
        async with await open_link(process.host, process.port, connect_timeout=PATIENCE, timeout=PATIENCE) as link:
            if process.kind == "node":
                return await _node(link, primary, cluster)
            if process.kind == "sentinel":
                return await _sentinel(link, masters)
            return await _proxy(link)
    except LinkRefused:
        return "starting"
    except LinkError as error:
        return str(error)


async def _node(link: Link, primary: bool, cluster: bool) -> str | None:
    pong = await link.call("PING")
    if isinstance(pong, ReplyError) and pong.code == "LOADING":
        return loading(parse_info(await link.ask("INFO", "persistence")))
    if isinstance(pong, ReplyError):
        return pong.text
    info = parse_info(await link.ask("INFO", "replication"))
    if primary and info.get("role") != "master":
        return "not yet a primary"
    if not primary and info.get("master_link_status") != "up":
        return "copying from its primary"
    if cluster and parse_info(await link.ask("CLUSTER", "INFO")).get("cluster_state") != "ok":
        return "waiting for the slot map"
    return None


def loading(info: Mapping[str, str]) -> str:
    """How far a node that answers LOADING has come, from the fields of INFO persistence."""
    share, left = info.get("loading_loaded_perc"), info.get("loading_eta_seconds")
    if share is None:
        return "loading its data"
    return f"loading its data: {float(share):.0f} %" + (f", {left} s left" if left and float(share) > 1 else "")


async def keys_of(host: str, port: int) -> int | None:
    """How many keys a node holds; None when it does not answer."""
    try:
        async with await open_link(host, port, connect_timeout=PATIENCE, timeout=PATIENCE) as link:
            return count_keys(parse_info(await link.ask("INFO", "keyspace")))
    except LinkError:
        return None


def count_keys(info: Mapping[str, str]) -> int:
    """The keys of all databases, from `db0:keys=12,expires=0,…` and the like."""
    counts = [
        value.partition(",")[0].removeprefix("keys=")
        for field, value in info.items()
        if field.startswith("db") and field[2:].isdigit()
    ]
    return sum(int(count) for count in counts if count.isdigit())


async def _sentinel(link: Link, masters: Iterable[str]) -> str | None:
    for name in masters:
        reply = await link.call("SENTINEL", "CKQUORUM", name)
        if isinstance(reply, ReplyError):
            return "waiting for its peers" if reply.code == "NOQUORUM" else reply.text
    return None


async def _proxy(link: Link) -> str | None:
    reply = await link.call("EXISTS", "kvorum:ready")
    return reply.text if isinstance(reply, ReplyError) else None
