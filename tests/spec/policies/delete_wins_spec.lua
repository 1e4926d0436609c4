-- delete_wins: what was deleted stays deleted.
local resolve = require("plist.spec").policy "policies/delete_wins.lua"

describe("delete_wins", function()
  it("shows the delete, before or after the other write", function()
    assert.is_true(resolve({ { origin = "us", price = "1.00", deleted = true }, { origin = "eu", price = "2.00" } }).deleted)
    assert.is_true(resolve({ { origin = "us", price = "1.00" }, { origin = "eu", price = "2.00", deleted = true } }).deleted)
  end)

  it("shows the latest of several deletes", function()
    assert.equal(2, resolve({
      { origin = "us", price = "1.00", deleted = true },
      { origin = "eu", price = "2.00", deleted = true },
      { origin = "ap", price = "3.00" },
    }).row)
  end)

  it("shows the latest write when nothing was deleted", function()
    assert.equal("2.00", resolve({ { origin = "us", price = "1.00" }, { origin = "eu", price = "2.00" } }).price)
  end)
end)
