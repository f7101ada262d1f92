"""Which ports are free, and what is said of those that are not."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from cluster.agent import ports


def test_a_free_port_and_one_that_is_taken() -> None:
    """A listener takes its port on its address; when it is gone the port is free at once."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert not ports.is_free(port)
        with pytest.raises(
            ports.PortError, match=rf"port {port}, wanted for a test, is taken by .*Stop that, or try 1$"
        ):
            ports.check(port, ("127.0.0.1",), "a test", "try 1")

    assert ports.is_free(port)
    ports.check(port, ports.loopback_addresses(), "a test", "try 1")


def test_the_holder_is_named() -> None:
    """Our own process can be seen by any user."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert f"(pid {os.getpid()})" in ports.holder(taken.getsockname()[1])


def test_a_holder_that_cannot_be_seen() -> None:
    """Then the message says how to find out."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]

        assert ports.holder(port) == f"another process (see which: sudo ss -ltnp 'sport = :{port}')"


@pytest.mark.parametrize(
    ("code", "message"),
    [(errno.EACCES, "needs more rights than this user has; try 1"), (errno.ENOBUFS, "cannot listen on 127.0.0.1:80")],
)
def test_other_reasons(monkeypatch: pytest.MonkeyPatch, code: int, message: str) -> None:
    """A privileged port, and whatever else the system may say, are told as what they are."""
    monkeypatch.setattr(ports, "why_not", lambda address, port: OSError(code, os.strerror(code)))

    with pytest.raises(ports.PortError, match=message):
        ports.check(80, ("127.0.0.1",), "a test", "try 1")


def test_an_address_that_this_machine_lacks_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without IPv6 the other addresses still serve."""
    monkeypatch.setattr(ports, "why_not", lambda address, port: OSError(errno.EADDRNOTAVAIL, "no such address"))

    assert ports.check(80, ("::1",), "a test", "try 1") is None


def test_the_loopback_comes_first() -> None:
    """127.0.0.1 is always there, ::1 where there is IPv6."""
    assert ports.loopback_addresses() in (("127.0.0.1",), ("127.0.0.1", "::1"))
