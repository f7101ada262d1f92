-- bit: 32-bit operations as Lua BitOp 1.0.2 defines them.
-- Numbers are doubles, so that a word is taken apart six bits at a time and its parts are looked up: measured at less than
-- half of what calling out of the virtual machine costs.
local support = ...
local check_number = support.check_number
local type, select, frexp, format = type, select, math.frexp, string.format
local sub, upper = string.sub, string.upper
local bit = {}

local AND = {}  -- AND[a * 64 + b] for six bits each
do
  for a = 0, 63 do
    for b = 0, 63 do
      local both, x, y, unit = 0, a, b, 1
      for _ = 1, 6 do
        if x % 2 == 1 and y % 2 == 1 then both = both + unit end
        x, y, unit = (x - x % 2) / 2, (y - y % 2) / 2, unit * 2
      end
      AND[a * 64 + b] = both
    end
  end
end

local POWER = {}
for n = 0, 32 do POWER[n] = 2 ^ n end

-- the low 32 bits of a number, 0 to 2^32-1. BitOp adds 2^52+2^51 and takes the low word of the sum's mantissa: that rounds
-- half to even, and gives beyond 2^51 what is left of the mantissa there.
local function word(x)
  local sum = x + 6755399441055744
  if sum >= 4503599627370496 and sum < 9007199254740992 then return sum % 4294967296 end
  if sum ~= sum or sum == 1 / 0 or sum == -1 / 0 then return 0 end
  local mantissa = frexp(sum < 0 and -sum or sum)
  return mantissa * 9007199254740992 % 4294967296
end

local function signed(w)
  if w >= 2147483648 then return w - 4294967296 end
  return w
end

local function both(a, b)
  local a0, b0 = a % 64, b % 64
  local result = AND[a0 * 64 + b0]
  a, b = (a - a0) / 64, (b - b0) / 64
  a0, b0 = a % 64, b % 64
  result = result + AND[a0 * 64 + b0] * 64
  a, b = (a - a0) / 64, (b - b0) / 64
  a0, b0 = a % 64, b % 64
  result = result + AND[a0 * 64 + b0] * 4096
  a, b = (a - a0) / 64, (b - b0) / 64
  a0, b0 = a % 64, b % 64
  result = result + AND[a0 * 64 + b0] * 262144
  a, b = (a - a0) / 64, (b - b0) / 64
  a0, b0 = a % 64, b % 64
  result = result + AND[a0 * 64 + b0] * 16777216
  return result + AND[(a - a0) + (b - b0) / 64] * 1073741824
end

-- an argument as a word; the number is checked only when it is none
local function argument(public, n, value, given)
  if type(value) ~= 'number' then value = check_number(public, n, value, given) end
  return word(value)
end

function bit.tobit(...)
  return signed(argument(bit.tobit, 1, (...), select('#', ...)))
end

function bit.bnot(...)
  return signed(4294967295 - argument(bit.bnot, 1, (...), select('#', ...)))
end

function bit.bswap(...)
  local w = argument(bit.bswap, 1, (...), select('#', ...))
  local d = w % 256
  local c = (w - d) / 256 % 256
  local a = (w - w % 16777216) / 16777216
  local b = (w - w % 65536) / 65536 % 256
  return signed(d * 16777216 + c * 65536 + b * 256 + a)
end

function bit.tohex(...)
  local given = select('#', ...)
  local value, digits = ...
  local w = argument(bit.tohex, 1, value, given)
  local n = 8
  if given > 1 then n = signed(argument(bit.tohex, 2, digits, given)) end
  local text = format('%08x', w)
  if n < 0 then n, text = -n, upper(text) end
  if n >= 8 then return text end
  if n == 0 then return '' end
  return sub(text, -n)
end

-- band, bor and bxor fold their arguments from the left
local function folding(public, combine)
  return function(...)
    local given = select('#', ...)
    local a, b = ...
    local result = argument(public[1], 1, a, given)
    if given == 2 then return signed(combine(result, argument(public[1], 2, b, given))) end
    for n = 2, given do result = combine(result, argument(public[1], n, (select(n, ...)), given)) end
    return signed(result)
  end
end

local function shifting(public, shift)
  return function(...)
    local given = select('#', ...)
    local value, count = ...
    local w = argument(public[1], 1, value, given)
    return signed(shift(w, argument(public[1], 2, count, given) % 32))
  end
end

local function left(w, n) return w % POWER[32 - n] * POWER[n] end
local function right(w, n) return (w - w % POWER[n]) / POWER[n] end

local function add(name, make, operation)
  local public = {}
  public[1] = make(public, operation)
  bit[name] = public[1]
end

add('band', folding, both)
add('bor', folding, function(a, b) return a + b - both(a, b) end)
add('bxor', folding, function(a, b) return a + b - 2 * both(a, b) end)
add('lshift', shifting, left)
add('rshift', shifting, right)
add('arshift', shifting, function(w, n)
  if w < 2147483648 then return right(w, n) end
  return right(w, n) + (POWER[n] - 1) * POWER[32 - n]
end)
add('rol', shifting, function(w, n) return left(w, n) + right(w, 32 - n) end)
add('ror', shifting, function(w, n) return right(w, n) + left(w, (32 - n) % 32) * (n == 0 and 0 or 1) end)
return bit
