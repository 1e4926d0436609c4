-- expect: accepted
-- Uses ctx: even records belong to the first region, odd ones to the last.
local policy = require "plist.policy"
return {
  name = "region_by_key", doc = "A home region for each record.",
  resolve = function(rows, ctx)
    local home = ctx.regions[ctx.key % 2 == 0 and 1 or #ctx.regions]
    for i = 1, #rows do
      if rows[i].origin == home then return policy.take(i) end
    end
    return policy.take(#rows)
  end,
}
