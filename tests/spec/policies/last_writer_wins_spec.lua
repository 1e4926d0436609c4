-- last_writer_wins: the latest write is shown.
local resolve = require("plist.spec").policy "policies/last_writer_wins.lua"

describe("last_writer_wins", function()
  it("shows the latest write, whatever it says", function()
    local shown = resolve {
      { origin = "us", price = "900000.00", bedrooms = "5" },
      { origin = "eu", price = "100.00" },
    }
    assert.equal("eu", shown.origin)
    assert.equal("100.00", shown.price)
    assert.is_nil(shown.bedrooms)
  end)

  it("shows the last region by name when times are equal", function()
    local shown = resolve {
      { origin = "ap", at = 5, price = "1.00" },
      { origin = "eu", at = 5, price = "2.00" },
      { origin = "us", at = 5, price = "3.00" },
    }
    assert.equal("us", shown.origin)
  end)

  it("shows a delete that came last", function()
    assert.is_true(resolve({ { origin = "us", price = "1.00" }, { origin = "eu", price = "1.00", deleted = true } }).deleted)
  end)
end)
