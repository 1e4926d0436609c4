-- expect: accepted
-- Keeps state, but never state that changes an answer.
local policy = require "plist.policy"
local cache = {}
local function weight(region)
  cache[region] = cache[region] or #region
  return cache[region]
end
return {
  name = "memoises", doc = "The shortest name of a region; the later of equals.",
  resolve = function(rows)
    local best = 1
    for i = 2, #rows do
      if weight(rows[i].origin) <= weight(rows[best].origin) then best = i end
    end
    return policy.take(best)
  end,
}
