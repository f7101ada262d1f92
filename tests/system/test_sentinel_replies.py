"""Replies of a sentinel of ours beside those of a genuine one that watches the same shard, in RESP2 and RESP3."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import hiredis
import pytest

from cluster.link import NEED_DATA, encode
from tests.conftest import find_free_port, start_server
from tests.system.sentinel_rig import NAME, Rig, rig

# Written and answered alike, to the byte.
SAME = """
PING
PING hi
PING a b
GET x
CONFIG GET *
MULTI
RESET
QUIT
FOO bar 'two words'
AUTH x
AUTH default x
AUTH nobody x
AUTH a b c
HELLO 4
HELLO x
HELLO 3 NONSENSE
HELLO 2 AUTH nobody x
CLIENT
CLIENT FOO
CLIENT GETNAME
CLIENT SETNAME a
CLIENT SETNAME 'a b'
CLIENT SETINFO lib-name x
CLIENT SETINFO nonsense x
CLIENT SETINFO lib-name 'a b'
COMMAND FOO
COMMAND INFO ping auth hello publish subscribe psubscribe unsubscribe punsubscribe role info shutdown nonsense
COMMAND DOCS nonsense
SUBSCRIBE
SUBSCRIBE a b
PSUBSCRIBE a*
UNSUBSCRIBE
PUNSUBSCRIBE
UNSUBSCRIBE a
PUBLISH foo bar
PUBLISH __sentinel__:hello nonsense
PUBLISH
SHUTDOWN NONSENSE
SENTINEL
SENTINEL FOO
SENTINEL MASTER
SENTINEL MASTER NAME x
SENTINEL MASTER x
SENTINEL PRIMARY x
SENTINEL MASTERS x
SENTINEL REPLICAS x
SENTINEL SLAVES x
SENTINEL SENTINELS x
SENTINEL GET-MASTER-ADDR-BY-NAME NAME
SENTINEL GET-PRIMARY-ADDR-BY-NAME NAME
SENTINEL GET-MASTER-ADDR-BY-NAME x
SENTINEL CKQUORUM NAME
SENTINEL CKQUORUM x
SENTINEL FAILOVER x
SENTINEL FLUSHCONFIG
SENTINEL IS-MASTER-DOWN-BY-ADDR 127.0.0.1 PORT 0 *
SENTINEL IS-PRIMARY-DOWN-BY-ADDR 127.0.0.1 PORT 0 *
SENTINEL IS-MASTER-DOWN-BY-ADDR 127.0.0.1 1 0 *
SENTINEL IS-MASTER-DOWN-BY-ADDR 127.0.0.1 x 0 *
SENTINEL SET NAME down-after-milliseconds 0
SENTINEL SET NAME down-after-milliseconds x
SENTINEL SET NAME foo 0
SENTINEL SET NAME quorum
SENTINEL SET NAME quorum 0
SENTINEL SET x quorum 1
SENTINEL SET NAME quorum 2
SENTINEL SET NAME quorum 2 parallel-syncs 1
SENTINEL RESET nope*
SENTINEL REMOVE x
SENTINEL MONITOR NAME 127.0.0.1 1 1
SENTINEL MONITOR other 127.0.0.1 1 0
SENTINEL MONITOR other 127.0.0.1 a 1
SENTINEL MONITOR other nohost.invalid 1 1
ROLE
""".strip().splitlines()

# Lists of fields: the names and their order are alike.
FIELDS = [
    "SENTINEL MASTERS",
    f"SENTINEL MASTER {NAME}",
    f"SENTINEL REPLICAS {NAME}",
    f"SENTINEL SLAVES {NAME}",
    f"SENTINEL SENTINELS {NAME}",
    "HELLO",
    "HELLO 3",
]


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A shard watched by one sentinel of ours and two genuine ones."""
    with rig(tmp_path_factory.mktemp("replies"), ours=1, genuine=2, down_after_ms=30_000) as made:
        yield made


def words_of(line: str, group: Rig) -> list[str]:
    """The words of a request; quotes keep spaces, NAME and PORT stand for the shard's."""
    words = [quoted or plain for quoted, plain in re.findall(r"'([^']*)'|(\S+)", line)]
    known = {"NAME": NAME, "PORT": str(group.nodes[0].port)}
    return [known.get(word, word) for word in words]


def raw_reply(port: int, words: list[str], protocol: int) -> bytes:
    """The bytes of the reply to a request, up to that of a PING that follows it."""
    end = b"$3\r\nend\r\n"
    in_subscription = b"*2\r\n$4\r\npong\r\n" + end
    with socket.create_connection(("127.0.0.1", port), timeout=10) as link:
        requests = [["HELLO", 3]] if protocol == 3 else []
        link.sendall(b"".join(encode(r) for r in [*requests, words, ["PING", "end"]]))
        data = b""
        while not data.endswith((end, in_subscription)):
            chunk = link.recv(65536)
            if not chunk:
                break
            data += chunk
    if requests:
        data = data.partition(b"modules\r\n*0\r\n")[2]
    return data.removesuffix(in_subscription).removesuffix(end)


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("line", SAME)
def test_same_bytes(group: Rig, line: str, protocol: int) -> None:
    """Texts of errors, kinds of replies and plain answers are those of the genuine sentinel."""
    words = words_of(line, group)
    ours, genuine = (raw_reply(s.port, words, protocol) for s in group.sentinels[:2])
    assert ours == genuine


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("line", FIELDS)
def test_same_fields_in_the_same_order(group: Rig, line: str, protocol: int) -> None:
    """Values differ from sentinel to sentinel; what they are called and where they stand does not."""
    ours, genuine = (raw_reply(s.port, words_of(line, group), protocol) for s in group.sentinels[:2])
    assert heads_and_names(ours) == heads_and_names(genuine)


def heads_and_names(reply: bytes) -> list[bytes]:
    """The heads of aggregates and every second string: what is left of a reply without its values."""
    heads = re.findall(rb"^[*%~>]\d+", reply, re.MULTILINE)
    strings = re.findall(rb"^(?:\$\d+\r\n(.*)|:(\d+))\r$", reply, re.MULTILINE)
    return heads + [text or number for text, number in strings[::2]]


def test_values_that_tools_read(group: Rig) -> None:
    """Addresses, counts, flags and settings agree with the genuine sentinel's."""
    ours, genuine = group.master(0), group.master(1)
    same = "name ip port runid flags role-reported config-epoch num-slaves num-other-sentinels quorum failover-timeout "
    same += "parallel-syncs down-after-milliseconds link-refcount"
    assert {k: ours[k] for k in same.split()} == {k: genuine[k] for k in same.split()}
    replicas = [sorted(group.sentinel_client(n).sentinel_slaves(NAME), key=lambda r: r["port"]) for n in (0, 1)]
    same = "name ip port runid flags master-link-status master-host master-port slave-priority"
    ours, genuine = ([{k: r[k] for k in same.split()} for r in told] for told in replicas)
    assert ours == genuine


def test_info_sentinel(group: Rig) -> None:
    """The section that exporters parse has the same lines."""
    ours, genuine = (group.sentinel_client(n).info("sentinel") for n in (0, 1))
    assert ours == genuine
    assert set(group.sentinel_client(0).info()) >= {
        "redis_version",
        "tcp_port",
        "run_id",
        "connected_clients",
        "sentinel_tilt",
    }


def one_reply(port: int, *words: str) -> object:
    """The value of the reply to a request on a connection of its own."""
    reader = hiredis.Reader(notEnoughData=NEED_DATA)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as link:
        link.sendall(encode(words))
        while (reply := reader.gets()) is NEED_DATA:
            reader.feed(link.recv(65536))
    return reply


def test_every_command_listed_answers(group: Rig) -> None:
    """COMMAND LIST names what can be called: none of it is unknown, and COMMAND COUNT is its containers' number."""
    port = group.sentinels[0].port
    names = [name.decode() for name in one_reply(port, "COMMAND", "LIST")]
    assert one_reply(port, "COMMAND", "COUNT") == sum("|" not in name for name in names)
    assert "kvorum|topology" in names
    for name in set(names) - {"shutdown"}:
        assert "unknown" not in str(one_reply(port, *name.split("|"))), name
    assert "unknown" in str(one_reply(port, "sentinel", "nonsense"))


def test_a_password_is_asked_for(tmp_path: Path) -> None:
    """With requirepass nothing but AUTH and HELLO is answered before the password, and no log holds it."""
    port = find_free_port()
    file = tmp_path / "sentinel.conf"
    file.write_text(f"port {port}\nbind 127.0.0.1\ndir {tmp_path}\nrequirepass hunter2\n")
    server = start_server([sys.executable, "-m", "sentinel", str(file)], tmp_path, port)
    try:
        assert str(one_reply(port, "SENTINEL", "MASTERS")) == "NOAUTH Authentication required."
        wrong = "WRONGPASS invalid username-password pair or user is disabled."
        assert str(one_reply(port, "AUTH", "hunter3")) == wrong
        assert server.client(password="hunter2").execute_command("SENTINEL", "MYID")
        assert "hunter" not in server.log.read_text()
    finally:
        server.stop()
