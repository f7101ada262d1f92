"""Commands made by chance from the catalog's own description of their arguments, over a small space of keys.

Every option of every command of the covered families comes up, alone and together, in any order and spelling, with
valid values and invalid ones; now and then an argument is lost, doubled, changed or added. What the catalog cannot know
(which numbers are edge cases, what a cursor is) stands here, one strategy for each kind of value.

Left out by `SKIPPED` are commands that end, block or reconfigure the server or the connection:
they have tests of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from cluster.catalog import ALL
from cluster.catalog.model import MULTIPLE, OPTIONAL, WRITE, Argument

Words = list[bytes]

GROUPS = ("string", "generic", "hash", "list", "set", "sorted-set", "stream", "bitmap", "hyperloglog", "geo")
SKIPPED = {"pfselftest", "wait", "restore", "object|freq", "randomkey", "migrate", "sort", "sort_ro"}
ALSO = (
    "dbsize", "echo", "ping", "select", "swapdb", "flushdb", "publish", "lastsave", "time", "unwatch", "memory|usage",
    "cluster|keyslot", "command|getkeys", "randomkey",
)  # fmt: skip
RARE = {
    "flushdb": 0.05, "swapdb": 0.3, "select": 0.3, "keys": 0.4, "move": 0.6, "ping": 0.2, "echo": 0.2, "lastsave": 0.1,
    "time": 0.1, "unwatch": 0.1, "command|getkeys": 0.4,
}  # fmt: skip

NAMES: dict[str, Words] = {
    "string": [b"str", b"num", b"flt"],
    "hash": [b"h1", b"h2"],
    "list": [b"l1", b"l2"],
    "set": [b"s1", b"s2", b"ints"],
    "sorted-set": [b"z1", b"z2", b"lex"],
    "stream": [b"t1", b"t2"],
    "bitmap": [b"bits", b"bits2"],
    "hyperloglog": [b"hll1", b"hll2"],
    "geo": [b"geo1", b"geo2"],
    "none": [b"none", b"gone"],
    "expired": [b"x:str", b"x:h", b"x:l", b"x:s", b"x:z", b"x:t"],
}
EVERY = [name for names in NAMES.values() for name in names]

SETUP: list[Words] = [line.split() for line in (
    b"debug set-active-expire 0",
    b"set x:str old", b"hset x:h a 1", b"rpush x:l a", b"sadd x:s a", b"zadd x:z 1 a", b"xadd x:t 1-1 a 1",
    b"pexpire x:str 1", b"pexpire x:h 1", b"pexpire x:l 1", b"pexpire x:s 1", b"pexpire x:z 1",
    b"pexpire x:t 1", b"xadd t1 1-1 a 1 b 2", b"xadd t1 1-2 a 3 b 4", b"xadd t1 2-1 x 5", b"xadd t1 3-0 a 1 b 9",
    b"xadd t1 7-7 a 1 b 2", b"xadd t2 5-1 a 1", b"xgroup create t1 g 0", b"xgroup create t1 h 2-1",
    b"xreadgroup group g a count 3 streams t1 >", b"xgroup create t2 g $",
    b"set str some-text", b"set num 10", b"set flt 3.25", b"hset h1 a 1 b 2.5 c word 7 x", b"hset h2 a 1",
    b"rpush l1 a b c b 1 2 -5 a", b"rpush l2 x", b"sadd s1 a b 1 c", b"sadd s2 b c d", b"sadd ints 1 2 3 -7 40000",
    b"zadd z1 1 a 2 b 3 c 3 d 3.5 1", b"zadd z2 -inf a 5 b +inf e", b"zadd lex 0 a 0 aa 0 b 0 c 0 d",
    b"set bits \xff\x00\xf0ab", b"setbit bits2 70 1", b"pfadd hll1 a b c 1 2 3", b"pfadd hll2 c d",
    b"geoadd geo1 2.35 48.85 a 13.4 52.52 b 12.49 41.89 c -0.12 51.5 d", b"geoadd geo2 -73.98 40.75 a -118.24 34.05 e",
    b"set str in-one ex 50000", b"select 1", b"set str other", b"select 0",
)]  # fmt: skip
# Ranges by member are defined for sets of one score alone: each is asked of a set made for it.
LEX_SETUP: list[Words] = [
    line.split() for line in (b"del lex none", b"zadd lex 0 a 0 aa 0 b 0 c 0 d", b"set wrong type")
]
# Which of the expired keys a command meets, and removes before they are counted, is a matter of chance.
FORGET: Words = [b"touch", *NAMES["expired"]]
SMALL = b"""config set hash-max-listpack-entries 4 set-max-listpack-entries 4 zset-max-listpack-entries 4
 set-max-intset-entries 5 list-max-listpack-size 3 hash-max-listpack-value 12 set-max-listpack-value 12
 zset-max-listpack-value 12 stream-node-max-entries 3""".split()
STOCK = b"""config set hash-max-listpack-entries 512 set-max-listpack-entries 128 zset-max-listpack-entries 128
 set-max-intset-entries 512 list-max-listpack-size -2 hash-max-listpack-value 1000 set-max-listpack-value 1000
 zset-max-listpack-value 64 stream-node-max-entries 100""".split()

SMALL_INTS = [b"0", b"1", b"-1", b"2", b"3", b"-2", b"5", b"10", b"-100", b"100"]
EDGE_INTS = [
    b"2147483647", b"-2147483648", b"4294967296", b"9223372036854775807", b"-9223372036854775808",
    b"9223372036854775808", b"-9223372036854775809", b"18446744073709551615", b"18446744073709551616",
    b"99999999999999999999999",
    b"", b"abc", b"1.5", b" 1", b"1 ", b"01", b"-0", b"+1", b"1e3", b"0x10", b"-", b"1\x00",
]  # fmt: skip
# LSET of Valkey cuts these to 32 bits: docs/differences.md.
WRAPPED = [b"4294967296", b"9223372036854775807", b"-9223372036854775808"]
DOUBLES = [b"0", b"1", b"-1", b"1.5", b"2", b"3", b"3.5", b"0.1", b"-0.25", b"100"]
EDGE_DOUBLES = [
    b"inf", b"-inf", b"+inf", b"Infinity", b"nan", b"-0", b"1e308", b"-1e308", b"1e-320", b"1e400",
    b"3.0000000000000004", b"123456789012345678", b"0.30000000000000004", b"17179869184.5", b"1e21", b"1e17", b"1e-7",
    b"9007199254740993",
    b"", b"abc", b" 1", b"1 ", b"0x10", b"1.", b".5", b"5e", b"--1", b"1e5", b"1\x00",
]  # fmt: skip
MEMBERS = [b"a", b"b", b"c", b"d", b"e", b"1", b"2", b"3", b"-7", b"aa"]
EDGE_MEMBERS = [
    b"", b"01", b"-0", b"40000", b"-5000000000", b"9223372036854775807", b"9223372036854775808", b"x" * 13, b"y" * 64,
    b"z" * 65, b"\xff\x00\r\n", b"a\nb", b"3.5", b"word", b"inf", b"*",
]  # fmt: skip
VALUES = [
    b"v", b"10", b"hello", b"-3", b"2.5", b"\x00\xff", b"", b"x" * 44, b"x" * 45, b"9223372036854775807", b" 7", b"nan",
    b"1e5", b"12345678901234567", b"a" * 300,
]  # fmt: skip
PATTERNS = [
    b"*",
    b"?*",
    b"[a-c]*",
    b"[^a]*",
    b"h*",
    b"s1",
    b"\\",
    b"[",
    b"",
    b"*1",
    b"[z-a]?",
    b"x:*",
    b"\\*",
    b"a[b",
    b"??",
]
STREAM_IDS = [
    b"0", b"1", b"1-1", b"1-2", b"2-1", b"2", b"3-0", b"5-1", b"7-7", b"8-1", b"8", b"9", b"0-1", b"40", b"100-3",
]  # fmt: skip
EDGE_IDS = [
    b"18446744073709551615-18446744073709551615", b"18446744073709551615", b"18446744073709551616-1", b"007-03",
    b"7--05", b"+8-+1", b"8-1x", b"0-0", b"-", b"+", b"(1", b"(", b"$", b">", b"", b"x", b"1-", b"-1", b"1-1-1",
    b" 1", b"1-*",    b"1\x00", b"99999999999999999999",
]  # fmt: skip
SCORE_RANGES = [b"-inf", b"+inf", b"inf", b"0", b"1", b"2", b"3", b"(1", b"(3", b"3.5", b"(inf", b"(-inf", b"5", b"-1"]
LEX_RANGES = [b"-", b"+", b"[a", b"(a", b"[b", b"(c", b"[", b"(", b"[d", b"[aa"]
EDGE_RANGES = [b"nan", b"(nan", b"", b"(", b"[1", b"abc", b"((1", b"( 1", b"-inf ", b"a", b"++", b"-a"]


BAD_SECONDS = [
    b"0", b"-1", b"-1000", b"9223372036854775807", b"9223372036854775", b"-9223372036854775808", b"x", b"1.5", b"",
    b"9223372036854775808",
]  # fmt: skip
MEMBER_COUNTS = [
    b"0", b"1", b"2", b"5", b"100", b"-1", b"-3", b"-20", b"9223372036854775807", b"-9223372036854775808",
    b"x", b"1.0", b"",
]  # fmt: skip


CALL: Words = [b"eval", b"return redis.pcall(unpack(ARGV))", b"0"]
LIMITED = {
    b"lset", b"setrange", b"setbit", b"bitfield",
    b"expire", b"pexpire", b"expireat", b"pexpireat", b"set", b"getex", b"setex", b"psetex",
}  # fmt: skip


FIELD_COMMANDS = {
    "hexpire", "hpexpire", "hexpireat", "hpexpireat", "httl", "hpttl", "hexpiretime", "hpexpiretime", "hpersist",
    "hgetex", "hsetex", "hgetdel",
}  # fmt: skip


def _counts_references(words: Words) -> bool:
    """Whether this is OBJECT REFCOUNT: in a transaction Valkey also counts the queued arguments that became values."""
    called = words[len(CALL) :] if words[: len(CALL)] == CALL else words
    return [word.lower() for word in called[:2]] == [b"object", b"refcount"]


def in_script(words: Words) -> Words:
    """The same command, called from a script that returns its reply."""
    return [*CALL, *words]


class Generator:
    """Makes commands from one random source."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        rows = [row for row in ALL if row.group in GROUPS and not row.subcommands and row.text not in SKIPPED]
        rows += [row for row in ALL if row.text in ALSO]
        self.rows = rows
        self.weights = [
            RARE.get(row.text, 0.5 if row.text.startswith("b") else 1.0 + bool(row.flags & WRITE)) for row in rows
        ]
        self._group = "string"
        self._lines: list[list[bytes]] = []
        self._counted: list[bytes] = []
        self._expected = 1
        self._name = ""
        self._last_id = 8
        self._scripts = 0.0

    def sequence(self, length: int, transactions: float, scripts: float = 0.0) -> list[Words]:
        """About so many commands; `transactions` is the chance that one begins a transaction, `scripts` that it is
        called from a script.
        """
        self._scripts = scripts
        made: list[Words] = []
        while len(made) < length:
            if self.rng.random() < transactions:
                made += self._transaction()
            else:
                made += self.one()
        return [*made, [b"select", b"1"], FORGET, [b"select", b"0"], FORGET]

    def _lexical(self, word: bytes) -> bytes:
        """The word, or in place of a key one of those that LEX_SETUP has made."""
        return self.rng.choices([b"lex", b"wrong", b"none"], [8, 1, 1])[0] if word in EVERY else word

    def _transaction(self) -> list[Words]:
        inner = [words for _ in range(self.rng.randint(0, 12)) for words in self.one() if not _counts_references(words)]
        before = [[b"watch", *self._some_keys(1, 3)]] if self.rng.random() < 0.2 else []
        between = self.one() if before and self.rng.random() < 0.5 else []
        end = self.rng.choices([[b"exec"], [b"discard"]], [9, 1])[0]
        return [*before, *between, [b"multi"], *inner, end]

    def one(self) -> list[Words]:
        """One command, plainly or from a script, and what has to precede and follow it so that both servers hold the
        same afterwards.
        """
        words = self._one()
        if self.rng.random() >= self._scripts:
            return words
        return [in_script(each) if each[0].lower() != b"select" else each for each in words]

    def _one(self) -> list[Words]:
        row = self.rng.choices(self.rows, self.weights)[0]
        words = self.command(row.text, row.arguments)
        lowered = [word.lower() for word in words]
        if b"bypolygon" in lowered and b"storedist" in lowered:  # its last digit may differ: docs/differences.md
            del words[lowered.index(b"storedist")]
        follow: list[Words] = []
        if row.text == "spop" and len(words) > 1:
            follow = [[b"del", words[1]]]
        if "lex" in row.text or any(word.lower() == b"bylex" for word in words):
            return [*LEX_SETUP, [self._lexical(word) for word in words]]
        if row.text in ("scan", "randomkey", "dbsize"):
            return [
                [b"touch", *NAMES["expired"]],
                words,
            ]  # which expired keys they meet, and remove, is a matter of chance
        if row.text == "xadd":  # an ID that each server chose by its own clock would differ
            words = [self.next_id() if word == b"*" else word for word in words]
        if row.text == "msetex" and len(words) > 2:
            follow = [[b"touch", *words[2:]]]  # with a time that has passed its keys lie about, for SCAN to meet or not
        if row.text in ("swapdb", "select"):
            follow = [[b"select", self.rng.choice([b"0", b"0", b"0", b"1"])]]
        return [words, *follow]

    def command(self, text: str, arguments: list[Argument]) -> Words:
        """One command of this row."""
        rng = self.rng
        row_group = next((row.group for row in self.rows if row.text == text), "string")
        self._group = row_group if row_group in NAMES else rng.choice(list(NAMES))
        self._name = text
        name = [part.encode() for part in text.split("|")]
        words = [self._spell(part) for part in name]
        words += self._arguments(arguments)
        if rng.random() < 0.07 and text not in ("flushdb", "spop"):
            words = self._spoil(words, len(name))
        return words

    # --- the shape
    def _arguments(self, arguments: list[Argument]) -> Words:
        """All arguments of a list, optional ones at the end in any order."""
        rng = self.rng
        chosen = [a for a in arguments if not a.flags & OPTIONAL or rng.random() < 0.45]
        tail = len(chosen)
        while tail and chosen[tail - 1].flags & OPTIONAL:
            tail -= 1
        optional = chosen[tail:]
        if rng.random() < 0.5:
            rng.shuffle(optional)
        self._expected = rng.choices([1, 2, 3], [5, 4, 1])[0]
        return [word for argument in [*chosen[:tail], *optional] for word in self._argument(argument)]

    def _argument(self, argument: Argument) -> Words:
        times = 1
        if argument.flags & MULTIPLE:
            times = self._times(argument)
        words: Words = []
        if argument.token is not None and argument.type != "pure-token":
            words.append(self._spell(argument.token.encode()))
        for _ in range(times):
            words += self._once(argument)
        return words

    def _times(self, argument: Argument) -> int:
        counted = argument.type == "key" or argument.name == "weight"
        counted = counted or (self._name in FIELD_COMMANDS and argument.name in ("field", "data"))
        if counted and self.rng.random() < 0.93:
            return self._expected
        return self.rng.choices([1, 2, 3, 5], [6, 3, 2, 1])[0]

    def _once(self, argument: Argument) -> Words:
        rng = self.rng
        if argument.type == "oneof":
            picked = [rng.choice(argument.arguments)]
            if rng.random() < 0.06:
                picked.append(rng.choice(argument.arguments))
            return [word for choice in picked for word in self._argument(choice)]
        if argument.type == "block":
            return [word for part in argument.arguments if not part.flags & OPTIONAL or rng.random() < 0.5
                    for word in self._argument(part)]  # fmt: skip
        if argument.type == "pure-token":
            return [self._spell((argument.token or "").encode())]
        if argument.type == "key":
            return [self._key()]
        return [self._value(argument)]

    def _spell(self, word: bytes) -> bytes:
        return self.rng.choices([word.lower(), word.upper(), word.title()], [5, 4, 1])[0]

    def _spoil(self, words: Words, fixed: int) -> Words:
        """Lose, double, add, exchange or replace an argument."""
        rng = self.rng
        words = list(words)
        at = rng.randint(fixed, len(words)) if len(words) > fixed else fixed
        match rng.randint(0, 4):
            case 0 if at < len(words):
                del words[at]
            case 1 if at < len(words):
                words.insert(at, words[at])
            case 2:
                words.insert(
                    at, rng.choice([b"nx", b"bogus", b"", b"WITHSCORES", b"limit", b"count", b"get", b"1", b"ex"])
                )
            case 3 if at < len(words):
                other = rng.randint(fixed, len(words) - 1)
                words[at], words[other] = words[other], words[at]
            case _ if at < len(words):
                words[at] = rng.choice(EDGE_INTS + EVERY + [b"withscores"])
        return words if self._harmless(words) else words[:fixed]

    def _harmless(self, words: Words) -> bool:
        """Whether a spoiled command neither waits for ever nor answers gigabytes."""
        name = words[0].lower()
        if name.endswith(b"randmember") or name == b"hrandfield":
            return not any(word.startswith(b"-") and len(word) > 4 for word in words[2:])
        if name.startswith((b"b", b"xread")):
            return False
        return name not in LIMITED

    # --- values
    def _key(self) -> bytes:
        rng = self.rng
        kind = self._group if rng.random() < 0.72 and self._group in NAMES else rng.choice(list(NAMES))
        return rng.choice(NAMES[kind])

    def _some_keys(self, low: int, high: int) -> Words:
        return [self._key() for _ in range(self.rng.randint(low, high))]

    def _value(self, argument: Argument) -> bytes:
        rng = self.rng
        special = SPECIAL.get(f"{self._name} {argument.name}") or SPECIAL.get(argument.name)
        if special is not None:
            return special(rng, self)
        match argument.type:
            case "integer":
                return _mostly(rng, SMALL_INTS, EDGE_INTS)
            case "double":
                return _mostly(rng, DOUBLES, EDGE_DOUBLES)
            case "pattern":
                return rng.choice(PATTERNS)
        if self._group == "string":
            return rng.choice(VALUES)
        return _mostly(rng, MEMBERS, EDGE_MEMBERS)

    def next_id(self) -> bytes:
        """An ID for XADD, mostly above those before."""
        self._last_id += self.rng.choice([0, 0, 0, 1, 2])
        return self.rng.choices(
            [b"%d-*" % self._last_id, b"%d-%d" % (self._last_id, self.rng.randrange(5)), self.rng.choice(STREAM_IDS)],
            [8, 4, 1],
        )[0]

    def numkeys(self) -> bytes:
        """The number of keys that follow, or a wrong one."""
        if self.rng.random() < 0.92:
            return b"%d" % self._expected
        return self.rng.choice([b"0", b"-1", b"1", b"4", b"abc", b"9223372036854775807", b""])

    def bound(self) -> bytes:
        """An end of a range of ranks, scores or members."""
        name, rng = self._name, self.rng
        if name in ("zrange", "zrangestore"):
            kinds = [SMALL_INTS, SMALL_INTS, SCORE_RANGES, LEX_RANGES]
        else:
            kinds = [LEX_RANGES if "lex" in name else SCORE_RANGES]
        return _mostly(rng, rng.choice(kinds), EDGE_RANGES + EDGE_INTS)


def _mostly(rng: Random, usual: Words, odd: Words) -> bytes:
    return rng.choice(usual if rng.random() < 0.85 else odd)


def _stream_id(rng: Random, _: Generator) -> bytes:
    return _mostly(rng, STREAM_IDS, EDGE_IDS)


def _stream_bound(rng: Random, _: Generator) -> bytes:
    return rng.choice([*STREAM_IDS, b"-", b"+", b"-", b"+", b"(1-1", b"(2", b"(7-7", *EDGE_IDS])


def _read_id(rng: Random, g: Generator) -> bytes:
    return rng.choice([b">", b">", b">", b"0", b"$", b"+", _stream_id(rng, g)])


def _seconds(rng: Random, _: Generator) -> bytes:
    """A time to live that is over at once or far away, and different each time, so that clocks do not decide."""
    if rng.random() < 0.8:
        return b"%d" % rng.randrange(1000, 10**9)
    return rng.choice(BAD_SECONDS)


def _milliseconds(rng: Random, g: Generator) -> bytes:
    seconds = _seconds(rng, g)
    return (
        seconds + b"%03d" % rng.randrange(1000)
        if len(seconds) > 3 and seconds.isdigit() and len(seconds) < 12
        else seconds
    )


def _at(rng: Random, _: Generator) -> bytes:
    if rng.random() < 0.7:
        return b"%d" % rng.randrange(1900000000, 30000000000)
    return rng.choice([b"1", b"0", b"-1", b"1700000000", b"9223372036854775807", b"x", b"", b"9223372036854775808"])


def _at_ms(rng: Random, g: Generator) -> bytes:
    at = _at(rng, g)
    return at + b"%03d" % rng.randrange(1000) if len(at) > 9 and at.isdigit() and len(at) < 12 else at


def _timeout(rng: Random, _: Generator) -> bytes:
    return rng.choices(
        [rng.choice([b"0.001", b"0.0005", b"1e-3"]), b"-1", b"abc", b"", b"1e400", b"nan"], [40, 2, 2, 1, 1, 1]
    )[0]


def _member_count(rng: Random, _: Generator) -> bytes:
    """How many random elements: no number that would be answered in gigabytes."""
    return rng.choice(MEMBER_COUNTS)


def _offset(rng: Random, _: Generator) -> bytes:
    return rng.choice([b"0", b"1", b"3", b"10", b"100", b"-1", b"536870912", b"9223372036854775807", b"x", b""])


def _bit_offset(rng: Random, _: Generator) -> bytes:
    """Where a bit or a field is: never so far that a string of hundreds of megabytes would be made."""
    if rng.random() < 0.8:
        return b"%d" % rng.randrange(120)
    edges = [b"-1", b"#-1", b"x", b"", b"#", b"4294967296", b"9223372036854775807"]
    return rng.choice([b"#0", b"#1", b"#7", b"2000", *edges])


def _field_type(rng: Random, _: Generator) -> bytes:
    if rng.random() < 0.9:
        return rng.choice([b"u%d" % rng.randint(1, 63), b"i%d" % rng.randint(1, 64), b"u8", b"i8", b"i64", b"u1"])
    return rng.choice([b"u64", b"i65", b"u0", b"i-1", b"U8", b"x8", b"i", b"", b"u08"])


def _field_value(rng: Random, _: Generator) -> bytes:
    edges = [b"0", b"1", b"-1", b"127", b"-128", b"255", b"256", b"9223372036854775807", b"-9223372036854775808", b"x"]
    return rng.choice([*edges, b"%d" % rng.randrange(-(1 << 63), 1 << 63), b"%d" % rng.randrange(-300, 300)])


def _degrees(most: float) -> Callable[[Random, Generator], bytes]:
    """A coordinate; seldom the same twice, since the order of members at one distance is not defined."""

    def made(rng: Random, _: Generator) -> bytes:
        if rng.random() < 0.95:
            return b"%.5f" % (rng.uniform(-most, most) if rng.random() < 0.3 else rng.uniform(0, 50))
        return rng.choice([b"180", b"-180", b"181", b"85.05112878", b"-85.05112878", b"86", b"x", b"", b"nan", b"inf"])

    return made


def _reach(rng: Random, _: Generator) -> bytes:
    if rng.random() < 0.9:
        return b"%.3f" % (10 ** rng.uniform(0, 4.5))
    return rng.choice([b"0", b"-1", b"x", b"", b"inf", b"1e300", b"nan"])


def _database(rng: Random, _: Generator) -> bytes:
    return rng.choices(
        [rng.choice([b"0", b"1"]), rng.choice([b"15", b"16", b"-1", b"x", b"", b"99999999999", b"01"])], [8, 2]
    )[0]


# Idle times are asked for in steps that no delay of a test can cross.
FAR_APART = [b"0", b"0", b"0", b"50000", b"1000000000", b"-1", b"x", b""]
STREAM_SPECIAL: dict[str, Callable[[Random, Generator], bytes]] = {
    "xadd id": lambda _, g: g.next_id(),
    "xread id": _read_id,
    "xreadgroup id": _read_id,
    "xread milliseconds": lambda rng, _: rng.choice([b"1", b"2", b"-1", b"x", b"1.5", b"9223372036854775807"]),
    "xreadgroup milliseconds": lambda rng, _: rng.choice([b"1", b"2", b"-1", b"x", b"1.5", b"9223372036854775807"]),
    **{f"{name} id": _stream_id for name in ("xdel", "xack", "xclaim", "xgroup|create", "xgroup|setid")},
    **{f"{name} {end}": _stream_bound for name in ("xrange", "xrevrange", "xpending", "xautoclaim")
       for end in ("start", "end")},
    # What Valkey can allocate for a larger number depends on the machine.
    "xautoclaim count": lambda rng, _: rng.choice([*SMALL_INTS, b"100000", b"x", b"", b"9223372036854775807"]),
    "threshold": lambda rng, g: rng.choice([b"2", b"3", b"1", b"5", b"0", _stream_id(rng, g)]),
    "group": lambda rng, _: rng.choice([b"g", b"g", b"g", b"h", b"nosuch"]),
    "consumer": lambda rng, _: rng.choice([b"a", b"b", b"", b"c"]),
    "last-id": lambda rng, g: rng.choice([g.next_id(), _stream_id(rng, g)]),
    "lastid": _stream_id,
    "max-deleted-id": _stream_id,
    "min-idle-time": lambda rng, _: rng.choice(FAR_APART),
    "ms": lambda rng, _: rng.choice([b"0", b"100000", b"100000", b"x", b"-1"]),
    "xclaim unix-time-milliseconds": lambda rng, _: rng.choice([b"1", b"1000", b"-1", b"9223372036854775807", b"x"]),
}
SPECIAL: dict[str, Callable[[Random, Generator], bytes]] = {
    **STREAM_SPECIAL,
    "seconds": _seconds,
    "milliseconds": _milliseconds,
    "unix-time-seconds": _at,
    "unix-time-milliseconds": _at_ms,
    "timeout": _timeout,
    "numkeys": lambda _, g: g.numkeys(),
    "numfields": lambda _, g: g.numkeys(),
    "srandmember count": _member_count,
    "hrandfield count": _member_count,
    "zrandmember count": _member_count,
    "offset": lambda rng, _: _mostly(rng, SMALL_INTS, EDGE_INTS),
    "setrange offset": _offset,
    "setbit offset": _bit_offset,
    "getbit offset": _bit_offset,
    "bitfield offset": _bit_offset,
    "bitfield_ro offset": _bit_offset,
    "encoding": _field_type,
    "bitfield value": _field_value,
    "bitfield increment": _field_value,
    "setbit value": lambda rng, _: rng.choice([b"0", b"1", b"1", b"2", b"x", b"01"]),
    "bit": lambda rng, _: rng.choice([b"0", b"1", b"1", b"0", b"2", b"x"]),
    "pfdebug subcommand": lambda rng, _: rng.choice([b"decode", b"Decode", b"encoding", b"todense", b"getreg", b"x"]),
    "longitude": _degrees(180.0),
    "latitude": _degrees(85.0),
    "radius": _reach,
    "width": _reach,
    "height": _reach,
    "num-vertices": lambda rng, _: rng.choice([b"1", b"2", b"3", b"3", b"5", b"5", b"x", b"-1", b"2147483648"]),
    "min-match-len": lambda rng, _: _mostly(rng, SMALL_INTS, EDGE_INTS),
    "db": _database,
    "index": lambda rng, _: _mostly(rng, SMALL_INTS, EDGE_INTS),
    "lset index": lambda rng, _: _mostly(rng, SMALL_INTS, [i for i in EDGE_INTS if i not in WRAPPED]),
    "select index": _database,
    "index1": _database,
    "index2": _database,
    "destination-db": _database,
    "cursor": lambda rng, _: rng.choices(
        [b"0", b"00", b"-1", b"x", b"18446744073709551615", b"18446744073709551616", b"", b" 0"],
        [30, 1, 1, 1, 1, 1, 1, 1],
    )[0],
    "scan count": lambda rng, _: rng.choice([b"10000", b"10000", b"10000", b"0", b"-1", b"x"]),
    "sscan count": lambda rng, _: rng.choice([b"10000", b"10000", b"1", b"0", b"-1", b"x"]),
    "hscan count": lambda rng, _: rng.choice([b"10000", b"10000", b"1", b"0", b"-1", b"x"]),
    "zscan count": lambda rng, _: rng.choice([b"10000", b"10000", b"1", b"0", b"-1", b"x"]),
    "type": lambda rng, _: rng.choice(
        [b"string", b"list", b"set", b"hash", b"zset", b"ZSET", b"stream", b"bogus", b""]
    ),
    "min": lambda _, g: g.bound(),
    "max": lambda _, g: g.bound(),
    "zrange start": lambda _, g: g.bound(),
    "zrange stop": lambda _, g: g.bound(),
    "comparison-value": lambda rng, _: rng.choice([b"some-text", b"10", b"v", b"hello", b"in-one", b""]),
    "setex value": lambda rng, _: rng.choice(VALUES),
    "channel": lambda rng, _: rng.choice([b"news", b"", b"x"]),
    "command": lambda rng, _: rng.choice(
        [b"get", b"mset", b"zunionstore", b"blmpop", b"nosuch", b"set", b"lmove", b"ping"]
    ),
    "arg": lambda rng, _: rng.choice([b"a", b"1", b"2", b"b", b"left"]),
    "weight": lambda rng, _: _mostly(rng, DOUBLES, EDGE_DOUBLES),
    "zincrby increment": lambda rng, _: _mostly(rng, DOUBLES, EDGE_DOUBLES),
}
