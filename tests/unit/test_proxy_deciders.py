"""Routing, allowlist, transactions, sessions and settings of the proxy, as pure functions."""

from __future__ import annotations

import pytest

from cluster.catalog import COMMANDS
from cluster.configfile import load_text
from cluster.options import OptionError, Options
from proxy import routing, texts
from proxy import session as sessions
from proxy.allowlist import Allowlist, AllowlistError, entry
from proxy.routing import Plan, build_plans, redirection, verdict
from proxy.session import Access, Session
from proxy.settings import ROWS, Settings, read_settings
from proxy.transaction import MAX_BYTES, Transaction

PLANS = build_plans(COMMANDS)


# --- routing
def test_every_command_of_the_catalog_has_a_plan_in_both_cases() -> None:
    """Nothing that a node knows is unknown to the proxy."""
    for name in COMMANDS:
        assert PLANS[name] is PLANS[name.upper()]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (b"get", routing.KEYED), (b"publish", routing.KEYED), (b"hset", routing.KEYED), (b"mget", routing.SPLIT),
        (b"mset", routing.SPLIT), (b"touch", routing.SPLIT), (b"msetnx", routing.KEYS), (b"rename", routing.KEYS),
        (b"sinterstore", routing.KEYS), (b"dbsize", routing.EVERY), (b"keys", routing.EVERY),
        (b"flushall", routing.EVERY), (b"time", routing.ANY), (b"command", routing.ANY),
        (b"blpop", routing.BLOCK), (b"blmove", routing.BLOCK),
        (b"multi", routing.LOCAL), (b"client", routing.LOCAL), (b"scan", routing.LOCAL), (b"config", routing.LOCAL),
        (b"shutdown", routing.REFUSED), (b"kvorum", routing.REFUSED), (b"psync", routing.REFUSED),
        (b"cluster", routing.NO_CLUSTER),
    ],
)  # fmt: skip
def test_kind_of_command(name: bytes, kind: int) -> None:
    """A command's plan follows from its row."""
    assert PLANS[name].kind == kind


def test_only_what_cannot_have_written_may_be_repeated() -> None:
    """No plan that writes is safe, in the catalog as a whole."""
    for name, row in COMMANDS.items():
        if "write" in row.flag_names():
            assert not PLANS[name].safe, name
    assert not PLANS[b"publish"].safe
    assert PLANS[b"get"].safe
    assert PLANS[b"mget"].safe


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (b"-MOVED 1 h:1\r\n", routing.MOVED),
        (b"-ASK 1 h:1\r\n", routing.ASK),
        (b"-READONLY You can't write against a read only replica.\r\n", routing.WAIT),
        (b"-LOADING x\r\n", routing.WAIT),
        (b"-CLUSTERDOWN x\r\n", routing.WAIT),
        (b"-MASTERDOWN x\r\n", routing.WAIT),
        (b"-UNBLOCKED x\r\n", routing.WAIT),
        (b"-ERR MOVED\r\n", routing.FINAL),
        (b"-WRONGTYPE x\r\n", routing.FINAL),
        (b"-OOM x\r\n", routing.FINAL),
        (b"-MOVED\r\n", routing.FINAL),
    ],
)
def test_verdict_of_errors(reply: bytes, expected: int) -> None:
    """Only errors that say 'not executed' lead to another try."""
    assert verdict(reply) == expected


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (b"-MOVED 42 10.0.0.1:7000\r\n", (42, "10.0.0.1", 7000)),
        (b"-ASK 42 ::1:7000\r\n", (42, "::1", 7000)),
        (b"-MOVED 42 :7000\r\n", (42, "", 7000)),
        (b"-MOVED x 10.0.0.1:7000\r\n", None),
        (b"-MOVED 42 10.0.0.1\r\n", None),
        (b"-MOVED 16384 h:1\r\n", None),
        (b"-MOVED 42 h:99999\r\n", None),
    ],
)
def test_redirection(reply: bytes, expected: tuple[int, str, int] | None) -> None:
    """Slot and address of a redirection, and nothing from a malformed one."""
    assert redirection(reply) == expected


# --- allowlist
@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("203.0.113.5", True), ("203.0.113.6", False), ("198.51.100.77", True), ("::ffff:198.51.100.1", True),
        ("2001:db8::1", True), ("2001:db9::1", False), ("fe80::1%eth0", False), ("nonsense", False), ("", False),
    ],
)  # fmt: skip
def test_allowlist(address: str, expected: bool) -> None:
    """Single addresses, networks with host bits set, both families, and what is no address."""
    allowed = Allowlist((entry("203.0.113.5"), entry("198.51.100.9/24", "office"), entry("2001:db8::/32")))

    assert allowed.permits(address) is expected


def test_an_empty_allowlist_permits_nobody() -> None:
    """No entry, no access; and the open network permits all of its family."""
    assert not Allowlist()
    assert not Allowlist().permits("127.0.0.1")
    assert Allowlist((entry("0.0.0.0/0"),)).permits("192.0.2.1")
    assert not Allowlist((entry("0.0.0.0/32"),)).permits("192.0.2.1")


def test_a_bad_entry_is_named() -> None:
    """The error shows what was written."""
    with pytest.raises(AllowlistError, match=r"'10\.0\.0/8'"):
        entry("10.0.0/8")


# --- transactions
def plan(name: bytes) -> Plan:
    """The plan of a command."""
    return PLANS[name]


def test_a_transaction_is_sent_whole() -> None:
    """MULTI, the commands as they came, EXEC."""
    tx = Transaction()

    assert tx.queue(plan(b"get"), b"<get>", 5, False) == texts.QUEUED
    assert tx.queue(plan(b"ping"), b"<ping>", -1, False) == texts.QUEUED
    assert tx.queue(plan(b"set"), b"<set>", 5, False) == texts.QUEUED
    assert tx.request() == b"*1\r\n$5\r\nMULTI\r\n<get><ping><set>*1\r\n$4\r\nEXEC\r\n"
    assert (tx.slot, tx.dirty) == (5, False)


@pytest.mark.parametrize(
    ("name", "slot", "single", "refusal"),
    [
        (b"get", 6, False, texts.CROSSSLOT),
        (b"get", -2, False, texts.CROSSSLOT),
        (b"dbsize", -1, False, texts.not_in_multi(b"dbsize")),
        (b"subscribe", -1, True, texts.not_in_multi(b"subscribe")),
        (b"select", -1, True, texts.not_in_multi(b"select")),
        (b"dbsize", -1, True, texts.QUEUED),
        (b"scan", -1, True, texts.QUEUED),
        (b"blpop", 5, False, texts.QUEUED),
    ],
)
def test_what_a_transaction_takes(name: bytes, slot: int, single: bool, refusal: bytes) -> None:
    """Keys of one slot, and nothing that changes the connection; a refusal makes EXEC fail."""
    tx = Transaction()
    tx.queue(plan(b"get"), b"<get>", 5, single)

    assert tx.queue(plan(name), b"<x>", slot, single) == refusal
    assert tx.dirty is (refusal != texts.QUEUED)


def test_a_transaction_is_bounded() -> None:
    """Its size has a limit, since it is kept here."""
    tx = Transaction()
    big = b"x" * (MAX_BYTES - 10)

    assert tx.queue(plan(b"set"), big, 5, False) == texts.QUEUED
    assert tx.queue(plan(b"set"), b"x" * 11, 5, False) == texts.TX_TOO_LARGE


# --- sessions
def make(number: int, required: bool = False, now: float = 0.0) -> Session:
    """A session at port `number`."""
    return Session(number, Access(False, required, b"secret"), b"127.0.0.1:%d" % number, b"l", "127.0.0.1", now)


@pytest.mark.parametrize(
    ("access", "user", "password", "expected"),
    [
        (Access(False, False, b""), b"default", b"anything", True),
        (Access(False, False, b""), b"other", b"anything", False),
        (Access(True, True, b"pw"), b"default", b"pw", True),
        (Access(True, True, b"pw"), b"default", b"pw2", False),
        (Access(True, True, b"pw"), b"other", b"pw", False),
        (Access(True, True, b""), b"default", b"", False),
    ],
)
def test_access(access: Access, user: bytes, password: bytes, expected: bool) -> None:
    """Any password inside until one is asked for; the right one outside, for the one user there is."""
    assert access.admits(user, password) is expected


def test_client_list_filters() -> None:
    """CLIENT LIST by type and id; a wrong word is a syntax error."""
    one, two = make(1), make(2)
    two.channels = 3
    both = [one, two]

    assert sessions.client_list([b"client", b"list"], both, 2, 5.0).count(b"id=") == 2
    assert b"id=2 " in sessions.client_list([b"client", b"list", b"TYPE", b"pubsub"], both, 2, 5.0)
    assert b"id=2 " not in sessions.client_list([b"client", b"list", b"id", b"1", b"7"], both, 2, 5.0)
    assert sessions.client_list([b"client", b"list", b"x"], both, 2, 5.0) == texts.SYNTAX


def test_client_kill_spares_oneself_by_default() -> None:
    """SKIPME is yes in the new form; the old form takes an address."""
    one, two = make(1), make(2)
    both = [one, two]

    assert sessions.kill_targets([b"client", b"kill", b"user", b"default"], both, one) == (b"", [two], False)
    assert sessions.kill_targets([b"client", b"kill", b"id", b"1", b"skipme", b"no"], both, one) == (b"", [one], False)
    assert sessions.kill_targets([b"client", b"kill", b"127.0.0.1:2"], both, one) == (b"", [two], True)
    assert sessions.kill_targets([b"client", b"kill", b"1.2.3.4:5"], both, one)[0].startswith(b"-ERR No such client")


@pytest.mark.parametrize("name", [b"a b", b"a\n", b"\xc3\xa9"])
def test_client_names_are_plain(name: bytes) -> None:
    """Names with spaces, line breaks or other special characters are refused."""
    one = make(1)

    assert sessions.set_name(one, name) == texts.BAD_NAME
    assert one.name == b""


# --- settings
def settings(text: str) -> Settings:
    """The settings of a file with this text."""
    options = Options(ROWS)
    load_text(options, text.encode(), "test")
    return read_settings(options)


def test_settings_of_a_whole_file() -> None:
    """The directives of a proxy come out with their types."""
    read = settings(
        """
        service cache
        bind 127.0.0.1
        port 6379
        tls-port 6380
        tls-cert-file /c.pem
        tls-key-file /k.pem
        requirepass s3cret
        sentinel 127.0.0.1 26379
        sentinel 127.0.0.1 26380
        allow 203.0.113.0/24 "the office"
        park-timeout-ms 1500
        park-bytes 1mb
        """
    )

    assert read.sentinels == (("127.0.0.1", 26379), ("127.0.0.1", 26380))
    assert (read.park_timeout, read.park_bytes, read.password) == (1.5, 1 << 20, b"s3cret")
    assert read.allowlist.permits("203.0.113.9")
    assert read.allowlist.entries[0].description == "the office"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("port 1\nsentinel h 1", "service"),
        ("service s\nport 0\nsentinel h 1", "port"),
        ("service s\ntls-port 5\nsentinel h 1", "tls-port"),
        ("service s\ninternal-auth yes\nsentinel h 1", "internal-auth"),
        ("service s", "sentinel"),
        ("service s\nsentinel h x", "sentinel"),
        ("service s\nsentinel h 1\nallow nowhere", "allow"),
    ],
)
def test_settings_that_do_not_fit(text: str, named: str) -> None:
    """A contradiction names the option to blame."""
    with pytest.raises(OptionError) as caught:
        settings(text)

    assert caught.value.name == named
