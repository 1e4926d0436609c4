-- expect: accepted
-- The mean of two rows at a time depends on which are merged first.
local policy = require "plist.policy"
local decimal = require "plist.decimal"
return {
  name = "average", doc = "The mean price of all writes, deletes included.",
  resolve = function(rows)
    local sum = decimal.new("0")
    for i = 1, #rows do sum = sum + rows[i].fields.price end
    local last = rows[#rows]
    return policy.merge { price = sum:div(decimal.new(#rows), 2), bedrooms = last.fields.bedrooms, bathrooms = last.fields.bathrooms }
  end,
}
