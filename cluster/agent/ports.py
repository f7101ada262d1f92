"""Which ports are free, and who has one that is not."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterable

import psutil


class PortError(Exception):
    """A port that is needed cannot be had; the text names it, who has it if that can be told, and what to do."""


def loopback_addresses() -> tuple[str, ...]:
    """The addresses of the loopback that this machine has: 127.0.0.1, and ::1 where there is IPv6."""
    if socket.has_ipv6:
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
            return ("127.0.0.1", "::1")
    return ("127.0.0.1",)


def why_not(address: str, port: int) -> OSError | None:
    """Why a server could not listen there now, or None when it could."""
    address = {"*": "0.0.0.0", "-::": "::"}.get(address, address)  # noqa: S104 - a question, not an open port
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((address, port))
            probe.listen(1)
    except OSError as error:
        return error
    return None


def is_free(port: int, address: str = "127.0.0.1") -> bool:
    """Could a server listen there now?"""
    return why_not(address, port) is None


def check(port: int, addresses: Iterable[str], what: str, remedy: str) -> None:
    """Raise PortError unless a server could listen on all addresses; `what` is its use, `remedy` another way."""
    for address in addresses:
        error = why_not(address, port)
        if error is None or error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            continue
        if error.errno == errno.EADDRINUSE:
            raise PortError(f"port {port}, wanted for {what}, is taken by {holder(port)}. Stop that, or {remedy}")
        if error.errno == errno.EACCES:
            raise PortError(f"port {port}, wanted for {what}, needs more rights than this user has; {remedy}")
        raise PortError(f"cannot listen on {address}:{port} for {what}: {error.strerror}; {remedy}")


def holder(port: int) -> str:
    """Who listens on a port, as far as this user may know."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
                if connection.pid is None:
                    break
                return f"{_title(connection.pid)} (pid {connection.pid})"
    return f"another process (see which: sudo ss -ltnp 'sport = :{port}')"


def _title(pid: int) -> str:
    """The name of a process; of an interpreter, the module that it runs."""
    with contextlib.suppress(psutil.Error, OSError):
        process = psutil.Process(pid)
        words = process.cmdline()
        if "-m" in words[:-1]:
            return f"'{process.name()} -m {words[words.index('-m') + 1]}'"
        return f"'{process.name()}'"
    return "a process"
