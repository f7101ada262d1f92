"""Who may log in from outside: a list of networks, each with a description. A pure decision about an address."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TypeAlias

Network: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"


class AllowlistError(ValueError):
    """An entry that is no IP address and no network in CIDR notation."""


@dataclass(frozen=True)
class Entry:
    """One line of the list: a network and what the operator calls it."""

    network: Network
    description: str = ""


def entry(source: str, description: str = "") -> Entry:
    """Read `203.0.113.5`, `203.0.113.0/24` or `2001:db8::/32`; host bits may be set. Raises AllowlistError."""
    try:
        return Entry(ipaddress.ip_network(source.strip(), strict=False), description)
    except ValueError as error:
        raise AllowlistError(f"'{source}' is no IP address and no network such as 203.0.113.0/24") from error


class Allowlist:
    """The entries of a service. An empty list permits nobody, and then the external endpoint is not opened at all."""

    def __init__(self, entries: tuple[Entry, ...] = ()) -> None:
        self.entries = entries

    def __bool__(self) -> bool:
        return bool(self.entries)

    def __repr__(self) -> str:
        return f"<Allowlist {', '.join(str(e.network) for e in self.entries) or 'nobody'}>"

    def permits(self, address: str) -> bool:
        """Whether a peer with this address may log in; an IPv4 address in IPv6 clothes counts as IPv4."""
        try:
            ip = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        return any(ip.version == e.network.version and ip in e.network for e in self.entries)
