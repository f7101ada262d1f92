-- struct: binary records after a format, as Roberto Ierusalimschy's struct 0.2 lays them out on a 64-bit little-endian machine.
local support = ...
local raise, argument_error = support.raise, support.argument_error
local check_string, check_number, check_integer = support.check_string, support.check_number, support.check_integer
local type, select, tonumber, unpack = type, select, tonumber, unpack
local byte, char, sub, find, rep, match, format = string.byte, string.char, string.sub, string.find, string.rep, string.match,
  string.format
local concat, reverse, frexp, ldexp = table.concat, string.reverse, math.frexp, math.ldexp
local struct = {}

local INT_MAX, MAX_INTEGER, NATIVE = 2147483647, 32, 8  -- bytes: the longest integer, the alignment of `!` alone
local MAX_RESULTS = 7997
local SIZES = {b = 1, B = 1, h = 2, H = 2, l = 8, L = 8, T = 8, f = 4, d = 8, x = 1}
local INTEGERS = {b = true, B = true, h = true, H = true, l = true, L = true, T = true, i = true, I = true}
local SIGNED = {b = true, h = true, l = true, i = true}

-- ---------------------------------------------------------------- formats
-- the digits at `at` as a number and what follows; the default without digits
local function get_number(public, text, at, default)
  local n, digit = 0, byte(text, at)
  if not digit or digit < 48 or digit > 57 then return default, at end
  while digit and digit >= 48 and digit <= 57 do
    if n * 10 > INT_MAX - (digit - 48) then raise(public, 'integral size overflow') end
    n = n * 10 + digit - 48
    at = at + 1
    digit = byte(text, at)
  end
  return n, at
end

-- the size of an option and where the format goes on
local function option_size(public, option, text, at)
  if SIZES[option] then return SIZES[option], at end
  if option == 'c' then return get_number(public, text, at, 1) end
  if option ~= 'i' and option ~= 'I' then return 0, at end
  local size, after = get_number(public, text, at, 4)
  if size > MAX_INTEGER then
    raise(public, 'integral size ' .. format('%d', size) .. ' is larger than limit of ' .. MAX_INTEGER)
  end
  return size, after
end

local function remainder(value, size)  -- value & (size - 1) for any size, as C has it
  local mask, result, unit = size - 1, 0, 1
  while mask > 0 do
    if mask % 2 == 1 and value % 2 == 1 then result = result + unit end
    mask, value, unit = (mask - mask % 2) / 2, (value - value % 2) / 2, unit * 2
  end
  return result
end

-- the padding before an option of that size at `position`
local function padding(position, alignment, option, size)
  if size == 0 or option == 'c' then return 0 end
  if size > alignment then size = alignment end
  if size == 1 then return 0 end
  return remainder(size - remainder(position, size), size)
end

-- what no value belongs to: byte order, alignment, blanks; the new state, and where the format goes on
local function control(public, option, text, at, big, alignment)
  if option == ' ' then return big, alignment, at end
  if option == '<' then return false, alignment, at end
  if option == '>' then return true, alignment, at end
  if option ~= '!' then argument_error(public, 1, "invalid format option '" .. option .. "'") end
  local chosen, after = get_number(public, text, at, NATIVE)
  if chosen == 0 or remainder(chosen, chosen) ~= 0 then
    raise(public, 'alignment ' .. format('%d', chosen) .. ' is not a power of 2')
  end
  return big, chosen, after
end

local function get_format(public, value, given)
  local text = check_string(public, 1, value, given)
  local nul = find(text, '\0', 1, true)
  return nul and sub(text, 1, nul - 1) or text
end

-- ---------------------------------------------------------------- numbers
-- a number as two halves of 64 bits, converted as the machine does
local function halves(n)
  if n ~= n or n < -9223372036854775808 then return 2147483648, 0 end
  if n >= 18446744073709551616 then return 0, 0 end
  local whole = n < 0 and -n or n
  whole = whole - whole % 1
  local low = whole % 4294967296
  local high = (whole - low) / 4294967296
  if n >= 0 then return high, low end
  if low == 0 then return (4294967296 - high) % 4294967296, 0 end
  return 4294967295 - high, 4294967296 - low
end

local function four(n)
  local low = n % 65536
  local high = (n - low) / 65536
  return char(low % 256, (low - low % 256) / 256, high % 256, (high - high % 256) / 256)
end

local function put_integer(n, size, big)
  local text
  if n >= 0 and n < 4294967296 and size <= 4 then  -- what most records hold
    n = n - n % 1
    if size == 1 then return char(n % 256) end
    text = size == 2 and char(n % 256, (n - n % 256) / 256 % 256) or sub(four(n), 1, size)
    return big and reverse(text) or text
  end
  local high, low = halves(n)
  text = four(low) .. four(high)
  if size <= 8 then text = sub(text, 1, size) else text = text .. rep('\0', size - 8) end
  return big and reverse(text) or text
end

local function get_integer(text, at, size, big, signed)
  if size == 1 then
    local c = byte(text, at)
    return signed and c >= 128 and c - 256 or c
  end
  local high, low = 0, 0
  for i = 0, size - 1 do
    local c = byte(text, big and at + i or at + size - 1 - i)
    local carry = (low - low % 16777216) / 16777216
    high = high % 16777216 * 256 + carry
    low = low % 16777216 * 256 + c
  end
  if not signed then return high * 4294967296 + low end
  local shift = (size * 8 - 1) % 64  -- of the sign bit; sizes beyond 8 wrap round as the machine's shifts do
  if shift >= 32 then
    local unit = 2 ^ (shift - 32)
    if high >= unit then high = high % unit - unit end
  elseif high > 0 or low >= 2 ^ shift then
    return low % 2 ^ shift - 2 ^ shift
  end
  return high * 4294967296 + low
end

-- a number as sign, exponent and mantissa of so many bits, rounded half to even
local function put_float(n, bits, bias, size, big)
  local sign = (n < 0 or n == 0 and 1 / n < 0) and 1 or 0
  local top, mantissa = 0, 0
  if n ~= n then
    sign = format('%g', n) == 'nan' and 0 or 1
    top, mantissa = bias * 2 + 1, 2 ^ (bits - 1)
  elseif n == 1 / 0 or n == -1 / 0 then
    top = bias * 2 + 1
  elseif n ~= 0 then
    local part, exponent = frexp(n < 0 and -n or n)
    local denormal = exponent < 2 - bias
    mantissa = ldexp(part, denormal and exponent + bias + bits - 1 or bits + 1)
    if bits < 52 then mantissa = mantissa + 4503599627370496 - 4503599627370496 end
    top = denormal and 0 or exponent + bias - 2
    local carry = (mantissa - mantissa % 2 ^ bits) / 2 ^ bits  -- 1 for the leading one, 2 if rounding went beyond it
    top, mantissa = top + carry, mantissa % 2 ^ bits
    if top > bias * 2 then top, mantissa = bias * 2 + 1, 0 end
  end
  local text
  if size == 4 then
    text = four(mantissa + top * 2 ^ 23 + sign * 2 ^ 31)
  else
    local low = mantissa % 4294967296
    text = four(low) .. four((mantissa - low) / 4294967296 + top * 2 ^ 20 + sign * 2 ^ 31)
  end
  return big and reverse(text) or text
end

local function get_float(text, at, bits, bias, size, big)
  local high, low = 0, 0
  low = get_integer(text, at + ((size == 8 and big) and 4 or 0), 4, big, false)
  if size == 8 then high = get_integer(text, at + (big and 0 or 4), 4, big, false) else high = low end
  local unit = size == 8 and 1048576 or 8388608
  local mantissa = high % unit
  local top = (high - mantissa) / unit
  if size == 8 then mantissa = mantissa * 4294967296 + low end
  local negative = top > bias * 2 + 1
  top = top % (bias * 2 + 2)
  local n
  if top == bias * 2 + 1 then
    if mantissa ~= 0 then return negative and 0 / 0 or -(0 / 0) end
    n = 1 / 0
  elseif top == 0 then
    n = ldexp(mantissa, 1 - bias - bits)
  else
    n = ldexp(mantissa + 2 ^ bits, top - bias - bits)
  end
  return negative and -n or n
end

-- ---------------------------------------------------------------- the three functions
local function pack_text(public, n, value, size, given)
  local text = check_string(public, n, value, given)
  if size == 0 then size = #text end
  if #text < size then argument_error(public, n + 1, 'string too short') end
  return sub(text, 1, size)
end

function struct.pack(...)
  local given = select('#', ...)
  local public = struct.pack
  local text = get_format(public, (...), given)
  local values, next_value = {...}, 2
  if given < INT_MAX then given = INT_MAX end  -- an absent value is called nil here
  local out, n, total, at = {}, 0, 0, 1
  local big, alignment = false, 1
  while at <= #text do
    local option, size = sub(text, at, at), 0
    size, at = option_size(public, option, text, at + 1)
    local pad = padding(total, alignment, option, size)
    local piece = ''
    if INTEGERS[option] then
      piece = put_integer(check_number(public, next_value, values[next_value], given), size, big)
    elseif option == 'x' then
      piece = '\0'
    elseif option == 'f' then
      piece = put_float(check_number(public, next_value, values[next_value], given), 23, 127, 4, big)
    elseif option == 'd' then
      piece = put_float(check_number(public, next_value, values[next_value], given), 52, 1023, 8, big)
    elseif option == 'c' or option == 's' then
      piece = pack_text(public, next_value, values[next_value], size, given)
      if option == 's' then piece = piece .. '\0' end
    else
      big, alignment, at = control(public, option, text, at, big, alignment)
      next_value = next_value - 1
    end
    if option ~= 'x' then next_value = next_value + 1 end
    if pad > 0 then piece = rep('\0', pad) .. piece end
    n, total = n + 1, total + #piece
    out[n] = piece
  end
  return concat(out)
end

local function too_short(public) argument_error(public, 2, 'data string too short') end

-- the size that the last result gives to `c0`
local function sized(public, results, count)
  local size = count > 0 and tonumber(results[count])
  if not size then raise(public, "format 'c0' needs a previous size") end
  if size <= -1 then too_short(public) end
  return size < 0 and 0 or size - size % 1
end

-- the value of an option at `at` (0-based), and its size; nothing for one without value
local function get_value(public, option, data, at, size, big)
  if INTEGERS[option] then return get_integer(data, at + 1, size, big, SIGNED[option]), size end
  if option == 'f' then return get_float(data, at + 1, 23, 127, 4, big), size end
  if option == 'd' then return get_float(data, at + 1, 52, 1023, 8, big), size end
  if option == 'c' then return sub(data, at + 1, at + size), size end
  local stop = find(data, '\0', at + 1, true)
  if not stop then raise(public, 'unfinished string in data') end
  return sub(data, at + 1, stop - 1), stop - at
end

function struct.unpack(...)
  local given = select('#', ...)
  local public = struct.unpack
  local text, data, start = ...
  text = get_format(public, text, given)
  data = check_string(public, 2, data, given)
  local at = start == nil and 1 or check_integer(public, 3, start, given)
  if at == 0 then argument_error(public, 3, 'offset must be 1 or greater') end
  if at < 0 then at = at + 18446744073709551616 end
  at = at - 1
  local results, count, where = {}, 0, 1
  local big, alignment = false, 1
  while where <= #text do
    local option, size = sub(text, where, where), 0
    size, where = option_size(public, option, text, where + 1)
    at = at + padding(at, alignment, option, size)
    if size > #data or at > #data - size then too_short(public) end
    if count >= MAX_RESULTS then raise(public, 'stack overflow (too many results)') end
    if INTEGERS[option] or option == 'f' or option == 'd' or option == 's' or option == 'c' then
      if option == 'c' and size == 0 then
        size = sized(public, results, count)
        if size > #data or at > #data - size then too_short(public) end
        count = count - 1
      end
      count = count + 1
      results[count], size = get_value(public, option, data, at, size, big)
    elseif option ~= 'x' then
      big, alignment, where = control(public, option, text, where, big, alignment)
    end
    at = at + size
  end
  results[count + 1] = at + 1
  return unpack(results, 1, count + 1)
end

function struct.size(...)
  local public = struct.size
  local text = get_format(public, (...), select('#', ...))
  local total, at = 0, 1
  local big, alignment = false, 1
  while at <= #text do
    local option, size = sub(text, at, at), 0
    size, at = option_size(public, option, text, at + 1)
    total = total + padding(total, alignment, option, size)
    if option == 's' then argument_error(public, 1, "option 's' has no fixed size") end
    if option == 'c' and size == 0 then argument_error(public, 1, "option 'c0' has no fixed size") end
    if not match(option, '^%w') then big, alignment, at = control(public, option, text, at, big, alignment) end
    total = total + size
  end
  return total
end

return struct
