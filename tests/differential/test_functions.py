"""FUNCTION and FCALL answer as genuine Valkey does; payloads of FUNCTION DUMP go both ways."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.differential.function_cases import COMMANDS
from tests.differential.harness import parse
from tests.differential.twins import Twin, Twins, start_twins

ONE = "#!lua name=one\nredis.register_function('f', function(keys, args) return {keys, args} end)"
TWO = (
    "#!lua name=two\nlocal count = 0\nredis.register_function{function_name='g', description='counts', "
    "callback=function() count = count + 1 return count end, flags={'no-writes'}}"
)
GLOBALS = """#!lua name=names
redis.register_function('names', function()
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
end)"""


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """A genuine server and a node."""
    with start_twins(tmp_path_factory.mktemp("functions")) as twins:
        yield twins


@pytest.fixture(params=[2, 3])
def twin(request: pytest.FixtureRequest, twins: Twins) -> Iterator[Twin]:
    """A client of each, without libraries."""
    twin = twins.client(request.param)
    twin.both("FLUSHALL")
    twin.both("FUNCTION", "FLUSH")
    yield twin
    twin.close()


def in_any_order(reply: object) -> str:
    """A parsed reply with the elements of each of its arrays sorted: FUNCTION LIST goes through hash tables."""
    if isinstance(reply, list):
        return "[" + " ".join(sorted(in_any_order(item) for item in reply)) + "]"
    return repr(reply)


def test_commands(twin: Twin) -> None:
    """Libraries loaded, refused, called, listed, restored and deleted; RESP2 and RESP3."""
    for args in COMMANDS:
        theirs, ours = twin.both(*args)
        if args[:2] == ("FUNCTION", "LIST"):
            assert in_any_order(parse(ours)) == in_any_order(parse(theirs)), args
        else:
            assert ours == theirs, args


def test_globals(twin: Twin) -> None:
    """A function sees the same names as in Valkey."""
    for args in (("FUNCTION", "LOAD", GLOBALS), ("FCALL", "names", 0)):
        theirs, ours = twin.both(*args)
        assert ours == theirs


def test_payloads_go_both_ways(twins: Twins) -> None:
    """What one server dumps the other restores, by every policy."""
    twin = twins.client()
    twin.both("FUNCTION", "FLUSH")
    for code in (ONE, TWO):
        twin.both("FUNCTION", "LOAD", code)
    dumps = [raw.partition(b"\r\n")[2][:-2] for raw in twin.both("FUNCTION", "DUMP")]
    for payload in dumps:
        for policy in ("APPEND", "REPLACE", "FLUSH"):
            theirs, ours = twin.both("FUNCTION", "RESTORE", payload, policy)
            assert (ours[:1], ours[:3] == b"+OK") == (theirs[:1], theirs[:3] == b"+OK")
        for args in (("FCALL", "f", 1, "k", "a"), ("FCALL_RO", "g", 0), ("FCALL", "g", 0)):
            theirs, ours = twin.both(*args)
            assert ours == theirs
        listed = [in_any_order(parse(raw)) for raw in twin.both("FUNCTION", "LIST", "WITHCODE")]
        assert listed[0] == listed[1]
        broken = payload[:-1] + bytes([payload[-1] ^ 1])
        theirs, ours = twin.both("FUNCTION", "RESTORE", broken)
        assert ours == theirs
    twin.close()
