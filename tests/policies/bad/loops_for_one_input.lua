-- expect: over_budget
local policy = require "plist.policy"
local decimal = require "plist.decimal"
return {
  name = "loops_for_one_input", doc = "Halves until it is below one.",
  resolve = function(rows)
    local price = rows[1].fields.price
    while price > decimal.new("1") do price = price - price:round(3) + price end -- never gets smaller
    return policy.take(1)
  end,
}
