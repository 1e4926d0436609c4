-- expect: not_valid
-- Adds up differences and gets below zero.
local policy = require "plist.policy"
return {
  name = "below_the_bound", doc = "The difference of two prices.",
  resolve = function(rows)
    return policy.merge { price = rows[1].fields.price - rows[2].fields.price, bedrooms = rows[1].fields.bedrooms, bathrooms = rows[1].fields.bathrooms }
  end,
}
