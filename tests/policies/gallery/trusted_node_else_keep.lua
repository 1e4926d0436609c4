-- expect: accepted
-- "The trusted node's row, else keep the existing one."
local policy = require "plist.policy"
return {
  name = "trusted_node_else_keep", doc = "The first configured region's write; else the earliest.",
  resolve = function(rows, ctx)
    for i = 1, #rows do if rows[i].origin == ctx.regions[1] then return policy.take(i) end end
    return policy.take(1)
  end,
}
