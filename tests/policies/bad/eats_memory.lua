-- expect: over_budget
local policy = require "plist.policy"
return {
  name = "eats_memory", doc = "Doubles a text.",
  resolve = function(rows)
    local text = "x"
    for _ = 1, 60 do text = text .. text end
    return policy.take(1)
  end,
}
