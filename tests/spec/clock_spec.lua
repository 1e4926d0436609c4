-- No instruction and no library call exceeds the time limit of a script by much. Each is
-- run in a loop with the largest values that the memory limit allows, and only the time
-- limit ends it.
local host = require "plist.host"

local TIME_MS = 50
local MOST_S = 0.8 -- of processor time; on a quiet machine none takes 0.3

-- Values, created if an expression names them. A string may use an eighth of the memory.
local values = {
  nuls = '("\\0"):rep(MAX)', digits = '("1"):rep(MAX)', blanks = '(" "):rep(MAX - 1) .. "1"', zeros = '("0"):rep(MAX - 1) .. "1"',
  floats = "(function() local t = {} for i = 1, 200 do t[i] = 1e308 end return t end)()",
  small = "(function() local t = {} for i = 1, 4000 do t[i] = i end return t end)()",
  big = "(function() local t = {} for i = 1, 300000 do t[i] = (i * 7919) % 100003 end return t end)()",
  sparse = "(function() local t = {} for i = 1, 300000 do t[i] = i end for i = 1, 299999 do t[i] = nil end return t end)()",
  json = "require 'plist.json'", decimal = "require 'plist.decimal'",
}

local both = {
  -- operators
  "nuls < nuls", "nuls <= nuls", "nuls == nuls", "pcall(function() return nuls .. nuls end)", "digits + 1", "blanks + 1", "zeros * 1", "-digits",
  "digits // 1", "digits % 7", "digits ^ 2", "pcall(function() return digits | 1 end)", "pcall(function() for _ = 1, blanks do break end end)", "#nuls",
  "#big", "({ [nuls] = 1 })[nuls]", "pcall(function() return nuls.x.y end)", "{ table.unpack(small) }", "nuls .. 1",
  -- the global functions
  "tonumber(digits)", "tonumber(blanks)", "tonumber(zeros, 10)", "tostring(nuls)", "rawequal(nuls, nuls)", "pcall(error, nuls)",
  "pcall(assert, false, nuls)", "pcall(setmetatable, {}, nuls)", "select('#', table.unpack(small))", "next(sparse)", "pcall(require, nuls)",
  -- string
  "nuls:upper()", "nuls:lower()", "nuls:reverse()", "nuls:sub(2)", "pcall(nuls.byte, nuls, 1, -1)", "nuls:find('b', 1, true)", "nuls:find('[b]')",
  "nuls:find('.-b')", "nuls:gsub('.', '')", "nuls:gsub('', '')", "nuls:gsub('.', {})", "pcall(nuls.find, nuls, nuls)",
  "pcall(string.find, ('x'):rep(9999), '[' .. digits .. ']')", "('x'):rep(MAX)", "('x'):rep(MAX // 2, 'y')", "('%s'):format(nuls)",
  "pcall(string.format, '%q', nuls)", "('%99.99f'):rep(200):format(table.unpack(floats))", "pcall(string.format, digits)",
  "pcall(string.format, '%d', digits)", "nuls:gmatch('.')()", "pcall(string.rep, 'x', digits)",
  -- table, math, utf8
  "table.concat({ nuls })", "table.concat(floats, ',')", "pcall(table.concat, { nuls, nuls }, nuls)", "table.sort({ nuls, nuls, nuls })",
  "table.sort(big)", "table.pack(table.unpack(small))", "table.move(big, 1, #big, 2)", "table.insert(big, 1, 1)", "pcall(table.unpack, big, zeros)",
  "math.floor(zeros)", "pcall(math.max, digits, digits, digits)", "pcall(math.tointeger, digits)", "utf8.len(nuls)", "utf8.offset(nuls, -1)",
  "utf8.offset(nuls, 1000000)", "pcall(utf8.codepoint, nuls, 1, -1)", "utf8.char(table.unpack(small))",
  -- plist's own
  "pcall(decimal.new, digits)", "pcall(decimal.new, zeros)", "pcall(decimal.new, '1e' .. digits)",
  "decimal.new(('9'):rep(500)) * decimal.new(('9'):rep(500))", "tostring(decimal.new(('9'):rep(1000)))",
  "decimal.new('1'):div(decimal.new('3'), 999)",
}

local handlers_only = {
  "os.date('%c')", "pcall(os.date, ('%c'):rep(MAX // 2))", "os.date(('%c'):rep(500))",
  "pcall(os.time, { year = zeros, month = zeros, day = zeros, hour = zeros })", "pcall(json.encode, nuls)", "pcall(json.encode, { nuls, nuls, nuls })",
  "json.encode(big)", "pcall(json.decode, digits)", "json.decode('[' .. ('1,'):rep(30000) .. '1]')",
}

--- Scripts that are slow because of their structure.
local scripts = {
  ["protected calls below a deep stack"] =
    "local function f(n) if n == 0 then while true do pcall(error) end end return 1 + f(n - 1) end f(100000)",
  ["metatables that reach each other through their copies"] =
    "local at = {} for i = 1, 20000 do local to = {} at.__index = to setmetatable({}, at) at.__index = nil at = to end while true do local _ = {} end",
  ["a chain of __index"] =
    "local t = {} for i = 1, 1900 do t = setmetatable({}, { __index = t }) end while true do local _ = t.x end",
  ["functions that call themselves protected"] = "local function f() while true do pcall(f) error() end end while true do pcall(f) end",
  ["a hundred thousand values passed on"] =
    "local function f(...) while true do local _ = { ... } end end f((('x'):rep(100000)):byte(1, -1))",
}

local function script_of(expression, max)
  local text = ("local MAX <const> = %d\n"):format(max)
  for name, made in pairs(values) do
    if expression:find("%f[%w]" .. name .. "%f[%W]") then text = text .. ("local %s = %s\n"):format(name, made) end
  end
  local call = expression:find("^table%.[sim]") and expression or "local _ = " .. expression
  return text .. "while true do " .. call .. " end"
end

describe("a script of the world of", function()
  local function ends(world, memory, script)
    local vm = host.vm { world = world, time_ms = TIME_MS, instructions = 100000000000, memory = memory }
    local began = os.clock()
    local how, text = vm:run(script)
    local took = os.clock() - began
    assert(how == "time" or how == "memory" or how == "instructions", ("ended by %s: %s"):format(how, text))
    assert(took < MOST_S, ("it took %.2f s"):format(took))
  end

  for world, memory in pairs { handler = 32 * 1024 * 1024, policy = 8 * 1024 * 1024 } do
    for _, expressions in ipairs { both, world == "handler" and handlers_only or {} } do
      for _, expression in ipairs(expressions) do
        it(("a %s ends in time, in an endless loop of: %s"):format(world, expression), function()
          ends(world, memory, script_of(expression, memory // 4 - 64))
        end)
      end
    end
    it(("a %s ends in time: memory that is full except for a table or two, so that each new one runs a full collection"):format(world), function()
      local fill, vm = "local keep for _ = 1, %d do keep = { keep } end ", host.vm { world = world, instructions = 100000000000, memory = memory }
      local least, most = 0, memory // 64 -- the last that fits, the first that does not
      while most - least > 1 do
        local n = (least + most) // 2
        if vm:run(fill:format(n)) == "done" then least = n else most = n end
      end
      ends(world, memory, fill:format(least - 2) .. "while true do local _ = {} end")
    end)
    for what, script in pairs(scripts) do
      it(("a %s ends in time: %s"):format(world, what), function() ends(world, memory, script) end)
    end
  end
end)
