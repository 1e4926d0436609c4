-- expect: not_total
local policy = require "plist.policy"
return {
  name = "fails_for_one_record", doc = "Leaves one record to people.",
  resolve = function(rows, ctx)
    if ctx.key == 4711 then error("somebody has to look at this one") end
    return policy.take(#rows)
  end,
}
