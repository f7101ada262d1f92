"""The Lua side of the sandbox, continued: the tables `server` and `redis`, and the way into a script and out of it.

One chunk with `node.scripting.prelude`, which has the conventions.
"""

from typing import Final

LUA: Final = rb"""
-- ---------------------------------------------------------------- replies: from a command to Lua
local queue, queue_at, queue_end = {}, 1, 0

local function token()
  if queue_at > queue_end then
    queue = {pypull()}
    queue_at, queue_end = 1, #queue
  end
  local k, v = queue[queue_at], queue[queue_at + 1]
  queue_at = queue_at + 2
  return k, v
end

local function build()
  local k, v = token()
  if k == 0 then return v end
  if k == 1 then return {ok = v} end
  if k == 2 then return {err = v, ignore_error_stats_update = true} end
  if k == 3 then
    local list = {}
    for i = 1, v do list[i] = build() end
    return list
  end
  if k == 4 then
    local map = {}
    for _ = 1, v do
      local key = build()
      local value = build()
      if key ~= nil then map[key] = value end
    end
    return {map = map}
  end
  if k == 5 then
    local members = {}
    for _ = 1, v do
      local member = build()
      if member ~= nil then members[member] = true end
    end
    return {set = members}
  end
  if k == 6 then return {double = v} end
  if k == 7 then return {big_number = v} end
  if k == 8 then return {verbatim_string = {format = sub(v, 1, 3), string = sub(v, 5)}} end
  return nil
end

local function rest(code)
  if code == 9 then error("not enough memory", 0) end
  if code == 4 then
    queue_at, queue_end = 1, 0
    return build()
  end
  return nil
end

local function done(v, code, a, ...)
  if v ~= nil then return v end
  if code == 1 then return {ok = a} end
  if code == 3 then return {a, ...} end
  if code == 2 then error({err = a, ignore_error_stats_update = (...)}, 0) end
  return rest(code)
end

local function tried(v, code, a, ...)
  if v ~= nil then return v end
  if code == 1 then return {ok = a} end
  if code == 3 then return {a, ...} end
  if code == 2 then return {err = a, ignore_error_stats_update = (...)} end
  return rest(code)
end

-- ---------------------------------------------------------------- server.*, which redis.* is too
local api = {}
local OK, FULL, CROWDED = constants.OK, constants.FULL, constants.CROWDED
constants.OK, constants.FULL, constants.CROWDED = nil, nil, nil

local function commands(words)
  return setmetatable({}, {__index = function(t, name)
    if type(name) ~= "string" then return nil end
    local command = pycommand(name, words)
    if command ~= nil then t[name] = command end  -- known ones alone: their number is bounded
    return command
  end})
end

local two_words, three_words, four_words = commands(2), commands(3), commands(4)

local function caller(finish)
  return function(...)
    local words = select("#", ...)
    if words > 1 and words < 5 and kilobytes() < FULL then
      local name, a, b, c = ...
      local v, command
      if words == 2 then
        command = two_words[name]
        if command then v = look_up(command, a) end
      elseif words == 3 then
        command = three_words[name]
        if command then
          store(command, a, b)
          v = look_up(command, false)
        end
      else
        command = four_words[name]
        if command then
          store(command, a, b)
          v = look_up(command, c)
        end
      end
      if command then
        if v == nil then return finish(pyresult()) end
        if v == OK then return {ok = "OK"} end
        return v
      end
    end
    return finish(pycall(...))
  end
end

api.call, api.pcall = caller(done), caller(tried)

local WRONG_FIELD = "wrong number or type of arguments"

function api.status_reply(...)
  local text = ...
  if select("#", ...) ~= 1 or type(text) ~= "string" then return {err = "ERR " .. WRONG_FIELD} end
  return {ok = text}
end

function api.error_reply(...)
  local text = ...
  if select("#", ...) ~= 1 or type(text) ~= "string" then return {err = "ERR " .. WRONG_FIELD} end
  if byte(text, 1) == 45 then text = sub(text, 2) end
  local code, message = match(text, "^([^ ]*) (.*)$")
  if not code then code, message = "ERR", text end
  return {err = code .. " " .. gsub(gsub(message, "^[\r\n]+", ""), "[\r\n]+$", "")}
end

local function fail(text) error({err = "ERR " .. text}, 0) end

function api.sha1hex(...)
  if select("#", ...) ~= 1 then fail("wrong number of arguments") end
  local text = ...
  if type(text) == "number" then text = tostring(text) end
  return pysha(type(text) == "string" and text or "")
end

function api.log(...)
  local n = select("#", ...)
  if n < 2 then fail("server.log() requires two arguments or more.") end
  local level = ...
  if not tonumber(level) or type(level) ~= "number" then
    fail("First argument must be a number (log level).")
  end
  if level < 0 or level > 3 then fail("Invalid log level.") end
  local pieces = {}
  for i = 2, n do
    local piece = select(i, ...)
    if type(piece) == "string" or type(piece) == "number" then pieces[#pieces + 1] = tostring(piece) end
  end
  pylog(level, concat(pieces, " "))
end

local resp = 2

function api.setresp(...)
  if select("#", ...) ~= 1 then fail("server.setresp() requires one argument.") end
  local version = floor(tonumber((...)) or 0)
  if version ~= 2 and version ~= 3 then fail("RESP version must be 2 or 3.") end
  resp = version
  pyset("resp", version)
end

function api.set_repl(...)
  if select("#", ...) ~= 1 then fail("server.set_repl() requires one argument.") end
  local flags = tonumber((...)) or 0
  if flags < 0 or flags > 3 or flags % 1 ~= 0 then
    fail("Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.")
  end
  pyset("repl", flags)
end

function api.replicate_commands() return true end
function api.breakpoint() return false end
function api.debug() end

function api.acl_check_cmd(...)
  if select("#", ...) == 0 then fail("Please specify at least one argument for this call") end
  local allowed, problem = pyacl(...)
  if problem then error({err = problem}, 0) end
  return allowed
end

for name, value in next, constants do api[name] = value end

-- ---------------------------------------------------------------- errors
local function user_level()
  local level = 3
  while true do
    local at = getinfo(level, "Sl")
    if not at then return nil end
    if not OURS[at.source] and at.what ~= "C" and at.what ~= "tail" then return at end
    level = level + 1
  end
end

local function on_error(e)
  if type(e) ~= "table" then e = {err = "ERR " .. tostring(e)} end
  if not RO[e] then
    local at = user_level()
    if at then
      e.source, e.line = at.source, at.currentline
    end
  end
  return e
end
base.__redis__err__handler = on_error
base.__server__err__handler = on_error

-- ---------------------------------------------------------------- replies: from Lua to the client
local DEEPEST = 7995  -- slots of Valkey's Lua stack: one for an array, three for a map or a set
local encode

local function line(text) return (gsub(text, "[\r\n]", " ")) end
local function bulk(text) return "$" .. #text .. "\r\n" .. text .. "\r\n" end

local function encode_table(t, out, n, deep, resp3)
  t = RO[t] or t
  local v = rawget(t, "err")
  if type(v) == "string" then
    n = n + 1
    out[n] = "-" .. line(v) .. "\r\n"
    return n
  end
  v = rawget(t, "ok")
  if type(v) == "string" then
    n = n + 1
    out[n] = "+" .. line(v) .. "\r\n"
    return n
  end
  v = rawget(t, "double")
  if type(v) == "number" then
    n = n + 1
    local text = v == 0 and (1 / v < 0 and "-0" or "0") or pydouble(v)
    out[n] = resp3 and "," .. text .. "\r\n" or bulk(text)
    return n
  end
  v = rawget(t, "map")
  if type(v) == "table" then
    n = n + 1
    local head, count = n, 0
    for key, value in next, RO[v] or v do
      n = encode(key, out, n, deep + 3, resp3)
      n = encode(value, out, n, deep + 3, resp3)
      count = count + 1
    end
    out[head] = resp3 and "%" .. count .. "\r\n" or "*" .. 2 * count .. "\r\n"
    return n
  end
  v = rawget(t, "set")
  if type(v) == "table" then
    n = n + 1
    local head, count = n, 0
    for key in next, RO[v] or v do
      n = encode(key, out, n, deep + 3, resp3)
      count = count + 1
    end
    out[head] = (resp3 and "~" or "*") .. count .. "\r\n"
    return n
  end
  v = rawget(t, "big_number")
  if type(v) == "string" then
    n = n + 1
    v = line(v)
    out[n] = resp3 and "(" .. v .. "\r\n" or bulk(v)
    return n
  end
  v = rawget(t, "verbatim_string")
  if type(v) == "table" then
    local text, kind_of = rawget(v, "string"), rawget(v, "format")
    if type(text) == "string" and type(kind_of) == "string" then
      n = n + 1
      if resp3 then
        kind_of = sub(kind_of .. "   ", 1, 3)
        out[n] = "=" .. #text + 4 .. "\r\n" .. kind_of .. ":" .. text .. "\r\n"
      else
        out[n] = bulk(text)
      end
      return n
    end
  end
  n = n + 1
  local head, count = n, 0
  while true do
    v = rawget(t, count + 1)
    if v == nil then break end
    count = count + 1
    n = encode(v, out, n, deep + 1, resp3)
  end
  out[head] = "*" .. count .. "\r\n"
  return n
end

function encode(v, out, n, deep, resp3)
  local t = type(v)
  if deep >= DEEPEST then
    n = n + 1
    out[n] = "-ERR reached lua stack limit\r\n"
  elseif t == "string" then
    n = n + 1
    out[n] = bulk(v)
  elseif t == "number" then
    n = n + 1
    out[n] = format(":%d\r\n", v)
  elseif t == "table" then
    return encode_table(v, out, n, deep, resp3)
  elseif t == "boolean" and resp == 3 then
    n = n + 1
    out[n] = resp3 and (v and "#t\r\n" or "#f\r\n") or (v and ":1\r\n" or ":0\r\n")
  elseif v == true then
    n = n + 1
    out[n] = ":1\r\n"
  else
    n = n + 1
    out[n] = resp3 and "_\r\n" or "$-1\r\n"
  end
  return n
end

local function answer(resp3, ok, v)
  if kilobytes() > CROWDED then pyfull() end
  if ok then
    local t = type(v)
    if t == "string" or t == "number" or t == "nil" then return v end
    if t == "boolean" then
      if resp == 2 then return v end
    elseif t == "table" and rawget(v, "ok") == "OK" and rawget(v, "err") == nil then
      return 0, "+OK\r\n"
    end
    local out = {}
    local n = encode(v, out, 0, 0, resp3)
    return 0, concat(out, "", 1, n)
  end
  if type(v) ~= "table" then v = {err = "ERR " .. tostring(v)} end
  local text = rawget(v, "err")
  if type(text) ~= "string" and type(text) ~= "number" then text = "ERR unknown error" end
  local source, at = rawget(v, "source"), rawget(v, "line")
  return 1, tostring(text), type(source) == "string" and source or "", type(at) == "number" and at or 0,
    rawget(v, "ignore_error_stats_update") == true
end

-- ---------------------------------------------------------------- the way in
local G = base
local staged, staged_n = {}, 0

local function stage(again, ...)
  if again then staged, staged_n = {}, 0 end
  for i = 1, select("#", ...) do staged[staged_n + i] = (select(i, ...)) end
  staged_n = staged_n + select("#", ...)
end

local function split(n, all)
  local keys, argv = {}, {}
  for i = 1, n do keys[i] = all[i] end
  for i = n + 1, #all do argv[i - n] = all[i] end
  return keys, argv
end

local function one_key(key, ...) return {key}, {...} end
local function two_keys(one, two, ...) return {one, two}, {...} end

local function arguments(n, ...)
  if n == 1 then return one_key(...) end
  if n == 0 then return {}, {...} end
  if n == 2 then return two_keys(...) end
  return split(n, {...})
end

local function run(f, resp3, keys, argv)
  resp = 2
  G.KEYS, G.ARGV = keys, argv
  return answer(resp3, xpcall(f, on_error))
end

if for_functions then
  local function_to_run, its_keys, its_arguments  -- xpcall hands no arguments on

  local function run_it()
    local v = function_to_run(its_keys, its_arguments)
    return v
  end

  function run(f, resp3, keys, argv)
    resp = 2
    function_to_run, its_keys, its_arguments = f, keys, argv
    return answer(resp3, xpcall(run_it, on_error))
  end
end

local function enter(f, resp3, n, ...)
  if n >= 0 then return run(f, resp3, arguments(n, ...)) end
  local all = staged
  staged = {}
  return run(f, resp3, split(-1 - n, all))
end

local function bind(f, resp3, n)
  if n == 1 then return function(key, ...) return run(f, resp3, {key}, {...}) end end
  if n == 0 then return function(...) return run(f, resp3, {}, {...}) end end
  return function(...) return run(f, resp3, arguments(n, ...)) end
end

local function renew()
  dying = false
  sethook(every_so_often, "", HOOK_EVERY)
end

-- ---------------------------------------------------------------- the sandbox is closed here
local protected_api = protect(api)
base.redis, base.server = protected_api, protected_api
base.string, base.table, base.math, base.coroutine =
  protect(string_lib), protect(table_lib), protect(math_lib), protect(coroutine_lib)
base.os = protect({clock = os.clock})
string_meta = protect({__index = base.string})
if rawget(_G, "cjson") then
  debug.setmetatable(_G.cjson.null, {__tostring = function() return "userdata: (nil)" end})
end
for _, name in ipairs({"cjson", "cmsgpack", "struct", "bit"}) do
  if rawget(_G, name) then base[name] = protect(_G[name]) end
end

local function unknown(_, name)
  error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
end
setmetatable(base, {__index = unknown})
ENV = protect(base, protect({__index = unknown}))
base._G = ENV

-- ---------------------------------------------------------------- libraries of functions
local loading = false
local FLAGS = {["no-writes"] = true, ["allow-oom"] = true, ["allow-stale"] = true, ["no-cluster"] = true,
  ["allow-cross-slot-keys"] = true}

local function text_of(v)
  local t = type(v)
  return (t == "string" or t == "number") and tostring(v) or nil
end

local function listed_flags(flags)
  if type(flags) ~= "table" then
    fail("flags argument to server.register_function must be a table representing function flags")
  end
  local found = {}
  for i, flag in ipairs(flags) do
    if type(flag) ~= "string" or not FLAGS[flag] then fail("unknown flag given") end
    found[i] = flag
  end
  return concat(found, ",")
end

local function named(t)
  if type(t) ~= "table" then
    fail("calling server.register_function with a single argument is only applicable to Lua table "
      .. "(representing named arguments).")
  end
  local name, callback, description, flags
  for k, v in next, t do
    if k == "function_name" then
      name = text_of(v)
      if not name then fail("function_name argument given to server.register_function must be a string") end
    elseif k == "description" then
      description = text_of(v)
      if not description then fail("description argument given to server.register_function must be a string") end
    elseif k == "callback" then
      if type(v) ~= "function" then fail("callback argument given to server.register_function must be a function") end
      callback = v
    elseif k == "flags" then
      flags = listed_flags(v)
    else
      fail("unknown argument given to server.register_function")
    end
  end
  if not name then fail("server.register_function must get a function name argument") end
  if not callback then fail("server.register_function must get a callback argument") end
  pyregister(name, callback, description or false, flags or "")
end

local function register_function(...)
  local n = select("#", ...)
  if n < 1 or n > 2 then fail("wrong number of arguments to server.register_function") end
  if not loading then fail("server.register_function can only be called on FUNCTION LOAD command") end
  if n == 1 then return named((...)) end
  local name, callback = ...
  name = text_of(name)
  if not name then fail("first argument to server.register_function must be a string") end
  if type(callback) ~= "function" then fail("second argument to server.register_function must be a function") end
  pyregister(name, callback, false, "")
end

local load_api = setmetatable({register_function = register_function, log = api.log}, {__index = unknown})
for name, value in next, constants do
  if not match(name, "^REPL_") then load_api[name] = value end
end
load_api = protect(load_api)
local load_base = setmetatable({redis = load_api, server = load_api}, {__index = unknown})

local function load_library(text)
  local f, problem = compile_script(text, "@user_function")
  if not f then return 1, problem end
  local scope = getmetatable(ENV)
  scope.__index, loading = load_base, true
  local ok, e = xpcall(f, on_error)
  scope.__index, loading = base, false
  if ok then return 0, "" end
  if type(e) == "table" then e = rawget(e, "err") else e = "ERR " .. tostring(e) end
  return 2, text_of(e) or "ERR unknown error"
end

if for_functions then
  api.breakpoint, api.debug, api.replicate_commands = nil, nil, nil
  base.__redis__err__handler, base.__server__err__handler = nil, nil
else
  base.KEYS, base.ARGV = {}, {}
end

renew()
setfenv(0, {})
return compile_script, enter, bind, stage, renew, load_library
"""
