-- expect: not_total
-- A field that is not required may be null.
local policy = require "plist.policy"
return {
  name = "fails_on_null", doc = "The most bedrooms.",
  resolve = function(rows)
    local best = 1
    for i = 2, #rows do if rows[i].fields.bedrooms > rows[best].fields.bedrooms then best = i end end
    return policy.take(best)
  end,
}
