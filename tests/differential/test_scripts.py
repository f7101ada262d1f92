"""EVAL, EVALSHA and SCRIPT answer as genuine Valkey does: conversions, errors with their lines, globals, the cache."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.differential.script_cases import BODIES, COMMANDS
from tests.differential.twins import Twin, Twins, start_twins

GLOBALS = """
local found = {}
local function walk(path, t)
  for k, v in pairs(t) do
    found[#found + 1] = path .. tostring(k) .. ' ' .. type(v)
    if type(v) == 'table' and v ~= _G then walk(path .. tostring(k) .. '.', v) end
  end
end
walk('', _G)
table.sort(found)
return found
"""
ADDRESS = re.compile(rb"0x[0-9a-f]+")


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """A genuine server and a node."""
    with start_twins(tmp_path_factory.mktemp("scripts")) as twins:
        yield twins


@pytest.fixture(params=[2, 3])
def twin(request: pytest.FixtureRequest, twins: Twins) -> Iterator[Twin]:
    """A client of each, from empty databases."""
    twin = twins.client(request.param)
    twin.both("FLUSHALL")
    twin.both("SCRIPT", "FLUSH")
    yield twin
    twin.close()


def compare(twin: Twin, *args: str | int) -> None:
    """One command to both, and their replies byte for byte; addresses of Lua objects may differ."""
    theirs, ours = twin.both(*args)
    assert ADDRESS.sub(b"0x", ours) == ADDRESS.sub(b"0x", theirs), args


def test_bodies(twin: Twin) -> None:
    """Every script of the collection, one after the other in the same databases."""
    for body in BODIES:
        compare(twin, "EVAL", body, 0)


def test_bodies_that_only_read(twin: Twin) -> None:
    """The same scripts by EVAL_RO: those that write are refused at the same place."""
    for body in BODIES:
        compare(twin, "EVAL_RO", body, 0)


def test_commands(twin: Twin) -> None:
    """Commands about scripts: wrong arguments, shebangs, the cache."""
    for args in COMMANDS:
        compare(twin, *args)


def test_globals(twin: Twin) -> None:
    """A script sees the same names as in Valkey, down into every table, and of the same types."""
    compare(twin, "EVAL", GLOBALS, 0)


def test_random_numbers_are_one_sequence(twins: Twins) -> None:
    """math.random goes through the sequence that Valkey's does after the same seed."""
    twin = twins.client()
    twin.both("EVAL", "math.randomseed(42)", 0)
    for body in ("return tostring(math.random())", "return math.random(1000)", "return math.random(-5, 5)") * 20:
        compare(twin, "EVAL", body, 0)
    for seed in ("-1", "4294967296", "1.7", "2147483648"):
        compare(twin, "EVAL", f"math.randomseed({seed}) return math.random(1000000)", 0)
    twin.close()


def test_deep_replies(twins: Twins) -> None:
    """Replies that are nested deep."""
    twin = twins.client()
    for body in ("t = {t}", "t = {map = {a = t}}", "t = {set = {[t] = 1}}"):
        for depth in (100, 200):
            compare(twin, "EVAL", f"local t = {{}} for _ = 1, {depth} do {body} end return t", 0)
    twin.close()


def test_scripts_of_eval_leave_the_cache(twins: Twins) -> None:
    """Of the scripts that came by EVAL the last 500 stay; what was loaded, or used again, does not go first."""
    twin = twins.client()
    twin.both("SCRIPT", "FLUSH")
    first = "f1a7b5dfa2a3ef1a7a3ac1dc0b2d7ec7bd7a2a0f"
    twin.both("SCRIPT", "LOAD", "return 'kept'")
    for i in range(520):
        compare(twin, "EVAL", f"return {i}", 0)
        compare(twin, "EVAL", "return 'used'", 0)
    digests = [twin.both("EVAL", f"return redis.sha1hex('return {i}')", 0)[1].split(b"\r\n")[1] for i in range(520)]
    theirs, ours = twin.both("SCRIPT", "EXISTS", first, *digests)
    assert ours == theirs
    compare(twin, "EVAL", "return redis.sha1hex([[return 'kept']])", 0)
    twin.close()


def test_inside_transactions(twin: Twin) -> None:
    """EVAL in MULTI: what the script answers stands in EXEC's reply, its effects are seen by what follows."""
    compare(twin, "SET", "a", "1")
    for args in (
        ("MULTI",), ("EVAL", "return redis.call('incr', KEYS[1])", 1, "a"), ("GET", "a"),
        ("EVAL", "redis.call('incr', 'a') return redis.call('lpush', 'a', 1)", 0), ("EVALSHA", "0" * 40, 0),
        ("EVAL", "return redis.call('blpop', 'l', 0)", 0), ("EXEC",), ("GET", "a"),
    ):  # fmt: skip
        compare(twin, *args)


def test_out_of_memory(twins: Twins) -> None:
    """Under maxmemory old scripts may begin and are refused at a write; those with a shebang say whether they may."""
    twin = twins.client()
    twin.both("SET", "some", "x" * 1000)
    twin.both("CONFIG", "SET", "maxmemory", "1")
    try:
        for head in ("", "#!lua\n", "#!lua flags=allow-oom\n", "#!lua flags=no-writes\n"):
            for body in ("return 1", "return redis.call('set', 'k', 1)", "return redis.call('get', 'k')"):
                compare(twin, "EVAL", head + body, 0)
    finally:
        twin.both("CONFIG", "SET", "maxmemory", "0")
        twin.close()
