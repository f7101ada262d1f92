"""List commands against genuine Valkey: replies, errors, encodings, dumps, keyspace events; and who is served when."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.differential.harness import Command, Session, Step, check, command, seeds
from tests.differential.sequences import heard
from tests.differential.twins import Twins, start_twins

COMMANDS = 3000
SETUP = [command("set str x"), command("set other 12")]


@pytest.fixture(scope="module", params=["-2", "4"], ids=["8kb", "4elements"])
def servers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """A pair whose list nodes are bounded by size, and one whose nodes are bounded by number."""
    directives = ["--list-max-listpack-size", request.param, "--notify-keyspace-events", "KEgln"]
    with start_twins(tmp_path_factory.mktemp("lists"), *directives) as twins:
        yield twins
        twins.hang_up()


class Lists:
    """Makes list commands of every kind, right and wrong ones, over a few keys."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.pick = self.chance.choice

    def odds(self, share: float) -> bool:
        """True with this chance."""
        return self.chance.random() < share

    def key(self) -> bytes:
        """A key that mostly holds a list."""
        return self.pick([b"a", b"b", b"c"]) if self.odds(0.96) else b"str"

    def value(self) -> bytes:
        """Integers of every listpack width, and strings around the bounds of entries and nodes."""
        kind = self.chance.random()
        if kind < 0.25:
            return b"%d" % self.pick([0, 1, 5, 127, 128, -1, 4095, -4096, 70000, -9999999, 2**31, 2**60, -(2**63)])
        letter = self.pick([b"a", b"b", b"c"])
        if kind < 0.8:
            return letter * self.pick([0, 1, 2, 5])
        if kind < 0.95:
            return letter * self.pick([63, 64, 65, 100, 300, 1000])
        return letter * self.pick([2000, 4000, 4095, 4096, 5000, 8191, 8192, 8193, 10000])

    def number(self) -> bytes:
        """An index or a count, now and then one that is none."""
        if self.odds(0.03):
            return self.pick([b"x", b"", b"1.5", b"9223372036854775808", b"-9223372036854775808", b"+1"])
        return b"%d" % self.pick([0, 0, 1, -1, 2, -2, 3, 5, -5, 10, -10, 100])

    def side(self) -> bytes:
        """LEFT or RIGHT."""
        return self.pick([b"left", b"LEFT", b"right", b"Right"]) if self.odds(0.98) else b"middle"

    def next(self) -> Command:
        """One command."""
        makers = [
            self.push, self.push, self.push, self.push, self.pop, self.pop, self.move, self.waiting, self.many,
            self.insert, self.put, self.remove, self.trim, self.read, self.read, self.find,
        ]  # fmt: skip
        return self.pick(makers)()

    def push(self) -> Command:
        """Additions at the ends."""
        name = self.pick([b"lpush", b"RPUSH", b"lpushx", b"rpushx"])
        return [name, self.key(), *[self.value() for _ in range(self.pick([0, 1, 1, 1, 2, 3, 8, 30]))]]

    def pop(self) -> Command:
        """LPOP and RPOP, with and without count."""
        return [self.pick([b"lpop", b"rpop"]), self.key(), *[self.number() for _ in range(self.pick([0, 0, 1, 1, 2]))]]

    def move(self) -> Command:
        """Moves that do not wait."""
        if self.odds(0.5):
            return [b"rpoplpush", self.key(), self.key()]
        return [b"lmove", self.key(), self.key(), self.side(), self.side()]

    def waiting(self) -> Command:
        """Blocking commands whose time is up at once."""
        wrong = [b"-1", b"x", b"", b"1e300", b"inf", b"-inf", b"nan", b"0.0001"]
        timeout = b"0.001" if self.odds(0.9) else self.pick(wrong)
        return self.pick([
            [b"blpop", self.key(), self.key(), timeout],
            [b"brpop", self.key(), timeout],
            [b"brpoplpush", self.key(), self.key(), timeout],
            [b"blmove", self.key(), self.key(), self.side(), self.side(), timeout],
            [b"blmpop", timeout, b"2", self.key(), self.key(), self.side()],
        ])  # fmt: skip

    def many(self) -> Command:
        """LMPOP."""
        number = self.pick([1, 1, 2, 3])
        told = b"%d" % number if self.odds(0.95) else self.number()
        args = [b"lmpop", told, *[self.key() for _ in range(number)], self.side()]
        if self.odds(0.5):
            args += [b"COUNT", self.number()]
        return [*args, b"count"] if self.odds(0.05) else args

    def insert(self) -> Command:
        """LINSERT."""
        where = self.pick([b"before", b"AFTER"]) if self.odds(0.97) else b"at"
        return [b"linsert", self.key(), where, self.value(), self.value()]

    def put(self) -> Command:
        """LSET; not with indexes beyond 32 bits, see docs/differences.md."""
        return [b"lset", self.key(), self.pick([b"0", b"-1", b"1", b"2", b"-3", b"x", b"200"]), self.value()]

    def remove(self) -> Command:
        """LREM."""
        return [b"lrem", self.key(), self.number(), self.value()]

    def trim(self) -> Command:
        """LTRIM, and now and then DEL, so that lists begin anew."""
        if self.odds(0.05):
            return [b"del", self.key()]
        ends = [self.number(), self.number()] if self.odds(0.3) else [b"0", b"-2"]
        return [b"ltrim", self.key(), *ends]

    def read(self) -> Command:
        """Reads by index."""
        return self.pick([
            [b"lrange", self.key(), self.number(), self.number()],
            [b"lrange", self.key(), b"0", b"-1"],
            [b"lindex", self.key(), self.number()],
            [b"llen", self.key()],
            [b"object", b"encoding", self.pick([b"a", b"b", b"c"])],
        ])  # fmt: skip

    def find(self) -> Command:
        """LPOS with its options."""
        args = [b"lpos", self.key(), self.value()]
        for option in (b"RANK", b"count", b"maxlen"):
            if self.odds(0.4):
                args += [option, self.number()]
        return [*args, b"rank"] if self.odds(0.02) else args


@pytest.mark.parametrize("protocol", [2, 3], ids=["resp2", "resp3"])
@pytest.mark.parametrize("seed", seeds(20))
def test_sequences_agree(servers: Twins, seed: int, protocol: int) -> None:
    """Replies byte for byte, and afterwards every list with its encoding and its dump."""
    lists = Lists(seed + protocol)
    steps = [lists.next() for _ in range(COMMANDS)]

    check(lambda: Session(servers, protocol), SETUP, steps, seed)


def test_encoding_after_what_did_not_fit(servers: Twins) -> None:
    """A large element turns the list into a quicklist, be it inserted or not; only a change makes it small again."""
    big = b"b" * 9000
    attempts = [[b"linsert", b"a", b"before", b"none", big], [b"lset", b"a", b"200", big], [b"lset", b"a", b"0", big]]
    steps: list[Command] = []
    for attempt in attempts:
        for after in ([b"lset", b"a", b"200", b"c"], [b"lset", b"a", b"0", b"c"], [b"lrem", b"a", b"0", b"none"]):
            steps += [[b"del", b"a"], [b"rpush", b"a", b"1", b"2"], attempt, [b"object", b"encoding", b"a"]]
            steps += [after, [b"object", b"encoding", b"a"]]
    check(lambda: Session(servers, 2), [], steps, 0)


def test_keyspace_events(servers: Twins) -> None:
    """The same commands cause the same events in the same order."""
    lists = Lists(7)

    theirs, ours = heard(servers, [lists.next() for _ in range(600)])

    assert theirs == ours
    assert len(ours) > 200


WAITS = [
    # (what each client sends in turn, as `client: command`; then who hears a reply without having asked)
    ("1: blpop k 0|0: rpush k a b|0: lrange k 0 -1", [1]),
    ("1: blpop k j 0|2: brpop k 0|0: rpush k a|0: rpush k b", [1, 2]),
    ("1: blpop k 0|2: blpop k 0|0: lpush k a b c|0: lrange k 0 -1", [1, 2]),
    ("1: blmove k l left right 0|0: rpush k v|0: lrange l 0 -1", [1]),
    ("1: blmove k l left right 0|2: blpop l 0|0: rpush k v|0: exists k l", [1, 2]),
    ("1: blpop l 0|2: brpoplpush k l 0|0: lpush k v|0: exists k l", [2, 1]),
    ("1: blmove k str left right 0|0: set str x|0: rpush k v|0: lrange k 0 -1", [1]),
    ("1: blmpop 0 2 j k left count 2|0: rpush k a b c|0: lrange k 0 -1", [1]),
    ("1: blpop k 0|0: set k x|0: del k|0: lpush k a|0: exists k", [1]),
    ("1: blpop k 0|0: zadd k 1 a|0: del k|0: lpush k b", [1]),
    ("1: blpop k 0|0: multi|0: lpush k a|0: lpush k b|0: exec|0: lrange k 0 -1", [1]),
    ("1: blpop k 0|0: multi|0: lpush k a|0: del k|0: exec|0: lpush k b", [1]),
    ("1: blpop k 0|0: lpush j a|0: rename j k|0: exists k", [1]),
    ("1: blpop k 0|0: lpush j a|0: copy j k|0: exists k j", [1]),
    ("1: blpop k 0|0: select 1|0: lpush k a|0: swapdb 0 1|0: exists k", [1]),
    ("1: blpop k 0|0: lmove k k left left|0: lpush j a|0: lmove j k left left", [1]),
    ("1: select 1|1: blpop k 0|0: lpush k x|0: select 1|0: lpush k y", [1]),
    ("1: blpop k k k 0|0: lpush k a b", [1]),
    ("1: multi|1: blpop k 0|1: blmove k l left left 0|1: blmpop 0 1 k left|1: exec|0: lpush k a", []),
    ("1: brpoplpush k k 0|0: rpush k a b|0: lrange k 0 -1", [1]),
]  # fmt: skip


@pytest.mark.parametrize("protocol", [2, 3], ids=["resp2", "resp3"])
@pytest.mark.parametrize(("script", "served"), WAITS, ids=[script for script, _ in WAITS])
def test_who_is_served(servers: Twins, script: str, served: list[int], protocol: int) -> None:
    """Waiting clients are served first come first served, with the same replies, and the lists are left the same."""
    session = Session(servers, protocol)
    try:
        session.run([[b"flushall"]])
        for part in script.split("|"):
            client, _, line = part.partition(": ")
            blocks = client != "0" and line.startswith("b") and not script.startswith("1: multi")
            session.run([Step(command(line), int(client), 0 if blocks else 1)])
            if blocks:
                _await_blocked(session, int(client))
        for client_number in served:
            session.heard(client_number)
        session.compare_contents((0, 1))
    finally:
        session.close()


def _await_blocked(session: Session, client: int) -> None:
    """Wait until both servers say that so many clients are blocked: the order of arrival is then certain."""
    pair, watcher = session.pair(client), session.pair(99)
    assert pair is not watcher
    for link in watcher.both:
        before = -1
        while before < client:
            text = link.ask([b"info", b"clients"])
            before = int(text.split(b"blocked_clients:")[1].split(b"\r\n")[0])


@pytest.mark.parametrize("protocol", [2, 3], ids=["resp2", "resp3"])
@pytest.mark.parametrize("line", ["blpop k 0", "blmove k l left left 0", "blmpop 0 1 k left", "bzpopmin k 0"])
@pytest.mark.parametrize("how", ["", "TIMEOUT", "error", "foo"])
def test_client_unblock(servers: Twins, line: str, how: str, protocol: int) -> None:
    """CLIENT UNBLOCK ends a wait as if by its timeout or with an error; the client goes on afterwards."""
    session = Session(servers, protocol)
    try:
        session.run([[b"flushall"]])
        ids = session.pair(1).oracle.ask([b"client", b"id"]), session.pair(1).node.ask([b"client", b"id"])
        session.run([Step(command(line), 1, 0)])
        _await_blocked(session, 1)
        replies = []
        for link, reply in zip(session.pair(0).both, ids, strict=True):
            ident = reply[1:-2]
            replies.append(link.ask([b"client", b"unblock", ident, *([how.encode()] if how else [])]))
        assert replies[0] == replies[1]
        if how == "foo":
            return
        session.heard(1)
        session.run([Step(command("ping"), 1), Step(command("rpush k a"), 0), Step(command("lpop k"), 1)])
    finally:
        session.close()


def test_a_client_that_hangs_up_is_forgotten(servers: Twins) -> None:
    """An element is not lost to a client that went away while it waited."""
    session = Session(servers)
    try:
        session.run([[b"flushall"], Step(command("blpop k 0"), 1, 0)])
        _await_blocked(session, 1)
        session.pair(1).close()
        for link in session.pair(99).both:
            while b"blocked_clients:0\r\n" not in link.ask([b"info", b"clients"]):
                pass
        session.run([command("rpush k a"), command("lrange k 0 -1")])
    finally:
        session.close()


def test_requests_behind_a_blocking_one_wait(servers: Twins) -> None:
    """What a client pipelines behind a blocking command is executed after it, in order."""
    session = Session(servers)
    try:
        session.run([[b"flushall"], Step(command("blpop k 0"), 1, 0)])
        _await_blocked(session, 1)
        session.run([Step(command("rpush done 1"), 1, 0), Step(command("lrange done 0 -1"), 1, 0)])
        session.run([command("exists done"), command("rpush k a")])
        for _ in range(3):
            session.heard(1)
    finally:
        session.close()
