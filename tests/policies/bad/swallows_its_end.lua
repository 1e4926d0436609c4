-- expect: over_budget
-- pcall in a loop, in an attempt to outlive the budget.
local policy = require "plist.policy"
return {
  name = "swallows_its_end", doc = "Never ends.",
  resolve = function(rows)
    if rows[1].deleted then while true do pcall(function() while true do end end) end end
    return policy.take(1)
  end,
}
