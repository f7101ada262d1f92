"""MONITOR: what is shown, in which order and how, agrees with genuine Valkey's but for times and ports."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.differential.harness import Session
from tests.differential.twins import Line, Twins, start_twins

END = b"the-end-of-it"

# Commands of one client while another watches; each line of a script is one command.
SCRIPTS = {
    "plain": "set x 1 ex 10;get x;GET x;mget a b;del x;nosuch a;get;get a b c;lpush x 1",
    "quoting": 'set "a\\x01\\n\\"b" "\\\\ \\t\\r\\a\\b\\x7f\\xff \'";get ""',
    "secrets": "auth foo;auth u pw;hello 3 auth default x;hello 2 auth default x setname n;hello 2 setname n;hello 4",
    "administration": "config get maxmemory;config set maxmemory 0;config help;client list;client kill 1.1.1.1:1;"
    "client pause 0;client unpause;slowlog len;slowlog get;slowlog help;latency latest;debug sleep 0;replicaof no one;"
    "commandlog len slow;monitor extra",
    "client": "client setname foo;client id;client getname;client no-touch off;client reply on;client tracking on;"
    "client caching yes;client setinfo lib-name x;client help;client tracking off",
    "databases": "select 3;get x;select 0;swapdb 0 1",
    "multi": "multi;set x 1;get y;nosuch;exec;multi;set x 1;get y;exec;multi;get x;discard;exec;discard;multi;get",
    "nested": "multi;multi;watch x;exec;watch x;unwatch",
    "pubsub": "publish a b;spublish a b",
    "facts": "ping;ping x;echo hi;command count;object encoding x;memory usage x;role;dbsize;type x;flushall;"
    "flushdb;wait 0 0",
    "blocking": "rpush l 1;blpop l 0;blpop l 0.01;lmove a b left right;blmove a b left right 0.01",
    "reset": "reset;get x",
    "latency": "latency histogram get;latency help;memory doctor;memory help;memory purge",
    "scripts": "eval \"return server.call('get',KEYS[1])\" 1 x;eval_ro \"return server.call('get',KEYS[1])\" 1 x;"
    "eval \"syntax err\" 0;eval \"return 1\" abc;evalsha 0 0;script exists a;eval \"return server.pcall('nosuch')\" 0",
}


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """One pair for all scripts."""
    with start_twins(tmp_path_factory.mktemp("monitor"), "--enable-debug-command", "yes") as found:
        yield found


def plain(line: bytes) -> bytes:
    """A monitor line without its time and port."""
    return re.sub(rb"^\+\d+\.\d{6} \[(\d+) (?:127\.0\.0\.1:\d+|\[::1\]:\d+)\]", rb"+TIME [\1 ADDRESS]", re.sub(
        rb"^\+\d+\.\d{6} \[(\d+) lua\]", rb"+TIME [\1 lua]", line))  # fmt: skip


def heard(monitor: Line, client: Line) -> list[bytes]:
    """All that the monitor was shown up to a last command of the client."""
    client.ask([b"echo", END])
    lines: list[bytes] = []
    while not lines or END not in lines[-1]:
        lines.append(plain(monitor.read(1)))
    return lines


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_what_is_shown(twins: Twins, script: str, protocol: int) -> None:
    """Monitors see the same commands, with the same secrets left out."""
    session = Session(twins, protocol)
    shown = []
    for monitor, client in zip(session.pair(1).both, session.pair(0).both, strict=True):
        client.ask([b"flushall"])
        monitor.ask([b"monitor"])
        for line in script.split(";"):
            client.socket.sendall(line.encode() + b"\r\n")
            client.read(1)
        client.ask([b"discard"])
        shown.append(heard(monitor, client))
    session.close()
    assert shown[1] == shown[0]


def test_what_a_monitor_may_do(twins: Twins) -> None:
    """A monitor may not touch keys, sees its own commands after their replies, and is normal again after RESET."""
    session = Session(twins, 2)
    results = []
    for monitor in session.pair(1).both:
        found = [monitor.ask([b"monitor"]), monitor.ask([b"get", b"x"]), monitor.ask([b"publish", b"a", b"b"])]
        found.append(monitor.ask([b"ping"]))
        found.append(plain(monitor.read(1)))
        found.append(b"flags=O " in monitor.ask([b"client", b"info"]))
        found.append(plain(monitor.read(1)))
        monitor.socket.sendall(b"monitor\r\nping\r\n")  # the second MONITOR is not answered
        found.append(monitor.read(1))
        found.append(plain(monitor.read(1)))
        found.append(monitor.ask([b"reset"]))
        found.append(monitor.ask([b"get", b"x"]))
        results.append(found)
    session.close()
    assert results[1] == results[0]


def test_monitor_inside_a_transaction(twins: Twins) -> None:
    """EXEC refuses it."""
    session = Session(twins, 2)
    session.run([[b"multi"], [b"monitor"], [b"exec"], [b"get", b"x"]])
    session.close()
