-- Ways in which a policy might keep state between calls, or reach values that it must not
-- see. Every call starts from the same state.
local host = require "plist.host"

local HEAD = 'local policy = require "plist.policy"\n'

--- Creates a policy from a text, and returns a function that calls it with two rows.
local function policy_of(text, files)
  files = files or {}
  files["policies/p.lua"] = HEAD .. text
  local vm, problems = host.vm { world = "policy", files = files }
  assert(vm, problems and table.concat(problems, "\n"))
  return function(rows)
    return vm:resolve("policies/p.lua", rows or {
      { origin = "us", price = "1.00", bedrooms = "3", note = "a" }, { origin = "eu", price = "2.00", sold = true },
    })
  end, vm
end

--- Ten answers to the same question, each as text.
local function answers(ask)
  local seen = {}
  for i = 1, 10 do
    local verdict, code, sentence = ask()
    seen[i] = verdict and tostring(verdict.take or verdict.merge.note or verdict.merge.price) or code .. ": " .. sentence
  end
  return seen
end

local function always(first, seen)
  for i, answer in ipairs(seen) do assert.equal(first, answer, "call " .. i) end
end

describe("a policy remembers nothing", function()
  local ways = {
    ["in a global"] = "return { resolve = function() if rawget(_ENV, 'n') then n = n + 1 else n = 1 end return "
      .. "policy.take(n) end }",
    ["in an upvalue"] = "local n = 0 return { resolve = function() n = n + 1 return policy.take(n) end }",
    ["in a closure made while loading"] = "local function counter() local n = 0 return function() n = n + 1 return n end end "
      .. "local next_one = counter() return { resolve = function() return policy.take(next_one()) end }",
    ["in a metatable"] = "local mt = { n = 0 } local t = setmetatable({}, mt) return { resolve = function() "
      .. "local m = getmetatable(t) m.n = m.n + 1 return policy.take(m.n) end }",
    ["in a library's table"] = "return { resolve = function() string.n = (string.n or 0) + 1 return policy.take(string.n) end }",
    ["in plist.policy"] = "return { resolve = function() policy.n = (policy.n or 0) + 1 return policy.take(policy.n) end }",
    ["in plist.decimal"] = "local decimal = require 'plist.decimal' return { resolve = function() "
      .. "decimal.n = (decimal.n or 0) + 1 return policy.take(decimal.n) end }",
    ["in its own table"] = "local me = { n = 0 } me.resolve = function() me.n = me.n + 1 return policy.take(me.n) end return me",
    ["in the argument list of its main function"] =
      "local n = select('#', ...) return { resolve = function() n = n + 1 return policy.take(n) end }",
    ["in a separate module"] = "local m = require 'lib.memory' return { resolve = function() m.n = m.n + 1 return "
      .. "policy.take(m.n) end }",
    ["in a module that is required again"] = "return { resolve = function() local m = require 'lib.memory' m.n = m.n + 1 "
      .. "return policy.take(m.n) end, keep = require 'lib.memory' }",
    ["in a weak table"] = "local n = 0 pcall(function() setmetatable({}, { __mode = 'k' }) n = 1 end) "
      .. "return { resolve = function() return policy.take(n + 1) end }",
    ["in a weak table that became weak later"] = "local mt = {} local t = setmetatable({}, mt) mt.__mode = 'k' "
      .. "return { resolve = function() local n = 0 t[{}] = 1 local s = ('x'):rep(1e5) for _ in "
        .. "pairs(mt) do n = n + 1 end return policy.take(n) end }",
    ["in the metatable of strings"] = "return { resolve = function() local mt = getmetatable('') return policy.take(mt and 2 or "
      .. "1) end }",
    ["in the metatable of decimals"] = "return { resolve = function(rows) local mt = getmetatable(rows[1].fields.price) "
      .. "return policy.take(mt and 2 or 1) end }",
  }

  for way, text in pairs(ways) do
    it(way, function()
      always("1", answers((policy_of(text, { ["lib/memory.lua"] = "return { n = 0 }" }))))
    end)
  end

  it("after a call that failed", function()
    local ask, vm = policy_of("local n = 0 return { resolve = function(rows) n = n + 1 string.rep = nil if "
      .. "rows[1].deleted then error 'x' end "
      .. "return policy.take(n) end }")
    local before
    for _ = 1, 20 do
      assert.equal(1, ask().take)
      assert.is_nil((ask { { origin = "us", price = "1.00", deleted = true }, { origin = "eu", price = "1.00" } }))
      before = before or vm:memory()
    end
    assert(vm:memory() < before + 4096)
  end)
end)

describe("a policy sees the same in every region", function()
  it("in the order of pairs and next", function()
    local body = "return { resolve = function(rows) local t = { [3] = 1, z = 1, a = 1, [1] = 1, [true] = 1, "
      .. "[2.5] = 1, m = 1, [-1] = 1 } "
      .. "local s = {} for k in pairs(t) do s[#s + 1] = tostring(k) end local k = next(t) while k "
        .. "~= nil do s[#s + 1] = tostring(k) k = next(t, k) end "
      .. "return policy.merge { price = 1, note = ('%s'):format(table.concat(s, ''):sub(1, 18)) } end }"
    for _ = 1, 5 do -- each VM has another seed for its hashes
      always("-112.53amztrue-112", answers((policy_of(body))))
    end
  end)

  it("in pairs over its rows", function()
    local body = "return { resolve = function(rows) local s = {} for name in pairs(rows[1].fields) do s[#s + 1] = name end "
      .. "return policy.merge { price = 1, note = table.concat(s, ' ') } end }"
    always("bedrooms note price", answers((policy_of(body))))
  end)

  it("and may remove keys while it iterates over them", function()
    local body = "return { resolve = function() local t, s = { a = 1, b = 2, c = 3 }, {} for k in pairs(t) "
      .. "do s[#s + 1] = k t.b = nil end "
      .. "return policy.merge { price = 1, note = table.concat(s) } end }"
    always("ac", answers((policy_of(body))))
  end)

  it("and cannot iterate over keys that have no order", function()
    local ask = policy_of "return { resolve = function() for _ in pairs { [{}] = 1 } do end return policy.take(1) end }"
    local _, code, sentence = ask()
    assert.equal("script_error", code)
    assert.truthy(sentence:find("no order", 1, true))
  end)

  it("in a sort, which keeps the order of equal elements", function()
    local body = "return { resolve = function() local t = {} for i = 1, 200 do t[i] = { key = i % 3, i = i } end "
      .. "table.sort(t, function(a, b) return a.key < b.key end) local ok = 1 "
      .. "for i = 2, 200 do if t[i - 1].key == t[i].key and t[i - 1].i > t[i].i then ok = 2 end end return policy.take(ok) end }"
    always("1", answers((policy_of(body))))
  end)

  it("in a sort with an inconsistent comparison", function()
    local body = "return { resolve = function() local t = {} for i = 1, 300 do t[i] = i end table.sort(t, "
      .. "function() return true end) "
      .. "return policy.take(#t == 300 and 1 or 2) end }"
    always("1", answers((policy_of(body))))
  end)

  it("and cannot see the address of a table", function()
    local body = "return { resolve = function() return policy.merge { price = 1, note = tostring({}) .. tostring(pairs) } end }"
    always("tablefunction", answers((policy_of(body))))
  end)
end)

describe("the arguments of a policy", function()
  it("cannot be changed", function()
    for _, change in ipairs {
      "rows[1] = nil", "rows[3] = rows[1]", "rows[1].deleted = true", "rows[1].fields.price = 5", "ctx.key = 1",
        "ctx.regions[1] = 'x'",
      "rawset(rows, 1, nil)", "rawset(rows[1].fields, 'price', 1)", "table.sort(rows, function() return true end)",
        "table.insert(rows, rows[1])",
      "table.remove(rows)", "table.move(rows, 1, 2, 2)", "setmetatable(rows, {})", "local _, t = pairs(rows) t[1] = nil",
    } do
      local ask = policy_of("return { resolve = function(rows, ctx) " .. change .. " return policy.take(1) end }")
      local verdict, code = ask()
      assert.is_nil(verdict, change)
      assert.equal("script_error", code, change)
    end
  end)

  it("can be read like tables", function()
    local ask = policy_of [[
      return { resolve = function(rows, ctx)
        assert(type(rows) == "table" and type(rows[1].fields) == "table" and #rows == 2)
        local n = 0
        for i, row in ipairs(rows) do n = n + i assert(row == rows[i]) end
        for i, row in pairs(rows) do n = n + i assert(row == rows[i]) end
        assert(n == 6 and select("#", table.unpack(rows)) == 2 and next(rows) == 1)
        assert(ctx.resource == "properties" and ctx.key == 7 and #ctx.regions == 3 and ctx.regions[2] == "eu")
        assert(table.concat(ctx.regions, " ") == "us eu ap")
        local row = rows[1]
        assert(row.origin == "us"
          and row.version == 1 and row.updated_at == 1000000 and row.deleted == false and row.request_id == nil)
        assert(tostring(row.fields.price) == "1.00" and row.fields.bedrooms == 3 and row.fields.note == "a"
          and row.fields.sold == nil)
        assert(rows[2].fields.sold == true and rows[2].fields_updated == nil)
        return policy.take(2)
      end }]]
    local verdict, _, sentence = ask()
    assert.equal(2, verdict and verdict.take, sentence)
  end)
end)

describe("a verdict is checked against the resource", function()
  local wrong = {
    { "policy.take(0)", "takes row 0 of 2" },
    { "policy.take(3)", "takes row 3 of 2" },
    { "policy.take(-1)", "takes row -1 of 2" },
    { "nil", "returns nothing instead of policy.take(i)" },
    { "1", "returns a number instead of" },
    { "{ take = 1 }", "returns a table instead of" },
    { "policy.merge {}", "merges no price, which every record must have" },
    { "policy.merge { price = 1, colour = 'red' }", "merges 'colour', which is not a field of properties" },
    { "policy.merge { price = 1, 'x' }", "merges a member whose name is a number, which is not a field" },
    { "policy.merge { price = 'cheap' }", "merges price \"cheap\", which must be a number" },
    { "policy.merge { price = -1 }", "merges price -1, which must be at least 0" },
    { "policy.merge { price = decimal '1.005' }", "merges price 1.005, which must have at most 2 digits after the point" },
    { "policy.merge { price = decimal '99999999999' }", "merges price 99999999999, which must have at most 10 digits before the point" },
    { "policy.merge { price = 0/0 }", "merges a number that is not finite into price" },
    { "policy.merge { price = 1, bedrooms = 101 }", "merges bedrooms 101, which must be at most 100" },
    { "policy.merge { price = 1, bedrooms = 1.5 }", "merges bedrooms 1.5, which must be an integer" },
    { "policy.merge { price = 1, bedrooms = {} }", "merges a table into bedrooms" },
    { "policy.merge { price = 1, note = ('x'):rep(21) }", 'merges note "xxxxxxxxxxxxxxxxxxxxx", which must be at most 20 characters long' },
    { "policy.merge { price = 1, note = '\\xff' }", "merges a text that is not UTF-8 into note" },
    { "policy.merge { price = 1, note = 'a\\0b' }", "merges a text that is not UTF-8 into note" },
    { "policy.merge { price = 1, sold = 'yes' }", "merges sold \"yes\", which must be true or false" },
  }

  for _, case in ipairs(wrong) do
    it("refuses " .. case[1], function()
      local ask = policy_of("local decimal = require 'plist.decimal' return { name = 'p', resolve = function() return "
        .. case[1] .. " end }")
      local verdict, code, sentence = ask()
      assert.is_nil(verdict)
      assert.equal("invalid", code)
      assert.truthy(sentence:find("p: " .. case[2], 1, true), sentence)
    end)
  end

  it("accepts a complete and valid merge, and prints it as the database would", function()
    local ask = policy_of("local decimal = require 'plist.decimal' return { resolve = function(rows) return policy.merge { "
      .. "price = (rows[1].fields.price + rows[2].fields.price):div(2, 2), bedrooms = 4, note = 'ä', sold = false } end }")
    assert.same({ price = "1.50", bedrooms = "4", note = "ä", sold = "f" }, ask().merge)
  end)

  it("accepts the fields of a row as a merge", function()
    local ask = policy_of "return { resolve = function(rows) return policy.merge(rows[1].fields) end }"
    assert.same({ price = "1.00", bedrooms = "3", note = "a" }, ask().merge)
  end)

  it("reports an error in a text that a database can store, whatever bytes the script put into it", function()
    local cases = {
      [ [[error("a\xe2\x82b\x1b[31m\xff" .. ("\u{e4}"):rep(400))]] ] = "a??b [31m?\u{e4}",
      [ [[return policy.merge { ["\xff\xfe"] = 1 }]] ] = "merges '??'",
      [ [[return policy.merge { price = 1, note = "x" .. ("\u{20ac}"):rep(21) }]] ] = "merges note \"x\u{20ac}",
    }
    for body, told in pairs(cases) do
      local ask = policy_of("return { name = 'p', resolve = function() " .. body .. " end }")
      local verdict, _, sentence = ask()
      assert.is_nil(verdict)
      assert.truthy(sentence:find(told, 1, true), sentence)
      assert.truthy(utf8.len(sentence), sentence)
    end
  end)

  it("names the limit that a policy has exceeded", function()
    for limit, body in pairs { instructions = "while true do end", memory = "local t = {} for i = 1, 1e9 do t[i] = {} end" } do
      local ask = policy_of("return { name = 'p', resolve = function() " .. body .. " end }")
      local verdict, code, sentence = ask()
      assert.is_nil(verdict)
      assert.equal("budget", code)
      assert.truthy(sentence:find(limit, 1, true) or limit == "memory" and sentence:find("instructions", 1, true), sentence)
    end
  end)
end)
