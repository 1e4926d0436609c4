-- expect: not_total
-- Knows two regions only.
local policy = require "plist.policy"
return {
  name = "fails_with_three", doc = "The later of two.",
  resolve = function(rows)
    if #rows > 2 then error("more than two regions") end
    return policy.take(2)
  end,
}
