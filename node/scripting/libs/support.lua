-- What the four libraries share: errors as Lua's C functions raise them.
-- A C function names the place where the script called it, however deep inside it the fault was found: `raise` looks for
-- the frame of the library's public function and takes the line of its caller.
local error, type, tonumber, select = error, type, tonumber, select
local getinfo = debug.getinfo
local huge = math.huge
local support = {}

local function frame_of(public)
  local level = 3
  while true do
    local frame = getinfo(level, 'f')
    if frame == nil then return nil end
    if frame.func == public then return level - 1 end
    level = level + 1
  end
end

-- raise an error at the line that called `public`
local function raise(public, message)
  local level = frame_of(public)
  if level == nil then error(message, 0) end
  error(message, level + 1)
end
support.raise = raise

-- raise `bad argument #n to 'name' (message)`, the name as the script called it by
local function argument_error(public, n, message)
  local level = frame_of(public)
  local frame = getinfo(level, 'n')
  local name = frame.name or '?'
  if frame.namewhat == 'method' then
    n = n - 1
    if n == 0 then error("calling '" .. name .. "' on bad self (" .. message .. ')', level + 1) end
  end
  error('bad argument #' .. n .. " to '" .. name .. "' (" .. message .. ')', level + 1)
end
support.argument_error = argument_error

-- the argument as a string (numbers are converted); `given` says how many arguments there were
function support.check_string(public, n, value, given)
  local kind = type(value)
  if kind == 'string' then return value end
  if kind == 'number' then return value .. '' end
  if n > given then kind = 'no value' end
  argument_error(public, n, 'string expected, got ' .. kind)
end

-- the argument as a number (numeric strings are converted)
local function check_number(public, n, value, given)
  local kind = type(value)
  if kind == 'number' then return value end
  if kind == 'string' then
    local number = tonumber(value)
    if number then return number end
  end
  if n > given then kind = 'no value' end
  argument_error(public, n, 'number expected, got ' .. kind)
end
support.check_number = check_number

-- the argument as a whole number, cut towards zero; what fits no 64 bits becomes the smallest of them
function support.check_integer(public, n, value, given)
  local number = check_number(public, n, value, given)
  if number ~= number or number >= 2 ^ 63 or number < -2 ^ 63 then return -2 ^ 63 end
  if number < 0 then return number + -number % 1 end
  return number - number % 1
end

return support
