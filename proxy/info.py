"""INFO of a sharded service: one text from the texts of all shards, in which every number is true of the whole.

A field on which all shards agree stands as it is; counters and sizes are added; of the rest the proxy gives its own or
leaves out.
"""

from __future__ import annotations

from typing import Final

from proxy.skipper import bulk_text
from proxy.split import first_error

_SUMMED: Final = frozenset(
    [
        "blocked_clients", "used_memory", "used_memory_rss", "used_memory_peak", "used_memory_dataset",
        "used_memory_overhead", "maxmemory", "total_commands_processed", "total_connections_received",
        "instantaneous_ops_per_sec", "total_net_input_bytes", "total_net_output_bytes",
        "instantaneous_input_kbps", "instantaneous_output_kbps", "rejected_connections", "expired_keys",
        "evicted_keys", "keyspace_hits", "keyspace_misses", "total_error_replies", "total_reads_processed",
        "total_writes_processed", "sync_full", "sync_partial_ok", "sync_partial_err", "pubsub_channels",
        "pubsubshard_channels", "rdb_changes_since_last_save", "connected_slaves", "connected_replicas",
        "used_cpu_sys", "used_cpu_user", "used_cpu_sys_children", "used_cpu_user_children",
        "expire_cycle_cpu_milliseconds", "total_keys", "unexpected_error_replies", "mem_not_counted_for_evict",
        "lazyfree_pending_objects", "lazyfreed_objects",
    ]
)  # fmt: skip
_LARGEST: Final = frozenset(["pubsub_patterns", "uptime_in_seconds", "uptime_in_days", "loading"])
_HUMAN: Final = {
    "used_memory_human": "used_memory",
    "used_memory_rss_human": "used_memory_rss",
    "used_memory_peak_human": "used_memory_peak",
    "maxmemory_human": "maxmemory",
}

Sections = dict[str, dict[str, str]]


def parse_info(text: bytes) -> Sections:
    """Sections of an INFO text, in order, each with its fields, in order."""
    sections: Sections = {}
    fields: dict[str, str] = sections.setdefault("", {})
    for line in text.decode("utf-8", "replace").splitlines():
        if line.startswith("# "):
            fields = sections.setdefault(line[2:], {})
        elif ":" in line:
            name, _, value = line.partition(":")
            fields[name] = value
    return {name: fields for name, fields in sections.items() if fields}


def merge_sections(texts: list[Sections], own: dict[str, str]) -> Sections:
    """One set of sections from those of all shards; `own` overrides fields that speak of the process."""
    merged: Sections = {}
    for section, fields in texts[0].items():
        target = merged.setdefault(section, {})
        names = dict.fromkeys([name for text in texts for name in text.get(section, {})])
        for name in names if section in ("Keyspace", "Commandstats", "Errorstats") else fields:
            value = _field(name, [text.get(section, {}).get(name) for text in texts], own)
            if value is not None:
                target[name] = value
        for human, plain in _HUMAN.items():
            if human in fields and plain in target:
                target[human] = human_size(int(target[plain]))
    return merged


def _field(name: str, values: list[str | None], own: dict[str, str]) -> str | None:
    if name in own:
        return own[name]
    present = [value for value in values if value is not None]
    if name in _SUMMED:
        return _reduced(present, False)
    if name in _LARGEST:
        return _reduced(present, True)
    if present and "=" in present[0]:
        return _summed_list(present)
    if name in _HUMAN:
        return present[0] if present else None
    return present[0] if len(set(values)) == 1 else None


def _reduced(values: list[str], largest: bool) -> str | None:
    """The sum, or the largest, of numbers; whole numbers stay whole, others keep their places. None for no numbers."""
    total = 0.0
    whole = 0
    try:
        for value in values:
            number = float(value)
            total = max(total, number) if largest else total + number
            if value.lstrip("-").isdigit():
                whole = max(whole, int(value)) if largest else whole + int(value)
    except ValueError:
        return None
    places = max([len(value.partition(".")[2]) for value in values], default=0)
    return f"{total:.{places}f}" if places else str(whole)


def _summed_list(values: list[str]) -> str | None:
    """`keys=5,expires=1,avg_ttl=300` of all shards: counts are added, averages weighted by expires or calls."""
    rows = [dict([_pair(item) for item in value.split(",")]) for value in values]
    total: dict[str, str] = {}
    for name in rows[0]:
        column = [row.get(name, "0") for row in rows]
        weights = {"avg_ttl": "expires", "usec_per_call": "calls"}
        if name in weights:
            weight = [float(row.get(weights[name], "0") or 0) for row in rows]
            mean = _mean(column, weight)
            total[name] = f"{mean:.2f}" if name == "usec_per_call" else str(int(mean))
        else:
            summed = _reduced(column, False)
            if summed is None:
                return None
            total[name] = summed
    return ",".join([f"{name}={value}" for name, value in total.items()])


def _mean(values: list[str], weights: list[float]) -> float:
    """The weighted mean, 0 without weight."""
    total = 0.0
    weight = 0.0
    for value, share in zip(values, weights, strict=True):
        total += float(value) * share
        weight += share
    return total / weight if weight > 0.0 else 0.0


def _pair(item: str) -> tuple[str, str]:
    name, _, value = item.partition("=")
    return name, value


def human_size(size: int) -> str:
    """Bytes as Valkey shows them: 1.50K, 2.00M …"""
    if size < 1024:
        return f"{size}B"
    value = float(size)
    for unit in "KMGTP":
        value /= 1024
        if value < 1024 or unit == "P":
            return f"{value:.2f}{unit}"
    return f"{size}B"


class InfoMerge:
    """Merges INFO; `own` are the fields in which the proxy speaks for itself."""

    def __init__(self, own: dict[str, str], resp3: bool) -> None:
        self.own = own
        self.resp3 = resp3

    def __call__(self, replies: list[bytes]) -> bytes:
        """One INFO reply."""
        failed = first_error(replies)
        if failed:
            return failed
        texts = [parse_info(bulk_text(reply)) for reply in replies]
        lines: list[str] = []
        for section, fields in merge_sections(texts, self.own).items():
            lines += [f"# {section}", *[f"{name}:{value}" for name, value in fields.items()], ""]
        text = "\r\n".join(lines).encode()
        if self.resp3:
            return b"=%d\r\ntxt:%b\r\n" % (len(text) + 4, text)
        return b"$%d\r\n%b\r\n" % (len(text), text)
