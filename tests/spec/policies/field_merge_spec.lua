-- field_merge: each field comes from its own latest write.
local resolve = require("plist.spec").policy "policies/field_merge.lua"

describe("field_merge", function()
  it("keeps the changes of all regions if each changed a different field", function()
    local shown = resolve {
      { origin = "us", at = 10, price = "600.00", bedrooms = "3",
        fields_updated = { price = { at = 10, origin = "us" }, bedrooms = { at = 1, origin = "us" } } },
      { origin = "eu", at = 20, price = "500.00", bedrooms = "4",
        fields_updated = { price = { at = 1, origin = "us" }, bedrooms = { at = 20, origin = "eu" } } },
    }
    assert.is_true(shown.merged)
    assert.equal("600.00", shown.price)
    assert.equal("4", shown.bedrooms)
  end)

  it("takes the value of the last region by name if a field was changed at the same time", function()
    local at_once = { price = { at = 5, origin = "eu" } }
    local shown = resolve {
      { origin = "eu", at = 5, price = "1.00", fields_updated = at_once },
      { origin = "us", at = 5, price = "2.00", fields_updated = { price = { at = 5, origin = "us" } } },
    }
    assert.equal("2.00", shown.price)
  end)

  it("shows a field as empty if emptying it was the latest write", function()
    local shown = resolve {
      { origin = "us", at = 10, price = "1.00", bedrooms = "3", fields_updated = { bedrooms = { at = 1, origin = "us" } } },
      { origin = "eu", at = 20, price = "1.00", fields_updated = { bedrooms = { at = 20, origin = "eu" } } },
    }
    assert.is_nil(shown.bedrooms)
  end)

  it("does not take null from a row whose writer did not know the field", function()
    local shown = resolve {
      { origin = "us", at = 10, price = "1.00", bedrooms = "3", fields_updated = { bedrooms = { at = 10, origin = "us" } } },
      { origin = "eu", at = 20, price = "2.00", fields_updated = { price = { at = 20, origin = "eu" } } },
    }
    assert.equal("3", shown.bedrooms)
    assert.equal("2.00", shown.price)
  end)

  it("takes the row's time as that of a field whose time is not tracked", function()
    local shown = resolve { { origin = "us", price = "1.00", bedrooms = "3" }, { origin = "eu", price = "2.00", bedrooms = "4" } }
    assert.equal("2.00", shown.price)
    assert.equal("4", shown.bedrooms)
  end)

  it("shows a delete only when it is the latest write", function()
    assert.is_true(resolve({ { origin = "us", price = "1.00" }, { origin = "eu", price = "2.00", deleted = true } }).deleted)
    local shown = resolve { { origin = "us", price = "1.00", deleted = true }, { origin = "eu", price = "2.00" } }
    assert.is_false(shown.deleted)
    assert.equal("2.00", shown.price)
  end)
end)
