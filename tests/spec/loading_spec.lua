-- Loading files: what they must be, what they may require, and how a fault is told.
local host = require "plist.host"

--- The problems of loading files; nil when there are none.
local function problems_of(world, files)
  local vm, problems = host.vm { world = world, files = files }
  if vm then return nil, vm end
  return table.concat(problems, "\n")
end

describe("a file", function()
  local wrong = {
    { "handler", "return {", "lua/handlers/a.lua:1: unexpected symbol near <eof>" },
    { "handler", "local x = 1\nlocal y = = 2", "lua/handlers/a.lua:2: unexpected symbol near '='" },
    { "handler", "\27Lua", "lua/handlers/a.lua:1: this is compiled Lua; plist takes text only" },
    { "handler", "", "returns nothing instead of a table" },
    { "handler", "return 5", "returns number instead of a table" },
    { "handler", "return { doc = 'x' }", "has no function 'handle'" },
    { "handler", "return { handle = 5 }", "has no function 'handle'" },
    { "handler", "return { name = {}, handle = function() end }", "name is a table, not a text" },
    { "policy", "return { name = '\\xff', resolve = function() end }", "name is no text in UTF-8" },
    { "policy", "return { name = 'a\\0b', resolve = function() end }", "name is no text in UTF-8" },
    { "policy", "return { name = 'a\\nb', resolve = function() end }", "name has to be 1 to 64 characters" },
    { "policy", "return { name = '', resolve = function() end }", "name has to be 1 to 64 characters" },
    { "policy", "return { name = ('x'):rep(65), resolve = function() end }", "name has to be 1 to 64 characters" },
    { "policy", "return { doc = '\\xff', resolve = function() end }", "doc is no text in UTF-8" },
    { "handler", "\nlocal r = require 'plist.record'", "lua/handlers/a.lua:2: module 'plist.record' is not there" },
    { "handler", "require 'plist.policy'", "module 'plist.policy' is not there" },
    { "handler", "x.y = 1", "lua/handlers/a.lua:1: there is no global 'x'" },
    { "handler", "\n\nerror 'on purpose'", "lua/handlers/a.lua:3: on purpose" },
    { "handler", "error({})", "an error value that is a table" },
    { "handler", "while true do end", "used up its instructions" },
    { "handler", "local t = {} for i = 1, 1e9 do t[i] = {} end", "used up its memory" },
    { "handler", "require('plist.records').get('properties', 1)", "there is no request; this belongs into the handle function" },
    { "policy", "return { name = 'p' }", "has no function 'resolve'" },
    { "policy", "require 'plist.records'", "module 'plist.records' is not there" },
    { "policy", "local t = os.time()", "a policy does not know the time" },
  }

  for _, case in ipairs(wrong) do
    it("is refused, with its place: " .. case[2]:gsub("%c", " "), function()
      local path = case[1] == "policy" and "policies/a.lua" or "handlers/a.lua"
      local text = problems_of(case[1], { [path] = case[2] })
      assert.truthy(text and text:find(case[3], 1, true), text)
      assert.truthy(text:find("^lua/" .. path .. ":"), text)
    end)
  end

  it("is told by its whole name, however long that is", function()
    local path = "handlers/" .. ("a_very_long_name_"):rep(6) .. ".lua"
    assert.equal("lua/" .. path .. ":2: unexpected symbol near <eof>", (problems_of("handler", { [path] = "\nreturn {" })))
  end)

  it("is refused together with all others that are wrong", function()
    local text = problems_of("handler", {
      ["handlers/a.lua"] = "return 1", ["handlers/b.lua"] = "return { handle = function() end }", ["handlers/c.lua"] = "x(",
    })
    assert.truthy(text:find("handlers/a.lua", 1, true) and text:find("handlers/c.lua:1", 1, true))
    assert.is_nil(text:find("handlers/b.lua", 1, true))
  end)

  it("has a name and a doc, or its file's name and none", function()
    local _, vm = problems_of("policy", { ["policies/a.lua"] = "return { resolve = function() end }" })
    assert.same({ "a", "" }, { vm:policy "policies/a.lua" , (select(2, vm:policy "policies/a.lua")) })
    _, vm = problems_of("policy", { ["policies/a.lua"] = "return { name = 'n', doc = 'd', resolve = function() end }" })
    assert.same({ "n", "d" }, { vm:policy "policies/a.lua", (select(2, vm:policy "policies/a.lua")) })
  end)
end)

describe("a global that no environment has", function()
  local function problem(body, world)
    return (problems_of(world or "handler", { [(world == "policy" and "policies" or "handlers") .. "/a.lua"] = body }))
  end

  it("is found when the file is loaded, in a branch that never ran, with its line", function()
    assert.equal("lua/handlers/a.lua:4: there is no global 'prise'", problem [[
return { handle = function(req)
  local f = function()
    if false then
      return prise
    end
  end
end }]])
    assert.equal("lua/policies/a.lua:2: there is no global 'os': a policy does not know the time",
      problem("return { resolve = function(rows)\n  return os.time()\nend }", "policy"))
    assert.truthy(problem("return { handle = function() local function f() return function() print(1) end end end }"))
    assert.truthy(problem("return { handle = function() local t = { [1] = undefined } end }"))
    assert.truthy(problem("return { handle = function() undefined.x = 1 end }"))
    assert.truthy(problem("return { handle = function() undefined() end }"))
    assert.truthy(problem("return { handle = function() return _ENV.undefined end }"))
  end)

  it("is found behind many lines and constants", function()
    local long = {}
    for i = 1, 600 do
      long[i] = "local x" .. i .. " = 'constant " .. i % 200 .. "' " .. (i % 150 == 0 and "end do" or "")
    end
    local text = problem("return { handle = function() do\n" .. table.concat(long, "\n") .. "\n\n\nend return math.pi, nosuch\nend }")
    assert.equal("lua/handlers/a.lua:604: there is no global 'nosuch'", text)
  end)

  it("is none when the file assigns it, anywhere, or when it is another _ENV", function()
    assert.is_nil(problem "return { handle = function() return counter end, set = function() counter = 1 end }")
    assert.is_nil(problem "return { handle = function() local _ENV = { x = 1 } return x end }")
    assert.is_nil(problem "return { handle = function() return math.pi, string.rep, _VERSION, os.time end }")
    assert.is_nil(problem "local print = 1 return { handle = function() return print end }")
  end)
end)

describe("require", function()
  local HANDLER = "local money = require 'lib.money' local http = require 'plist.http' "
    .. "return { handle = function(req) return http.ok { text = money.text(5) } end }"

  it("finds files under the Lua folder, in the same sandbox", function()
    local text, vm = problems_of("handler", {
      ["handlers/a.lua"] = HANDLER,
      ["lib/money.lua"] = "local words = require 'lib.words' return { text = function(n) return n .. words.unit end }",
      ["lib/words.lua"] = "return { unit = ' dollars' }",
    })
    assert.is_nil(text)
    assert.equal('{"text":"5 dollars"}', vm:request("handlers/a.lua", { id = "7" }).body)
  end)

  it("tells a fault of a module by the module's place", function()
    local text = problems_of("handler", { ["handlers/a.lua"] = HANDLER, ["lib/money.lua"] = "\n\nlocal = 1" })
    assert.truthy(text:find("lua/lib/money.lua:3: <name> expected", 1, true), text)
    text = problems_of("handler", { ["handlers/a.lua"] = HANDLER, ["lib/money.lua"] = "\nlocal x = nil .. ''" })
    assert.truthy(text:find("lua/lib/money.lua:2: attempt to concatenate a nil value", 1, true), text)
  end)

  it("refuses a circle", function()
    local text = problems_of("handler", {
      ["handlers/a.lua"] = HANDLER,
      ["lib/money.lua"] = "require 'lib.words' return {}", ["lib/words.lua"] = "require 'lib.money' return {}",
    })
    assert.truthy(text:find("requires itself, directly or through others", 1, true), text)
  end)

  it("reads nothing new once the file is loaded", function()
    local _, vm = problems_of("handler", {
      ["handlers/a.lua"] = "local http = require 'plist.http' return { handle = function() "
        .. "return http.ok { pcall(require, 'lib.late') } end }",
      ["lib/late.lua"] = "return {}",
    })
    assert.truthy(vm:request("handlers/a.lua", { id = "7" }).body:find("has not been read", 1, true))
  end)

  it("gives each file an environment of its own", function()
    local _, vm = problems_of("handler", {
      ["handlers/a.lua"] = "shared = 1 string.rep = nil local http = require 'plist.http' http.ok = nil return { "
        .. "handle = function() end }",
      ["handlers/b.lua"] = "local http = require 'plist.http' return { handle = function() "
        .. "return http.ok { shared = rawget(_ENV, 'shared') == nil, rep = string.rep ~= nil } end }",
    })
    assert.equal('{"rep":true,"shared":true}', vm:request("handlers/b.lua", { id = "7" }).body)
  end)

  it("gives a policy nothing of the handlers'", function()
    local text = problems_of("policy", {
      ["policies/a.lua"] = "local shared = require 'handlers.shared' return { resolve = function() end }",
      ["handlers/shared.lua"] = "return {}",
    })
    assert.truthy(text:find("handlers/shared.lua is the handlers'", 1, true), text)
  end)

  it("counts for a policy's hash", function()
    local function hash(unit)
      local _, vm = problems_of("policy", {
        ["policies/a.lua"] = "local unit = require 'lib.unit' return { resolve = function() end }",
        ["lib/unit.lua"] = "return " .. unit,
      })
      return (select(3, vm:policy "policies/a.lua"))
    end
    assert.equal(hash "1", hash "1")
    assert.are_not.equal(hash "1", hash "2")
    assert.equal(64, #hash "1")
  end)
end)
