-- plist.decimal as scripts see it: exact, and the same in both worlds.
local host = require "plist.host"

describe("decimal", function()
  local vm = host.vm { world = "policy" }

  local function eval(expression)
    local how, text = vm:run("local decimal = require 'plist.decimal' return tostring(" .. expression .. ")")
    return how == "done" and text or how .. ": " .. text
  end

  local results = {
    ["decimal '0.1' + decimal '0.2'"] = "0.3",
    ["decimal '0.10' + decimal '0.2'"] = "0.30",
    ["decimal '1.50' - 2"] = "-0.50",
    ["2 - decimal '1.50'"] = "0.50",
    ["decimal '1.5' * decimal '1.5'"] = "2.25",
    ["3 * decimal '1.10'"] = "3.30",
    ["-decimal '1.10'"] = "-1.10",
    ["decimal.new('1.10')"] = "1.10",
    ["decimal(5)"] = "5",
    ["decimal(decimal '1.0')"] = "1.0",
    ["decimal(math.mininteger)"] = "-9223372036854775808",
    ["decimal '10':div(3, 2)"] = "3.33",
    ["decimal '20':div(3, 2)"] = "6.67",
    ["decimal '-1':div(8, 2)"] = "-0.13",
    ["decimal '1.005':round(2)"] = "1.01",
    ["decimal '1.5':round(0)"] = "2",
    ["decimal '1.5':round(3)"] = "1.500",
    ["decimal '-2.5':abs()"] = "2.5",
    ["decimal '1.50':scale()"] = "2",
    ["decimal '7.00':tointeger()"] = "7",
    ["decimal '7.01':tointeger()"] = "nil",
    ["decimal '99999999999999999999':tointeger()"] = "nil",
    ["decimal '1.5' == decimal '1.50'"] = "true",
    ["decimal '1.5' == 1"] = "false",
    ["decimal '1.5' ~= decimal '1.6'"] = "true",
    ["decimal '1.5' < 2"] = "true",
    ["1 < decimal '1.5'"] = "true",
    ["decimal '1.5' >= decimal '1.50'"] = "true",
    ["decimal '9007199254740993' > 9007199254740992"] = "true",
    ["'price ' .. decimal '1.10'"] = "price 1.10",
    ["decimal '1.10' .. decimal '2'"] = "1.102",
    ["('%s'):format(decimal '1.10')"] = "1.10",
    ["decimal.is(decimal '1')"] = "true",
    ["decimal.is(1)"] = "false",
    ["decimal '1e3'"] = "1000",
    ["decimal '1e-3'"] = "0.001",
    ["math.max(1, 2) * decimal '0.5'"] = "1.0",
    ["getmetatable(decimal '1')"] = "nil",
  }

  for expression, result in pairs(results) do
    it("evaluates " .. expression, function() assert.equal(result, eval(expression)) end)
  end

  local wrong = {
    ["decimal '1' + 1.5"] = "a float is not exact",
    ["decimal(1.5)"] = "a float is not exact",
    ["decimal '1' + '1'"] = "is not an exact number",
    ["decimal '1' + {}"] = "is not an exact number",
    ["decimal '1' < 'x'"] = "is not an exact number",
    ["decimal 'x'"] = "'x' is not a number",
    ["decimal ''"] = "'' is not a number",
    ["decimal ' 1'"] = "' 1' is not a number",
    ["decimal '0x10'"] = "is not a number",
    ["decimal(nil)"] = "is not an exact number",
    ["decimal()"] = "value expected",
    ["decimal '1' / 2"] = "a:div(b, scale)",
    ["decimal '1' // 2"] = "a:div(b, scale)",
    ["decimal '1':div(0, 2)"] = "division by zero",
    ["decimal '1':div(2)"] = "number expected",
    ["decimal '1':div(2, -1)"] = "a scale must be from 0 to 1000",
    ["decimal('9'):round(1e9)"] = "a scale must be from 0 to 1000",
    ["decimal('1e1001')"] = "is not a number",
    ["setmetatable(decimal '1', {})"] = "table expected",
  }

  for expression, sentence in pairs(wrong) do
    it("refuses " .. expression, function()
      local text = eval(expression)
      assert.truthy(text:find("^raised: ") and text:find(sentence, 1, true), text)
    end)
  end

  it("stops a number that grows without end", function()
    for _, loop in ipairs { "d = d * d", "d = d + d", "d = d:round(1000) * d" } do
      local how, text = vm:run("local decimal = require 'plist.decimal' local d = decimal '1.1' while true do " .. loop .. " end")
      assert.truthy(how == "instructions" or how == "raised" and text:find("more than 1000 digits", 1, true), how .. " " .. text)
    end
  end)

  it("counts towards a script's memory", function()
    local how = vm:run("local decimal = require 'plist.decimal' local d, t = decimal(('9'):rep(900)), {} "
      .. "for i = 1, 1e9 do t[i] = d + i end")
    assert.truthy(how == "memory" or how == "instructions", how)
    vm = host.vm { world = "handler" }
    assert.equal("memory", (vm:run("local decimal = require 'plist.decimal' local d, t = decimal(('9'):rep(900)), {} "
      .. "for i = 1, 1e9 do t[i] = d + i end")))
    vm = host.vm { world = "policy" }
  end)
end)
