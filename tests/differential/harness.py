"""Sequences of commands to genuine Valkey and to a node, in one go, and every byte of the replies compared.

A `Session` is a set of clients of both servers. `run` sends `Step`s (or plain commands), pipelined as long as they stay
on one client, and raises `Difference` at the first reply that does not agree. `compare_contents` looks at every key.
`check` does both from empty databases and, when the servers differ, shortens the sequence and prints it with its seed.

Replies agree when their bytes are equal. Where they are not, `agree` asks for less by these rules alone, which
docs/differences.md names too:

- `order`: the order of elements in a hash table (KEYS; HGETALL, SMEMBERS, SUNION ... of table-encoded values). Valkey
  seeds its hash function anew at each start, so it does not agree with itself. SUNION and SDIFF are
  collected in such a table too. The order of packed values counts.
- `cursor`: a SCAN cursor other than 0, and how many elements come with it.
- `random`: which element RANDOMKEY, SRANDMEMBER, HRANDFIELD, ZRANDMEMBER or SPOP takes; kinds and numbers count.
- `clock`: times to live, idle times and the times that streams note, because the same command reaches both at
  different moments.
- `encoding`: numbers that a script has stored are `int`; Valkey keeps them as `embstr`.
- `memory`: MEMORY USAGE counts the bytes of different allocators; that it answers an integer counts.
- `dump`: the last ten bytes of DUMP are the version of the RDB format and the checksum over it.
"""

from __future__ import annotations

import dataclasses
import os
import random
import socket
import threading
from collections.abc import Callable, Iterable
from typing import TextIO

import hiredis

from tests.differential.stream_rules import STREAM_DUMP, agree_on_streams, stream_dumps_agree
from tests.differential.twins import Line, Twins, read_reply

Command = list[bytes]

CLOCK_SLACK = {
    b"ttl": 3, b"expiretime": 3, b"pttl": 3000, b"pexpiretime": 3000, b"idletime": 3, b"time": 5, b"lastsave": 60,
}  # fmt: skip
FIELD_CLOCKS = {b"httl": 3, b"hexpiretime": 3, b"hpttl": 3000, b"hpexpiretime": 3000}
SCANS = {b"scan": 1, b"sscan": 1, b"hscan": 2, b"zscan": 2}  # elements that belong together
UNORDERED = {
    b"keys": 1, b"hgetall": 2, b"hkeys": 1, b"hvals": 1, b"smembers": 1, b"sunion": 1, b"sinter": 1, b"sdiff": 1,
}  # fmt: skip
FIELD_TIMES = {b"hexpire", b"hpexpire", b"hexpireat", b"hpexpireat", b"hsetex", b"hgetex"}  # they make tables of hashes
COLLECTED = {b"keys", b"sunion", b"sdiff"}  # in a hash table, however the values are stored
RANDOM = {b"randomkey", b"srandmember", b"hrandfield", b"zrandmember", b"spop"}
# set, hash, hash with fields that expire (at times by another clock), and a packed set that was collected in a table
HASH_DUMPS = (b"\x04", b"\x16")
PACKED_HASH = b"\x10"  # in the order of a table, when it was a table that shrank before it was written to a file
UNORDERED_DUMPS = (b"\x02", b"\x04", b"\x14", b"\x16")
SENT_AT_ONCE = 50_000  # bytes that the kernel surely takes though nobody reads the replies
TRIES = 100  # runs that shortening a failing sequence may cost


def command(line: str) -> Command:
    """A command from its words; `""` is an empty word."""
    return [b"" if word == '""' else word.encode() for word in line.split()]


def encoded(args: Iterable[bytes]) -> bytes:
    """A command as a client sends it."""
    parts = [b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in args]
    return b"*%d\r\n%b" % (len(parts), b"".join(parts))


def shown(args: Command) -> str:
    """A command as a line that redis-cli takes."""
    return " ".join(_word(arg) for arg in args)


def _word(arg: bytes) -> str:
    if arg and all(33 <= c < 127 and c not in b"\"'\\" for c in arg):
        return arg.decode()
    return '"' + "".join(chr(c) if 32 <= c < 127 and c not in b'"\\' else f"\\x{c:02x}" for c in arg) + '"'


class Difference(AssertionError):
    """The first reply that does not agree; `index` is the step's place."""

    def __init__(self, index: int, args: Command, theirs: bytes, ours: bytes) -> None:
        super().__init__(f"{shown(args)[:500]}\n  Valkey: {theirs[:600]!r}\n  Kvorum: {ours[:600]!r}")
        self.index = index
        self.args_sent = args
        self.theirs = theirs
        self.ours = ours


# --- replies taken apart
def parse(raw: bytes) -> list[object]:
    """A raw reply as nested lists: `[letter, text]` or `[letter, item, item, ...]`; text is None in a null."""
    return _parse(raw, 0)[0]


def _parse(raw: bytes, at: int) -> tuple[list[object], int]:
    stop = raw.index(b"\r\n", at)
    letter, rest, at = raw[at : at + 1], raw[at + 1 : stop], stop + 2
    if letter in (b"$", b"=") and rest != b"-1":
        end = at + int(rest)
        return [letter, raw[at:end]], end + 2
    if letter in (b"*", b"~", b"%", b">") and rest != b"-1":
        items: list[object] = [letter]
        for _ in range(int(rest) * (2 if letter == b"%" else 1)):
            item, at = _parse(raw, at)
            items.append(item)
        return items, at
    return [letter, None if letter in b"$*" and rest == b"-1" else rest], at


def decoded(raw: bytes) -> object:
    """A reply as hiredis gives it to a client; fails unless it is exactly one."""
    reader = hiredis.Reader(notEnoughData=Ellipsis)
    reader.feed(raw)
    value = reader.gets()
    assert value is not Ellipsis, f"hiredis finds no whole reply in {raw[:200]!r}"
    assert reader.gets() is Ellipsis, f"hiredis finds more than one reply in {raw[:200]!r}"
    return value


# --- rules
@dataclasses.dataclass
class Seen:
    """What a session has done so far, which decides by which rules replies may agree."""

    packed: bool  # no value is a hash table, by the options ...
    field_times: bool = False  # ... unless it is a hash whose fields had times to live
    scripted: bool = False  # scripts have written
    reloaded: bool = False  # all was written to a file and read back

    def note(self, args: Command) -> None:
        """A command is compared, plain or called from a script."""
        name = args[0].lower()
        self.scripted = self.scripted or name == b"eval"
        if name == b"eval" and len(args) > 3:
            name = args[3].lower()
        self.field_times = self.field_times or name in FIELD_TIMES
        self.reloaded = self.reloaded or [word.lower() for word in args[:2]] == [b"debug", b"reload"]


def agree(args: Command, theirs: list[object], ours: list[object], seen: Seen) -> bool:
    """Whether two parsed replies that are not equal agree by a rule.

    A command that a script has called, as `generate.in_script` has it, agrees by its own rule.
    """
    if args[0] == b"eval" and len(args) > 3:
        args = args[3:]
    name = args[0].lower()
    if name == b"object" and len(args) > 1:
        name = args[1].lower()
    if theirs[0] != ours[0] or theirs[0] == b"-":
        return False
    if name in CLOCK_SLACK:
        return _close(theirs, ours, CLOCK_SLACK[name])
    if name in FIELD_CLOCKS:
        pairs = list(zip(theirs[1:], ours[1:], strict=False))
        alike = len(theirs) == len(ours) and all(isinstance(part, list) for pair in pairs for part in pair)
        return alike and all(a == b or _close(a, b, FIELD_CLOCKS[name]) for a, b in pairs)  # type: ignore[arg-type]
    if name in SCANS:
        alone = any(arg.lower() in (b"novalues", b"noscores") for arg in args)
        cursor = args[1 if name == b"scan" else 2]
        return _scans_agree(theirs, ours, 1 if alone else SCANS[name], cursor)
    if name in RANDOM:
        return _shape(theirs) == _shape(ours)
    table = not seen.packed or name in COLLECTED or (seen.field_times and name in (b"hgetall", b"hkeys", b"hvals"))
    if name in UNORDERED and table:
        return _grouped(theirs, UNORDERED[name]) == _grouped(ours, UNORDERED[name])
    if name == b"encoding":
        return seen.scripted and theirs[1] == b"embstr" and ours[1] == b"int"
    if name == b"memory":
        return theirs[0] == b":"
    if name in (b"xpending", b"xinfo"):
        return agree_on_streams(name, theirs, ours)
    if name == b"dump":
        return _dumps_agree(theirs[1], ours[1], seen)
    return False


def _close(theirs: list[object], ours: list[object], slack: int) -> bool:
    if isinstance(theirs[1], list):  # TIME
        pairs = zip(theirs[1:2], ours[1:2], strict=True)
        return all(_close(a, b, slack) for a, b in pairs)  # type: ignore[arg-type]
    one, other = int(theirs[1]), int(ours[1])  # type: ignore[call-overload]
    return one >= 0 and other >= 0 and abs(one - other) <= slack


def _scans_agree(theirs: list[object], ours: list[object], group: int, cursor: bytes) -> bool:
    if theirs[1] != [b"$", b"0"] or ours[1] != [b"$", b"0"] or cursor.strip(b" 0"):
        return _shape(theirs)[:2] == _shape(ours)[:2]
    return _grouped(theirs[2], group) == _grouped(ours[2], group)


def _grouped(reply: object, group: int) -> object:
    assert isinstance(reply, list)
    items = reply[1:]
    if reply[0] not in (b"*", b"~", b"%"):
        return reply
    return reply[0], sorted(items[i : i + group] for i in range(0, len(items), group))


def _shape(reply: list[object]) -> list[object]:
    """Letters and numbers of elements without what is in them."""
    if reply[0] in (b"*", b"~", b"%", b">"):
        return [reply[0], *[_shape(item) if isinstance(item, list) else item for item in reply[1:]]]
    if reply[0] == b"$":
        return [b"$", reply[1] is None]
    return [reply[0]]


def _dumps_agree(theirs: object, ours: object, seen: Seen) -> bool:
    if not isinstance(theirs, bytes) or not isinstance(ours, bytes):
        return False
    if theirs[:-10] == ours[:-10]:
        return True
    if theirs[:1] == ours[:1] == STREAM_DUMP:
        return stream_dumps_agree(theirs, ours)
    kind = theirs[:1]
    if kind != ours[:1] or len(theirs) != len(ours):
        return False
    unordered = kind in UNORDERED_DUMPS or (kind == PACKED_HASH and seen.reloaded)
    return unordered and (not seen.packed or (seen.field_times and kind in (*HASH_DUMPS, PACKED_HASH)))


# --- running
@dataclasses.dataclass
class Step:
    """A command of one of the session's clients; `replies` may be 0 (it blocks) or more than one (SUBSCRIBE)."""

    args: Command
    client: int = 0
    replies: int = 1


class Pair:
    """One client of both servers, and what it has queued inside MULTI."""

    def __init__(self, twins: Twins, protocol: int) -> None:
        self.oracle, self.node = (Line(server) for server in twins.servers)
        self.queue: list[Command] | None = None
        for link in self.both:
            link.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if protocol == 3:
                link.ask([b"hello", b"3"])

    @property
    def both(self) -> tuple[Line, Line]:
        """The link to Valkey and the one to the node."""
        return self.oracle, self.node

    def close(self) -> None:
        """Hang up on both."""
        for link in self.both:
            link.close()


class Session:
    """Clients of both servers, made when they are first used."""

    def __init__(self, twins: Twins, protocol: int = 2, packed: bool = True) -> None:
        self.twins = twins
        self.protocol = protocol
        self.seen = Seen(packed)
        self.commands = 0
        self._pairs: dict[int, Pair] = {}

    def pair(self, client: int) -> Pair:
        """A client by its number."""
        if client not in self._pairs:
            self._pairs[client] = Pair(self.twins, self.protocol)
        return self._pairs[client]

    def close(self) -> None:
        """Hang up all clients."""
        for pair in self._pairs.values():
            pair.close()
        self._pairs.clear()

    def run(self, steps: Iterable[Step | Command]) -> list[tuple[bytes, bytes]]:
        """Run the steps in order on both servers; returns both sides' raw replies. Raises Difference."""
        plain = [step if isinstance(step, Step) else Step(step) for step in steps]
        self.commands += len(plain)
        results: list[tuple[bytes, bytes]] = []
        start = 0
        while start < len(plain):
            stop = start
            while stop < len(plain) and plain[stop].client == plain[start].client:
                stop += 1
            results += self._run_on(self.pair(plain[start].client), plain[start:stop], start)
            start = stop
        return results

    def _run_on(self, pair: Pair, steps: list[Step], first: int) -> list[tuple[bytes, bytes]]:
        """Send and read; much is sent by a thread for each server, lest both sides wait for the other to read."""
        data = b"".join(encoded(step.args) for step in steps)
        senders: list[threading.Thread] = []
        for link in pair.both:
            if len(data) < SENT_AT_ONCE:
                _send(link, data)
            else:
                senders.append(threading.Thread(target=_send, args=(link, data)))
                senders[-1].start()
        try:
            return self._read(pair, steps, first)
        finally:
            for sender in senders:
                sender.join(10)

    def _read(self, pair: Pair, steps: list[Step], first: int) -> list[tuple[bytes, bytes]]:
        results: list[tuple[bytes, bytes]] = []
        for index, step in enumerate(steps, first):
            for _ in range(step.replies):
                theirs, ours = (_reply(link) for link in pair.both)
                if not self._agree(pair, step.args, theirs, ours):
                    raise Difference(index, step.args, theirs, ours)
                results.append((theirs, ours))
        return results

    def heard(self, client: int) -> tuple[bytes, bytes]:
        """The next reply of a client that has sent nothing (a message, or the end of its wait). Raises Difference."""
        pair = self.pair(client)
        theirs, ours = (_reply(link) for link in pair.both)
        if theirs != ours or theirs == b"(no answer)":
            raise Difference(0, [b"(message to client %d)" % client], theirs, ours)
        return theirs, ours

    def _agree(self, pair: Pair, args: Command, theirs: bytes, ours: bytes) -> bool:
        name = args[0].lower()
        self.seen.note(args)
        queue = pair.queue
        if name == b"multi" and queue is None and theirs == b"+OK\r\n":
            pair.queue = []
        elif name in (b"exec", b"discard", b"reset"):
            pair.queue = None
        elif queue is not None and theirs == b"+QUEUED\r\n":
            queue.append(args)
        if ours in _NOTHING or theirs in _NOTHING:
            return theirs == ours == b"(closed)"
        decoded(ours)
        if theirs == ours:
            return True
        one, other = parse(theirs), parse(ours)
        if name == b"exec" and queue is not None and len(one) == len(other) == len(queue) + 1:
            parts = zip(queue, one[1:], other[1:], strict=True)
            return all(a == b or agree(c, a, b, self.seen) for c, a, b in parts)  # type: ignore[arg-type]
        return agree(args, one, other, self.seen)

    def compare_contents(self, databases: Iterable[int] = (0,)) -> None:
        """Compare every key of the databases: type, encoding, time to live, value, and its DUMP. Raises Difference."""
        for pair in self._pairs.values():
            if pair.queue is not None:
                self.run([[b"discard"]])
        for db in databases:
            found = self.run([[b"select", b"%d" % db], [b"dbsize"], [b"keys", b"*"]])
            names = sorted(item[1] for item in parse(found[2][0])[1:])  # type: ignore[index]
            types = self.run([[b"type", name] for name in names])
            for name, (kind, _) in zip(names, types, strict=True):
                dumps = self.run(_readings(name, kind[1:-2]))[-1]
                self._exchange(name, *(decoded(raw) for raw in dumps))
        self.run([[b"select", b"0"]])

    def _exchange(self, name: bytes, theirs: object, ours: object) -> None:
        """Have each server restore what the other has dumped of a key. Raises Difference."""
        oracle, node = self.pair(0).both
        if isinstance(theirs, bytes) and isinstance(ours, bytes):
            place = b"restored " + name
            for link, payload in ((oracle, ours), (node, theirs)):
                for args, answer in (([b"restore", place, b"0", payload], b"+OK\r\n"), ([b"del", place], b":1\r\n")):
                    got = link.ask(args)
                    if got != answer:
                        raise Difference(-1, args, *((got, answer) if link is oracle else (answer, got)))


def _readings(name: bytes, kind: bytes) -> list[Command]:
    """Commands that read all there is to know of a key."""
    whole = {
        b"string": [[b"get", name]],
        b"list": [[b"lrange", name, b"0", b"-1"]],
        b"set": [[b"smembers", name]],
        b"hash": [[b"hgetall", name]],
        b"stream": [[b"xrange", name, b"-", b"+"], [b"xinfo", b"stream", name, b"full", b"count", b"0"]],
        b"zset": [[b"zrange", name, b"0", b"-1", b"withscores"], [b"zrevrange", name, b"0", b"-1", b"withscores"]],
    }
    return [*whole[kind], [b"object", b"encoding", name], [b"pttl", name], [b"dump", name]]


_NOTHING = (b"(closed)", b"(no answer)")


def _send(link: Line, data: bytes) -> None:
    link.socket.sendall(data)


def _reply(link: Line) -> bytes:
    try:
        return read_reply(link.file)
    except (EOFError, ConnectionError):
        return b"(closed)"
    except TimeoutError:
        return b"(no answer)"


# --- seeds and shortening
def seeds(fixed: int) -> list[int]:
    """The fixed seed and a new one, or the one of $KVORUM_DIFF_SEED alone."""
    if told := os.environ.get("KVORUM_DIFF_SEED"):
        return [int(told)]
    # The workers of a parallel run have to name their tests alike.
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    return [fixed, (random.Random(run) if run else random.SystemRandom()).randrange(1 << 32)]


def check(
    new_session: Callable[[], Session],
    setup: list[Command],
    steps: list[Command],
    seed: int,
    after: Callable[[Session], None] | None = None,
) -> int:
    """Run setup and steps from empty databases and compare; returns how many commands were sent.

    When the servers differ, fails with the seed and the shortest sequence found that still differs.
    """
    count, difference = _attempt(new_session, setup, steps, after)
    if difference is None:
        return count
    kept = steps[: difference.index + 1] if difference.index >= 0 else steps
    if b"(no answer)" not in (difference.theirs, difference.ours):  # waiting so often would take too long
        kept, difference = _shorten(new_session, setup, kept, after, difference)
    lines = "\n".join("  " + shown(args)[:1000] for args in [*setup, *kept])
    raise AssertionError(f"KVORUM_DIFF_SEED={seed}: the servers differ after\n{lines}\nin {difference}") from None


def _attempt(
    new_session: Callable[[], Session],
    setup: list[Command],
    steps: list[Command],
    after: Callable[[Session], None] | None,
) -> tuple[int, Difference | None]:
    """Run once; the difference's `index` counts from the first step, -1 when it was found in the contents."""
    session = new_session()
    try:
        session.run([[b"flushall"], *setup])
        if after is not None:
            after(session)
        try:
            session.run(steps)
        except Difference as difference:
            return session.commands, difference
        try:
            session.compare_contents((0, 1))
        except Difference as difference:
            difference.index = -1
            return session.commands, difference
        return session.commands, None
    finally:
        session.close()


def _shorten(
    new_session: Callable[[], Session],
    setup: list[Command],
    steps: list[Command],
    after: Callable[[Session], None] | None,
    difference: Difference,
) -> tuple[list[Command], Difference]:
    """Leave out ever smaller pieces as long as a difference of the same command stays."""
    tries, size = 0, max(len(steps) // 2, 1)
    while tries < TRIES:
        at = 0
        while at < len(steps) and tries < TRIES:
            shorter = steps[:at] + steps[at + size :]
            tries += 1
            _, found = _attempt(new_session, setup, shorter, after)
            if found is not None and found.args_sent[0].lower() == difference.args_sent[0].lower():
                steps, difference = shorter[: found.index + 1] if found.index >= 0 else shorter, found
            else:
                at += size
        if size == 1:
            break
        size = max(size // 2, 1)
    return steps, difference


def report(text: str, out: TextIO | None = None) -> None:
    """Print a line that pytest shows when the test fails, or with -s."""
    print(text, file=out, flush=True)
