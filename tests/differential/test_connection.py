"""The connection family and CLIENT against genuine Valkey, byte for byte."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.differential.twins import Line, Twins, start_twins

BOTH = pytest.mark.parametrize("protocol", [2, 3], ids=["resp2", "resp3"])

SAMPLES = ("string", "integer", "double", "bignum", "null", "array", "set", "map", "attrib", "push", "verbatim",
           "true", "false", "foo")  # fmt: skip

# Fields of CLIENT lines that must agree; addresses, ids, memory and byte counts are each server's own.
AGREED = ("name", "flags", "capa", "db", "sub", "psub", "ssub", "watch", "cmd", "user", "redir", "resp",
          "lib-name", "lib-ver", "events", "qbuf", "obl", "oll", "omem")  # fmt: skip


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """One pair for the module."""
    with start_twins(tmp_path_factory.mktemp("twins")) as found:
        yield found


@pytest.fixture
def twins(servers: Twins) -> Iterator[Twins]:
    """The pair; clients are closed after each test."""
    yield servers
    servers.hang_up()


def greeting(reply: bytes) -> bytes:
    """A HELLO reply without version, id and modules."""
    reply = re.sub(rb"version\r\n\$\d+\r\n[0-9.]+", b"version", reply)
    reply = re.sub(rb"id\r\n:\d+", b"id", reply)
    return reply.split(b"modules")[0]


def clients(reply: bytes) -> object:
    """CLIENT LIST or INFO as the agreed fields of each line, and all field names."""
    if reply[:1] not in (b"$", b"="):
        return reply
    lines = reply.split(b"\r\n", 1)[1].decode().strip().removeprefix("txt:").splitlines()
    parsed = [dict(field.split("=", 1) for field in line.split(" ")) for line in lines]
    return reply[:1], [(list(fields), [fields[name] for name in AGREED]) for fields in parsed]


@BOTH
@pytest.mark.parametrize(
    "line",
    [
        "PING", "PING hello", "PING a b", "PING \"\"", "ECHO", "ECHO x", "ECHO x y", "ECHO \"\"",
        "SELECT", "SELECT a", "SELECT -1", "SELECT 16", "SELECT 01", "SELECT 15", "SELECT 99999999999",
        "SELECT 4294967296",
        "AUTH", "AUTH x", "AUTH default x", "AUTH default \"\"", "AUTH nobody x", "AUTH a b c",
        "HELLO 4", "HELLO 1", "HELLO a", "HELLO 3 AUTH", "HELLO 3 AUTH default", "HELLO 2 AUTH nobody x",
        "HELLO 2 SETNAME", "HELLO 2 SETNAME a_b", "HELLO 2 FOO", "HELLO 2 FOO bar", "HELLO 2 setname x AUTH a",
        "HELLO 99999999999999999999", "HELLO \"\"",
        "RESET x", "QUIT x y",
    ],
)  # fmt: skip
def test_one_command(twins: Twins, line: str, protocol: int) -> None:
    """One command on a fresh connection, and one after it."""
    client = twins.client(protocol)

    client.same(line)
    client.same("CLIENT GETNAME")


@BOTH
@pytest.mark.parametrize(
    "line",
    ["HELLO", "HELLO 2", "HELLO 3", "HELLO 3 SETNAME bob", "hello 2 auth default x setname x", "HELLO 2 SETNAME \"\""],
)
def test_hello(twins: Twins, line: str, protocol: int) -> None:
    """HELLO greets with the same fields, switches the protocol and sets the name."""
    client = twins.client(protocol)

    client.same(line, normal=greeting)
    client.same("CLIENT GETNAME")
    client.same("DEBUG PROTOCOL null")


@BOTH
def test_names_and_libraries(twins: Twins, protocol: int) -> None:
    """SETNAME, SETINFO and what CLIENT INFO makes of them."""
    client = twins.client(protocol)
    for line in (
        "CLIENT GETNAME", "CLIENT SETNAME bob", "CLIENT GETNAME", "CLIENT SETNAME a_b", "CLIENT SETNAME \"\"",
        "CLIENT GETNAME", "CLIENT SETNAME x\ny", "CLIENT SETNAME \x7f", "CLIENT SETNAME é", "CLIENT SETNAME !~",
        "CLIENT SETINFO LIB-NAME lib", "CLIENT SETINFO lib-ver 1.2", "CLIENT SETINFO LIB-NAME a_b",
        "CLIENT SETINFO foo bar",
        "CLIENT SETINFO Lib-Ver a_b", "CLIENT SETINFO LIB-NAME", "CLIENT", "CLIENT FOO", "CLIENT ID x",
        "CLIENT GETNAME x",
        "CLIENT SETNAME", "CLIENT INFO x",
    ):  # fmt: skip
        client.same(line)
    client.same("SELECT 3")
    client.same("CLIENT INFO", normal=clients)


@BOTH
def test_states_in_client_info(twins: Twins, protocol: int) -> None:
    """Transactions, watches, subscriptions and modes show in the line of the client."""
    client = twins.client(protocol)
    other = twins.client()
    client.same("WATCH a b")
    other.same("SET a 1")
    client.same("CLIENT INFO", normal=clients)
    client.same("UNWATCH")
    client.same("CLIENT NO-EVICT on")
    client.same("CLIENT NO-TOUCH ON")
    client.same("CLIENT INFO", normal=clients)
    client.same("CLIENT NO-TOUCH off")
    client.same("CLIENT NO-EVICT OFF")
    client.same("MULTI")
    client.same("CLIENT GETNAME")
    client.same("CLIENT INFO")
    exec_theirs, exec_ours = client.both("EXEC")
    assert exec_theirs[:6] == exec_ours[:6]
    client.same("SUBSCRIBE x y", replies=2)
    client.same("PSUBSCRIBE p*")
    client.same("SSUBSCRIBE s")
    other.same("CLIENT LIST TYPE pubsub", normal=clients)
    client.same("PING")
    client.same("PING hi")
    client.same("RESET")
    client.same("CLIENT INFO", normal=clients)
    client.same("PING")


@BOTH
def test_reply_modes(twins: Twins, protocol: int) -> None:
    """OFF and SKIP leave out exactly the replies that Valkey leaves out."""
    client = twins.client(protocol)
    client.same("CLIENT REPLY on")
    client.same("CLIENT REPLY skip", replies=0)
    client.same("ECHO a", replies=0)
    client.same("ECHO b")
    client.same("CLIENT REPLY OFF", replies=0)
    client.same("ECHO a", replies=0)
    client.same("NOSUCHCOMMAND", replies=0)
    client.same("CLIENT REPLY SKIP", replies=0)
    client.same("CLIENT REPLY foo", replies=0)
    client.same("CLIENT REPLY ON")
    client.same("CLIENT REPLY foo")
    client.same("CLIENT REPLY SKIP", replies=0)
    client.same("NOSUCHCOMMAND", replies=0)
    client.same("CLIENT REPLY SKIP", replies=0)
    client.same("CLIENT REPLY ON")
    client.same("CLIENT REPLY OFF", replies=0)
    client.same("RESET")
    client.same("ECHO c")
    client.same("MULTI")
    client.same("CLIENT REPLY OFF")
    client.same("EXEC")


FILTERS = [
    "TYPE foo", "TYPE", "TYPE normal", "TYPE Normal TYPE pubsub", "TYPE replica", "TYPE slave", "TYPE master",
    "TYPE primary",
    "ID", "ID a", "ID -1", "ID 0", "ID 999999", "ID 999999 999998", "ID 999999 x", "ID 999999 SKIPME yes",
    "USER nobody", "USER default", "USER default NAME me", "SKIPME maybe", "SKIPME yes NAME me", "SKIPME no NAME me",
    "MAXAGE a", "MAXAGE -1", "MAXAGE 0", "MAXAGE 100000", "IDLE x", "IDLE -1", "IDLE 0", "IDLE 100000",
    "FLAGS zQ", "FLAGS N NAME me", "FLAGS P", "FLAGS x", "DB 99", "DB x", "DB -1", "DB 0 NAME me", "DB 5 NAME me",
    "CAPA x", "CAPA r", "IP 1.2.3.4", "IP 127.0.0.1 NAME me", "ADDR foo LADDR bar", "LIB-NAME", "LIB-NAME lib NAME me",
    "LIB-VER nope", "NAME nobody", "NAME \"\" LIB-NAME none", "FOO", "FOO bar", "NOT-TYPE normal", "NOT-USER default",
    "NOT-FLAGS N", "NOT-NAME me NAME me", "NOT-NAME you NAME me", "NOT-ID 999999 NAME me", "NOT-DB 0",
    "NOT-DB 3 NAME me",
    "NOT-LIB-NAME lib", "NOT-LIB-NAME x NAME me", "NOT-LIB-VER x NAME me", "NOT-CAPA r NAME me", "NOT-IP 127.0.0.1",
    "NOT-IP 1.1.1.1 NAME me", "NOT-ADDR a NAME me", "NOT-LADDR a NAME me", "NOT-SKIPME yes", "NOT-MAXAGE 5",
    "NOT-IDLE 1",
    "NOT-FOO bar", "NOT-ID 0", "NOT-TYPE foo", "NOT-USER nobody",
]  # fmt: skip


@BOTH
def test_list_filters(twins: Twins, protocol: int) -> None:
    """CLIENT LIST takes and refuses the same filters and selects the same clients."""
    client = twins.client(protocol)
    client.same("CLIENT SETNAME me")
    client.same("CLIENT SETINFO LIB-NAME lib")
    for words in FILTERS:
        client.same(f"CLIENT LIST {words}", normal=clients)


def test_kill_filters(twins: Twins) -> None:
    """CLIENT KILL takes and refuses the same filters, and counts the same clients."""
    client = twins.client()
    client.same("CLIENT SETNAME me")
    client.same("CLIENT SETINFO LIB-NAME lib")
    for words in ("1.1.1.1:1", "ID", "ID 999999 FOO", "SKIPME no NAME nobody", "x y z"):
        client.same(f"CLIENT KILL {words}")
    for words in FILTERS:
        kept = f"{words} SKIPME yes NAME me" if "SKIPME" not in words else f"{words} NAME nobody"
        client.same(f"CLIENT KILL {kept}")


def test_kill(twins: Twins) -> None:
    """A client that is killed is closed; one that kills itself gets the reply first."""
    client, victim = twins.client(), twins.client()
    victim.same("CLIENT SETNAME victim")
    client.same("CLIENT KILL NAME victim")
    victim.same("PING", normal=lambda reply: reply)
    client.same("CLIENT SETNAME me")
    client.same("CLIENT KILL NAME me SKIPME no")
    client.same("PING")


def test_kill_by_address(twins: Twins) -> None:
    """The old form takes an address, and may be one's own."""
    killer = twins.client()
    for server, line in zip(twins.servers, (killer.oracle, killer.node), strict=True):
        other = Line(server)
        address = "{}:{}".format(*other.socket.getsockname())
        assert line.ask([b"CLIENT", b"KILL", address.encode()]) == b"+OK\r\n"
        assert other.read(1) == b"(closed)"
        other.close()
        own = "{}:{}".format(*line.socket.getsockname())
        assert line.ask([b"CLIENT", b"KILL", b"ADDR", own.encode(), b"SKIPME", b"no"]) == b":1\r\n"
        assert line.read(1) == b"(closed)"


@BOTH
def test_pause_and_unblock_arguments(twins: Twins, protocol: int) -> None:
    """Bad arguments of PAUSE, UNPAUSE, UNBLOCK, NO-EVICT and NO-TOUCH are refused alike."""
    client = twins.client(protocol)
    for line in (
        "CLIENT PAUSE", "CLIENT PAUSE a", "CLIENT PAUSE -1", "CLIENT PAUSE 10 foo", "CLIENT PAUSE a foo",
        "CLIENT PAUSE 1 write x", "CLIENT PAUSE 0", "CLIENT PAUSE 1.5", "CLIENT UNPAUSE x", "CLIENT UNPAUSE",
        "CLIENT UNBLOCK", "CLIENT UNBLOCK a", "CLIENT UNBLOCK 999999", "CLIENT UNBLOCK 999999 foo",
        "CLIENT UNBLOCK 999999 error", "CLIENT UNBLOCK 999999 Timeout", "CLIENT UNBLOCK a foo",
        "CLIENT UNBLOCK 9 error x",
        "CLIENT NO-EVICT", "CLIENT NO-EVICT maybe", "CLIENT NO-EVICT on x", "CLIENT NO-TOUCH x", "CLIENT REPLY",
        "CLIENT REPLY x",
    ):  # fmt: skip
        client.same(line)


@BOTH
@pytest.mark.parametrize("reason", ["", " TIMEOUT", " error"])
def test_unblock(twins: Twins, protocol: int, reason: str) -> None:
    """A blocked client is told that its time is up, or gets an error."""
    blocked, other = twins.client(protocol), twins.client()
    ids = [int(reply[1:-2]) for reply in blocked.both("CLIENT", "ID")]
    blocked.both("BLPOP", "nokey", "0", replies=0)
    for line, ident in zip((other.oracle, other.node), ids, strict=True):
        args = [word.encode() for word in f"CLIENT UNBLOCK {ident}{reason}".split()]
        while line.ask(args) == b":0\r\n":
            pass  # the BLPOP is on its way
    assert blocked.oracle.read(1) == blocked.node.read(1)
    blocked.same("PING")


def test_pause_of_writes(twins: Twins) -> None:
    """A paused write waits for UNPAUSE while reads go on."""
    client, other = twins.client(), twins.client()
    other.same("CLIENT PAUSE 60000 write")
    client.both("SET", "paused", "1", replies=0)
    other.same("GET nothing")
    other.same("CLIENT UNPAUSE")
    assert client.oracle.read(1) == client.node.read(1) == b"+OK\r\n"


@pytest.mark.parametrize("mode", ["", " ALL"])
def test_pause_of_everything(twins: Twins, mode: str) -> None:
    """With ALL reads wait as well, until the time is up; then everything goes on."""
    client, other = twins.client(), twins.client()
    other.same(f"CLIENT PAUSE 300{mode}")
    client.same("GET nothing")
    client.same("SET paused 2")


def test_quit(twins: Twins) -> None:
    """QUIT answers and closes; what came after it is not answered."""
    client = twins.client()
    for line in (client.oracle, client.node):
        line.socket.sendall(b"PING\r\nQUIT\r\nPING\r\n")
        assert line.read(2) == b"+PONG\r\n+OK\r\n"
        assert line.read(1) == b"(closed)"


@BOTH
def test_reset(twins: Twins, protocol: int) -> None:
    """RESET leaves the transaction, the name, the database, the subscriptions and RESP3 behind."""
    client = twins.client(protocol)
    client.same("SELECT 5")
    client.same("CLIENT SETNAME bob")
    client.same("WATCH a")
    client.same("MULTI")
    client.same("RESET")
    client.same("CLIENT GETNAME")
    client.same("CLIENT INFO", normal=clients)
    client.same("EXEC")


@BOTH
@pytest.mark.parametrize("kind", SAMPLES)
def test_protocol_samples(twins: Twins, protocol: int, kind: str) -> None:
    """DEBUG PROTOCOL shows every type of reply in the same bytes."""
    client = twins.client(protocol)
    replies = 2 if kind == "push" and protocol == 3 else 1

    client.same(f"DEBUG PROTOCOL {kind}", replies=replies)


class TestPassword:
    """A server with requirepass."""

    @pytest.fixture(scope="class")
    @classmethod
    def locked(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
        """A pair with a password."""
        with start_twins(tmp_path_factory.mktemp("locked"), "--requirepass", "secret") as found:
            yield found
            found.hang_up()

    @pytest.mark.parametrize(
        "line",
        [
            "PING", "GET a", "NOSUCH", "AUTH", "AUTH wrong", "AUTH default wrong", "AUTH nobody secret", "AUTH secret",
            "AUTH default secret", "HELLO", "HELLO 3", "HELLO 3 AUTH default wrong", "HELLO 9", "HELLO 3 SETNAME x",
            "CLIENT ID", "RESET", "QUIT", "COMMAND COUNT", "MULTI", "ECHO a b c", "SELECT 99",
        ],
    )  # fmt: skip
    def test_before_auth(self, locked: Twins, line: str) -> None:
        """Before AUTH only AUTH, HELLO, RESET and QUIT are served; the rest says NOAUTH."""
        client = locked.client()

        client.same(line)
        if line != "QUIT":
            client.same("DBSIZE")

    def test_hello_with_password(self, locked: Twins) -> None:
        """HELLO logs in and greets in one step, and RESET logs out."""
        client = locked.client()
        client.same("HELLO 3 AUTH default secret", normal=greeting)
        client.same("DBSIZE")
        client.same("RESET")
        client.same("DBSIZE")

    def test_bounds_before_auth(self, locked: Twins) -> None:
        """Large requests are refused before AUTH, and the connection is closed."""
        for head in (b"*11\r\n", b"*1\r\n$16385\r\n"):
            client = locked.client()
            client.oracle.socket.sendall(head)
            client.node.socket.sendall(head)
            assert client.oracle.read(1) == client.node.read(1)
            assert client.oracle.read(1) == client.node.read(1) == b"(closed)"

    def test_password_change(self, locked: Twins) -> None:
        """CONFIG SET requirepass counts for whoever comes next; those who are in stay in."""
        client = locked.client()
        client.same("AUTH secret")
        client.same("CONFIG SET requirepass other")
        client.same("DBSIZE")
        late = locked.client()
        late.same("AUTH secret")
        late.same("AUTH other")
        client.same("CONFIG SET requirepass \"\"")
        free = locked.client()
        free.same("DBSIZE")
        free.same("AUTH other")
        free.same("AUTH default whatever")
        client.same("CONFIG SET requirepass secret")
        free.same("DBSIZE")
