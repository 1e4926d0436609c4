-- expect: accepted
-- "Newer wins; of equal times, the existing row": in other systems that row differs from
-- region to region.
local policy = require "plist.policy"
return {
  name = "newer_wins_without_tiebreak", doc = "The newer; on a tie the first.",
  resolve = function(rows)
    local best = 1
    for i = 2, #rows do if rows[i].updated_at > rows[best].updated_at then best = i end end
    return policy.take(best)
  end,
}
