"""Certificates: a local certificate authority and the server certificate that it signs, kept in a folder across runs.

The authority's certificate is a file to hand to clients, so that nobody has to turn verification off. Keys are ECDSA
P-256. The server certificate is made anew when it nears its end, when a name is missing from it, or when it is not
from this authority; the authority itself only when it nears its own end.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cluster.files import write_file

AUTHORITY_LIFE: Final = timedelta(days=3650)
SERVER_LIFE: Final = timedelta(days=397)  # the longest that browsers and Apple's TLS accept
RENEW_BEFORE: Final = timedelta(days=60)
CLOCK_SKEW: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Certificates:
    """Paths of the files: the authority's certificate for clients, the server's certificate chain and its key."""

    authority: Path
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class _Pair:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def local_names() -> tuple[str, ...]:
    """The names and addresses by which clients reach this machine from itself, and its host name."""
    return tuple(dict.fromkeys(("localhost", "127.0.0.1", "::1", socket.gethostname())))


def ensure(folder: Path, names: Iterable[str], now: datetime) -> Certificates:
    """Make sure that `folder` holds an authority and a server certificate for `names`, valid beyond `now` (with zone).

    Keys are readable by the owner alone. Raises OSError when the folder cannot be written.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = Certificates(folder / "ca.crt", folder / "server.crt", folder / "server.key")
    authority_key = folder / "ca.key"
    authority = _load(files.authority, authority_key)
    if authority is None or _ends_soon(authority.certificate, now):
        authority = _make_authority(now)
        _store(authority, files.authority, authority_key)
    wanted = tuple(dict.fromkeys(names))
    server = _load(files.certificate, files.key)
    if server is None or not _fits(server.certificate, authority.certificate, wanted, now):
        _store(_make_server(authority, wanted, now), files.certificate, files.key, authority.certificate)
    return files


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """The context of a server that speaks TLS 1.2 and 1.3; raises OSError or ssl.SSLError for unusable files."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    return context


def client_context(authority: Path) -> ssl.SSLContext:
    """The context of a client that trusts this authority alone and checks the server's name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(authority)
    return context


def _load(certificate: Path, key: Path) -> _Pair | None:
    """The pair in these files, or None when they are missing, broken, or do not belong together."""
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
        secret = serialization.load_pem_private_key(key.read_bytes(), password=None)
    except (OSError, ValueError, TypeError):
        return None
    if not isinstance(secret, ec.EllipticCurvePrivateKey) or secret.public_key() != found.public_key():
        return None
    os.chmod(key, 0o600)
    return _Pair(found, secret)


def _ends_soon(certificate: x509.Certificate, now: datetime) -> bool:
    return not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc - RENEW_BEFORE


def _fits(certificate: x509.Certificate, authority: x509.Certificate, names: tuple[str, ...], now: datetime) -> bool:
    if _ends_soon(certificate, now):
        return False
    try:
        certificate.verify_directly_issued_by(authority)
        held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (InvalidSignature, ValueError, TypeError, x509.ExtensionNotFound):
        return False
    return set(_general_names(names)) <= set(held)


def _general_names(names: Iterable[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            try:
                found.append(x509.DNSName(name.encode("idna").decode("ascii")))
            except UnicodeError:
                continue  # a host name that no client could ask for
    return found


def _named(common: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Kvorum"), x509.NameAttribute(NameOID.COMMON_NAME, common)]
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _make_authority(now: datetime) -> _Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _named(f"Kvorum local authority {now:%Y-%m-%d}")
    certificate = (
        _builder(name, name, key, now, AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return _Pair(certificate, key)


def _make_server(authority: _Pair, names: tuple[str, ...], now: datetime) -> _Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = authority.certificate
    certificate = (
        _builder(_named("Kvorum"), issuer.subject, key, now, SERVER_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(_general_names(names)), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()),
            critical=False,
        )
        .sign(authority.key, hashes.SHA256())
    )
    return _Pair(certificate, key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _store(pair: _Pair, certificate: Path, key: Path, *chain: x509.Certificate) -> None:
    """Write the key first: a certificate without its key would be kept by nobody, see `_load`."""
    secret = pair.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_file(key, secret, mode=0o600)
    pem = [one.public_bytes(serialization.Encoding.PEM) for one in (pair.certificate, *chain)]
    write_file(certificate, b"".join(pem), mode=0o644)
