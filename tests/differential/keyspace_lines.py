"""Random command lines over string and generic commands, and how their replies from both servers are compared."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.differential.twins import Twin, read_reply

Command = list[bytes]

KEYS = [b"a", b"b", b"c", b"{t}x", b"{t}y", b"list", b"set", b"", b"l" * 40, b"bin\x00\xff"]
NUMBERS = [
    b"0", b"1", b"-1", b"5", b"10", b"-3", b"100", b"9223372036854775807", b"-9223372036854775808",
    b"9223372036854775808", b"x", b"", b" 1", b"1 ", b"01", b"+1", b"1.5", b"-0", b"536870912", b"99999999999999999999",
]  # fmt: skip
VALUES = [
    *NUMBERS, b"hello", b"x" * 44, b"x" * 45, b"y" * 200, b"\x00\xff\r\n", b"1e3", b"3.0e-5", b"inf", b"nan", b"0x1p3",
    b"-1.25", b"1e400",
]  # fmt: skip
FLOATS = [
    b"0.1", b"1", b"-2.5", b"1e3", b"x", b"inf", b"-inf", b"nan", b"1e-17", b"0x10", b"3.14159265358979323846",
    b"1e400", b" 1", b"", b"5e4931",
]  # fmt: skip
SECONDS = [b"1000", b"100000", b"0", b"-1", b"x", b"9223372036854775807", b"9223372036854775", b"99999999999"]
MILLISECONDS = [b"1000000", b"0", b"-1", b"x", b"9223372036854775807", b"123456789"]
TIMES = [b"9999999999", b"1", b"0", b"-5", b"x", b"9223372036854775807", b"4102444800", b"9223372036854775"]
TIMES_MS = [b"9999999999000", b"1", b"0", b"-5", b"x", b"9223372036854775807", b"4102444800123"]
EXPIRIES = {b"ex": SECONDS, b"px": MILLISECONDS, b"exat": TIMES, b"pxat": TIMES_MS}

Maker = Callable[[random.Random], Command]


def key(r: random.Random) -> bytes:
    """Any of ten keys."""
    return r.choice(KEYS)


def keys(r: random.Random, most: int = 3) -> Command:
    """A few keys, perhaps the same one twice."""
    return [key(r) for _ in range(r.randrange(1, most + 1))]


def cased(r: random.Random, word: bytes) -> bytes:
    """A word in any case."""
    return r.choice([word, word.upper(), word.capitalize()])


def expiry(r: random.Random) -> Command:
    """EX, PX, EXAT or PXAT with a good or bad time."""
    name = r.choice(list(EXPIRIES))
    return [cased(r, name), r.choice(EXPIRIES[name])]


def set_options(r: random.Random) -> Command:
    """Up to three options of SET, often ones that exclude each other."""
    out: Command = []
    for _ in range(r.choice([0, 1, 1, 1, 2, 2, 3])):
        kind = r.randrange(9)
        if kind < 4:
            out.append(cased(r, [b"nx", b"xx", b"get", b"keepttl"][kind]))
        elif kind == 4:
            out += [cased(r, b"ifeq"), r.choice(VALUES)]
        elif kind < 8:
            out += expiry(r)
        else:
            out.append(r.choice([b"foo", b"persist", b"ex", b"ifeq", b""]))
    return out


def expire_options(r: random.Random) -> Command:
    """None, one or two conditions of EXPIRE."""
    count = r.choice([0, 0, 0, 1, 1, 2])
    return [cased(r, r.choice([b"nx", b"xx", b"gt", b"lt", b"gt", b"foo"])) for _ in range(count)]


def expire_in(r: random.Random, name: bytes, times: list[bytes]) -> Command:
    """EXPIRE or PEXPIRE; compared with an expiry by GT or LT the time is one of its own.

    The same time again is greater only if the clock has gone on meanwhile, which is not the same on two servers.
    """
    options = expire_options(r)
    compared = any(option.lower() in (b"gt", b"lt") for option in options)
    return [name, key(r), b"%d" % r.randrange(10**6, 10**9) if compared else r.choice(times), *options]


def scan_options(r: random.Random) -> Command:
    """Options of SCAN."""
    return r.choice([
        [], [b"match", b"a*"], [b"COUNT", b"100"], [b"count", b"0"], [b"type", b"string"], [b"TYPE", b"LIST"],
        [b"TYPE", b"foo"], [b"novalues"], [b"foo"], [b"count"], [b"match", b"*", b"type", b"set", b"count", b"300"],
    ])  # fmt: skip


STRINGS: list[Maker] = [
    lambda r: [b"GET", key(r)],
    lambda r: [b"SET", key(r), r.choice(VALUES)],
    lambda r: [b"SET", key(r), r.choice(VALUES), *set_options(r)],
    lambda r: [b"SET", key(r), r.choice(VALUES), *set_options(r)],
    lambda r: [b"SETEX", key(r), r.choice(SECONDS), r.choice(VALUES)],
    lambda r: [b"PSETEX", key(r), r.choice(MILLISECONDS), r.choice(VALUES)],
    lambda r: [b"SETNX", key(r), r.choice(VALUES)],
    lambda r: [b"GETSET", key(r), r.choice(VALUES)],
    lambda r: [b"GETDEL", key(r)],
    lambda r: [b"GETEX", key(r)],
    lambda r: [b"GETEX", key(r), *expiry(r)],
    lambda r: [b"GETEX", key(r), *r.choice([[b"persist"], [b"foo"], [b"persist", b"ex", b"5"], expiry(r) + expiry(r)])],
    lambda r: [b"MGET", *keys(r, 5)],
    lambda r: [b"MSET", *[key(r) if i % 2 == 0 else r.choice(VALUES) for i in range(r.randrange(1, 7))]],
    lambda r: [b"MSETNX", *[key(r) if i % 2 == 0 else r.choice(VALUES) for i in range(r.randrange(1, 6))]],
    lambda r: [b"APPEND", key(r), r.choice(VALUES)],
    lambda r: [b"STRLEN", key(r)],
    lambda r: [r.choice([b"GETRANGE", b"SUBSTR"]), key(r), r.choice(NUMBERS), r.choice(NUMBERS)],
    lambda r: [b"GETRANGE", key(r), b"%d" % r.randrange(-12, 12), b"%d" % r.randrange(-12, 12)],
    lambda r: [b"SETRANGE", key(r), r.choice([b"0", b"3", b"10", b"-1", b"x", b"9223372036854775807", b"536870912"]),
               r.choice(VALUES)],
    lambda r: [r.choice([b"INCR", b"DECR"]), key(r)],
    lambda r: [r.choice([b"INCRBY", b"DECRBY"]), key(r), r.choice(NUMBERS)],
    lambda r: [b"INCRBYFLOAT", key(r), r.choice(FLOATS)],
    lambda r: [b"OBJECT", b"ENCODING", key(r)],
    lambda r: [b"TTL", key(r)],
    lambda r: [r.choice([b"GET", b"SET", b"SETEX", b"INCR", b"MSET", b"APPEND"]), *keys(r)],
    lambda r: [b"RPUSH", b"list", b"1", b"2"],
    lambda r: [b"SADD", b"set", b"1", b"a"],
]  # fmt: skip

GENERIC: list[Maker] = [
    lambda r: [b"SET", key(r), r.choice(VALUES)],
    lambda r: [b"SET", key(r), r.choice(VALUES), *expiry(r)],
    lambda r: [b"APPEND", key(r), b"1"],
    lambda r: [b"RPUSH", r.choice([b"list", b"a"]), b"1", b"2"],
    lambda r: [b"SADD", r.choice([b"set", b"b"]), b"1", b"a"],
    lambda r: [b"HSET", r.choice([b"c", b"{t}x"]), b"f", b"v"],
    lambda r: [b"ZADD", r.choice([b"c", b"{t}y"]), b"1", b"m"],
    lambda r: [r.choice([b"DEL", b"UNLINK", b"EXISTS", b"TOUCH"]), *keys(r)],
    lambda r: [b"TYPE", key(r)],
    lambda r: [r.choice([b"RENAME", b"RENAMENX"]), key(r), key(r)],
    lambda r: [b"MOVE", key(r), r.choice([b"0", b"1", b"x", b"99", b"-1", b"99999999999"])],
    lambda r: [b"COPY", key(r), key(r), *r.choice([
        [], [], [b"REPLACE"], [b"db", b"0"], [b"DB", b"1"], [b"db", b"16"], [b"db", b"x"], [b"DB", b"1", b"replace"],
        [b"foo"], [b"db"]])],
    lambda r: [b"SELECT", r.choice([b"0", b"0", b"1"])],
    lambda r: expire_in(r, b"EXPIRE", SECONDS),
    lambda r: expire_in(r, b"PEXPIRE", MILLISECONDS),
    lambda r: [b"EXPIREAT", key(r), r.choice(TIMES), *expire_options(r)],
    lambda r: [b"PEXPIREAT", key(r), r.choice(TIMES_MS), *expire_options(r)],
    lambda r: [r.choice([b"TTL", b"PTTL", b"PERSIST"]), key(r)],
    lambda r: [r.choice([b"EXPIRETIME", b"PEXPIRETIME"]), key(r)],
    lambda r: [b"OBJECT", r.choice([b"encoding", b"REFCOUNT", b"idletime", b"freq", b"foo", b"HELP"]), key(r)],
    lambda r: [b"KEYS", r.choice([b"*", b"a", b"?", b"[ab]", b"{t}*", b"l*", b"\\a", b""])],
    lambda r: [b"SCAN", r.choice([b"0", b"0", b"x", b"-1", b"", b"+0", b"00"]), *scan_options(r)],
    lambda r: [b"RANDOMKEY"],
    lambda r: [b"DBSIZE"],
    lambda r: [b"GET", key(r)],
    lambda r: [r.choice([b"DEL", b"EXPIRE", b"RENAME", b"SCAN", b"OBJECT", b"COPY", b"MOVE", b"KEYS"]), *keys(r)],
]  # fmt: skip


def stream(seed: int, makers: list[Maker], count: int) -> list[Command]:
    """`count` commands by chance; a FLUSHALL now and then keeps expiries and types apart."""
    r = random.Random(seed)
    lines = [[b"FLUSHALL"]]
    while len(lines) < count:
        lines.append([b"FLUSHALL"] if r.randrange(200) == 0 else r.choice(makers)(r))
    return lines


def normal(command: Command, raw: bytes) -> object:
    """What of a reply has to agree: not the order of keys, not the last second of a time to live."""
    name = command[0].upper()
    if name == b"KEYS" or (name == b"SCAN" and raw[:1] == b"*"):
        return sorted(raw.split(b"\r\n"))
    if name == b"RANDOMKEY":
        return raw in (b"$-1\r\n", b"_\r\n")
    if raw[:1] == b":" and name in (b"TTL", b"PTTL", b"EXPIRETIME", b"PEXPIRETIME"):
        return (int(raw[1:-2]) + 50_000) // 100_000 if int(raw[1:-2]) > 0 else raw  # no time used here is near a half
    if name == b"OBJECT" and raw[:1] == b":":
        return b"a number"
    return raw


def encode(commands: list[Command]) -> bytes:
    """Commands as a client sends them."""
    return b"".join(
        b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%b\r\n" % (len(a), a) for a in args) for args in commands
    )


def compare(twin: Twin, commands: list[Command]) -> None:
    """Send the commands in batches; on the first difference fail with what was done to those keys before."""
    done: list[Command] = []
    for start in range(0, len(commands), 50):
        batch = commands[start : start + 50]
        for line in (twin.oracle, twin.node):
            line.socket.sendall(encode(batch))
        for command in batch:
            theirs, ours = read_reply(twin.oracle.file), read_reply(twin.node.file)
            if normal(command, theirs) != normal(command, ours):
                before = [c for c in done[-300:] if set(c[1:]) & set(command[1:]) or c[0] in (b"FLUSHALL", b"SELECT")]
                raise AssertionError(
                    f"{command}: Valkey {theirs[:300]!r}, ours {ours[:300]!r}\nbefore: {before[-25:]}"
                )
            done.append(command)
