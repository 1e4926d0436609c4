-- expect: not_valid
local policy = require "plist.policy"
return {
  name = "wrong_type", doc = "A string instead of a number.",
  resolve = function(rows) return policy.merge { price = rows[1].fields.price, bedrooms = "three" } end,
}
