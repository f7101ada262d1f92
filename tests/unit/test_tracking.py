"""The tracking table against a plain model: who is told of which key."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cluster.resp.replies import ReplyWriter
from node.acl import Acl
from node.session import Executor, Session
from node.store import PlainStore
from node.tracking import Tracking

KEYS = [b"a", b"ab", b"b", b"c"]
STEPS = st.lists(
    st.tuples(st.sampled_from(["read", "change", "flush", "off", "on"]), st.integers(0, 2), st.sampled_from(KEYS)),
    max_size=40,
)


def new_session(ident: int) -> Session:
    """A RESP3 session without a connection."""
    session = Session(ident, Executor(), PlainStore(1), Acl().default_user, 1 << 20, 0)
    session.reply = ReplyWriter()
    session.reply.resp3 = True
    return session


def told(session: Session) -> list[bytes]:
    """The keys that a session was told of, null for all, and its output is emptied."""
    out = session.reply.out.getvalue()
    session.reply.out.truncate(0)
    found: list[bytes] = []
    for message in out.split(b">2\r\n$10\r\ninvalidate\r\n")[1:]:
        found += [b"*"] if message == b"_\r\n" else message.split(b"\r\n")[2::2]
    return found


@given(STEPS)
def test_readers_hear_once(steps: list[tuple[str, int, bytes]]) -> None:
    """A session hears of a key once after it has read it, whoever changes it, and of nothing else."""
    sessions = {i: new_session(i) for i in range(3)}
    table = Tracking(sessions)
    for session in sessions.values():
        table.switch_on(session, 0, False, [])
    read: set[tuple[int, bytes]] = set()
    for what, i, key in steps:
        session = sessions[i]
        expected: dict[int, list[bytes]] = {0: [], 1: [], 2: []}
        if what == "read" and session.tracking:
            table.remember(session, [key])
            read.add((i, key))
        elif what == "change":
            table.changed(key)
            for j in range(3):
                if (j, key) in read and sessions[j].tracking:
                    expected[j] = [key]
                read.discard((j, key))
        elif what == "flush":
            table.flushed()
            expected = {j: [b"*"] if sessions[j].tracking else [] for j in range(3)}
            read.clear()
        elif what == "off":
            table.switch_off(session)
        elif what == "on":
            table.switch_on(session, 0, False, [])
        assert {j: told(sessions[j]) for j in range(3)} == expected
        assert table.items == len(read)
        assert table.clients == sum(s.tracking for s in sessions.values())


def test_own_changes_are_told_after_the_reply() -> None:
    """Between `begin` and `end` nothing is written to the session whose command runs."""
    session = new_session(1)
    table = Tracking({1: session})
    table.switch_on(session, 0, False, [])
    table.remember(session, [b"a", b"b"])
    before = table.begin(session)
    table.changed(b"b")
    table.changed(b"a")
    assert told(session) == []
    session.reply.ok()
    table.end(session, before)
    assert session.reply.out.getvalue().startswith(b"+OK\r\n>2")
    assert told(session) == [b"b", b"a"]


def test_prefixes_hear_of_a_batch() -> None:
    """Listeners get all changed keys of their prefix at once, sorted; those with no_loop only what others changed."""
    sessions = {i: new_session(i) for i in range(2)}
    table = Tracking(sessions)
    table.switch_on(sessions[0], 0, True, [b"a", b"c"])
    table.switch_on(sessions[1], 0, True, [])
    sessions[1].no_loop = True
    before = table.begin(sessions[1])
    for key in (b"c", b"ab", b"a", b"b", b"ab"):
        table.changed(key)
    table.end(sessions[1], before)
    table.changed(b"z")
    assert table.waiting
    table.broadcast()
    assert told(sessions[0]) == [b"a", b"ab", b"c"]
    assert told(sessions[1]) == [b"z"]
    table.forget(sessions[0])
    table.forget(sessions[1])
    assert (table.prefixes, table.used, table.clients) == ({}, False, 0)


def test_the_table_is_bounded() -> None:
    """Keys beyond the bound are dropped, the longest remembered first, and their readers told."""
    session = new_session(1)
    table = Tracking({1: session})
    table.switch_on(session, 0, False, [])
    table.remember(session, [b"%d" % i for i in range(1000)])
    table.limit(400)
    assert told(session) == [b"%d" % i for i in range(600)]
    assert (len(table.table), table.items) == (400, 400)
