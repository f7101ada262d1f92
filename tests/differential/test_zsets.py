"""Sorted set commands against genuine Valkey: replies, errors, encodings, dumps, keyspace events, and who is served."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.differential.harness import Command, Session, Step, check, command, parse, seeds
from tests.differential.sequences import heard
from tests.differential.twins import Twins, start_twins

COMMANDS = 3000
SETUP = [command("set str x"), command("sadd plain 1 2 3 a b c aa bbb"), command("sadd numbers 1 2 3 11")]


@pytest.fixture(scope="module", params=["128", "6"], ids=["listpack128", "listpack6"])
def servers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """A pair with the usual thresholds, and one whose sets soon become skiplists."""
    directives = ["--zset-max-listpack-entries", request.param, "--notify-keyspace-events", "KEgzn"]
    with start_twins(tmp_path_factory.mktemp("zsets"), *directives) as twins:
        yield twins
        twins.hang_up()


class ZSets:
    """Makes sorted set commands of every kind, right and wrong ones, over a few keys."""

    SCORES = (b"inf", b"-inf", b"+inf", b"1e3", b"-0", b"3.14159265358979", b"1e-10", b"17179869184.5", b"1e10",
              b"123456789012345678", b"0.1", b"2.5", b"-1.75")  # fmt: skip
    WRONG = (b"x", b"nan", b"", b"1e400", b"0x1", b"+5", b"-", b"1_0", b" 1")

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.pick = self.chance.choice

    def odds(self, share: float) -> bool:
        """True with this chance."""
        return self.chance.random() < share

    def key(self) -> bytes:
        """A key that mostly holds a sorted set."""
        return self.pick([b"a", b"b", b"c"]) if self.odds(0.96) else b"str"

    def member(self) -> bytes:
        """Members around the bounds of listpack entries; few, so that they meet again."""
        kind = self.chance.random()
        if kind < 0.3:
            return b"%d" % self.chance.randrange(12)
        if kind < 0.9:
            return self.pick([b"a", b"b", b"c", b"d", b"e", b"f"]) * self.pick([1, 1, 2, 3])
        return self.pick([b"a", b"b", b"c"]) * self.pick([0, 63, 64, 65, 100])

    def score(self) -> bytes:
        """A score, now and then one that is none."""
        if self.odds(0.02):
            return self.pick(self.WRONG)
        if self.odds(0.6):
            return b"%d" % self.chance.randrange(-3, 9)
        return b"%.1f" % (self.chance.random() * 5) if self.odds(0.5) else self.pick(self.SCORES)

    def number(self) -> bytes:
        """An index or a count, now and then one that is none."""
        if self.odds(0.03):
            return self.pick([b"x", b"", b"1.5", b"9223372036854775808", b"-9223372036854775808", b"+1"])
        return b"%d" % self.pick([0, 0, 1, -1, 2, -2, 3, 5, -5, 10, -10, 100])

    def bound(self) -> bytes:
        """One end of a range by score."""
        return (b"(" if self.odds(0.3) else b"") + (self.score() if self.odds(0.97) else b"-1e500")

    def flags(self, *words: bytes) -> Command:
        """Some of the words."""
        return [self.pick([word, word.lower()]) for word in words if self.odds(0.3)]

    def limit(self) -> Command:
        """LIMIT or nothing."""
        return [b"limit", self.number(), self.number()] if self.odds(0.3) else []

    def next(self) -> Command:
        """One command."""
        makers = [
            self.add, self.add, self.add, self.add, self.increase, self.remove, self.one, self.one, self.range_by_rank,
            self.range_by_score, self.range_by_score, self.store_range, self.cut, self.pop, self.many, self.waiting,
            self.algebra, self.algebra, self.others,
        ]  # fmt: skip
        return self.pick(makers)()

    def add(self) -> Command:
        """ZADD with its options."""
        args = [self.pick([b"zadd", b"ZADD"]), self.key()]
        args += [word for word in (b"NX", b"xx", b"GT", b"lt", b"CH", b"incr") if self.odds(0.1)]
        for _ in range(1 if args[-1] == b"incr" else self.pick([1, 1, 1, 2, 3, 5, 20])):
            args += [self.score(), self.member()]
        return args[:-1] if self.odds(0.01) else args

    def increase(self) -> Command:
        """ZINCRBY."""
        return [b"zincrby", self.key(), self.score(), self.member()]

    def remove(self) -> Command:
        """ZREM, and now and then DEL, so that sets begin anew."""
        if self.odds(0.1):
            return [b"del", self.key()]
        return [b"zrem", self.key(), *[self.member() for _ in range(self.pick([1, 1, 3]))]]

    def one(self) -> Command:
        """Questions about single members and about sizes."""
        return self.pick([
            [self.pick([b"zscore", b"zrank", b"zrevrank"]), self.key(), self.member(), *self.flags(b"WITHSCORE")],
            [b"zmscore", self.key(), self.member(), self.member()],
            [b"zcard", self.key()],
            [b"zcount", self.key(), self.bound(), self.bound()],
            [b"object", b"encoding", self.key()],
        ])  # fmt: skip

    def range_by_rank(self) -> Command:
        """ZRANGE and ZREVRANGE by rank."""
        if self.odds(0.3):
            return [b"zrevrange", self.key(), self.number(), self.number(), *self.flags(b"WITHSCORES")]
        extra = self.limit() if self.odds(0.1) else []
        return [b"zrange", self.key(), self.number(), self.number(), *self.flags(b"REV", b"WITHSCORES"), *extra]

    def range_by_score(self) -> Command:
        """Ranges by score in both spellings."""
        ends = [self.bound(), self.bound()]
        options = [*self.flags(b"WITHSCORES"), *self.limit()]
        if self.odds(0.5):
            return [self.pick([b"zrangebyscore", b"zrevrangebyscore"]), self.key(), *ends, *options]
        return [b"zrange", self.key(), *ends, b"byscore", *self.flags(b"REV"), *options]

    def store_range(self) -> Command:
        """ZRANGESTORE."""
        target = self.pick([b"d", b"d", b"d", b"a", b"text"])
        if self.odds(0.5):
            return [b"zrangestore", target, self.key(), self.number(), self.number(), *self.flags(b"REV")]
        ends = [self.bound(), self.bound()]
        flags = self.flags(b"REV", b"WITHSCORES")[:1]
        return [b"zrangestore", target, self.key(), *ends, b"BYSCORE", *flags, *self.limit()]

    def cut(self) -> Command:
        """Removal of ranges."""
        if self.odds(0.5):
            return [b"zremrangebyrank", self.key(), self.number(), self.number()]
        return [b"zremrangebyscore", self.key(), self.bound(), self.bound()]

    def pop(self) -> Command:
        """ZPOPMIN and ZPOPMAX."""
        counts = [self.number() for _ in range(self.pick([0, 0, 1, 2]))]
        return [self.pick([b"zpopmin", b"zpopmax"]), self.key(), *counts]

    def many(self) -> Command:
        """ZMPOP and BZMPOP."""
        number = self.pick([1, 1, 2, 3])
        told = b"%d" % number if self.odds(0.95) else self.number()
        args = [told, *[self.key() for _ in range(number)], self.pick([b"min", b"MAX"]) if self.odds(0.97) else b"mid"]
        if self.odds(0.5):
            args += [b"count", self.number()]
        return [b"bzmpop", b"0.001", *args] if self.odds(0.3) else [b"zmpop", *args]

    def waiting(self) -> Command:
        """Blocking pops whose time is up at once."""
        return [self.pick([b"bzpopmin", b"bzpopmax"]), self.key(), self.key(), b"0.001" if self.odds(0.9) else b"-1"]

    def algebra(self) -> Command:
        """Unions, intersections and differences of sorted and plain sets."""
        name = self.pick([b"zunion", b"zinter", b"zdiff", b"zunionstore", b"zinterstore", b"zdiffstore", b"zintercard"])
        number = self.pick([1, 2, 2, 3])
        known = [b"a", b"b", b"c", b"plain", b"numbers"]
        keys = [self.pick(known) if self.odds(0.96) else self.key() for _ in range(number)]
        args = [name, *([self.pick([b"d", b"d", b"a", b"text"])] if name.endswith(b"store") else [])]
        args += [b"%d" % number if self.odds(0.97) else self.number(), *keys]
        if name == b"zintercard":
            return args + ([b"LIMIT", self.number()] if self.odds(0.4) else [])
        if self.odds(0.3):
            weights = [b"1", b"2", b"-1", b"0.5", b"inf", b"0", b"1", b"x" if self.odds(0.1) else b"3"]
            args += [b"weights", *[self.pick(weights) for _ in range(number)]]
        if self.odds(0.3):
            args += [b"AGGREGATE", self.pick([b"sum", b"min", b"MAX"]) if self.odds(0.95) else b"avg"]
        return args + (self.flags(b"WITHSCORES") if not name.endswith(b"store") or self.odds(0.1) else [])

    def others(self) -> Command:
        """Walks and random members."""
        return self.pick([
            [b"zscan", self.key(), self.pick([b"0", b"x", b" 0", b"-1"]) if self.odds(0.2) else b"0", b"count", b"1000",
             *self.flags(b"NOVALUES")],
            [b"zscan", self.key(), b"0", b"match", self.pick([b"a*", b"[a-c]", b"*", b"?"]), b"count", b"1000"],
            [b"zrandmember", self.key(), *[self.number() for _ in range(self.pick([0, 1]))]],
            [b"zrandmember", self.key(), self.pick([b"0", b"x", b"-9223372036854775808"]), b"withscores"],
            [b"zrandmember", self.key(), b"1", b"WITHSCORE"],
        ])  # fmt: skip


class Words(ZSets):
    """Sets of one score, and ranges by member."""

    def end(self) -> bytes:
        """One end of a range by member."""
        ends = [b"-", b"+", b"[" + self.member(), b"(" + self.member(), b"[" + self.member(), b"[", b"("]
        return self.pick(ends) if self.odds(0.97) else self.pick([b"x", b"", b"--"])

    def next(self) -> Command:
        """One command."""
        key, ends = self.pick([b"a", b"b", b"c"]), [self.end(), self.end()]
        add = [b"zadd", key]
        for _ in range(self.pick([1, 3, 20])):
            add += [b"0", self.member()]
        return self.pick([
            add,
            add,
            [b"zlexcount", key, *ends],
            [b"zrange", key, *ends, b"BYLEX", *self.flags(b"REV", b"WITHSCORES")[:1], *self.limit()],
            [self.pick([b"zrangebylex", b"zrevrangebylex"]), key, *ends, *self.limit()],
            [b"zrangestore", b"d", key, *ends, b"bylex", *self.flags(b"REV"), *self.limit()],
            [b"zremrangebylex", key, *ends] if self.odds(0.4) else [b"zrem", key, self.member()],
            [b"zrange", b"d", b"0", b"-1"],
            [b"object", b"encoding", key],
        ])  # fmt: skip


@pytest.mark.parametrize("protocol", [2, 3], ids=["resp2", "resp3"])
@pytest.mark.parametrize("seed", seeds(20))
@pytest.mark.parametrize("maker", [ZSets, Words], ids=["scores", "words"])
def test_sequences_agree(servers: Twins, maker: type[ZSets], seed: int, protocol: int) -> None:
    """Replies byte for byte, and afterwards every set with its encoding and its dump."""
    sets = maker(seed + protocol)
    steps = [sets.next() for _ in range(COMMANDS)]

    check(lambda: Session(servers, protocol, packed=False), SETUP, steps, seed)


def test_keyspace_events(servers: Twins) -> None:
    """The same commands cause the same events in the same order."""
    sets = ZSets(7)

    theirs, ours = heard(servers, [sets.next() for _ in range(600)])

    assert theirs == ours
    assert len(ours) > 200


WAITS = [
    ("1: bzpopmin k 0|0: zadd k 2 b 1 a|0: zrange k 0 -1", [1]),
    ("1: bzpopmax j k 0|2: bzpopmin k 0|0: zadd k 2 b 1 a 3 c|0: zrange k 0 -1", [1, 2]),
    ("1: bzmpop 0 2 j k max count 2|0: zadd k 1 a 2 b 3 c|0: zrange k 0 -1", [1]),
    ("1: bzpopmin k 0|0: rpush k x|0: del k|0: zadd k 1 a", [1]),
    ("1: bzpopmin k 0|2: blpop k 0|0: zadd k 1 a|0: rpush k x", [1, 2]),
    ("1: bzpopmin k 0|0: zadd j 1 a|0: zunionstore k 1 j|0: exists k", [1]),
    ("1: bzpopmin k 0|0: zadd j 1 a|0: zrangestore k j 0 -1|0: exists k", [1]),
    ("1: bzpopmin k 0|0: zadd j 1 a|0: rename j k|0: exists k", [1]),
    ("1: bzpopmin k 0|0: zincrby k 5 a|0: exists k", [1]),
    ("1: bzpopmin k 0|0: multi|0: zadd k 5 a|0: zadd k 1 b|0: exec", [1]),
]


@pytest.mark.parametrize("protocol", [2, 3], ids=["resp2", "resp3"])
@pytest.mark.parametrize(("script", "served"), WAITS, ids=[script for script, _ in WAITS])
def test_who_is_served(servers: Twins, script: str, served: list[int], protocol: int) -> None:
    """Waiting clients are served first come first served, and the sets are left the same."""
    session = Session(servers, protocol, packed=False)
    try:
        session.run([[b"flushall"]])
        for part in script.split("|"):
            client, _, line = part.partition(": ")
            session.run([Step(command(line), int(client), 1 if client == "0" else 0)])
            for link in session.pair(99).both if client != "0" else ():
                while b"blocked_clients:%d\r\n" % int(client) not in link.ask([b"info", b"clients"]):
                    pass
        for client_number in served:
            session.heard(client_number)
        session.compare_contents()
    finally:
        session.close()


def test_a_walk_finds_what_stays(servers: Twins) -> None:
    """ZSCAN returns every member that is there all the time, however the set grows and shrinks meanwhile."""
    link = servers.client().node
    link.ask([b"flushall"])
    stays = {b"stay-%d" % n for n in range(1500)}
    for n, member in enumerate(sorted(stays)):
        link.ask([b"zadd", b"k", b"%d" % n, member])
    seen: set[bytes] = set()
    cursor, step = b"0", 0
    while True:
        reply = parse(link.ask([b"zscan", b"k", cursor, b"count", b"50"]))
        seen.update(item[1] for item in reply[2][1::2])  # type: ignore[index]
        cursor = reply[1][1]  # type: ignore[index]
        if cursor == b"0":
            break
        step += 1
        for n in range(100):
            member = b"more-%d-%d" % (step - step % 4, n)
            link.ask([b"zadd", b"k", b"1", member] if step % 4 else [b"zrem", b"k", member])

    assert stays <= seen


@pytest.mark.parametrize("size", [3, 400])
def test_a_walk_without_scores(servers: Twins, size: int) -> None:
    """NOSCORES leaves the members alone."""
    client = servers.client()
    client.both(b"flushall")
    for n in range(size):
        client.both(b"zadd", b"k", b"%d" % n, b"m%d" % n)

    theirs, ours = client.both(b"zscan", b"k", b"0", b"COUNT", b"10000", b"noscores")

    assert sorted(parse(theirs)[2][1:]) == sorted(parse(ours)[2][1:])  # type: ignore[index]


def test_random_members_are_members(servers: Twins) -> None:
    """Random members are members with their scores, distinct for a positive count, and all of them turn up."""
    link = servers.client().node
    session = Session(servers, 3)
    session.run([[b"flushall"], command("zadd k 0 a 1 b 2 c")])
    session.run([command(f"zrandmember k {count} withscores") for count in (1, 2, 3, 4, -1, -7, 0)])
    session.close()
    for size in (5, 300):
        link.ask([b"del", b"k"])
        for n in range(size):
            link.ask([b"zadd", b"k", b"%d" % n, b"m%d" % n])
        distinct = [item[1] for item in parse(link.ask([b"zrandmember", b"k", b"%d" % (size - 1)]))[1:]]  # type: ignore[index]
        pairs = [item[1] for item in parse(link.ask([b"zrandmember", b"k", b"-4000", b"withscores"]))[1:]]  # type: ignore[index]
        assert len(set(distinct)) == size - 1
        assert set(pairs[::2]) == {b"m%d" % n for n in range(size)}
        assert all(member == b"m" + score for member, score in zip(pairs[::2], pairs[1::2], strict=True))
