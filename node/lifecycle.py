"""A node's birth: settings from file and command line, the engine with everything in place, its listening sockets."""

import os
import random
import socket
import ssl
from functools import partial
from pathlib import Path

import structlog

from cluster.catalog import COMMANDS
from cluster.files import write_file
from cluster.logs import set_up
from cluster.options import OptionError
from cluster.topology import TopologyError, from_json
from node.acl import Acl, AclFileError
from node.clientmemory import recount
from node.clients import ClientListener, NodeLoop, set_clock
from node.commandlog import LARGE_REPLY, LARGE_REQUEST, SLOW
from node.commands.acl_files import UserLineError, configure_users
from node.defrag import REFUSED, unsupported
from node.descriptors import room_for
from node.dispatch import Dispatcher
from node.engine import NEVER, NOTHING_SO_LARGE, Engine, notify_flags
from node.eviction import POLICIES
from node.handlers import HANDLERS
from node.scripting.runner import Scripting
from node.settings import Settings
from node.stats import Stats
from node.stores import StoreError, new_store
from node.table import build_table
from node.tuning import tune

COMMAND_LISTS = (
    (SLOW, "slowlog-log-slower-than", "slowlog-max-len"),
    (LARGE_REQUEST, "commandlog-request-larger-than", "commandlog-large-request-max-len"),
    (LARGE_REPLY, "commandlog-reply-larger-than", "commandlog-large-reply-max-len"),
)
MICROSECOND = 1024e-9  # what takes no longer is in the first bucket of every histogram, and counted as calls alone

log: structlog.stdlib.BoundLogger = structlog.get_logger()


class StartError(Exception):
    """The node can't start; the text says why and what to do."""


def build_engine(settings: Settings, now_ms: int, rng: random.Random) -> Engine:
    """An engine that can serve: stores, command table, ACL and gate according to the settings."""
    acl = Acl()
    databases = 1 if settings.cluster_enabled else settings.databases
    try:
        stores = [new_store(rng.getrandbits(63)) for _ in range(databases)]
    except StoreError as error:
        raise StartError(str(error)) from None
    loop = NodeLoop()
    engine = Engine(settings, Stats(now_ms, f"{rng.getrandbits(160):040x}"), acl, loop, list(stores), rng)
    loop.engine = engine
    engine.table = build_table(COMMANDS, HANDLERS)
    acl.require(settings.password)
    acl.channels_open = settings.acl_channels_open
    try:
        configure_users(engine)
    except (UserLineError, AclFileError) as error:
        raise StartError(str(error)) from None
    engine.executor = Dispatcher(engine, engine.table, _log_bug)
    scripting = Scripting(engine, _log_adoption)
    scripting.host.log_to = _log_script
    engine.scripts = scripting
    if unsupported(engine):
        raise StartError(f"activedefrag: {REFUSED}")
    _fit_clients(settings)
    apply_settings(engine)
    settings.options.observe(partial(_settings_changed, engine))
    set_clock(engine)
    engine.gate.active = settings.cluster_enabled
    engine.gate.node_id = settings.node_id
    engine.keep_topology = partial(write_file, topology_path(settings))
    if settings.cluster_enabled:
        _adopt_saved_topology(engine)
    return engine


def _fit_clients(settings: Settings) -> None:
    """Have the system allow as many open files as maxclients needs, or lower maxclients to what it allows."""
    wanted = settings.max_clients
    room = room_for(wanted)
    if room < wanted:
        log.warning("maxclients was lowered to what the limit on open files allows", wanted=wanted, maxclients=room)
        settings.options.put("maxclients", (b"%d" % room,))
        settings.refresh()


def apply_settings(e: Engine) -> None:
    """Carry settings that something else than the settings object holds to where they act."""
    tune(e.settings)
    policy = POLICIES[e.settings.maxmemory_policy]
    for store in e.stores:
        store.track_clock(policy.clock, e.settings.lfu_log_factor, e.settings.lfu_decay_time)
    e.notify_mask = notify_flags(e.settings.notify_letters) or 0
    e.gate.require_full_coverage = e.settings.cluster_require_full_coverage
    e.gate.reads_when_down = e.settings.cluster_allow_reads_when_down
    _set_logs(e)
    e.rdb.judge()
    if e.settings.maxmemory_clients != 0:
        recount(e)
    for store in e.stores:
        store.keep_expired = e.settings.import_mode or not e.replication.primary
    e.guard()


def _set_logs(e: Engine) -> None:
    """Which commands are looked at for the command log and for latency."""
    options = e.settings.options
    for kind, threshold, length in COMMAND_LISTS:
        e.command_lists[kind].threshold = options.number(threshold)
        e.command_lists[kind].length = options.number(length)
    e.latency.threshold_ms = options.number("latency-monitor-threshold")
    slow, request, reply = (commands.threshold for commands in e.command_lists)
    spike = float(e.latency.threshold_ms) / 1e3 if e.latency.threshold_ms else NEVER
    e.slow_after = min(float(slow) / 1e6 if slow >= 0 else NEVER, spike)
    e.large_request = request if request >= 0 else NOTHING_SO_LARGE + 1
    e.large_reply = reply if reply >= 0 else NOTHING_SO_LARGE
    e.slot_stats.active = e.settings.cluster_enabled and options.flag("cluster-slot-stats-enabled")
    timed = options.flag("latency-tracking")
    e.timed_after = MICROSECOND if timed else NEVER
    for entry in e.table.values():
        for counted in (entry, *entry.subcommands.values()):
            counted.time_calls(timed)


def _settings_changed(e: Engine, names: frozenset[str]) -> None:
    """CONFIG SET: the typed settings follow, then whatever holds a copy. Raises OptionError to refuse the change."""
    e.settings.refresh()
    if "maxclients" in names:
        room = room_for(e.settings.max_clients)
        if room < e.settings.max_clients:
            reason = f"The operating system is not able to handle the specified number of clients, try with {room}"
            raise OptionError(reason, "maxclients")
    if "activedefrag" in names and unsupported(e):
        raise OptionError(REFUSED, "activedefrag")
    apply_settings(e)
    if not e.aof.judge():
        raise OptionError("Unable to turn on AOF. Check server logs.", "appendonly")
    for session in e.sessions.values():
        session.decoder.max_bulk = e.settings.max_bulk
    if "loglevel" in names:
        set_up("node", level=e.settings.options.string("loglevel"))
    e.acl.channels_open = e.settings.acl_channels_open
    if "requirepass" in names:
        e.acl.require(e.settings.password)


_SCRIPT_LOGS = (log.debug, log.debug, log.info, log.warning)


def _log_script(level: int, message: bytes) -> None:
    """server.log."""
    _SCRIPT_LOGS[level](message.decode("utf-8", "replace"), source="script")


def _log_adoption(reason: str) -> None:
    log.error("a library of functions in the primary's snapshot can't be loaded", reason=reason)


def _log_bug(command: str, error: BaseException) -> None:
    log.error("a command failed for a reason that is ours", command=command, exc_info=error)


def topology_path(settings: Settings) -> Path:
    """Where the topology is kept: `cluster-config-file` in `dir`."""
    return Path(settings.directory) / settings.options.string("cluster-config-file")


def _adopt_saved_topology(e: Engine) -> None:
    path = topology_path(e.settings)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    try:
        e.gate.adopt(from_json(data))
    except TopologyError as error:
        raise StartError(
            f"{path} holds no sound topology ({error}); restore it, or remove it and let a sentinel push it"
        ) from None


def open_listeners(e: Engine) -> list[socket.socket]:
    """Bind every configured address and have the loop accept on it. Raises StartError naming the address that
    failed.
    """
    settings = e.settings
    sockets: list[socket.socket] = []
    tls = _tls_context(settings) if settings.tls_port else None
    for port, context in ((settings.port, None), (settings.tls_port, tls)):
        for address in settings.bind if port else ():
            optional = address.startswith("-")
            host = address.removeprefix("-")
            try:
                sockets.append(_bind(host, port, settings.tcp_backlog))
            except OSError as error:
                if optional:
                    continue
                shown = os.strerror(error.errno) if error.errno else str(error)
                raise StartError(
                    f"cannot listen on {host}:{port}: {shown}; choose another port or bind address"
                ) from None
            ClientListener(e.loop, sockets[-1], e, context)
    if settings.unix_socket:
        sockets.append(_bind_unix(settings))
        ClientListener(e.loop, sockets[-1], e, None)
    return sockets


def _bind(host: str, port: int, backlog: int) -> socket.socket:
    wildcard = host in ("*", "")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(("" if wildcard else "::" if host == "::*" else host, port))
        sock.listen(backlog)
    except OSError:
        sock.close()
        raise
    return sock


def _bind_unix(settings: Settings) -> socket.socket:
    path = settings.unix_socket
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        Path(path).unlink(missing_ok=True)
        sock.bind(path)
        permissions = settings.options.number("unixsocketperm")
        if permissions:
            os.chmod(path, permissions)
        sock.listen(settings.tcp_backlog)
    except OSError as error:
        sock.close()
        raise StartError(f"cannot listen on the unix socket {path}: {error.strerror}") from None
    return sock


def _tls_context(settings: Settings) -> ssl.SSLContext:
    options = settings.options
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(options.string("tls-cert-file"), options.string("tls-key-file") or None)
        authority = options.string("tls-ca-cert-file")
        if authority:
            context.load_verify_locations(authority)
    except OSError as error:
        raise StartError(
            f"tls-port is set, but tls-cert-file, tls-key-file or tls-ca-cert-file can't be read: {error}"
        ) from None
    demand = options.string("tls-auth-clients")
    context.verify_mode = {"yes": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL}.get(demand, ssl.CERT_NONE)
    return context
