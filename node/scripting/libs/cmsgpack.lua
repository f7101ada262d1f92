-- cmsgpack: MessagePack as lua-cmsgpack 0.4.0 reads and writes it, in Lua alone.
-- Neither bin nor ext types, tables nested deeper than 16 are written as nil, integers of 64 bits are read as signed ones.
local support = ...
local raise, argument_error = support.raise, support.argument_error
local check_string, check_integer = support.check_string, support.check_integer
local error, type, next, select, unpack = error, type, next, select, unpack
local byte, char, sub, format = string.byte, string.char, string.sub, string.format
local concat, frexp, ldexp = table.concat, math.frexp, math.ldexp

local NESTING = 16  -- tables written inside each other
local PACK_ARGUMENTS, UNPACK_RESULTS = 4000, 7999  -- what fits on the stack of a C function
local DEPTH = 3999  -- and how deep it can read
local cmsgpack = {_NAME = 'cmsgpack', _VERSION = 'lua-cmsgpack 0.4.0',
  _COPYRIGHT = 'Copyright (C) 2012, Redis Ltd.', _DESCRIPTION = 'MessagePack C implementation for Lua'}

-- ---------------------------------------------------------------- writing
local function u16(n) return char((n - n % 256) / 256, n % 256) end

local function u32(n)
  local low = n % 65536
  local high = (n - low) / 65536
  return char((high - high % 256) / 256, high % 256, (low - low % 256) / 256, low % 256)
end

-- 64 bits of a whole number, two's complement
local function i64(n)
  local low = n % 4294967296
  return u32((n - low) / 4294967296 % 4294967296) .. u32(low)
end

local FIXED = {}  -- -32 to 127 in one byte
for n = -32, 127 do FIXED[n] = char(n % 256) end

local function integer(n)
  if n >= 0 then
    if n <= 255 then return '\204' .. char(n) end
    if n <= 65535 then return '\205' .. u16(n) end
    if n <= 4294967295 then return '\206' .. u32(n) end
    return '\207' .. i64(n)
  end
  if n >= -128 then return '\208' .. char(n % 256) end
  if n >= -32768 then return '\209' .. u16(n % 65536) end
  if n >= -2147483648 then return '\210' .. u32(n % 4294967296) end
  return '\211' .. i64(n)
end

-- a double, in 32 bits if it loses nothing by that
local function double(n)
  if n ~= n then return (format('%g', n) == 'nan' and '\203\127' or '\203\255') .. '\248\0\0\0\0\0\0' end
  if n == 1 / 0 then return '\202\127\128\0\0' end
  if n == -1 / 0 then return '\202\255\128\0\0' end
  local sign = n < 0 and 1 or 0
  local mantissa, exponent = frexp(n < 0 and -n or n)
  local normal = exponent >= -125
  local single = ldexp(mantissa, normal and 24 or exponent + 149)
  if exponent <= 128 and single % 1 == 0 then
    if normal then single = single - 8388608 + (exponent + 126) * 8388608 end
    return '\202' .. u32(single + sign * 2147483648)
  end
  if exponent < -1021 then
    mantissa, exponent = ldexp(mantissa, exponent + 1074), 0
  else
    mantissa, exponent = (mantissa * 2 - 1) * 4503599627370496, exponent + 1022
  end
  local low = mantissa % 4294967296
  return '\203' .. u32(sign * 2147483648 + exponent * 1048576 + (mantissa - low) / 4294967296) .. u32(low)
end

local function string_head(size)
  if size < 32 then return char(160 + size) end
  if size <= 255 then return '\217' .. char(size) end
  if size <= 65535 then return '\218' .. u16(size) end
  return '\219' .. u32(size)
end

-- how many elements a table has, and whether its keys are 1 to that number
local function measure(t)
  local count, highest = 0, 0
  for key in next, t do
    count = count + 1
    if key ~= count then highest = -1 end
  end
  if highest == 0 then return count, true end
  highest = 0
  for key in next, t do
    if type(key) ~= 'number' or key <= 0 or key % 1 ~= 0 or key > 2147483647 then return count, false end
    if key > highest then highest = key end
  end
  return count, highest == count
end

local function table_head(count, small, big)
  if count <= 15 then return char(small + count) end
  if count <= 65535 then return char(big) .. u16(count) end
  return char(big + 1) .. u32(count)
end

local out, n = {}, 0  -- the pieces of what is being packed

local function append(value, level)
  local kind = type(value)
  local piece
  if kind == 'string' then
    piece = string_head(#value) .. value
  elseif kind == 'number' then
    piece = FIXED[value]
    if not piece then
      if value % 1 == 0 and value >= -9223372036854775808 and value < 9223372036854775808 then
        piece = integer(value)
      else
        piece = double(value)
      end
    end
  elseif kind == 'boolean' then
    piece = value and '\195' or '\194'
  elseif kind == 'table' and level < NESTING then
    local count, list = measure(value)
    n = n + 1
    if list then
      out[n] = table_head(count, 144, 220)
      for i = 1, count do append(value[i], level + 1) end
    else
      out[n] = table_head(count, 128, 222)
      for key, inner in next, value do
        append(key, level + 1)
        append(inner, level + 1)
      end
    end
    return
  else
    piece = '\192'
  end
  n = n + 1
  out[n] = piece
end

function cmsgpack.pack(...)
  local given = select('#', ...)
  if given == 0 then argument_error(cmsgpack.pack, 0, 'MessagePack pack needs input.') end
  if given > PACK_ARGUMENTS then
    argument_error(cmsgpack.pack, 0, 'Too many arguments for MessagePack pack.')
  end
  n = 0
  if given == 1 then
    append((...), 0)
  else
    local values = {...}
    for i = 1, given do append(values[i], 0) end
  end
  local packed = concat(out, '', 1, n)
  if n > 1000 or #packed > 65536 then out = {} end
  return packed
end

-- ---------------------------------------------------------------- reading
local data, pos = '', 1  -- what is read, and where
local reader  -- the public function that reads, for errors

local function missing() raise(reader, 'Missing bytes in input.') end

local function get_u16()
  local a, b = byte(data, pos, pos + 1)
  if not b then missing() end
  pos = pos + 2
  return a * 256 + b
end

local function get_u32()
  local a, b, c, d = byte(data, pos, pos + 3)
  if not d then missing() end
  pos = pos + 4
  return a * 16777216 + b * 65536 + c * 256 + d
end

local function get_i64()
  if pos + 7 > #data then missing() end
  local high, low = get_u32(), get_u32()
  if high >= 2147483648 then high = high - 4294967296 end
  return high * 4294967296 + low
end

local function get_string(size)
  local last = pos + size - 1
  if last > #data then missing() end
  local text = sub(data, pos, last)
  pos = last + 1
  return text
end

-- a float of so many bits of mantissa, whose upper part has `high` below the exponent
local function float(sign, exponent, mantissa, bits, bias, infinite)
  local n
  if exponent == infinite then
    if mantissa ~= 0 then return sign == 1 and 0 / 0 or -(0 / 0) end
    n = 1 / 0
  elseif exponent == 0 then
    n = ldexp(mantissa, 1 - bias - bits)
  else
    n = ldexp(mantissa + 2 ^ bits, exponent - bias - bits)
  end
  return sign == 1 and -n or n
end

local function get_float()
  local word = get_u32()
  local mantissa = word % 8388608
  local top = (word - mantissa) / 8388608
  return float(top >= 256 and 1 or 0, top % 256, mantissa, 23, 127, 255)
end

local function get_double()
  if pos + 7 > #data then missing() end
  local high, low = get_u32(), get_u32()
  local mantissa = high % 1048576
  local top = (high - mantissa) / 1048576
  return float(top >= 2048 and 1 or 0, top % 2048, mantissa * 4294967296 + low, 52, 1023, 2047)
end

local READ
local read

local function read_list(count, depth)
  if depth >= DEPTH then raise(reader, 'stack overflow (in function mp_decode_to_lua_array)') end
  local list = {}
  for i = 1, count do list[i] = read(depth + 1) end
  return list
end

local function read_map(count, depth)
  if depth >= DEPTH then raise(reader, 'stack overflow (in function mp_decode_to_lua_hash)') end
  local map = {}
  for _ = 1, count do
    local key = read(depth + 1)
    local value = read(depth + 1)
    if key == nil then error('table index is nil', 0) end
    if key ~= key then error('table index is NaN', 0) end
    map[key] = value
  end
  return map
end

function read(depth)
  local c = byte(data, pos)
  if not c then missing() end
  pos = pos + 1
  if c < 128 then return c end
  if c >= 224 then return c - 256 end
  if c < 144 then return read_map(c - 128, depth) end
  if c < 160 then return read_list(c - 144, depth) end
  if c < 192 then return get_string(c - 160) end
  local get = READ[c]
  if not get then raise(reader, 'Bad data format in input.') end
  return get(depth)
end

local function signed(get, half)
  return function()
    local n = get()
    return n >= half and n - half * 2 or n
  end
end

local function get_u8()
  local n = byte(data, pos)
  if not n then missing() end
  pos = pos + 1
  return n
end

READ = {
  [192] = function() return nil end,
  [194] = function() return false end,
  [195] = function() return true end,
  [202] = get_float, [203] = get_double,
  [204] = get_u8, [205] = get_u16, [206] = get_u32, [207] = get_i64,
  [208] = signed(get_u8, 128), [209] = signed(get_u16, 32768), [210] = signed(get_u32, 2147483648), [211] = get_i64,
  [217] = function() return get_string(get_u8()) end,
  [218] = function() return get_string(get_u16()) end,
  [219] = function() return get_string(get_u32()) end,
  [220] = function(depth) return read_list(get_u16(), depth) end,
  [221] = function(depth) return read_list(get_u32(), depth) end,
  [222] = function(depth) return read_map(get_u16(), depth) end,
  [223] = function(depth) return read_map(get_u32(), depth) end,
}

local function finish(...)
  data = ''
  return ...
end

-- read up to `limit` values from `offset`; both 0: all of them, else first comes where to go on, -1 at the end
local function read_many(limit, offset)
  local size = #data
  if offset < 0 or limit < 0 then
    raise(reader, format('Invalid request to unpack with offset of %d and limit of %d.', offset, size))
  end
  if offset > size then
    raise(reader, format('Start offset %d greater than input length %d.', offset, size))
  end
  local all = limit == 0 and offset == 0
  pos = offset + 1
  local results, count = {}, 0
  while pos <= size and (all or count < limit) do
    if count >= UNPACK_RESULTS then
      raise(reader, 'stack overflow (too many return values at once; use unpack_one or unpack_limit instead.)')
    end
    count = count + 1
    results[count] = read(0)
  end
  if all then return unpack(results, 1, count) end
  return pos > size and -1 or pos - 1, unpack(results, 1, count)
end

function cmsgpack.unpack(...)
  reader = cmsgpack.unpack
  data = check_string(reader, 1, (...), select('#', ...))
  local size = #data
  pos = 1
  if size > 0 then
    local value = read(0)
    if pos > size then
      data = ''
      return value
    end
  end
  return finish(read_many(0, 0))
end

function cmsgpack.unpack_one(...)
  local given = select('#', ...)
  local text, offset = ...
  reader = cmsgpack.unpack_one
  if offset ~= nil then offset = check_integer(reader, 2, offset, given) end
  data = check_string(reader, 1, text, given)
  return finish(read_many(1, offset or 0))
end

function cmsgpack.unpack_limit(...)
  local given = select('#', ...)
  local text, limit, offset = ...
  reader = cmsgpack.unpack_limit
  limit = check_integer(reader, 2, limit, given)
  if offset ~= nil then offset = check_integer(reader, 3, offset, given) end
  data = check_string(reader, 1, text, given)
  return finish(read_many(limit, offset or 0))
end

return cmsgpack
