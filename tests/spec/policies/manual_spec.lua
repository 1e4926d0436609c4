-- plist-policies(7): it shows the policy that is shipped, and its example of a spec
-- passes.
local manual = require "manual"

local function without_comments(text)
  return (text:gsub("%-%-[^\n]*\n", ""):gsub("%s+", " "):gsub("^ ", ""))
end

describe("plist-policies(7)", function()
  it("shows highest_price as it is shipped", function()
    local shown = manual.file("plist-policies.7", "policies/highest_price.lua")
    assert.equal(without_comments(manual.read("lua/policies/highest_price.lua")), without_comments(shown))
  end)

  assert(load(manual.file("plist-policies.7", "tests/spec/policies/highest_price_spec.lua"), "=plist-policies.7", "t", _ENV))()
end)
