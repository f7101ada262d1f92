"""What surrounds replication: files for full syncs, limits, refusals, announcements, TLS, who decides what expires."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import redis
import trustme

from tests.conftest import Server
from tests.system.test_replication import contents, in_sync, until, write


def ask_all(link: socket.socket, capa: bool = True) -> bytes:
    """Ask for a full sync; returns the line before the snapshot."""
    if capa:
        link.sendall(b"REPLCONF capa eof capa psync2\r\n")
        assert link.recv(5) == b"+OK\r\n"
    link.sendall(b"PSYNC ? -1\r\n")
    with link.makefile("rb") as replies:
        while not (line := replies.readline()).startswith(b"$"):
            assert line == b"\n" or line.startswith(b"+FULLRESYNC"), line
        return line


# --- full syncs
@pytest.mark.parametrize(
    ("diskless", "capa", "marked"), [("no", True, False), ("yes", False, False), ("yes", True, True)]
)
def test_form_of_a_full_sync(node_process: Callable[..., Server], diskless: str, capa: bool, marked: bool) -> None:
    """With `repl-diskless-sync no`, or for a replica that knows no mark, the length comes first."""
    server = node_process("--repl-diskless-sync", diskless)
    write(server.client(), 300, 1)
    with server.connect() as link:
        assert ask_all(link, capa).startswith(b"$EOF:") == marked


def test_full_sync_from_a_file(node_process: Callable[..., Server], oracle_process: Callable[..., Server]) -> None:
    """Ours and genuine replicas take a snapshot that went through a file, while writes go on; the file is gone then."""
    ours = node_process("--repl-diskless-sync", "no")
    primary = ours.client()
    write(primary, 2_000, 2)
    primary.set("big", b"x" * 3_000_000)
    replicas = [node_process().client(), oracle_process().client()]
    for replica in replicas:
        replica.replicaof("127.0.0.1", ours.port)
    write(primary, 1_000, 3)
    for replica in replicas:
        until(partial(in_sync, primary, replica), "the full sync")
        assert contents(replica) == contents(primary)
    assert list(ours.log.parent.glob("*.rdb")) == []
    assert primary.info("stats")["sync_full"] == 2


def test_we_take_a_snapshot_with_its_length(
    node_process: Callable[..., Server], oracle_process: Callable[..., Server]
) -> None:
    """A genuine primary without diskless sync is followed."""
    theirs = oracle_process("--repl-diskless-sync", "no")
    ours = node_process()
    write(theirs.client(), 1_000, 4)
    ours.client().replicaof("127.0.0.1", theirs.port)
    until(partial(in_sync, theirs.client(), ours.client()), "the full sync")
    assert contents(ours.client()) == contents(theirs.client())


@pytest.mark.parametrize("way", ["--rdb", "--functions-rdb"])
def test_a_client_that_wants_the_file_alone(node_process: Callable[..., Server], tmp_path: Path, way: str) -> None:
    """`redis-cli --rdb` gets the dataset, `--functions-rdb` its functions, and neither becomes a replica."""
    tool = shutil.which("redis-cli")
    if tool is None:
        pytest.skip("no redis-cli here")
    server, other = node_process(), node_process("--enable-debug-command", "yes")
    client = server.client()
    write(client, 300, 5)
    client.function_load("#!lua name=lib\nserver.register_function('f', function() return 1 end)")
    file = tmp_path / "out.rdb"
    subprocess.run([tool, "-p", str(server.port), way, str(file)], check=True, timeout=30, capture_output=True)
    shutil.copy(file, other.log.parent / "dump.rdb")
    other.client().execute_command("DEBUG", "RELOAD", "NOSAVE")
    assert other.client().fcall("f", 0) == 1
    assert contents(other.client()) == ({} if way == "--functions-rdb" else contents(client))
    until(lambda: client.info("replication")["connected_slaves"] == 0, "it is gone")


def test_a_full_sync_reaches_the_end_of_a_chain(node_process: Callable[..., Server]) -> None:
    """When the node in the middle takes another dataset, the replica behind it takes it too."""
    first, other, middle, last = (node_process() for _ in range(4))
    write(first.client(), 200, 6)
    write(other.client(), 300, 7)
    middle.client().replicaof("127.0.0.1", first.port)
    last.client().replicaof("127.0.0.1", middle.port)
    until(partial(in_sync, first.client(), last.client()), "the chain")
    middle.client().replicaof("127.0.0.1", other.port)
    until(lambda: contents(last.client()) == contents(other.client()), "the other dataset")
    other.client().set("later", 1)
    until(lambda: last.client().get("later") == b"1", "the stream behind it")


# --- limits
def test_output_limit_before_the_first_acknowledgement(node_process: Callable[..., Server]) -> None:
    """What waits for the end of a replica's snapshot counts against its limit: it can't take the node's memory."""
    limit = "normal 0 0 0 replica 1mb 0 0 pubsub 0 0 0"
    server = node_process("--client-output-buffer-limit", *limit.split(), "--repl-backlog-size", "16kb")
    client = server.client()
    with server.connect() as link:
        ask_all(link)
        until(lambda: client.info("replication").get("slave0", {}).get("state") == "send_bulk", "the snapshot")
        for _ in range(11):
            client.set("a", b"x" * 100_000)
        until(lambda: client.info("replication")["connected_slaves"] == 0, "it is closed")
        with contextlib.suppress(ConnectionResetError):
            while link.recv(1 << 16):
                pass
    assert client.info("stats")["client_output_buffer_limit_disconnections"] == 1


def test_a_large_snapshot_is_not_output(node_process: Callable[..., Server]) -> None:
    """The limit of a replica's output does not hold for its snapshot, however slowly it is read."""
    limit = "normal 0 0 0 replica 64kb 0 0 pubsub 0 0 0"
    server = node_process("--client-output-buffer-limit", *limit.split(), "--repl-backlog-size", "16kb")
    client = server.client()
    for i in range(80):
        client.set(f"a:{i}", i.to_bytes(2, "big") * 50_000)
    with server.connect() as link:
        head = ask_all(link)
        received = b""
        while not received.endswith(head[5:45]):
            received += link.recv(1 << 16)
        link.sendall(b"REPLCONF ACK 0\r\n")
        until(lambda: client.info("replication")["slave0"]["state"] == "online", "it is online")


def test_backlog(node_process: Callable[..., Server]) -> None:
    """It holds about `repl-backlog-size`, and is given up some time after the last replica is gone."""
    first, second = node_process("--repl-backlog-size", "16kb", "--repl-backlog-ttl", "1"), node_process()
    one, two = first.client(), second.client()
    two.replicaof("127.0.0.1", first.port)
    until(lambda: in_sync(one, two), "the full sync")
    for i in range(300):
        one.set(f"a:{i}", "x" * 100)
    told = one.info("replication")
    assert 16384 <= told["repl_backlog_histlen"] < 16384 + 200
    assert told["repl_backlog_first_byte_offset"] + told["repl_backlog_histlen"] == told["master_repl_offset"] + 1
    second.kill()
    until(lambda: one.info("replication")["repl_backlog_active"] == 0, "nobody needs it")
    assert one.info("replication")["master_replid"] != told["master_replid"]


# --- refusals
def test_stale_data(node_process: Callable[..., Server]) -> None:
    """With `replica-serve-stale-data no` a replica without its primary refuses to read, and tells of itself."""
    first, second = node_process(), node_process("--replica-serve-stale-data", "no")
    one, two = first.client(), second.client()
    one.set("a", 1)
    two.replicaof("127.0.0.1", first.port)
    until(lambda: two.info("replication")["master_link_status"] == "up", "the full sync")
    assert two.get("a") == b"1"
    first.kill()
    until(lambda: two.info("replication")["master_link_status"] == "down", "the loss")
    with pytest.raises(redis.ResponseError, match="Link with MASTER is down"):
        two.get("a")
    two.config_set("replica-serve-stale-data", "yes")
    until(partial(answers, two), "it may serve again")


def answers(client: redis.Redis) -> bool:
    """Whether a read is served."""
    with contextlib.suppress(redis.ResponseError):
        return client.get("a") == b"1"
    return False


def test_min_replicas(node_process: Callable[..., Server]) -> None:
    """Writes are refused until there is a good replica, and again once it is gone."""
    first, second = node_process("--min-replicas-to-write", "1"), node_process()
    one = first.client()
    with pytest.raises(redis.ResponseError, match="NOREPLICAS"):
        one.set("a", 1)
    second.client().replicaof("127.0.0.1", first.port)
    until(lambda: one.info("replication")["min_slaves_good_slaves"] == 1, "a good replica")
    assert one.set("a", 1)
    assert one.eval("return redis.call('INCR', 'a')", 0) == 2
    second.kill()
    until(lambda: one.info("replication")["min_slaves_good_slaves"] == 0, "it is gone")
    for refused in (lambda: one.set("a", 3), lambda: one.eval("return redis.call('INCR', 'a')", 0)):
        with pytest.raises(redis.ResponseError, match="NOREPLICAS"):
            refused()


# --- announcements, TLS and authentication
@pytest.mark.parametrize("genuine", [False, True], ids=["ours", "valkey"])
def test_announced_address(
    node_process: Callable[..., Server], oracle_process: Callable[..., Server], genuine: bool
) -> None:
    """A primary shows the address that its replica announces."""
    primary = oracle_process() if genuine else node_process()
    replica = node_process("--replica-announce-ip", "10.1.2.3", "--replica-announce-port", "7777")
    replica.client().replicaof("127.0.0.1", primary.port)
    until(lambda: "slave0" in primary.client().info("replication"), "the replica")
    shown = primary.client().info("replication")["slave0"]
    assert (shown["ip"], shown["port"]) == ("10.1.2.3", 7777)


def certificates(folder: Path) -> list[str]:
    """Directives for a server with a certificate of an authority of this folder, which serves clients too."""
    folder.mkdir()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca")
    own = authority.issue_cert("127.0.0.1", "localhost")
    own.private_key_pem.write_to_path(folder / "key")
    own.cert_chain_pems[0].write_to_path(folder / "cert")
    return ["--tls-cert-file", str(folder / "cert"), "--tls-key-file", str(folder / "key"), "--tls-ca-cert-file",
            str(folder / "ca")]  # fmt: skip


def test_tls_and_authentication(
    node_process: Callable[..., Server], free_port: Callable[[], int], tmp_path: Path
) -> None:
    """The link may be TLS on both sides with user and password; another authority or password keeps it down."""
    mine, others = certificates(tmp_path / "mine"), certificates(tmp_path / "others")
    secure = free_port()
    first = node_process("--tls-port", str(secure), *mine)
    one = first.client()
    one.execute_command("ACL", "SETUSER", "sync", "on", ">secret", "+psync", "+replconf", "+ping")
    one.execute_command("ACL", "SETUSER", "default", "on", "resetpass", ">other")
    one = first.client(password="other")
    one.set("a", 1)
    link = ["--tls-replication", "yes", "--replicaof", f"127.0.0.1 {secure}"]
    login = ["--primaryuser", "sync", "--primaryauth"]
    good = node_process(*link, *mine, *login, "secret")
    until(partial(in_sync, one, good.client()), "the full sync")
    one.set("b", 2)
    until(lambda: good.client().get("b") == b"2", "the stream")
    for refused, reason in (
        ((*link, *others, *login, "secret"), "no TLS with the primary"),
        ((*link, *mine, *login, "wrong"), "the primary refused primaryauth"),
        ((*link, *mine[:4], *login, "secret"), "tls-ca-cert-file does not say whom to trust"),
    ):
        bad = node_process(*refused)
        until(lambda log=bad.log, text=reason: text in log.read_text(), reason)
        assert bad.client().info("replication")["master_link_status"] == "down"
        assert "secret" not in bad.log.read_text()
    assert one.info("replication")["connected_slaves"] == 1


def test_tls_with_a_genuine_primary(
    node_process: Callable[..., Server], free_port: Callable[[], int], tmp_path: Path
) -> None:
    """Redis 7.0, where it has TLS, is followed by it and follows us by it."""
    tool = shutil.which("redis-server")
    if tool is None:
        pytest.skip("no redis-server here")
    mine = certificates(tmp_path / "mine")
    ports = [free_port(), free_port()]
    command = [tool, "--port", "0", "--tls-port", str(ports[0]), *mine, "--tls-replication", "yes", "--save", "",
               "--dir", str(tmp_path), "--repl-diskless-sync-delay", "0"]  # fmt: skip
    if "ssl" not in subprocess.run(["ldd", tool], capture_output=True, check=False, timeout=10, text=True).stdout:
        pytest.skip("this redis-server has no TLS")
    ours = node_process("--tls-port", str(ports[1]), "--tls-replication", "yes", *mine)
    files = {"ssl": True, "ssl_ca_certs": mine[5], "ssl_certfile": mine[1], "ssl_keyfile": mine[3]}
    with (tmp_path / "redis-log").open("wb") as log, subprocess.Popen(command, stdout=log) as process:
        try:
            theirs = redis.Redis(port=ports[0], ssl_check_hostname=False, **files)
            until(partial(pings, theirs), "redis-server answers")
            theirs.set("a", 1)
            ours.client().replicaof("127.0.0.1", ports[0])
            until(partial(in_sync, theirs, ours.client()), "we follow")
            assert ours.client().get("a") == b"1"
            ours.client().execute_command("REPLICAOF", "NO", "ONE")
            theirs.replicaof("127.0.0.1", ports[1])
            ours.client().set("b", 2)
            until(partial(in_sync, ours.client(), theirs), "we are followed")
            assert theirs.get("b") == b"2"
            theirs.close()
        finally:
            process.kill()


def pings(client: redis.Redis) -> bool:
    """Whether the server answers."""
    with contextlib.suppress(redis.ConnectionError):
        return bool(client.ping())
    return False


# --- the primary decides
def test_only_the_primary_evicts_and_expires(node_process: Callable[..., Server]) -> None:
    """A replica with less memory evicts nothing, and one whose primary does not expire keeps its keys hidden."""
    first = node_process("--enable-debug-command", "yes")
    second = node_process("--maxmemory", "500kb", "--maxmemory-policy", "allkeys-lru")
    one, two = first.client(), second.client()
    two.replicaof("127.0.0.1", first.port)
    until(lambda: in_sync(one, two), "the full sync")
    one.execute_command("DEBUG", "SET-ACTIVE-EXPIRE", "0")
    for i in range(20):
        one.set(f"a:{i}", "x" * 100_000)
    one.set("short", 1, px=1)
    until(lambda: in_sync(one, two) and two.get("short") is None, "the stream")
    assert two.dbsize() == one.dbsize() == 21
    assert two.info("stats")["evicted_keys"] == 0
    assert one.get("short") is None
    until(lambda: two.dbsize() == 20, "the primary has told that it expired")


def test_nothing_acknowledged_is_lost_at_the_end(node_process: Callable[..., Server]) -> None:
    """What is answered before SHUTDOWN SAVE ends the process is in the file: nobody is served after it was written."""
    server = node_process()
    acknowledged = [0, 0]
    begun = threading.Semaphore(0)

    def run(number: int) -> None:
        with redis.Redis(port=server.port, retry=None) as client, contextlib.suppress(redis.RedisError, OSError):
            while True:
                client.set(f"w:{number}:{acknowledged[number]}", 1)
                acknowledged[number] += 1
                if acknowledged[number] == 300:
                    begun.release()

    threads = [threading.Thread(target=run, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert begun.acquire(timeout=30)
    server.client().shutdown(save=True)
    server.process.wait(60)
    for thread in threads:
        thread.join(30)
    again = node_process(port=server.port, folder=server.log.parent).client()
    missing = [(n, i) for n in (0, 1) for i in range(acknowledged[n]) if not again.exists(f"w:{n}:{i}")]
    assert missing == []


def test_replicas_continue_from_a_primary_that_ended_while_keys_expired(node_process: Callable[..., Server]) -> None:
    """Between the file and its end a primary sends nothing: no replica is ahead of what the restarted one knows."""
    first = node_process("--repl-ping-replica-period", "1")
    second = node_process()
    second.client().replicaof("127.0.0.1", first.port)
    until(lambda: in_sync(first.client(), second.client()), "the full sync")
    for _ in range(2):
        one, two = first.client(), second.client()
        with one.pipeline(transaction=False) as pipe:
            for i in range(500):
                pipe.set(f"short:{i}", 1, px=200 + 2 * i)
            pipe.execute()
        until(lambda one=one: one.dbsize() < 450, "keys expire one after the other")
        one.shutdown(save=True)
        first.process.wait(60)
        first = node_process("--repl-ping-replica-period", "1", port=first.port, folder=first.log.parent)
        one = first.client()
        until(partial(in_sync, one, two), "the replica comes back")
        found = one.info("stats")
        assert (found["sync_full"], found["sync_partial_ok"]) == (0, 1)
    until(lambda: first.client().dbsize() == 0 == second.client().dbsize(), "all keys are gone")
