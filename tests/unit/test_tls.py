"""The local certificate authority."""

from __future__ import annotations

import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio

from cluster import tls

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = ("localhost", "127.0.0.1", "::1", "box.example")


def contents(files: tls.Certificates) -> tuple[bytes, bytes, bytes]:
    """Authority, certificate and key as they are on disk."""
    return files.authority.read_bytes(), files.certificate.read_bytes(), files.key.read_bytes()


def test_files_are_private_where_they_hold_keys(tmp_path: Path) -> None:
    """Keys are for the owner alone, certificates for everybody."""
    tls.ensure(tmp_path / "tls", NAMES, NOW)

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "tls").iterdir()}
    assert modes == {"ca.crt": 0o644, "ca.key": 0o600, "server.crt": 0o644, "server.key": 0o600}


def test_the_same_files_serve_again(tmp_path: Path) -> None:
    """A second run, and one with fewer names, changes nothing."""
    first = contents(tls.ensure(tmp_path, NAMES, NOW))

    assert contents(tls.ensure(tmp_path, NAMES, NOW + timedelta(days=300))) == first
    assert contents(tls.ensure(tmp_path, NAMES[:2], NOW)) == first


@pytest.mark.parametrize(
    ("days", "names", "same"),
    [
        (340, NAMES, (True, False, False)),
        (0, (*NAMES, "other.example"), (True, False, False)),
        (3600, NAMES, (False, False, False)),
        (-2, NAMES, (False, False, False)),
    ],
)
def test_renewal(tmp_path: Path, days: int, names: tuple[str, ...], same: tuple[bool, ...]) -> None:
    """Before its end or for a new name the server's certificate is renewed; clients keep the authority."""
    first = contents(tls.ensure(tmp_path, NAMES, NOW))
    second = contents(tls.ensure(tmp_path, names, NOW + timedelta(days=days)))

    assert tuple(a == b for a, b in zip(first, second, strict=True)) == same


def test_a_key_that_does_not_belong_is_replaced(tmp_path: Path) -> None:
    """A broken or foreign key leads to a new pair, not to a server that cannot start."""
    files = tls.ensure(tmp_path, NAMES, NOW)
    files.key.write_bytes(b"no key")
    tls.ensure(tmp_path, NAMES, NOW)
    tls.server_context(files.certificate, files.key)
    (tmp_path / "ca.key").unlink()
    old = files.authority.read_bytes()
    tls.ensure(tmp_path, NAMES, NOW)

    assert files.authority.read_bytes() != old
    tls.server_context(files.certificate, files.key)


@pytest.mark.parametrize(("name", "fits"), [("localhost", True), ("box.example", True), ("evil.example", False)])
async def test_a_client_that_verifies_is_served(tmp_path: Path, name: str, fits: bool) -> None:
    """A handshake with verification on succeeds for each name of the certificate, and for no other."""
    files = tls.ensure(tmp_path, NAMES, datetime.now(UTC))
    ours, theirs = trio.testing.memory_stream_pair()
    server = trio.SSLStream(ours, tls.server_context(files.certificate, files.key), server_side=True)
    client = trio.SSLStream(theirs, tls.client_context(files.authority), server_hostname=name)
    outcome: list[BaseException] = []

    async def shake(stream: trio.SSLStream[trio.abc.Stream]) -> None:
        try:
            await stream.do_handshake()
        except trio.BrokenResourceError as error:
            outcome.append(error)
            await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(shake, server)
        nursery.start_soon(shake, client)

    assert (not outcome) == fits
    if not fits:
        assert any(isinstance(error.__cause__, ssl.SSLCertVerificationError) for error in outcome)
