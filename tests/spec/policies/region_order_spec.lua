-- region_order: the regions have ranks.
local resolve = require("plist.spec").policy "policies/region_order.lua" -- the regions are us, eu, ap, in this order

describe("region_order", function()
  it("shows the region that is configured first, even if it wrote first", function()
    assert.equal("us", resolve({ { origin = "us", price = "1.00" }, { origin = "eu", price = "2.00" } }).origin)
    assert.equal("us", resolve({ { origin = "eu", price = "1.00" }, { origin = "us", price = "2.00" } }).origin)
    assert.equal("eu", resolve({ { origin = "eu", price = "1.00" }, { origin = "ap", price = "2.00" } }).origin)
  end)

  it("shows the latest write of that region", function()
    assert.equal("3.00", resolve({
      { origin = "us", price = "1.00" }, { origin = "eu", price = "2.00" }, { origin = "us", price = "3.00" },
    }).price)
  end)

  it("ranks a region that is no longer configured behind all others", function()
    assert.equal("ap", resolve({ { origin = "ap", price = "1.00" }, { origin = "zz", price = "2.00" } }).origin)
    assert.equal("zz", resolve({ { origin = "yy", price = "1.00" }, { origin = "zz", price = "2.00" } }).origin)
  end)
end)
