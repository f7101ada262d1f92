"""sentinel.conf, read: one row an option, and the `sentinel …` lines, whose order does not matter.

What is configured is where a sentinel begins. What it has learned and decided since is in its state file (`store`),
which is never the configuration file: a configuration may be mounted read-only or be written anew by its owner.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from cluster.configfile import ConfigFileError, load_argv
from cluster.options import Kind, Option, OptionError, Options, Words
from sentinel.state import Address, Rules

ROWS: Final = (
    Option("port", Kind.NUMBER, "26379", 0, 65535),
    Option("bind", Kind.WORDS, "127.0.0.1 -::1", 1, 16),
    Option("dir", Kind.TEXT, "."),
    Option("loglevel", Kind.TEXT, "notice"),
    Option("maxclients", Kind.NUMBER, "10000", 1, 1_000_000),
    Option("requirepass", Kind.TEXT, "", sensitive=True),
    Option("topology-file", Kind.LINES, low=1, high=1),
    Option("sentinel", Kind.LINES, low=1, high=16, sensitive=True),
)
# Directives of valkey's own that a genuine sentinel.conf often has and that mean nothing here.
_ACCEPTED: Final = ("daemonize", "pidfile", "logfile", "protected-mode", "acllog-max-len", "user", "tcp-keepalive")
_ID: Final = re.compile(r"[0-9a-f]{40}")


@dataclass(kw_only=True)
class Monitor:
    """A shard to be watched, as configured."""

    name: str
    primary: Address
    rules: Rules
    replicas: list[Address] = field(default_factory=list)
    peers: dict[str, Address] = field(default_factory=dict)
    config_epoch: int = 0
    leader_epoch: int = 0


@dataclass(kw_only=True)
class Settings:
    """Everything that a sentinel is started with."""

    port: int
    bind: tuple[str, ...]
    folder: Path
    loglevel: str
    maxclients: int
    requirepass: str = field(repr=False)
    topology_files: tuple[Path, ...]
    myid: str = ""
    announce_ip: str = ""
    announce_port: int = 0
    peer_user: str | None = None
    peer_pass: str | None = field(default=None, repr=False)
    current_epoch: int = 0
    monitors: dict[str, Monitor] = field(default_factory=dict)


def load(argv: list[str]) -> Settings:
    """Read `[FILE] [--directive value …]`. Raises ConfigFileError."""
    options = Options((*ROWS, *(Option(name, Kind.LINES, low=0, high=64, hidden=True) for name in _ACCEPTED)))
    load_argv(options, argv, lambda: b"")
    base = Path(options.path).parent if options.path else Path.cwd()
    settings = Settings(
        port=options.number("port"),
        bind=tuple(w.decode() for w in options.words("bind")),
        folder=base / options.string("dir"),
        loglevel=options.string("loglevel"),
        maxclients=options.number("maxclients"),
        requirepass=options.string("requirepass"),
        topology_files=tuple(base / words[0].decode() for words in options.lines("topology-file")),
    )
    # As genuine: what does not name a shard first, then the shards, then what is said of them.
    lines = sorted(options.lines("sentinel"), key=_turn)
    for words in lines:
        _take_line(settings, words, options.path or "command line")
    return settings


def _turn(words: Words) -> int:
    name = words[0].lower()
    return 1 if name == b"monitor" else 2 if name.decode("latin-1") in _OF_SHARD else 0


def _take_line(settings: Settings, words: Words, source: str) -> None:
    texts = [w.decode("utf-8", "replace") for w in words]
    name, rest = texts[0].lower(), texts[1:]
    shown = f"sentinel {name} {rest[0] if rest else ''}".encode()  # the rest may be a password
    try:
        if name == "monitor":
            _monitor(settings, rest)
        elif name in _OF_SHARD:
            _take_of_shard(settings, name, rest)
        elif name in _GLOBAL:
            if len(rest) != 1:
                raise OptionError("wrong number of arguments")
            _GLOBAL[name](settings, rest[0])
        else:
            raise OptionError("Unrecognized sentinel configuration statement.")
    except OptionError as error:
        raise ConfigFileError(source, 1, shown, error.reason) from None


def _monitor(settings: Settings, rest: list[str]) -> None:
    if len(rest) != 4:
        raise OptionError("Unrecognized sentinel configuration statement.")
    name, host, port, quorum = rest
    if name in settings.monitors:
        raise OptionError("Duplicate master name.")
    settings.monitors[name] = Monitor(
        name=name, primary=resolve(host, number(port, 1, 65535)), rules=Rules(quorum=quorum_of(quorum))
    )


def quorum_of(text: str) -> int:
    """A quorum, at least 1."""
    try:
        return number(text, 1, 2**31 - 1)
    except OptionError:
        raise OptionError("Quorum must be 1 or greater.") from None


def number(text: str, low: int, high: int) -> int:
    """A decimal number within bounds. Raises OptionError."""
    if not re.fullmatch(r"-?[0-9]{1,18}", text) or not low <= int(text) <= high:
        raise OptionError(f"argument must be an integer between {low} and {high}")
    return int(text)


def resolve(host: str, port: int) -> Address:
    """The address of a host, which may be a name; the resolver is asked once, at start. Raises OptionError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        raise OptionError(f"Can't resolve instance hostname '{host}'.") from None
    return Address(str(found[0][4][0]), port)


def _take_of_shard(settings: Settings, name: str, rest: list[str]) -> None:
    if not rest or rest[0] not in settings.monitors:
        raise OptionError("No such master with specified name.")
    monitor, words = settings.monitors[rest[0]], rest[1:]
    count, take = _OF_SHARD[name]
    if not count <= len(words) <= count + (name == "known-sentinel"):
        raise OptionError("wrong number of arguments")
    take(monitor, words)


def with_option(rules: Rules, name: str, value: str) -> Rules | None:
    """The rules with one option of `SENTINEL SET` changed, None when there is no such option. Raises OptionError."""
    change = _RULES.get(name.lower())
    return None if change is None else change(rules, value)


_MS_MAX: Final = 2**31 - 1
_RULES: Final[dict[str, Callable[[Rules, str], Rules]]] = {
    "down-after-milliseconds": lambda r, v: replace(r, down_after=number(v, 1, _MS_MAX) / 1000),
    "failover-timeout": lambda r, v: replace(r, failover_timeout=number(v, 1, _MS_MAX) / 1000),
    "parallel-syncs": lambda r, v: replace(r, parallel_syncs=number(v, 1, 1024)),
    "quorum": lambda r, v: replace(r, quorum=quorum_of(v)),
    "auth-pass": lambda r, v: replace(r, auth_pass=v or None),
    "auth-user": lambda r, v: replace(r, auth_user=v or None),
}


def _rule(name: str) -> tuple[int, Callable[[Monitor, list[str]], None]]:
    def take(monitor: Monitor, words: list[str]) -> None:
        monitor.rules = _RULES[name](monitor.rules, words[0])

    return 1, take


def _known_replica(monitor: Monitor, words: list[str]) -> None:
    monitor.replicas.append(Address(words[0], number(words[1], 1, 65535)))


def _known_sentinel(monitor: Monitor, words: list[str]) -> None:
    if len(words) == 3 and _ID.fullmatch(words[2]):
        monitor.peers[words[2]] = Address(words[0], number(words[1], 1, 65535))


def _config_epoch(monitor: Monitor, words: list[str]) -> None:
    monitor.config_epoch = number(words[0], 0, 2**62)


def _leader_epoch(monitor: Monitor, words: list[str]) -> None:
    monitor.leader_epoch = number(words[0], 0, 2**62)


_OF_SHARD: Final[dict[str, tuple[int, Callable[[Monitor, list[str]], None]]]] = {
    **{name: _rule(name) for name in _RULES if name != "quorum"},
    "known-replica": (2, _known_replica),
    "known-slave": (2, _known_replica),
    "known-sentinel": (2, _known_sentinel),
    "config-epoch": (1, _config_epoch),
    "leader-epoch": (1, _leader_epoch),
}


def _set_myid(settings: Settings, value: str) -> None:
    if not _ID.fullmatch(value):
        raise OptionError("Malformed Sentinel id in myid option.")
    settings.myid = value


def _set_announce_ip(settings: Settings, value: str) -> None:
    settings.announce_ip = value


def _set_announce_port(settings: Settings, value: str) -> None:
    settings.announce_port = number(value, 0, 65535)


def _set_peer_user(settings: Settings, value: str) -> None:
    settings.peer_user = value or None


def _set_peer_pass(settings: Settings, value: str) -> None:
    settings.peer_pass = value or None


def _set_current_epoch(settings: Settings, value: str) -> None:
    settings.current_epoch = number(value, 0, 2**62)


def _set_resolve(settings: Settings, value: str) -> None:
    if value not in ("yes", "no"):
        raise OptionError("Please specify yes or no for the resolve-hostnames options.")


_GLOBAL: Final[dict[str, Callable[[Settings, str], None]]] = {
    "myid": _set_myid,
    "announce-ip": _set_announce_ip,
    "announce-port": _set_announce_port,
    "sentinel-user": _set_peer_user,
    "sentinel-pass": _set_peer_pass,
    "current-epoch": _set_current_epoch,
    "resolve-hostnames": _set_resolve,
    "deny-scripts-reconfig": _set_resolve,
}
