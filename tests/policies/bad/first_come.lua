-- expect: not_deterministic
-- A closure made while loading remembers the first region that it saw.
local policy = require "plist.policy"
local seen
local function remember(region) seen = seen or region return seen end
return {
  name = "first_come", doc = "The region that was seen first.",
  resolve = function(rows)
    for i = 1, #rows do
      if seen == rows[i].origin then
        return policy.take(i)
      end
    end
    remember(rows[#rows].origin)
    return policy.take(1)
  end,
}
