"""redis-py's own helpers: locks, pipelines, scripts, pub/sub, iterators.

Its client-side cache is left out: it wants a server that is named redis.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
import redis
import redis.asyncio
from redis.exceptions import LockError, LockNotOwnedError, NoScriptError, ResponseError, WatchError

SECONDS = 20.0


@pytest.fixture(params=[2, 3])
def client(url: str, request: pytest.FixtureRequest) -> Iterator[redis.Redis]:
    """A client of the empty service, that speaks RESP2 and then RESP3."""
    with redis.Redis.from_url(url, protocol=request.param, decode_responses=True) as found:
        found.flushall()
        found.script_flush()
        yield found


def test_lock(client: redis.Redis) -> None:
    """One owner at a time; only the owner prolongs it and gives it back; it lapses."""
    first, second = client.lock("lock", timeout=20), client.lock("lock", timeout=20)
    assert first.acquire()
    assert not second.acquire(blocking=False)
    assert not second.acquire(blocking_timeout=0.02)
    assert first.extend(5)
    assert 20 < client.ttl("lock") <= 25
    assert first.extend(7, replace_ttl=True)
    assert 5 < client.ttl("lock") <= 7
    assert first.reacquire()
    assert 7 < client.ttl("lock") <= 20
    with pytest.raises(LockError):
        second.release()
    second.local.token = b"another"
    with pytest.raises(LockNotOwnedError):
        second.release()
    second.local.token = b"another"
    with pytest.raises(LockNotOwnedError):
        second.extend(1)
    assert (first.owned(), second.owned(), first.locked()) == (True, False, True)
    first.release()
    assert client.lock("lock", timeout=0.05).acquire()
    with client.lock("lock", timeout=20, sleep=0.005, blocking_timeout=SECONDS):
        assert client.exists("lock")
    assert not client.exists("lock")


def test_threads_that_share_a_lock(client: redis.Redis) -> None:
    """None is inside together with another, and each gets its turns."""
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        for _ in range(10):
            with client.lock("shared", timeout=20, sleep=0.001):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(5)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(SECONDS)
    assert (len(most), max(most)) == (50, 1)


def test_pipelines(client: redis.Redis) -> None:
    """With and without a transaction, watched keys, errors among the replies, and repeated transactions."""
    with client.pipeline() as pipe:
        assert pipe.set("a", 1).incr("a", 41).get("a").lpush("l", *range(3)).execute() == [True, 42, "42", 3]
        pipe.get("a").incr("l").get("a")
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            pipe.execute()
    with client.pipeline(transaction=False) as pipe:
        for number in range(3000):
            pipe.hset("h", f"f{number}", number)
        assert pipe.execute() == [1] * 3000
        replies = pipe.get("a").incr("l").execute(raise_on_error=False)
        assert replies[0] == "42"
        assert isinstance(replies[1], ResponseError)
    with client.pipeline() as pipe:
        pipe.watch("a")
        client.set("a", "changed")
        pipe.multi()
        pipe.set("a", "mine")
        with pytest.raises(WatchError):
            pipe.execute()

    def double(pipe: redis.client.Pipeline) -> None:
        now = int(pipe.get("n") or 1)
        pipe.multi()
        pipe.set("n", 2 * now)

    threads = [threading.Thread(target=client.transaction, args=(double, "n")) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(SECONDS)
    assert client.get("n") == "256"


def test_scripts(client: redis.Redis) -> None:
    """A registered script is sent when the server does not know it, alone and in pipelines."""
    add = client.register_script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    assert add(keys=["s"], args=[5]) == 5
    client.script_flush()
    assert client.script_exists(add.sha) == [False]
    assert add(keys=["s"], args=[5]) == 10
    client.script_flush()
    with client.pipeline() as pipe:
        pipe.set("s", 1)
        add(keys=["s"], args=[2], client=pipe)
        assert pipe.execute() == [True, 3]
    with pytest.raises(NoScriptError):
        client.evalsha("0" * 40, 0)
    with pytest.raises(ResponseError, match="my own words"):
        client.eval("return redis.error_reply('my own words')", 0)
    assert client.eval("return {1, 'two', {3, false}, 3.9}", 0) == [1, "two", [3, None], 3]
    assert client.eval_ro("return redis.call('GET', KEYS[1])", 1, "s") == "3"
    with pytest.raises(ResponseError, match="Write commands are not allowed from read-only scripts"):
        client.eval_ro("return redis.call('DEL', KEYS[1])", 1, "s")


def test_pubsub(client: redis.Redis) -> None:
    """A thread of redis-py hears channels and patterns."""
    heard: list[tuple[str, str]] = []
    enough = threading.Event()

    def hear(message: dict[str, str]) -> None:
        heard.append((message["channel"], message["data"]))
        if len(heard) == 3:
            enough.set()

    listener = client.pubsub(ignore_subscribe_messages=True)
    listener.subscribe(news=hear)
    listener.psubscribe(**{"n*": hear})
    ready = 0
    while ready < 2:
        ready += listener.parse_response(block=True) is not None
    thread = listener.run_in_thread(sleep_time=0.01)
    try:
        assert client.publish("news", "one") == 2
        assert client.publish("night", "two") == 1
        assert enough.wait(SECONDS)
    finally:
        thread.stop()
        thread.join(SECONDS)
        listener.close()
    assert sorted(heard) == [("news", "one"), ("news", "one"), ("night", "two")]


def test_iterators_and_blocking(client: redis.Redis) -> None:
    """Scans find all there is; a pop waits for what comes; a group reads a stream."""
    client.mset({f"k{number}": number for number in range(500)})
    client.zadd("z", {f"m{number}": number for number in range(500)})
    assert len(set(client.scan_iter("k*", count=50))) == 500
    assert dict(client.zscan_iter("z"))["m499"] == 499.0
    pusher = threading.Timer(0.05, client.rpush, ("later", "x"))
    pusher.start()
    assert client.blpop(["never", "later"], SECONDS)[1] == "x"
    pusher.join(SECONDS)
    client.xgroup_create("x", "g", mkstream=True)
    entry = client.xadd("x", {"a": "1"})
    assert client.xlen("x") == 1
    client.xreadgroup("g", "c", {"x": ">"})
    assert client.xpending("x", "g")["pending"] == 1
    assert client.xack("x", "g", entry) == 1


def test_asyncio(url: str) -> None:
    """The same by asyncio: a lock of two tasks, a pipeline, a script."""

    async def run() -> None:
        async with redis.asyncio.Redis.from_url(url, decode_responses=True) as client:
            await client.flushall()
            order: list[str] = []

            async def work(name: str) -> None:
                async with client.lock("async", timeout=20, sleep=0.002):
                    order.append(name)
                    await client.incr("count")
                    order.append(name)

            await asyncio.gather(*(work(str(number)) for number in range(10)))
            assert all(order[at] == order[at + 1] for at in range(0, 20, 2))
            assert await client.get("count") == "10"
            async with client.pipeline() as pipe:
                assert await pipe.set("a", 1).incr("a").execute() == [True, 2]
            script = client.register_script("return {KEYS[1], ARGV[1]}")
            assert await script(keys=["k"], args=["v"]) == ["k", "v"]

    asyncio.run(asyncio.wait_for(run(), 2 * SECONDS))
