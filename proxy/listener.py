"""The endpoints: listening sockets that make clients of the connections they accept."""

from __future__ import annotations

import socket
import ssl
from typing import Final

from cluster.loop import Listener, Loop
from proxy import texts
from proxy.commands import FullClient
from proxy.hub import Hub
from proxy.session import Access


class Door(Listener):
    """One endpoint on one address: plain, or TLS when there is a context; `access` is its rule."""

    def __init__(
        self, hub: Hub, sock: socket.socket, access: Access, context: ssl.SSLContext | None, keepalive: int
    ) -> None:
        super().__init__(hub.fleet.loop, sock)
        self.hub = hub
        self.access = access
        self.context = context
        self.keepalive = keepalive

    def on_accept(self, client: socket.socket) -> None:
        """Make a client of it, unless there are too many."""
        try:
            tune(client, self.keepalive)
            peer, local = client.getpeername(), client.getsockname()
        except OSError:
            client.close()
            return
        if len(self.hub.sessions) >= self.hub.max_clients:
            self.hub.rejected += 1
            if self.context is None:
                try:
                    client.send(texts.MAX_CLIENTS)
                except OSError:
                    pass
            client.close()
            return
        sock = client
        if self.context is not None:
            try:
                sock = self.context.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
            except (OSError, ValueError):
                client.close()
                return
        addresses = (shown(peer), shown(local), str(peer[0]))
        made = FullClient(self.hub, sock, self.access, addresses, self.context is not None)
        self.hub.come(made.session, made)

    def on_accept_error(self, error: OSError) -> None:
        """Out of descriptors: the connection stays in the backlog and is tried again."""
        self.hub.noted("cannot accept a connection", str(error))


def shown(address: tuple[str, int] | tuple[str, int, int, int]) -> bytes:
    """An address as CLIENT LIST shows it; IPv6 in brackets."""
    host, port = address[0], address[1]
    return (f"[{host}]:{port}" if ":" in host else f"{host}:{port}").encode()


def tune(sock: socket.socket, keepalive: int) -> None:
    """No Nagle; probes after `keepalive` seconds of silence (0: none)."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if keepalive <= 0:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", keepalive), ("TCP_KEEPINTVL", max(keepalive // 3, 1)), ("TCP_KEEPCNT", 3)):
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


class BindError(Exception):
    """An endpoint cannot be opened; the text names host and port and why."""


_FAMILIES: Final = {True: socket.AF_INET6, False: socket.AF_INET}


def bind(hosts: tuple[str, ...], port: int, backlog: int) -> list[socket.socket]:
    """Listening sockets on every host (`*` and `` mean all, a leading `-` that a missing address is no fault).

    Port 0 takes any free one, the same on all hosts. Raises BindError.
    """
    bound: list[socket.socket] = []
    for host in hosts:
        optional = host.startswith("-") or (host == "::1" and len(hosts) > 1)
        name = host.removeprefix("-")
        name = "0.0.0.0" if name in ("", "*") else name  # noqa: S104 - what `*` means
        sock = socket.socket(_FAMILIES[":" in name], socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if sock.family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((name, port))
            sock.listen(backlog)
        except OSError as error:
            sock.close()
            if optional and bound:
                continue
            for other in bound:
                other.close()
            raise BindError(f"cannot listen on {name}:{port}: {error.strerror or error}") from error
        port = port or sock.getsockname()[1]
        bound.append(sock)
    return bound


def close_doors(loop: Loop, doors: list[Door]) -> None:
    """Stop accepting."""
    for door in doors:
        loop.remove(door)
        door.sock.close()
