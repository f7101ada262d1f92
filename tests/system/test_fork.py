"""`kvorum fork`: from genuine servers that are written to all the while, into services of one and of many shards."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
import trustme

from tests.conftest import Server
from tests.system.corpus import fill
from tests.system.link import Relay
from tests.system.moving_rig import (
    FAR,
    Mover,
    Writer,
    client_of,
    cut_over,
    empty,
    holds,
    import_modes,
    open_house,
    source_process,
)
from tests.system.test_up import House, kvorum


@pytest.fixture(scope="module")
def the_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One house for all tests of this file; the service of one shard has a replica."""
    yield from open_house(tmp_path_factory.mktemp("fork"), replicas=1)


@pytest.fixture
def house(the_house: House) -> House:
    """The house with empty services."""
    empty(the_house)
    return the_house


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """A function that starts genuine servers; they end with the test."""
    servers: list[Server] = []

    def make(kind: str, *directives: str, port: int | None = None) -> Server:
        servers.append(source_process(kind, tmp_path, *directives, port=port))
        return servers[-1]

    yield make
    for server in servers:
        server.stop(signal.SIGKILL)


@pytest.fixture
def fork(house: House) -> Iterator[Callable[..., Mover]]:
    """A function that starts `kvorum fork`."""
    movers: list[Mover] = []

    def begin(*arguments: str, url: str = "") -> Mover:
        movers.append(Mover(house, "fork", *arguments, url=url))
        return movers[-1]

    yield begin
    for mover in movers:
        mover.close()


def test_into_shards_under_writes(house: House, source: Callable[..., Server], fork: Callable[..., Mover]) -> None:
    """All types, commands over several slots and transactions arrive; the link is cut in the middle and goes on; the
    cut-over is asked for elsewhere, pauses the source and misses nothing; the password is seen nowhere.
    """
    secret = "s3cret-Passw0rd"
    server = source("valkey", "--requirepass", secret, "--repl-backlog-size", "16mb")
    between = Relay(server.port)
    writer = Writer(server, 1, password=secret)
    writer.some(10)
    try:
        mover = fork("-", "many", "--pause", "30", url=f"redis://:{secret}@127.0.0.1:{between.port}")
        mover.until("phase", phase="load")
        assert secret not in mover.command_lines()
        mover.until("synced")
        writer.some(3)
        between.cut()
        mover.until("note")
        writer.some(3)
        between.mend()
        mover.until("note", phase="follow")
        writer.some(10)
        asked = cut_over(house, "many")
        done = mover.until("done")
        assert mover.end() == 0
        assert (asked.returncode, '"event":"done"' in asked.stdout) == (0, True)
        assert done["source_keys"] == done["target_keys"] > 100
        assert done["next"].startswith("point the clients to redis://localhost:")
        assert any("continues" in text or "goes on" in text for text in mover.texts("note"))
        assert not mover.texts("restart")
        with client_of(house, "many") as target, redis.Redis(port=server.port, password=secret) as genuine:
            expected = holds(genuine)
            assert len(expected) == done["source_keys"]
            assert {kind for kind, _, _ in expected.values()} == {
                b"string", b"list", b"hash", b"set", b"zset", b"stream",
            }  # fmt: skip
            assert holds(target) == expected
            assert not list(target.scan_iter("{kvorum-move}*"))
            genuine.client_unpause()
    finally:
        writer.stop()
        between.close()
    assert secret not in repr(mover.events) + asked.stdout + house.logs()
    assert import_modes(house) == {"no"}


def test_into_one_shard_from_redis(house: House, source: Callable[..., Server], fork: Callable[..., Mover]) -> None:
    """Every encoding, sixteen databases, functions; SWAPDB, MOVE and transactions follow; a shard that fails over in
    the middle costs nothing.
    """
    server = source("redis")
    client = server.client()
    fill(client, 3, False)
    writer = Writer(server, 2, db=5)
    writer.some(3)
    try:
        mover = fork(f"redis://127.0.0.1:{server.port}", "one", "--pause", "30")
        mover.until("synced")
        client.set("moved", 1)
        client.move("moved", 3)
        client.swapdb(0, 7)
        client.function_load("#!lua name=late\nredis.register_function('late', function() return 1 end)")
        done = kvorum(house.home, "failover", "one", "0")
        assert done.returncode == 0, done.stderr
        writer.some(5)
        cut_over(house, "one")
        mover.until("done")
        assert mover.end() == 0
        with client_of(house, "one") as target:
            for db in range(16):
                assert holds(target, db) == holds(client, db), db
            assert {library["library_name"] for library in _plain(target.function_list())} == {"one", "two", "late"}
        client.client_unpause()
    finally:
        writer.stop()


def _plain(libraries: list[object]) -> list[dict[str, object]]:
    """FUNCTION LIST with names as text."""
    text = lambda word: word.decode() if isinstance(word, bytes) else word  # noqa: E731
    pairs = [one.items() if isinstance(one, dict) else zip(one[::2], one[1::2], strict=True) for one in libraries]
    return [{text(key): text(value) for key, value in each} for each in pairs]


def test_the_source_alone_decides_what_has_expired(
    house: House, source: Callable[..., Server], fork: Callable[..., Mover]
) -> None:
    """A key whose life was prolonged on the source while the link was down is not lost because its old time ran out."""
    server = source("valkey")
    client = server.client()
    between = Relay(server.port)
    mover = fork(f"redis://127.0.0.1:{between.port}", "many")
    mover.until("synced")
    client.set("session", "x", px=1500)
    client.hset("fields", mapping={"a": 1, "b": 2})
    client.execute_command("HPEXPIRE", "fields", 1500, "FIELDS", 1, "a")
    client.wait(1, 5000)
    between.cut()
    began = time.monotonic()
    client.pexpireat("session", FAR)
    client.execute_command("HPEXPIREAT", "fields", FAR, "FIELDS", 1, "a")
    client.rpush("after", "1")
    time.sleep(max(0.0, 1.7 - (time.monotonic() - began)))  # the old times run out
    between.mend()
    cut_over(house, "many")
    mover.until("done")
    assert mover.end() == 0
    with client_of(house, "many") as target:
        assert holds(target) == holds(client)
        assert target.pexpiretime("session") == FAR
        assert target.hlen("fields") == 2
    between.close()


def test_a_target_that_dies(house: House, source: Callable[..., Server], fork: Callable[..., Mover]) -> None:
    """A node of the target that is killed under writes costs a new copy at most: nothing is missing or doubled."""
    server = source("valkey")
    writer = Writer(server, 4)
    writer.some(3)
    try:
        mover = fork(f"redis://127.0.0.1:{server.port}", "one", "--pause", "30")
        mover.until("synced")
        primary = next(
            node
            for node in house.status()["services"][1]["shards"][0]["nodes"]
            if node["role"] == "primary"
        )  # fmt: skip
        os.kill(primary["pid"], signal.SIGKILL)
        writer.some(5)
        cut_over(house, "one")
        mover.until("done")
        assert mover.end() == 0
        with client_of(house, "one") as target, server.client() as genuine:
            assert holds(target) == holds(genuine)
            genuine.client_unpause()
    finally:
        writer.stop()
    house.until(lambda now: now["state"] == "available")
    assert import_modes(house) == {"no"}


def test_a_source_that_refuses(house: House, source: Callable[..., Server], fork: Callable[..., Mover]) -> None:
    """Without the right or the command to follow, with a wrong password, or with nobody there: the error says what was
    answered and what to do, and the target is as it was.
    """
    secret = "b1rthday"
    server = source(
        "valkey",
        "--user",
        "mover",
        "on",
        f">{secret}",
        "~*",
        "&*",
        "+@all",
        "-psync",
        "-sync",
        "--rename-command",
        "SYNC",
        "",
    )
    none = source("redis", "--rename-command", "PSYNC", "", "--rename-command", "SYNC", "")
    cases = [
        (f"redis://mover:{secret}@127.0.0.1:{server.port}", "refuses PSYNC: NOPERM|answers PSYNC by 'NOPERM"),
        (f"redis://127.0.0.1:{none.port}", "answers PSYNC by 'ERR unknown command"),
        (f"redis://mover:wrong-{secret}@127.0.0.1:{server.port}", "refuses the login: WRONGPASS"),
    ]
    for url, expected in cases:
        mover = fork(url, "many", "--cut-over-when-synced")
        assert mover.end() == 1
        [text] = mover.texts("error")
        assert any(part in text for part in expected.split("|")), text
        if "PSYNC" in expected:
            assert "kvorum import" in text
        assert secret not in repr(mover.events)
    with client_of(house, "many") as target:
        assert target.dbsize() == 0


def test_what_the_target_cannot_have(house: House, source: Callable[..., Server], fork: Callable[..., Mover]) -> None:
    """Databases beyond the first do not go into a sharded service; what is not empty is emptied on request alone."""
    server = source("redis")
    client = redis.Redis(port=server.port, db=3)
    client.set("a", 1)
    url = f"redis://127.0.0.1:{server.port}"
    mover = fork(url, "many", "--cut-over-when-synced")
    assert mover.end() == 1
    assert "holds keys in database 3, and a sharded service has database 0 alone" in mover.texts("error")[0]
    client.flushall()
    client.swapdb(0, 3)
    client.close()
    with server.client() as genuine, client_of(house, "many") as target:
        genuine.set("new", 1)
        target.set("old", 1)
        mover = fork(url, "many", "--cut-over-when-synced")
        assert mover.end() == 1
        assert "is not empty (1 keys). Nothing was changed; --replace empties it first" in mover.texts("error")[0]
        assert kvorum(house.home, "fork", url, "many", "--replace").returncode == 2
        mover = fork(url, "many", "--cut-over-when-synced", "--replace", "--confirm", "many", "--pause", "1")
        assert mover.end() == 0, mover.events
        assert target.keys() == [b"new"]


def test_a_source_that_knows_sync_alone(
    house: House, source: Callable[..., Server], fork: Callable[..., Mover]
) -> None:
    """SYNC serves where PSYNC is unknown; where CLIENT is forbidden too, the user is told that nothing was paused."""
    server = source(
        "redis", "--rename-command", "PSYNC", "", "--user", "default", "on", "nopass", "~*", "&*", "+@all", "-client",
    )  # fmt: skip
    client = server.client()
    client.mset({f"k{n}": n for n in range(200)})
    mover = fork(f"redis://127.0.0.1:{server.port}", "many", "--cut-over-when-synced")
    assert mover.end() == 0, mover.events
    assert "what is written there after this moment stays behind" in mover.texts("warning")[0]
    with client_of(house, "many") as target:
        assert holds(target) == holds(client)


def test_tls(house: House, source: Callable[..., Server], fork: Callable[..., Mover], tmp_path: Path) -> None:
    """The certificate is checked against --ca; without it the error says so; --insecure is there for the brave."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    ca, key, chain = tmp_path / "ca.pem", tmp_path / "key.pem", tmp_path / "chain.pem"
    authority.cert_pem.write_to_path(ca)
    certificate.private_key_pem.write_to_path(key)
    certificate.cert_chain_pems[0].write_to_path(chain)
    server = source("redis")
    client = server.client()
    for name, path in (("tls-cert-file", chain), ("tls-key-file", key), ("tls-ca-cert-file", ca)):
        client.config_set(name, str(path))
    client.config_set("tls-auth-clients", "no")
    client.config_set("tls-port", server.port + 1)
    client.set("a", 1)
    url = f"rediss://localhost:{server.port + 1}"
    mover = fork(url, "many", "--cut-over-when-synced")
    assert mover.end() == 1
    assert "--ca FILE" in mover.texts("error")[0]
    mover = fork(url, "many", "--cut-over-when-synced", "--ca", str(ca), "--pause", "1")
    assert mover.end() == 0, mover.events
    with client_of(house, "many") as target:
        assert target.get("a") == b"1"


def test_stopped(house: House, source: Callable[..., Server], fork: Callable[..., Mover]) -> None:
    """Ctrl-C ends it with 130; the nodes leave the import mode; nobody else can fork into a service meanwhile."""
    server = source("valkey")
    mover = fork(f"redis://127.0.0.1:{server.port}", "many")
    mover.until("synced")
    other = fork(f"redis://127.0.0.1:{server.port}", "many")
    assert other.end() == 1
    assert other.texts("error") == ["data is moving into 'many' already"]
    assert {one["name"]: one["preparing"] for one in house.status()["services"]} == {
        "many": "fork in progress: follow", "one": "",
    }  # fmt: skip
    mover.process.send_signal(signal.SIGINT)
    assert mover.end() == 130
    assert import_modes(house) == {"no"}
    gone = cut_over(house, "many")
    assert (gone.returncode, "nothing is moving into 'many'" in gone.stderr) == (1, True)
