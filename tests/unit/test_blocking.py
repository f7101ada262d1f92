"""Waiting sessions: the records, and an engine that blocks, serves and releases them, without a socket."""

import random
from collections.abc import Iterator

import pytest

from cluster.slots import key_slot
from node.blocking import Blocking, Waiter
from node.errors import CommandError
from node.lifecycle import build_engine
from node.ports import Journal, Snapshots
from node.session import REPLY_OFF, Session
from node.settings import new_settings
from node.waiting import deadline_of, drop_waiter, expire_due, next_deadline, release_all, unblock

START = 1_700_000_000_000


class Recorder(Journal):
    """A journal that keeps what is propagated."""

    def __init__(self) -> None:
        super().__init__()
        self.active = True
        self.lines: list[bytes] = []

    def command(self, dbid: int, args: list[bytes]) -> None:
        """Keep a command as one line."""
        self.lines.append(b" ".join(args))


class Node:
    """An engine with sessions that take commands and keep their replies."""

    def __init__(self) -> None:
        self.engine = build_engine(new_settings(), START, random.Random(1))
        self.engine.now_ms = START
        self.engine.journal = self.journal = Recorder()
        acl, store = self.engine.acl, self.engine.stores[0]
        self.sessions = [
            Session(number, self.engine.executor, store, acl.default_user, 1 << 20, START) for number in range(1, 6)
        ]  # fmt: skip

    def run(self, number: int, line: str) -> bytes:
        """Run a line as the session with this number and return its reply."""
        self.engine.executor.call(self.sessions[number], [word.encode() for word in line.split()])
        return self.heard(number)

    def heard(self, number: int) -> bytes:
        """What was written to a session since."""
        out = self.sessions[number].reply.out
        data = out.getvalue()
        out.truncate(0)
        return data


@pytest.fixture
def node() -> Iterator[Node]:
    """A fresh node."""
    made = Node()
    yield made
    made.engine.loop.close()


def test_first_come_first_served(node: Node) -> None:
    """Elements go to those who wait longest; the journal gets what was done."""
    assert node.run(0, "BLPOP k 0") == b""
    assert node.run(1, "BRPOP j k 0") == b""
    assert node.engine.blocking.count == 2

    assert node.run(2, "RPUSH k a b c") == b":3\r\n"

    assert node.heard(0) == b"*2\r\n$1\r\nk\r\n$1\r\na\r\n"
    assert node.heard(1) == b"*2\r\n$1\r\nk\r\n$1\r\nc\r\n"
    assert node.engine.blocking.count == 0
    assert node.journal.lines == [b"RPUSH k a b c", b"LPOP k", b"RPOP k"]


def test_a_chain_of_moves(node: Node) -> None:
    """A move that is served makes its destination ready, within the same command."""
    node.run(0, "BLMOVE a b LEFT RIGHT 0")
    node.run(1, "BRPOPLPUSH b c 0")
    node.run(2, "BLMPOP 0 1 c LEFT")

    assert node.run(3, "LPUSH a x") == b":1\r\n"

    assert [node.heard(n) for n in (0, 1)] == [b"$1\r\nx\r\n"] * 2
    assert node.heard(2) == b"*2\r\n$1\r\nc\r\n*1\r\n$1\r\nx\r\n"
    assert node.journal.lines == [b"LPUSH a x", b"LMOVE a b LEFT RIGHT", b"RPOPLPUSH b c", b"LPOP c 1"]
    assert node.engine.stores[0].count() == 0


class Watcher(Snapshots):
    """A snapshot that notes which slots are about to change."""

    def __init__(self) -> None:
        super().__init__()
        self.active = True
        self.slots: list[int] = []

    def before_write(self, slot: int, key: bytes) -> None:
        """Note the slot."""
        self.slots.append(slot)


def test_snapshots_are_told_before_a_served_command_writes(node: Node) -> None:
    """A running snapshot hears of every key that a woken or a queued command changes."""
    node.run(0, "BLMOVE a b LEFT RIGHT 0")
    node.engine.snapshots = watcher = Watcher()

    node.run(1, "LPUSH a x")

    assert watcher.slots == [key_slot(key) for key in (b"a", b"a", b"b")]


def test_only_the_wanted_type_serves(node: Node) -> None:
    """A sorted set does not wake who waits for a list."""
    node.run(0, "BLPOP k 0")
    node.run(1, "BZPOPMAX k 0")

    node.run(2, "ZADD k 1 m")

    assert node.heard(0) == b""
    assert node.heard(1) == b"*3\r\n$1\r\nk\r\n$1\r\nm\r\n$1\r\n1\r\n"
    assert node.journal.lines == [b"ZADD k 1 m", b"ZPOPMAX k"]


def test_inside_a_transaction_nothing_blocks(node: Node) -> None:
    """Within EXEC a blocking command answers at once, and waiters are served after it."""
    node.run(0, "BLPOP k 0")
    session = node.sessions[1]
    session.multi = True
    session.queue = [[b"LPUSH", b"k", b"a"], [b"BLPOP", b"none", b"0"], [b"LPUSH", b"k", b"b"]]

    reply = node.run(1, "EXEC")

    assert reply == b"*3\r\n:1\r\n*-1\r\n:2\r\n"
    assert node.heard(0) == b"*2\r\n$1\r\nk\r\n$1\r\nb\r\n"
    assert node.journal.lines == [b"MULTI", b"LPUSH k a", b"LPUSH k b", b"EXEC", b"LPOP k"]


def test_timeouts_in_order(node: Node) -> None:
    """The next deadline is the earliest; a session that was served is not answered again."""
    node.run(0, "BLPOP k 3")
    node.run(1, "BLMOVE k l LEFT LEFT 1.5")
    node.run(2, "BZPOPMIN z 2")
    node.run(3, "BLPOP k 0")
    assert next_deadline(node.engine) == START + 1500

    node.engine.now_ms = START + 1500
    expire_due(node.engine)
    assert [node.heard(n) for n in range(4)] == [b"", b"*-1\r\n", b"", b""]
    assert not node.sessions[1].blocked

    node.run(4, "LPUSH k a")
    assert node.heard(0) == b"*2\r\n$1\r\nk\r\n$1\r\na\r\n"
    node.engine.now_ms = START + 60_000
    expire_due(node.engine)
    assert [node.heard(n) for n in range(4)] == [b"", b"", b"*-1\r\n", b""]
    assert next_deadline(node.engine) == 0
    assert node.engine.blocking.count == 1


def test_unblock_and_hang_up(node: Node) -> None:
    """CLIENT UNBLOCK answers as a timeout or with an error; a client that is gone is forgotten."""
    for number in range(3):
        node.run(number, "BLPOP k 0")

    assert unblock(node.engine, node.sessions[0])
    assert unblock(node.engine, node.sessions[1], b"UNBLOCKED client unblocked via CLIENT UNBLOCK")
    assert not unblock(node.engine, node.sessions[3])
    drop_waiter(node.engine, node.sessions[2])
    node.run(3, "LPUSH k a")

    assert node.heard(0) == b"*-1\r\n"
    assert node.heard(1) == b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"
    assert node.heard(2) == b""
    assert node.run(3, "LLEN k") == b":1\r\n"


def test_a_silent_client_gets_no_late_reply(node: Node) -> None:
    """After CLIENT REPLY OFF neither an element nor a timeout is answered, and the element is taken all the same."""
    node.run(0, "BLPOP k 0")
    node.run(1, "BLPOP j 1")
    for number in (0, 1):
        node.sessions[number].reply_mode = REPLY_OFF

    node.run(2, "LPUSH k a")
    node.engine.now_ms = START + 2000
    expire_due(node.engine)

    assert [node.heard(0), node.heard(1)] == [b"", b""]
    assert node.run(2, "EXISTS k j") == b":0\r\n"


def test_a_new_replica_releases_everybody(node: Node) -> None:
    """When the node stops being primary, all waits end with the error of Valkey."""
    node.run(0, "BLPOP k 0")
    node.run(1, "BZPOPMIN k 5")

    release_all(node.engine)

    for number in (0, 1):
        assert node.heard(number).startswith(b"-UNBLOCKED force unblock from blocking operation")
    assert node.engine.blocking.count == 0


@pytest.mark.parametrize(
    ("text", "ms"),
    [(b"0", 0), (b"1", 1000), (b"0.0001", 1), (b"0.1", 100), (b"1e-7", 1), (b"-0.0001", 0), (b"0x10", 16000)],
)
def test_timeouts_are_rounded_up(node: Node, text: bytes, ms: int) -> None:
    """A timeout is never shorter than asked for; 0 is for ever."""
    assert deadline_of(node.engine, text) == (START + ms if ms else 0)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b"-1", b"ERR timeout is negative"),
        (b"-inf", b"ERR timeout is negative"),
        (b"inf", b"ERR timeout is out of range"),
        (b"1e300", b"ERR timeout is out of range"),
        (b"9223372036854775", b"ERR timeout is out of range"),
        (b"", b"ERR timeout is not a float or out of range"),
        (b"1 ", b"ERR timeout is not a float or out of range"),
    ],
)
def test_timeouts_refused(node: Node, text: bytes, error: bytes) -> None:
    """Each wrong timeout has its text."""
    with pytest.raises(CommandError) as raised:
        deadline_of(node.engine, text)

    assert raised.value.text == error


def test_the_heap_does_not_grow_with_served_waits(node: Node) -> None:
    """A queue worker that waits again and again leaves no deadlines behind."""
    blocking = Blocking()
    for _ in range(5000):
        waiter = Waiter(node.sessions[0], [b"k"], b"list", [], START + 1_000_000, lambda s: None)
        blocking.add(waiter)
        blocking.remove(waiter)

    assert len(blocking._deadlines) < 200
    assert blocking.next_deadline() == 0
    assert blocking.waiters_for(0, b"k") == []
