-- expect: not_valid
local policy = require "plist.policy"
return {
  name = "missing_field", doc = "Forgets the price.",
  resolve = function(rows) return policy.merge { bedrooms = rows[1].fields.bedrooms } end,
}
