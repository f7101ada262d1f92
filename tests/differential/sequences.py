"""Sequences of commands for hypothesis, sent to both servers in one go, and their replies taken apart."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st

from tests.conftest import Server
from tests.differential.twins import Line, Twin, Twins, read_reply

Command = list[bytes]

START: list[Command] = [[b"flushall"], [b"set", b"str", b"text"], [b"set", b"txt", b"text"]]


def line(*parts: object) -> st.SearchStrategy[Command]:
    """One command of fixed words, single arguments and lists of arguments."""
    strategies = [st.just(part) if isinstance(part, bytes) else part for part in parts]
    return st.tuples(*strategies).map(lambda t: [word for x in t for word in (x if isinstance(x, list) else [x])])


def parse(raw: bytes) -> object:
    """A raw reply as nested lists, its type letter first."""
    return _parse(raw, 0)[0]


def _parse(raw: bytes, at: int) -> tuple[list[object], int]:
    stop = raw.index(b"\r\n", at)
    letter, rest, at = raw[at : at + 1], raw[at + 1 : stop], stop + 2
    if rest == b"-1" and letter in (b"$", b"*"):
        return [b"_", letter], at
    if letter == b"$":
        end = at + int(rest)
        return [letter, raw[at:end]], end + 2
    if letter in (b"*", b"~", b"%", b">"):
        items: list[object] = [letter]
        for _ in range(int(rest) * (2 if letter == b"%" else 1)):
            item, at = _parse(raw, at)
            items.append(item)
        return items, at
    return [letter, rest], at


def encoded(command: Command) -> bytes:
    """A command as a client sends it."""
    return b"*%d\r\n" % len(command) + b"".join(b"$%d\r\n%b\r\n" % (len(a), a) for a in command)


def assert_alike(twin: Twin, sequence: list[Command], normal: Callable[[Command, bytes], object]) -> None:
    """Run the commands from an empty database on both, and compare what `normal` leaves of each reply."""
    sequence = [*START, *sequence]
    for link in (twin.oracle, twin.node):
        link.socket.sendall(b"".join(encoded(command) for command in sequence))
    replies = [(command, read_reply(twin.oracle.file), read_reply(twin.node.file)) for command in sequence]
    differences = [found for found in replies if normal(found[0], found[1]) != normal(found[0], found[2])]
    assert not differences, f"first of {len(differences)} (command, Valkey, ours): {differences[0]}"


def heard(servers: Twins, sequence: list[Command]) -> tuple[list[bytes], list[bytes]]:
    """The keyspace events that a run of the commands causes, of oracle and node."""
    worker, listener = servers.client(), servers.client()
    listener.both(b"psubscribe", b"__key*__:*")
    events = _events(worker.oracle, listener.oracle, sequence), _events(worker.node, listener.node, sequence)
    worker.close()
    listener.close()
    return events


def _events(worker: Line, listener: Line, sequence: list[Command]) -> list[bytes]:
    for command in [*START, *sequence, [b"publish", b"__key*__:", b"end"]]:
        worker.ask(command)
    events: list[bytes] = []
    while not (message := read_reply(listener.file)).endswith(b"\r\nend\r\n"):
        events.append(message)
    return events


def stream(server: Server, sequence: list[Command]) -> list[Command]:
    """What a replica of the server is sent for the commands, as commands; PING is left out."""
    link, worker = Line(server), Line(server)
    worker.ask([b"flushall"])
    link.socket.sendall(b"SYNC\r\n")
    while (head := link.file.readline()) == b"\n":
        pass  # a newline a second while the snapshot is made
    link.file.read(int(head[1:]))
    for command in sequence:
        worker.ask(command)
    worker.ask([b"publish", b"end", b"end"])
    effects: list[Command] = []
    while not effects or effects[-1][1:] != [b"end", b"end"]:
        reply = parse(read_reply(link.file))
        assert isinstance(reply, list)
        effects.append([item[1] for item in reply[1:]])
    worker.close()
    link.close()
    return [effect for effect in effects if effect[0].upper() != b"PING"]
