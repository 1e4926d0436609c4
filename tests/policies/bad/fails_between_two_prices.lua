-- expect: not_valid
local policy = require "plist.policy"
local decimal = require "plist.decimal"
local LUXURY, PALACE = decimal "750000", decimal "750001"
return {
  name = "fails_between_two_prices", doc = "An index out of range, for prices just above a bound.",
  resolve = function(rows)
    local price = rows[1].fields.price
    if price > LUXURY and price < PALACE then return policy.take(0) end
    return policy.take(1)
  end,
}
