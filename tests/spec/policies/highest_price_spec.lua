-- highest_price: the highest price is shown.
local resolve = require("plist.spec").policy "policies/highest_price.lua"

describe("highest_price", function()
  it("shows the highest price, whoever wrote last", function()
    assert.equal("600000.00", resolve({ { origin = "us", price = "600000.00" }, { origin = "eu", price = "500000.00" } }).price)
    assert.equal("600000.00", resolve({ { origin = "us", price = "500000.00" }, { origin = "eu", price = "600000.00" } }).price)
  end)

  it("compares all digits, not only those that a float keeps", function()
    local shown = resolve { { origin = "us", price = "9999999999.99" }, { origin = "eu", price = "9999999999.98" } }
    assert.equal("9999999999.99", shown.price)
  end)

  it("shows the later of equal prices", function()
    assert.equal("2", resolve({
      { origin = "eu", price = "5.00", bedrooms = "1" }, { origin = "us", price = "5.00", bedrooms = "2" },
    }).bedrooms)
  end)

  it("prefers a record to a delete, unless all are deletes", function()
    assert.equal("1.00", resolve({ { origin = "us", price = "1.00" }, { origin = "eu", price = "9.00", deleted = true } }).price)
    assert.is_true(resolve({
      { origin = "us", price = "1.00", deleted = true }, { origin = "eu", price = "9.00", deleted = true },
    }).deleted)
  end)
end)
