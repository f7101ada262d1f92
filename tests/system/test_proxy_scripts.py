"""Scripts and functions through the proxy of a sharded service: by their keys, or on every shard."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from tests.system.proxy_rig import Rig, sharded_rig

LIBRARY = "#!lua name=lib\nredis.register_function('put', function(k, a) return redis.call('set', k[1], a[1]) end)"


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Three genuine nodes and a proxy."""
    yield from sharded_rig(tmp_path_factory.mktemp("scripts"))


@pytest.fixture
def r(rig: Rig) -> redis.Redis:
    """A client of an empty service."""
    client = rig.client(decode_responses=True)
    client.flushall()
    client.script_flush()
    client.function_flush()
    return client


def test_scripts_go_where_their_keys_are(rig: Rig, r: redis.Redis) -> None:
    """EVAL reaches the shard of its keys; a script is loaded, found and flushed on all shards."""
    for n in range(50):
        assert r.eval("return redis.call('set', KEYS[1], ARGV[1])", 1, f"k{n}", n) == "OK"
    assert min(node.client().dbsize() for node in rig.nodes) > 3
    digest = r.script_load("return redis.call('get', KEYS[1])")
    assert [r.evalsha(digest, 1, f"k{n}") for n in range(50)] == [str(n) for n in range(50)]
    assert [node.client().script_exists(digest) for node in rig.nodes] == [[True]] * 3
    assert r.script_exists(digest, "0" * 40) == [True, False]
    assert r.eval("return 7", 0) == 7
    with pytest.raises(redis.ResponseError, match="same slot"):
        r.eval("return 1", 2, "a", "b")
    r.script_flush()
    with pytest.raises(redis.exceptions.NoScriptError):
        r.evalsha(digest, 1, "k1")
    with pytest.raises(redis.ResponseError, match="No scripts in execution"):
        r.script_kill()


def test_functions_are_on_every_shard(rig: Rig, r: redis.Redis) -> None:
    """FUNCTION LOAD, DELETE and FLUSH act on all shards, FCALL on that of its keys."""
    r.function_load(LIBRARY)
    for n in range(50):
        assert r.fcall("put", 1, f"k{n}", n) == "OK"
    assert min(node.client().dbsize() for node in rig.nodes) > 3
    assert all(len(node.client().function_list()) == 1 for node in rig.nodes)
    assert len(r.function_list()) == 1
    r.function_delete("lib")
    assert not any(node.client().function_list() for node in rig.nodes)
