-- The version of Lua: a plain busted could run another one.
describe("the interpreter", function()
  it("is Lua 5.4, here and in the sandbox", function()
    assert.equal("Lua 5.4", _VERSION)
    for _, world in ipairs { "policy", "handler" } do
      local how, version = require("plist.host").vm({ world = world }):run("return _VERSION")
      assert.equal("done", how)
      assert.equal("Lua 5.4", version)
    end
  end)
end)
