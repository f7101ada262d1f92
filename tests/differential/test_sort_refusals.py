"""What SORT may not do: keys in other slots in cluster mode, and keys that its user may not read."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator

import pytest

from tests.conftest import Server, find_free_port, oracle_command, start_server
from tests.differential.test_clusterscan import NODE_ID, assign_slots
from tests.differential.twins import Twins, start_twins

COMMANDS = ("sort", "sort_ro")
TAILS = """\
;by nosort;by w_*;by {x}w_*;by {y}w_*;by {x}w_*->f;by h_*->f;get #;get w_*;get {x}w_*;get {y}w_*;get # get w_*
by {x}w_* get {x}w_*;by w_* get w_*;by nosort get w_*;by {x}nosort;store {x}d;store other;by w_* store {x}d;by x*{x}
by {x*}w;by *{x};get *;by *;get {x}*;alpha by {x}w_* limit 0 1 get {y}*;by {}w_*;get {}{x}*;limit 0 1;get {x}w_* bogus
by w_* bogus;bogus by w_*;by;get;limit 0;store;by *->f get w_*->f"""
LINES = [f"{tail}".strip() for tail in TAILS.replace("\n", ";").split(";")]
FILL = ("rpush {x}l 3 1 2", "mset {x}w_1 9 {x}w_2 8 {x}w_3 7", "del {x}d")


@pytest.fixture(scope="module")
def clustered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """Both in cluster mode, each with all slots."""
    servers: list[Server] = []
    cluster = ["--cluster-enabled", "yes"]
    try:
        for name in ("oracle", "node"):
            home, port = tmp_path_factory.mktemp(name), find_free_port()
            if name == "oracle":
                command = oracle_command(home, port, *cluster, "--cluster-port", str(find_free_port()))
            else:
                command = [sys.executable, "-m", "node", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(home),
                           "--node-id", NODE_ID, *cluster]  # fmt: skip
            servers.append(start_server(command, home, port))
        assign_slots(*servers)
        yield Twins(*servers)
    finally:
        for server in servers:
            server.stop(signal.SIGKILL)


@pytest.mark.parametrize("name", COMMANDS)
def test_patterns_of_other_slots_in_cluster_mode(clustered: Twins, name: str) -> None:
    """BY and GET that may lead to another slot are refused, those that stay in the key's are served; STORE crosses no
    slot. A script hears the same.
    """
    twin = clustered.client()
    for line in FILL:
        twin.same(line)
    for tail in LINES:
        words = [name, "{x}l", *tail.split()]
        theirs, ours = twin.both(*words)
        assert theirs == ours, f"{words}: Valkey answered {theirs!r}, we {ours!r}"
        if tail == "store other":  # after such a call Valkey refuses every script until it is started again
            continue
        theirs, ours = twin.both("eval", "return redis.pcall(unpack(ARGV))", 1, "{x}l", *words)
        assert theirs == ours, f"{words} in a script: Valkey answered {theirs!r}, we {ours!r}"
        twin.same("lrange {x}d 0 -1")
    twin.close()


RULES = [
    "+@all ~*", "+@all ~{x}*", "+@all %R~*", "+@all %R~* %W~{x}d", "+@all %R~{x}l %RW~{x}d", "+@all %W~* ~{x}l",
    "+sort ~*", "+sort_ro %R~*", "+@all -sort ~*", "+sort +sort_ro +lrange allkeys", "+@all ~{x}l",
    "+@all ~{x}l (+sort ~*)", "+@all ~{x}l (+@all %R~*)", "-@all",
    "+@read %R~*", "+@write ~*", "+@dangerous ~*", "+@all ~{x}l ~{x}w_*",
]  # fmt: skip


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """Both by themselves."""
    with start_twins(tmp_path_factory.mktemp("sort-acl")) as twins:
        yield twins


@pytest.mark.parametrize("rules", RULES)
def test_a_user_sorts_by_what_it_may_read(plain: Twins, rules: str) -> None:
    """BY and GET with patterns need the right to read every key, STORE that to write its key."""
    root, twin = plain.client(), plain.client()
    for line in FILL:
        root.same(line)
    root.same("acl deluser u")
    root.same(f"acl setuser u on >p {rules}")
    twin.same("auth u p")
    for name in COMMANDS:
        for tail in LINES:
            words = [name, "{x}l", *tail.split()]
            theirs, ours = twin.both(*words)
            assert theirs == ours, f"{words}: Valkey answered {theirs!r}, we {ours!r}"
            theirs, ours = root.both("acl", "dryrun", "u", *words)
            assert theirs == ours, f"dry run of {words}: Valkey answered {theirs!r}, we {ours!r}"
    root.close()
    twin.close()
