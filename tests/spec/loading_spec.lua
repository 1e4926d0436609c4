-- Loading files: what they must return, what they may require, how faults are reported.
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
    { "handler", "\27Lua", "lua/handlers/a.lua:1: this is compiled Lua; plist loads text only" },
    { "handler", "", "returns nothing instead of a table" },
    { "handler", "return 5", "returns number instead of a table" },
    { "handler", "return { doc = 'x' }", "has no function 'handle'" },
    { "handler", "return { handle = 5 }", "has no function 'handle'" },
    { "handler", "return { name = {}, handle = function() end }", "name is a table, not a string" },
    { "policy", "return { name = '\\xff', resolve = function() end }", "name is not UTF-8" },
    { "policy", "return { name = 'a\\0b', resolve = function() end }", "name is not UTF-8" },
    { "policy", "return { name = 'a\\nb', resolve = function() end }", "name must be 1 to 64 characters" },
    { "policy", "return { name = '', resolve = function() end }", "name must be 1 to 64 characters" },
    { "policy", "return { name = ('x'):rep(65), resolve = function() end }", "name must be 1 to 64 characters" },
    { "policy", "return { doc = '\\xff', resolve = function() end }", "doc is not UTF-8" },
    { "handler", "\nlocal r = require 'plist.record'", "lua/handlers/a.lua:2: module 'plist.record' does not exist" },
    { "handler", "require 'plist.policy'", "module 'plist.policy' does not exist" },
    { "handler", "x.y = 1", "lua/handlers/a.lua:1: there is no global 'x'" },
    { "handler", "\n\nerror 'on purpose'", "lua/handlers/a.lua:3: on purpose" },
    { "handler", "error({})", "an error value that is a table" },
    { "handler", "while true do end", "used up its instructions" },
    { "handler", "local t = {} for i = 1, 1e9 do t[i] = {} end", "used up its memory" },
    { "handler", "require('plist.records').get('properties', 1)", "no request is being handled; call it inside the handle function" },
    { "policy", "return { name = 'p' }", "has no function 'resolve'" },
    { "policy", "require 'plist.records'", "module 'plist.records' does not exist" },
    { "policy", "local t = os.time()", "a policy has no clock" },
  }

  for _, case in ipairs(wrong) do
    it("is refused, with its location: " .. case[2]:gsub("%c", " "), function()
      local path = case[1] == "policy" and "policies/a.lua" or "handlers/a.lua"
      local text = problems_of(case[1], { [path] = case[2] })
      assert.truthy(text and text:find(case[3], 1, true), text)
      assert.truthy(text:find("^lua/" .. path .. ":"), text)
    end)
  end

  it("is reported with its full name, however long that is", function()
    local path = "handlers/" .. ("a_very_long_name_"):rep(6) .. ".lua"
    assert.equal("lua/" .. path .. ":2: unexpected symbol near <eof>", (problems_of("handler", { [path] = "\nreturn {" })))
  end)

  it("is reported together with all other faulty files", function()
    local text = problems_of("handler", {
      ["handlers/a.lua"] = "return 1", ["handlers/b.lua"] = "return { handle = function() end }", ["handlers/c.lua"] = "x(",
    })
    assert.truthy(text:find("handlers/a.lua", 1, true) and text:find("handlers/c.lua:1", 1, true))
    assert.is_nil(text:find("handlers/b.lua", 1, true))
  end)

  it("has a name and a doc, or the name of its file and no doc", function()
    local _, vm = problems_of("policy", { ["policies/a.lua"] = "return { resolve = function() end }" })
    assert.same({ "a", "" }, { vm:policy "policies/a.lua" , (select(2, vm:policy "policies/a.lua")) })
    _, vm = problems_of("policy", { ["policies/a.lua"] = "return { name = 'n', doc = 'd', resolve = function() end }" })
    assert.same({ "n", "d" }, { vm:policy "policies/a.lua", (select(2, vm:policy "policies/a.lua")) })
  end)
end)

describe("an undefined global", function()
  local function answer(world, body)
    local vm = host.vm { world = world }
    return select(2, vm:run(body))
  end

  it("raises where it is read, with its line and the reason", function()
    assert.equal("spec:3: there is no global 'prise'", answer("handler", "local x\nif not x then\n  return prise\nend"))
    assert.equal("spec:2: there is no global 'os': a policy has no clock", answer("policy", "\nreturn os.time()"))
    assert.equal("spec:1: there is no global 'unpack': use table.unpack", answer("handler", "unpack { 1 }"))
    for _, body in ipairs { "undefined()", "undefined.x = 1", "return _ENV.undefined", "return { [1] = undefined }" } do
      assert.equal("spec:1: there is no global 'undefined'", answer("handler", body))
    end
  end)

  it("can be caught, and exists once the file has assigned it", function()
    assert.equal("false", answer("handler", "return (pcall(function() return counter end))"))
    assert.equal("1", answer("handler", "counter = 1 return counter"))
    assert.equal("1", answer("handler", "local _ENV = { x = 1 } return x"))
  end)
end)

describe("require", function()
  local HANDLER = "local money = require 'lib.money' local http = require 'plist.http' "
    .. "return { handle = function(req) return http.ok { text = money.text(5) } end }"

  it("finds files under the Lua root, in the same sandbox", function()
    local text, vm = problems_of("handler", {
      ["handlers/a.lua"] = HANDLER,
      ["lib/money.lua"] = "local words = require 'lib.words' return { text = function(n) return n .. words.unit end }",
      ["lib/words.lua"] = "return { unit = ' dollars' }",
    })
    assert.is_nil(text)
    assert.equal('{"text":"5 dollars"}', vm:request("handlers/a.lua", { id = "7" }).body)
  end)

  it("reports an error in a module with the module's location", function()
    local text = problems_of("handler", { ["handlers/a.lua"] = HANDLER, ["lib/money.lua"] = "\n\nlocal = 1" })
    assert.truthy(text:find("lua/lib/money.lua:3: <name> expected", 1, true), text)
    text = problems_of("handler", { ["handlers/a.lua"] = HANDLER, ["lib/money.lua"] = "\nlocal x = nil .. ''" })
    assert.truthy(text:find("lua/lib/money.lua:2: attempt to concatenate a nil value", 1, true), text)
  end)

  it("refuses modules that require each other", function()
    local text = problems_of("handler", {
      ["handlers/a.lua"] = HANDLER,
      ["lib/money.lua"] = "require 'lib.words' return {}", ["lib/words.lua"] = "require 'lib.money' return {}",
    })
    assert.truthy(text:find("requires itself, directly or through others", 1, true), text)
  end)

  it("loads no module after the file has been loaded", function()
    local _, vm = problems_of("handler", {
      ["handlers/a.lua"] = "local http = require 'plist.http' return { handle = function() "
        .. "return http.ok { pcall(require, 'lib.late') } end }",
      ["lib/late.lua"] = "return {}",
    })
    assert.truthy(vm:request("handlers/a.lua", { id = "7" }).body:find("has not been read", 1, true))
  end)

  it("gives each file its own environment", function()
    local _, vm = problems_of("handler", {
      ["handlers/a.lua"] = "shared = 1 string.rep = nil local http = require 'plist.http' http.ok = nil return { "
        .. "handle = function() end }",
      ["handlers/b.lua"] = "local http = require 'plist.http' return { handle = function() "
        .. "return http.ok { shared = rawget(_ENV, 'shared') == nil, rep = string.rep ~= nil } end }",
    })
    assert.equal('{"rep":true,"shared":true}', vm:request("handlers/b.lua", { id = "7" }).body)
  end)

  it("gives a policy no module of the handlers", function()
    local text = problems_of("policy", {
      ["policies/a.lua"] = "local shared = require 'handlers.shared' return { resolve = function() end }",
      ["handlers/shared.lua"] = "return {}",
    })
    assert.truthy(text:find("handlers/shared.lua is a module of the handlers", 1, true), text)
  end)

  it("adds the module to a policy's hash", function()
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
