"""MULTI, EXEC, DISCARD, WATCH and UNWATCH with several clients: every reply agrees with genuine Valkey's."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.differential.harness import Session, Step, command
from tests.differential.twins import Twins, start_twins

# Each line is `client: command`; a client that is left out is client 0.
SCRIPTS = {
    "plain": "multi;set a 1;incr a;get a;exec;get a",
    "empty": "multi;exec",
    "nested": "multi;multi;set a 1;exec;get a",
    "exec-without-multi": "exec;discard;unwatch",
    "discard": "set a 1;multi;set a 2;discard;get a;exec",
    "arity-error-aborts": "multi;set a;set a 1;exec;get a;exec",
    "unknown-command-aborts": "multi;nosuch x;get a;exec",
    "unknown-subcommand-aborts": "multi;client nosuch;get a;exec;multi;object;exec",
    "watch-inside-aborts-not": "multi;watch a;set a 1;exec;get a",
    "unwatch-inside": "watch a;multi;unwatch;set a 1;exec",
    "not-allowed-inside": "multi;subscribe c;set a 1;exec;unsubscribe",
    "no-multi": "multi;wait 0 0;exec;multi;sync;exec;multi;replicaof no one;exec",
    "errors-while-running": "set a text;multi;incr a;lpush a 1;set b 2;get b;exec;get b",
    "syntax-error-while-running": "multi;set a 1 bogus;set b 1;exec;mget a b",
    "blocking-does-not-block": "multi;blpop l 0;brpop l 0;blmove l m left right 0;bzpopmin z 0;blmpop 0 1 l left;exec",
    "select-inside": "multi;select 1;set a 1;select 0;get a;exec;get a",
    "swapdb-inside": "set a 0;multi;swapdb 0 1;get a;swapdb 0 1;get a;exec",
    "select-error-inside": "multi;select 99;get a;exec",
    "reset-inside": "watch a;multi;set a 1;reset;get a;exec",
    "quit-inside": "multi;set a 1;quit",
    "watch-untouched": "watch a b;multi;set a 1;exec",
    "watch-broken": "watch a;1: set a 1;multi;set a 2;exec;get a",
    "watch-broken-by-self": "watch a;set a 1;multi;get a;exec",
    "watch-broken-late": "watch a;multi;set a 2;1: set a 1;exec;get a",
    "watch-same-value": "set a 1;watch a;1: set a 1;multi;exec",
    "watch-read": "set a 1;watch a;1: get a;1: ttl a;1: object encoding a;multi;exec",
    "watch-no-change": "sadd s x;watch s;1: sadd s x;1: srem s y;1: persist s;multi;exec",
    "watch-deleted": "set a 1;watch a;1: del a;multi;exec",
    "watch-deleted-missing": "watch a;1: del a;multi;exec",
    "watch-renamed": "set a 1;watch a;1: rename a b;multi;exec",
    "watch-rename-target": "set a 1;watch b;1: rename a b;multi;exec",
    "watch-expire-set": "set a 1;watch a;1: expire a 1000;multi;exec",
    "watch-flushall": "set a 1;watch a;1: flushall;multi;exec",
    "watch-flushall-missing": "watch a;1: flushall;multi;exec",
    "watch-flushdb-other": "set a 1;watch a;1: select 1;1: flushdb;multi;exec",
    "watch-swapdb": "set a 1;watch a;1: swapdb 0 1;multi;exec",
    "watch-swapdb-missing": "watch a;1: swapdb 0 1;multi;exec",
    "watch-other-database": "watch a;1: select 1;1: set a 1;multi;exec",
    "watch-moved": "set a 1;watch a;1: move a 1;multi;exec",
    "watch-copied": "set a 1;watch b;1: copy a b;multi;exec",
    "watch-then-unwatch": "watch a;1: set a 1;unwatch;multi;get a;exec",
    "watch-discard-forgets": "watch a;1: set a 1;multi;discard;multi;get a;exec",
    "watch-exec-forgets": "watch a;1: set a 1;multi;exec;multi;get a;exec",
    "watch-two-clients": "watch a;1: watch a;multi;set a 1;1: multi;1: set a 2;exec;1: exec;get a",
    "watch-list-pushed": "watch l;1: rpush l a;multi;exec",
    "watch-list-popped-empty": "rpush l a;watch l;1: lpop l;multi;exec",
    "watch-store": "sadd s 1;watch d;1: sunionstore d s;multi;exec",
    "watch-store-empty": "watch d;1: sinterstore d s;multi;exec",
    "watch-arity": "watch;multi;watch;get a;exec",
    "watch-twice": "watch a a;1: set a 1;multi;exec",
    "lower-arity": "multi x;multi;exec x;exec;discard x;unwatch x",
    "publish-inside": "multi;publish c m;pubsub numpat;exec",
    "client-inside": "multi;client getname;client setname x;client getname;exec",
    "script-order": "multi;rpush l 1 2 3;lpush l 0;lrange l 0 -1;lpop l 2;llen l;exec",
    "big": "multi;" + ";".join(["incr n"] * 300) + ";exec",
}


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """One pair for all scripts."""
    with start_twins(tmp_path_factory.mktemp("transactions")) as found:
        yield found


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def session(request: pytest.FixtureRequest, twins: Twins) -> Iterator[Session]:
    """Clients of an empty pair."""
    session = Session(twins, request.param)
    session.run([[b"flushall"]])
    yield session
    session.close()


def steps(script: str) -> list[Step]:
    """The steps of a script."""
    made = []
    for line in script.split(";"):
        client, colon, words = line.partition(": ")
        made.append(Step(command(words), int(client)) if colon else Step(command(line)))
    return made


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_script(session: Session, script: str) -> None:
    """A transaction of one or two clients answers as Valkey does, command by command, and leaves the same behind."""
    session.run(steps(script))
    if "quit" not in script:
        session.compare_contents((0, 1))


@pytest.mark.parametrize("active", ["0", "1"])
def test_watched_key_that_expires(session: Session, active: str) -> None:
    """EXEC answers null when a watched key has expired, removed or not; not when it was expired before WATCH."""
    session.run(steps(f"debug set-active-expire {active};set a 1 px 30;set b 1;watch a;1: watch b"))
    for link in session.pair(2).both:
        deadline = time.monotonic() + 10
        while link.ask([b"pttl", b"a"]) != b":-2\r\n":
            assert time.monotonic() < deadline
    session.run(steps("multi;set b 2;exec;1: multi;1: set b 3;1: exec;get b;debug set-active-expire 1"))


def test_key_that_was_expired_before_watch(session: Session) -> None:
    """A key that was expired when WATCH came breaks nothing when it is removed, but does when it is written again."""
    session.run(steps("debug set-active-expire 0;set a 1 px 1;set b 1 px 1"))
    time.sleep(0.005)  # nothing may look at the keys, so there is no event to wait for
    session.run(
        steps(
            "watch a;1: watch b;2: get a;2: set b 2;multi;ping;exec;1: multi;1: ping;1: exec;debug set-active-expire 1"
        )
    )
