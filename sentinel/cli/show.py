"""How things look: tables and colours on a terminal, plain lines elsewhere. Presentation alone; nothing is asked."""

from __future__ import annotations

import re
import time
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from cluster.agent.report import Running, RunningService
from cluster.agent.status import DiskStatus, NodeStatus, ServiceStatus, Status
from cluster.persistence import MODES

_COLOURS: Final = {
    "available": "green",
    "online": "green",
    "ready": "green",
    "degraded": "yellow",
    "syncing": "yellow",
    "loading": "yellow",
    "starting": "yellow",
    "stopping": "yellow",
    "waiting": "dim",
    "stopped": "dim",
    "unavailable": "bold red",
    "down": "bold red",
    "dead": "bold red",
}
WIDE: Final = 120
"""Columns from which a table shows more."""
WIDEST: Final = 150
"""Columns from which a table shows everything."""

_PASSWORD: Final = re.compile(r"(://[^:@/]*:)[^@/]+@")


def coloured(state: str) -> Text:
    """A state in its colour."""
    return Text(state, style=_COLOURS.get(state, ""))


def masked(url: str | None) -> str:
    """A URL without its password; 'closed' for none."""
    return "closed: the allowlist is empty" if url is None else _PASSWORD.sub(r"\1********@", url)


def size(count: int | None) -> str:
    """Bytes for people: 12.5 MB."""
    if count is None:
        return "-"
    value = float(count)
    for unit in ("B", "KB", "MB", "GB"):
        if value < 1024 or unit == "GB":
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"


def number(count: int | None) -> str:
    """A number with its thousands set apart, or a dash."""
    return "-" if count is None else f"{count:,}"


def plain(console: Console, text: str = "") -> None:
    """A line as it is: no markup, no wrapping, so that it can be copied."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def ready(console: Console, running: Running) -> None:
    """What `kvorum up` prints when everything is up."""
    nodes = sum(process.kind == "node" for process in running.processes)
    parts = ((len(running.services), "service"), (nodes, "node"), (len(running.sentinels), "sentinel"))
    count = ", ".join(_many(*part) for part in parts)
    plain(console)
    console.print(f"[bold green]Kvorum is ready[/]: {count}.", highlight=False)
    for service in running.services:
        plain(console)
        console.print(f"  [bold]{escape(service.name)}[/]  [dim]{_shape(service)}[/]", highlight=False)
        plain(console, f"    internal   {service.internal_url}")
        if service.external_url is None:
            plain(console, "    external   closed: add an entry to ipAllowList in the blueprint to open it")
        else:
            plain(console, f"    external   {service.external_url}")
            plain(console, f"    allowed    {', '.join(service.allow)}")
        plain(console, f"    try it     {service.redis_cli}")
    plain(console)
    plain(console, f"  sentinels    {' '.join(running.sentinels)}")
    plain(console, f"  CA file      {running.ca_file}")
    plain(console, f"  data         {running.home}")
    plain(console)
    console.print(
        "Ctrl-C stops everything. From elsewhere: [bold]kvorum status[/], [bold]kvorum down[/].", highlight=False
    )


def _shape(service: RunningService) -> str:
    shards, replicas = _many(service.shards, "shard"), _many(service.replicas, "replica")
    return ", ".join(filter(None, [service.plan, service.policy, service.persistence, shards, f"{replicas} each"]))


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def status(console: Console, found: Status, *, secrets: bool) -> None:
    """What `kvorum status` prints."""
    for service in found.services:
        _service(console, service, secrets)
    table = Table("sentinel", "address", "state", box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for sentinel in found.sentinels:
        table.add_row(sentinel.name, sentinel.address, coloured(sentinel.state))
    console.print(table)


def _service(console: Console, service: ServiceStatus, secrets: bool) -> None:
    title = Text.assemble((service.name, "bold"), "  ", coloured(service.state), (f"  {service.plan}", "dim"))
    title.append(f", {service.policy}", "dim")
    console.print(title)
    if service.preparing:
        plain(console, f"status   Preparing ({service.preparing})")
    plain(console, f"internal {service.internal_url}")
    external = service.external_url if secrets else None
    plain(console, f"external {external or masked(service.external_url)}")
    if (mode := MODES.get(service.persistence)) is not None:
        plain(console, f"on disk  {mode.name}: {mode.about}")
    if service.proxy != "online":
        console.print(Text.assemble("the proxy is ", coloured(service.proxy)))
    wide = console.width >= WIDE
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in ("shard", *(("slots",) if wide else ()), "node", "address", "role", "state"):
        table.add_column(column, no_wrap=True)
    files = console.width >= WIDEST and any(node.disk for shard in service.shards for node in shard.nodes)
    numbers = (*(("offset",) if wide else ()), "lag", "memory", *(("of",) if wide else ()), "keys", "clients")
    for column in (*numbers, *(("saved", "appended") if files else ())):
        table.add_column(column, justify="right", no_wrap=True)
    now = time.time()
    for shard in service.shards:
        for index, node in enumerate(shard.nodes):
            head = (shard.name, shard.slots) if index == 0 else ("", "")
            disk = _disk(node.disk, now) if files else []
            table.add_row(*(head if wide else head[:1]), *_node(node, wide), *disk)
    console.print(table)
    for node in (node for shard in service.shards for node in shard.nodes):
        for text in _remarks(service, node):
            plain(console, f"{node.name}: {text}")
    plain(console)


def _disk(disk: DiskStatus | None, now: float) -> list[str | Text]:
    """When the last RDB file was written, and the size of the append-only file."""
    if disk is None:
        return ["-", "-"]
    saved = Text("failed", style="bold red") if not disk.saved else ago(disk.last_save, now)
    appended = Text("failed", style="bold red") if not disk.appended else size(disk.aof_size)
    return [saved, appended]


def ago(moment: int | None, now: float) -> str:
    """How long ago something was: 12 s, 5 min, 3 h, 2 d; a dash for never."""
    if moment is None:
        return "-"
    seconds = max(0, int(now) - moment)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit} ago"
    return f"{seconds} s ago"


def _remarks(service: ServiceStatus, node: NodeStatus) -> list[str]:
    """What is worth a line: work that takes long, a mode that is not the service's, a disk that fails."""
    disk = node.disk
    if disk is None:
        return []
    found = [node.doing] if node.doing else []
    if service.persistence and disk.mode != service.persistence:
        found.append(f"keeps '{disk.mode}' still, not '{service.persistence}'")
    if not disk.saved:
        found.append("its last RDB file could not be written; see its log")
    if not disk.appended:
        found.append("its append-only file can't be written, so it refuses writes; see its log")
    return found


def _node(node: NodeStatus, wide: bool) -> list[str | Text]:
    address = node.address if wide else node.address.rpartition(":")[2]
    row: list[str | Text] = [
        node.name,
        address,
        Text(node.role, style="bold" if node.role == "primary" else ""),
        coloured(node.state),
    ]
    offset = [number(node.offset)] if wide else []
    limit = [size(node.maxmemory) if node.maxmemory else "-"] if wide else []
    lag = "-" if node.lag is None else size(node.lag)
    return [*row, *offset, lag, size(node.memory), *limit, number(node.keys), number(node.clients)]
