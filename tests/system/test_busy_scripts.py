"""Scripts that do not end, that want all memory, and what others are answered meanwhile; with real processes."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import redis

from tests.conftest import Server, find_free_port, start_server
from tests.system.test_replication import in_sync, until

THRESHOLD = ("--busy-reply-threshold", "50")
LIBRARY = (
    "#!lua name=endless\nredis.register_function('spin', function() while true do end end)\n"
    "redis.register_function('put', function(k) return redis.call('set', k[1], 'by function') end)"
)
ENDLESS = {
    "plain": "while true do end",
    "catches-errors": "while true do pcall(function() while true do end end) end",
    "calls": "while true do redis.call('get', 'a') end",
    "coroutines": "while true do local c = coroutine.wrap(function() while true do end end) pcall(c) end",
    "in-a-comparison": "local t = {} for i = 1, 100 do t[i] = i end table.sort(t, function() while true do end end)",
    "handler": "xpcall(function() while true do end end, function() while true do end end)",
}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A node that is busy after 50 ms."""
    folder, port = tmp_path_factory.mktemp("busy"), find_free_port()
    command = [sys.executable, "-m", "node", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    server = start_server([*command, *THRESHOLD], folder, port)
    yield server
    server.kill()


class Running:
    """A command in a thread of its own; `outcome` is what it was answered."""

    def __init__(self, node: Server, *args: str | int) -> None:
        self.outcome: object = None
        self._client = node.client(socket_timeout=60)
        self._thread = threading.Thread(target=self._run, args=args)
        self._thread.start()

    def _run(self, *args: str | int) -> None:
        try:
            self.outcome = self._client.execute_command(*args)
        except redis.RedisError as error:
            self.outcome = error

    def join(self) -> object:
        """Wait for the answer."""
        self._thread.join(60)
        return self.outcome


def until_busy(client: redis.Redis) -> None:
    """Wait until the node answers BUSY."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            client.ping()
        except redis.ResponseError as error:
            assert str(error).startswith("BUSY")  # noqa: PT017 - what redis-py makes of it
            return
    raise AssertionError("never busy")


@pytest.mark.parametrize("script", ENDLESS.values(), ids=ENDLESS.keys())
def test_script_kill(node: Server, script: str) -> None:
    """SCRIPT KILL ends any script that has not written, whatever it catches; the node serves on."""
    client = node.client()
    running = Running(node, "EVAL", script, 0)
    until_busy(client)
    assert client.execute_command("SCRIPT", "KILL") in (b"OK", True)
    assert "Script killed by user with SCRIPT KILL" in str(running.join())
    assert client.ping()
    assert client.eval("return 7", 0) == 7


def test_function_kill(node: Server) -> None:
    """FUNCTION KILL is for functions, SCRIPT KILL for scripts; FUNCTION STATS tells what runs."""
    client = node.client()
    client.function_load(LIBRARY, replace=True)
    running = Running(node, "FCALL", "spin", 0)
    until_busy(client)
    stats = client.execute_command("FUNCTION", "STATS")
    assert b"spin" in str(stats).encode()
    with pytest.raises(redis.ResponseError, match="BUSY"):
        client.execute_command("SCRIPT", "KILL")
    client.execute_command("FUNCTION", "KILL")
    assert "Script killed by user with FUNCTION KILL" in str(running.join())
    with pytest.raises(redis.ResponseError, match="No scripts in execution"):
        client.execute_command("FUNCTION", "KILL")


def test_writer_is_not_killed(node_process: Callable[..., Server]) -> None:
    """A script that has written can only be ended with the node, by SHUTDOWN NOSAVE."""
    node = node_process(*THRESHOLD)
    client = node.client()
    running = Running(node, "EVAL", "redis.call('set', 'a', 1) while true do end", 0)
    until_busy(client)
    with pytest.raises(redis.ResponseError, match="already executed write"):
        client.execute_command("SCRIPT", "KILL")
    with pytest.raises((redis.ConnectionError, redis.TimeoutError)):
        client.execute_command("SHUTDOWN", "NOSAVE")
    assert isinstance(running.join(), redis.RedisError)
    node.process.wait(20)


def test_library_that_never_ends(node: Server) -> None:
    """FUNCTION LOAD gives a library half a second to register its functions."""
    with pytest.raises(redis.ResponseError, match="FUNCTION LOAD timeout"):
        node.client(socket_timeout=60).function_load("#!lua name=x\nwhile true do end")


def test_memory_is_bounded(node: Server) -> None:
    """A script that takes all the memory it can get is ended with an error; the node lives on and gives it back."""
    client = node.client(socket_timeout=120)
    with pytest.raises(redis.ResponseError, match="not enough memory"):
        client.eval("local s = 'x' while true do s = s .. s end", 0)
    with pytest.raises(redis.ResponseError, match="not enough memory"):
        client.eval("return string.rep('x', 2^31 - 1)", 0)
    assert client.eval("return 1", 0) == 1
    assert client.eval("return #KEYS + #ARGV", 3000, *range(20_000)) == 20_000


def test_effects_reach_replicas(node_process: Callable[..., Server]) -> None:
    """What scripts and functions write, and the libraries themselves, are on a replica: by stream and by full sync."""
    primary = node_process()
    client = primary.client()
    client.function_load(LIBRARY)
    client.eval("redis.call('set', 'before', redis.call('incr', 'n'))", 0)
    replica = node_process("--replicaof", "127.0.0.1", str(primary.port))
    other = replica.client()
    until(lambda: in_sync(client, other), "the first sync")
    assert client.function_list() == other.function_list()
    client.fcall("put", 1, "k")
    client.eval("for i = 1, 50 do redis.call('rpush', 'l', math.random(100)) end redis.call('spop', 'none')", 0)
    with pytest.raises(redis.ResponseError):
        client.eval("redis.call('set', 'half', 1) error('stop')", 0)
    client.function_load("#!lua name=second\nredis.register_function('again', function() return 2 end)")
    until(lambda: in_sync(client, other), "the stream")
    for key in (b"before", b"k", b"half", b"n"):
        assert other.get(key) == client.get(key) is not None
    assert other.lrange("l", 0, -1) == client.lrange("l", 0, -1)
    assert len(other.function_list()) == 2
    with pytest.raises(redis.ResponseError, match="readonly replica"):
        other.fcall("put", 1, "k")
