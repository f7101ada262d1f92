-- cjson: JSON as lua-cjson 2.1.0 reads and writes it, in Lua alone.
-- Made for small documents: keys that come again are quoted once, a string without escapes is one search and one slice,
-- arrays are recognised in one pass. Each instance (cjson.new) has its own settings, as in C.
local support, null = ...
local raise, argument_error = support.raise, support.argument_error
local check_string, check_integer = support.check_string, support.check_integer
local type, next, select, tonumber = type, next, select, tonumber
local byte, sub, find, match, gsub = string.byte, string.sub, string.find, string.match, string.gsub
local char, format, lower = string.char, string.format, string.lower
local concat = table.concat

local KEY_BYTES, KEYS = 64, 512  -- keys up to so long are kept quoted, so many of them
local NODE_SLOTS = 3998  -- nesting at which C's own stack of values is full, whatever the depth settings allow
local INT_MAX = 2147483647

-- ---------------------------------------------------------------- strings
local ESCAPE = {['"'] = '\\"', ['\\'] = '\\\\', ['/'] = '\\/', ['\b'] = '\\b', ['\t'] = '\\t', ['\n'] = '\\n',
  ['\f'] = '\\f', ['\r'] = '\\r', ['\127'] = '\\u007f'}
for code = 0, 31 do
  local c = char(code)
  ESCAPE[c] = ESCAPE[c] or format('\\u%04x', code)
end
local UNESCAPE = {[34] = '"', [92] = '\\', [47] = '/', [98] = '\b', [102] = '\f', [110] = '\n', [114] = '\r', [116] = '\t'}

-- whether a text has to be escaped; in long ones a search for each byte is faster than one for a set
local function special(text)
  if #text < 64 then return find(text, '[%c"\\/]') end
  return find(text, '"', 1, true) or find(text, '\\', 1, true) or find(text, '/', 1, true) or find(text, '%c')
end

local function quote(text)
  if special(text) then return '"' .. gsub(text, '[%c"\\/]', ESCAPE) .. '"' end
  return '"' .. text .. '"'
end

local quoted, quoted_count = {}, 0  -- key -> `"key":`

local function quote_key(key)
  local text = quote(key) .. ':'
  if #key <= KEY_BYTES then
    if quoted_count >= KEYS then quoted, quoted_count = {}, 0 end
    quoted[key], quoted_count = text, quoted_count + 1
  end
  return text
end

local function utf8(code)
  if code < 128 then return char(code) end
  if code < 2048 then return char(192 + (code - code % 64) / 64, 128 + code % 64) end
  local low = 128 + code % 64
  code = (code - code % 64) / 64
  if code < 1024 then return char(224 + (code - code % 64) / 64, 128 + code % 64, low) end
  local middle = 128 + code % 64
  code = (code - code % 64) / 64
  return char(240 + (code - code % 64) / 64, 128 + code % 64, middle, low)
end

-- ---------------------------------------------------------------- numbers
-- where the longest prefix at `at` that C's strtod takes ends (exclusive), or nil
local function number_end(text, at)
  local from = match(text, '^[+-]?()', at)
  local hex = match(text, '^0[xX]%x+%.?%x*()', from) or match(text, '^0[xX]%.%x+()', from)
  if hex then return match(text, '^[pP][+-]?%d+()', hex) or hex end
  local digits = match(text, '^%d+%.?%d*()', from) or match(text, '^%.%d+()', from)
  if digits then return match(text, '^[eE][+-]?%d+()', digits) or digits end
  local word = lower(sub(text, from, from + 7))
  if word == 'infinity' then return from + 8 end
  word = sub(word, 1, 3)
  if word == 'nan' then return match(text, '^%([%w_]*%)()', from + 3) or from + 3 end
  if word == 'inf' then return from + 3 end
  return nil
end

-- numbers beyond JSON: a plus, hexadecimal, leading zeros, infinities, NaN
local function beyond_json(text, at)
  local rest = sub(text, at, at + 4)
  if byte(rest) == 43 then return true end
  rest = lower(match(rest, '^%-?(.*)'))
  if find(rest, '^0[x%d]') then return true end
  return find(rest, '^inf') ~= nil or find(rest, '^nan') ~= nil
end

-- ---------------------------------------------------------------- settings
local SWITCH = {off = false, on = true}
local SWITCH_OR_NULL = {off = false, on = true, null = 'null'}

local function too_many(public, allowed, given)
  if given > allowed then argument_error(public, allowed + 1, 'found too many arguments') end
end

local function choose(public, n, value, options, now, given)
  if value == nil then return now end
  if value == true or value == false then return value end
  local word = check_string(public, n, value, given)
  if options[word] == nil then argument_error(public, n, "invalid option '" .. word .. "'") end
  return options[word]
end

local function choose_integer(public, n, value, low, high, now, given)
  if value == nil then return now end
  local chosen = check_integer(public, n, value, given)
  if chosen < low or chosen > high then
    argument_error(public, 1, 'expected integer between ' .. low .. ' and ' .. format('%d', high))
  end
  return chosen
end

local function new()
  local cjson = {_NAME = 'cjson', _VERSION = '2.1.0', null = null, new = new}
  local sparse_convert, sparse_ratio, sparse_safe = false, 2, 10
  local encode_depth, decode_depth = 1000, 1000
  local encode_invalid, decode_invalid = false, true
  local precision, number_format, keep_buffer = 14, nil, true

  function cjson.encode_sparse_array(...)
    local given = select('#', ...)
    local convert, ratio, safe = ...
    local public = cjson.encode_sparse_array
    too_many(public, 3, given)
    sparse_convert = choose(public, 1, convert, SWITCH, sparse_convert, given)
    sparse_ratio = choose_integer(public, 2, ratio, 0, INT_MAX, sparse_ratio, given)
    sparse_safe = choose_integer(public, 3, safe, 0, INT_MAX, sparse_safe, given)
    return sparse_convert, sparse_ratio, sparse_safe
  end

  function cjson.encode_max_depth(...)
    local given = select('#', ...)
    too_many(cjson.encode_max_depth, 1, given)
    encode_depth = choose_integer(cjson.encode_max_depth, 1, (...), 1, INT_MAX, encode_depth, given)
    return encode_depth
  end

  function cjson.decode_max_depth(...)
    local given = select('#', ...)
    too_many(cjson.decode_max_depth, 1, given)
    decode_depth = choose_integer(cjson.decode_max_depth, 1, (...), 1, INT_MAX, decode_depth, given)
    return decode_depth
  end

  function cjson.encode_number_precision(...)
    local given = select('#', ...)
    too_many(cjson.encode_number_precision, 1, given)
    precision = choose_integer(cjson.encode_number_precision, 1, (...), 1, 14, precision, given)
    number_format = precision ~= 14 and '%.' .. precision .. 'g' or nil
    return precision
  end

  function cjson.encode_keep_buffer(...)
    local given = select('#', ...)
    too_many(cjson.encode_keep_buffer, 1, given)
    keep_buffer = choose(cjson.encode_keep_buffer, 1, (...), SWITCH, keep_buffer, given)
    return keep_buffer
  end

  function cjson.encode_invalid_numbers(...)
    local given = select('#', ...)
    too_many(cjson.encode_invalid_numbers, 1, given)
    encode_invalid = choose(cjson.encode_invalid_numbers, 1, (...), SWITCH_OR_NULL, encode_invalid, given)
    return encode_invalid
  end

  function cjson.decode_invalid_numbers(...)
    local given = select('#', ...)
    too_many(cjson.decode_invalid_numbers, 1, given)
    decode_invalid = choose(cjson.decode_invalid_numbers, 1, (...), SWITCH, decode_invalid, given)
    return decode_invalid
  end

  -- -------------------------------------------------------------- encoding
  local encode
  local out, n = {}, 0  -- the pieces of the text being made

  local function refuse(value, why)
    raise(encode, 'Cannot serialise ' .. type(value) .. ': ' .. why)
  end

  -- a number that is not finite, or one for another precision than Lua's own; nil if it may be written as it is
  local function special_number(value)
    if value ~= value or value == 1 / 0 or value == -1 / 0 then
      if encode_invalid == 'null' then return 'null' end
      if not encode_invalid then refuse(value, 'must not be NaN or Inf') end
      return value ~= value and 'nan' or value > 0 and 'inf' or '-inf'
    end
    if number_format then return format(number_format, value) end
    return value
  end

  -- the highest index of a table that is an array, 0 for an empty one, -1 for a map
  local function array_length(t)
    local count = 0
    for key in next, t do
      count = count + 1
      if key ~= count then
        count = -1
        break
      end
    end
    if count >= 0 then return count end
    local highest, items = 0, 0
    for key in next, t do
      if type(key) ~= 'number' or key < 1 or key % 1 ~= 0 or key > INT_MAX then return -1 end
      if key > highest then highest = key end
      items = items + 1
    end
    if sparse_ratio > 0 and highest > items * sparse_ratio and highest > sparse_safe then
      if not sparse_convert then refuse(t, 'excessively sparse array') end
      return -1
    end
    return highest
  end

  local append

  local function append_array(t, length, depth)
    n = n + 1
    out[n] = '['
    for i = 1, length do
      if i > 1 then
        n = n + 1
        out[n] = ','
      end
      append(t[i], depth)
    end
    n = n + 1
    out[n] = ']'
  end

  local function key_text(key)
    local kind = type(key)
    if kind == 'string' then return quote_key(key) end
    if kind ~= 'number' then refuse(key, 'table key must be a number or string') end
    return '"' .. special_number(key) .. '":'
  end

  local function append_map(t, depth)
    n = n + 1
    out[n] = '{'
    local first = true
    for key, value in next, t do
      if first then
        first = false
      else
        n = n + 1
        out[n] = ','
      end
      n = n + 1
      out[n] = quoted[key] or key_text(key)
      append(value, depth)
    end
    n = n + 1
    out[n] = '}'
  end

  function append(value, depth)
    local kind = type(value)
    local text
    if kind == 'string' then
      if special(value) then value = gsub(value, '[%c"\\/]', ESCAPE) end
      text = '"' .. value .. '"'
    elseif kind == 'number' then
      if number_format or value - value ~= 0 then text = special_number(value) else text = value end
    elseif kind == 'table' then
      depth = depth + 1
      if depth > encode_depth or depth > NODE_SLOTS then
        raise(encode, 'Cannot serialise, excessive nesting (' .. depth .. ')')
      end
      local length = array_length(value)
      if length > 0 then append_array(value, length, depth) else append_map(value, depth) end
      return
    elseif value == nil or value == null then
      text = 'null'
    elseif kind == 'boolean' then
      text = value and 'true' or 'false'
    else
      refuse(value, 'type not supported')
    end
    n = n + 1
    out[n] = text
  end

  function encode(...)
    if select('#', ...) ~= 1 then argument_error(encode, 1, 'expected 1 argument') end
    n = 0
    append((...), 0)
    local text = concat(out, '', 1, n)
    if n > 1000 or #text > 65536 then out = {} end
    return text
  end
  cjson.encode = encode

  -- -------------------------------------------------------------- decoding
  local decode
  local text, pos = '', 1  -- the document, and what is read next
  local escape_at = 0  -- the next backslash or NUL at or after what was read, or the end

  local function next_escape(from)
    local backslash = find(text, '\\', from, true) or #text + 1
    local nul = find(text, '\0', from, true) or #text + 1
    escape_at = backslash < nul and backslash or nul
  end

  -- the code point of `\uXXXX` at `at` and its end, or nothing
  local function unicode_escape(at)
    local digits = match(text, '^\\u(%x%x%x%x)', at)
    local code = digits and tonumber(digits, 16)
    if not code or code < 0xD800 or code > 0xDFFF then return code, at + 6 end
    local low = match(text, '^\\u(%x%x%x%x)', at + 6)
    low = low and tonumber(low, 16)
    if code >= 0xDC00 or not low or low < 0xDC00 or low > 0xDFFF then return nil end
    return 0x10000 + (code - 0xD800) * 0x400 + low - 0xDC00, at + 12
  end

  -- a string with escapes, opened at `at`: its value and its end; or nil, what is wrong, and where
  local function long_string(at)
    local pieces, count, from = {}, 0, at + 1
    while true do
      local stop = find(text, '["\\%z]', from)
      local c = stop and byte(text, stop)
      if not stop or c == 0 then return nil, 'unexpected end of string', stop or #text + 1 end
      count = count + 1
      pieces[count] = sub(text, from, stop - 1)
      if c == 34 then return concat(pieces), stop + 1 end
      local escape = byte(text, stop + 1)
      if escape == 117 then
        local code, after = unicode_escape(stop)
        if not code then return nil, 'invalid unicode escape code', stop end
        count = count + 1
        pieces[count], from = utf8(code), after
      else
        if not UNESCAPE[escape] then return nil, 'invalid escape code', stop end
        count = count + 1
        pieces[count], from = UNESCAPE[escape], stop + 2
      end
    end
  end

  -- a number at `pos`: its value and its end, or nil
  local function long_number(c)
    local digit = c == 45 or c >= 48 and c <= 57
    if beyond_json(text, pos) then
      if not decode_invalid then return nil end
    elseif not digit then
      return nil
    end
    local stop = number_end(text, pos)
    if not stop then return nil end
    return tonumber(sub(text, pos, stop - 1)), stop
  end

  local NAMES = {[91] = 'T_ARR_BEGIN', [93] = 'T_ARR_END', [123] = 'T_OBJ_BEGIN', [125] = 'T_OBJ_END',
    [44] = 'T_COMMA', [58] = 'T_COLON', [0] = 'T_END'}

  -- what stands at `pos`, for a complaint: its name or fault, and where
  local function token()
    local c = byte(text, pos) or 0
    if NAMES[c] then return NAMES[c], pos end
    if c == 34 then
      local value, fault, at = long_string(pos)
      if value then return 'T_STRING', pos end
      return fault, at
    end
    if find(text, '^null', pos) then return 'T_NULL', pos end
    if find(text, '^true', pos) or find(text, '^false', pos) then return 'T_BOOLEAN', pos end
    if long_number(c) then return 'T_NUMBER', pos end
    local number = c == 45 or c >= 48 and c <= 57 or decode_invalid and beyond_json(text, pos)
    return number and 'invalid number' or 'invalid token', pos
  end

  local function expected(what)
    local found, at = token()
    raise(decode, 'Expected ' .. what .. ' but found ' .. found .. ' at character ' .. format('%d', at))
  end

  local function deeper(depth)
    depth = depth + 1
    if depth > decode_depth or depth > NODE_SLOTS then
      raise(decode, 'Found too many nested data structures (' .. depth .. ') at character ' .. format('%d', pos))
    end
    return depth
  end

  -- move to the next byte that is no white space, and return it
  local function skip(c)
    if c == 32 or c == 10 or c == 13 or c == 9 then
      pos = find(text, '[^ \n\r\t]', pos) or #text + 1
      return byte(text, pos)
    end
    return c
  end

  local function read_string()
    local stop = find(text, '"', pos + 1, true)
    if pos > escape_at then next_escape(pos) end
    if stop and stop < escape_at then
      local value = sub(text, pos + 1, stop - 1)
      pos = stop + 1
      return value
    end
    local value, after = long_string(pos)
    if not value then return nil end
    pos = after
    return value
  end

  local value

  local function array(depth)
    depth = deeper(depth)
    local list, i = {}, 0
    pos = pos + 1
    local c = skip(byte(text, pos))
    if c == 93 then
      pos = pos + 1
      return list
    end
    while true do
      i = i + 1
      list[i] = value(c, depth)
      c = skip(byte(text, pos))
      if c == 93 then
        pos = pos + 1
        return list
      end
      if c ~= 44 then expected('comma or array end') end
      pos = pos + 1
      c = skip(byte(text, pos))
    end
  end

  local function object(depth)
    depth = deeper(depth)
    local map = {}
    pos = pos + 1
    local c = skip(byte(text, pos))
    if c == 125 then
      pos = pos + 1
      return map
    end
    while true do
      if c ~= 34 then expected('object key string') end
      local key = read_string()
      if not key then expected('object key string') end
      c = byte(text, pos)
      if c ~= 58 then
        c = skip(c)
        if c ~= 58 then expected('colon') end
      end
      pos = pos + 1
      map[key] = value(skip(byte(text, pos)), depth)
      c = skip(byte(text, pos))
      if c == 125 then
        pos = pos + 1
        return map
      end
      if c ~= 44 then expected('comma or object end') end
      pos = pos + 1
      c = skip(byte(text, pos))
    end
  end

  local function plain_number(c)
    local digits, stop = match(text, '^(-?[1-9]%d*)()[%s,%]}]', pos)
    if digits then
      pos = stop
      return digits + 0
    end
    local number, after = long_number(c)
    if not number then expected('value') end
    pos = after
    return number
  end

  local function literal(c)
    if c == 110 and sub(text, pos, pos + 3) == 'null' then
      pos = pos + 4
      return null
    end
    if c == 116 and sub(text, pos, pos + 3) == 'true' then
      pos = pos + 4
      return true
    end
    if c == 102 and sub(text, pos, pos + 4) == 'false' then
      pos = pos + 5
      return false
    end
    return plain_number(c or 0)
  end

  -- the value whose first byte is `c`, at `pos`
  function value(c, depth)
    if c == 34 then
      local found = read_string()
      if not found then expected('value') end
      return found
    end
    if c == 123 then return object(depth) end
    if c == 91 then return array(depth) end
    if c and (c == 45 or c >= 48 and c <= 57) then return plain_number(c) end
    return literal(c)
  end

  function decode(...)
    local given = select('#', ...)
    if given ~= 1 then argument_error(decode, 1, 'expected 1 argument') end
    text = check_string(decode, 1, (...), given)
    if #text >= 2 and (byte(text, 1) == 0 or byte(text, 2) == 0) then
      raise(decode, 'JSON parser does not support UTF-16 or UTF-32')
    end
    pos, escape_at = 1, 0
    local found = value(skip(byte(text, 1)), 0)
    local c = skip(byte(text, pos))
    if c and c ~= 0 then expected('the end') end
    text = ''
    return found
  end
  cjson.decode = decode
  return cjson
end

return new()
