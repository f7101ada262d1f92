"""Publish and subscribe with several clients: every confirmation, message and reply agrees with genuine Valkey's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.differential.harness import Session, Step, command
from tests.differential.twins import Twins, start_twins

# Steps are separated by `;`. `1: …` is client 1's, `1<3: …` is answered by three replies, and `1>` reads one message.
SCRIPTS = {
    "subscribe": "1: subscribe a;publish a hello;1>;publish b hello",
    "several": "1<3: subscribe a b a;publish b x;1>;1: unsubscribe b;publish b x;publish a y;1>",
    "patterns": "1: psubscribe a*;2: psubscribe *;publish abc x;1>;2>;publish zzz y;2>;1: punsubscribe a*;"
    "publish abc z;"
    "2>",
    "both": "1: subscribe a;1: psubscribe a;publish a x;1>;1>;pubsub numpat;pubsub channels;pubsub numsub a b",
    "glob": "1: psubscribe h?llo;2: psubscribe h[ae]llo;3: psubscribe h[^x]llo;4: psubscribe h\\*llo;"
    "publish hello x;1>;2>;3>;publish h*llo y;1>;3>;4>",
    "unsubscribe-all": "1: subscribe a;1: ping;1: unsubscribe;1: psubscribe a;1: punsubscribe;1: get a",
    "unsubscribe-none": "1: unsubscribe;1: punsubscribe;1: sunsubscribe;1: unsubscribe x;"
    "1<2: punsubscribe x y;1: sunsubscribe z;1: get x",
    "order": "1<3: subscribe c b a;1<2: unsubscribe b nosuch;1<2: unsubscribe a c",
    "pattern-order": "1<3: psubscribe c* b* a*;1<3: punsubscribe a* c* b*",
    "shard": "1<2: ssubscribe a b;spublish a x;1>;publish a y;spublish c z;pubsub shardchannels b;"
    "pubsub shardnumsub a b c;1: sunsubscribe a;spublish a q;1: sunsubscribe",
    "shard-and-plain": "1: ssubscribe a;1: subscribe a;1: psubscribe a;publish a x;1>;1>;spublish a y;1>",
    "two-clients": "1: subscribe a;2: subscribe a;2: psubscribe *;publish a x;1>;2>;2>;pubsub numsub a;pubsub numpat",
    "context": "1: subscribe a;1: get x;1: ping;1: ping hello;1: set a b;1: multi;1: psubscribe q;1: unsubscribe a;"
    "1: get x;1: punsubscribe;1: get x",
    "context-shard": "1: ssubscribe a;1: get x;1: sunsubscribe;1: get x",
    "arity": "subscribe;psubscribe;ssubscribe;publish a;publish a b c;spublish a;pubsub;pubsub nosuch;"
    "pubsub channels a b;pubsub numpat x;pubsub numsub;pubsub shardnumsub;pubsub shardchannels a b;pubsub help",
    "channels": "1<3: subscribe news.art news.music other;2: subscribe other;pubsub channels *.m*;"
    "pubsub numsub other news.art no;pubsub channels *z*",
    "reset": "1: subscribe a;1: psubscribe b*;1: reset;1: get x;publish a x;pubsub channels;pubsub numpat",
    "quit": "1: subscribe a;1: quit;pubsub numsub a",
    "binary": "1: subscribe \x01\x7f;publish \x01\x7f \x02;1>",
    "empty": '1: subscribe "";publish "" "";1>;1: psubscribe "";publish "" x;1>;1>',
    "multi": "1: subscribe a;multi;publish a 1;publish a 2;exec;1>;1>",
    "multi-subscribe": "1: multi;1: subscribe a;1: exec;publish a x",
    "unsubscribe-in-multi": "1: multi;1: unsubscribe a;1: get x;1: exec",
    "databases": "1: select 1;1: subscribe a;publish a x;1>",
    "events": "config set notify-keyspace-events KEA;1: psubscribe __key*__:*;set k v;1>;1>;lpush l 1;1>;1>;"
    "expire k 100;1>;1>;del k l;1>;1>;1>;1>;set a 1 ex 10;1>;1>;1>;1>;getdel a;1>;1>;"
    'config set notify-keyspace-events ""',
    "events-of-transactions": "config set notify-keyspace-events Kg$;1: psubscribe __key*__:*;multi;set k v;append k w;"
    'del k;exec;1>;1>;1>;config set notify-keyspace-events ""',
    "events-of-misses": "config set notify-keyspace-events Emn;1: psubscribe __key*__:*;get nosuch;1>;set k v;1>;get k;"
    'config set notify-keyspace-events ""',
}


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """One pair for all scripts."""
    with start_twins(tmp_path_factory.mktemp("pubsub")) as found:
        yield found


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def session(request: pytest.FixtureRequest, twins: Twins) -> Iterator[Session]:
    """Clients of an empty pair."""
    session = Session(twins, request.param)
    session.run([[b"flushall"]])
    yield session
    session.close()


def play(session: Session, script: str) -> None:
    """Run a script step by step."""
    for line in script.split(";"):
        head, colon, words = line.partition(": ")
        if line.endswith(">"):
            session.heard(int(line[:-1]))
        elif colon:
            client, _, replies = head.partition("<")
            session.run([Step(command(words), int(client), int(replies or 1))])
        else:
            session.run([command(line)])


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_script(session: Session, script: str) -> None:
    """Subscribers and publishers hear the same from both servers, in the same order."""
    play(session, script)


def test_subscriptions_end_with_the_connection(session: Session) -> None:
    """A client that hangs up is subscribed no more, on both servers."""
    play(session, "1<2: subscribe a b;1: psubscribe c*;pubsub numsub a b")
    session.pair(1).close()
    for link in session.pair(0).both:
        while link.ask([b"pubsub", b"numsub", b"a"]) != b"*2\r\n$1\r\na\r\n:0\r\n":
            pass
    play(session, "pubsub channels;pubsub numpat")


def test_a_resp3_client_goes_on_while_subscribed(twins: Twins) -> None:
    """With RESP3 messages are pushes, and commands are answered between them."""
    session = Session(twins, 3)
    play(session, "1: subscribe a;1: set k v;1: get k;publish a x;1>;1: multi;1: get k;1: exec;1: unsubscribe;1: ping")
    session.close()
