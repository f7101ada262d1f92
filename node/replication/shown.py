"""What INFO replication shows after `role`."""

from node.engine import Engine
from node.replication.state import Lineage, Role


def replication_fields(e: Engine, role: Role, last_io: int, down_since_ms: int) -> list[tuple[str, str]]:
    """The fields; `last_io`: seconds since the primary was heard of, -1 while there is no link."""
    fields: list[tuple[str, str]] = []
    if not role.primary:
        fields += _as_replica(e, role, last_io, down_since_ms)
    shown = role.replicas()
    fields.append(("connected_slaves", str(len(shown))))
    if e.settings.min_replicas_to_write:
        fields.append(("min_slaves_good_slaves", str(role.good_replicas)))
    for i, (address, port, state, acked, lag) in enumerate(shown):
        fields.append((f"slave{i}", f"ip={address},port={port},state={state},offset={acked},lag={lag},type=replica"))
    return fields + _history(e, role, role.lineage)


def _as_replica(e: Engine, role: Role, last_io: int, down_since_ms: int) -> list[tuple[str, str]]:
    offset = str(role.stream.offset)
    fields = [
        ("master_host", role.primary_host),
        ("master_port", str(role.primary_port)),
        ("master_link_status", "up" if role.link_up else "down"),
        ("master_last_io_seconds_ago", str(last_io if role.link_up else -1)),
        ("master_sync_in_progress", "1" if role.link_state == b"sync" else "0"),
        ("slave_read_repl_offset", offset),
        ("slave_repl_offset", offset),
    ]
    if role.link_state == b"sync":
        total, read = role.sync_total, role.sync_read
        fields += [
            ("master_sync_total_bytes", str(total)),
            ("master_sync_read_bytes", str(read)),
            ("master_sync_left_bytes", str(total - read)),
            ("master_sync_perc", f"{100 * read / total if total else 0:.2f}"),
            ("master_sync_last_io_seconds_ago", str(max(last_io, 0))),
        ]
    if not role.link_up:
        down = (e.now_ms - down_since_ms) // 1000 if down_since_ms else -1
        fields.append(("master_link_down_since_seconds", str(down)))
    return [
        *fields,
        ("slave_priority", str(e.settings.replica_priority)),
        ("slave_read_only", "1" if role.read_only else "0"),
        ("replica_announced", "1" if e.settings.options.flag("replica-announced") else "0"),
    ]


def _history(e: Engine, role: Role, lineage: Lineage) -> list[tuple[str, str]]:
    backlog = role.stream.backlog
    return [
        ("master_failover_state", "no-failover"),
        ("master_replid", lineage.id.decode()),
        ("master_replid2", lineage.previous_id.decode()),
        ("master_repl_offset", str(role.stream.offset)),
        ("second_repl_offset", str(lineage.previous_end)),
        ("repl_backlog_active", "1" if backlog else "0"),
        ("repl_backlog_size", str(e.settings.repl_backlog_size)),
        ("repl_backlog_first_byte_offset", str(backlog.first if backlog else 0)),
        ("repl_backlog_histlen", str(backlog.held() if backlog else 0)),
    ]
