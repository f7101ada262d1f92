"""The proxy's options, one row each, and what they come to: a frozen `Settings`, checked as a whole. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cluster.options import I32_MAX, I64_MAX, Kind, Option, OptionError, Options
from proxy.allowlist import Allowlist, AllowlistError, entry

ROWS: Final[tuple[Option, ...]] = (
    Option("service", Kind.TEXT, immutable=True),
    Option("bind", Kind.WORDS, "127.0.0.1 ::1", high=16, immutable=True),
    Option("port", Kind.NUMBER, "6379", high=65535, immutable=True),  # internal, plain; 0: off
    Option("tls-port", Kind.NUMBER, "0", high=65535, immutable=True),  # external; 0: off
    Option("tls-bind", Kind.WORDS, high=16, immutable=True),  # of the external endpoint; empty: as bind
    Option("tls-cert-file", Kind.TEXT, immutable=True),
    Option("tls-key-file", Kind.TEXT, immutable=True),
    Option("topology-file", Kind.TEXT, immutable=True),
    Option("sentinel", Kind.LINES, low=2, high=2),
    Option("sentinel-auth", Kind.TEXT, sensitive=True),
    Option("requirepass", Kind.TEXT, sensitive=True),
    Option("internal-auth", Kind.FLAG, "no"),
    Option("upstream-auth", Kind.TEXT, sensitive=True),
    Option("allow", Kind.LINES, low=1, high=2),
    Option("maxclients", Kind.NUMBER, "10000", low=1),
    Option("timeout", Kind.NUMBER, "0"),
    Option("tcp-keepalive", Kind.NUMBER, "300"),
    Option("tcp-backlog", Kind.NUMBER, "511", high=65535, immutable=True),
    Option("park-timeout-ms", Kind.NUMBER, "5000", high=3_600_000),
    Option("park-bytes", Kind.MEMORY, "64mb", high=I64_MAX),
    Option("unknown-outcome", Kind.ENUM, "close", choices=("close", "error")),
    Option("output-limit", Kind.MEMORY, "1gb", low=1 << 20, high=I64_MAX),
    Option("pubsub-output-limit", Kind.MEMORY, "32mb", low=1 << 20, high=I64_MAX),
    Option("loglevel", Kind.ENUM, "notice", choices=("debug", "verbose", "notice", "warning", "nothing"), high=I32_MAX),
)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the options say, in the types in which they are used; times in seconds, sizes in bytes."""

    service: str
    bind: tuple[str, ...]
    port: int
    tls_port: int
    tls_bind: tuple[str, ...]
    certificate: str
    key: str
    topology_file: str
    sentinels: tuple[tuple[str, int], ...]
    sentinel_auth: str
    password: bytes
    internal_auth: bool
    upstream_auth: bytes
    allowlist: Allowlist
    max_clients: int
    timeout: int
    keepalive: int
    backlog: int
    park_timeout: float
    park_bytes: int
    cut_unknown: bool
    output_limit: int
    pubsub_limit: int
    log_level: str


def read_settings(options: Options) -> Settings:
    """The settings of loaded options. Raises OptionError, naming the option that does not fit with the others."""
    service = options.string("service")
    if not service:
        raise OptionError("the name of the service is missing", "service")
    port, tls_port = options.number("port"), options.number("tls-port")
    if not port and not tls_port:
        raise OptionError("port and tls-port are both 0: nobody could connect", "port")
    if tls_port and not (options.text("tls-cert-file") and options.text("tls-key-file")):
        raise OptionError("needs tls-cert-file and tls-key-file", "tls-port")
    password = options.text("requirepass")
    if options.flag("internal-auth") and not password:
        raise OptionError("needs requirepass", "internal-auth")
    if tls_port and not password:
        raise OptionError("the external endpoint needs requirepass", "tls-port")
    if not options.lines("sentinel") and not options.text("topology-file"):
        raise OptionError("needs at least one sentinel, or a topology-file", "sentinel")
    return Settings(
        service,
        tuple([word.decode("utf-8", "surrogateescape") for word in options.words("bind")]),
        port,
        tls_port,
        tuple([word.decode("utf-8", "surrogateescape") for word in options.words("tls-bind") or options.words("bind")]),
        options.string("tls-cert-file"),
        options.string("tls-key-file"),
        options.string("topology-file"),
        tuple([_address(line) for line in options.lines("sentinel")]),
        options.string("sentinel-auth"),
        password,
        options.flag("internal-auth"),
        options.text("upstream-auth"),
        _allowlist(options),
        options.number("maxclients"),
        options.number("timeout"),
        options.number("tcp-keepalive"),
        options.number("tcp-backlog"),
        options.number("park-timeout-ms") / 1000,
        options.number("park-bytes"),
        options.string("unknown-outcome") == "close",
        options.number("output-limit"),
        options.number("pubsub-output-limit"),
        options.string("loglevel"),
    )


def _address(line: tuple[bytes, ...]) -> tuple[str, int]:
    if not line[1].isdigit() or not 0 < int(line[1][:6]) < 65536:
        raise OptionError("a host and a port are expected", "sentinel")
    return line[0].decode("utf-8", "surrogateescape"), int(line[1])


def _allowlist(options: Options) -> Allowlist:
    entries = []
    for line in options.lines("allow"):
        words = [word.decode("utf-8", "replace") for word in line]
        try:
            entries.append(entry(words[0], words[1] if len(words) > 1 else ""))
        except AllowlistError as error:
            raise OptionError(str(error), "allow") from error
    return Allowlist(tuple(entries))
