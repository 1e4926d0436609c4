-- Hostile scripts: each ends as it must, the host survives, and the next call is not
-- affected.
local host = require "plist.host"

-- Production limits, except for the time: the limits of instructions and memory have to
-- suffice, even on a slow machine. Scripts that only the clock can stop are tested
-- separately below.
local PATIENT_MS = 20000
local HUNG_S = 60 -- after this the sandbox has failed, however the script ended

local limits = {
  policy = { instructions = 1000000, memory = 8 * 1024 * 1024 },
  handler = { instructions = 10000000, memory = 32 * 1024 * 1024 },
}

local function vm_of(world, time_ms)
  return host.vm {
    world = world, time_ms = time_ms or PATIENT_MS, instructions = limits[world].instructions, memory = limits[world].memory,
  }
end

--- Scripts and how they end. `ends` may name several ways: which one comes first depends
--- on the limits, not on chance.
local hostile = {
  -- endless in the interpreter
  { "a while loop", "while true do end", "instructions" },
  { "a goto loop", "::again:: goto again", "instructions" },
  { "a numeric for of 2^62 turns", "for i = 1, 1 << 62 do end", "instructions" },
  { "a repeat loop", "repeat until false", "instructions" },
  { "a tail call loop", "local function f() return f() end f()", "instructions" },
  { "mutual tail calls", "local g local function f() return g() end g = function() return f() end f()", "instructions" },

  -- catching the error that ends the script
  { "pcall around an endless loop", "pcall(function() while true do end end) return 'swallowed'", "instructions" },
  { "pcall in a loop", "while true do pcall(function() while true do end end) end", "instructions" },
  { "pcall nested in pcall", "local function f() return pcall(f) end while true do f() end", "instructions" },
  { "pcall of error in a loop", "while true do pcall(error) end", "instructions" },
  { "pcall of pcall", "while true do pcall(pcall, pcall, error) end", "instructions" },
  { "an error object with a __tostring that loops",
    "error(setmetatable({}, { __tostring = function() while true do end end }))", "raised" },
  { "an error object with a __name", "error(setmetatable({}, { __name = ('x'):rep(1e5) }))", "raised" },
  { "an error that is nil", "error()", "raised" },
  { "an error that is a function", "error(function() end)", "raised" },
  { "pcall of a memory bomb in a loop",
    "while true do pcall(function() local t = {} for i = 1, 1 << 40 do t[i] = i end end) end", "memory" },

  -- C functions in which no hook fires
  { "exponential backtracking", "return (('a'):rep(40) .. 'b'):find(('a*'):rep(20) .. 'c')", "instructions" },
  { "backtracking by -", "return (('a'):rep(2000)):find(('.-'):rep(12) .. 'b')", "instructions" },
  { "backtracking by ?", "return (('a'):rep(30)):find(('a?'):rep(30) .. ('a'):rep(31))", "instructions" },
  { "gsub that backtracks", "return (('x'):rep(5000)):gsub('(.*)(.*)(.*)y', '')", "instructions" },
  { "gmatch that backtracks", "for _ in (('x'):rep(5000)):gmatch('.*.*.*y') do end", "instructions" },
  { "%b over a long text, again and again", "local s = ('('):rep(50000) for i = 1, 1e6 do s:find('%b()') end", "instructions" },
  { "%f over a long text", "local s = ('a'):rep(50000) for i = 1, 1e6 do s:find('%f[b]') end", "instructions" },
  { "a set of a thousand characters",
    "local p = '[' .. ('b'):rep(1000) .. ']*$' for i = 1, 1e6 do (('a'):rep(1000)):find(p) end", "instructions" },
  { "a pattern nested too deep", "return ('a'):find(('('):rep(40) .. ('a?'):rep(300))", "raised" },
  { "string.rep of gigabytes", "return ('x'):rep(1 << 33)", "instructions" },
  { "string.rep of more bytes than a string can have", "return ('x'):rep(math.maxinteger)", "raised" },
  { "string.rep with a long separator", "return ('x'):rep(1 << 20, ('y'):rep(1 << 16))", "instructions" },
  { "string.rep doubling", "local s = 'x' while true do s = s:rep(2) end", "memory" },
  { "concatenation doubling", "local s = 'x' while true do s = s .. s end", { "memory", "instructions" } },
  { "many long concatenations", "local s = ('x'):rep(100000) for i = 1, 5000 do local t = s .. i end", "instructions" },
  { "table.concat of one long text", "local s, t = ('x'):rep(10000), {} for i = 1, 1000 do t[i] = s end "
    .. "while true do table.concat(t) end", { "instructions", "memory" } },
  { "table.concat over a range of 2^40",
    "return table.concat(setmetatable({}, { __index = function() return '' end }), '', 1, 1 << 40)", "instructions" },
  { "table.concat over an empty range of 2^60", "return table.concat({}, '', 1, 1 << 60)", "raised" },
  { "table.move over 2^60", "return table.move({}, 1, 1 << 60, 2)", "instructions" },
  { "table.move with metamethods", "local t = setmetatable({}, { __index = function(_, i) return i end, __newindex = "
    .. "function() end }) "
    .. "table.move(t, 1, 1 << 50, 2)", "instructions" },
  { "table.insert with a false length",
    "table.insert(setmetatable({}, { __len = function() return 1 << 60 end }), 1, 'x')", "instructions" },
  { "table.insert behind the greatest possible length",
    "table.insert(setmetatable({}, { __len = function() return math.maxinteger end }), 'x')", "done" },
  { "table.remove with a false length", "table.remove(setmetatable({}, { __len = function() return 1 << 60 end }), 1)",
    "instructions" },
  { "table.sort with a false length",
    "table.sort(setmetatable({}, { __len = function() return 1 << 60 end }))", { "instructions", "memory" } },
  { "table.sort with a comparison that loops", "table.sort({ 3, 1, 2 }, function() while true do end end)", "instructions" },
  { "table.sort with a comparison that changes the table",
    "local t = {} for i = 1, 1000 do t[i] = i end table.sort(t, function() t[#t + 1] = 1 "
      .. "return true end) while true do end", "instructions" },
  { "table.unpack of a million", "return table.unpack({}, 1, 1000000)", "raised" },
  { "table.unpack over the end of integers", "return table.unpack({}, math.mininteger, math.maxinteger)", "raised" },
  { "string.format with a width of 99999", "return ('%99999d'):format(1)", "raised" },
  { "string.format with the longest widths",
    "while true do ('%99.99f'):rep(100):format(table.unpack({}, 1, 100)) end", "raised" },
  { "string.format of a number with 300 digits in an endless loop", "while true do ('%99.99f'):format(1e308) end", "instructions" },
  { "string.byte of a megabyte", "return select('#', (('x'):rep(1 << 10)):rep(1 << 10):byte(1, -1))", "raised" },
  { "string.char of many", "while true do string.char(table.unpack(('x'):rep(1) and {}, 1, 4000)) end", "raised" },
  { "utf8.len in an endless loop", "local s = ('é'):rep(10000) while true do utf8.len(s) end", "instructions" },
  { "upper of a megabyte in an endless loop", "local s = ('x'):rep(1 << 20) while true do s:upper() end", "instructions" },
  { "tonumber of a long text in an endless loop", "local s = (' '):rep(1 << 16) .. '1' while true do tonumber(s) end", "instructions" },
  { "select over many values in an endless loop",
    "local t = {} for i = 1, 4000 do t[i] = i end while true do select(-1, table.unpack(t)) end", "instructions" },

  -- recursion and metamethods
  { "deep recursion", "local function f(n) return 1 + f(n + 1) end return f(1)", { "raised", "memory", "instructions" } },
  { "deep recursion in C", "local function f() return ('x'):gsub('.', f) end return f()", "raised" },
  { "recursion through __index", "local t = setmetatable({}, { __index = function(t, k) return t[k .. 'x'] end }) return t.x",
    { "raised", "memory", "instructions" } },
  { "a chain of __index",
    "local t = {} for i = 1, 1e6 do t = setmetatable({}, { __index = t }) end return t.x",
    { "memory", "instructions", "raised" } },
  { "__index that is its own table",
    "local mt = {} local t = setmetatable({}, mt) mt.__index = t setmetatable(t, mt) return t.x", "raised" },
  { "__newindex that is its own table",
    "local mt = {} local t = setmetatable({}, mt) mt.__newindex = t setmetatable(t, mt) t.x = 1", "raised" },
  { "__eq that loops", "local mt = { __eq = function() while true do end end } return setmetatable({}, mt) == "
    .. "setmetatable({}, mt)", "instructions" },
  { "__concat that loops", "return setmetatable({}, { __concat = function() while true do end end }) .. 'x'", "instructions" },
  { "__len that loops", "return #setmetatable({}, { __len = function() while true do end end })", "instructions" },
  { "__lt in sort that loops", "local mt = { __lt = function() while true do end end } "
    .. "table.sort { setmetatable({}, mt), setmetatable({}, mt) }", "instructions" },
  { "__call that calls itself endlessly", "local t t = setmetatable({}, { __call = function() return t() end }) t()", { "instructions", "raised" } },
  { "__tostring in tostring that loops", "return tostring(setmetatable({}, { __tostring = function() while true do end end }))",
    "instructions" },
  { "__tostring that returns no string", "return tostring(setmetatable({}, { __tostring = function() return {} end }))", "raised" },
  { "__pairs that loops", "for _ in pairs(setmetatable({}, { __pairs = function() while true do end end })) do end",
    "instructions" },
  { "__unm that raises", "return -setmetatable({}, { __unm = function() error('no') end })", "raised" },

  { "__call that is its own table", "local t = {} setmetatable(t, { __call = t }) t()", "raised" },
  { "__call that becomes a table", "local mt = {} local t = setmetatable({}, mt) mt.__call = t t()", "raised" },
  { "__call that is a function and becomes a table, set again",
    "local mt = { __call = function() end } local t = setmetatable({}, mt) mt.__call = t setmetatable({}, mt) t()", "raised" },
  { "a chain of callable tables", "local t = {} for i = 1, 1e6 do t = setmetatable({}, { __call = t }) end t()", "raised" },
  { "a function that protects itself in a loop", "local function f() while true do pcall(f) end end f()", "instructions" },
  { "pcall of pcall of itself in a loop", "local function f() while true do pcall(pcall, f) end end f()", "instructions" },
  { "a hundred protected calls inside each other, and one",
    "local function f(n) if n > 0 then local ok, e = pcall(f, n - 1) if not ok then error(e, 0) end end end f(100)", "done" },
  { "one protected call too many",
    "local function f(n) if n > 0 then local ok, e = pcall(f, n - 1) if not ok then error(e, 0) end end end f(101)", "raised" },
  { "os.date with a long format", "return (os or { date = error }).date(('%c'):rep(501))", "raised" },
  { "%q of a long text", "return ('%q'):format(('\\0'):rep(1e5))", "raised" },

  -- finalizers and others that would run outside the budget
  { "__gc", "setmetatable({}, { __gc = function() while true do end end })", "raised" },
  { "__close", "local x <close> = setmetatable({}, { __close = function() while true do end end })", "raised" },
  { "__close that is added later", "local mt = {} local t = setmetatable({}, mt) mt.__close = function() while true do end end "
    .. "do local x <close> = t end", "raised" },
  { "__mode", "setmetatable({}, { __mode = 'k' })", "raised" },
  { "__metatable", "setmetatable({}, { __metatable = false })", "raised" },
  { "an error while an upvalue is closed",
    "local f do local x = 1 f = function() x = x + 1 return x end end while true do f() end", "instructions" },

  -- memory
  { "a huge table", "local t = {} for i = 1, 1 << 40 do t[i] = i end", "memory" },
  { "a huge table of tables", "local t = {} for i = 1, 1 << 40 do t = { t } end", "memory" },
  { "a huge hash", "local t = {} for i = 1, 1 << 40 do t['k' .. i] = i end", { "memory", "instructions" } },
  { "very many closures", "local t = {} for i = 1, 1 << 40 do t[i] = function() return i end end", "memory" },
  { "very many metatables", "local t = {} for i = 1, 1 << 40 do t[i] = setmetatable({}, {}) end", { "memory", "instructions" } },
  { "a growing text", "local s = '' while true do s = s .. ('x'):rep(1000) end", { "memory", "instructions" } },

  -- functions that scripts do not have
  { "bytecode", "return load('\\27Lua')", "raised" },
  { "load", "return load('return 1')()", "raised" },
  { "string.dump", "return string.dump(function() end)", "raised" },
  { "debug", "return debug.getregistry()", "raised" },
  { "io", "return io.open('/etc/passwd')", "raised" },
  { "os.execute", "return os.execute('true')", "raised" },
  { "os.getenv", "return os.getenv('HOME')", "raised" },
  { "coroutines", "return coroutine.wrap(function() while true do end end)()", "raised" },
  { "coroutines to hide from the hook", "while true do coroutine.wrap(function() local x = 1 end)() end", "raised" },
  { "collectgarbage", "return collectgarbage('count')", "raised" },
  { "dofile", "return dofile('/etc/passwd')", "raised" },
  { "require of a file outside the Lua root", "return require '/etc/passwd'", "raised" },
  { "require through ..", "return require '...etc.passwd'", "raised" },
  { "package", "return package.loadlib('libc.so.6', 'system')", "raised" },
  { "the metatable of strings", "getmetatable('').__index = {}", "raised" },
  { "another metatable for the environment", "setmetatable(_ENV, {})", "raised" },
  { "string.format %p", "return ('%p'):format({})", "raised" },
  { "string.format %p behind a NUL", "return ('\\0%p'):format({})", "raised" },

  -- no harm
  { "an empty script", "", "done" },
  { "a script that ends in time", "local n = 0 for i = 1, 100000 do n = n + i end return n", "done" },
}

local function one_of(ends, how)
  if type(ends) == "string" then return how == ends end
  for _, one in ipairs(ends) do
    if one == how then return true end
  end
  return false
end

for world in pairs(limits) do
  describe("a hostile script in the world of a " .. world, function()
    local vm = vm_of(world)

    for _, case in ipairs(hostile) do
      it("ends as expected: " .. case[1], function()
        local began = os.clock()
        local how, text = vm:run(case[2])
        local took = os.clock() - began
        assert(one_of(case[3], how), ("ended by %s: %s"):format(how, text))
        assert(took < HUNG_S, ("it took %.1f s"):format(took))
        how, text = vm:run("return ('a,b'):gsub(',', ';')")
        assert.equal("done a;b", how .. " " .. text)
      end)
    end

    it("leaves no memory behind", function()
      local before = vm:memory()
      for _, case in ipairs(hostile) do
        if one_of(case[3], "memory") then vm:run(case[2]) end
      end
      assert(vm:memory() < before + 65536, ("%d bytes, before %d"):format(vm:memory(), before))
    end)
  end)
end

describe("the clock", function()
  --- A single instruction is not always short.
  local slow = {
    ["comparing megabytes"] = "local a = ('x'):rep(1 << 20) local b = a .. 'y' a = a .. 'z' while true do local _ = a < b end",
    ["passing on more and more arguments"] = "local function f(...) return f(0, ...) end return f()",
  }

  for what, script in pairs(slow) do
    it("stops a script whose instructions take too long: " .. what, function()
      for world in pairs(limits) do
        local vm = vm_of(world, 50)
        local began = os.clock()
        local how = vm:run(script)
        assert(one_of({ "time", "instructions", "memory", "raised" }, how), how)
        assert(os.clock() - began < HUNG_S)
        assert.equal("done", (vm:run("return 1")))
      end
    end)
  end

  it("does not stop a script that ends in time", function()
    local vm = vm_of("policy", PATIENT_MS)
    assert.equal("done", (vm:run("for i = 1, 100000 do end")))
  end)
end)

describe("what scripts see", function()
  local vms = { policy = vm_of "policy", handler = vm_of "handler" }

  it("contains no addresses", function()
    for _, vm in pairs(vms) do
      for _, value in ipairs { "{}", "tostring", "function() end", "setmetatable({}, {})", "_ENV", "string" } do
        for _, show in ipairs { "tostring(%s)", "('%%s'):format(%s)", "select(2, pcall(error, (tostring(%s))))" } do
          local how, text = vm:run("return " .. show:format(value))
          assert.equal("done", how)
          assert.is_nil(text:find("%x%x%x%x"), text)
        end
      end
    end
  end)

  it("is private: a script that changes a library changes it only for itself", function()
    for _, vm in pairs(vms) do
      vm:run("string.rep = nil table.sort = nil tostring = nil _ENV.pairs = nil")
      local how, text = vm:run("return string.rep('x', 2) .. type(table.sort) .. tostring(1) .. type(pairs)")
      assert.equal("done", how, text)
      assert.equal("xxfunction1function", text)
    end
  end)

  it("has no undefined globals: reading one raises an error with its name", function()
    local how, text = vms.policy:run("local price = 1\nreturn prise")
    assert.equal("raised", how)
    assert.equal("spec:2: there is no global 'prise'; a policy keeps no globals from one call to the next", text)
    how, text = vms.policy:run("return os.time()")
    assert.equal("raised", how)
    assert.truthy(text:find("a policy has no clock", 1, true))
  end)

  it("does not let a script forge an error with the metafield of plist's own errors", function()
    for _, vm in pairs(vms) do
      local how, text = vm:run("error(setmetatable({}, { __plist_message = function() return 'forged' end }))")
      assert.equal("raised", how)
      assert.equal("an error value that is a table", text)
    end
  end)

  it("is reduced for policies: no clock, no random numbers, no arithmetic that depends on the machine", function()
    for _, name in ipairs { "os", "math.random", "math.sin", "math.exp" } do
      assert.equal("raised", (vms.policy:run(("return (%s)()"):format(name))), name)
    end
    for _, name in ipairs { "os.time()", "math.random()", "math.sin(0)", "os.date('!%Y', 0)" } do
      assert.equal("done", (vms.handler:run("return " .. name)), name)
    end
    assert.equal("raised", (vms.policy:run("return require 'plist.records'")))
    assert.equal("raised", (vms.handler:run("return require 'plist.policy'")))
  end)

  it("keeps a script's metatables working as they were when they were set", function()
    local how, text = vms.policy:run [[
      local Account = {}
      Account.__index = Account
      Account.__add = function(a, b) return a.n + b.n end
      Account.__tostring = function(a) return "account " .. a.n end
      function Account.new(n) return setmetatable({ n = n }, Account) end
      function Account:double() return self.n * 2 end
      local a, b = Account.new(1), Account.new(2)
      assert(getmetatable(a) == Account and getmetatable(b) == Account)
      return tostring(a) .. " " .. (a + b) .. " " .. b:double()
    ]]
    assert.equal("done account 1 3 4", how .. " " .. text)
  end)
end)
