"""Users that outlive the process: in the configuration file, and in the file of `aclfile`; beside genuine Valkey."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from tests.conftest import Server, child_environment, oracle_command, start_server
from tests.differential.twins import Line

ALICE = "user alice on #2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b ~k* resetchannels -@all +get"


def node_command(port: int, home: Path, *directives: str, file: Path | None = None) -> list[str]:
    """A node in `home`."""
    named = [str(file)] if file else []
    place = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(home), "--save", ""]
    return [sys.executable, "-m", "node", *named, *place, *directives]


@pytest.fixture
def start(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Callable[..., Server]]:
    """Start a node (or the oracle) in tmp_path; all are ended."""
    servers: list[Server] = []

    def begin(*directives: str, file: Path | None = None, genuine: bool = False) -> Server:
        port = free_port()
        if genuine:
            command = oracle_command(tmp_path, port, *directives)
        else:
            command = node_command(port, tmp_path, *directives, file=file)
        servers.append(start_server(command, tmp_path, port))
        return servers[-1]

    yield begin
    for server in servers:
        server.kill()


def refused_start(command: list[str]) -> str:
    """What a node says that must not start."""
    ended = subprocess.run(command, capture_output=True, timeout=60, env=child_environment(), check=False)
    assert ended.returncode == 1
    return ended.stderr.decode()


def test_configured_users_survive_a_rewrite_and_a_restart(tmp_path: Path, start: Callable[..., Server]) -> None:
    """`user` lines make users; CONFIG REWRITE writes those that are in force, and genuine Valkey reads the file."""
    file = tmp_path / "node.conf"
    file.write_text(f'# ours\n{ALICE}\nuser bob off nopass (~x "+get") +@all -@dangerous\n')
    server = start(file=file)
    client = server.client(decode_responses=True)
    assert client.execute_command("ACL LIST")[:2] == [
        ALICE, "user bob off nopass resetchannels +@all -@dangerous (~x resetchannels -@all +get)",
    ]  # fmt: skip
    client.execute_command("ACL SETUSER", "carol", "on", ">pw", "~a\"b'c\\", "+select|1", "(+set ~y db=1)")
    client.execute_command("ACL DELUSER", "bob")
    client.execute_command("CONFIG REWRITE")
    expected = client.execute_command("ACL LIST")
    server.kill()
    assert "bob" not in file.read_text()
    assert file.read_text().startswith("# ours\n")

    again = start(file=file).client(decode_responses=True)
    assert again.execute_command("ACL LIST") == expected
    users = tmp_path / "users.conf"
    users.write_text("".join(line + "\n" for line in file.read_text().split("\n") if line.startswith("user ")))
    oracle = start("--include", str(users), genuine=True).client(decode_responses=True)
    assert oracle.execute_command("ACL LIST") == expected


def test_a_stock_default_user_needs_no_line(tmp_path: Path, start: Callable[..., Server]) -> None:
    """A rewrite leaves `default` to requirepass as long as nothing else is known of it."""
    file = tmp_path / "node.conf"
    file.write_text("requirepass secret\n")
    client = start(file=file).client(password="secret")
    client.execute_command("CONFIG REWRITE")
    assert "user" not in file.read_text()
    client.execute_command("ACL SETUSER", "default", "-debug")
    client.execute_command("CONFIG REWRITE")
    assert "user default on" in file.read_text()


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ("user a on\nuser a off\n", "Duplicate user found. A user can only be defined once in config files"),
        ("user a on foo\n", "Error in user declaration 'a': Syntax error"),
        ("user a +nope\n", "Unknown command or category name in ACL"),
        ("user a (+get\n", "Error in user declaration 'a': Wrong format"),
        ('user "a b" on\n', "Spaces not allowed in ACL usernames"),
        ("user\n", "wrong number of arguments"),
        ("aclfile users.acl\nuser a on\n", "choose one of them"),
        ("aclfile users.acl\n", "opening file 'users.acl': No such file or directory"),
    ],
)
def test_faulty_configurations_are_refused(tmp_path: Path, free_port: Callable[[], int], lines: str, text: str) -> None:
    """A node with a faulty user does not start, and says which user and why."""
    file = tmp_path / "node.conf"
    file.write_text(lines)
    assert text in refused_start(node_command(free_port(), tmp_path, file=file))


def test_secrets_are_not_told(tmp_path: Path, free_port: Callable[[], int]) -> None:
    """The message about a faulty line shows none of its rules, which may be passwords."""
    file = tmp_path / "node.conf"
    file.write_text("user a on >topsecret #alsosecret\n")
    said = refused_start(node_command(free_port(), tmp_path, file=file))
    assert "password hash must be exactly 64 characters" in said
    assert "secret" not in said


def test_file_is_loaded_saved_and_reloaded(tmp_path: Path, start: Callable[..., Server]) -> None:
    """ACL SAVE writes what a restart and genuine Valkey read; ACL LOAD takes a changed file, none of a faulty one."""
    file = tmp_path / "users.acl"
    file.write_text(f"{ALICE}\n\n  user default on nopass ~* &* +@all \n")
    server = start("--aclfile", "users.acl")
    client = server.client(decode_responses=True)
    assert client.execute_command("ACL LIST") == [ALICE, "user default on nopass ~* &* +@all"]
    client.execute_command("ACL SETUSER", "bob", "on", ">pw", "+@all", "~*", "(+get ~x)")
    client.execute_command("ACL SAVE")
    saved = client.execute_command("ACL LIST")
    assert file.read_text() == "".join(line + "\n" for line in saved)
    assert [path.name for path in tmp_path.iterdir() if "users" in path.name] == ["users.acl"]

    file.write_text("user carol on +nope +get\nuser dave foo\nuser dave on\n")
    with pytest.raises(redis.ResponseError) as caught:
        client.execute_command("ACL LOAD")
    assert str(caught.value) == (
        "users.acl:1: Error in applying operation '+nope': Unknown command or category name in ACL. "
        "users.acl:2: Syntax error. WARNING: Duplicate user 'dave' found on line 3. "
        "WARNING: ACL errors detected, no change to the previously active ACL rules was performed"
    )
    assert client.execute_command("ACL LIST") == saved

    file.write_text("user carol on nopass +get\n")
    assert client.execute_command("ACL LOAD")
    assert client.execute_command("ACL USERS") == ["carol", "default"]
    client.execute_command("ACL SAVE")
    server.kill()
    oracle = start("--aclfile", "users.acl", genuine=True).client(decode_responses=True)
    assert oracle.execute_command("ACL LIST") == [
        "user carol on nopass resetchannels -@all +get", "user default on nopass ~* &* +@all",
    ]  # fmt: skip


TEXTS = [
    "foo\n", "user\n", "# a comment\n", "user a on\nuser a off\n", "user a foo bar\n", "user a +nope -@nope foo\n",
    "user a\tb on\n", "user  a on\n", "user a on\n", "user a on  +get\n", "USER a on\n", 'user a on "+get"\n',
    "user a (+get ~x) on\n", "user a ( +get ~x ) on\n", "user a on\r\nuser b off\r\n", "", "\n\n", "user a >x #x\n",
    "user default off\n", "user default off\nuser z on ~k &c +@all -@dangerous (+get db=1)", "user a on ~a\tb\n",
]  # fmt: skip


def test_files_are_judged_as_by_valkey(tmp_path: Path, start: Callable[..., Server]) -> None:
    """ACL LOAD of the same text answers the same, and leaves the same users."""
    file = tmp_path / "users.acl"
    file.write_text("user default on nopass +@all\n")
    lines = [Line(start("--aclfile", "users.acl", genuine=genuine)) for genuine in (True, False)]
    try:
        for text in TEXTS:
            file.write_text(text, newline="")
            for command in ([b"ACL", b"LOAD"], [b"ACL", b"LIST"], [b"ACL", b"WHOAMI"]):
                theirs, ours = (line.ask(command) for line in lines)
                assert theirs == ours, text
    finally:
        for line in lines:
            line.close()


def test_loading_drops_clients_of_lost_users_only(tmp_path: Path, start: Callable[..., Server]) -> None:
    """After ACL LOAD a client goes on as the user of the same name; without one, or subscribed to what is not allowed
    any more, it is disconnected. Valkey does the same.
    """
    file = tmp_path / "users.acl"
    for genuine in (True, False):
        file.write_text("user a on nopass +@all ~* &*\nuser b on nopass +@all &c\nuser me on nopass +@all\n")
        server = start("--aclfile", "users.acl", genuine=genuine)
        admin, stays, listens, goes, leaves = (Line(server) for _ in range(5))
        for line, name in ((stays, b"a"), (listens, b"b"), (goes, b"b"), (leaves, b"me")):
            assert line.ask([b"AUTH", name, b"x"]) == b"+OK\r\n"
        listens.ask([b"SUBSCRIBE", b"c"])
        file.write_text("user a on nopass -@all +get ~k\nuser b on nopass +@all &d\n")
        assert admin.ask([b"ACL", b"LOAD"]) == b"+OK\r\n"
        assert stays.ask([b"GET", b"k"]) == b"$-1\r\n"
        assert stays.ask([b"SET", b"k", b"1"]).startswith(b"-NOPERM User a has no permissions to run the 'set' command")
        assert listens.read(1) == b"(closed)"
        assert goes.ask([b"PING"]) == b"+PONG\r\n"
        assert leaves.read(1) == b"(closed)"
        for line in (admin, stays, listens, goes, leaves):
            line.close()


def test_replicas_log_in_and_are_not_held_to_rules(
    tmp_path: Path, free_port: Callable[[], int], start: Callable[..., Server]
) -> None:
    """A replica follows by a user that may do no more than that; what its primary sends is applied though the
    replica's own `default` may do nothing, transactions and scripts included.
    """
    primary = start("--primaryuser", "copy", "--primaryauth", "pw")
    admin = primary.client(decode_responses=True)
    admin.execute_command("ACL SETUSER", "copy", "on", ">pw", "+psync", "+replconf", "+ping")
    admin.execute_command("ACL SETUSER", "app", "on", "nopass", "+@all", "~*", "&*")
    admin.execute_command("ACL SETUSER", "default", "off")

    home = tmp_path / "replica"
    home.mkdir()
    port = free_port()
    asked = ["--primaryuser", "copy", "--primaryauth", "pw", "--replicaof", "127.0.0.1", str(primary.port)]
    (home / "replica.conf").write_text("user default on nopass -@all +ping +get ~k\n")
    replica = start_server(node_command(port, home, *asked, file=home / "replica.conf"), home, port)
    try:
        app = primary.client(username="app", password="x", decode_responses=True)
        with app.pipeline(transaction=True) as pipe:
            pipe.set("k", "1").incr("k").execute()
        app.eval("return redis.call('incr', 'k')", 1, "k")
        assert app.wait(1, 20000) == 1
        reader = replica.client(decode_responses=True)
        assert reader.get("k") == "3"
        with pytest.raises(redis.exceptions.NoPermissionError):
            reader.get("other")
        with pytest.raises(redis.exceptions.NoPermissionError):
            reader.dbsize()
    finally:
        replica.kill()


def test_an_unwritable_place_is_told(tmp_path: Path, start: Callable[..., Server]) -> None:
    """ACL SAVE that cannot write answers an error and leaves the old file."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "users.acl").write_text(ALICE + "\n")
    client = start("--aclfile", "in/users.acl").client(decode_responses=True)
    (folder / "users.acl").unlink()
    folder.rmdir()
    with pytest.raises(redis.ResponseError, match="There was an error trying to save the ACLs"):
        client.execute_command("ACL SAVE")


def test_restricted_users_of_real_clients(start: Callable[..., Server]) -> None:
    """redis-py sees NOPERM as its own error, in pipelines and transactions, and goes on."""
    server = start()
    admin = server.client(decode_responses=True)
    admin.acl_setuser(
        "app", enabled=True, passwords=["+pw"], keys=["app:*"], categories=["+@all", "-@dangerous"], reset=True
    )
    app = server.client(username="app", password="pw", decode_responses=True)
    app.set("app:1", "x")
    with pytest.raises(redis.exceptions.NoPermissionError, match="No permissions to access a key"):
        app.get("other")
    with pytest.raises(redis.exceptions.NoPermissionError, match="no permissions to run the 'flushall' command"):
        app.flushall()
    with app.pipeline(transaction=True) as pipe:
        pipe.get("app:1")
        pipe.get("other")
        with pytest.raises(redis.exceptions.RedisError):
            pipe.execute()
    assert app.get("app:1") == "x"
    assert [entry["reason"] for entry in admin.acl_log()] == ["key", "command", "key"]
    assert admin.acl_getuser("app")["keys"] == ["~app:*"]
    with pytest.raises(redis.exceptions.AuthenticationError):
        server.client(username="app", password="wrong").ping()
