--- Regions have ranks: the write of the region that is configured first wins, at whatever
--- time it was made.
local policy = require "plist.policy"

--- The position of a region in the configuration. A region that was removed from it comes
--- last.
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
