"""INFO: facts and counters in sections, under the names that Valkey's monitoring tools read."""

import os
import resource
import sys
from collections.abc import Callable
from types import FunctionType

from cluster.version import KVORUM_VERSION, REDIS_VERSION, SERVER_NAME, VALKEY_VERSION
from node.defrag import fragmentation
from node.engine import Engine, Handler
from node.latency import Times
from node.session import KIND_REPLICA, Session
from node.table import Entry

Fields = list[tuple[str, str]]
_UNITS = ((1024**4, "T"), (1024**3, "G"), (1024**2, "M"), (1024, "K"))
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TOTAL_MEMORY = _PAGE * os.sysconf("SC_PHYS_PAGES")
COMPILED = not isinstance(Engine.changed, FunctionType)


def human(size: int) -> str:
    """A size as INFO's `_human` fields show it: 1.50M."""
    for unit, letter in _UNITS:
        if size >= unit:
            return f"{size / unit:.2f}{letter}"
    return f"{size}B"


def resident() -> int:
    """Bytes of this process in physical memory, 0 when the system does not tell."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0


def _yes(flag: bool) -> str:
    return "1" if flag else "0"


# --- sections
def server(e: Engine) -> Fields:
    """Who and where we are."""
    settings, stats = e.settings, e.stats
    system = os.uname()
    uptime = max(e.now_ms - stats.started_ms, 0) // 1000
    fields = [
        ("redis_version", REDIS_VERSION),
        ("server_name", SERVER_NAME),
        ("valkey_version", VALKEY_VERSION),
        ("valkey_release_stage", "ga"),
        ("kvorum_version", KVORUM_VERSION),
        ("engine_compiled", "yes" if COMPILED else "no"),
        ("store", e.stores[0].kind),
        ("node_id", settings.node_id),
        ("service_name", settings.service_name),
        ("redis_mode", "cluster" if settings.cluster_enabled else "standalone"),
        ("server_mode", "cluster" if settings.cluster_enabled else "standalone"),
        ("os", f"{system.sysname} {system.release} {system.machine}"),
        ("arch_bits", "64" if sys.maxsize > 2**32 else "32"),
        ("multiplexing_api", "epoll"),
        ("process_id", str(os.getpid())),
        ("process_supervised", "no"),
        ("run_id", stats.run_id),
        ("tcp_port", str(settings.port or settings.tls_port)),
        ("server_time_usec", str(e.now_us)),
        ("uptime_in_seconds", str(uptime)),
        ("uptime_in_days", str(uptime // 86400)),
        ("hz", str(settings.hz)),
        ("configured_hz", str(settings.hz)),
        ("lru_clock", str((e.now_ms // 1000) & 0xFFFFFF)),
        ("executable", sys.executable),
        ("config_file", settings.options.path),
        ("availability_zone", settings.options.string("availability-zone")),
    ]
    return fields + _listeners(e)


def _listeners(e: Engine) -> Fields:
    settings = e.settings
    binds = "".join(f",bind={address}" for address in settings.bind)
    found: list[str] = []
    if settings.port:
        found.append(f"name=tcp{binds},port={settings.port}")
    if settings.unix_socket:
        found.append(f"name=unix,bind={settings.unix_socket}")
    if settings.tls_port:
        found.append(f"name=tls{binds},port={settings.tls_port}")
    return [(f"listener{i}", text) for i, text in enumerate(found)]


def clients(e: Engine) -> Fields:
    """Connections."""
    sessions = [s for s in e.sessions.values() if s.kind != KIND_REPLICA]
    paused = e.paused_until_ms > e.now_ms
    watched = sum(1 for watchers in e.watched.values() if not all(s.watch_broken for s in watchers))
    return [
        ("connected_clients", str(len(sessions))),
        ("cluster_connections", "0"),
        ("maxclients", str(e.settings.max_clients)),
        ("client_recent_max_input_buffer", str(max((s.decoder.held() for s in sessions), default=0))),
        ("client_recent_max_output_buffer", str(max((_unsent(s) for s in sessions), default=0))),
        ("blocked_clients", str(sum(1 for s in sessions if s.blocked))),
        ("tracking_clients", str(e.tracking.clients)),
        ("pubsub_clients", str(sum(1 for s in sessions if s.subscriptions() > 0))),
        ("watching_clients", str(sum(1 for s in sessions if s.watching and not s.watch_broken))),
        ("clients_in_timeout_table", "0"),
        ("total_watched_keys", str(watched)),
        ("total_blocking_keys", str(sum(len(e.blocking.keys_waited_for(i)) for i in range(len(e.stores))))),
        ("total_blocking_keys_on_nokey", "0"),
        ("paused_reason", "client_pause" if paused else "none"),
        ("paused_actions", "none" if not paused else "write" if e.paused_writes_only else "all"),
        ("paused_timeout_milliseconds", str(e.paused_until_ms - e.now_ms if paused else 0)),
    ]


def _unsent(s: Session) -> int:
    conn = s.conn
    return 0 if conn is None else len(conn.out) + conn.unsent_bytes


def memory(e: Engine) -> Fields:
    """Bytes: of the data by our own account, of the process by the system's."""
    used = int(e.used_memory())
    stored = int(sum(store.used_bytes() for store in e.stores))
    peak = max(int(e.stats.peak_memory), used)
    rss = resident()
    held, small = fragmentation(e)
    limit = e.settings.maxmemory
    backlog = dict(e.replication.info()).get("repl_backlog_histlen", "0")
    replicas = sum(_unsent(s) for s in e.sessions.values() if s.kind == KIND_REPLICA)
    normal = sum(_unsent(s) + s.decoder.held() for s in e.sessions.values() if s.kind != KIND_REPLICA)
    return [
        ("used_memory", str(used)),
        ("used_memory_human", human(used)),
        ("used_memory_rss", str(rss)),
        ("used_memory_rss_human", human(rss)),
        ("used_memory_peak", str(peak)),
        ("used_memory_peak_human", human(peak)),
        ("used_memory_peak_perc", f"{100 * used / peak if peak else 0:.2f}%"),
        ("used_memory_overhead", str(used - stored)),
        ("used_memory_startup", "0"),
        ("used_memory_dataset", str(stored)),
        ("used_memory_dataset_perc", f"{100 * stored / used if used else 0:.2f}%"),
        ("total_system_memory", str(_TOTAL_MEMORY)),
        ("total_system_memory_human", human(_TOTAL_MEMORY)),
        *_script_memory(e),
        ("maxmemory", str(limit)),
        ("maxmemory_human", human(limit)),
        ("maxmemory_policy", e.settings.maxmemory_policy.decode()),
        ("allocator_frag_ratio", f"{held / small if small else 1:.2f}"),
        ("allocator_frag_bytes", str(held - small)),
        ("mem_fragmentation_ratio", f"{rss / used if used else 0:.2f}"),
        ("mem_fragmentation_bytes", str(rss - used)),
        ("mem_not_counted_for_evict", "0"),
        ("mem_replication_backlog", backlog),
        ("mem_clients_slaves", str(replicas)),
        ("mem_clients_normal", str(normal)),
        ("mem_aof_buffer", str(e.aof.buffered())),
        ("mem_allocator", "libc"),
        ("active_defrag_running", str(e.stats.defrag_share)),
        ("lazyfree_pending_objects", "0"),
    ]


def _script_memory(e: Engine) -> Fields:
    """What scripts and functions take."""
    m = e.scripts.memory()
    return [
        ("used_memory_lua", str(m.vm_scripts)),
        ("used_memory_vm_eval", str(m.vm_scripts)),
        ("used_memory_lua_human", human(m.vm_scripts)),
        ("used_memory_scripts_eval", str(m.scripts)),
        ("number_of_cached_scripts", str(m.cached)),
        ("number_of_functions", str(m.number)),
        ("number_of_libraries", str(m.libraries)),
        ("used_memory_vm_functions", str(m.vm_functions)),
        ("used_memory_vm_total", str(m.vm_scripts + m.vm_functions)),
        ("used_memory_vm_total_human", human(m.vm_scripts + m.vm_functions)),
        ("used_memory_functions", str(m.functions)),
        ("used_memory_scripts", str(m.scripts + m.functions)),
        ("used_memory_scripts_human", human(m.scripts + m.functions)),
    ]


def persistence(e: Engine) -> Fields:
    """Loading and saving."""
    loading = e.replication.loading
    return [
        ("loading", _yes(loading)),
        ("async_loading", "0"),
        *e.rdb.info(),
        ("rdb_last_load_keys_expired", str(e.stats.load.keys_expired)),
        ("rdb_last_load_keys_loaded", str(e.stats.load.keys_loaded)),
        *(e.stats.load.fields(e.now_ms) if loading else []),
        *e.aof.info(),
        *e.aof.sizes(),
    ]


def stats(e: Engine) -> Fields:
    """Counters since the start or the last CONFIG RESETSTAT."""
    c = e.stats
    return [
        ("total_connections_received", str(c.connections)),
        ("total_commands_processed", str(c.commands)),
        ("instantaneous_ops_per_sec", str(c.ops.per_second())),
        ("total_net_input_bytes", str(e.loop.read_bytes - c.net_input_base)),
        ("total_net_output_bytes", str(e.loop.sent_bytes - c.net_output_base)),
        ("total_net_repl_input_bytes", str(c.repl_input)),
        ("total_net_repl_output_bytes", str(c.repl_output)),
        ("instantaneous_input_kbps", f"{c.input_rate.per_second() / 1024:.2f}"),
        ("instantaneous_output_kbps", f"{c.output_rate.per_second() / 1024:.2f}"),
        ("rejected_connections", str(c.rejected_connections)),
        ("sync_full", str(c.sync_full)),
        ("sync_partial_ok", str(c.sync_partial_ok)),
        ("sync_partial_err", str(c.sync_partial_err)),
        ("expired_keys", str(c.expired_keys)),
        ("expired_fields", str(c.expired_fields)),
        ("expired_time_cap_reached_count", str(c.expired_time_cap)),
        ("evicted_keys", str(c.evicted_keys)),
        ("evicted_scripts", str(e.scripts.evicted)),
        ("evicted_clients", str(c.evicted_clients)),
        ("keyspace_hits", str(sum(store.hits for store in e.stores) - c.hits_base)),
        ("keyspace_misses", str(sum(store.misses for store in e.stores) - c.misses_base)),
        ("pubsub_channels", str(len(e.pubsub.channels))),
        ("pubsub_patterns", str(len(e.pubsub.patterns))),
        ("pubsubshard_channels", str(len(e.pubsub.shard_channels))),
        ("latest_fork_usec", "0"),
        ("total_forks", "0"),
        *_defrag(e),
        ("tracking_total_keys", str(len(e.tracking.table))),
        ("tracking_total_items", str(e.tracking.items)),
        ("tracking_total_prefixes", str(len(e.tracking.prefixes))),
        ("unexpected_error_replies", str(c.unexpected_errors)),
        ("total_error_replies", str(c.error_replies)),
        ("client_query_buffer_limit_disconnections", str(c.query_limit_disconnections)),
        ("client_output_buffer_limit_disconnections", str(c.output_limit_disconnections)),
        ("acl_access_denied_auth", str(c.auth_denied)),
        ("acl_access_denied_cmd", str(c.command_denied)),
        ("acl_access_denied_key", str(c.key_denied)),
        ("acl_access_denied_channel", str(c.channel_denied)),
        ("acl_access_denied_tls_cert", "0"),
        ("acl_access_denied_db", str(c.database_denied)),
    ]


def _defrag(e: Engine) -> Fields:
    c = e.stats
    current = e.now_ms - c.defrag_since_ms if c.defrag_share else 0
    return [
        ("active_defrag_hits", str(c.defrag_hits)),
        ("active_defrag_misses", str(c.defrag_misses)),
        ("active_defrag_key_hits", str(c.defrag_key_hits)),
        ("active_defrag_key_misses", str(c.defrag_key_misses)),
        ("total_active_defrag_time", str(c.defrag_ms + current)),
        ("current_active_defrag_time", str(current)),
    ]


def replication(e: Engine) -> Fields:
    """The role and what belongs to it."""
    return [("role", "master" if e.replication.primary else "slave"), *e.replication.info()]


def cpu(e: Engine) -> Fields:
    """Seconds of processor time of this process and of its children."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return [
        ("used_cpu_sys", f"{own.ru_stime:.6f}"),
        ("used_cpu_user", f"{own.ru_utime:.6f}"),
        ("used_cpu_sys_children", f"{children.ru_stime:.6f}"),
        ("used_cpu_user_children", f"{children.ru_utime:.6f}"),
    ]


def modules(e: Engine) -> Fields:
    """There are none."""
    return []


def commandstats(e: Engine) -> Fields:
    """Calls and times of every command that was called or refused."""
    fields: Fields = []
    for key, entry in e.table.items():
        if key != entry.name:
            continue  # the upper-case spelling of the same command
        for counted in (entry, *entry.subcommands.values()):
            if counted.calls or counted.rejected or counted.failed:
                fields.append((f"cmdstat_{counted.name.decode()}", _counted(counted)))
    return fields


def _counted(entry: Entry) -> str:
    each = entry.microseconds / float(entry.calls) if entry.calls else 0.0
    return (
        f"calls={entry.calls},usec={int(entry.microseconds)},usec_per_call={each:.2f},"
        f"rejected_calls={entry.rejected},failed_calls={entry.failed}"
    )


def errorstats(e: Engine) -> Fields:
    """Error replies by their first word."""
    return [(f"errorstat_{name.decode('latin-1')}", f"count={count}") for name, count in sorted(e.stats.errors.items())]


def latencystats(e: Engine) -> Fields:
    """Percentiles of the times of every command that was called, in microseconds."""
    words = e.settings.options.words("latency-tracking-info-percentiles")
    percentiles = [(word.decode(), float(word)) for word in words]
    fields: Fields = []
    for key, entry in e.table.items():
        if key != entry.name:
            continue
        for timed in (entry, *entry.subcommands.values()):
            if timed.timed() > 0:
                told = ",".join(f"p{word}={_percentile(timed, value):.3f}" for word, value in percentiles)
                fields.append((f"latency_percentiles_usec_{timed.name.decode()}", told))
    return fields


def _percentile(entry: Entry, percent: float) -> float:
    times = entry.times or Times()
    return times.percentile(int(entry.timed()) - int(times.slower), percent)


def cluster(e: Engine) -> Fields:
    """Whether slots are checked here."""
    return [("cluster_enabled", _yes(e.settings.cluster_enabled))]


def keyspace(e: Engine) -> Fields:
    """Keys of each database that has any."""
    fields: Fields = []
    for i, store in enumerate(e.stores):
        keys = store.count()
        if keys:
            volatile, average = store.volatile_count(), store.expiry_average()
            inside = store.inside_count()
            line = f"keys={keys},expires={volatile},avg_ttl={average},keys_with_volatile_items={inside}"
            fields.append((f"db{i}", line))
    return fields


_DEFAULT: list[tuple[str, str, Callable[[Engine], Fields]]] = [
    ("server", "Server", server),
    ("clients", "Clients", clients),
    ("memory", "Memory", memory),
    ("persistence", "Persistence", persistence),
    ("stats", "Stats", stats),
    ("replication", "Replication", replication),
    ("cpu", "CPU", cpu),
    ("modules", "Modules", modules),
    ("commandstats", "Commandstats", commandstats),
    ("errorstats", "Errorstats", errorstats),
    ("latencystats", "Latencystats", latencystats),
    ("cluster", "Cluster", cluster),
    ("keyspace", "Keyspace", keyspace),
]
_ON_REQUEST = ("commandstats", "latencystats")


def info(e: Engine, s: Session, args: list[bytes]) -> None:
    """INFO [section ...]: `default`, `all` and `everything` are sets of sections; unknown ones are left out."""
    wanted = {word.lower().decode("latin-1") for word in args[1:]} or {"default"}
    every = bool(wanted & {"all", "everything"})
    parts: list[str] = []
    for name, title, section in _DEFAULT:
        if every or name in wanted or ("default" in wanted and name not in _ON_REQUEST):
            lines = [f"# {title}", *(f"{field}:{value}" for field, value in section(e))]
            parts.append("".join(f"{line}\r\n" for line in lines))
    s.reply.verbatim("\r\n".join(parts).encode())


HANDLERS: dict[bytes, Handler] = {b"info": info}
