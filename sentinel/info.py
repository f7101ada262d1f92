"""Reads a node's INFO text. Field names are Valkey's; unknown and malformed lines are skipped."""

from __future__ import annotations

from typing import Final

from sentinel.state import Address, Info, Role

MAX_REPLICAS: Final = 1024


def parse_info(text: bytes) -> Info:
    """The fields of INFO that matter; what is missing keeps its default."""
    fields: dict[str, str] = {}
    for line in text.decode("utf-8", "replace").splitlines():
        key, colon, value = line.partition(":")
        if colon:
            fields[key] = value
    primary = _address(fields.get("master_host", ""), fields.get("master_port", ""))
    is_replica = fields.get("role") == Role.REPLICA.value
    return Info(
        role=Role.REPLICA if is_replica else Role.PRIMARY,
        run_id=fields.get("run_id", "")[:64],
        node_id=fields.get("node_id", "")[:40],
        replicas=() if is_replica else _replicas(fields),
        primary=primary if is_replica else None,
        link_up=fields.get("master_link_status") == "up",
        link_down_for=_down_for(_number(fields.get("master_link_down_since_seconds", ""), 0)),
        priority=_number(fields.get("slave_priority", ""), 100),
        offset=_number(fields.get("slave_repl_offset", fields.get("master_repl_offset", "")), 0),
        announced=fields.get("replica_announced", "1") != "0",
        replids=tuple(v for k in ("master_replid", "master_replid2") if (v := fields.get(k, "")).strip("0")),
        loading=fields.get("loading") == "1",
    )


def _replicas(fields: dict[str, str]) -> tuple[Address, ...]:
    found: list[Address] = []
    for number in range(MAX_REPLICAS):
        line = fields.get(f"slave{number}")
        if line is None:
            break
        parts = dict(part.partition("=")[::2] for part in line.split(","))
        address = _address(parts.get("ip", ""), parts.get("port", ""))
        if address is not None:
            found.append(address)
    return tuple(found)


def _down_for(seconds: int) -> float:
    """INFO says -1 of a link that has never been up."""
    return float(seconds) if seconds >= 0 else float("inf")


def _address(host: str, port: str) -> Address | None:
    number = _number(port, 0)
    return Address(host, number) if host and len(host) <= 255 and 0 < number < 65536 else None


def _number(text: str, default: int) -> int:
    try:
        return int(text[:20])
    except ValueError:
        return default
