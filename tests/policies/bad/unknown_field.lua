-- expect: not_valid
local policy = require "plist.policy"
return {
  name = "unknown_field", doc = "A field that does not exist.",
  resolve = function(rows) return policy.merge { price = rows[1].fields.price, garage = 1 } end,
}
