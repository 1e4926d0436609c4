--- The regions have ranks: the write of the region that the configuration names first is shown, whenever it was made.
local policy = require "plist.policy"

--- Where a region stands in the configuration; behind all others when it is not there any more.
local function rank(regions, name)
  for i, region in ipairs(regions) do
    if region == name then return i end
  end
  return #regions + 1
end

return {
  name = "region_order",
  doc = "The write of the region that is configured first; of one region, its latest.",

  resolve = function(rows, ctx)
    local best = 1
    for i = 2, #rows do
      if rank(ctx.regions, rows[i].origin) <= rank(ctx.regions, rows[best].origin) then best = i end
    end
    return policy.take(best)
  end,
}
