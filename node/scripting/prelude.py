"""The Lua side of the sandbox: what scripts see, in Lua.

The chunk is run once when a runtime is made, with every global of stock Lua in reach; afterwards the thread's own table
of globals is an empty one that no script ever sees, and scripts run in `ENV`.

Valkey patches its Lua so that tables can be read-only. Stock Lua has no such thing, so here a protected table is an
empty proxy whose `__index` is the true table, and the library functions that would reach behind a proxy (rawset,
next, table.insert ...) look the true table up in `RO`. True tables never leave this chunk: iterating over a proxy
walks a copy.

Errors of our own wrappers are raised with level 2, which puts the caller's place in front, as a C function would.

A command with up to three arguments is called by looking them up in an object of Python's, which has one value for
them, `constants.OK` standing for that status; where it has none `pyresult` has what is returned otherwise.

What Python returns from a command (`node.scripting.host`) is one value, or nil with a code and its values:
`nil, 1, text` a status; `nil, 2, text` an error; `nil, 3, ...` a flat array; `nil, 4` a reply that has to be built from
tokens which are pulled in portions; nothing for RESP3's null.
What `enter` returns to Python is one value, or several: `0, bytes` is a reply in RESP already, `1, err, source, line,
silent` an error.
"""

from typing import Final

LUA: Final = rb"""
local constants, pycall, pycommand, pyresult, pyfull, pypull, pysha, pylog, pyset, pyacl, pydouble, pytick, pyregister,
  pypatch, for_functions = ...
-- The functions behind object[key] and object[key] = value: calling them takes a third of the time of object(key).
local look_up, store = debug.getmetatable(pycall).__index, debug.getmetatable(pycall).__newindex
local as_function = python.as_function
pycall, pycommand, pyresult, pyfull, pypull, pysha, pylog, pyset, pyacl, pydouble, pytick, pyregister, pypatch =
  as_function(pycall), as_function(pycommand), as_function(pyresult), as_function(pyfull), as_function(pypull),
  as_function(pysha), as_function(pylog), as_function(pyset), as_function(pyacl), as_function(pydouble),
  as_function(pytick), as_function(pyregister), as_function(pypatch)

local type, tostring, tonumber, error, assert, select, unpack = type, tostring, tonumber, error, assert, select, unpack
local pairs, ipairs, next, rawget, rawset, rawequal, pcall, xpcall =
  pairs, ipairs, next, rawget, rawset, rawequal, pcall, xpcall
local setmetatable, getmetatable, setfenv, loadstring, load = setmetatable, getmetatable, setfenv, loadstring, load
local getinfo, sethook, true_metatable = debug.getinfo, debug.sethook, debug.getmetatable
local concat, insert, remove, sort, foreach = table.concat, table.insert, table.remove, table.sort, table.foreach
local format, sub, gsub, find, byte, rep, match =
  string.format, string.sub, string.gsub, string.find, string.byte, string.rep, string.match
local floor = math.floor
local create, running = coroutine.create, coroutine.running
local resume, status = coroutine.resume, coroutine.status
local kilobytes = gcinfo

local READONLY = "Attempt to modify a readonly table"
local HOOK_EVERY = 100000

-- ---------------------------------------------------------------- protected tables
local RO = setmetatable({}, {__mode = "k"})
local META = setmetatable({}, {__mode = "k"})

local function refuse() error(READONLY, 2) end

local function protect(true_table, shown_meta)
  local proxy = {}
  RO[proxy] = true_table
  META[proxy] = shown_meta
  return setmetatable(proxy, {__index = true_table, __newindex = refuse})
end

local function copy(t)
  local c = {}
  for k, v in next, t do c[k] = v end
  return c
end

local function kind(n, ...)
  if select("#", ...) < n then return "no value" end
  return type((select(n, ...)))
end

local function want_table(n, name, ...)
  local k = kind(n, ...)
  if k ~= "table" then error(format("bad argument #%d to '%s' (table expected, got %s)", n, name, k), 3) end
end

local base = {}
for _, name in ipairs({"assert", "error", "gcinfo", "ipairs", "rawequal", "select", "tonumber",
  "tostring", "type", "unpack", "_VERSION"}) do base[name] = _G[name] end

function base.rawset(...)
  local t, k, v = ...
  if RO[t] then error(READONLY, 0) end
  want_table(1, "rawset", ...)
  if select("#", ...) < 2 then error("bad argument #2 to 'rawset' (value expected)", 2) end
  if select("#", ...) < 3 then error("bad argument #3 to 'rawset' (value expected)", 2) end
  if k == nil then error("table index is nil", 2) end
  return rawset(t, k, v)
end

function base.rawget(...)
  local t, k = ...
  want_table(1, "rawget", ...)
  if select("#", ...) < 2 then error("bad argument #2 to 'rawget' (value expected)", 2) end
  return rawget(RO[t] or t, k)
end

function base.next(...)
  local t, k = ...
  want_table(1, "next", ...)
  return next(RO[t] or t, k)
end

function base.pairs(...)
  local t = ...
  want_table(1, "pairs", ...)
  local hidden = RO[t]
  if hidden then return next, copy(hidden), nil end
  return next, t, nil
end

function base.setmetatable(...)
  local t, m = ...
  want_table(1, "setmetatable", ...)
  if m ~= nil and type(m) ~= "table" or select("#", ...) < 2 then
    error("bad argument #2 to 'setmetatable' (nil or table expected)", 2)
  end
  if RO[t] then error(READONLY, 0) end
  local old = true_metatable(t)
  if old and rawget(old, "__metatable") ~= nil then error("cannot change a protected metatable", 2) end
  return setmetatable(t, m)
end

-- Settings of the collector have no effect: they would outlast the script that makes them and starve the others.
local collectgarbage = collectgarbage
local SETTINGS = {stop = 0, restart = 0, setpause = 200, setstepmul = 200}

function base.collectgarbage(...)
  local option, value = ...
  if option == nil then option = "collect" end
  local k = type(option)
  if k ~= "string" and k ~= "number" then
    error(format("bad argument #1 to 'collectgarbage' (string expected, got %s)", k), 2)
  end
  if value ~= nil and not tonumber(value) then
    error(format("bad argument #2 to 'collectgarbage' (number expected, got %s)", type(value)), 2)
  end
  if SETTINGS[option] then return SETTINGS[option] end
  if option == "step" then return collectgarbage("step") end
  if option ~= "collect" and option ~= "count" then
    error(format("bad argument #1 to 'collectgarbage' (invalid option '%s')", option), 2)
  end
  return collectgarbage(option)
end

local string_meta
function base.getmetatable(...)
  if select("#", ...) < 1 then error("bad argument #1 to 'getmetatable' (value expected)", 2) end
  local v = ...
  if RO[v] then return META[v] end
  local k = type(v)
  if k == "string" then return string_meta end
  if k == "userdata" then return nil end
  return getmetatable(v)
end

-- ---------------------------------------------------------------- calls that catch errors
local dying = false  -- the script that runs has to end

local function caught(ok, e, ...)
  if not ok and type(e) == "table" and type(e.err) == "string" then return ok, e.err end
  return ok, e, ...
end

function base.pcall(...)
  if select("#", ...) < 1 then error("bad argument #1 to 'pcall' (value expected)", 2) end
  return caught(pcall(...))
end

function base.xpcall(...)
  if select("#", ...) < 2 then error("bad argument #2 to 'xpcall' (value expected)", 2) end
  local f, h = ...
  return xpcall(f, function(e)
    if dying then return e end  -- a handler that the hook's own error calls runs without hooks: without end, too
    return h(e)
  end)
end

-- ---------------------------------------------------------------- code: source text alone, in the sandbox
local ENV

local OURS = {["=server"] = true, ["=cjson"] = true, ["=cmsgpack"] = true, ["=struct"] = true, ["=bit"] = true,
  ["=support"] = true}

local function compile(text, name)
  if OURS[name] then name = "=?" end  -- what is named as the sandbox's own code is not, and shall not pass for it
  if byte(text, 1) == 27 then return nil, "bytecode is not accepted" end
  local f, problem = loadstring(text, name)
  if not f then return nil, problem end
  return setfenv(f, ENV)
end

-- A whole script or library: the tail calls to our own closures become plain calls (node.scripting.bytecode).
local dump_code = string.dump

local function compile_script(text, name)
  local f, problem = compile(text, name)
  if not f then return nil, problem end
  local patched = pypatch(dump_code(f))
  return patched and setfenv(loadstring(patched, name), ENV) or f
end

function base.loadstring(...)
  local text, name = ...
  local k = kind(1, ...)
  if k ~= "string" and k ~= "number" then
    error(format("bad argument #1 to 'loadstring' (string expected, got %s)", k), 2)
  end
  text = tostring(text)
  if name ~= nil and type(name) ~= "string" and type(name) ~= "number" then
    error(format("bad argument #2 to 'loadstring' (string expected, got %s)", type(name)), 2)
  end
  return compile(text, name and tostring(name) or text)
end

function base.load(...)
  local reader, name = ...
  local k = kind(1, ...)
  if k ~= "function" then error(format("bad argument #1 to 'load' (function expected, got %s)", k), 2) end
  if name ~= nil and type(name) ~= "string" and type(name) ~= "number" then
    error(format("bad argument #2 to 'load' (string expected, got %s)", type(name)), 2)
  end
  local pieces, n = {}, 0
  while true do
    local ok, piece = pcall(reader)
    if not ok then return nil, piece end
    if piece == nil or piece == "" then break end
    if type(piece) ~= "string" and type(piece) ~= "number" then return nil, "reader function must return a string" end
    n = n + 1
    pieces[n] = tostring(piece)
  end
  return compile(concat(pieces), name and tostring(name) or "=(load)")
end

-- ---------------------------------------------------------------- libraries
local function tables_only(name, f, writes)
  return function(...)
    local t = ...
    local hidden = RO[t]
    if hidden then
      if writes then error(READONLY, 0) end
      return f(hidden, select(2, ...))
    end
    want_table(1, name, ...)
    return f(...)
  end
end

local table_lib = copy(table)

function table_lib.insert(...)
  local t, a, b = ...
  if RO[t] then error(READONLY, 0) end
  want_table(1, "insert", ...)
  local n = select("#", ...)
  if n == 2 then t[#t + 1] = a return end
  if n ~= 3 then error("wrong number of arguments to 'insert'", 2) end
  local at = tonumber(a)
  if not at then error(format("bad argument #2 to 'insert' (number expected, got %s)", type(a)), 2) end
  insert(t, at, b)
end

function table_lib.remove(...)
  local t, at = ...
  if RO[t] then return end  -- none of them has an array part
  want_table(1, "remove", ...)
  if at == nil then return remove(t) end
  if not tonumber(at) then error(format("bad argument #2 to 'remove' (number expected, got %s)", type(at)), 2) end
  return remove(t, at)
end

function table_lib.sort(...)
  local t, before = ...
  if RO[t] then return end
  want_table(1, "sort", ...)
  if before ~= nil and type(before) ~= "function" then
    error(format("bad argument #2 to 'sort' (function expected, got %s)", type(before)), 2)
  end
  sort(t, before)
end

table_lib.foreach = tables_only("foreach", foreach, false)

local string_lib = copy(string)
function string_lib.dump(...)
  local k = kind(1, ...)
  if k ~= "function" then error(format("bad argument #1 to 'dump' (function expected, got %s)", k), 2) end
  return rep("\0", 64)  -- never bytecode: nothing could load it
end
getmetatable("").__index = string_lib

-- math.random: one sequence of drand48 (X = X * 0x5DEECE66D + 0xB mod 2^48), as Valkey's, from drand48's first state.
local math_lib = copy(math)
local HALF, A_HIGH, A_LOW = 16777216, 0x5DE, 0xECE66D
local x_high, x_low = 0x1234AB, 0xCD330E

local function random_unit()
  local low = x_low * A_LOW + 0xB
  local carry = floor(low / HALF)
  x_high, x_low = (x_high * A_LOW + x_low * A_HIGH + carry) % HALF, low - carry * HALF
  return (x_high * 128 + floor(x_low / 131072)) % 2147483647 / 2147483647
end

local function want_number(n, name, v)
  local number = tonumber(v)
  if not number or type(v) == "table" then
    error(format("bad argument #%d to '%s' (number expected, got %s)", n, name, v == nil and "no value" or type(v)), 3)
  end
  return number < 0 and -floor(-number) or floor(number)
end

function math_lib.randomseed(n)
  local seed = want_number(1, "randomseed", n) % 4294967296
  x_high = floor(seed / 256)
  x_low = seed % 256 * 65536 + 0x330E
end

function math_lib.random(...)
  local n, low, high = select("#", ...), ...
  if n == 0 then return random_unit() end
  if n == 1 then
    high = want_number(1, "random", low)
    if high < 1 then error("bad argument #1 to 'random' (interval is empty)", 2) end
    return floor(random_unit() * high) + 1
  end
  if n ~= 2 then error("wrong number of arguments", 2) end
  low, high = want_number(1, "random", low), want_number(2, "random", high)
  if low > high then error("bad argument #2 to 'random' (interval is empty)", 2) end
  return floor(random_unit() * (high - low + 1)) + low
end

-- ---------------------------------------------------------------- the clock of a running script


local function every_so_often()
  local problem = pytick()
  if not problem then return end
  dying = true
  if getinfo(2, "S").source == "=server" then
    sethook(every_so_often, "", 1)  -- not in the sandbox's own code, which must come to its end
  else
    sethook(every_so_often, "", 1)  -- nothing may catch it: it is raised again at every step
    error({err = problem}, 0)
  end
end

local coroutine_lib = copy(coroutine)

function coroutine_lib.create(f)
  if type(f) ~= "function" then
    error("bad argument #1 to 'create' (Lua function expected)", 2)
  end
  local thread = create(f)
  sethook(thread, every_so_often, "", dying and 1 or HOOK_EVERY)
  return thread
end

local function passed_on(ok, ...)
  if ok then return ... end
  error((...), type((...)) == "string" and 3 or 0)
end

function coroutine_lib.wrap(f)
  if type(f) ~= "function" then
    error("bad argument #1 to 'wrap' (Lua function expected)", 2)
  end
  local thread = create(f)
  sethook(thread, every_so_often, "", dying and 1 or HOOK_EVERY)
  return function(...)
    if status(thread) == "dead" then error("cannot resume dead coroutine", 2) end
    return select(1, passed_on(resume(thread, ...)))
  end
end
"""
