"""The sandbox of scripts as an attacker sees it: the known ways out, each against a real node that must go on serving.

What Lua 5.1, lupa and Valkey's own tables offer is tried from EVAL: reaching Python, the true globals or debug; running
bytecode; changing what later scripts see; never ending; taking all memory.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import redis

from tests.conftest import Server, find_free_port, start_server


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One node for all attacks: it has to survive every one of them."""
    home = tmp_path_factory.mktemp("sandbox")
    port = find_free_port()
    place = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(home), "--save", ""]
    server = start_server([sys.executable, "-m", "node", *place, "--busy-reply-threshold", "50"], home, port)
    yield server
    server.kill()


@pytest.fixture
def run(node: Server) -> Iterator[Callable[..., object]]:
    """Run a script: its reply, or the text of its error. Afterwards the node still serves scripts and commands."""
    client = node.client(socket_timeout=60)

    def evaluate(script: str | bytes, *args: object) -> object:
        try:
            return client.execute_command("EVAL", script, 0, *args)
        except redis.ResponseError as error:
            return str(error)

    yield evaluate
    assert node.process.poll() is None, node.log.read_text()[-2000:]
    assert client.ping()
    assert evaluate("return redis.call('SET', 'alive', ARGV[1])", "yes") == b"OK"
    client.close()


@pytest.mark.parametrize(
    "name",
    [
        "debug",
        "dofile",
        "getfenv",
        "io",
        "loadfile",
        "module",
        "newproxy",
        "package",
        "print",
        "python",
        "require",
        "setfenv",
    ],
)
def test_absent(run: Callable[..., object], name: str) -> None:
    """What reaches outside is not there, under no way of asking."""
    assert f"nonexistent global variable '{name}'" in str(run(f"return {name}"))
    assert run(f"return rawget(_G, '{name}') == nil") == 1
    assert run(f"for k in pairs(_G) do if k == '{name}' then return 'found' end end return 'none'") == b"none"
    assert f"nonexistent global variable '{name}'" in str(run(f"return loadstring('return {name}')()"))


def test_os_is_a_clock(run: Callable[..., object]) -> None:
    """Of os there is the clock."""
    assert run("local r = {} for k in pairs(os) do r[#r + 1] = k end return r") == [b"clock"]


def test_no_python_in_reach(run: Callable[..., object]) -> None:
    """Whatever can be reached from the globals, metatables included, is plain Lua; the only userdata is cjson.null."""
    found = run("""
      local seen, found = {}, {}
      local function walk(v, path)
        local t = type(v)
        if t == 'userdata' and v ~= cjson.null then found[#found + 1] = path end
        if t == 'thread' then found[#found + 1] = path end
        if (t ~= 'table' and t ~= 'function') or seen[v] then return end
        seen[v] = true
        local m = getmetatable(v)
        if m then walk(m, path .. '<meta>') end
        if t ~= 'table' then return end
        for k, inner in pairs(v) do
          walk(k, path .. '<key>')
          walk(inner, path .. '.' .. tostring(k))
        end
      end
      walk(_G, '_G') walk(getmetatable(''), 'string') walk(cjson.null, 'null') walk(cjson.new(), 'new')
      for _, f in ipairs({function() error('x') end, function() redis.call('nope') end, function() redis.call({}) end,
          function() cjson.decode('[') end, function() redis.setresp(9) end, function() redis.call() end}) do
        walk(select(2, pcall(f)), 'error')
        xpcall(f, function(e) walk(e, 'handled') end)
      end
      return found
    """)
    assert found == []


@pytest.mark.parametrize(
    "script",
    [
        "return redis.call.__class__", "return redis.call.__globals__",
        "return cjson.decode.__call__", "return redis.call[1]",
        "return getmetatable(redis.call).__index", "return getmetatable(cjson.null).__index",
        "return cjson.null.__class__",
        "return getmetatable(coroutine.create(function() end)).__index", "return redis.log.func_globals",
        "return ('x').__class__.__mro__", "return redis.sha1hex('x').__class__.y",
    ],
)  # fmt: skip
def test_attributes(run: Callable[..., object], script: str) -> None:
    """Functions and values have no attributes."""
    assert "attempt to index" in str(run(script))


def test_tostring_tells_no_python(run: Callable[..., object]) -> None:
    """No text names a Python object, type, module or path."""
    texts = run("""
      local r = {}
      for _, t in ipairs({redis, cjson, string, table, math, coroutine, bit, struct, cmsgpack, os, _G}) do
        for k, v in pairs(t) do r[#r + 1] = tostring(v) end
      end
      for _, f in ipairs({function() redis.call(redis.call) end, function() redis.log({}, {}) end,
          function() redis.sha1hex({}, {}) end, function() redis.setresp('x') end,
          function() redis.acl_check_cmd({}) end,
          function() redis.call(string.rep('x', 100), coroutine.create(function() end)) end}) do
        local e = select(2, pcall(f))
        r[#r + 1] = type(e) == 'table' and tostring(e.err) or tostring(e)
      end
      return r
    """)
    for text in texts:
        for word in (b"Python", b"python", b"lupa", b"object at", b"Traceback", b".py", b"<"):
            assert word not in text


@pytest.mark.parametrize(
    "script",
    [
        "x = 1", "_G.x = 1", "rawset(_G, 'x', 1)", "setmetatable(_G, nil)", "setmetatable(_G, {})", "_G.redis = nil",
        "getmetatable(_G).__index = nil", "rawset(getmetatable(_G), '__index', nil)", "redis.call = 1", "redis = 1",
        "rawset(redis, 'call', 1)", "setmetatable(redis, {})", "string.format = 1", "rawset(string, 'format', 1)",
        "getmetatable('').__index = 1", "rawset(getmetatable(''), '__index', 1)", "setmetatable(getmetatable(''), {})",
        "getmetatable('').__add = function() end", "('').x = 1", "table.insert(cjson, 1)", "table.remove(_G)",
        "math.random = 1", "rawset(math, 'random', 1)", "bit.band = 1", "struct.pack = 1", "cmsgpack.pack = 1",
        "cjson.encode = 1", "cjson.null = 1", "coroutine.wrap = 1", "os.clock = 1", "KEYS = 1", "ARGV = 1",
        "local s = string s.x = 1", "for k, t in pairs(_G) do if type(t) == 'table' then t.x = 1 end end",
        "table.foreach(_G, function(k, v) if type(v) == 'table' then v.x = 1 end end)", "server.x = 1",
    ],
)  # fmt: skip
def test_shared_tables_stay(run: Callable[..., object], script: str) -> None:
    """Nothing that a later script sees can be changed."""
    text = str(run(script))
    if not any(word in script for word in ("KEYS", "ARGV", "pairs", "foreach", "remove")):  # those may change nothing
        assert "Attempt to modify a readonly table" in text or "attempt to index" in text
    probe = """
      local r = {rawget(_G, 'x') == nil, redis.x == nil, string.x == nil, cjson.x == nil, os.x == nil, #KEYS == 0,
        string.format('%d', 7) == '7', ('x'):upper() == 'X', type(redis.call) == 'function',
        getmetatable('').__add == nil,
        type(math.random()) == 'number', bit.band(6, 3) == 2, cjson.encode({1}) == '[1]',
        type(coroutine.wrap) == 'function'}
      return r
    """
    assert run(probe) == [1] * 14


def test_copies_are_harmless(run: Callable[..., object]) -> None:
    """What iteration hands out of a protected table is a copy or a value, never the table behind it."""
    run("local _, t = pairs(string) t.format = 1 rawset(t, 'rep', 1)")
    run("local _, t = pairs(_G) t.tostring = 1")
    run("local f, t, k = ipairs(cjson) if t then pcall(rawset, t, 'encode', 1) end")

    assert run("return string.format('%s', string.rep('a', 2)) .. tostring(1) .. cjson.encode(1)") == b"aa11"


def test_bytecode(run: Callable[..., object]) -> None:
    """No bytecode runs: not as a script, nor by loadstring or load, whole or in pieces."""
    assert "rror" in str(run(b"\x1bLuaQ\x00\x01\x04\x08\x04\x08\x00"))
    assert run("return loadstring(string.dump(function() return 1 end)) == nil") == 1
    assert run("return loadstring('\\27Lua') == nil") == 1
    assert run("local p = {'\\27', 'Lua'} local i = 0 return load(function() i = i + 1 return p[i] end) == nil") == 1
    assert (
        run("local p = {'', '\\27Lua'} local i = 0 return load(function() i = i + 1 return p[i] end) == nil or 'empty'")
        is not None
    )


def test_loaded_code_is_inside(run: Callable[..., object]) -> None:
    """Code that a script compiles has the same globals as the script."""
    assert run("return loadstring('return _G')() == _G") == 1
    assert run("local s = 'return _G' return load(function() local r = s s = nil return r end)() == _G") == 1
    assert "readonly" in str(run("loadstring('x = 1')()"))
    assert run("return coroutine.wrap(function() return _G end)() == _G") == 1


ENDLESS = [
    "while true do end",
    "while true do pcall(function() while true do end end) end",
    "coroutine.wrap(function() while true do end end)()",
    "while true do pcall(coroutine.wrap(function() while true do end end)) end",
    "while true do coroutine.resume(coroutine.create(function() while true do coroutine.yield() end end)) end",
    "while true do xpcall(function() while true do end end, function() while true do end end) end",
    "while true do xpcall(error, function() while true do end end) end",
    "local t = setmetatable({}, {__index = function() while true do end end}) while true do pcall(rawequal, t.x) end",
    "while true do pcall(string.gsub, 'a', 'a', function() while true do end end) end",
    "while true do pcall(table.sort, {3, 2, 1}, function() while true do end end) end",
    "local function f() return f() end f()",
    "while true do pcall(redis.call, 'nope') end",
    "while true do redis.call('GET', 'x') end",
    "loadstring('while true do end', '=server')()",
    "loadstring('while true do end', '=cjson')()",
    "load(function() while true do end end)",
    "while true do cjson.decode('[1,2,3]') end",
    "cjson.encode_sparse_array(false, 0, 0) cjson.encode({[2^30] = 1})",
    "error(setmetatable({}, {__tostring = function() while true do end end})) while true do end",
]


@pytest.mark.parametrize("script", ENDLESS)
def test_endless(node: Server, run: Callable[..., object], script: str) -> None:
    """SCRIPT KILL ends every script that has not written, whatever it catches; others hear BUSY meanwhile."""
    answers: list[object] = []
    victim = threading.Thread(target=lambda: answers.append(run(script)))
    victim.start()
    with node.client(socket_timeout=30) as client:
        deadline = time.monotonic() + 30
        while victim.is_alive() and time.monotonic() < deadline:
            try:
                client.execute_command("SCRIPT", "KILL")
                break
            except redis.ResponseError:  # not running yet, or ended already
                continue
    victim.join(30)

    assert not victim.is_alive()
    assert "Script killed by user" in str(answers[0]) or "unknown error" in str(answers[0])


@pytest.mark.parametrize(
    "script",
    [
        "local function f() return 1 + f() end return f()",
        "local function f() return string.gsub('a', 'a', f) end return f()",
        "local function f() return coroutine.wrap(f)() end return f()",
        "local t = setmetatable({}, {}) getmetatable(t).__index = function(t, k) return t[k] end return t.x",
        "local t = setmetatable({}, {}) getmetatable(t).__index = t return t.x",
        "local t = {} t[1] = t return cjson.encode(t)",
        "return cjson.decode(string.rep('[', 100000))",
        "return cmsgpack.unpack(string.rep('\\145', 1000000))",
        "return string.format('%99999d', 1)",
        "return unpack({}, 1, 1e8)",
        "return loadstring(string.rep('(', 1e5))()",
        "return loadstring('return ' .. string.rep('{', 1e5))()",
        "return string.rep('x', 1e6):rep(2e9)",
    ],
)
def test_bombs(run: Callable[..., object], script: str) -> None:
    """Depths and sizes without end are errors."""
    assert isinstance(run(script), str)


@pytest.mark.parametrize(
    "script",
    [
        "local s = 'x' while true do s = s .. s end",
        "local t = {} for i = 1, 1e9 do t[i] = {} end",
        "local s = string.rep('x', 1e7) return table.concat({s, s, s, s, s, s, s, s, s, s}, s:rep(20))",
    ],
)
def test_memory(node: Server, run: Callable[..., object], script: str) -> None:
    """A script that takes all memory fails, the node lives on within bounds, and the next scripts have room again."""
    assert isinstance(run(script), str)
    assert run("return #ARGV[1]", b"x" * 10_000_000) == 10_000_000
    assert run("local t = {} for i = 1, 100000 do t[i] = {i} end return #t") == 100000
    assert node.resident() < 2_500_000_000


def test_full_memory_and_calls(run: Callable[..., object]) -> None:
    """With memory filled to the last bytes every call into the server fails in order."""
    answer = run("""
      local keep, n, size, base, sub = {}, 1, 32 * 1024 * 1024, 'x', string.sub
      while #base < size do base = base .. base end
      local calls = {function() redis.call('GET', 'alive') end, function() redis.call('nope') end,
        function() redis.call({}) end, function() redis.sha1hex('x') end, function() loadstring('return 1') end,
        function() coroutine.wrap(tostring) end, function() cjson.encode({1}) end,
        function() redis.acl_check_cmd('GET') end}
      local function add(k) keep[n] = sub(base, 1, k - 40) .. n n = n + 1 end
      local failed = 0
      while size >= 64 do
        while pcall(add, size) do end
        size = size / 2
        for i = 1, 8 do if not pcall(calls[i]) then failed = failed + 1 end end
      end
      keep = nil
      return failed
    """)

    assert answer == "not enough memory" or answer > 0
    assert run("return 1") == 1


def test_collector_settings_do_not_last(run: Callable[..., object]) -> None:
    """A script that stops the collector starves nobody: the garbage of the next one is collected while it runs."""
    run("collectgarbage('stop') collectgarbage('setpause', 1e9) return 1")
    grown = run("""
      collectgarbage('collect')
      local before = collectgarbage('count')
      for i = 1, 1e6 do local t = {i} end
      return collectgarbage('count') - before
    """)

    assert grown < 20_000


def test_rights_of_the_caller(node: Server, run: Callable[..., object]) -> None:
    """A script has its caller's rights, in coroutines, handlers and loaded code as well."""
    admin = node.client()
    admin.set("secret", "xxxx")
    admin.execute_command("ACL", "SETUSER", "guest", "on", ">word", "~own:*", "+eval", "+get", "+ping")
    guest = node.client(username="guest", password="word")
    for script in (
        "return redis.call('GET', 'secret')",
        "return coroutine.wrap(function() return redis.call('GET', 'secret') end)()",
        "return loadstring(\"return redis.call('GET', 'secret')\")()",
        "return select(2, xpcall(error, function() return redis.call('GET', 'secret') end))",
        "return redis.pcall('GET', 'secret')",
        "return redis.call('SET', 'own:x', 1)",
        "return redis.call('CONFIG', 'GET', '*')",
        "return redis.call('ACL', 'SETUSER', 'guest', '+@all')",
    ):
        with contextlib.suppress(redis.ResponseError):
            assert b"xxxx" not in (guest.execute_command("EVAL", script, 0) or b"")

    assert admin.get("own:x") is None
    assert "set" not in str(admin.acl_getuser("guest")["commands"])
    admin.execute_command("ACL", "DELUSER", "guest")
