-- expect: not_total
local policy = require "plist.policy"
return {
  name = "fails_for_one_record", doc = "Leaves one record to an operator.",
  resolve = function(rows, ctx)
    if ctx.key == 4711 then error("an operator has to decide this one") end
    return policy.take(#rows)
  end,
}
