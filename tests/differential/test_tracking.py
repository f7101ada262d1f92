"""Client-side caching: options, errors, invalidations and their order agree with genuine Valkey's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.differential.harness import Session
from tests.differential.play import play
from tests.differential.twins import Twins, start_twins

# What needs no message: the same in both protocols.
OPTIONS = {
    "on-off": "client tracking on;client trackinginfo;client getredir;client tracking off;client trackinginfo;"
    "client getredir;client tracking off",
    "words": "client tracking off extra;client tracking maybe;client tracking;client tracking on redirect;"
    "client tracking on prefix;client tracking on bcast prefix;client tracking ON NoLoop;client trackinginfo",
    "modes": "client tracking on;client tracking on bcast;client tracking on prefix a;client tracking on optin;"
    "client trackinginfo;client tracking on optout;client tracking on optin optout;client tracking on;"
    "client tracking on optout;client trackinginfo;client tracking off;client tracking on bcast optin;"
    "client tracking on bcast optout;client tracking on optin optout;client tracking on bcast noloop;"
    "client tracking on;client trackinginfo",
    "prefixes": "client tracking on bcast prefix b prefix a;client tracking on bcast prefix ab;"
    "client tracking on bcast prefix c prefix cd;client tracking on bcast prefix c;client trackinginfo;"
    "client tracking on bcast prefix c;client tracking on bcast;client trackinginfo;info stats;client tracking off;"
    'client tracking on bcast prefix "";client trackinginfo;client tracking on bcast prefix x',
    "redirect": "client tracking on redirect 999999;client tracking on redirect abc;client tracking on redirect 0;"
    "client tracking on redirect -1;client tracking on redirect 12 redirect 12",
    "caching": "client caching yes;client tracking on;client caching yes;client caching no;client tracking on optin;"
    "client caching no;client caching maybe;client caching yes;client trackinginfo;get a;client trackinginfo;"
    "client caching yes;client getname;client trackinginfo;ping;client trackinginfo;client tracking off;"
    "client tracking on optout;client caching yes;client caching no;client trackinginfo;nosuch;client trackinginfo",
    "reset": "client tracking on optin;client caching yes;reset;client trackinginfo;client getredir",
    "multi": "multi;client tracking on;client caching yes;exec;client trackinginfo",
    "capa": "client capa;client capa redirect;client capa foo;client capa REDIRECT foo redirect",
    "import-source": "client import-source on;client import-source off;client import-source maybe;client import-source",
}

# Every client of these has been told of its protocol by HELLO; the messages are pushes.
PUSHES = {
    "own": "client tracking on;get x;set x 1;0>;set x 2;get x;get x;del x;0>;del x;get x;ping",
    "others": "1: client tracking on;1: get x;1: get x;set x 1;1>;set x 2;1: mget x y z;mset z 1 y 2;1>;1>;1: ping",
    "order": "client tracking on;mget a b c d;mset d 1 b 2 a 3;0>;0>;0>;get a;append a x;0>;ping",
    "multi": "client tracking on;get x;multi;set x 2;get x;set x 3;exec;0>;0>;multi;get y;exec;set y 1;0>",
    "noloop": "client tracking on noloop;get x;set x 1;get x;1: set x 2;0>;1: set x 3;ping",
    "optin": "client tracking on optin;get x;1: set x 1;client caching yes;get x;1: set x 2;0>;1: set x 3;get x;"
    "1: set x 4;client caching yes;multi;get x;get y;exec;1: set x 5;0>;1: set y 1;0>;ping",
    "optout": "client tracking on optout;get x;1: set x 1;0>;client caching no;get x;1: set x 2;get x;"
    "1: set x 3;0>;ping",
    "caching-in-multi": "client tracking on optin;multi;client caching yes;get x;get y;exec;get z;"
    "1: mset x 1 y 1 z 1;0>;0>;"
    "ping",
    "databases": "client tracking on;select 1;get x;1: set x 1;0>;1: select 2;get x;1: set x 2;0>;select 0;ping",
    "flush": "client tracking on;get x;flushall;0>;1: set x 1;1: flushdb;0>;1: flushall async;0>;1: flushdb;0>;ping",
    "swap": "client tracking on;get x;swapdb 0 1;1: swapdb 0 1;ping",
    "broadcast": "client tracking on bcast;set b 1;0>;set a 1;0>;1: set c 1;0>;mset q 1 c 2 q 3;0>;get q;del q;0>;"
    "1: multi;1: set z 1;1: set y 2;1: set z 3;1: exec;0>;ping",
    "broadcast-prefix": "client tracking on bcast prefix a prefix b;1: client tracking on bcast prefix ab;set abc 1;0>;"
    "1>;set b 1;0>;set c 1;mset a 1 b 2 ab 3 c 4;0>;0>;1>;client tracking off;set abc 2;1>;ping",
    "broadcast-noloop": "client tracking on bcast noloop;set a 1;1: set b 1;0>;mset a 2 b 2;ping",
    "broadcast-flush": "client tracking on bcast;flushall;0>;1: flushdb;0>;ping",
    "off-and-on": "client tracking on;get x;client tracking off;1: set x 1;client tracking on;1: set x 2;get x;"
    "client tracking off;client tracking on;1: set x 3;0>;ping",
    "read-commands": "rpush l a;hset h f v;client tracking on;lrange l 0 -1;hgetall h;exists e;type t;1: lpush l b;0>;"
    "1: hset h f w;0>;1: set e 1;0>;1: set t 1;0>;strlen e;ttl e;1: expire e 100;0>;ping",
    "writes-are-no-reads": "client tracking on;getset x 1;incr n;1: set x 2;1: incr n;ping",
    "rename": "set a 1;client tracking on;get a;get b;1: rename a b;0>;0>;ping",
    "pubsub": "client tracking on;subscribe c;get x;1: set x 1;0>;1: publish c m;0>;unsubscribe c;ping",
    "reply-off": "client tracking on;get x;1: set x 1;0>;get x;get y;1: set x 2;0>;ping",
    "reset": "client tracking on;get x;reset;1: set x 1;ping",
    "blocked": "1: client tracking on;1: lrange q 0 -1;rpush q a;1>;1: blpop q 0;ping",
    "nothing-changed": "client tracking on;get x;del x;expire x 10;lpop x;ping",
    "copies": "set a 1;client tracking on;get b;1: copy a b;0>;object encoding b;dump b;1: del b;0>;ping",
}


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """One pair for all scripts."""
    with start_twins(tmp_path_factory.mktemp("tracking")) as found:
        yield found


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def session(request: pytest.FixtureRequest, twins: Twins) -> Iterator[Session]:
    """Clients of an empty pair."""
    session = Session(twins, request.param)
    session.run([[b"flushall"]])
    yield session
    session.close()


@pytest.fixture
def pushed(twins: Twins) -> Iterator[Session]:
    """Clients that speak RESP3, of an empty pair."""
    session = Session(twins, 3)
    session.run([[b"flushall"]])
    yield session
    session.close()


@pytest.mark.parametrize("script", OPTIONS.values(), ids=OPTIONS.keys())
def test_options_and_errors(session: Session, script: str) -> None:
    """CLIENT TRACKING, CACHING, GETREDIR and TRACKINGINFO answer the same."""
    play(session, script.replace("info stats;", ""))


@pytest.mark.parametrize("script", PUSHES.values(), ids=PUSHES.keys())
def test_invalidations(pushed: Session, script: str) -> None:
    """The same keys are invalidated, and between the same replies."""
    play(pushed, script)


def numbers(session: Session, client: int) -> tuple[bytes, bytes]:
    """A client's id on Valkey and on the node."""
    pair = session.pair(client)
    theirs, ours = (link.ask([b"client", b"id"])[1:-2] for link in pair.both)
    return theirs, ours


def ask_each(session: Session, client: int, words: list[bytes], ids: tuple[bytes, bytes]) -> None:
    """Send a command that names another client by its id, which differs, and compare the replies but for the id."""
    replies = [link.ask([*words, ident]).replace(ident, b"ID")
               for link, ident in zip(session.pair(client).both, ids, strict=True)]  # fmt: skip
    assert replies[0] == replies[1]


@pytest.mark.parametrize("listener", [2, 3])
@pytest.mark.parametrize("reader", [2, 3])
def test_redirect(twins: Twins, listener: int, reader: int) -> None:
    """Another connection is told: by messages of a channel in RESP2, by pushes in RESP3."""
    session = Session(twins, 2)
    play(session, "flushall")
    for client, version in ((1, listener), (2, reader)):
        for link in session.pair(client).both:
            link.ask([b"hello", b"%d" % version])
    ids = numbers(session, 1)
    play(session, "1: subscribe __redis__:invalidate")
    ask_each(session, 2, [b"client", b"tracking", b"on", b"redirect"], ids)
    play(session, "2: get x;2: get y;set x 1;1>;2: mset x 2 y 2;1>;flushall;1>")
    ask_each(session, 2, [b"client", b"tracking", b"on", b"redirect"], ids)
    play(session, "2: get x;1: unsubscribe;set x 3" + (";1>" if listener == 3 else "") + ";1: ping;2: ping")
    session.close()


def test_redirect_to_the_changer(twins: Twins) -> None:
    """A client that hears for another and changes the key itself is told after its own reply."""
    session = Session(twins, 3)
    play(session, "flushall")
    ask_each(session, 1, [b"client", b"tracking", b"on", b"redirect"], numbers(session, 2))
    play(session, "1: get x;1: get y;2: mset x 1 y 2;2>;2>;2: ping")
    session.close()


@pytest.mark.parametrize("protocol", [2, 3])
def test_broken_redirect(twins: Twins, protocol: int) -> None:
    """When the other connection is gone, a RESP3 client is told so, and both servers show it."""
    session = Session(twins, protocol)
    play(session, "flushall;1: ping")
    ids = numbers(session, 1)
    ask_each(session, 2, [b"client", b"tracking", b"on", b"redirect"], ids)
    play(session, "2: get x")
    session.pair(1).close()
    for link, ident in zip(session.pair(0).both, ids, strict=True):
        while b"id=" in link.ask([b"client", b"list", b"id", ident]):
            pass
    play(session, "set x 1")
    for link, ident in zip(session.pair(2).both, ids, strict=True):
        link.socket.sendall(b"client trackinginfo\r\n")
        replies = []
        while not replies or b"prefixes" not in replies[-1]:
            replies.append(link.read(1).replace(b":" + ident, b":ID"))
        assert len(replies) == protocol - 1
        assert b"broken_redirect" in replies[-1]
        shown = link.ask([b"client", b"info"])
        assert b"flags=tR " in shown
        assert b"redir=" + ident in shown
    session.close()


def test_flags_of_clients_and_counts(twins: Twins) -> None:
    """CLIENT INFO and INFO tell of tracking."""
    session = Session(twins, 3)
    play(
        session,
        "flushall;client tracking on bcast prefix a prefix b;1: client tracking on;1: mget x y;2: client tracking on;"
        "2: get x",
    )
    for link in session.pair(0).both:
        assert b" flags=tB " in link.ask([b"client", b"info"])
        stats = link.ask([b"info", b"stats"])
        assert b"tracking_total_keys:2\r\n" in stats
        assert b"tracking_total_items:3\r\n" in stats
        assert b"tracking_total_prefixes:2\r\n" in stats
        assert b"tracking_clients:3\r\n" in link.ask([b"info", b"clients"])
    session.close()


def test_expired_and_evicted_keys(twins: Twins) -> None:
    """A key that expires, whether anybody asks for it or not, is invalidated."""
    session = Session(twins, 3)
    play(session, "flushall;1: client tracking on;set x 1 px 60;set y 1 px 60;1: get x;1: get y")
    for link in session.pair(1).both:
        heard = {link.read(1), link.read(1)}
        assert heard == {b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\n" + key + b"\r\n" for key in (b"x", b"y")}
    session.close()


def test_a_full_table_forgets(twins: Twins) -> None:
    """Beyond tracking-table-max-keys clients are told to drop keys, though these have not changed."""
    session = Session(twins, 3)
    play(session, "flushall;config set tracking-table-max-keys 2;client tracking on")
    for link in session.pair(0).both:
        for key in (b"a", b"b", b"c", b"d", b"e"):
            link.socket.sendall(b"get " + key + b"\r\n")
        link.socket.sendall(b"ping\r\n")
        replies = []
        while not replies or replies[-1] != b"+PONG\r\n":
            replies.append(link.read(1))
        assert sum(reply.startswith(b">2") for reply in replies) == 3
    play(session, "client tracking off;config set tracking-table-max-keys 1000000")
    session.close()
