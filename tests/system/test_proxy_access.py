"""The two endpoints: who gets in, what refusals say, and what a hostile client cannot do."""

from __future__ import annotations

import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
import redis

from cluster import tls
from tests.conftest import find_free_port
from tests.system.proxy_rig import Rig, Wire, command, single_rig, wait_for

PASSWORD = "correct horse"
NOAUTH = b"-NOAUTH Authentication required.\r\n"
WRONGPASS = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tls.Certificates:
    """A local authority and a server certificate."""
    return tls.ensure(tmp_path_factory.mktemp("tls"), tls.local_names(), datetime.now(UTC))


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """One shard; the tests start proxies before it as they need."""
    yield from single_rig(tmp_path_factory.mktemp("access"))


@pytest.fixture
def start(nodes: Rig, certificates: tls.Certificates, tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    """A function that starts a proxy with both endpoints and further directives."""
    started: list[Rig] = []

    def run(*directives: str) -> Rig:
        rig = Rig(tmp_path, nodes.nodes, nodes.replicas, nodes.sentinel)
        rig.tls_port = find_free_port()
        conf = tmp_path / "proxy.conf"
        conf.write_text(f'requirepass "{PASSWORD}"\n')
        files = ["--tls-cert-file", str(certificates.certificate), "--tls-key-file", str(certificates.key)]
        rig.start("--tls-port", str(rig.tls_port), *files, *directives, conf=conf)
        started.append(rig)
        return rig

    yield run
    for rig in started:
        rig.end_proxy()


@pytest.fixture
def secure(start: Callable[..., Rig]) -> Rig:
    """A proxy whose external endpoint is open to this machine."""
    return start("--allow", "127.0.0.1", "this machine")


class SecureWire(Wire):
    """A client at the level of bytes, over TLS with verification."""

    def __init__(self, rig: Rig, certificates: tls.Certificates) -> None:
        super().__init__(rig.tls_port)
        self.sock = tls.client_context(certificates.authority).wrap_socket(self.sock, server_hostname="localhost")


def test_outside_needs_tls_and_password(secure: Rig, certificates: tls.Certificates) -> None:
    """Before AUTH everything is refused; a wrong password or user is; then all is open."""
    with SecureWire(secure, certificates) as wire:
        assert wire.ask("GET", "a") == NOAUTH
        assert wire.ask("NOSUCH") == NOAUTH
        assert wire.ask("CLIENT", "LIST") == NOAUTH
        assert wire.ask("HELLO", 3).startswith(b"-NOAUTH HELLO must be called with the client already authenticated")
        assert wire.ask("AUTH", "wrong") == WRONGPASS
        assert wire.ask("AUTH", "someone", PASSWORD) == WRONGPASS
        assert wire.ask("AUTH", PASSWORD) == b"+OK\r\n"
        assert wire.ask("SET", "a", 1) == b"+OK\r\n"
        assert wire.ask("CONFIG", "GET", "maxmemory").startswith(b"-NOPERM User default has no permissions")
        assert wire.ask("RESET") == b"+RESET\r\n"
        assert wire.ask("GET", "a") == NOAUTH
        assert wire.ask("HELLO", 3, "AUTH", "default", PASSWORD, "SETNAME", "me").startswith(b"%7\r\n")
        assert wire.ask("CLIENT", "GETNAME") == b"$2\r\nme\r\n"
    assert PASSWORD not in secure.log
    assert PASSWORD not in " ".join(psutil.Process(secure.pid).cmdline())


def test_real_clients_over_tls(secure: Rig, certificates: tls.Certificates) -> None:
    """redis-py and redis-cli with certificate verification on, by the URL as it is printed."""
    url = f"rediss://default:correct%20horse@localhost:{secure.tls_port}/0"
    for protocol in (2, 3):
        with redis.from_url(url, ssl_ca_certs=str(certificates.authority), protocol=protocol) as client:
            big = b"x" * 3_000_000
            assert client.set("big", big) is True
            assert client.get("big") == big
    if shutil.which("redis-cli") is None:
        pytest.skip("redis-cli is not installed")
    done = subprocess.run(
        ["redis-cli", "--tls", "--cacert", str(certificates.authority), "-h", "localhost", "-p", str(secure.tls_port)],
        input=f'AUTH "{PASSWORD}"\nset cli 1\nincr cli\n', capture_output=True, text=True, timeout=20, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["OK", "OK", "2"]


def test_an_address_that_is_not_listed(start: Callable[..., Rig], certificates: tls.Certificates) -> None:
    """The refusal comes at AUTH and HELLO AUTH, whatever the password; before them NOAUTH; the inside stays open."""
    rig = start("--allow", "203.0.113.0/24")
    refusal = b"-Client IP address is not in the allowlist.\r\n"
    with SecureWire(rig, certificates) as wire:
        assert wire.ask("PING") == NOAUTH
        assert wire.ask("AUTH", PASSWORD) == refusal
        assert wire.ask("AUTH", "wrong") == refusal
        assert wire.ask("HELLO", 3, "AUTH", "default", PASSWORD) == refusal
        assert wire.ask("GET", "a") == NOAUTH
    with rig.wire() as wire:
        assert wire.ask("PING") == b"+PONG\r\n"


def test_without_an_entry_the_external_endpoint_is_closed(start: Callable[..., Rig]) -> None:
    """Nothing listens there, and the log says so."""
    rig = start()

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", rig.tls_port))
    assert "the allowlist has no entry" in rig.log


def test_inside_any_password_is_right(secure: Rig) -> None:
    """User default accepts any password, so that clients can move to the URL with one first."""
    with secure.wire() as wire:
        assert wire.ask("GET", "nokey") == b"$-1\r\n"
        assert wire.ask("AUTH", "anything") == b"+OK\r\n"
        assert wire.ask("AUTH", "default", "anything") == b"+OK\r\n"
        assert wire.ask("AUTH", "someone", "anything") == WRONGPASS


def test_internal_auth(start: Callable[..., Rig]) -> None:
    """With internal-auth the inside asks for the password, too."""
    rig = start("--internal-auth", "yes")
    with rig.wire() as wire:
        assert wire.ask("PING") == NOAUTH
        assert wire.ask("AUTH", "anything") == WRONGPASS
        assert wire.ask("AUTH", PASSWORD) == b"+OK\r\n"
        assert wire.ask("PING") == b"+PONG\r\n"


# --- limits
@pytest.mark.parametrize(
    ("sent", "reply"),
    [
        (b"*11\r\n", b"-ERR Protocol error: unauthenticated multibulk length\r\n"),
        (b"*1\r\n$16385\r\n", b"-ERR Protocol error: unauthenticated bulk length\r\n"),
        (b"*1\r\n$-5\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
        (b"*9999999999\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
    ],
)
def test_bounds_before_login(start: Callable[..., Rig], sent: bytes, reply: bytes) -> None:
    """Before AUTH a request is small; what is not is refused with Valkey's text, and the connection closed."""
    rig = start("--internal-auth", "yes")
    with rig.wire() as wire:
        wire.raw(sent)
        assert wire.reply() == reply
        assert wire.closed()


def test_protocol_errors_come_after_what_was_due(secure: Rig) -> None:
    """Commands before the broken one are answered first."""
    with secure.wire() as wire:
        wire.raw(command("SET", "a", 1) + command("GET", "a") + b"*1\r\nx\r\n")
        assert [wire.reply() for _ in range(3)] == [
            b"+OK\r\n",
            b"$1\r\n1\r\n",
            b"-ERR Protocol error: expected '$', got 'x'\r\n",
        ]
        assert wire.closed()


def test_inline_commands_and_quit(secure: Rig) -> None:
    """What telnet would send works, and QUIT says OK before it closes."""
    with secure.wire() as wire:
        wire.raw(b'set greeting "hello world"\r\nget greeting\r\n\r\nquit\r\n')
        assert [wire.reply() for _ in range(3)] == [b"+OK\r\n", b"$11\r\nhello world\r\n", b"+OK\r\n"]
        assert wire.closed()


def test_too_many_clients(start: Callable[..., Rig]) -> None:
    """Beyond maxclients a client is told and closed; when one leaves there is room again."""
    rig = start("--maxclients", "3")
    wires = [rig.wire() for _ in range(3)]
    for wire in wires:
        wait_for(lambda wire=wire: wire.ask("PING") == b"+PONG\r\n")
    with rig.wire() as wire:
        assert wire.reply() == b"-ERR max number of clients reached\r\n"
        assert wire.closed()
    for wire in wires:
        wire.sock.close()

    def enters() -> bool:
        with rig.wire() as wire:
            return wire.ask("PING") == b"+PONG\r\n"

    wait_for(enters)


def test_idle_clients_are_closed_and_subscribers_are_not(start: Callable[..., Rig]) -> None:
    """The timeout counts for clients that wait for nothing."""
    rig = start("--timeout", "1")
    with rig.wire() as idle, rig.wire() as sub, rig.wire() as blocked:
        sub.ask("SUBSCRIBE", "news")
        blocked.send("BLPOP", "queue", 0)
        idle.ask("PING")
        assert idle.closed()
        assert sub.ask("PING") == b"*2\r\n$4\r\npong\r\n$0\r\n\r\n"
        with rig.wire() as wire:
            wire.ask("RPUSH", "queue", "job")
        assert blocked.reply() == b"*2\r\n$5\r\nqueue\r\n$3\r\njob\r\n"


def test_a_client_that_never_reads_costs_bounded_memory(start: Callable[..., Rig]) -> None:
    """Requests for gigabytes that nobody takes stall that client; others are served, memory stays bounded."""
    rig = start("--output-limit", "16mb")
    with rig.wire() as wire, rig.wire() as other:
        wire.ask("SET", "big", b"x" * 1_000_000)
        memory = psutil.Process(rig.pid).memory_info
        before = memory().rss
        wire.sock.settimeout(1)
        try:
            for _ in range(200):
                wire.raw(command("GET", "big") * 50)
        except (TimeoutError, ConnectionError):
            pass
        assert other.ask("GET", "nokey") == b"$-1\r\n"
        assert memory().rss - before < 200 << 20


def test_handshakes_of_strangers_do_no_harm(secure: Rig, certificates: tls.Certificates) -> None:
    """Plain text on the TLS port, and a client that trusts another authority, fail for themselves alone."""
    with Wire(secure.tls_port) as plain:
        plain.raw(b"*1\r\n$4\r\nPING\r\n")
        with pytest.raises((ConnectionError, TimeoutError, AssertionError)):
            assert plain.line().startswith(b"+PONG")
    with pytest.raises(ssl.SSLCertVerificationError), Wire(secure.tls_port) as stranger:
        ssl.create_default_context().wrap_socket(stranger.sock, server_hostname="localhost")
    with SecureWire(secure, certificates) as wire:
        assert wire.ask("AUTH", PASSWORD) == b"+OK\r\n"


def test_sigterm_lets_replies_go_out(secure: Rig) -> None:
    """On SIGTERM nobody new is accepted, what is due is answered, and the process ends with 0."""
    with secure.wire() as wire:
        wire.raw(command("SET", "a", "last") * 200)
        assert wire.reply() == b"+OK\r\n"
        assert secure.process is not None
        secure.process.send_signal(signal.SIGTERM)
        assert [wire.reply() for _ in range(199)] == [b"+OK\r\n"] * 199
        assert secure.process.wait(10) == 0
        assert wire.closed()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("port 0\nservice s\nsentinel h 1", "nobody could connect"),
        ("service s\nport {taken}\nsentinel h 1", "cannot listen on 127.0.0.1:{taken}"),
        ("service s\nport 1\nnonsense 1\nsentinel h 1", "nonsense"),
        ("service s\nport 1\ntopology-file /nowhere/t.json", "/nowhere/t.json"),
    ],
)
def test_it_says_why_it_cannot_start(nodes: Rig, tmp_path: Path, text: str, said: str) -> None:
    """A wrong file, or a port that is taken, ends the process with 1 and one clear line."""
    taken = str(nodes.nodes[0].port)
    conf = tmp_path / "proxy.conf"
    conf.write_text("bind 127.0.0.1\n" + text.replace("{taken}", taken))

    done = nodes.run_proxy(str(conf))

    assert done.returncode == 1
    assert said.replace("{taken}", taken) in done.stderr
    assert "Traceback" not in done.stderr
